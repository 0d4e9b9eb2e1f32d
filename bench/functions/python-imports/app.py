"""What the import-heavy arm calls. The baseline's command line imports what these lines name, in their order."""

import argparse
import asyncio
import base64
import collections
import csv
import dataclasses
import datetime
import decimal
import email.message
import hashlib
import http.client
import json
import logging
import random
import re
import ssl
import subprocess
import tempfile
import urllib.request
import uuid
import xml.etree.ElementTree
import zipfile


@dataclasses.dataclass
class Answer:
    body: str


def handler(event, context):
    tree = xml.etree.ElementTree.fromstring("<a><b>ok</b></a>")
    digest = hashlib.sha256(json.dumps(event.get("version")).encode()).hexdigest()
    answer = Answer(tree.findtext("b") if re.fullmatch("[0-9a-f]{64}", digest) else "wrong")
    return {"statusCode": 200, "body": dataclasses.asdict(answer)["body"]}
