# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Files that somebody with bad intentions would send, made here and nowhere stored."""

import io
import json
import pickle
import struct
import zlib
from pathlib import Path

from ..test_images_ssgpa import png


# What each payload would do is write this file.
TRACE = "was_here"
# Payloads for pages and documents; in a browser the first ones would change the title.
MARKUP = (
    "</script><script>document.title = 'evil'</script>",
    "<img src=x onerror=\"document.title = 'evil'\">",
    "<svg onload=\"document.title = 'evil'\">",
    '" onmouseover="document.title = \'evil\'" x="',
    "'><script>document.title = 'evil'</script>",
    "<!--<script>document.title = 'evil'</script>",
    "{{ cards }} {{7*7}} ${7*7} {% for x in y %}",
    "[a link](javascript:document.title='evil')",
    "![a picture](https://example.org/track.png)",
    "a | cell | of its own\n\n# and a title\n---\nlicense: mit",
    "<iframe srcdoc=\"<script>parent.document.title = 'evil'</script>\"></iframe>",
    "\u2028\u2029\u202e\ufeff",
)
# What a spreadsheet would compute.
FORMULAS = ("=1+1", "+1+1", "-1+1", "@SUM(1)", "\t=1+1", "the cube,=HYPERLINK(1)", '","=1+1')


class Payload:
    """Runs code where it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return exec, (f"open({str(self.trace)!r}, 'w').close()",)


def evil_pickle(trace):
    return pickle.dumps(Payload(trace))


def evil_torch_file(path, trace):
    """Weights as `torch.save` writes them, with a payload among them."""
    import torch

    torch.save({"weight": torch.zeros(2), "more": Payload(trace)}, path)


def evil_module(path, trace):
    """A Python file as a repository carries it, which acts when it is imported."""
    path.write_text(
        f"open({str(trace)!r}, 'w').close()\nfrom transformers import PreTrainedConfig\n"
        "class EvilConfig(PreTrainedConfig):\n    model_type = 'evil'\n",
        encoding="utf-8",
    )


def header_bomb(path, size=2**60):
    """A safetensors file whose header says that it is larger than any disk."""
    path.write_bytes(struct.pack("<Q", size) + b"{}")


def lying_header(path, length=2**40):
    """A safetensors file whose tensor is said to be of a terabyte, and is not there."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [length], "data_offsets": [0, 4 * length]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def text_bomb(chunk=b"zTXt", size=200 * 2**20):
    """A PNG of 16 pixels a side with a text that is a thousand times larger than the file."""
    data = zlib.compress(bytes(size), 9)
    body = {b"zTXt": b"note\0\0", b"iTXt": b"note\0\1\0\0\0", b"iCCP": b"profile\0\0"}[chunk] + data
    pixels = zlib.compress(b"".join(b"\0" + bytes(48) for _ in range(16)))
    whole = png(16, 16, 8, 2, pixels)
    place = whole.index(b"IDAT") - 4
    made = struct.pack(">I", len(body)) + chunk + body + struct.pack(">I", zlib.crc32(chunk + body))
    return whole[:place] + made + whole[place:]


def pixel_bomb(side=60_000):
    """A PNG of a few bytes that says it has billions of pixels."""
    return png(side, side, 8, 2, zlib.compress(b""))


def gif_bomb(side=65_535):
    """A GIF of the largest size, without a pixel."""
    return b"GIF89a" + struct.pack("<HH", side, side) + b"\x80\0\0" + bytes(6) + b"," + bytes(9) + b"\x02\0;"


def program(trace):
    """An EPS file, which Pillow would give to Ghostscript."""
    text = (
        f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n({trace}) (w) file closefile\nshowpage\n"
    )
    return text.encode()


def laughs(levels=9, width=10):
    """YAML of a few lines that names 10 ** levels values."""
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * width)}]" for level in range(1, levels)]
    return "\n".join(lines) + "\n"


def evil_yaml(trace):
    return f"learning_rate: !!python/object/apply:os.system ['touch {trace}']\n"


def deep_json(depth=100_000):
    return "[" * depth + "]" * depth


def noise_image(side=32):
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
