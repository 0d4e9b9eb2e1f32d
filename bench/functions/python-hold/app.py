"""Says when it was reached, and holds its instance open until the time that the query names."""

import time


def handler(event, context):
    reached = time.time()
    until = float(event["rawQueryString"].partition("until=")[2])
    if until > reached:
        time.sleep(until - reached)
    return {"statusCode": 200, "body": "%.6f" % reached}
