# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Scripts that put no blank between words, and the languages that are written in them."""

import re
from collections import Counter
from collections.abc import Iterable


# First and last code point of each script, and the language that it stands for if none is given.
UNSPACED_RANGES: tuple[tuple[int, int, str], ...] = (
    (0x0E00, 0x0E7F, "th"),  # Thai
    (0x0E80, 0x0EFF, "lo"),  # Lao
    (0x0F00, 0x0FFF, "bo"),  # Tibetan
    (0x1000, 0x109F, "my"),  # Myanmar
    (0x1780, 0x17FF, "km"),  # Khmer
    (0x19E0, 0x19FF, "km"),
    (0x2E80, 0x2FDF, "zh"),  # radicals
    (0x3005, 0x3007, "zh"),
    (0x3021, 0x3029, "zh"),
    (0x3038, 0x303B, "zh"),
    (0x3041, 0x30FF, "ja"),  # Hiragana and Katakana
    (0x3100, 0x312F, "zh"),  # Bopomofo
    (0x31A0, 0x31BF, "zh"),
    (0x31F0, 0x31FF, "ja"),
    (0x3400, 0x4DBF, "zh"),  # Han
    (0x4E00, 0x9FFF, "zh"),
    (0xA9E0, 0xA9FF, "my"),
    (0xAA60, 0xAA7F, "my"),
    (0xF900, 0xFAFF, "zh"),
    (0xFF66, 0xFF9F, "ja"),  # Katakana of half width
    (0x1B000, 0x1B16F, "ja"),
    (0x20000, 0x323AF, "zh"),
)
_CHINESE = ("zh", "cmn", "yue", "wuu", "hsn", "hak", "nan", "gan", "cdo", "lzh")
UNSPACED_LANGUAGES = frozenset((*_CHINESE, "ja", "th", "lo", "bo", "dz", "my", "shn", "km"))
# The inside of a character class, for `re` and for the regular expressions of `tokenizers` alike.
UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last, _ in UNSPACED_RANGES)
# Signs that stand between such characters: commas, full stops, brackets, wide forms of ASCII signs.
UNSPACED_SIGNS = "\u3001-\u3004\u3008-\u3020\u302a-\u3037\u303c-\u303f\ufe10-\ufe4f\uff01-\uff65"
# From this share of the letters on, a text counts as written without blanks.
MIN_SHARE = 0.1
KANA_SHARE = 0.05
_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8})*")


def base_language(tag: str | None) -> str | None:
    """Return the language of a tag such as "zh", "zh-Hans" or "pt_BR".

    Args:
        tag (`str`, *optional*): The tag, or None if the language is unknown.

    Returns:
        `str`: The language in lower case, or None.

    Raises:
        ValueError: If it is no such tag.
    """
    if tag is None:
        return None
    if not isinstance(tag, str) or not _TAG.fullmatch(tag):
        raise ValueError(f"language must be a code such as 'en', 'zh' or 'pt-BR', not {tag!r}.")
    return re.split("[-_]", tag)[0].lower()


def script_counts(texts: Iterable[str]) -> Counter[str]:
    """Count letters by the language that their script stands for.

    Args:
        texts (`Iterable[str]`): Any texts.

    Returns:
        `Counter[str]`: Letters by the language that their script stands for; those of all scripts with blanks under
        "".
    """
    counts: Counter[str] = Counter()
    for character, count in Counter("".join(texts)).items():
        if character.isalpha():
            point = ord(character)
            counts[next((name for first, last, name in UNSPACED_RANGES if first <= point <= last), "")] += count
    return counts


def unspaced_share(texts: Iterable[str]) -> float:
    """Return the share of letters in scripts without blanks.

    Args:
        texts (`Iterable[str]`): Any texts.

    Returns:
        `float`: Share of the letters in scripts without blanks, 0..1; 0 where there is no letter.
    """
    return _share(script_counts(texts))


def _share(counts: Counter[str]) -> float:
    total = counts.total()
    return 1 - counts[""] / total if total else 0.0


def guess_language(texts: Iterable[str]) -> str | None:
    """Guess the language of texts written without blanks; letters alone do not tell English from French.

    Args:
        texts (`Iterable[str]`): Captions of one set.

    Returns:
        `str`: "zh", "ja", "th" and so on if at least one letter in ten is of such a script, else None. Kana among Han
        characters make it Japanese.
    """
    return _guess(script_counts(texts))


def _guess(counts: Counter[str]) -> str | None:
    if _share(counts) < MIN_SHARE:
        return None
    counts = Counter({language: count for language, count in counts.items() if language})
    if counts["ja"] >= KANA_SHARE * (counts["ja"] + counts["zh"]) > 0:
        counts["ja"] += counts.pop("zh", 0)
    return counts.most_common(1)[0][0]


def script_fault(texts: Iterable[str], language: str | None, tokenizer: str) -> str | None:
    """Return why a tokenizer does not fit the script of texts, if it does not.

    Args:
        texts (`Iterable[str]`): Captions of one set.
        language (`str`, *optional*): The language that was given, or None.
        tokenizer (`str`): "ptb", "nltk", "char" or "none".

    Returns:
        `str`: One sentence, or None where it fits or nothing can be said.
    """
    if tokenizer == "none":
        return None
    counts = script_counts(texts)
    share, guessed = _share(counts), _guess(counts)
    if tokenizer != "char" and guessed:
        return (
            f"{share:.0%} of the letters are of a script without blanks, which the tokenizer {tokenizer!r} takes for "
            f"whole words: scores of such captions mean nothing. Pass language={guessed!r}, or tokenizer='char'."
        )
    if tokenizer == "char" and not guessed and counts.total():
        told = f"the language is {language!r}" if language else "the tokenizer is 'char'"
        return (
            f"Only {share:.0%} of the letters are of a script without blanks, though {told}: are these the captions?"
        )
    return None
