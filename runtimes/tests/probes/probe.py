"""The Python bootstrap's codec, for test_vectors.py: a JSON list of jobs on stdin, of results on stdout."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "python"))
sys.dont_write_bytecode = True
from _hearth import life, wire  # noqa: E402

KINDS = {name: getattr(wire, name) for name in "HELLO INIT READY INIT_ERROR LOG INVOKE DATA END RESPONSE ERROR".split()}


def encode(kind, f):
    if kind == "HELLO":
        return wire.hello(f["runtime"])
    if kind == "LOG":
        return wire.log(f["time_us"], f["level"], f["request_id"], f["message"])
    if kind == "STREAM":
        return wire.stream(f["content_type"], bytes.fromhex(f["payload_hex"]))
    if kind == "RESPONSE":
        return wire.response(f["last"], bytes.fromhex(f["payload_hex"]))
    body = bytes.fromhex(f["payload_hex"]) if "payload_hex" in f else f.get("json", "").encode()
    return wire.frame(KINDS[kind], body)


def decode(stream, data):
    """Feeds one frame into the real reader, from a file in memory."""
    fd = os.memfd_create("frame")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        allowed = (wire.INIT,) if stream == "control" else (wire.INVOKE, wire.DATA, wire.END)
        kind, body = wire.Stream(fd, allowed).read_frame()
    finally:
        os.close(fd)
    if kind == wire.INVOKE:
        call = wire.decode_invoke(body)
        fields = {name: getattr(call, name) for name in call.__slots__ if name != "payload"}
        fields["payload_hex"] = bytes(call.payload).hex()
        return fields
    if kind == wire.INIT:
        life.parse_init(body)
        return {"json": bytes(body).decode()}
    return {"payload_hex": bytes(body).hex()} if kind == wire.DATA else {}


def work(job):
    try:
        if job["do"] == "encode":
            return {"hex": encode(job["kind"], job["fields"]).hex()}
        return {"fields": decode(job["stream"], bytes.fromhex(job["hex"]))}
    except wire.ProtocolError as e:
        return {"refused": str(e)}


json.dump([work(job) for job in json.load(sys.stdin)], sys.stdout)
