# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a model from random weights starts with: a tokenizer and an image processor."""

from collections.abc import Iterable
from typing import Any

from transformers import AutoImageProcessor, AutoTokenizer, PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ..system_config_ssgpa import ChangeCaptioningConfigMixin
from .word_tokenizer import build_word_tokenizer


def _source(name: str) -> tuple[str, dict[str, Any]]:
    """Folder or id, and the options of `from_pretrained`."""
    path, _, revision = name.partition("@")
    return path, {"revision": revision} if revision else {}


def start_tokenizer(
    name: str | None, captions: Iterable[str], prompt: str, image_token: str | None
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model from random weights: a public one, or one of the captions' words.

    Args:
        name (`str`, *optional*): Folder or ID[@REVISION]; None for a tokenizer of words.
        captions (`Iterable[str]`): Training captions, whose words are taken.
        prompt (`str`): The processor's prompt; without one, a start token stands in front of every text.
        image_token (`str`, *optional*): Placeholder of an image; added where a public tokenizer does not know it.

    Returns:
        `PreTrainedTokenizerBase`: With start, end and padding token, padding on the left.

    Raises:
        OSError: There is no such tokenizer.
        ValueError: It has no token that could start or end a caption.
    """
    if name is None:
        return build_word_tokenizer(captions, prompt, image_token)
    path, options = _source(name)
    if image_token is not None:
        options["extra_special_tokens"] = {"image_token": image_token}
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left", trust_remote_code=False, **options)
    # BERT's vocabulary names the ends of a text otherwise.
    tokenizer.bos_token = tokenizer.bos_token or tokenizer.cls_token
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.sep_token
    if tokenizer.bos_token is None or tokenizer.eos_token is None:
        raise ValueError(f"`tokenizer` {name} has no token that starts or ends a text; captions need both.")
    # Llama's has none; labels and attention masks leave padding out, whatever it is.
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token or tokenizer.eos_token
    return tokenizer


def start_image_processor(
    name: str | None, size: list[int], kind: type[ChangeCaptioningConfigMixin]
) -> BaseImageProcessor:
    """The image processor of a model from random weights: a public one, or one that resizes whole images.

    Args:
        name (`str`, *optional*): Folder or ID[@REVISION]; None for CLIP's, without a crop.
        size (`list[int]`): Height and width of what the model reads, of a processor that is made here.
        kind (`type`): Configuration class, which says mean and standard deviation.

    Returns:
        `BaseImageProcessor`: By Pillow.

    Raises:
        OSError: There is no such image processor.
        ValueError: `size` is not two numbers.
    """
    if name is not None:
        path, options = _source(name)
        return AutoImageProcessor.from_pretrained(path, backend="pil", trust_remote_code=False, **options)
    if len(size) != 2:
        raise ValueError(f"`image_size` is a height and a width, got {size}.")
    return CLIPImageProcessorPil(
        size={"height": size[0], "width": size[1]},
        do_center_crop=False,
        image_mean=list(kind.image_mean),
        image_std=list(kind.image_std),
    )


__all__ = ["start_image_processor", "start_tokenizer"]
