"""{{name}}: greets, called with an event or over HTTP."""

import json
import os

# What stands here runs once for each instance, before its first call: load and connect here.
GREETING = os.environ.get("GREETING", "Hello")


def handler(event, context):
    # What is printed is in the function's log.
    print(f"request {context.aws_request_id}, {context.get_remaining_time_in_millis()} ms left")

    if "http" in event.get("requestContext", {}):
        return over_http(event)
    return greet(event.get("name", "world"))


def over_http(event):
    """Answer a request to the function's URL (AWS's payload format 2.0)."""
    query = event.get("queryStringParameters", {})
    return {
        "statusCode": 200,
        "headers": {"content-type": "application/json"},
        "body": json.dumps(greet(query.get("name", "world"))),
    }


def greet(name):
    return {"message": f"{GREETING}, {name}!"}
