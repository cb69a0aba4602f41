# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[eval]"]
# ///
r"""Retrieve captions of the training split for every pair of a prepared set, for systems that read such.

No pair gets a caption that is told of its own scene alone. The file belongs to the data that it was made of.

    python examples/make_retrieval_store.py --model runs/clip4idc_clevr_retrieval/best --data prepared/clevr_change \
        --output stores/clevr_change.json
"""

import argparse
import sys
from pathlib import Path

from torch.nn.functional import normalize

from ssgpa.baselines.clip4idc import CLIP4IDCForPairTextRetrieval
from ssgpa.baselines.clip4idc.retrieval import embed_pairs, embed_texts, retrieve_captions
from ssgpa.data import load_prepared
from ssgpa.data.decoding import adopt_reading
from ssgpa.data.prepared import reading_of
from ssgpa.data.retrieved import scenes_of_texts, write_store
from ssgpa.data.schema import SPLITS
from ssgpa.training.generation import evaluation_mode
from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.loading import load_system
from ssgpa.utils.results import folder_state, library_versions


def make_store(options: argparse.Namespace) -> int:
    """Retrieve and write; returns the number of pairs."""
    model, processor = load_system(options.model, model_class=CLIP4IDCForPairTextRetrieval)
    adopt_reading(processor, reading_of(options.data), options.data)
    splits = load_prepared(options.data)
    owners = scenes_of_texts(splits)
    if not owners:
        raise ValueError(f"The training split of {options.data} has no captions that could be retrieved.")
    corpus, captions = list(owners), {}
    with evaluation_mode(model):
        texts = normalize(embed_texts(model, processor, corpus, options.batch_size).float(), dim=-1)
        for split in SPLITS:
            rows = splits[split]
            if not len(rows):
                continue
            pairs = normalize(embed_pairs(model, processor, rows, options.batch_size).float(), dim=-1)
            found = retrieve_captions(pairs, texts, rows["scene_id"][:], list(owners.values()), options.captions)
            for pair, numbers in zip(rows["pair_id"], found, strict=True):
                captions[pair] = [corpus[number] for number in numbers]
    facts = {"model": options.model, "model_files": folder_state(options.model), "versions": library_versions()}
    write_store(options.output, splits, captions, **facts)
    return len(captions)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(prog="make_retrieval_store.py", description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder of a saved CLIP4IDC of stage 1, or its id on the Hub")
    parser.add_argument("--data", required=True, help="folder written by prepare_data.py")
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the captions")
    parser.add_argument("--captions", type=positive, default=5, help="for each pair")
    parser.add_argument("--batch_size", type=positive, default=32)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Make a store, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    try:
        count = make_store(options)
    except (OSError, ValueError) as error:
        return report_error("make_retrieval_store.py", error)
    sys.stdout.write(f"Retrieved captions for {count:,} pairs. Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
