# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A tokenizer of whole words for models that start without one, and the words that a tokenizer does not know."""

import re
from collections import Counter
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from ..metrics.change_captioning.scripts import UNSPACED, UNSPACED_SIGNS, script_counts


PLACEHOLDER = "<image>"
SPECIAL_TOKENS = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
# In scripts without blanks: what continues a run of characters, and how long and how many its pieces may be.
CONTINUED = "##"
PIECE_LENGTH = 4
PIECES = 2000
MIN_PIECE_COUNT = 2
# Longer runs without a blank become the unknown token; the search for pieces is quadratic in them.
RUN_LENGTH = 1000
_RUN = f"[{UNSPACED}{UNSPACED_SIGNS}]+"
_IS_RUN = re.compile(_RUN)
# Signs that nobody sees, which some keyboards put between words.
_INVISIBLE = Regex("[\u200b\u2060\ufeff]")


def build_word_tokenizer(
    captions: Iterable[str], prompt: str, image_token: str | None = PLACEHOLDER
) -> PreTrainedTokenizerFast:
    """A tokenizer of whole lower-case words: those of the captions and of the prompt.

    In scripts that put no blank between words (Chinese, Japanese, Thai, ...), where a caption would be one word, the
    tokens are characters and the pieces of up to four characters that byte pair encoding finds in the captions. Words
    of other scripts among them are whole words, as everywhere.

    Args:
        captions (`Iterable[str]`): Training captions.
        prompt (`str`): The prompt, whose placeholders become one token. Without one, the start token stands in front
            of every text: something must predict a caption's first word.
        image_token (`str`, *optional*, defaults to `"<image>"`): The placeholder, which has its place in every such
            vocabulary; None names no image token.

    Returns:
        `PreTrainedTokenizerFast`: Pads on the left.
    """
    texts = [prompt.replace(PLACEHOLDER, " "), *captions]
    scripts = script_counts(texts)
    if scripts.total() > scripts[""]:
        tokenizer = _piece_tokenizer(texts)
    else:
        split = pre_tokenizers.Whitespace()
        words = {word for text in texts for word, _ in split.pre_tokenize_str(text.lower())}
        tokenizer = Tokenizer(models.WordLevel(_numbered(words), unk_token=SPECIAL_TOKENS["unk_token"]))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), split
    if not prompt:
        start = SPECIAL_TOKENS["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, tokenizer.token_to_id(start))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens={"image_token": image_token} if image_token else {},
        padding_side="left",
        **SPECIAL_TOKENS,
    )


def _piece_tokenizer(texts: list[str]) -> Tokenizer:
    """Words, and pieces of the runs without blanks, of which the longest that fits is taken."""
    normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace(_INVISIBLE, "")]
    )
    # A run ends where another script begins, so that the words beside it stay whole.
    others = rf"[^\W{UNSPACED}{UNSPACED_SIGNS}]+|[^\w\s{UNSPACED_SIGNS}]+"
    split = pre_tokenizers.Split(Regex(f"{_RUN}|{others}"), behavior="removed", invert=True)
    words = {word for text in texts for word, _ in split.pre_tokenize_str(normalizer.normalize_str(text))}
    runs = {word for word in words if _IS_RUN.fullmatch(word)}
    characters = _both_places({character for word in runs for character in word})
    every = _piece_model(words - runs | characters | _both_places(_frequent_pieces(texts, normalizer)))
    # No piece takes a place in the vocabulary that the captions do not use; any character may come anywhere.
    used = {token.value for word in words if len(word) <= RUN_LENGTH for token in every.tokenize(word)}
    tokenizer = Tokenizer(_piece_model(words - runs | characters | used - {SPECIAL_TOKENS["unk_token"]}))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, split
    tokenizer.decoder = decoders.WordPiece(prefix=CONTINUED, cleanup=False)
    return tokenizer


def _both_places(pieces: set[str]) -> set[str]:
    return pieces | {CONTINUED + piece for piece in pieces}


def _piece_model(vocabulary: set[str]) -> models.WordPiece:
    return models.WordPiece(
        _numbered(vocabulary),
        unk_token=SPECIAL_TOKENS["unk_token"],
        continuing_subword_prefix=CONTINUED,
        max_input_chars_per_word=RUN_LENGTH,
    )


def _frequent_pieces(texts: list[str], normalizer: normalizers.Normalizer) -> set[str]:
    """What byte pair encoding makes of the runs without blanks.

    It learns without a sign for what continues a run: with one, the pieces depend on the order of a hash table.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_RUN), behavior="removed", invert=True)
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        min_frequency=MIN_PIECE_COUNT,
        max_token_length=PIECE_LENGTH,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return set(tokenizer.get_vocab())


def _numbered(words: Iterable[str]) -> dict[str, int]:
    special = [*SPECIAL_TOKENS.values(), PLACEHOLDER]
    return {word: index for index, word in enumerate(special + sorted(words))}


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
