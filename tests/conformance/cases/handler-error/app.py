def handler(event, context):
    if event == "works":
        return "works"
    return inner()


def inner():
    raise ValueError("it broke: 💥")
