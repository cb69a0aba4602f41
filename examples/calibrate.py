# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[eval]"]
# ///
"""Fit what tells which captions of a checkpoint to trust, on pairs that it has not trained on, and store it with it.

    python examples/calibrate.py CHECKPOINT --data_dir PREPARED --trained_on "rendered CLEVR scenes"

Writes CHECKPOINT/trust.json, which the pipeline, the command line and the demo read. It belongs to these weights:
train further, and fit it again. A caption counts as right where the rendered scene says so; for sets without scenes,
where its CIDEr-D reaches --cider (1.0, of 10). See docs/trust.md.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers.utils import logging

from ssgpa.data import load_prepared
from ssgpa.data.decoding import adopt_reading
from ssgpa.data.prepared import language_of, reading_of, scenes_of
from ssgpa.data.retrieved import add_retrieved
from ssgpa.evidence_ssgpa import EVIDENCE
from ssgpa.metrics.bounds import Row
from ssgpa.metrics.change_captioning.scorer import CaptionScorer
from ssgpa.metrics.clevr.scenes import add_scenes
from ssgpa.metrics.predictions import language_for
from ssgpa.metrics.report.build import light_rows
from ssgpa.metrics.trust import auroc, cross_validated, examine_rows, reliability, right_captions
from ssgpa.pipeline_ssgpa import ChangeCaptioningPipeline
from ssgpa.trust_ssgpa import TRUST_FILE, UNCHANGED, Confidence, Familiarity, Trust, weights_print
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.loading import load_system


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = OneLineParser(prog="calibrate.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="folder of a saved system")
    parser.add_argument("--data_dir", required=True, help="folder written by prepare_data.py")
    parser.add_argument("--split", default="validation", choices=["validation", "test", "train"])
    parser.add_argument("--trained_on", required=True, help='what it was trained on, e.g. "rendered CLEVR scenes"')
    parser.add_argument("--limit", type=positive, help="fit on the first N pairs only")
    parser.add_argument("--batch_size", type=positive, default=16)
    parser.add_argument("--num_beams", type=positive, help="default: the model's own, else 5")
    parser.add_argument("--cider", type=float, help="judge captions by this CIDEr-D, also where scenes are known")
    parser.add_argument("--scenes", type=Path, help="scenes.jsonl that captions are judged by; by default the data's")
    parser.add_argument("--retrieval_store", type=Path, help="captions retrieved for every pair, as in training")
    parser.add_argument("--seed", type=int, default=0, help="of the parts of the cross-validation")
    parser.add_argument("--overwrite", action="store_true", help=f"replace a {TRUST_FILE} that is there")
    return parser.parse_args(arguments)


def read_rows(options: argparse.Namespace) -> tuple[Dataset, list[Row]]:
    """Reads the split, and its text with the scenes where they are known."""
    data = load_prepared(options.data_dir)
    if options.retrieval_store:
        data = add_retrieved(data, options.retrieval_store)
    rows = data[options.split]
    rows = rows.select(range(min(options.limit or len(rows), len(rows))))
    if not len(rows):
        raise ValueError(f"The split {options.split!r} of {options.data_dir} is empty.")
    table, scenes = light_rows(rows), options.scenes or scenes_of(options.data_dir)
    return rows, add_scenes(table, scenes) if scenes else table


def unchanged_words(table: list[Row], captions: dict[str, str]) -> str:
    """How the checkpoint says that nothing has changed: what it says most of unchanged pairs."""
    said = Counter(captions[row["pair_id"]] for row in table if row["change_type"] == "none")
    return said.most_common(1)[0][0] if said else UNCHANGED


def fit_confidence(evidence: torch.Tensor, right: np.ndarray, names: tuple[str, ...]) -> Confidence:
    """Fits a logistic regression on some of the evidence."""
    return Confidence.fit({name: evidence[:, EVIDENCE.index(name)] for name in names}, torch.from_numpy(right))


def measure(evidence: torch.Tensor, right: np.ndarray, seed: int) -> dict[str, Any]:
    """Measures by cross-validation what all evidence tells, the log probability alone, and each without a fit."""

    def chances(names: tuple[str, ...]) -> np.ndarray:
        def fit(kept: np.ndarray) -> Any:
            fitted = fit_confidence(evidence[kept], right[kept], names)
            return lambda number: fitted.chance(dict(zip(EVIDENCE, evidence[number].tolist(), strict=True)))

        return cross_validated(fit, len(right), seed=seed)

    single = {}
    for name, values in zip(EVIDENCE, evidence.T.numpy(), strict=True):
        known = ~np.isnan(values)
        single[name] = auroc(values[known], right[known])
    alone = reliability(chances(("log_probability",)), right)
    return {
        **reliability(chances(EVIDENCE), right),
        "log_probability_alone": {name: alone[name] for name in ("ece", "auroc")},
        "auroc_by_evidence": single,
    }


def calibrate(options: argparse.Namespace) -> Trust:
    """Fits and writes the calibration."""
    path = options.checkpoint / TRUST_FILE
    if path.exists() and not options.overwrite:
        raise FileExistsError(f"{path} exists; pass --overwrite to replace it.")
    rows, table = read_rows(options)
    model, processor = load_system(str(options.checkpoint))
    adopt_reading(processor, reading_of(options.data_dir), options.data_dir)
    model.trust = None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe = ChangeCaptioningPipeline(model, processor=processor, task="change-captioning", device=device)
    decoding = {} if options.num_beams is None else {"num_beams": options.num_beams}
    captions, evidence, statistics = examine_rows(pipe, rows, options.batch_size, **decoding)
    language = language_for(language_of(options.data_dir), table, "auto")
    with CaptionScorer("auto", meteor=False, language=language) as scorer:
        right, words = right_captions(table, captions, scorer, options.cider)
    familiarity = Familiarity.fit(statistics)
    # Measured as by a stranger: the fit's own pairs would look nearer than new ones.
    evidence[:, EVIDENCE.index("distance")] = familiarity.distance(statistics).clamp(min=1e-6).log().float()
    trust = Trust(
        trained_on=options.trained_on,
        right=words,
        familiarity=familiarity,
        confidence=fit_confidence(evidence, right, EVIDENCE),
        unchanged=unchanged_words(table, captions),
        weights=weights_print(model),
        measured={
            "data": Path(options.data_dir).name,
            "split": options.split,
            "num_beams": options.num_beams or model.generation_config.num_beams,
            "cross_validated": measure(evidence, right, options.seed),
        },
    )
    trust.save(options.checkpoint)
    return trust


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse_arguments(arguments)
    be_quiet()
    logging.disable_progress_bar()
    try:
        trust = calibrate(options)
    except ERRORS as error:
        return report_error("calibrate.py", error)
    found = trust.measured["cross_validated"]
    print(f"right: {trust.right}")
    print(
        f"{found['captions']} captions, {100 * found['right']:.1f} % right; cross-validated: expected calibration "
        f"error {found['ece']:.3f}, AUROC {found['auroc']:.3f} "
        f"(log probability alone {found['log_probability_alone']['auroc']:.3f})"
    )
    print(f"Wrote {options.checkpoint / TRUST_FILE}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
