# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Quotes around a sentence, distinguished from quotes inside one."""

from __future__ import annotations


# Curly, low and angle quotes become straight ones, so that captions share one spelling.
STRAIGHT = str.maketrans(
    dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"') | dict.fromkeys("\u2018\u2019\u201a`", "'")
)


def _depths(text: str, mark: str) -> list[tuple[int, int]]:
    """Position of each quote and how many are open after it; apostrophes as in dog's and '70s count for nothing."""
    depth, found = 0, []
    for index, letter in enumerate(text):
        after = text[index + 1 : index + 2]
        within = after.isdigit() or (text[index - 1 : index].isalnum() and after.isalnum())
        if letter != mark or (mark == "'" and within):
            continue
        before = text[index - 1 : index]
        # An opening quote stands before a word and after none.
        opens = after and not after.isspace() and (not before or before.isspace() or before in "(\"'")
        depth += 1 if opens else -1
        found.append((index, depth))
    return found


def unquote(text: str) -> str | None:
    """Take off the quotes that enclose a sentence.

    Args:
        text (`str`): One line, straight quotes.

    Returns:
        `str`: The line without quotes that enclose all of it; quotes inside stay, for they name text in an image. None
        where a quote is not closed or was never opened.
    """
    for mark in ('"', "'"):
        found = _depths(text, mark)
        # A single quote that closes what none opened is the apostrophe of a plural.
        plural = mark == "'" and not text.startswith(mark)
        if found and (found[-1][1] > 0 or (not plural and min(depth for _, depth in found) < 0)):
            return None
        first_closed = next((index for index, depth in found if depth == 0), None)
        if text.startswith(mark) and first_closed is not None and not text[first_closed + 1 :].strip(" .,;!?"):
            return unquote(text[1:first_closed].strip() + text[first_closed + 1 :].strip(" ,;"))
    return text
