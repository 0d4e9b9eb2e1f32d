import time


def handler(event, context):
    first = context.get_remaining_time_in_millis()
    time.sleep(0.1)
    return {"first": first, "elapsed": first - context.get_remaining_time_in_millis()}
