"""The host's view of `wire` for these tests: written from docs/wire.md alone, with `struct`, so that it
shares no line with the bootstraps under test. It has to agree with the golden vectors, too.
"""

import json
import struct

KINDS = {
    "HELLO": 0x01, "INIT": 0x02, "READY": 0x03, "INIT_ERROR": 0x04, "LOG": 0x05,
    "TRACE": 0x06, "IMAGE": 0x08, "SNAPSHOT": 0x09,
    "INVOKE": 0x10, "DATA": 0x11, "END": 0x12, "RESPONSE": 0x13, "ERROR": 0x14, "CONNECT": 0x15, "STREAM": 0x16,
}  # fmt: skip
NAMES = {code: name for name, code in KINDS.items()}


def frame(kind, body=b""):
    return struct.pack("<IB", len(body), KINDS[kind]) + body


def str16(text):
    data = text.encode()
    return struct.pack("<H", len(data)) + data


def str32(text):
    data = text.encode()
    return struct.pack("<I", len(data)) + data


def init(body):
    return frame("INIT", json.dumps(body).encode())


def encode(kind, f):
    """A vector's `fields` to its frame."""
    if kind == "HELLO":
        body = struct.pack("<H", f["version"]) + str16(f["runtime"])
    elif kind == "LOG":
        body = struct.pack("<QB", f["time_us"], f["level"]) + str16(f["request_id"]) + f["message"].encode()
    elif kind == "SNAPSHOT":
        body = f["why"].encode()
    elif kind == "TRACE":
        body = struct.pack("<QB", f["begun_us"], len(f["steps"])) + b"".join(struct.pack("<BI", *s) for s in f["steps"])
    elif kind == "INVOKE":
        body = struct.pack("<Q", f["deadline_ms"])
        body += str16(f["request_id"]) + str16(f["trace_id"]) + str16(f["function_arn"])
        body += str32(f["client_context"]) + str32(f["cognito_identity"])
        body += bytes([f["last"]]) + bytes.fromhex(f["payload_hex"])
    elif kind == "RESPONSE":
        body = bytes([f["last"]]) + bytes.fromhex(f["payload_hex"])
    elif kind == "STREAM":
        body = str16(f["content_type"]) + bytes.fromhex(f["payload_hex"])
    elif kind == "DATA":
        body = bytes.fromhex(f["payload_hex"])
    elif kind in ("INIT", "INIT_ERROR", "ERROR"):
        body = f["json"].encode()
    else:
        body = b""
    return frame(kind, body)


def decode_log(body):
    time_us, level, size = struct.unpack_from("<QBH", body)
    return {
        "time_us": time_us,
        "level": level,
        "request_id": body[11 : 11 + size].decode(),
        "message": body[11 + size :].decode(),
    }


def take_frame(buffer):
    """Cuts the first whole frame off a bytearray: (kind name, body), or None."""
    if len(buffer) < 5:
        return None
    size, code = struct.unpack_from("<IB", buffer)
    if len(buffer) < 5 + size:
        return None
    body = bytes(buffer[5 : 5 + size])
    del buffer[: 5 + size]
    return NAMES[code], body
