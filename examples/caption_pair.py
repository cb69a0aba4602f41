# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa"]
# ///
"""Caption one pair with Transformers' Auto classes, and draw what is gone before and new after.

python examples/caption_pair.py BEFORE AFTER --model PATH_OR_ID --output overlay.png
"""

import argparse
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import ssgpa  # registers its classes with the Auto classes
from ssgpa.pipeline_ssgpa import FiniteLogitsCheck, draw_change_map, draw_overlay
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, check_output, report_error, write_output


def caption(options: argparse.Namespace) -> str:
    """Draw both images side by side with the evidence in red; return the sentence."""
    check_output(options.output)
    processor = AutoProcessor.from_pretrained(options.model)
    model, report = AutoModelForImageTextToText.from_pretrained(options.model, output_loading_info=True)
    if report["missing_keys"]:
        raise ValueError(f"{options.model} lacks weights, {sorted(report['missing_keys'])[0]} among them.")
    images = [processor.load_image(path, whole=True) for path in options.images]
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
    """Print the sentence, or one line on stderr; return the exit code, 0 or 2."""
    parser = OneLineParser(prog="caption_pair.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("images", nargs=2, metavar=("BEFORE", "AFTER"))
    parser.add_argument("--model", default=str(Path(ssgpa.__file__).parent / "checkpoints" / "ssgpa-clevr-tiny"))
    parser.add_argument("--output", type=Path, default="overlay.png", help="PNG file for the overlay, a new one")
    be_quiet()
    try:
        print(caption(parser.parse_args(arguments)))
    except ERRORS as error:
        return report_error("caption_pair.py", error)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
