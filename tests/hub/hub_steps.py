# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What processes of their own do with a Hub: `hub_steps.py STEP WORK`, results as JSON on the last line of stdout."""

import json
import os
import sys
from pathlib import Path


PRIVATE, PUBLIC, SHARDED = "org/private", "org/pairs-model", "org/sharded"
SHORT = {"max_new_tokens": 6, "num_beams": 2}


def push(work: Path) -> dict:
    """Two versions of a public repository, one of a private one."""
    from ssgpa import SSGPAForConditionalGeneration, SSGPAProcessor
    from ssgpa.hub.publish import publish_folder

    pairs = [(work / "before.png", work / "after.png")]
    options = {"facts": work / "facts.yaml", "results": work / "results.json", "pairs": pairs}
    first = publish_folder(work / "model", PUBLIC, **options)
    model = SSGPAForConditionalGeneration.from_pretrained(work / "model")
    model.push_to_hub(PRIVATE, private=True)
    fields = dict(vars(model.config))
    model.lm_head.weight.data.neg_()
    second = model.push_to_hub(PUBLIC)
    kept = dict(vars(model.config)) == fields
    model.save_pretrained(work / "saved-later")
    processor = SSGPAProcessor.from_pretrained(work / "model")
    processor.push_to_hub("org/processor-alone", private=True)
    processor.push_to_hub("org/processor-alone")
    processor.save_pretrained(work / "saved-later")
    return {"first": first.oid, "second": second.oid, "config_is_as_before": kept}


def push_shards(work: Path) -> dict:
    """The model in several files."""
    from ssgpa import SSGPAForConditionalGeneration

    model = SSGPAForConditionalGeneration.from_pretrained(work / "model")
    return {"sha": model.push_to_hub(SHARDED, max_shard_size="60KB").oid}


def load_by_id(work: Path) -> dict:
    """A system by its id, as the programs load it, and how long that took."""
    from time import monotonic

    from ssgpa.utils.loading import load_system

    start = monotonic()
    model, _ = load_system(PUBLIC)
    return {"seconds": monotonic() - start, "parameters": model.num_parameters()}


def load(work: Path) -> dict:
    """Model, processor and pipeline at a commit, in a process in which ssgpa cannot be imported."""
    sys.modules["ssgpa"] = None
    from transformers import AutoModel, AutoModelForImageTextToText, AutoProcessor, pipeline

    pair, sha = [work / "before.png", work / "after.png"], os.environ["PINNED"]
    pinned = {"revision": sha, "code_revision": sha, "trust_remote_code": True}
    processor = AutoProcessor.from_pretrained(PUBLIC, revision=sha, trust_remote_code=True)
    model = AutoModelForImageTextToText.from_pretrained(PUBLIC, **pinned).eval()
    inputs = processor(images=pair, return_tensors="pt")
    newest = AutoModelForImageTextToText.from_pretrained(PUBLIC, trust_remote_code=True).eval()
    pipe = pipeline("change-captioning", model=PUBLIC, revision=sha, trust_remote_code=True, device="cpu")
    alone = AutoProcessor.from_pretrained("org/processor-alone", trust_remote_code=True)
    return {
        "logits": model(**inputs).logits[0, -1].tolist(),
        "newest": newest(**inputs).logits[0, -1].tolist(),
        "ids": model.generate(**inputs, **SHORT).tolist(),
        "captions": pipe(tuple(pair), **SHORT),
        "map": "change_map" in pipe(tuple(pair), return_change_map=True, **SHORT)[0],
        "base": type(AutoModel.from_pretrained(PUBLIC, **pinned)).__name__,
        "alone": alone(images=pair, return_tensors="pt")["input_ids"].tolist(),
        "inputs": inputs["input_ids"].tolist(),
        "module": type(model).__module__.partition(".")[0],
        "refused": refusals(AutoProcessor.from_pretrained),
        "private": type(AutoProcessor.from_pretrained(PRIVATE, trust_remote_code=True)).__name__,
    }


def refusals(load_from: object) -> dict:
    """What happens without a token, with a wrong one, and with a commit that does not exist."""
    asked = {
        "anonymous": (PRIVATE, {"token": False}),
        "wrong": (PRIVATE, {"token": "nonsense"}),
        "commit": (PUBLIC, {"revision": "0" * 40}),
    }
    found = {}
    for name, (repo, options) in asked.items():
        try:
            load_from(repo, trust_remote_code=True, **options)
        except OSError as error:
            found[name] = " ".join(str(error).split())
    return found


if __name__ == "__main__":
    steps = {"push": push, "push_shards": push_shards, "load": load, "load_by_id": load_by_id}
    sys.stdout.write(json.dumps(steps[sys.argv[1]](Path(sys.argv[2]))))
