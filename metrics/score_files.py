# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Scores any system's captions from a file: the work of `ssgpa score`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.clevr_renderer.captions.sentences import change_type_of
from ..data.prepared import HUB_PREFIX, is_prepared, language_of, load_prepared, reading_of
from ..utils.results import library_versions
from . import check_ids
from .bootstrap import compare_systems
from .bounds import Row
from .change_captioning.scorer import CaptionScorer
from .change_captioning.scripts import guess_language
from .predictions import match_ids, read_captions, read_references
from .protocols import PROTOCOLS, Protocol, apply_protocol
from .report.build import build_report, light_rows
from .report.gallery import add_images, choose_pairs, describe_pairs
from .report.page import INDEX, write_page


MISSING = ("error", "empty", "skip")
ALL = "all"


@dataclass(frozen=True)
class References:
    """What captions are scored against.

    Args:
        rows (`list[Row]`): Records with `pair_id`, `captions` and `change_type`.
        train_rows (`list[Row]`, *optional*): Records of the training split, for the baselines; None where there is
            none.
        language (`str`, *optional*): Of the captions, where it is told.
        images (`Any`, *optional*): The split itself with its images, where there are any.
        reading (`Mapping[str, Any]`, *optional*, defaults to `{}`): How values of the images become colors, from
            `data.prepared.reading_of`.
    """

    rows: list[Row]
    train_rows: list[Row] | None = None
    language: str | None = None
    images: Any = None
    reading: Mapping[str, Any] = field(default_factory=dict)


def load_references(source: str, split: str = "test", train: Path | None = None) -> References:
    """Loads the references of a prepared folder, or of a file.

    Args:
        source (`str`): A folder that `examples/prepare_data.py` wrote, a data set on the Hub
            (`hf://datasets/ORG/NAME`), or a file for `caption_files.read_references`.
        split (`str`, *optional*, defaults to `'test'`): Of the folder; "all" for every pair of it.
        train (`Path`, *optional*): A file with references of the training pairs; by default the training split of the
            folder.

    Returns:
        `References`: The references.

    Raises:
        OSError: If nothing can be read there.
        ValueError: If it holds no references.
    """
    given = read_references(train) if train else None
    if not source.startswith(HUB_PREFIX) and not Path(source).is_dir():
        return References(read_references(Path(source)), given)
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
    return References(light_rows(images), train_rows, language_of(source), images, reading_of(source))


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keeps the progress bars of `datasets` off stderr, so that a note or an error stands alone."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            enable_progress_bars()


def load_captions(
    path: Path, rows: Sequence[Row], missing: str = "error"
) -> tuple[list[Row], dict[str, str], list[str]]:
    """Reads a system's captions and brings them together with the pairs.

    Args:
        path (`Path`): A file for `caption_files.read_captions`.
        rows (`Sequence[Row]`): Records of the pairs.
        missing (`str`, *optional*, defaults to `'error'`): What becomes of pairs without a caption: "error"; "empty",
            where they count as an empty caption; or "skip", where they are left out, as COCO's evaluation does.

    Returns:
        `tuple[list[Row], dict[str, str], list[str]]`: The records that are scored, one caption for each by pair id,
        and notes on what was done.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it holds no captions, captions of unknown pairs, or, with "error", lacks some.
    """
    if missing not in MISSING:
        raise ValueError(f"missing must be one of {', '.join(MISSING)}, not {missing!r}.")
    names = [row["pair_id"] for row in rows]
    found, note = match_ids(read_captions(path), names)
    notes = [note] if note else []
    captions = {name: text for name, text in found.items() if text is not None}
    lacking = [name for name in names if name not in captions]
    if lacking and missing == "empty":
        notes.append(f"{len(lacking)} of {len(names)} pairs have no caption and count as empty ones.")
        captions |= dict.fromkeys(lacking, "")
    elif lacking and missing == "skip":
        notes.append(f"{len(lacking)} of {len(names)} pairs have no caption and are left out.")
        rows = [row for row in rows if row["pair_id"] in captions]
        if not rows:
            raise ValueError(
                f"{path}: none of its ids is one of a pair; it has {next(iter(found))!r}, not {names[0]!r}."
            )
    try:
        check_ids(dict.fromkeys(row["pair_id"] for row in rows), captions)
    except ValueError as error:
        raise ValueError(
            f"{path}: {error} The references name {names[0]!r} first, the captions {next(iter(found))!r}. "
            "--missing says what to do about pairs without a caption."
        ) from error
    return list(rows), {row["pair_id"]: captions[row["pair_id"]] for row in rows}, notes


def language_for(told: str | None, rows: Sequence[Row], tokenizer: str) -> str | None:
    """The language to score in.

    Args:
        told (`str`, *optional*): What the user or the data says.
        rows (`Sequence[Row]`): Records with `captions`.
        tokenizer (`str`): The tokenizer that was asked for.

    Returns:
        `str`: The language; guessed with "auto" where it is not told and the captions' script has no blanks, else
            None.
    """
    if told is not None or tokenizer != "auto":
        return told
    return guess_language(text for row in rows for text in row["captions"])


def score_files(
    predictions: Path,
    references: References,
    compare: Path | None = None,
    missing: str = "error",
    protocol: str | None = None,
    tokenizer: str = "auto",
    language: str | None = None,
    meteor: bool = True,
    seed: int = 0,
) -> tuple[dict[str, Any], list[Row], dict[str, str]]:
    """Scores a file of captions beside its baselines, and beside another system's where one is given.

    Args:
        predictions (`Path`): The file of captions.
        references (`References`): From `load_references`.
        compare (`Path`, *optional*): Another system's file of captions.
        missing (`str`, *optional*, defaults to `'error'`): See `load_captions`.
        protocol (`str`, *optional*): A name of `protocols.PROTOCOLS`.
        tokenizer (`str`, *optional*, defaults to `'auto'`): See `change_captioning.scorer.CaptionScorer`.
        language (`str`, *optional*): Of the captions; by default that of the data, else guessed where their script has
            no blanks.
        meteor (`bool`, *optional*, defaults to `True`): Whether to compute METEOR.
        seed (`int`, *optional*, defaults to `0`): Of the draws of baselines and intervals.

    Returns:
        `tuple[dict[str, Any], list[Row], dict[str, str]]`: What `report.build_report` gives, with `comparison`,
        `notes` and `versions`; the records that were scored; and their captions.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If captions and references do not fit together.
        RuntimeError: If Java is asked for and missing, fails or takes too long.
    """
    rules = _protocol(protocol)
    rows, captions, notes = load_captions(predictions, references.rows, missing)
    language = language_for(language or references.language, rows, tokenizer)
    with CaptionScorer(tokenizer, meteor, language=language) as scorer:
        report = build_report(rows, captions, references.train_rows, change_type_of, seed, scorer, rules)
        if compare:
            kept, theirs, more = load_captions(compare, rows, missing)
            notes += [f"{compare}: {note}" for note in more]
            ours = {row["pair_id"]: captions[row["pair_id"]] for row in kept}
            kept = apply_protocol(rules, kept) if rules else kept
            report["comparison"] = {"with": str(compare), **compare_systems(kept, ours, theirs, scorer, seed=seed)}
    return {**report, "notes": notes, "versions": library_versions()}, rows, captions


def _protocol(name: str | None) -> Protocol | None:
    if name is not None and name not in PROTOCOLS:
        raise ValueError(f"--protocol must be one of {', '.join(PROTOCOLS)}, not {name!r}.")
    return PROTOCOLS[name] if name else None


def check_targets(output: Path | None, report: Path | None, overwrite: bool) -> None:
    """Refuses to replace files unasked, before the work begins.

    Args:
        output (`Path`, *optional*): The file of scores.
        report (`Path`, *optional*): The folder of the page.
        overwrite (`bool`): Whether they may exist.

    Raises:
        FileExistsError: If one does.
    """
    for path in filter(None, (output, report and report / INDEX)):
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists; pass --overwrite to replace it.")


def write_score_page(
    folder: Path,
    results: dict[str, Any],
    references: References,
    rows: Sequence[Row],
    captions: dict[str, str],
    pairs: int,
) -> Path:
    """Writes the page of scores, with a gallery where the data has images.

    Args:
        folder (`Path`): Where `index.html` goes.
        results (`dict[str, Any]`): From `score_files`, with `model`, `data` and `split`.
        references (`References`): From `load_references`.
        rows (`Sequence[Row]`): The records that were scored.
        captions (`dict[str, str]`): Their captions.
        pairs (`int`): At most so many pairs in the gallery.

    Returns:
        `Path`: The file.

    Raises:
        ValueError: If an image cannot be decoded; the error names its pair.
    """
    scorer = CaptionScorer(results["tokenizer"], meteor=False, language=results["language"])
    cards = describe_pairs(rows, captions, scorer)
    if references.images is not None:
        shown = choose_pairs(rows, pairs, results["seed"])
        places = {name: index for index, name in enumerate(references.images["pair_id"][:])}
        add_images(
            [cards[index] for index in shown],
            _decode(references, [places[rows[index]["pair_id"]] for index in shown]),
        )
    return write_page(folder, results, cards)


def _decode(references: References, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The images of some rows, one pair at a time, by the decoder that training and captioning use."""
    # Needs `datasets`, as the images do; files of captions are scored without.
    from ..data.decoding import SIDES, load_pair, undecoded

    for row in undecoded(references.images.select(places)):
        yield dict(zip(SIDES, load_pair(row, **references.reading), strict=True))
