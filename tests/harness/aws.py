"""boto3, pointed at a Hearth by nothing but `hearth aws-env`."""

import base64

import boto3
from botocore.config import Config

from .door import credentials


def client(hearth, service="lambda", **override):
    """A service's client that never retries: a test must see every answer. `override` replaces keys."""
    keys = credentials(hearth) | override
    return boto3.client(
        service,
        endpoint_url=keys["AWS_ENDPOINT_URL"],
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        region_name=keys["AWS_REGION"],
        config=Config(
            retries={"total_max_attempts": 1},
            read_timeout=120,
            max_pool_connections=50,
            proxies={},
            # Its URLs would have an older signature otherwise.
            signature_version="s3v4" if service == "s3" else None,
        ),
    )


def log_tail(answer):
    return base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
