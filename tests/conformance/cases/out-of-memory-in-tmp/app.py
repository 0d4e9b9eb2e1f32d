def handler(event, context):
    if event == "works":
        return "works"
    with open("/tmp/big", "wb") as file:
        for _ in range(400):
            file.write(b"x" * 1024 * 1024)
    return "400 MB fitted into 128"
