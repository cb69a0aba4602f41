# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Damaged files of captions and hostile captions: they are scored, or one error of ours names what is wrong."""

import json
import math
import warnings

import numpy as np
import pytest

from ssgpa.data.readers.custom_pairs import load_custom_pairs
from ssgpa.data.readers.levir_cc import ANNOTATIONS, load_levir_cc
from ssgpa.metrics import score_captions
from ssgpa.metrics.bootstrap import compare_systems
from ssgpa.metrics.predictions import load_captions, read_captions, read_references
from ssgpa.metrics.report.build import build_report
from ssgpa.training.word_tokenizer import build_word_tokenizer, unknown_words

from ..data.readers.reader_cases import make_levir, make_own
from ..processing_cases import build
from .test_predictions import FILES, REFERENCES


FEW, MANY = 400, 10_000
# Put in the place of a value of a JSON file.
VALUES = [
    *("null", "true", "-1", "0", "1e999", "NaN", "1.5", '""', '" "', "[]", "{}", "[[]]", '["a", "b"]', "[null]"),
    *('"\\ud800"', '"a\\u0000b"', '"\\u2028"', '"</s> <image>"', '"\\u7ea2\\u8272"', '"' + "x " * 3000 + '"'),
    *("9" * 5000, "[" * 3000, "[" * 3000 + "]" * 3000),
]
BYTES = [
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b'"',
    b",",
    b"{",
    b"}",
    b"\\",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
]
PIECES = [
    *("the red cube", "moved", " ", "", ".", "?!", "|||", "\n", "\r", "\x00", "\u2028", "\ud800", "\udfff", "</s>"),
    *("<image>", "<unk>", "<|endoftext|>", "'tis", "e.g.", "\U0001f600", "\u05d0\u05d1", "\ube68\uac04", "红色的"),
    *("動きました", "สีแดง", "\uff21\uff01", "e\u0301", "\u200b", "x" * 300, "a " * 500, "3.5", "$%&", "-", "_", '"'),
    *("\\", "##a", "\uffff"),
]
ODD = [None, 3, 2.5, b"x", [], {}, ["a"], True, math.nan]


def damage(content, rng):
    """One or two changes to the bytes of a file."""
    for _ in range(rng.integers(1, 3)):
        kind, start, stop = rng.integers(7), *sorted(rng.integers(0, len(content) + 1, size=2))
        if kind == 0:
            content = content[:start]
        elif kind == 1:
            content = content[:start] + content[stop:]
        elif kind == 2:
            content = content[:start] + content[start:stop] * 2 + content[stop:]
        elif kind == 3:
            content = content[:start] + BYTES[rng.integers(len(BYTES))] + content[start:]
        elif kind == 4 and content:
            place = start % len(content)
            content = content[:place] + bytes([rng.integers(256)]) + content[place + 1 :]
        elif kind == 5:
            content = content.replace(b'"', b"'" if rng.random() < 0.3 else b'""', rng.integers(1, 5))
        else:
            content = put_value(content, rng)
    return content


def put_value(content, rng):
    """A hostile value after one of the colons or commas."""
    places = [index for index, byte in enumerate(content) if byte in b":,["]
    if not places:
        return content
    start = places[rng.integers(len(places))] + 1
    stop = next((index for index in range(start, len(content)) if content[index] in b",]}\n"), len(content))
    return content[:start] + VALUES[rng.integers(len(VALUES))].encode() + content[stop:]


def attempt(expected, call, *arguments, **options):
    """What a call gives, and the text of an expected error."""
    try:
        return call(*arguments, **options), None
    except expected as error:
        return None, f"{type(error).__name__}: {error}"


def text(rng):
    return "".join(rng.choice(PIECES, size=rng.integers(0, 6)))


def check_scores(report):
    """Every score is a number in its range."""
    for block in filter(None, (report["scores"][name] for name in ("total", "changed", "unchanged"))):
        for name in ("bleu_1", "bleu_4", "rouge_l", "cider"):
            assert -1e-9 <= block[name] <= (10 if name == "cider" else 1) + 1e-9


def read_damaged(path):
    """What becomes of one file: "scored", "refused"."""
    outcomes = []
    for read in (read_captions, read_references):
        found, error = attempt(ValueError, read, path)
        if error:
            assert str(path) in error
            outcomes.append("refused")
            continue
        if read is read_references:
            check_scores(build_report(found, {row["pair_id"]: "it moved" for row in found}))
        else:
            names = [{"pair_id": name, "captions": ["it moved"], "change_type": None} for name in found]
            kept, captions, _ = load_captions(path, names, missing="empty")
            check_scores(build_report(kept, captions))
        outcomes.append("scored")
    return outcomes


def fuzz_files(tmp_path, count, seed):
    rng, outcomes = np.random.default_rng(seed), []
    sources = [(name, content.encode()) for name, content in {**FILES, **REFERENCES}.items()]
    for index in range(count):
        name, content = sources[rng.integers(len(sources))]
        path = tmp_path / f"{index}-{name}"
        path.write_bytes(damage(content, rng))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            outcomes += read_damaged(path)
        path.unlink()
    return outcomes


def test_damaged_files_of_captions(tmp_path):
    outcomes = fuzz_files(tmp_path, FEW, 0)
    assert min(outcomes.count("scored"), outcomes.count("refused")) > FEW / 20


@pytest.mark.slow
def test_many_damaged_files_of_captions(tmp_path):
    outcomes = fuzz_files(tmp_path, MANY, 1)
    assert min(outcomes.count("scored"), outcomes.count("refused")) > MANY / 20


@pytest.mark.parametrize("name", ["x" * 6000, "a\0b"])
def test_names_that_no_file_can_have_are_told(tmp_path, name):
    make_own(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text("utf-8").splitlines()]
    lines[0]["before_file_name"] = name
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    with pytest.raises(ValueError, match=r"is no file of the folder|zero byte|is missing") as caught:
        load_custom_pairs(tmp_path)
    assert str(tmp_path) in str(caught.value)


def fuzz_folder(folder, table, load, count, seed):
    rng, outcomes = np.random.default_rng(seed), []
    whole = (folder / table).read_bytes()
    for _ in range(count):
        (folder / table).write_bytes(damage(whole, rng))
        _, error = attempt((ValueError, FileNotFoundError), load, folder, verify_images=False)
        assert error is None or str(folder) in error
        outcomes.append("refused" if error else "read")
    return outcomes


FOLDERS = {"levir": (make_levir, ANNOTATIONS, load_levir_cc), "own": (make_own, "captions.jsonl", load_custom_pairs)}


@pytest.mark.parametrize("name", FOLDERS)
def test_damaged_captions_of_data_sets(tmp_path, name):
    make, table, load = FOLDERS[name]
    make(tmp_path)
    outcomes = fuzz_folder(tmp_path, table, load, FEW // 4, 2)
    assert {"read", "refused"} == set(outcomes)


@pytest.mark.slow
@pytest.mark.parametrize("name", FOLDERS)
def test_many_damaged_captions_of_data_sets(tmp_path, name):
    make, table, load = FOLDERS[name]
    make(tmp_path)
    outcomes = fuzz_folder(tmp_path, table, load, MANY, 3)
    assert {"read", "refused"} == set(outcomes)


def fuzz_metric(count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        names = [str(index) for index in range(rng.integers(1, 5))]
        rows = [
            {
                "pair_id": name,
                "captions": [text(rng) for _ in range(rng.integers(1, 4))],
                "change_type": [None, "none", "move"][rng.integers(3)],
            }
            for name in names
        ]
        said, other = ({name: text(rng) for name in names} for _ in range(2))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            check_scores(build_report(rows, said, rows if rng.random() < 0.5 else None))
            compare_systems(rows, said, other, draws=3)
        # The same with one value of a wrong kind.
        wrong = ODD[rng.integers(len(ODD))]
        place = names[rng.integers(len(names))]
        references = {row["pair_id"]: row["captions"] for row in rows}
        said_wrong = rng.random() < 0.5
        if said_wrong:
            said[place] = wrong
        else:
            references[place] = wrong if rng.random() < 0.5 else [*references[place], wrong]
        fits = not said_wrong and references[place] == ["a"]
        if fits:
            continue
        with pytest.raises(ValueError, match=f"pair '{place}'"):
            score_captions(references, said, tokenizer="nltk", meteor=False)


def test_hostile_captions_are_scored_or_named():
    fuzz_metric(FEW // 10, 4)


@pytest.mark.slow
def test_many_hostile_captions_are_scored_or_named():
    fuzz_metric(MANY, 5)


@pytest.mark.slow
def test_hostile_captions_with_java(scorer, meteor):
    rng = np.random.default_rng(6)
    rows = [{"pair_id": str(index), "captions": [text(rng), text(rng)], "change_type": None} for index in range(FEW)]
    said = {row["pair_id"]: text(rng) for row in rows}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        report = build_report(rows, said, scorer=scorer)
    check_scores(report)
    assert 0 <= report["scores"]["total"]["meteor"] <= 1
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_hostile_captions_are_encoded_or_named(count):
    rng, processor = np.random.default_rng(7), build()
    refused = 0
    for index in range(count):
        caption = text(rng) if index % 4 else ODD[rng.integers(len(ODD))]
        ids, error = attempt(ValueError, processor.caption_ids, [caption], ["pair 'x'"])
        if error:
            refused += 1
            assert "pair 'x': the caption" in error
        else:
            # One end token, at the end.
            assert ids[0].index(processor.tokenizer.eos_token_id) == len(ids[0]) - 1
    assert count / 4 < refused < count


@pytest.mark.parametrize("count", [FEW // 20, pytest.param(MANY, marks=pytest.mark.slow)])
def test_tokenizers_are_built_of_hostile_captions(count):
    rng = np.random.default_rng(8)
    for _ in range(count):
        captions = [text(rng).replace("\ud800", "").replace("\udfff", "") for _ in range(rng.integers(1, 30))]
        tokenizer = build_word_tokenizer(captions, "before: <image> <image>")
        special = set(tokenizer.all_special_tokens)
        plain = [caption for caption in captions if not any(token in caption for token in special)]
        found = unknown_words(tokenizer, plain)
        assert not found, found
