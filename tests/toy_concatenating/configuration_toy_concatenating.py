# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Configuration of a toy system that reads one concatenated image."""

from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from ssgpa.system_config_ssgpa import ChangeCaptioningConfigMixin


@strict
class ToyConcatenatingConfig(ChangeCaptioningConfigMixin, PreTrainedConfig):
    """A ResNet whose cells stand in the prompt of Llama."""

    model_type = "toy_concatenating"
    pair_layout: ClassVar[str] = "vertical"
    image_mean: ClassVar[tuple[float, ...]] = (0.48, 0.46, 0.41)
    image_std: ClassVar[tuple[float, ...]] = (0.27, 0.26, 0.28)
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="resnet"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 4
    image_seq_length: int = 6


__all__ = ["ToyConcatenatingConfig"]
