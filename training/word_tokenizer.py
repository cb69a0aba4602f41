# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A tokenizer of whole words for models that start without one, and the words that a tokenizer does not know."""

from collections import Counter
from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast


PLACEHOLDER = "<image>"
SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def build_word_tokenizer(captions: Iterable[str], prompt: str) -> PreTrainedTokenizerFast:
    """A tokenizer of whole lower-case words: those of the captions and of the prompt.

    Args:
        captions (`Iterable[str]`): Training captions.
        prompt (`str`): The prompt, whose placeholders become one token.

    Returns:
        `PreTrainedTokenizerFast`: Pads on the left.
    """
    split = pre_tokenizers.Whitespace()
    texts = [prompt.replace(PLACEHOLDER, " "), *captions]
    words = {word for text in texts for word, _ in split.pre_tokenize_str(text.lower())}
    special = [*SPECIAL_TOKENS.values(), PLACEHOLDER]
    vocabulary = {word: index for index, word in enumerate(special + sorted(words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL_TOKENS["unk_token"]))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = split
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens={"image_token": PLACEHOLDER},
        padding_side="left",
        **SPECIAL_TOKENS,
    )


def unknown_words(tokenizer: PreTrainedTokenizerFast, captions: Iterable[str]) -> dict[str, int]:
    """Words that a tokenizer turns into its unknown token.

    Args:
        tokenizer (`PreTrainedTokenizerFast`): The tokenizer; one without an unknown token knows all.
        captions (`Iterable[str]`): The training captions.

    Returns:
        `dict[str, int]`: How often each such word occurs, the most frequent first.
    """
    texts = list(captions)
    if tokenizer.unk_token_id is None or not texts:
        return {}
    found = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
    counts = Counter(
        text[start:end].strip()
        for text, ids, places in zip(texts, found["input_ids"], found["offset_mapping"], strict=True)
        for token, (start, end) in zip(ids, places, strict=True)
        if token == tokenizer.unk_token_id
    )
    return dict(counts.most_common())


__all__ = ["PLACEHOLDER", "build_word_tokenizer", "unknown_words"]
