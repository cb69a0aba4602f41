# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[eval]"]
# ///
r"""Recall of captions by pairs and of pairs by captions: CLIP4IDC's first stage.

    python examples/evaluate_retrieval.py --model runs/clip4idc_clevr_retrieval/best --data prepared/clevr_change \
        --split validation --output recall.json

Pairs without a change are left out: their captions say the same of all.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import normalize

from ssgpa.baselines.clip4idc import CLIP4IDCForPairTextRetrieval
from ssgpa.baselines.clip4idc.retrieval import embed_pairs, embed_texts, recalls
from ssgpa.data import load_prepared
from ssgpa.data.decoding import adopt_reading
from ssgpa.data.prepared import reading_of
from ssgpa.data.schema import NO_CHANGE
from ssgpa.training.generation import evaluation_mode
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.loading import load_system
from ssgpa.utils.results import library_versions, write_results


def retrieve(model: Any, processor: Any, rows: Dataset, batch_size: int) -> dict[str, float]:
    """Recall over a split."""
    captions = list(rows["captions"])
    owners = torch.tensor([number for number, texts in enumerate(captions) for _ in texts], device=model.device)
    with evaluation_mode(model):
        pairs = embed_pairs(model, processor, rows, batch_size)
        texts = embed_texts(model, processor, [text for row in captions for text in row], batch_size)
    similarity = normalize(texts.float(), dim=-1) @ normalize(pairs.float(), dim=-1).T
    return recalls(similarity, owners)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(prog="evaluate_retrieval.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a saved model of stage 1, or its id on the Hub")
    parser.add_argument("--data", required=True, help="folder written by prepare_data.py")
    parser.add_argument("--split", default="test", choices=["test", "validation", "train"])
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the figures")
    parser.add_argument("--batch_size", type=int, default=32)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure recall, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    try:
        model, processor = load_system(options.model, model_class=CLIP4IDCForPairTextRetrieval)
        adopt_reading(processor, reading_of(options.data), options.data)
        rows = load_prepared(options.data)[options.split]
        rows = rows.select([index for index, kind in enumerate(rows["change_type"]) if kind != NO_CHANGE])
        if not len(rows):
            raise ValueError(f"The split {options.split!r} of {options.data} has no pair with a change.")
        figures = retrieve(model, processor, rows, options.batch_size)
        settings = {"model": options.model, "data": options.data, "split": options.split, "pairs": len(rows)}
        write_results(options.output, {"recall": figures, "settings": settings, "versions": library_versions()})
    except (OSError, ValueError) as error:
        return report_error("evaluate_retrieval.py", error)
    for name, value in figures.items():
        sys.stdout.write(f"{name}: {value:.1f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
