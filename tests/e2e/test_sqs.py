"""SQS's API through boto3, over Hearth's own queues: as a script for AWS drives it, each answer held against the model."""

import hashlib
import io
import json
import struct
import threading
import time
import urllib.request
import uuid
import zipfile
from urllib.error import HTTPError

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from harness import aws
from harness.checked import Checked, refused
from harness.wait import until



def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def md5_of_attributes(attributes):
    """As AWS writes it down for clients that check."""
    whole = b""
    part = lambda one: struct.pack(">I", len(one)) + one  # noqa: E731
    for name in sorted(attributes):
        kind = attributes[name]["DataType"]
        whole += part(name.encode()) + part(kind.encode())
        if kind.startswith("Binary"):
            whole += b"\x02" + part(attributes[name]["BinaryValue"])
        else:
            whole += b"\x01" + part(attributes[name]["StringValue"].encode())
    return hashlib.md5(whole).hexdigest()


def arn(name):
    return f"arn:aws:sqs:us-east-1:000000000000:{name}"


@pytest.fixture
def sqs(hearth):
    return Checked(aws.client(hearth, "sqs"))


@pytest.fixture
def queue(sqs):
    """Makes queues: `queue(**attributes) -> url`."""
    made = []

    def make(name=None, **attributes):
        name = name or f"sqs-{uuid.uuid4().hex[:10]}"
        made.append(sqs.create_queue(QueueName=name, Attributes={key: str(value) for key, value in attributes.items()})["QueueUrl"])
        return made[-1]

    yield make
    for url in made:
        try:
            sqs.client.delete_queue(QueueUrl=url)
        except ClientError as error:
            assert "NonExistentQueue" in str(error), error


def name_of(url):
    return url.rsplit("/", 1)[1]


def numbers(sqs, url):
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return tuple(int(shown["ApproximateNumberOfMessages" + more]) for more in ("", "NotVisible", "Delayed"))


def test_a_queue_is_made_found_listed_changed_and_removed(hearth, sqs, queue):
    name = f"sqs-{uuid.uuid4().hex[:10]}"
    url = queue(name, VisibilityTimeout=45, DelaySeconds=1)
    assert url == f"{hearth.endpoint}/000000000000/{name}"
    assert sqs.get_queue_url(QueueName=name)["QueueUrl"] == url
    assert queue(name, VisibilityTimeout=45) == url, "what is said is so already"
    code, status, message = refused(sqs.create_queue, QueueName=name, Attributes={"VisibilityTimeout": "46"})
    assert (code, status) == ("QueueAlreadyExists", 400) and "VisibilityTimeout" in message
    with pytest.raises(sqs.exceptions.QueueNameExists):
        sqs.create_queue(QueueName=name, Attributes={"DelaySeconds": "2"})
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert shown["QueueArn"] == arn(name) and shown["MaximumMessageSize"] == "1048576"
    assert (shown["VisibilityTimeout"], shown["DelaySeconds"], shown["MessageRetentionPeriod"]) == ("45", "1", "345600")
    assert abs(int(shown["CreatedTimestamp"]) - time.time()) < 60 and "RedrivePolicy" not in shown
    assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"] == {"QueueArn": arn(name)}
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=url)
    policy = json.dumps({"Version": "2012-10-17", "Statement": []})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "0", "ReceiveMessageWaitTimeSeconds": "2", "MaximumMessageSize": "2048", "Policy": policy})
    shown = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    assert (shown["DelaySeconds"], shown["VisibilityTimeout"], shown["ReceiveMessageWaitTimeSeconds"]) == ("0", "45", "2")
    assert shown["Policy"] == policy
    assert shown["SqsManagedSseEnabled"] == "false"
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"SqsManagedSseEnabled": "true"})
    assert sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["SqsManagedSseEnabled"])["Attributes"] == {"SqsManagedSseEnabled": "true"}
    assert hearth.cli.ok("mq", "show", name, "--json").json()["visibility"] == "45s", "it is the queue of hearth mq"
    assert "2048" in refused(sqs.send_message, QueueUrl=url, MessageBody="x" * 2049)[2]
    assert "2048" in hearth.cli.refused("mq", "send", name, "x" * 2049).text

    sqs.tag_queue(QueueUrl=url, Tags={"team": "a", "cost": "b"})
    sqs.untag_queue(QueueUrl=url, TagKeys=["cost"])
    assert sqs.list_queue_tags(QueueUrl=url)["Tags"] == {"team": "a"}
    urls = sorted(queue(f"{name}-{n}") for n in range(3))
    assert sqs.list_queues(QueueNamePrefix=f"{name}-")["QueueUrls"] == urls
    first = sqs.list_queues(QueueNamePrefix=f"{name}-", MaxResults=2)
    rest = sqs.list_queues(QueueNamePrefix=f"{name}-", MaxResults=2, NextToken=first["NextToken"])
    assert first["QueueUrls"] + rest["QueueUrls"] == urls and "NextToken" not in rest
    sqs.delete_queue(QueueUrl=url)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist):
        sqs.get_queue_url(QueueName=name)
    for call, more in ((sqs.receive_message, {}), (sqs.send_message, {"MessageBody": "x"}), (sqs.delete_queue, {}), (sqs.purge_queue, {})):
        assert refused(call, QueueUrl=url, **more)[:2] == ("AWS.SimpleQueueService.NonExistentQueue", 400)


def test_a_message_is_sent_received_hidden_and_deleted(sqs, queue):
    url = queue(VisibilityTimeout=30)
    attributes = {
        "kind": {"DataType": "String", "StringValue": "néw"},
        "count.of": {"DataType": "Number.int", "StringValue": "7"},
        "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff\x01"},
    }
    trace = {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}
    body = 'hällo "wörld" \U0001f600\n'
    sent = sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes, MessageSystemAttributes={"AWSTraceHeader": trace})
    assert sent["MD5OfMessageBody"] == md5(body) and sent["MD5OfMessageAttributes"] == md5_of_attributes(attributes)
    assert sent["MD5OfMessageSystemAttributes"] == md5_of_attributes({"AWSTraceHeader": trace})
    [message] = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"], MaxNumberOfMessages=10)["Messages"]
    assert (message["MessageId"], message["Body"], message["MD5OfBody"]) == (sent["MessageId"], body, md5(body))
    assert message["MessageAttributes"] == attributes and message["MD5OfMessageAttributes"] == md5_of_attributes(attributes)
    system = message["Attributes"]
    assert system["AWSTraceHeader"] == trace["StringValue"] and system["ApproximateReceiveCount"] == "1"
    assert abs(int(system["SentTimestamp"]) / 1000 - time.time()) < 60 and "DeadLetterQueueSourceArn" not in system
    assert numbers(sqs, url) == (0, 1, 0)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)

    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
    [again] = sqs.receive_message(QueueUrl=url, AttributeNames=["ApproximateReceiveCount"], MessageAttributeNames=["count.*"])["Messages"]
    assert again["Attributes"] == {"ApproximateReceiveCount": "2"} and set(again["MessageAttributes"]) == {"count.of"}
    assert again["MD5OfMessageAttributes"] == md5_of_attributes({"count.of": attributes["count.of"]})
    assert again["ReceiptHandle"] != message["ReceiptHandle"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert numbers(sqs, url) == (0, 1, 0), "an old receipt deletes nothing, and is no error"
    gone = refused(sqs.change_message_visibility, QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=5)
    assert gone[0] == "InvalidParameterValue" and "not available for visibility timeout change" in gone[2]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    assert numbers(sqs, url) == (0, 0, 0)
    with pytest.raises(sqs.exceptions.ReceiptHandleIsInvalid):
        sqs.delete_message(QueueUrl=url, ReceiptHandle="nonsense")

    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=2)
    assert numbers(sqs, url) == (0, 0, 1) and "Messages" not in sqs.receive_message(QueueUrl=url)
    [later] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10, VisibilityTimeout=1)["Messages"]
    assert later["Body"] == "later" and "Attributes" not in later and "MessageAttributes" not in later
    [twice] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=10)["Messages"]
    assert twice["MessageId"] == later["MessageId"]
    sqs.purge_queue(QueueUrl=url)
    assert numbers(sqs, url) == (0, 0, 0)


def test_a_long_poll_ends_when_a_message_comes(sqs, queue):
    url = queue(ReceiveMessageWaitTimeSeconds=20)
    for asked in ({}, {"WaitTimeSeconds": 20}):
        timer = threading.Timer(1, lambda: sqs.client.send_message(QueueUrl=url, MessageBody="come"))
        begun = time.monotonic()
        timer.start()
        [message] = sqs.receive_message(QueueUrl=url, **asked)["Messages"]
        took = time.monotonic() - begun
        assert message["Body"] == "come" and 0.9 < took < 10, took
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    begun = time.monotonic()
    assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1)
    assert 0.9 < time.monotonic() - begun < 10
    begun = time.monotonic()
    assert "Messages" not in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=0)
    assert time.monotonic() - begun < 5, "what the request says goes before what the queue says"


def test_batches_say_of_each_entry_what_became_of_it(sqs, queue):
    url = queue()
    entries = [{"Id": f"m{n}", "MessageBody": f"body {n}"} for n in range(8)]
    entries += [{"Id": "late", "MessageBody": "x", "DelaySeconds": 901}, {"Id": "bad", "MessageBody": "\x00"}]
    sent = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert {one["Id"]: one["MD5OfMessageBody"] for one in sent["Successful"]} == {f"m{n}": md5(f"body {n}") for n in range(8)}
    assert {one["Id"]: (one["Code"], one["SenderFault"]) for one in sent["Failed"]} == {"late": ("InvalidParameterValue", True), "bad": ("InvalidMessageContents", True)}
    found = {}
    while len(found) < 8:
        for one in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]:
            found[one["MessageId"]] = one
    assert set(found) == {one["MessageId"] for one in sent["Successful"]}
    handles = [one["ReceiptHandle"] for one in found.values()]
    hidden = sqs.change_message_visibility_batch(
        QueueUrl=url,
        Entries=[{"Id": "a", "ReceiptHandle": handles[0], "VisibilityTimeout": 0}, {"Id": "b", "ReceiptHandle": "nonsense", "VisibilityTimeout": 0}, {"Id": "c", "ReceiptHandle": str(uuid.uuid4()), "VisibilityTimeout": 0}],
    )
    assert [one["Id"] for one in hidden["Successful"]] == ["a"]
    assert {one["Id"]: one["Code"] for one in hidden["Failed"]} == {"b": "ReceiptHandleIsInvalid", "c": "InvalidParameterValue"}
    assert numbers(sqs, url) == (1, 7, 0)
    deleted = sqs.delete_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "ReceiptHandle": handle} for n, handle in enumerate([*handles, "nonsense"])])
    assert len(deleted["Successful"]) == 8 and [one["Code"] for one in deleted["Failed"]] == ["ReceiptHandleIsInvalid"]
    assert numbers(sqs, url) == (0, 0, 0)

    one = {"Id": "a", "MessageBody": "x"}
    for wrong, code in (
        ([], "EmptyBatchRequest"),
        ([{**one, "Id": str(n)} for n in range(11)], "TooManyEntriesInBatchRequest"),
        ([one, one], "BatchEntryIdsNotDistinct"),
        ([{**one, "Id": "a b"}], "InvalidBatchEntryId"),
        ([{"Id": str(n), "MessageBody": "x" * 700_000} for n in range(2)], "BatchRequestTooLong"),
    ):
        assert refused(sqs.send_message_batch, QueueUrl=url, Entries=wrong)[0] == f"AWS.SimpleQueueService.{code}"
    whole = "ü" * (512 * 1024)
    sqs.send_message(QueueUrl=url, MessageBody=whole)
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == whole, "a message of one megabyte"
    assert refused(sqs.send_message, QueueUrl=url, MessageBody=whole + "x")[0] == "InvalidParameterValue"


def test_what_is_received_too_often_is_set_aside_and_sent_back(sqs, queue):
    dead = queue()
    policy = {"deadLetterTargetArn": arn(name_of(dead)), "maxReceiveCount": 1}
    url = queue(VisibilityTimeout=0, RedrivePolicy=json.dumps(policy))
    assert json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]["RedrivePolicy"]) == policy
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]
    sqs.send_message(QueueUrl=url, MessageBody="poison")
    assert len(sqs.receive_message(QueueUrl=url)["Messages"]) == 1
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    [message] = sqs.receive_message(QueueUrl=dead, AttributeNames=["All"], VisibilityTimeout=0)["Messages"]
    assert message["Body"] == "poison" and message["Attributes"]["DeadLetterQueueSourceArn"] == arn(name_of(url))

    assert "Dead Letter Queue" in refused(sqs.start_message_move_task, SourceArn=arn(name_of(url)))[2]
    assert refused(sqs.start_message_move_task, SourceArn=arn("nowhere"))[0] == "ResourceNotFoundException"
    assert refused(sqs.start_message_move_task, SourceArn=arn(name_of(dead)), DestinationArn=arn(name_of(url)))[0] == "AWS.SimpleQueueService.UnsupportedOperation"
    assert sqs.start_message_move_task(SourceArn=arn(name_of(dead)))["TaskHandle"]
    tasks = lambda: sqs.list_message_move_tasks(SourceArn=arn(name_of(dead)), MaxResults=10)["Results"]  # noqa: E731
    until("the move to end", lambda: tasks()[0]["Status"] == "COMPLETED", within=10)
    [task] = tasks()
    assert (task["ApproximateNumberOfMessagesMoved"], task["ApproximateNumberOfMessagesToMove"]) == (1, 1)
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "poison"

    assert "dead-letter queue of" in refused(sqs.delete_queue, QueueUrl=dead)[2]
    sqs.set_queue_attributes(QueueUrl=dead, Attributes={"RedriveAllowPolicy": json.dumps({"redrivePermission": "denyAll"})})
    assert "does not let" in refused(sqs.set_queue_attributes, QueueUrl=url, Attributes={"RedrivePolicy": json.dumps(policy)})[2]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert "Attributes" not in sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])


def test_what_is_not_here_is_refused_in_words(sqs, queue):
    url = queue()
    unsupported = "AWS.SimpleQueueService.UnsupportedOperation"
    for call, arguments, code, word in (
        (sqs.create_queue, {"QueueName": "refused.fifo", "Attributes": {"FifoQueue": "true"}}, "InvalidParameterValue", "FIFO"),
        (sqs.create_queue, {"QueueName": "refused", "Attributes": {"FifoQueue": "true"}}, "InvalidAttributeName", "FIFO"),
        (sqs.create_queue, {"QueueName": "refused", "Attributes": {"KmsMasterKeyId": "alias/aws/sqs"}}, "InvalidAttributeValue", "encrypted"),
        (sqs.create_queue, {"QueueName": "refused", "Attributes": {"VisibilityTimeout": "43201"}}, "InvalidAttributeValue", "0 to 43200"),
        (sqs.create_queue, {"QueueName": "o r"}, "InvalidParameterValue", "alphanumeric"),
        (sqs.create_queue, {"QueueName": "refused", "Attributes": {"RedrivePolicy": json.dumps({"deadLetterTargetArn": arn("nowhere"), "maxReceiveCount": 2})}}, "InvalidParameterValue", "does not exist"),
        (sqs.send_message, {"QueueUrl": url, "MessageBody": "x", "MessageGroupId": "g"}, unsupported, "MessageGroupId"),
        (sqs.send_message, {"QueueUrl": url, "MessageBody": ""}, "InvalidParameterValue", "empty"),
        (sqs.send_message, {"QueueUrl": url, "MessageBody": "x", "MessageAttributes": {"n": {"DataType": "Number", "StringValue": "seven"}}}, "InvalidParameterValue", "number"),
        (sqs.receive_message, {"QueueUrl": url, "MaxNumberOfMessages": 11}, "InvalidParameterValue", "between 1 and 10"),
        (sqs.get_queue_attributes, {"QueueUrl": url, "AttributeNames": ["Colour"]}, "InvalidAttributeName", "Colour"),
        (sqs.receive_message, {"QueueUrl": url, "AttributeNames": ["Colour"]}, "InvalidAttributeName", "Colour"),
        (sqs.receive_message, {"QueueUrl": url, "WaitTimeSeconds": 21}, "InvalidParameterValue", "between 0 and 20"),
        (sqs.add_permission, {"QueueUrl": url, "Label": "l", "AWSAccountIds": ["1"], "Actions": ["SendMessage"]}, unsupported, "Permissions"),
    ):
        found, status, message = refused(call, **arguments)
        assert (found, status) == (code, 400) and word in message, (arguments, found, message)


def test_a_function_is_fed_from_a_queue_with_nothing_but_aws_tools(hearth, boto, sqs, queue, request):
    code = "import json\ndef handler(event, context):\n    for one in event['Records']:\n        print('told ' + json.dumps(one))\n"
    url = queue()
    name = name_of(url)
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", code)
    role = "arn:aws:iam::000000000000:role/lambda"
    boto.create_function(FunctionName=name, Role=role, Runtime="python3.11", Handler="app.handler", Code={"ZipFile": package.getvalue()})
    request.addfinalizer(lambda: hearth.api.remove(name))
    mapping = boto.create_event_source_mapping(FunctionName=name, EventSourceArn=arn(name))
    trace = {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}
    sent = sqs.send_message(QueueUrl=url, MessageBody="hello", MessageAttributes={"k": {"DataType": "String", "StringValue": "v"}}, MessageSystemAttributes={"AWSTraceHeader": trace})

    def told():
        return [json.loads(line["message"][5:]) for line in hearth.cli.logs(name, "--since", "10m") if line["message"].startswith("told ")]

    until("the message to be told", told, within=20)
    [record] = told()
    assert (record["messageId"], record["body"], record["md5OfBody"]) == (sent["MessageId"], "hello", sent["MD5OfMessageBody"])
    assert record["messageAttributes"]["k"]["stringValue"] == "v" and record["attributes"]["AWSTraceHeader"] == trace["StringValue"]
    until("it to be deleted", lambda: numbers(sqs, url) == (0, 0, 0), within=10)
    assert "used by function" in refused(sqs.delete_queue, QueueUrl=url)[2]
    boto.delete_event_source_mapping(UUID=mapping["UUID"])
    sqs.delete_queue(QueueUrl=url)


def test_a_client_may_send_to_the_queues_own_address_and_the_older_protocol_is_refused(hearth, sqs, queue, keys):
    url = queue()
    there = Checked(aws.client(hearth, "sqs", AWS_ENDPOINT_URL=url))
    there.send_message(QueueUrl=url, MessageBody="by its address")
    assert sqs.receive_message(QueueUrl=url)["Messages"][0]["Body"] == "by its address"

    request = AWSRequest("POST", hearth.endpoint + "/", headers={"Content-Type": "application/x-www-form-urlencoded"}, data="Action=ListQueues&Version=2012-11-05")
    SigV4Auth(Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"]), "sqs", "us-east-1").add_auth(request)
    plain = urllib.request.Request(request.url, method="POST", data=request.data.encode(), headers=dict(request.headers))
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(plain, timeout=30)
    assert caught.value.code == 400 and "The query protocol is not taken" in caught.value.read().decode()
    code, status, _ = refused(aws.client(hearth, "sqs", AWS_SECRET_ACCESS_KEY="wrong").list_queues)
    assert (code, status) == ("InvalidSignatureException", 400)
