# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The families' own image processors and processors at tiny sizes, with one tile an image."""

import importlib
from importlib.util import find_spec
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_utils import BaseImageProcessor


MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
SQUARE = {"height": 32, "width": 32}
CROPPED = {"size": {"shortest_edge": 32}, "crop_size": SQUARE}
QWEN = ("qwen2_vl", "Qwen2VLImageProcessorPil", {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2})
QWEN[2]["size"] = {"shortest_edge": 64, "longest_edge": 10**6}
ONE_TILE = ("got_ocr2", "GotOcr2ImageProcessorPil", {"crop_to_patches": False, "size": SQUARE})
NO_SPLIT = {"do_image_splitting": False, "size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 32}}
PIXTRAL = ("pixtral", "PixtralImageProcessorPil", {"size": {"longest_edge": 64}})
# Module, class and options; or why there is none.
IMAGE_PROCESSORS: dict[str, tuple[str, str, dict[str, Any]] | str] = {
    "aya_vision": ONE_TILE,
    "cohere2_vision": "its image processor has no version without torchvision",
    "deepseek_vl": ("deepseek_vl", "DeepseekVLImageProcessorPil", {"size": SQUARE, "min_size": 14}),
    "gemma3": ("gemma3", "Gemma3ImageProcessorPil", {"size": SQUARE}),
    "gemma4": (
        "gemma4",
        "Gemma4ImageProcessorPil",
        {"patch_size": 4, "pooling_kernel_size": 3, "max_soft_tokens": 70},
    ),
    "idefics3": ("idefics3", "Idefics3ImageProcessorPil", NO_SPLIT),
    "internvl": ONE_TILE,
    # Its own has no version without torchvision; its tower is SigLIP 2.
    "lfm2_vl": ("siglip2", "Siglip2ImageProcessorPil", {"patch_size": 8, "max_num_patches": 24}),
    "llava": ("llava", "LlavaImageProcessorPil", CROPPED),
    "llava_next": (
        "llava_next",
        "LlavaNextImageProcessorPil",
        {**CROPPED, "image_grid_pinpoints": [[32, 64], [64, 32], [64, 64]]},
    ),
    "llava_onevision": (
        "llava_onevision",
        "LlavaOnevisionImageProcessorPil",
        {"size": SQUARE, "image_grid_pinpoints": [[32, 32]]},
    ),
    "mistral3": (*PIXTRAL[:2], {**PIXTRAL[2], "patch_size": 16}),
    "ovis2": ("ovis2", "Ovis2ImageProcessorPil", {"crop_to_patches": False, "size": SQUARE}),
    "paligemma": ("siglip", "SiglipImageProcessorPil", {"size": SQUARE}),
    "pixtral": (*PIXTRAL[:2], {**PIXTRAL[2], "patch_size": 8}),
    "qwen2_5_vl": QWEN,
    "qwen2_vl": QWEN,
    "qwen3_5": QWEN,
    "qwen3_vl": QWEN,
    "smolvlm": ("smolvlm", "SmolVLMImageProcessorPil", NO_SPLIT),
    "vipllava": ("clip", "CLIPImageProcessorPil", CROPPED),
}
# Sizes that a family's own processor leaves as they are, where the tiny models' are none.
SIZES = {"gemma4": (84, 120)}


def own_image_processor(family: str) -> BaseImageProcessor:
    """A family's own image processor; skips where there is none without torchvision."""
    told = IMAGE_PROCESSORS[family]
    if isinstance(told, str):
        pytest.skip(told)
    module, name, options = told
    kind = getattr(importlib.import_module(f"transformers.models.{module}.image_processing_pil_{module}"), name)
    # LLaVA-NeXT's port knows the black of CLIP's values, which all of its checkpoints have.
    values = {} if family == "llava_next" else {"image_mean": MEAN, "image_std": STD}
    return kind(do_normalize=True, do_rescale=True, **values, **options)


def own_processor(family: str, tokenizer: PreTrainedTokenizerBase, image: str) -> Any:
    """A family's own processor around its own image processor.

    Args:
        family (`str`): A key of `IMAGE_PROCESSORS`.
        tokenizer (`PreTrainedTokenizerBase`): Gets the names that the processor looks for.
        image (`str`): The token that is repeated.
    """
    if family == "lfm2_vl":
        pytest.skip("its processor needs its own image processor, which has no version without torchvision")
    if family in ("mistral3", "pixtral") and find_spec("torchvision") is None:
        pytest.skip("its processor's module needs torchvision")
    if family == "smolvlm" and find_spec("num2words") is None:
        pytest.skip("its processor needs num2words")
    pixels = own_image_processor(family)
    names = {
        "gemma3": {"boi": "<start_of_image>", "eoi": "<end_of_image>", "image": image},
        "gemma4": {"boi": "<|image>", "eoi": "<image|>", "image": image},
        "internvl": {
            "start_image": "<img>",
            "end_image": "</img>",
            "context_image": image,
            "video": "<video>",
        },
    }.get(family, {} if family in ("aya_vision", "idefics3", "ovis2") else {"image": image})
    for name, token in names.items():
        setattr(tokenizer, f"{name}_token", token)
        setattr(tokenizer, f"{name}_token_id", tokenizer.convert_tokens_to_ids(token))
    patches = {"patch_size": 8, "image_token": image}
    llava = {**patches, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    module, name, options = {
        "aya_vision": (
            "aya_vision",
            "AyaVisionProcessor",
            {"patch_size": 8, "img_size": 32, "downsample_factor": 2, "img_patch_token": image},
        ),
        "deepseek_vl": ("deepseek_vl", "DeepseekVLProcessor", {"num_image_tokens": 16}),
        "gemma3": ("gemma3", "Gemma3Processor", {"image_seq_length": 4}),
        "gemma4": ("gemma4", "Gemma4Processor", {}),
        "idefics3": ("idefics3", "Idefics3Processor", {"image_seq_len": 4}),
        "internvl": ("internvl", "InternVLProcessor", {"image_seq_length": 4}),
        "llava": ("llava", "LlavaProcessor", llava),
        "llava_next": ("llava_next", "LlavaNextProcessor", llava),
        "llava_onevision": (
            "llava_onevision",
            "LlavaOnevisionProcessor",
            {"num_image_tokens": 16, "vision_feature_select_strategy": "full", "image_token": image},
        ),
        "mistral3": ("pixtral", "PixtralProcessor", {**patches, "spatial_merge_size": 2}),
        "ovis2": ("ovis2", "Ovis2Processor", {"image_seq_length": 4}),
        "paligemma": ("paligemma", "PaliGemmaProcessor", {}),
        "pixtral": ("pixtral", "PixtralProcessor", patches),
        "qwen2_5_vl": ("qwen2_5_vl", "Qwen2_5_VLProcessor", {}),
        "qwen2_vl": ("qwen2_vl", "Qwen2VLProcessor", {}),
        "qwen3_5": ("qwen3_vl", "Qwen3VLProcessor", {}),
        "qwen3_vl": ("qwen3_vl", "Qwen3VLProcessor", {}),
        "smolvlm": ("smolvlm", "SmolVLMProcessor", {"image_seq_len": 4}),
        "vipllava": ("llava", "LlavaProcessor", llava),
    }[family]
    kind = getattr(importlib.import_module(f"transformers.models.{module}.processing_{module}"), name)
    if family == "paligemma":
        pixels.image_seq_length = 16

    class WithoutFilms(kind):
        """Parts that would need torchvision or sound are left out, which the signature tells."""

        def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None) -> None:
            parts = {"image_processor": image_processor, "tokenizer": tokenizer, "chat_template": chat_template}
            if family != "gemma4":
                films = {"video_processor": None} if family == "smolvlm" else {}
                super().__init__(**parts, **films, **options)
                return
            for name in ("boi_token", "eoi_token", "image_token", "image_token_id"):
                setattr(self, name, getattr(tokenizer, name))
            # It asks for marks of sound even where there is none.
            self.video_token, self.audio_token, self.boa_token, self.eoa_token = None, "<|audio|>", "<a>", "</a>"
            ProcessorMixin.__init__(self, **parts)

    WithoutFilms.__name__ = name
    return WithoutFilms(pixels, tokenizer)
