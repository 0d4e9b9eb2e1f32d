"""Run with Pillow installed: `python -m pytest examples/thumbnailer`."""

import base64
import importlib.util
import io
import json
from pathlib import Path

import pytest

Image = pytest.importorskip("PIL.Image")

HERE = Path(__file__).parent
# Loaded by path: every Python example has an `app`, and one test run may collect them all.
spec = importlib.util.spec_from_file_location("thumbnailer_app", HERE / "app.py")
app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(app)

SAMPLE = (HERE / "cases" / "sample.jpg").read_bytes()


def picture(size=(80, 40), mode="RGB", color=None, kind="PNG", **options):
    out = io.BytesIO()
    Image.new(mode, size, color or 0).save(out, kind, **options)
    return out.getvalue()


def opened(data):
    return Image.open(io.BytesIO(data))


def post(data, **query):
    event = {
        "requestContext": {"http": {"method": "POST"}},
        "queryStringParameters": query or None,
        "isBase64Encoded": True,
        "body": base64.b64encode(data).decode(),
    }
    return app.handler(event, None)


def test_turns_a_picture_upright():
    assert opened(SAMPLE).size == (320, 240)
    thumbnail, kind = app.thumbnail(SAMPLE, 64)
    assert (opened(thumbnail).size, kind) == ((48, 64), "JPEG")
    # The sky is at the top, so it is really turned and not only relabelled.
    top, bottom = (opened(thumbnail).getpixel((24, y)) for y in (4, 60))
    assert top[2] > bottom[2]


def test_leaves_the_metadata_behind():
    assert dict(opened(SAMPLE).getexif())
    for kind in ("PNG", "JPEG", "WEBP"):
        assert not dict(opened(app.thumbnail(SAMPLE, 64, kind)[0]).getexif())


def test_never_enlarges():
    assert opened(app.thumbnail(picture((80, 40)), 128)[0]).size == (80, 40)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_saves_every_mode_in_every_format(mode, kind):
    thumbnail, _ = app.thumbnail(picture(mode=mode), 32, kind)
    assert (opened(thumbnail).format, opened(thumbnail).size) == (kind, (32, 16))


def test_puts_transparent_pictures_on_white_when_the_format_needs_it():
    clear = picture(mode="RGBA", color=(255, 0, 0, 0))
    assert opened(app.thumbnail(clear, 32, "JPEG")[0]).getpixel((5, 5)) == (255, 255, 255)
    assert opened(app.thumbnail(clear, 32, "PNG")[0]).getpixel((5, 5))[3] == 0


def test_answers_a_gif_with_a_png():
    answer = post(picture(kind="GIF", mode="P"))
    assert answer["headers"]["content-type"] == "image/png"


def test_refuses_by_pixels_before_unpacking():
    # A black picture of 64 Mpx packs into a few kB.
    bomb = picture((8000, 8000), "1")
    assert len(bomb) < 20_000
    answer = post(bomb)
    assert answer["statusCode"] == 413
    assert "8000 × 8000" in json.loads(answer["body"])["error"]


@pytest.mark.parametrize("damaged", [SAMPLE[:200], SAMPLE[:2000], b"\xff\xd8", b"not a picture", b"%!PS"])
def test_refuses_what_cannot_be_read(damaged):
    assert post(damaged)["statusCode"] == 400


@pytest.mark.parametrize("query", [{"size": "0"}, {"size": "5000"}, {"size": "²"}, {"format": "tiff"}])
def test_refuses_what_it_cannot_make(query):
    assert post(SAMPLE, **query)["statusCode"] == 400
