import does_not_exist


def handler(event, context):
    return does_not_exist
