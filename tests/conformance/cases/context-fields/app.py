def handler(event, context):
    return {
        "id": context.aws_request_id,
        "name": context.function_name,
        "version": context.function_version,
        "memory": str(context.memory_limit_in_mb),
        "arn": context.invoked_function_arn,
        "group": context.log_group_name,
        "stream": context.log_stream_name,
        "identity": {"cognito_identity_id": context.identity.cognito_identity_id or "none"},
        "client_context": repr(context.client_context),
    }
