# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa"]
# ///
"""Captions one pair without the pipeline, and draws what has gone on the image before, what is new on that after.

python examples/caption_pair.py BEFORE AFTER --model PATH_OR_ID --output overlay.png
"""

import argparse
from pathlib import Path

import torch
from PIL import Image

from ssgpa.cli.commands import EMBEDDED
from ssgpa.pipeline_ssgpa import FiniteLogitsCheck, draw_change_map, draw_overlay
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, check_output, report_error, write_output
from ssgpa.utils.loading import load_system


def caption(options: argparse.Namespace) -> str:
    """Writes both images side by side with the evidence in red; returns the sentence."""
    check_output(options.output)
    model, processor = load_system(options.model)
    images = [processor.load_image(path, whole=True) for path in (options.before, options.after)]
    inputs = processor(images=images, return_tensors="pt")
    with torch.no_grad():
        features = model.get_image_features(inputs.pop("pixel_values"))
        inputs["mm_encoder_outputs"] = {"image": features}
        ids = model.generate(**inputs, logits_processor=[FiniteLogitsCheck()], max_new_tokens=40)
    canvas = Image.new("RGB", (sum(p.width for p in images), max(p.height for p in images)), "white")
    for left, image, cells in zip((0, images[0].width), images, features.evidence.change_map[0], strict=True):
        canvas.paste(draw_overlay(image, draw_change_map(cells, image.size)), (left, 0))
    write_output(options.output, canvas)
    return processor.post_process_captions(ids, inputs)[0]


def main(arguments: list[str] | None = None) -> int:
    """Prints the sentence, or one line on stderr; returns the exit code, 0 or 2."""
    parser = OneLineParser(prog="caption_pair.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--model", default=str(EMBEDDED), help="folder of a saved SSGPA, or its id on the Hub")
    parser.add_argument("--output", type=Path, default="overlay.png", help="PNG file for the overlay, a new one")
    options = parser.parse_args(arguments)
    be_quiet()
    try:
        print(caption(options))
    except ERRORS as error:
        return report_error("caption_pair.py", error)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
