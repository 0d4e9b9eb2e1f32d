calls = 0


class AsAsked(Exception):
    pass


def handle(event, context):
    global calls
    calls += 1
    if "fail" in event:
        raise AsAsked("as asked")
    print("mark", event["n"])
    return {
        "event": event,
        "id": context.aws_request_id,
        "name": context.function_name,
        "arn": context.invoked_function_arn,
        "calls": calls,
        "left": context.get_remaining_time_in_millis(),
    }
