#!/usr/bin/env python3
"""Makes `seeds/`: what each target begins with, of the repository's own test vectors. Only the standard library; the same
bytes each time."""

import io
import json
import shutil
import sqlite3
import tarfile
import tempfile
import zipfile
from pathlib import Path

FUZZ = Path(__file__).parent
ROOT = FUZZ.parent
SEEDS = FUZZ / "seeds"


def keep(target: str, name: str, data: bytes | str) -> None:
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)


def request(method: str, target: str, headers: list, body: str) -> str:
    lines = [f"{method} {target} HTTP/1.1"] + [f"{name}: {value}" for name, value in headers]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def wire() -> None:
    for file in sorted((ROOT / "crates/wire/vectors").glob("*.json")):
        seen = set()
        for at, case in enumerate(json.loads(file.read_text())):
            raw = bytes.fromhex(case["hex"])
            shape = (case["stream"], case["direction"], len(raw).bit_length(), len(raw) > 4 and raw[4])
            if len(raw) > 2048 or shape in seen:
                continue
            seen.add(shape)
            kind = (case["stream"] != "control") + 2 * (case["direction"] == "host_to_guest")
            keep("wire", f"{file.stem}-{at}", bytes([kind + 4 * 7]) + raw)


def signed() -> None:
    seen = set()
    for file in ["aws_signing_suite", "botocore"]:
        for at, case in enumerate(json.loads((ROOT / f"crates/aws/tests/vectors/{file}.json").read_text())):
            target = case["path"] + ("?" + case["query"] if case["query"] else "")
            text = request(case["method"], target, case["headers"], case["body"])
            shape = (case["method"], len(case["headers"]), bool(case["query"]), bool(case["body"]))
            if shape in seen or len(text) > 2048:
                continue
            seen.add(shape)
            keep("sigv4", f"{file}-{at}", text)
            keep("http_event", f"{file}-{at}", text)
    keep("sigv4", "pieces", b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n")


def archives() -> None:
    def zipped(method: int, *entries: tuple[str, int, bytes]) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, mode, data in entries:
                info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
                info.external_attr, info.compress_type = mode << 16, method
                archive.writestr(info, data)
        return out.getvalue()

    code = b"def handle(event, context):\n    return event\n"
    keep("package", "stored", zipped(zipfile.ZIP_STORED, ("main.py", 0o100644, code)))
    keep("package", "deflated", zipped(zipfile.ZIP_DEFLATED, ("a/main.py", 0o100755, code * 9), ("a/", 0o040755, b"")))
    keep("package", "link", zipped(zipfile.ZIP_STORED, ("a/b", 0o100644, b"x"), ("c", 0o120777, b"a/b")))
    keep("package", "out", zipped(zipfile.ZIP_STORED, ("../x", 0o100644, b"x"), ("c", 0o120777, b"/etc")))

    def tarred(mode: str, *entries: tuple[str, bytes, str, bytes]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode, format=tarfile.PAX_FORMAT) as archive:
            for name, kind, link, data in entries:
                info = tarfile.TarInfo(name)
                info.type, info.linkname, info.size, info.mtime = kind, link, len(data), 1
                archive.addfile(info, io.BytesIO(data))
        return out.getvalue()

    plain = [("a", tarfile.DIRTYPE, "", b""), ("a/b", tarfile.REGTYPE, "", b"hello"), ("c", tarfile.SYMTYPE, "../a", b""),
             ("d", tarfile.LNKTYPE, "a/b", b""), ("a/.wh.b", tarfile.REGTYPE, "", b""), ("c/e", tarfile.REGTYPE, "", b"x"),
             ("ü" * 60, tarfile.REGTYPE, "", b""), ("a/.wh..wh..opq", tarfile.REGTYPE, "", b"")]
    keep("image_layer", "tar", b"\0" + tarred("w:", *plain)[:6144])
    packed = bytearray(tarred("w:gz", *plain))
    packed[4:8] = bytes(4)  # the time
    keep("image_layer", "gzip", b"\1" + bytes(packed))
    zero = "0" * 64
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": f"sha256:{zero}", "size": 2},
                "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": f"sha256:{zero}", "size": 9}]}
    keep("image_layer", "manifest", b"\3" + json.dumps(manifest).encode())
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{zero}"]},
              "config": {"Env": ["PATH=/bin"], "Cmd": ["/app"], "User": "app:app", "WorkingDir": "/srv"}}
    keep("image_layer", "config", b"\4" + json.dumps(config).encode())
    keep("image_layer", "user", b"\5app:app\nroot:x:0:0::/root:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n")
    keep("image_layer", "credentials", b'\6ghcr.io\n{"auths": {"ghcr.io": {"auth": "dTpw"}}}')
    keep("image_layer", "reference", b"\7ghcr.io/a/b:1@sha256:" + zero.encode())


def texts() -> None:
    for at, text in enumerate([
        "*/5 * * * *", "0 9 ? * MON-FRI *", "cron(0 12 L * ? *)\nEurope/Berlin", "cron(15 10 ? * 6#3 2027)", "rate(5 minutes)",
        "at(2027-01-01T00:00:00)\nUTC\n2026-01-01T00:00:00Z\n2028-01-01T00:00:00Z", "@daily", "cron(0 8 1W * ? *)",
    ]):
        keep("schedule", str(at), text)
    names = ["thumbs", "$LATEST", "128MB", "0.5", "python3.11", "POST /thumbs/{name}/{rest+}", "api.example.org/v1/{id}",
             "10.0.0.0/8:443", "internet", "/srv/photos:ro", "/mnt/photos", "namespace", "namespace=90,gvisor=10", "10/s",
             "arn:aws:lambda:eu-central-1:123456789012:function:thumbs:live", "arn:aws:lambda:eu:1:layer:deps:3", "12 ms",
             "invoke:thumbs", "queue:work", "github:hook", "[fd00::1]:53", "6MB", "EUR", "0" * 64,
             "6f1ed002-ab5f-4b8d-9c2e-1a2b3c4d5e6f"]
    for at, text in enumerate(names):
        keep("names", str(at), text)
    keep("logs", "terms", '\x07?ERROR -"a b"\n\x1b[31mERROR\x1b[0m \u202eb\r\nsecond\n')
    keep("logs", "json", '\x10{ $.level = "error" && ($.ms > 5 || $.a[0].b IS NULL) }\n{"level": "error", "ms": 6}')
    keep("pattern", "s3", '{"source": ["aws.s3", {"prefix": "a"}], "detail": {"size": [{"numeric": [">", 0, "<=", 5]}]}}\n'
                          '{"source": "aws.s3", "detail": {"size": 3}}')
    keep("pattern", "or", '{"$or": [{"a": [{"exists": false}]}, {"b": [{"anything-but": ["x"]}, {"wildcard": "a*b"}]}]}\n{"b": "aab"}')
    keep("s3", "delete", "<Delete><Quiet>true</Quiet><Object><Key>a&amp;b</Key></Object></Delete>")
    keep("s3", "parts", '<?xml version="1.0"?><s:CompleteMultipartUpload xmlns:s="u"><!-- x --><Part><PartNumber>1</PartNumber>'
                        "<ETag>&quot;&#x41;&quot;</ETag></Part></s:CompleteMultipartUpload>")
    for at, text in enumerate(["bytes=0-4\n10", "bytes=-3\n10", "bytes=5-\n9"]):
        keep("s3", f"range-{at}", text)
    settings = {"name": "thumbs", "runtime": "python3.11", "handler": "main.handle", "memory": "256MB", "timeout": "30s",
                "env": {"A": "b", "KEY": {"secret": "key"}}, "scale": {"min": 1, "max": 5, "idle": "5m"}, "egress": "internet",
                "routes": [{"route": "POST /thumbs/{name}", "auth": "none"}],
                "schedules": [{"name": "s", "cron": "*/5 * * * *"}], "mounts": [{"host": "/srv/a", "path": "/mnt/a"}]}
    keep("settings", "whole", json.dumps(settings))
    keep("settings", "web", '{"web": {"port": 8080, "health": "/up"}, "command": ["/app"], "image": null}')
    keep("stored", "function", json.dumps(settings))
    keep("stored", "sums", bytes([1] + [0] * 20))


def requests() -> None:
    keep("runtime_api", "next", "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: a\r\n\r\n")
    keep("runtime_api", "response", "POST /2018-06-01/runtime/invocation/x/response HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
                                    "GET /b HTTP/1.0\r\n\r\n")
    keep("runtime_api", "chunks", "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5;x=y\r\nhello\r\n"
                                  "0\r\nLambda-Runtime-Function-Error-Type: Odd\r\n\r\n")
    id, code = "0123456789abcdef0123456789abcdef", "7" * 64
    start = {"do": "start", "isolation": "namespace", "spec": {
        "id": id, "root": "host", "command": ["/usr/bin/python3"], "env": [["LANG", "C.UTF-8"]], "work_dir": "/var/task",
        "user": {"uid": 993, "gid": 993}, "code": code, "layers": None, "secret_files": False, "invoke_streams": 1,
        "limits": {"memory": "128MB", "cpu_cap": "1", "cpu_share": "0.072", "pids": 256, "tmp": "512MB"},
        "mounts": [{"host": "/srv/photos", "path": "/mnt/photos", "read_only": True}], "egress": "none"}}
    keep("spawner", "start", json.dumps(start))
    keep("spawner", "kill", json.dumps({"do": "kill", "id": id}))
    keep("spawner", "adopt", json.dumps({"do": "adopt", "id": id, "code": code}))
    keep("spawner", "launch", bytes([0] * 4 + [1, 0, 0, 0] * 2) + b"/\0/x\0A=1\0")
    keep("spawner", "report", bytes([2, 0, 0x8b, 0, 0, 0]))
    for name, text in {
        "lambda": request("POST", "/2015-03-31/functions", [("Host", "a")], json.dumps(
            {"FunctionName": "f", "Role": "arn:aws:iam::123456789012:role/r", "Code": {"ZipFile": "UEsFBg=="},
             "Runtime": "python3.11", "Handler": "a.b", "Timeout": 3, "Tags": {"a": "b"}})),
        "lambda-query": request("GET", "/2018-10-31/layers/l/versions/3?MaxItems=5&Marker=a%2Bb", [], ""),
        "scheduler": request("POST", "/schedules/s", [], json.dumps(
            {"ScheduleExpression": "rate(1 minute)", "FlexibleTimeWindow": {"Mode": "OFF"},
             "Target": {"Arn": "arn:aws:lambda:a:1:function:f", "RoleArn": "arn:aws:iam::123456789012:role/r"}})),
        "sqs": request("POST", "/", [("X-Amz-Target", "AmazonSQS.SendMessage")], json.dumps(
            {"QueueUrl": "http://a/1/q", "MessageBody": "x", "MessageAttributes":
             {"a": {"DataType": "Binary", "BinaryValue": "AAE="}}})),
        "logs": request("POST", "/", [("X-Amz-Target", "Logs_20140328.FilterLogEvents")],
                        '{"logGroupName": "/aws/lambda/f", "startTime": 1}'),
        "iam": request("POST", "/", [], "Action=CreateRole&Version=2010-05-08&RoleName=r&AssumeRolePolicyDocument=%7B%7D"
                                        "&Tags.member.1.Key=a&Tags.member.1.Value=b"),
    }.items():
        keep("aws_input", name, text)
    for name, text in {
        "answer": '{"statusCode": 200, "headers": {"a": "b", "Connection": "x"}, "cookies": ["a=b"], "body": "aGk=", '
                  '"isBase64Encoded": true}',
        "event": '{"version": "2.0", "rawPath": "/a", "rawQueryString": "b=c", "headers": {"host": "x"}, "cookies": ["a=b"], '
                 '"requestContext": {"http": {"method": "GET"}}, "body": "aGk=", "isBase64Encoded": true}',
    }.items():
        keep("http_event", name, text)


def database() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "catalogue.db"
        db = sqlite3.connect(file)
        db.executescript("PRAGMA page_size = 512; VACUUM; PRAGMA user_version = 1; CREATE TABLE functions (name TEXT PRIMARY KEY, "
                         "revision INTEGER NOT NULL, spec TEXT NOT NULL); INSERT INTO functions VALUES ('f', 1, '{}');")
        db.close()
        keep("database", "old", file.read_bytes())


if __name__ == "__main__":
    shutil.rmtree(SEEDS, ignore_errors=True)
    for make in [wire, signed, archives, texts, requests, database]:
        make()
