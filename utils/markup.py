# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Text of others in documents of ours."""

from __future__ import annotations

import re


# What begins or ends something in GitHub's Markdown. An underscore within a word does not.
_MARKS = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def plain_markdown(text: str) -> str:
    """Write text so that Markdown shows it as it is: no tag, link, image, cell or line of its own.

    Args:
        text (`str`): Anything, such as a caption, a file's name or an error.

    Returns:
        `str`: One line of Markdown.
    """
    line = _MARKS.sub(r"\\\g<0>", " ".join(text.split()))
    return "".join(_HTML.get(character, character) for character in line)
