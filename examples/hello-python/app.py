"""Says hello, to an event or over HTTP."""


def handler(event, context):
    # Called through its URL, the function finds its arguments in the query string.
    query = event.get("queryStringParameters") or {}
    name = event.get("name", query.get("name", "world"))
    if not isinstance(name, str):
        raise TypeError(f"name must be a string, got {type(name).__name__}")
    # Over HTTP, a result without a statusCode is the body of a 200.
    return {"message": f"Hello, {name}!"}
