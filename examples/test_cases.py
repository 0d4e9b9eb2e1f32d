"""Run with `python -m pytest examples/test_cases.py`."""

import json
import struct

import cases
import pytest
from cases import Response, match, match_response


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ({"a": 1}, {"a": 1, "b": 2}),
        ([{"a": 1}, {}], [{"a": 1, "b": 2}, {"c": 3}]),
        ({"$regex": "^a+$"}, "aaa"),
        ({"$regex": r"^\d+$"}, 42),
        (1, 1.0),
        (None, None),
    ],
)
def test_matches_as_far_as_the_case_goes(expected, actual):
    assert match(expected, actual) == []


@pytest.mark.parametrize(
    ("expected", "actual", "difference"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "$.a.b: expected 1, got 2"),
        ({"a": None}, {}, "$.a: missing, expected null"),
        ([1], [1, 2], "$: expected 1 items, got 2: [1, 2]"),
        ([1, 2], [1, 3], "$[1]: expected 2, got 3"),
        (1, True, "$: expected 1, got true"),
        ({}, None, "$: expected {}, got null"),
        ({"$regex": "^a"}, "b", '$: expected to match /^a/, got "b"'),
    ],
)
def test_tells_where_and_what_differs(expected, actual, difference):
    assert match(expected, actual) == [difference]


def test_compares_an_answer():
    answer = Response(200, [("Set-Cookie", "a=1"), ("set-cookie", "b=2")], b'{"a": 1}')
    assert match_response({"headers": {"set-cookie": "b=2"}, "json": {"a": 1}}, answer) == []
    assert match_response({"headers": {"set-cookie": "c"}}, answer) != []
    assert match_response({"headers": {"x": "y"}}, answer) == ['headers.x: missing, expected "y"']
    assert match_response({"json": {}}, Response(200, body=b"{")) != []
    assert match_response({"image": {"format": "PNG"}}, answer) != []


def test_reads_the_size_of_a_webp_in_each_of_its_forms():
    def webp(chunk, rest):
        return b"RIFF\0\0\0\0WEBP" + chunk + b"\0\0\0\0" + rest

    size = {"format": "WEBP", "width": 48, "height": 64}
    lossy = webp(b"VP8 ", bytes(6) + struct.pack("<HH", 48, 64))
    lossless = webp(b"VP8L", b"\x2f" + struct.pack("<I", 47 | 63 << 14))
    extended = webp(b"VP8X", bytes(4) + b"\x2f\0\0\x3f\0\0")
    assert [cases.image_info(data) for data in (lossy, lossless, extended)] == [size] * 3
    assert cases.image_info(lossy[:20]) is None


def test_a_case_with_a_misspelt_key_does_not_load(tmp_path):
    (tmp_path / "cases").mkdir()
    case = {"http": {"path": "/"}, "expect": {"statsu": 200}}
    (tmp_path / "cases" / "one.json").write_text(json.dumps(case))
    with pytest.raises(cases.BadCase, match="statsu"):
        cases.load_cases(tmp_path)


def test_makes_an_event_of_a_request():
    request = cases.Request("POST", "/a?t=1&t=2", {"Cookie": "a=1; b=2", "Content-Type": "image/png"}, b"\xff")
    event = cases.to_event(request)
    assert event["queryStringParameters"] == {"t": "1,2"}
    assert event["cookies"] == ["a=1", "b=2"]
    assert (event["isBase64Encoded"], event["body"]) == (True, "/w==")
