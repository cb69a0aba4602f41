# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Configuration of a toy system whose decoder attends to both images."""

from typing import ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from ssgpa.system_config_ssgpa import ChangeCaptioningConfigMixin


@strict
class ToyCrossAttendingConfig(ChangeCaptioningConfigMixin, PreTrainedConfig):
    """A ResNet, and BERT as a decoder."""

    model_type = "toy_cross_attending"
    # The images take no place in the text.
    placeholder: ClassVar[str | None] = None
    training_fields: ClassVar[frozenset[str]] = frozenset({"caption_weight"})
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="resnet"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="bert"),
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    caption_weight: float = 1.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.text_config.is_decoder = self.text_config.add_cross_attention = True


__all__ = ["ToyCrossAttendingConfig"]
