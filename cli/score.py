# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command `ssgpa score`: score any system's captions beside baselines, with intervals, types and a page."""

import argparse
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.clevr_renderer.captions.sentences import change_type_of
from ..data.prepared import HUB_PREFIX, is_prepared, language_of, load_prepared, reading_of, scenes_of
from ..metrics.bootstrap import compare_systems
from ..metrics.bounds import Row
from ..metrics.change_captioning.scorer import CaptionScorer
from ..metrics.clevr.scenes import add_scenes
from ..metrics.predictions import LoadedCaptions, language_for, load_captions, read_references
from ..metrics.protocols import PROTOCOLS, apply_protocol
from ..metrics.report.build import build_report, collapse_alarm, format_intervals, format_table, light_rows
from ..metrics.report.gallery import add_images, choose_pairs, describe_pairs
from ..metrics.report.page import INDEX, write_page
from ..utils.results import library_versions, write_results


ALL = "all"


@dataclass(frozen=True)
class References:
    """What captions are scored against.

    Args:
        rows (`list[Row]`): Records with `pair_id`, `captions` and `change_type`.
        train_rows (`list[Row]`, *optional*): Records of the training split, for the baselines; None where there is
            none.
        language (`str`, *optional*): Language of the captions, if known.
        images (`Any`, *optional*): The split itself with its images, where there are any.
        reading (`Mapping[str, Any]`, *optional*, defaults to `{}`): How values of the images become colors, from
            `data.prepared.reading_of`.
    """

    rows: list[Row]
    train_rows: list[Row] | None = None
    language: str | None = None
    images: Any = None
    reading: Mapping[str, Any] = field(default_factory=dict)


def run(options: argparse.Namespace) -> int:
    """Score the file, print the table and write what was asked for.

    Args:
        options (`argparse.Namespace`): The command line.

    Returns:
        `int`: The exit code 0.

    Raises:
        OSError: A file cannot be read or written, or exists.
        ValueError: Captions and references do not fit together; the error names the file and the place.
        RuntimeError: Java is asked for and missing, fails or takes too long.
    """
    if options.protocol is not None and options.protocol not in PROTOCOLS:
        raise ValueError(f"--protocol must be one of {', '.join(PROTOCOLS)}, not {options.protocol!r}.")
    for path in filter(None, (options.output, options.report and options.report / INDEX)):
        if path.exists() and not options.overwrite:
            raise FileExistsError(f"{path} exists; pass --overwrite to replace it.")
    references = load_references(options.references, options.split, options.train, options.scenes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        system = load_captions(options.predictions, references.rows, options.missing)
        report = score_system(options, references, system)
    notes = [*report["notes"], *dict.fromkeys(str(one.message) for one in caught if one.category is UserWarning)]
    split = options.split if references.images is not None else None
    facts = {"model": str(options.predictions), "data": options.references, "split": split}
    results = {**facts, **report, "notes": notes}
    sys.stderr.write("".join(f"ssgpa: {line}\n" for line in notes))
    if options.output:
        write_results(options.output, results)
    if options.report:
        write_report(options, results, references, system)
    lines = (format_table(report), format_intervals(report), collapse_alarm(report))
    sys.stdout.write("".join(f"{line}\n" for line in lines if line))
    return 0


def load_references(
    source: str, split: str = "test", train: Path | None = None, scenes: Path | None = None
) -> References:
    """Load the references of a prepared folder, or of a file.

    Args:
        source (`str`): A folder that `examples/prepare_data.py` wrote, a data set on the Hub
            (`hf://datasets/ORG/NAME`), or a file for `metrics.predictions.read_references`.
        split (`str`, *optional*, defaults to `'test'`): Split of the folder; "all" for all of its pairs.
        train (`Path`, *optional*): A file with references of the training pairs; by default the training split of the
            folder.
        scenes (`Path`, *optional*): The renderer's `scenes.jsonl`; by default that of the folder, where it has one.

    Returns:
        `References`: The references.

    Raises:
        OSError: If nothing can be read there.
        ValueError: If it holds no references, or the scenes are of other pairs.
    """
    given = read_references(train) if train else None
    if not source.startswith(HUB_PREFIX) and not Path(source).is_dir():
        rows = read_references(Path(source))
        return References(add_scenes(rows, scenes) if scenes else rows, given)
    if not source.startswith(HUB_PREFIX) and not is_prepared(Path(source)):
        raise FileNotFoundError(
            f"{source} is neither a prepared folder (examples/prepare_data.py makes one) nor a file of references."
        )
    from datasets import concatenate_datasets

    with _without_bars():
        data = load_prepared(source)
    images = concatenate_datasets(list(data.values())) if split == ALL else data[split]
    if not len(images):
        raise ValueError(f"The split {split!r} of {source} is empty.")
    train_rows = given or light_rows(data["train"]) or None
    rows, scenes = light_rows(images), scenes or scenes_of(source)
    return References(
        add_scenes(rows, scenes) if scenes else rows, train_rows, language_of(source), images, reading_of(source)
    )


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep the progress bars of `datasets` off stderr, so that a note or an error stands alone."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def score_system(options: argparse.Namespace, references: References, system: LoadedCaptions) -> dict[str, Any]:
    """Score captions beside their baselines, and beside another system's with `--compare`.

    Args:
        options (`argparse.Namespace`): The command line.
        references (`References`): From `load_references`.
        system (`LoadedCaptions`): The captions to score.

    Returns:
        `dict[str, Any]`: What `metrics.report.build.build_report` gives, with `comparison`, `notes` and `versions`.
    """
    rows, captions, notes = system
    protocol = PROTOCOLS[options.protocol] if options.protocol else None
    language = language_for(options.language or references.language, rows, options.tokenizer)
    with CaptionScorer(options.tokenizer, not options.no_meteor, language=language) as scorer:
        train_rows, seed = references.train_rows, options.seed
        report = build_report(rows, captions, train_rows, change_type_of, seed, scorer, protocol)
        if options.compare:
            other = load_captions(options.compare, rows, options.missing)
            notes = [*notes, *(f"{options.compare}: {note}" for note in other.notes)]
            ours = {row["pair_id"]: captions[row["pair_id"]] for row in other.rows}
            kept = apply_protocol(protocol, other.rows) if protocol else other.rows
            compared = compare_systems(kept, ours, other.captions, scorer, seed=seed)
            report["comparison"] = {"with": str(options.compare), **compared}
    return {**report, "notes": notes, "versions": library_versions()}


def write_report(
    options: argparse.Namespace, results: Mapping[str, Any], references: References, system: LoadedCaptions
) -> None:
    """Write the page of scores, with a gallery where the data has images.

    Args:
        options (`argparse.Namespace`): The command line.
        results (`Mapping[str, Any]`): From `score_system`, with `model`, `data` and `split`.
        references (`References`): From `load_references`.
        system (`LoadedCaptions`): The captions that were scored.

    Raises:
        ValueError: If an image cannot be decoded; the error names its pair.
    """
    scorer = CaptionScorer(results["tokenizer"], meteor=False, language=results["language"])
    cards = describe_pairs(system.rows, system.captions, scorer)
    if references.images is not None:
        # Needs `datasets`, as the images do; files of captions are scored without.
        from ..data.decoding import SIDES, load_pair, undecoded

        shown = choose_pairs(system.rows, options.report_pairs, options.seed)
        places = {name: index for index, name in enumerate(references.images["pair_id"][:])}
        chosen = references.images.select([places[system.rows[index]["pair_id"]] for index in shown])
        # One pair at a time, by the decoder that training and captioning use.
        pairs = (dict(zip(SIDES, load_pair(row, **references.reading), strict=True)) for row in undecoded(chosen))
        add_images([cards[index] for index in shown], pairs)
    write_page(options.report, results, cards)
