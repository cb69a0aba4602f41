# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[eval]"]
# ///
"""Captions a split with any saved system and scores it beside its baselines, its upper bounds and another system.

    python examples/evaluate.py --model PATH --data DIR --split test --output results.json --report report

The captions go to results.predictions.jsonl while the run lasts; the same command continues an interrupted run.
"""

import argparse
import hashlib
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers.utils import logging

from ssgpa.data import load_prepared
from ssgpa.data.clevr_renderer.captions.sentences import change_type_of
from ssgpa.data.decoding import adopt_reading, load_pair, undecoded
from ssgpa.data.prepared import language_of, reading_of, render_settings, scenes_of
from ssgpa.data.retrieved import add_retrieved
from ssgpa.metrics.bootstrap import compare_systems
from ssgpa.metrics.bounds import Row
from ssgpa.metrics.change_captioning.scorer import CaptionScorer
from ssgpa.metrics.change_captioning.tokenizers import TOKENIZERS
from ssgpa.metrics.clevr.scenes import add_scenes
from ssgpa.metrics.predictions import language_for, load_captions
from ssgpa.metrics.protocols import PROTOCOLS, apply_protocol
from ssgpa.metrics.report.build import build_report, collapse_alarm, format_table, light_rows
from ssgpa.metrics.report.gallery import add_images, choose_pairs, describe_pairs
from ssgpa.metrics.report.page import INDEX, write_page
from ssgpa.metrics.trust import describe_trust, examine_rows, right_captions
from ssgpa.pipeline_ssgpa import ChangeCaptioningPipeline
from ssgpa.training.generation import caption_rows, change_maps
from ssgpa.training.resuming import set_seed
from ssgpa.training.systems import model_class_of
from ssgpa.utils.console import OneLineParser
from ssgpa.utils.loading import load_system
from ssgpa.utils.results import PredictionLog, folder_state, library_versions, write_results


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = OneLineParser(prog="evaluate.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a saved system, or its id on the Hub")
    parser.add_argument("--model_class", help="class path of a variant, as in its training run")
    parser.add_argument("--data", required=True, help="folder written by prepare_data.py")
    parser.add_argument("--split", default="test", choices=["test", "validation", "train", "all"])
    parser.add_argument("--output", required=True, type=Path, help="JSON file for the scores")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--num_beams", type=int, help="default: the model's own, else 5")
    parser.add_argument("--max_new_tokens", type=int, help="default: the model's own, else 40")
    parser.add_argument("--repetition_penalty", type=float, help="of a caption's own tokens; default: the model's own")
    parser.add_argument("--limit", type=int, help="score the first N pairs only")
    parser.add_argument("--seed", type=int, default=0, help="of the draws of baselines and upper bounds")
    parser.add_argument("--tokenizer", default="auto", choices=TOKENIZERS, help="auto: ptb with Java, else nltk")
    parser.add_argument("--retrieval_store", type=Path, help="captions retrieved for every pair, as in training")
    parser.add_argument("--language", help="of the captions, a code such as zh; by default that of the data")
    parser.add_argument("--protocol", choices=PROTOCOLS, help="references and blocks; by default all of them")
    parser.add_argument("--no_meteor", action="store_true", help="go without METEOR, which needs Java and time")
    parser.add_argument("--scenes", type=Path, help="scenes.jsonl that captions are judged by; by default the data's")
    parser.add_argument("--compare", type=Path, help="another system's captions: JSON, JSONL or CSV")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write DIR/index.html, a page to look at")
    parser.add_argument("--report_pairs", type=int, default=400, help="pairs in the page's gallery")
    parser.add_argument("--no_trust", action="store_true", help="go without the confidence, which captions once more")
    parser.add_argument("--overwrite", action="store_true", help="replace output files that exist")
    return parser.parse_args(arguments)


def choose_rows(data: DatasetDict, options: argparse.Namespace) -> Dataset:
    """Picks the rows to caption."""
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}.")
    rows = concatenate_datasets(list(data.values())) if options.split == "all" else data[options.split]
    if not len(rows):
        raise ValueError(f"The split {options.split!r} of {options.data} is empty.")
    return rows.select(range(min(options.limit or len(rows), len(rows))))


def read_rows(options: argparse.Namespace, rows: Dataset) -> list[Row]:
    """Reads the text columns, with the rendered scenes beside them where they are known."""
    table, scenes = light_rows(rows), options.scenes or scenes_of(options.data)
    return add_scenes(table, scenes) if scenes else table


def score(
    options: argparse.Namespace, table: list[Row], train: Dataset, captions: dict[str, str], scorer: CaptionScorer
) -> dict[str, Any]:
    """Scores the captions, beside another system's if one is given."""
    protocol = PROTOCOLS.get(options.protocol)
    with scorer:
        report = build_report(table, captions, light_rows(train), change_type_of, options.seed, scorer, protocol)
        if options.compare:
            kept = apply_protocol(protocol, table) if protocol else table
            _, theirs, notes = load_captions(options.compare, table)
            compared = compare_systems(kept, captions, theirs, scorer, seed=options.seed)
            report["comparison"] = {"with": str(options.compare), "notes": notes, **compared}
    return report


def measure_trust(
    options: argparse.Namespace, system: Any, rows: Dataset, table: list[Row], scorer: CaptionScorer, decoding: Any
) -> dict[str, Any] | None:
    """Holds the confidence of a calibrated checkpoint against these pairs; None where it is not calibrated."""
    pipe = ChangeCaptioningPipeline(system[0], processor=system[1], task="change-captioning", device=system[0].device)
    if pipe.trust is None or options.no_trust:
        return None
    captions, evidence, statistics = examine_rows(pipe, rows, options.batch_size, **decoding)
    with scorer:
        right, words = right_captions(table, captions, scorer)
    return describe_trust(pipe.trust, evidence, statistics, right, words)


def check_outputs(options: argparse.Namespace) -> None:
    """Refuses to replace files unasked, before the work begins."""
    page = options.report and options.report / INDEX
    for path in filter(None, (options.output, page)):
        if path.exists() and not options.overwrite:
            raise FileExistsError(f"{path} exists; pass --overwrite to replace it.")


def write_report(
    options: argparse.Namespace, results: dict[str, Any], rows: Dataset, captions: dict[str, str], system: Any
) -> Path:
    """Writes the page; its gallery shows pairs of every change type."""
    table = read_rows(options, rows)
    scorer = CaptionScorer(results["tokenizer"], meteor=False, language=results["language"])
    cards = describe_pairs(table, captions, scorer)
    shown = choose_pairs(table, options.report_pairs, options.seed)
    pairs = [load_pair(row, system[1], whole=True) for row in undecoded(rows.select(shown))]
    maps = change_maps(*system, pairs, options.batch_size)
    records = [dict(zip(("before", "after"), pair, strict=True)) for pair in pairs]
    add_images([cards[index] for index in shown], records, maps)
    return write_page(options.report, results, cards)


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Captions, scores and writes; returns the results."""
    check_outputs(options)
    set_seed(options.seed)
    data = load_prepared(options.data)
    if options.retrieval_store:
        data = add_retrieved(data, options.retrieval_store)
    rows = choose_rows(data, options)
    table = read_rows(options, rows)
    language = language_for(options.language or language_of(options.data), table, options.tokenizer)
    scorer = CaptionScorer(options.tokenizer, meteor=not options.no_meteor, language=language)
    model, processor = load_system(options.model, model_class=model_class_of(options.model_class))
    adopt_reading(processor, reading_of(options.data), options.data)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    asked = {name: getattr(options, name) for name in ("model", "data", "split")}
    if options.retrieval_store:
        if not model.config.reads_retrieved:
            raise ValueError(f"{options.model} reads no retrieved captions: leave out --retrieval_store.")
        asked["retrieval_store"] = hashlib.sha256(options.retrieval_store.read_bytes()).hexdigest()
    elif model.config.reads_retrieved:
        asked["retrieval_store"] = None
    decoding = {
        name: getattr(options, name) or getattr(model.generation_config, name, None) or default
        for name, default in (("num_beams", 5), ("max_new_tokens", 40))
    }
    penalty, own = options.repetition_penalty, model.generation_config.repetition_penalty
    # One of 1 on the command line takes the model's own away.
    if penalty is not None or own not in (None, 1):
        decoding["repetition_penalty"] = own if penalty is None else penalty
    states = {"model_files": folder_state(options.model), "data_files": folder_state(options.data)}
    settings = {**asked, **decoding, **states}
    log = PredictionLog(options.output.with_suffix(".predictions.jsonl"), settings, replace=options.overwrite)
    known, start = len(log.captions), time.perf_counter()
    captions = caption_rows(
        model, processor, rows, options.batch_size, progress=True, done=log.captions, on_batch=log.add, **decoding
    )
    seconds, captioned = time.perf_counter() - start, len(log.captions) - known
    report = score(options, table, data["train"], captions, scorer)
    if trust := measure_trust(options, (model, processor), rows, table, scorer, decoding):
        report["trust"] = trust
    throughput = {
        "captions_per_second": captioned / seconds if captioned else None,
        "seconds": seconds,
        "captioned": captioned,
        "threads": torch.get_num_threads(),
        "parameters": model.num_parameters(),
        "num_beams": decoding["num_beams"],
    }
    facts = {"render_settings": render_settings(options.data), "decoding": decoding, "versions": library_versions()}
    results = {**asked, **report, **facts, "throughput": throughput}
    write_results(options.output, results)
    if options.report:
        write_report(options, results, rows, captions, (model, processor))
    return results


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    options = parse_arguments(arguments)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        report = evaluate(options)
    except (OSError, ValueError, RuntimeError, ArithmeticError, ImportError) as error:
        print(f"evaluate.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(format_table(report))
    print(collapse_alarm(report) or f"Wrote {options.output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
