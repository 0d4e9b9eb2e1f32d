def handler(event, context):
    if event == "works":
        return "works"
    print("y" * 4 * 1024 * 1024)
    for number in range(50_000):
        print("line", number)
    return "done"
