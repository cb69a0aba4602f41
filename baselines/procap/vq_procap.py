# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""ProCap's image tokenizer: the encoder and the codes of a VQGAN, from Transformers' Chameleon."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import initialization as init
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAE, ChameleonVQVAEVectorQuantizer
from transformers.utils.generic import maybe_autocast


class VQCodes(NamedTuple):
    """Images as the tokenizer reads them.

    Args:
        features (`torch.Tensor` of shape `(images, patches, latent_channels)`): Of its encoder, before quantization.
        codes (`torch.Tensor` of shape `(images, patches)`): Number of the nearest entry of the codebook.
    """

    features: Tensor
    codes: Tensor


class ProCapVQTokenizer(ChameleonVQVAE):
    """A VQGAN without its decoder: `encoder`, `quant_conv`, `quantize.embedding`, `post_quant_conv`.

    The parts and their names are Chameleon's, which are those of taming-transformers. `post_quant_conv` is what a
    decoder reads codes through; ProCap does not use it.
    """

    config: ChameleonVQVAEConfig

    def _init_weights(self, module: nn.Module) -> None:
        # As in taming-transformers: plain torch, and a codebook within 1 / codes of 0.
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            bound = module.weight[0].numel() ** -0.5
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, ChameleonVQVAEVectorQuantizer):
            bound = 1 / module.num_embeddings
            init.uniform_(module.embedding.weight, -bound, bound)

    def features(self, pixel_values: Tensor) -> Tensor:
        """What the encoder makes of images.

        Args:
            pixel_values (`torch.Tensor` of shape `(images, channels, height, width)`): In [-1, 1].

        Returns:
            `torch.Tensor`: (images, latent_channels, rows, columns).
        """
        # Convolutions run faster on channels-last maps.
        return self.encoder(pixel_values.to(self.dtype).contiguous(memory_format=torch.channels_last))

    def codes(self, features: Tensor) -> Tensor:
        """Number of the nearest codebook entry of every patch.

        Args:
            features (`torch.Tensor` of shape `(images, latent_channels, rows, columns)`): Of the encoder.

        Returns:
            `torch.Tensor`: (images, rows x columns), row by row.
        """
        with maybe_autocast(features.device.type, enabled=False):
            latents = self.quant_conv(features.to(self.dtype))
            _, _, codes = self.quantize(latents)
        return codes.view(len(features), -1)


__all__ = ["ProCapVQTokenizer", "VQCodes"]
