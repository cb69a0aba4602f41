# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a saved folder is asked to compute, here and, as a script, in a process in which ssgpa cannot be imported.

Usage: `remote_steps.py BEFORE AFTER FOLDER [FOLDER ...]` writes `FOLDER.pt` for every folder.
"""

import sys
from collections.abc import Callable
from inspect import signature
from pathlib import Path


class Blocker:
    """Finder under which the package does not exist."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "ssgpa":
            raise ModuleNotFoundError(f"{name} is blocked", name=name)


def compute(folder: str, images: list, load_model: Callable, load_processor: Callable, **options: object) -> dict:
    processor = load_processor(folder, **options)
    model = load_model(folder, **options).eval()
    inputs = processor(images=images, return_tensors="pt")
    train = processor(images=images, suffix=["the red cube is gone", "no change"], return_tensors="pt")
    # Evidence where the system offers it.
    asked = {"output_evidence": True} if "output_evidence" in signature(model.forward).parameters else {}
    output = model(**train, **asked)
    beams = model.generate(**inputs, max_new_tokens=8, num_beams=3, num_return_sequences=2)
    return {
        **{f"inputs.{key}": value for key, value in inputs.items()},
        **{f"train.{key}": value for key, value in train.items()},
        "logits": output.logits.detach(),
        "loss": output.loss.detach(),
        **({"transport": output.evidence.transport.detach()} if asked else {}),
        "beams": beams,
        "captions": processor.post_process_captions(beams, inputs),
        "module": type(model).__module__,
    }


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocker())
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    before, after, *folders = sys.argv[1:]
    auto = AutoModelForImageTextToText.from_pretrained, AutoProcessor.from_pretrained
    for folder in folders:
        found = compute(folder, [[before, after], [after, before]], *auto, trust_remote_code=True)
        torch.save(found, Path(folder).with_suffix(".pt"))
    if "ssgpa" in sys.modules:
        sys.exit("ssgpa was imported")
