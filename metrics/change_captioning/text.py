# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""From a raw caption to the blank-separated tokens that caption metrics count, without Java."""

import functools
import re
import unicodedata
from typing import Any

from .scripts import UNSPACED, UNSPACED_SIGNS


# What the field's tokenizer throws away (PTBTokenizer of the COCO caption evaluation). Brackets are on its list as
# "-LRB-", but it lower-cases first, so that they stay.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

# <unk> is no marker: it stands for a word that the system could not say, and PTB keeps it as one token.
_SPECIAL_TOKEN = re.compile(
    r"</?s>|<pad>|<bos>|<eos>|<mask>|<image>|<(?:start|end)_of_turn>|<\|[^|<>\s]+\|>|\[(?:PAD|CLS|SEP|MASK)\]",
    re.IGNORECASE,
)
_ONE_TOKEN = re.compile(r"(</?[a-z][\w-]*>|[?!]{2,})")
_LOOSE = re.compile(r"\.{2,}|(?<!\S)-(?=\w)|(?<=\w)-(?!\S)")
_PERIOD = re.compile(r"([^\s.]\S*)\.(?=[\"')\]?!]*(?:\s|$))")
_ABBREVIATION = re.compile(r"(?:[a-z]\.)*[a-z]|mr|mrs|ms|dr|st|jr|sr|vs|etc|inc|co|jan|feb|apr|aug|sept?|oct|nov|dec")
_TYPOGRAPHY = str.maketrans(
    dict.fromkeys("\u201c\u201d\u00ab\u00bb", '"')
    | {0x201E: " \u201e "}
    | dict.fromkeys("\u2018\u2019", "'")
    | dict.fromkeys("\u2013\u2014\u2026", " ")
)
# Wide letters and digits, as Chinese and Japanese keyboards type them.
_WIDE = str.maketrans({code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code).isalnum()})
_CHARACTERS = re.compile(f"([{UNSPACED}{UNSPACED_SIGNS}]+)")


def clean_caption(text: str) -> tuple[str, int]:
    """Replace control characters, Unicode line breaks and special tokens by blanks.

    One stray line break shifts every later caption of a tokenizer that reads lines, and a left-over end token costs a
    quarter of the CIDEr; both go before anything is counted.

    Args:
        text (`str`): A caption as a model or a data set gives it.

    Returns:
        `tuple[str, int]`: The caption with single blanks between words, and the number of special tokens taken out.
    """
    if not text.isprintable():
        text = "".join(character if character.isprintable() else " " for character in text)
    text, removed = _SPECIAL_TOKEN.subn(" ", text)
    return " ".join(text.split()), removed


@functools.lru_cache(maxsize=1 << 16)
def tokenize_caption(text: str) -> str:
    """Tokenize a cleaned caption as the Penn Treebank tokenizer of the COCO evaluation does.

    NLTK's word tokenizer, lower case and the punctuation list. NLTK treats its text as one sentence, so the
    periods between sentences are split off first.

    Args:
        text (`str`): What `clean_caption` gave.

    Returns:
        `str`: Lower-case tokens joined by single blanks, without punctuation; "" where nothing is left.

    Raises:
        ImportError: If nltk is missing.
    """
    text = _PERIOD.sub(_split_period, _LOOSE.sub(" ", text.lower().translate(_TYPOGRAPHY)))
    words = []
    for index, part in enumerate(_ONE_TOKEN.split(text)):
        if index % 2:
            words.append(part)
            continue
        # The lone last period is what NLTK splits off, so that an abbreviation before it keeps its own.
        tokens = _word_tokenizer().tokenize(part + " .", convert_parentheses=True)
        words += [word.lower() if word.startswith("-") else word for word in tokens if word.strip(".")]
    return " ".join(word for word in words if word not in PUNCTUATION)


@functools.lru_cache(maxsize=1 << 16)
def tokenize_characters(text: str) -> str:
    """Tokenize a cleaned caption in a script without blanks: every character of such a script is a token.

    This is the protocol of sacrebleu's `zh`, for all such scripts, without punctuation, as in `tokenize_caption`.
    Words of other scripts among them are tokens as there, and wide letters and digits are ordinary ones.

    Args:
        text (`str`): What `clean_caption` gave.

    Returns:
        `str`: Lower-case tokens joined by single blanks, without punctuation; "" where nothing is left.

    Raises:
        ImportError: If nltk is missing.
    """
    words = []
    text = unicodedata.normalize("NFC", text.translate(_WIDE))
    for index, part in enumerate(_CHARACTERS.split(text)):
        if index % 2:
            words += [character for character in part if not unicodedata.category(character).startswith("P")]
        else:
            words += tokenize_caption(part.strip()).split()
    return " ".join(words)


def _split_period(match: re.Match[str]) -> str:
    word = match.group(1)
    return match.group(0) if _ABBREVIATION.fullmatch(word.lstrip("\"'([")) else word + " "


@functools.lru_cache(maxsize=1)
def _word_tokenizer() -> Any:
    try:
        from nltk.tokenize.destructive import NLTKWordTokenizer
    except ImportError as error:
        raise ImportError('Captions are tokenized by nltk: pip install "ssgpa[eval]".') from error
    return NLTKWordTokenizer()
