# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A VLM with a small ResNet as its tower, with SSGPA's parts and without, for the comparison at the tiny size."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BaseModelOutputWithPooling

from ssgpa.benchmarks.variants.plain_vlm import PlainVLM
from ssgpa.vlm import SSGPAForVLM


@strict
class ResNetTokensConfig(PreTrainedConfig):
    """Configuration of a ResNet whose maps are read as tokens, as of a vision transformer.

    Args:
        resnet_config (`dict`): Configuration of the ResNet.
        image_size (`int`, *optional*, defaults to 128): Height and width of the images, in pixels.
        patch_size (`int`, *optional*, defaults to 16): Pixels of each side that become one token.
        hidden_size (`int`, *optional*, defaults to 128): Width of the tokens.
    """

    model_type = "resnet_tokens"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "resnet_config": SubConfigSpec(config_class=AutoConfig, model_type="resnet")
    }

    resnet_config: dict | PreTrainedConfig | None = None
    image_size: int = 128
    patch_size: int = 16
    hidden_size: int = 128


class ResNetTokensModel(PreTrainedModel):
    """The maps of a ResNet through one convolution, row by row."""

    config_class = ResNetTokensConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True

    def __init__(self, config: ResNetTokensConfig) -> None:
        super().__init__(config)
        self.resnet = AutoModel.from_config(config.resnet_config, attn_implementation="eager")
        self.patch_projection = nn.Conv2d(config.resnet_config.hidden_sizes[-1], config.hidden_size, kernel_size=1)
        self.post_init()

    def train(self, mode: bool = True) -> "ResNetTokensModel":
        """Keep the batch norms of a frozen tower as they are."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Encode images (images, 3, height, width) as tokens (images, patches, hidden_size)."""
        maps = self.resnet(pixel_values, return_dict=True).last_hidden_state
        tokens = self.patch_projection(maps).flatten(2).transpose(1, 2)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


AutoConfig.register("resnet_tokens", ResNetTokensConfig, exist_ok=True)
AutoModel.register(ResNetTokensConfig, ResNetTokensModel, exist_ok=True)


class SSGPAForResNetVLM(SSGPAForVLM):
    """SSGPA inside a VLM whose tower this module knows."""


class PlainResNetVLM(PlainVLM):
    """The same VLM without SSGPA's parts: the language model alone compares the images."""


__all__ = ["PlainResNetVLM", "ResNetTokensConfig", "ResNetTokensModel", "SSGPAForResNetVLM"]
