# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Which tokeniser a set of captions goes through, once for the whole set."""

from collections.abc import Iterable

from .java import NO_JAVA, Java
from .ptb import tokenize_ptb
from .text import clean_caption, tokenize_caption


TOKENIZERS = ("auto", "ptb", "nltk", "none")


def choose_tokenizer(name: str, java: Java | None) -> str:
    """Settles "auto": the field's own tokeniser where there is Java, else the one that gives the same strings.

    Args:
        name: One of `TOKENIZERS`.
        java: The Java there is.

    Returns:
        "ptb", "nltk" or "none".

    Raises:
        ValueError: For another name.
        RuntimeError: If "ptb" is asked for and there is no Java.
    """
    if name not in TOKENIZERS:
        raise ValueError(f"tokenizer must be one of {', '.join(TOKENIZERS)}, not {name!r}.")
    if name == "auto":
        return "ptb" if java else "nltk"
    if name == "ptb" and java is None:
        raise RuntimeError(f"{NO_JAVA} Install one of them, or choose tokenizer='nltk'.")
    return name


def tokenize_all(texts: Iterable[str], name: str, java: Java | None = None) -> dict[str, str]:
    """Cleans and tokenises texts, each different one once.

    Args:
        texts: Raw captions.
        name: "ptb", "nltk" or "none", which only cleans.
        java: For "ptb".

    Returns:
        {raw caption: tokens joined by single blanks}.
    """
    cleaned = {text: clean_caption(text)[0] for text in texts}
    if name == "none":
        return cleaned
    different = list(dict.fromkeys(cleaned.values()))
    if name == "ptb":
        tokens = dict(zip(different, tokenize_ptb(different, java), strict=True))
    else:
        tokens = {text: tokenize_caption(text) for text in different}
    return {text: tokens[clean] for text, clean in cleaned.items()}
