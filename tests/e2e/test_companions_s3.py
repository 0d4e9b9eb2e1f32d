"""S3's buckets and objects, and functions that are deployed from them."""

import hashlib
import io
import json
import urllib.request
import uuid
import zipfile

import boto3
import pytest
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from harness import aws
from harness.checked import Checked


@pytest.fixture(scope="module")
def s3(hearth):
    return Checked(aws.client(hearth, "s3"))


@pytest.fixture
def bucket(s3):
    name = f"bucket-{uuid.uuid4().hex[:10]}"
    s3.create_bucket(Bucket=name)
    yield name
    for page in s3.client.get_paginator("list_objects_v2").paginate(Bucket=name):
        for one in page.get("Contents", []):
            s3.client.delete_object(Bucket=name, Key=one["Key"])
    s3.client.delete_bucket(Bucket=name)


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]


def test_buckets_are_made_listed_and_removed(s3, bucket):
    assert bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]
    s3.head_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    assert not s3.client.get_bucket_location(Bucket=bucket).get("LocationConstraint")
    assert refused(s3.client.head_bucket, Bucket="none-of-them")[1] == 404
    assert refused(s3.client.create_bucket, Bucket="a..b") == ("InvalidBucketName", 400)
    assert refused(s3.client.list_objects_v2, Bucket="none-of-them") == ("NoSuchBucket", 404)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert refused(s3.client.delete_bucket, Bucket=bucket) == ("BucketNotEmpty", 409)
    assert refused(s3.client.get_bucket_policy, Bucket=bucket)[0] == "NotImplemented"


@pytest.mark.parametrize("key", ["plain", "a/b/c.txt", "with space +&=?#%/ü/日本", "../up/./x", "//two"])
def test_an_object_comes_back_as_it_was_put(s3, bucket, key):
    body = bytes(range(256)) * 40
    put = s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/x", CacheControl="no-cache", Metadata={"who": "me"})
    etag = f'"{hashlib.md5(body).hexdigest()}"'
    assert put["ETag"] == etag
    got = s3.get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == body
    assert (got["ContentType"], got["CacheControl"], got["Metadata"], got["ETag"]) == ("text/x", "no-cache", {"who": "me"}, etag)
    assert s3.head_object(Bucket=bucket, Key=key)["ContentLength"] == len(body)
    assert s3.client.get_object(Bucket=bucket, Key=key, Range="bytes=10-19")["Body"].read() == body[10:20]
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.client.delete_object(Bucket=bucket, Key=key)
    assert refused(s3.client.get_object, Bucket=bucket, Key=key) == ("NoSuchKey", 404)
    s3.client.delete_object(Bucket=bucket, Key=key)


def test_conditions_hold(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["ETag"]
    assert refused(s3.client.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*") == ("PreconditionFailed", 412)
    s3.put_object(Bucket=bucket, Key="k", Body=b"2", IfMatch=etag)
    assert refused(s3.client.get_object, Bucket=bucket, Key="k", IfMatch=etag) == ("PreconditionFailed", 412)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
def test_checksums_are_held_to_what_came(hearth, keys, s3, bucket, algorithm):
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"hello", ChecksumAlgorithm=algorithm)
    assert answer[f"Checksum{algorithm}"]
    # boto3 compares it with what it reads.
    assert s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["Body"].read() == b"hello"
    wrong = {f"Checksum{algorithm}": s3.put_object(Bucket=bucket, Key="o", Body=b"other", ChecksumAlgorithm=algorithm)[f"Checksum{algorithm}"]}
    assert refused(s3.client.put_object, Bucket=bucket, Key="k", Body=b"hello", **wrong) == ("BadDigest", 400)


def test_lists_have_prefixes_delimiters_and_pages(s3, bucket):
    keys = ["a", "d/1", "d/2", "d/e/3", "f/4", "z"]
    for key in keys:
        s3.client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [one["Key"] for one in page["Contents"]] == ["a", "z"]
    assert [one["Prefix"] for one in page["CommonPrefixes"]] == ["d/", "f/"] and page["KeyCount"] == 4
    page = s3.list_objects_v2(Bucket=bucket, Prefix="d/", Delimiter="/")
    assert [one["Key"] for one in page["Contents"]] == ["d/1", "d/2"] and page["CommonPrefixes"] == [{"Prefix": "d/e/"}]
    for delimiter, expected in (("", keys), ("/", ["a", "d/", "f/", "z"])):
        pages = list(s3.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter=delimiter, PaginationConfig={"PageSize": 1}))
        found = [one.get("Key") or one["Prefix"] for page in pages for one in page.get("Contents", []) + page.get("CommonPrefixes", [])]
        assert found == expected and len(pages) == len(expected)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, StartAfter="d/2")["Contents"]] == ["d/e/3", "f/4", "z"]
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a"}, {"Key": "none & <x>"}]})["Deleted"]
    assert [one["Key"] for one in gone] == ["a", "none & <x>"]


def test_large_objects_come_in_parts(s3, bucket, tmp_path):
    body = b"0123456789abcdef" * (13 << 16)
    (tmp_path / "large").write_bytes(body)
    transfer = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=4)
    s3.client.upload_file(str(tmp_path / "large"), bucket, "large", Config=transfer, ExtraArgs={"Metadata": {"a": "b"}})
    head = s3.head_object(Bucket=bucket, Key="large")
    assert head["ContentLength"] == len(body) and head["ETag"].endswith('-3"') and head["Metadata"] == {"a": "b"}
    s3.client.download_file(bucket, "large", str(tmp_path / "back"), Config=transfer)
    assert (tmp_path / "back").read_bytes() == body

    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    small = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"small")
    last = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=2, Body=b"last")
    parts = [{"PartNumber": 1, "ETag": small["ETag"]}, {"PartNumber": 2, "ETag": last["ETag"]}]
    which = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    assert refused(s3.client.complete_multipart_upload, **which, MultipartUpload={"Parts": parts}) == ("EntityTooSmall", 400)
    assert refused(s3.client.complete_multipart_upload, **which, MultipartUpload={"Parts": parts[::-1]}) == ("InvalidPartOrder", 400)
    wrong = [{"PartNumber": 1, "ETag": '"00"'}]
    assert refused(s3.client.complete_multipart_upload, **which, MultipartUpload={"Parts": wrong}) == ("InvalidPart", 400)
    s3.client.abort_multipart_upload(**which)
    assert refused(s3.client.upload_part, **which, PartNumber=1, Body=b"x") == ("NoSuchUpload", 404)


def test_presigned_urls_need_no_keys(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a b", Body=b"shown")
    url = s3.client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b"}, ExpiresIn=60)
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"shown"
        # In a browser it is nobody's script, whatever type it says it is of.
        assert "sandbox" in answer.headers["content-security-policy"] and answer.headers["x-content-type-options"] == "nosniff"
    url = s3.client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "put"}, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(url, b"by url", method="PUT"), timeout=10) as answer:
        assert answer.status == 200
    assert s3.get_object(Bucket=bucket, Key="put")["Body"].read() == b"by url"
    for wrong, status, word in (
        (url.replace("/put?", "/other?"), 403, b"SignatureDoesNotMatch"),
        (url.split("?")[0] + "?AWSAccessKeyId=a&Signature=b&Expires=1", 400, b"AWS4-HMAC-SHA256"),
    ):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(wrong, b"by url", method="PUT"), timeout=10)
        assert caught.value.code == status and word in caught.value.read()


def test_a_wrong_key_and_a_changed_body_are_refused(hearth, keys, s3, bucket):
    wrong = aws.client(hearth, "s3", AWS_SECRET_ACCESS_KEY="wrong")
    assert refused(wrong.list_buckets) == ("SignatureDoesNotMatch", 403)
    request = AWSRequest("PUT", f"{hearth.endpoint}/{bucket}/k", data=b"signed", headers={"x-amz-content-sha256": hashlib.sha256(b"signed").hexdigest()})
    S3SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]), "s3", "us-east-1").add_auth(request)
    plain = urllib.request.Request(request.url, b"other!", dict(request.headers), method="PUT")
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(plain, timeout=10)
    assert caught.value.code == 400 and b"XAmzContentSHA256Mismatch" in caught.value.read()


def test_a_body_may_come_in_pieces_with_a_trailer(hearth, keys, bucket, s3):
    import base64
    import zlib

    body = b"piece by piece" * 1000
    checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    encoded = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9000], body[9000:]))
    encoded += b"0\r\nx-amz-checksum-crc32:" + checksum.encode() + b"\r\n\r\n"
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": str(len(body)),
        "x-amz-trailer": "x-amz-checksum-crc32",
        "content-encoding": "aws-chunked",
    }
    for text, expected in ((encoded, 200), (encoded.replace(b"piece", b"PIECE", 1), 400)):
        request = AWSRequest("PUT", f"{hearth.endpoint}/{bucket}/chunked", data=text, headers=headers)
        request.context["payload_signing_enabled"] = False
        signer = S3SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]), "s3", "us-east-1")
        signer.payload = lambda _: "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        signer.add_auth(request)
        plain = urllib.request.Request(request.url, text, dict(request.headers), method="PUT")
        try:
            status = urllib.request.urlopen(plain, timeout=10).status
        except urllib.error.HTTPError as error:
            status = error.code
        assert status == expected
    got = s3.get_object(Bucket=bucket, Key="chunked")
    assert got["Body"].read() == body and "ContentEncoding" not in got


def test_virtual_hosts_are_refused_clearly(hearth, keys):
    config = Config(s3={"addressing_style": "virtual"}, retries={"total_max_attempts": 1}, proxies={})
    client = boto3.client("s3", endpoint_url=f"http://localhost:{hearth.port}", aws_access_key_id=keys["AWS_ACCESS_KEY_ID"], aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"], region_name="us-east-1", config=config)
    try:
        code, _ = refused(client.list_objects_v2, Bucket="some-bucket")
    except Exception as error:
        if type(error).__name__ == "EndpointConnectionError":
            pytest.skip("some-bucket.localhost does not resolve here")
        raise
    assert code == "InvalidRequest"


def test_a_function_is_deployed_from_a_bucket(hearth, boto, s3, bucket):
    def package(text):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("app.py", f"def handler(event, context):\n    return {text!r}\n")
        return buffer.getvalue()

    name = f"s3-{uuid.uuid4().hex[:10]}"
    s3.put_object(Bucket=bucket, Key="code/1.zip", Body=package("first"))
    s3.put_object(Bucket=bucket, Key="code/2.zip", Body=package("second"))
    try:
        boto.create_function(FunctionName=name, Role="arn:aws:iam::000000000000:role/any", Runtime="python3.11", Handler="app.handler", Code={"S3Bucket": bucket, "S3Key": "code/1.zip"})
        assert json.load(boto.invoke(FunctionName=name)["Payload"]) == "first"
        boto.update_function_code(FunctionName=name, S3Bucket=bucket, S3Key="code/2.zip")
        assert json.load(boto.invoke(FunctionName=name)["Payload"]) == "second"
        assert refused(boto.update_function_code, FunctionName=name, S3Bucket=bucket, S3Key="none") == ("InvalidParameterValueException", 400)
        assert refused(boto.update_function_code, FunctionName=name, S3Bucket="none-of-them", S3Key="x") == ("InvalidParameterValueException", 400)
    finally:
        hearth.api.remove(name)


def test_buckets_and_objects_have_tags(s3, bucket):
    tags = [{"Key": "a", "Value": "1"}, {"Key": "b&c", "Value": "<2>"}]
    assert refused(s3.client.get_bucket_tagging, Bucket=bucket) == ("NoSuchTagSet", 404)
    assert s3.client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})["ResponseMetadata"]["HTTPStatusCode"] == 204
    s3.create_bucket(Bucket=bucket)
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    s3.delete_bucket_tagging(Bucket=bucket)
    assert refused(s3.client.get_bucket_tagging, Bucket=bucket) == ("NoSuchTagSet", 404)

    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="team=a%20b&empty=")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "empty", "Value": ""}, {"Key": "team", "Value": "a b"}]
    assert s3.get_object(Bucket=bucket, Key="k")["TagCount"] == 2
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert refused(s3.client.get_object_tagging, Bucket=bucket, Key="none") == ("NoSuchKey", 404)
    assert refused(s3.client.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": [tags[0], tags[0]]}) == ("InvalidTag", 400)
    many = [{"Key": f"t{number}", "Value": ""} for number in range(11)]
    assert refused(s3.client.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": many}) == ("BadRequest", 400)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", Tagging="a=1")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"y")["ETag"]
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="parts")["TagSet"] == [{"Key": "a", "Value": "1"}]
