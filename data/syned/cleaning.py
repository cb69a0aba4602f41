# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""From a chat model's raw answer to paraphrases: no numbers, quotes, chat, refusals, repetitions or cut-off lines.

The references released with the paper hold all of these, so none of this is the paper's.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from .quotes import STRAIGHT, unquote


MAX_WORDS = 40
_MARKER = re.compile(
    r"^(?:[-+*#\u2022\u2013\u2014]+\s+"
    r"|\(?\d{1,2}[.)]\)?\s*(?=[^\d\s])"
    r"|\(?(?:\d{1,2}|[a-h])[.):]\)?\s+"
    r"|\d{1,2}\s*[-\u2013]\s+)",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^(?:variation|version|option|paraphrase|alternative|rewrite|rephrasing|instruction|answer|output)"
    r"\s*#?\d{0,2}\s*[:.)-]\s+",
    re.IGNORECASE,
)
_INLINE = re.compile(r"\s+(?=\(?\d{1,2}[.)]\s+\S)")
_CONTROL = re.compile(r"</s>|<\|[^|<>]*\|>|<end_of_turn>", re.IGNORECASE)
_PROMPT = re.compile(r"<s>|\[/?INST\]|<</?SYS>>|<INSTRUCT>|<\|(?:im_start|user|system)", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\b(?:i (?:can ?not|can't|could not|couldn't|won't|will not|am (?:not able|unable|sorry|just an ai)|must decline)"
    r"|i'm (?:not able|unable|sorry|just an ai|afraid)|i apologi[sz]e|as an ai|as a (?:large )?language model"
    r"|it(?:'s| is| would be) (?:not |in)appropriate|sorry, (?:but )?i)\b",
    re.IGNORECASE,
)
_CHAT = re.compile(
    r"^(?:sure|certainly|of course|absolutely|okay|ok|great|alright|yes|no problem|understood|got it|thanks|thank you)"
    r"(?:[,.!:]| here| i |$)"
    r"|^(?:here(?:'s| is| are)|below (?:is|are)|the following|these (?:are|variations|instructions)|let me know"
    r"|i hope|hope |please let|feel free|\(?note(?: that|:)|i |i'(?:m|d|ll|ve) |you can (?:also )?(?:use|choose|ask)"
    r"|(?:would|do) you |is there )"
    r"|:$",
    re.IGNORECASE,
)
# Words after which an instruction does not end.
_DANGLING = re.compile(
    r"(?:\b(?:a|an|the|and|or|of|with|to|from|into|onto|by|for|its|their|is|are|as|than)|[,;\u2013\u2014-]|\.\.\.|\u2026)$",
    re.IGNORECASE,
)


@dataclass
class Cleaned:
    """What an answer gave.

    Args:
        kept (`list[str]`, *optional*, defaults to `[]`): The paraphrases, in their order.
        dropped (`Counter[str]`, *optional*): How many lines were left out, by reason.
    """

    kept: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def comparison_key(text: str) -> str:
    """Letters and digits in lower case, words apart: what two sentences share that differ in case and punctuation."""
    return " ".join(re.findall(r"[^\W_]+", text.replace("'", "").casefold()))


def _lines(answer: str) -> list[str]:
    """The answer's lines; a numbered line that holds further numbers is a list on one line."""
    lines = []
    for line in answer.translate(STRAIGHT).splitlines():
        parts = _INLINE.split(line.strip()) if re.match(r"\(?\d{1,2}[.)]\s", line.strip()) else [line.strip()]
        lines += [part for part in parts if part]
    return lines


def _strip_markup(line: str) -> str:
    """Without control tokens, bold, list markers and labels."""
    line = " ".join(_CONTROL.sub(" ", line).replace("**", "").replace("__", "").split())
    previous = None
    while line != previous:
        previous, line = line, _LABEL.sub("", _MARKER.sub("", line))
    return line


def _fault(line: str, key: str) -> str | None:
    """Why a line without markup is no paraphrase, judged by the line alone; None if it may be one."""
    checks = {
        "no words": not any(map(str.isalpha, key)),
        "refusal": _REFUSAL.search(line),
        "chat": _CHAT.search(line),
        "cut off": _DANGLING.search(line),
        "too long": len(line.split()) > MAX_WORDS,
    }
    return next((reason for reason, found in checks.items() if found), None)


def clean_line(raw: str) -> tuple[str, str | None]:
    """One line of an answer.

    Args:
        raw (`str`): As the model wrote it, straight quotes.

    Returns:
        `tuple[str, str | None]`: The paraphrase, and None; or what is left of the line, and why it is none.
    """
    if _PROMPT.search(raw):
        return raw, "prompt repeated"
    line = _strip_markup(raw)
    unquoted = unquote(line)
    if unquoted is None:
        return line, _fault(line, comparison_key(line)) or "unclosed quote"
    unquoted = _strip_markup(unquoted)
    return unquoted, _fault(unquoted, comparison_key(unquoted))


def clean_answer(answer: str, instruction: str, ended: bool, known: Collection[str] = ()) -> Cleaned:
    """The paraphrases in a chat model's answer.

    Args:
        answer (`str`): The raw text, prompt removed.
        instruction (`str`): What was to be put in other words.
        ended (`bool`): Whether the model ended the answer itself; if not, the last line is cut off.
        known (`Collection[str]`, *optional*, defaults to `()`): Paraphrases that earlier answers gave.

    Returns:
        `Cleaned`: Paraphrases that differ from the instruction, from those known and from each other by more than case
        and punctuation, and the number of lines left out by reason: "no words", "refusal", "chat", "cut off", "too
        long", "unclosed quote", "prompt repeated", "same as the instruction", "repeated".
    """
    result = Cleaned()
    source = comparison_key(instruction.translate(STRAIGHT))
    seen = {comparison_key(text) for text in known}
    lines = _lines(answer)
    for number, raw in enumerate(lines):
        line, fault = clean_line(raw)
        key = comparison_key(line)
        if not fault and not ended and number == len(lines) - 1:
            fault = "cut off"
        elif not fault and key == source:
            fault = "same as the instruction"
        elif not fault and key in seen:
            fault = "repeated"
        if fault:
            result.dropped[fault] += 1
        else:
            seen.add(key)
            result.kept.append(line)
    return result
