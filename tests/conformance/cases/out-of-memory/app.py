def handler(event, context):
    if event == "works":
        return "works"
    held = []
    while True:
        held.append(b"x" * 8 * 1024 * 1024)
