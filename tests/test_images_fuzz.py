# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Damaged files and odd arrays by the thousand: an image or one error of ours, and none black without a word."""

import io
import logging
import struct
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image

from ssgpa.image_utils_ssgpa import load_image

from .image_cases import FORMATS, encoded, geotiff, scene, tiff


def sun(pixels):
    height, width, _ = pixels.shape
    data = pixels[..., ::-1].tobytes()
    return struct.pack(">8I", 0x59A66A95, width, height, 24, len(data), 1, 0, 0) + data


def psd(pixels):
    height, width, _ = pixels.shape
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, height, width, 8, 3) + struct.pack(">III", 0, 0, 0)
    return head + struct.pack(">H", 0) + pixels.transpose(2, 0, 1).tobytes()


def fits(pixels):
    height, width, _ = pixels.shape
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2"]
    cards += [f"NAXIS1  = {width:>20}", f"NAXIS2  = {height:>20}", "END"]
    return "".join(f"{card:<80}" for card in cards).ljust(2880).encode() + pixels[..., 0].tobytes().ljust(2880, b"\0")


def xpm(pixels):
    height, width, _ = pixels.shape
    rows = ['"' + "".join("ab"[int(value) > 127] for value in row) + '",' for row in pixels[..., 0]]
    head = ["/* XPM */", "static char *x[] = {", f'"{width} {height} 2 1",', '"a c #000000",', '"b c #ffffff",']
    return "\n".join([*head, *rows, "};"]).encode()


def dcx(pixels):
    return struct.pack("<III", 987654321, 12, 0) + encoded("PCX", pixels)


def cursor(pixels):
    content = bytearray(encoded("ICO", pixels, bitmap_format="bmp"))
    content[2] = 2
    return bytes(content)


def animated(pixels):
    file = io.BytesIO()
    frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


def seeds():
    """Whole files by name: what Pillow writes, what it only reads, and beginnings of what it only knows."""
    pixels, gray = scene(), scene()[..., 0]
    files = {kind: encoded(kind) for kind in FORMATS}
    files |= {make.__name__: make(pixels) for make in (sun, psd, fits, xpm, dcx, cursor, animated)}
    files |= {
        "16-bit TIFF": tiff(gray.astype(np.uint16) * 257),
        "float TIFF": tiff((gray / 255).astype(np.float32), nodata=-9999),
        "progressive JPEG": encoded("JPEG", progressive=True),
        "CMYK JPEG": _saved(Image.fromarray(pixels).convert("CMYK"), "JPEG"),
        "palette PNG": _saved(Image.fromarray(pixels).convert("P"), "PNG", transparency=3),
        "interlaced TGA": encoded("TGA", compression="tga_rle"),
        "XVTHUMB": b"P7 332\n#XVVERSION\n32 32 255\n" + gray.tobytes(),
        "IMT": b"width n32\nheight n32\n\x0c" + gray.tobytes(),
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n",
    }
    # Without rasterio, Pillow's formats alone.
    if find_spec("rasterio"):
        files |= {
            "five bands": geotiff(np.stack([gray] * 5)),
            "LZW bands": geotiff(np.stack([gray.astype(np.uint16) * 200] * 4), compress="lzw"),
            "16-bit PNG": geotiff(pixels.transpose(2, 0, 1).astype(np.uint16) * 257, driver="PNG"),
            "BigTIFF": geotiff(np.stack([gray] * 3), BIGTIFF="YES"),
        }
    beginnings = {
        "HDF5": b"\x89HDF\r\n\x1a\n",
        "GRIB": b"GRIB\0\0\0\1",
        "BUFR": b"BUFR\0\0\0\4",
        "WMF": b"\xd7\xcd\xc6\x9a\0\0",
        "MPEG": b"\0\0\1\xb3\x02\0\x20\x13",
        "MCIDAS": b"\0\0\0\0\0\0\0\4",
        "FLI": b"\0\1\0\0\x12\xaf\2\0\x20\0\x20\0\x08\0",
        "PIXAR": b"\x80\xe8\0\0",
        "IPTC": b"\x1c\3\x3c\0\2\1\1",
        "FTEX": b"FTEX\0\1\0\0\x20\0\0\0\x20\0\0\0",
        "GBR": struct.pack(">IIIII", 28, 2, 32, 32, 3) + b"GIMP" + struct.pack(">I", 10),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "JPEG 2000 stream": b"\xffO\xffQ\0\x2f",
        "PCD": bytes(2048) + b"PCD_",
        "text": b"<html>",
    }
    return files | {name: start + gray.tobytes() for name, start in beginnings.items()}


def _saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def damage(content, rng):
    """One to three accidents: cut off, bytes turned, a run lost, doubled, zeroed or made noise, a size overwritten."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        # Headers are short and matter most.
        reach = len(content) if rng.random() < 0.5 else min(len(content), 64)
        start = int(rng.integers(0, max(1, reach)))
        run = int(rng.integers(1, 65))
        way = rng.integers(7)
        if way == 0:
            del content[start:]
        elif way == 1:
            for place in rng.integers(0, max(1, len(content)), 4):
                content[place : place + 1] = bytes([int(rng.integers(256))])
        elif way == 2:
            del content[start : start + run]
        elif way == 3:
            content[start:start] = content[start : start + run]
        elif way == 4:
            content[start : start + run] = bytes(len(content[start : start + run]))
        elif way == 5:
            content[start : start + run] = rng.integers(0, 256, run, dtype=np.uint8).tobytes()
        else:
            size = int(rng.choice([0, 1, 7, 255, 1 << 15, (1 << 31) - 1, (1 << 32) - 1]))
            content[start : start + 4] = struct.pack(rng.choice(["<I", ">I"]), size)
    return bytes(content)


@pytest.fixture
def told():
    """The warnings of images."""
    messages = []

    class Listener(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    logger, listener = logging.getLogger("ssgpa.image_utils_ssgpa"), Listener()
    logger.addHandler(listener)
    yield messages
    logger.removeHandler(listener)


def shows_nothing(image):
    """Measured apart from the program's own count: next to all pixels within 12 levels of each channel."""
    low, high = np.percentile(np.asarray(image).reshape(-1, 3), (0.04, 99.96), axis=0)
    return bool((high - low < 12).all())


def attempt(source, name, told, **options):
    """ "image" or "refused"; whatever else happens is told as it is."""
    before, message = len(told), None
    try:
        image = load_image(source, name, **options)
    except ValueError as error:
        message = str(error)
    if message is not None:
        assert message.startswith(f"{name}: "), f"{name}: no name in {message!r}"
        assert "\n" not in message, name
        return "refused"
    assert image.mode == "RGB", name
    if shows_nothing(image):
        assert any(message.startswith(f"{name}: is nearly one color") for message in told[before:]), f"{name}: silent"
        return "told"
    return "image"


COUNTS = [500, pytest.param(10_000, marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", COUNTS)
def test_damaged_files_give_an_image_or_an_error_of_ours(count, told, monkeypatch):
    # Of a size that was damaged, no more than this is allocated; Pillow's own limit would only cost time.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000_000)
    rng = np.random.default_rng(14)
    files = list(seeds().items())
    outcomes = dict.fromkeys(("image", "refused", "told"), 0)
    with warnings.catch_warnings():
        # Pillow warns of what it reads in spite of it.
        warnings.simplefilter("ignore")
        for number in range(count):
            kind, content = files[number % len(files)]
            options = {"size": (4, 4)} if number % 3 else {"value_range": "percentile"}
            outcomes[attempt(damage(content, rng), f"{kind} {number}", told, **options)] += 1
    # Neither a damage that damages nothing nor one that leaves nothing.
    assert outcomes["image"] > count / 10
    assert outcomes["refused"] > count / 10


DTYPES = ["bool", "u1", "i1", "u2", "i2", ">u2", "u4", "i4", "u8", "i8", "f2", "f4", ">f4", "f8", "g", "c8", "U4", "O"]
TENSORS = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.int16, torch.uint8, torch.bool, torch.complex64]
RANGES = [(0, 1), (0, 255), (0, 3060), (0, 65535), (-1, 1), (-0.02, 1.02), (-8, 262), (0, 1e-30), (0, 1e30), (7, 7)]
SHAPES = [
    *((32, 24, *end) for end in ((), (1,), (2,), (3,), (4,), (5,))),
    *((channels, 32, 24) for channels in (1, 2, 3, 4, 5)),
    (3, 3, 3),
    (4, 32, 4),
    (9,),
    (2, 3, 32, 24),
    (0, 9, 3),
    (9, 0),
    (8, 8),
    (4000, 1),
]
HOLES = [None, None, np.nan, np.inf, -np.inf, -9999.0, 65535.0]
READINGS = [
    {},
    {},
    {},
    {"value_range": (0, 3060)},
    {"value_range": "percentile"},
    {"nodata": -9999},
    {"bands": (3, 2, 1)},
]


def pick(options, rng):
    return options[int(rng.integers(len(options)))]


def odd_array(rng):
    """An array or tensor of some dtype, range and layout, with holes now and then; and options to read it with."""
    shape, (low, high) = pick(SHAPES, rng), pick(RANGES, rng)
    values = low + (high - low) * rng.random(shape)
    hole = pick(HOLES, rng)
    if hole is not None and values.size:
        values.ravel()[rng.integers(values.size)] = hole
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if rng.random() < 0.3:
            array = torch.from_numpy(np.nan_to_num(values, posinf=0, neginf=0)).to(pick(TENSORS, rng))
        else:
            array = values.astype(pick(DTYPES, rng))
    way = rng.integers(4)
    if way == 1:
        array = np.asfortranarray(array) if isinstance(array, np.ndarray) else array.t() if array.ndim == 2 else array
    elif way == 2 and isinstance(array, np.ndarray):
        array = array[::-1]
    elif way == 3 and array.ndim > 1:
        array = array[::2]
    return array, pick(READINGS, rng)


@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_odd_arrays_give_an_image_or_an_error_of_ours(count, told):
    rng = np.random.default_rng(15)
    outcomes = dict.fromkeys(("image", "refused", "told"), 0)
    for number in range(count):
        array, options = odd_array(rng)
        name = f"{array.dtype} {tuple(array.shape)} {options} {number}"
        outcomes[attempt(array, name, told, **options)] += 1
    assert min(outcomes.values()) > count / 20
