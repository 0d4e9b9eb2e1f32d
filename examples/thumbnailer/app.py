"""Makes a thumbnail of a posted picture: `POST /?size=128&format=webp`, the picture as the body.

Refuses what is no PNG, JPEG, WebP or GIF, and pictures that unpack to more than MAX_PIXELS. Keeps
nothing of the original's metadata (place, camera) but the colour profile.
"""

import base64
import binascii
import io
import json
import os

from PIL import Image, ImageOps, UnidentifiedImageError

# Only these decoders may look at a stranger's bytes: Pillow knows dozens, some of them far less tested.
INPUTS = ("PNG", "JPEG", "WEBP", "GIF")
OUTPUTS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
SIZES = range(16, 1025)
MAX_PIXELS = int(os.environ.get("MAX_PIXELS", "50000000"))


class Refused(Exception):
    """The request cannot be served, and it is the caller who can change that."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def handler(event, context):
    try:
        if event["requestContext"]["http"]["method"] != "POST":
            raise Refused(405, "POST a picture here")
        query = event.get("queryStringParameters") or {}
        picture, kind = thumbnail(body_of(event), size_of(query), format_of(query))
    except Refused as refused:
        return {
            "statusCode": refused.status,
            "headers": {"content-type": "application/json"}
            | ({"allow": "POST"} if refused.status == 405 else {}),
            "body": json.dumps({"error": str(refused)}),
        }
    return {
        "statusCode": 200,
        "headers": {"content-type": f"image/{kind.lower()}"},
        "isBase64Encoded": True,
        "body": base64.b64encode(picture).decode(),
    }


def size_of(query):
    text = query.get("size", "128")
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) in SIZES):
        raise Refused(400, f"size must be a number from {SIZES[0]} to {SIZES[-1]}, got {text!r}")
    return int(text)


def format_of(query):
    """The wanted format, or None for that of the original."""
    name = query.get("format")
    if name is not None and name.lower() not in OUTPUTS:
        raise Refused(400, f"format must be one of {', '.join(OUTPUTS)}, got {name!r}")
    return OUTPUTS[name.lower()] if name else None


def body_of(event):
    body = event.get("body")
    if not body:
        raise Refused(400, "the request has no body: send the picture as it is")
    if not event.get("isBase64Encoded"):
        raise Refused(400, "the body came as text: send the picture with a content-type of image/…")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise Refused(400, f"the body is not base64: {error}") from error


def thumbnail(data, size, kind=None):
    """The picture, upright and no larger than `size` either way, with the format it is in."""
    try:
        image = Image.open(io.BytesIO(data), formats=INPUTS)
    except Image.DecompressionBombError as error:
        raise Refused(413, "the picture has too many pixels") from error
    except UnidentifiedImageError as error:
        raise Refused(400, f"the body is not a picture in {', '.join(INPUTS)}") from error
    except Exception as error:
        raise unreadable(error) from error

    with image:
        # So far only the header has been read: this is the moment to refuse, before anything unpacks.
        if image.width * image.height > MAX_PIXELS:
            raise Refused(
                413, f"the picture has {image.width} × {image.height} pixels, more than {MAX_PIXELS}"
            )
        kind = kind or (image.format if image.format in OUTPUTS.values() else "PNG")
        profile = image.info.get("icc_profile")
        try:
            # Shrunk first and turned afterwards: turning the original would hold it in memory twice.
            # JPEG is shrunk while it is decoded.
            image.draft(None, (size * 2, size * 2))
            image.load()
            small = plain(image)
            small.thumbnail((size, size), Image.Resampling.LANCZOS, reducing_gap=2.0)
        except Exception as error:
            raise unreadable(error) from error
        if image.mode == "CMYK":
            profile = None  # describes colours that the picture no longer has

    small = upright(small)
    if kind == "JPEG" and small.has_transparency_data:
        small = on_white(small)
    out = io.BytesIO()
    small.info = {}  # some formats would carry the original's metadata over
    small.save(out, kind, icc_profile=profile, **({"quality": 85} if kind != "PNG" else {}))
    return out.getvalue(), kind


def unreadable(error):
    # Decoders raise whatever they stumble on, from SyntaxError to struct.error: all of it means that
    # the bytes are bad, and none of it is a reason to answer 502.
    return Refused(400, f"the picture is damaged: {error}")


def plain(image):
    """The picture in a mode that can be scaled smoothly and saved in every output format."""
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    if image.mode.startswith("I"):  # 16 bits of grey, which convert() would clip instead of scale
        return image.convert("I").point(lambda grey: grey / 256).convert("L")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def upright(image):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image  # damaged notes about a picture are no reason to refuse the picture


def on_white(image):
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
