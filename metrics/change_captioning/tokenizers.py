# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Choice of the tokenizer, once for a whole set of captions."""

from collections.abc import Iterable

from .java import NO_JAVA, Java
from .ptb import tokenize_ptb
from .scripts import UNSPACED_LANGUAGES, base_language
from .text import clean_caption, tokenize_caption, tokenize_characters


TOKENIZERS = ("auto", "ptb", "nltk", "char", "none")


def choose_tokenizer(name: str, java: Java | None, language: str | None = None) -> str:
    """Resolve "auto": characters for a language without blanks, else the PTB tokenizer if there is Java.

    Args:
        name (`str`): One of `TOKENIZERS`.
        java (`Java`, *optional*): The Java there is.
        language (`str`, *optional*): A code such as "en" or "zh"; None if unknown.

    Returns:
        `str`: "ptb", "nltk", which gives the same strings without Java, "char" or "none".

    Raises:
        ValueError: For another name.
        RuntimeError: If "ptb" is asked for and there is no Java.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"tokenizer must be one of {', '.join(TOKENIZERS)}, not {name!r}.")
    if name == "auto":
        return "char" if base_language(language) in UNSPACED_LANGUAGES else "ptb" if java else "nltk"
    if name == "ptb" and java is None:
        raise RuntimeError(f"{NO_JAVA} Install one of them, or choose tokenizer='nltk'.")
    return name


def tokenize_all(texts: Iterable[str], name: str, java: Java | None = None) -> dict[str, str]:
    """Clean and tokenize texts, each distinct one once.

    Args:
        texts (`Iterable[str]`): Raw captions.
        name (`str`): "ptb", "nltk", "char", or "none", which only cleans.
        java (`Java`, *optional*): For "ptb".

    Returns:
        `dict[str, str]`: {raw caption: tokens joined by single blanks}.
    """
    cleaned = {text: clean_caption(text)[0] for text in texts}
    if name == "none":
        return cleaned
    different = list(dict.fromkeys(cleaned.values()))
    if name == "ptb":
        tokens = dict(zip(different, tokenize_ptb(different, java), strict=True))
    else:
        tokenize = tokenize_characters if name == "char" else tokenize_caption
        tokens = {text: tokenize(text) for text in different}
    return {text: tokens[clean] for text, clean in cleaned.items()}
