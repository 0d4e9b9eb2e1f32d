class OutOfCheese(Exception):
    pass


def handler(event, context):
    if event == "works":
        return "works"
    raise OutOfCheese("no cheddar")
