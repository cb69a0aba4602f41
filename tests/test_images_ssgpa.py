# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Images of any kind give the same pixels, and bad ones one clear error."""

import base64
import io
import struct
import threading
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image

from ssgpa.image_utils_ssgpa import is_image, load_image


PIXELS = np.random.default_rng(0).integers(2, 256, (12, 17, 3), dtype=np.uint8)


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, bits, color, rows):
    """A PNG written by hand, for what Pillow does not write."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def pixels(source):
    image = load_image(source)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "前 image.png"
    file.write_bytes(encode(Image.fromarray(PIXELS)))
    return file


def served(content):
    """Serve one image over HTTP and read it from there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/image" else 404)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


KINDS = {
    "str": str,
    "path": Path,
    "bytes": Path.read_bytes,
    "data URI": lambda path: "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode(),
    "data URI in capitals": lambda path: "DATA:image/png;base64," + base64.b64encode(path.read_bytes()).decode(),
    "data URI on lines": lambda path: "data:image/png;base64," + base64.encodebytes(path.read_bytes()).decode(),
    "base64": lambda path: base64.b64encode(path.read_bytes()).decode(),
    "base64 on lines": lambda path: base64.encodebytes(path.read_bytes()).decode(),
    "PIL from a file": Image.open,
    "PIL": lambda path: Image.open(path).convert("RGB"),
    "undecoded row": lambda path: {"bytes": path.read_bytes(), "path": None},
    "undecoded row of a file": lambda path: {"bytes": None, "path": str(path)},
    "datasets column": lambda path: Dataset.from_dict({"x": [str(path)]}).cast_column("x", ImageFeature())[0]["x"],
    "channels last": lambda path: PIXELS,
    "channels first": lambda path: PIXELS.transpose(2, 0, 1),
    "int64": lambda path: PIXELS.astype(np.int64),
    "float in [0, 1]": lambda path: PIXELS.astype(np.float32) / 255,
    "float in [0, 255]": lambda path: PIXELS.astype(np.float64),
    "16 bits": lambda path: PIXELS.astype(np.uint16) * 257,
    "tensor": lambda path: torch.from_numpy(PIXELS).permute(2, 0, 1),
    "float tensor": lambda path: torch.from_numpy(PIXELS).permute(2, 0, 1).float().requires_grad_() / 255,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_pixels(kind, path):
    source = KINDS[kind](path)
    assert is_image(source)
    np.testing.assert_array_equal(pixels(source), PIXELS)


def test_urls_are_fetched_and_their_errors_named(path):
    server = served(path.read_bytes())
    address = next(server)
    np.testing.assert_array_equal(pixels(address + "image"), PIXELS)
    np.testing.assert_array_equal(pixels(address.replace("http", "HTTP") + "image"), PIXELS)
    with pytest.raises(ValueError, match=rf"^{address}gone: cannot be read .*404"):
        load_image(address + "gone")
    server.close()
    with pytest.raises(ValueError, match=rf"^{address}image: cannot be read"):
        load_image(address + "image")


# How a viewer turns the stored pixels upright, by the EXIF standard's table.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: np.rot90(stored, -1),
    7: lambda stored: stored[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["str", "bytes", "data URI", "PIL from a file", "undecoded row", "datasets column"])
def test_exif_orientation_is_applied(orientation, kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "turned.png"
    file.write_bytes(encode(Image.fromarray(PIXELS), exif=exif))
    np.testing.assert_array_equal(pixels(KINDS[kind](file)), UPRIGHT[orientation](PIXELS))


def transparent():
    """Images with transparency by mode, each with what it looks like on white."""
    alpha = np.linspace(0, 255, PIXELS.shape[0] * PIXELS.shape[1]).reshape(PIXELS.shape[:2]).round().astype(np.uint8)
    share = alpha[..., None] / 255
    gray = PIXELS[..., 0]
    palette = Image.new("P", (12, 10), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.paste(1, (6, 0, 12, 10))
    halves = np.full((10, 12, 3), 255.0)
    halves[:, 6:] = (0, 0, 255)
    red = Image.new("RGB", (12, 10), (255, 0, 0))
    red.paste((0, 0, 255), (6, 0, 12, 10))
    return {
        "RGBA": (Image.fromarray(np.dstack([PIXELS, alpha])), {}, share * PIXELS + (1 - share) * 255),
        "LA": (Image.fromarray(np.dstack([gray, alpha])), {}, share * gray[..., None] + (1 - share) * 255),
        "P": (palette, {"transparency": 0}, halves),
        "RGB": (red, {"transparency": (255, 0, 0)}, halves),
    }


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.parametrize("kind", ["str", "bytes", "data URI", "PIL from a file", "undecoded row", "datasets column"])
def test_transparency_is_laid_on_white(mode, kind, tmp_path):
    image, options, expected = transparent()[mode]
    assert image.mode == mode
    file = tmp_path / "glass.png"
    file.write_bytes(encode(image, **options))
    found = pixels(KINDS[kind](file)).astype(float)
    assert np.abs(found - np.broadcast_to(expected, found.shape)).max() <= 1
    if not options:
        np.testing.assert_array_equal(found, pixels(np.asarray(image)))
        np.testing.assert_array_equal(found, pixels(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_gray_is_scaled_and_not_clipped(kind):
    gray = np.arange(16 * 16, dtype=np.uint16).reshape(16, 16) * 257
    found = pixels(encode(Image.fromarray(gray), kind))
    np.testing.assert_array_equal(found, np.repeat((gray // 257)[..., None], 3, 2))
    np.testing.assert_array_equal(pixels(gray), found)
    np.testing.assert_array_equal(pixels(gray.astype(">u2")), found)


def test_16_bit_color_is_the_same_from_a_file_and_from_an_array():
    color = np.random.default_rng(1).integers(0, 65536, (9, 11, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in color)
    found = pixels(png(11, 9, 16, 2, rows))
    np.testing.assert_array_equal(found, pixels(color))
    assert np.abs(found - color / 257).max() <= 1


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("L", 77, (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("I", 77, (77, 77, 77)),
        ("I", 257 * 77, (77, 77, 77)),
        ("F", 77.2, (77, 77, 77)),
        ("F", 0.5, (128, 128, 128)),
        ("CMYK", (255, 0, 0, 0), (0, 255, 255)),
        ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)),
    ],
)
def test_modes(mode, value, expected):
    image = Image.new(mode, (9, 8), value)
    assert (pixels(image) == expected).all()
    if mode not in ("F", "YCbCr"):
        assert (pixels(encode(image, "TIFF")) == expected).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_the_first_frame_counts(kind):
    frames = [Image.new("RGB", (10, 9), color) for color in ("red", "blue")]
    content = encode(
        frames[0], kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    assert (pixels(content) == (255, 0, 0)).all()


def truncated_jpeg():
    content = encode(Image.fromarray(PIXELS).resize((200, 200)), "JPEG")
    return content[: len(content) // 2]


BROKEN = {
    "text": (b"no image at all", "not an image"),
    "html": (b"<!DOCTYPE html><html></html>", "not an image"),
    "empty": (b"", "not an image"),
    "truncated": (truncated_jpeg(), "truncated"),
    "one pixel": (encode(Image.new("RGB", (1, 1))), "1x1 pixels is too small; 8 a side"),
    "strip": (encode(Image.new("RGB", (4000, 1))), "4000x1 pixels is too small"),
    "bomb": (png(20000, 10000, 8, 2, b""), "decompression bomb"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_refused_by_name(case, tmp_path):
    content, reason = BROKEN[case]
    file = tmp_path / "broken.png"
    file.write_bytes(content)
    for source, name in (
        (str(file), str(file)),
        ({"bytes": content, "path": "row.png"}, "row.png"),
        (content, "pair 3"),
    ):
        with pytest.raises(ValueError, match=f"^{name}: .*{reason}") as error:
            load_image(source, "pair 3")
        assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.png: no such file"):
        load_image(tmp_path / "gone.png")
    with pytest.raises(ValueError, match=rf"^{tmp_path}: cannot be read"):
        load_image(tmp_path)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (None, "NoneType is no image"),
        (3, "int is no image"),
        ({"bytes": None, "path": None}, "NoneType is no image"),
        (np.zeros((0, 9, 3), np.uint8), "no pixels"),
        (np.full((9, 9, 3), -0.1), "undo any normalization"),
        (np.full((9, 9, 3), np.nan), "finite"),
        (np.full((9, 9), 1e5), "neither 8 nor 16 bits"),
        (np.full((9, 9), 1 << 20), "neither 8 nor 16 bits"),
        ("data:image/png;base64,!!!", "cannot be read"),
        ("a\0b.png", "cannot be read"),
    ],
)
def test_what_is_no_image_is_refused(source, reason):
    with pytest.raises(ValueError, match=reason):
        load_image(source, "pair 0, before")
