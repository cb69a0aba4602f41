# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Pairs of noise, and calibrations of tiny systems fitted on some of them."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from ssgpa.evidence_ssgpa import EVIDENCE
from ssgpa.pipeline_ssgpa import ChangeCaptioningPipeline
from ssgpa.trust_ssgpa import Confidence, Familiarity, Trust, weights_print


SHORT = {"max_new_tokens": 6, "num_beams": 3}
SAID = "the scene is as it was"


def noise_pairs(count, seed=0, low=0, high=256):
    """Pairs of noise images, values from `low` to `high`."""
    rng = np.random.default_rng(seed)
    return [
        tuple(Image.fromarray(rng.integers(low, high, (40, 60, 3), dtype=np.uint8)) for _ in range(2))
        for _ in range(count)
    ]


def pipeline_of(system):
    model, processor = system
    return ChangeCaptioningPipeline(model, processor=processor, task="change-captioning")


def calibrated(pipe, pairs=None, **fields):
    """Calibrate a pipeline on noise: every second caption counts as right. Returns the pipeline."""
    found = list(pipe.examine(pairs or noise_pairs(40, seed=1), 8, **SHORT))
    evidence = torch.stack([one["evidence"] for one in found])
    right = torch.arange(len(found)) % 2
    confidence = Confidence.fit({name: evidence[:, place] for place, name in enumerate(EVIDENCE)}, right)
    statistics = torch.stack([one["statistics"] for one in found])
    familiarity = Familiarity.fit(statistics)
    # So few pairs do not tell how far the next may be.
    familiarity = replace(familiarity, threshold=1.2 * familiarity.distance(statistics).max().item())
    options = {"trained_on": "noise", "right": "every second", "unchanged": SAID, "weights": weights_print(pipe.model)}
    pipe.trust = Trust(familiarity=familiarity, confidence=confidence, **(options | fields))
    return pipe
