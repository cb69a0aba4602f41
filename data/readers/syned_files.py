# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Parsers of the files that were released with Syned, which report the files' known faults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..checks import read_json_object
from ..findings import Findings


REFERENCES = "gt_augmented_test_clean.json"
SPLIT_FILE = "splits.json"
VARIATIONS = 4

_INSTRUCTION = re.compile(r"(\d+) <INSTRUCT> ?(.*)")
_CHATTER = re.compile(r"(sure|certainly|of course|here (is|are)|i apologi[sz]e|i'm |i cannot|i can't|as an? )", re.I)


def _number(key: str, where: str) -> int:
    # The released keys end with a blank.
    if not key.strip().isdecimal():
        raise ValueError(f"{where}: the key {key!r} is not the number of a row")
    return int(key)


def faults_of(variations: list[str]) -> set[str]:
    """What is wrong with the variations of one instruction, as the release has it."""
    tests = {
        f"other than {VARIATIONS} variations": len(variations) != VARIATIONS,
        "an empty variation": not all(map(str.strip, variations)),
        "a quote that is not closed": any(text[:1] == '"' and not text.rstrip().endswith('"') for text in variations),
        "an answer to the user in place of a variation": any(map(_CHATTER.match, variations)),
        "a variation twice": len(set(variations)) < len(variations),
    }
    return {what for what, found in tests.items() if found}


def read_variations(path: Path, findings: Findings) -> dict[int, list[str]]:
    """Variations of the test instructions by row number.

    They are taken as they are, without the empty ones, since published scores used them so; faults are noted.

    Args:
        path (`Path`): `gt_augmented_test_clean.json`.
        findings (`Findings`): Gets the faults with the rows' numbers.

    Raises:
        ValueError: If a key is no number, or a value no list of strings.
    """
    variations: dict[int, list[str]] = {}
    faults: dict[str, list[str]] = {}
    for key, texts in read_json_object(path).items():
        number = _number(key, str(path))
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{path}, {key!r}: expected a list of captions, found {texts!r:.80}")
        if number in variations:
            raise ValueError(f"{path}: row {number} occurs twice")
        for fault in faults_of(texts):
            faults.setdefault(fault, []).append(str(number))
        variations[number] = [text.strip() for text in texts if any(map(str.isalnum, text))]
    for fault, rows in sorted(faults.items()):
        findings.note(f"{path.name}: {len(rows):,} rows with {fault}", rows)
    return variations


def read_instructions(path: Path) -> dict[int, str]:
    """Instructions by row number, from `instructions_with_idx_{train,test}_split.txt`.

    Raises:
        ValueError: If a line is not `NUMBER <INSTRUCT> text`, or a number comes twice.
    """
    instructions: dict[int, str] = {}
    for line_number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = _INSTRUCTION.fullmatch(line)
        if match is None:
            raise ValueError(f"{path}, line {line_number}: expected `NUMBER <INSTRUCT> text`, found {line!r:.80}")
        if int(match[1]) in instructions:
            raise ValueError(f"{path}, line {line_number}: row {match[1]} occurs twice")
        instructions[int(match[1])] = match[2].strip()
    return instructions


def read_split_numbers(path: Path) -> dict[str, set[int]]:
    """Row numbers of train and validation, both among the released validation rows of Emu Edit.

    Raises:
        ValueError: If a split is missing, holds something else, or shares a number with the other.
    """
    table: dict[str, Any] = read_json_object(path)
    if sorted(table) != ["train", "validation"]:
        raise ValueError(f"{path}: expected the splits train, validation, found {', '.join(table)}")
    for name, numbers in table.items():
        if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
            raise ValueError(f"{path}, {name}: expected a list of row numbers")
    splits = {name: set(numbers) for name, numbers in table.items()}
    shared = splits["train"] & splits["validation"]
    if shared:
        raise ValueError(f"{path}: row {min(shared)} occurs in train and validation")
    return splits
