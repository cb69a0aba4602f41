# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa"]
# ///
# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions one pair with model and processor, without the pipeline, and draws where the evidence lies.

    python examples/caption_pair.py BEFORE AFTER --model PATH_OR_ID --output overlay.png

What has gone shows on the picture before, what is new on the picture after.
"""

import argparse

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import ssgpa  # registers the systems with the Auto classes
from ssgpa.cli import EMBEDDED
from ssgpa.pictures_ssgpa import load_picture
from ssgpa.pipeline_ssgpa import draw_change_map, draw_overlay


def main() -> None:
    """Reads two pictures, prints a sentence, writes both pictures side by side with the evidence in red."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--model", default=str(EMBEDDED), help="folder of a saved SSGPA, or its id on the Hub")
    parser.add_argument("--output", default="overlay.png", help="PNG file for the overlay")
    options = parser.parse_args()

    model = AutoModelForImageTextToText.from_pretrained(options.model)
    processor = AutoProcessor.from_pretrained(options.model)
    pictures = [load_picture(options.before), load_picture(options.after)]
    inputs = processor(images=pictures, return_tensors="pt")
    with torch.no_grad():
        features = model.get_image_features(inputs.pop("pixel_values"))
        change_map = features.evidence.change_map[0]
        ids = model.generate(**inputs, mm_encoder_outputs={"image": features}, max_new_tokens=40, num_beams=5)
    print(processor.post_process_captions(ids, inputs)[0])

    canvas = Image.new("RGB", (sum(p.width for p in pictures), max(p.height for p in pictures)), "white")
    for left, picture, cells in zip((0, pictures[0].width), pictures, change_map, strict=True):
        canvas.paste(draw_overlay(picture, draw_change_map(cells, picture.size)), (left, 0))
    canvas.save(options.output)
    print(f"Wrote {options.output} (ssgpa {ssgpa.__version__}).")


if __name__ == "__main__":
    main()
