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
"""Training of ProCap's image tokenizer: images through its codes and back."""

import math
import os
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from transformers import initialization as init
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import (
    ChameleonVQVAEEncoderAttnBlock,
    ChameleonVQVAEEncoderResnetBlock,
)
from transformers.utils import ModelOutput, auto_docstring, can_return_tuple
from transformers.utils.generic import maybe_autocast

from ...conversion_ssgpa import load_converted
from ...system_ssgpa import ChangeCaptioningModelMixin
from .configuration_procap import ProCapConfig
from .conversion_procap import convert_vqgan, read_tensors
from .modeling_procap import ProCapPreTrainedModel, ProCapVisionTower


@auto_docstring
@dataclass
class ProCapReconstructionOutput(ModelOutput):
    r"""What the model that trains the image tokenizer returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` or `return_loss` is given):
            Sum of the losses.
        loss_parts (`dict[str, torch.FloatTensor]`, *optional*, returned with `loss`):
            `reconstruction` and `codebook`, weights included.
        reconstruction (`torch.FloatTensor` of the shape of `pixel_values`):
            The images, as the decoder makes them of their codes.
        codes (`torch.LongTensor` of shape `(batch_size, frames x patches)`):
            Number of the nearest entry of the codebook.
    """

    loss: torch.FloatTensor | None = None
    loss_parts: dict[str, torch.FloatTensor] | None = None
    reconstruction: torch.FloatTensor | None = None
    codes: torch.LongTensor | None = None


class ProCapUpsample(nn.Module):
    """Twice the height and width, and a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (images, channels, height, width) to (images, channels, 2 x height, 2 x width)."""
        return self.conv(nn.functional.interpolate(hidden_states, scale_factor=2.0, mode="nearest"))


class ProCapUpLevel(nn.Module):
    """Blocks of one size of map, with attention where the encoder has it."""

    def __init__(self, config: ChameleonVQVAEConfig, channels: int, out_channels: int, size: int, last: bool) -> None:
        super().__init__()
        widths = [channels] + [out_channels] * config.num_res_blocks
        self.block = nn.ModuleList([ChameleonVQVAEEncoderResnetBlock(config, width, out_channels) for width in widths])
        attends = config.attn_type == "vanilla" and size in (config.attn_resolutions or ())
        self.attn = nn.ModuleList([ChameleonVQVAEEncoderAttnBlock(out_channels) for _ in widths] if attends else [])
        self.upsample = nn.Identity() if last else ProCapUpsample(out_channels)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (images, channels, height, width) to the next level's."""
        for number, block in enumerate(self.block):
            hidden_states = block(hidden_states)
            if len(self.attn):
                hidden_states = self.attn[number](hidden_states)
        return self.upsample(hidden_states)


class ProCapPixelDecoder(nn.Module):
    """The decoder of a VQGAN, of the blocks of Chameleon's encoder; parts are called as in taming-transformers."""

    def __init__(self, config: ChameleonVQVAEConfig) -> None:
        super().__init__()
        widths = [config.base_channels * factor for factor in config.channel_multiplier]
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], kernel_size=3, padding=1)
        self.mid = nn.Module()
        self.mid.block_1 = ChameleonVQVAEEncoderResnetBlock(config, widths[-1], widths[-1])
        attends = config.attn_type == "vanilla"
        self.mid.attn_1 = ChameleonVQVAEEncoderAttnBlock(widths[-1]) if attends else nn.Identity()
        self.mid.block_2 = ChameleonVQVAEEncoderResnetBlock(config, widths[-1], widths[-1])
        above = [*widths[1:], widths[-1]]
        self.up = nn.ModuleList(
            [
                ProCapUpLevel(config, before, width, config.resolution // 2**level, last=level == 0)
                for level, (before, width) in enumerate(zip(above, widths, strict=True))
            ]
        )
        self.norm_out = nn.GroupNorm(num_groups=32, num_channels=widths[0], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[0], config.in_channels, kernel_size=3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        """Make images of quantized latents.

        Args:
            latents (`torch.Tensor` of shape `(images, latent_channels, rows, columns)`): Behind `post_quant_conv`.

        Returns:
            `torch.Tensor`: (images, in_channels, height, width), about in [-1, 1].
        """
        hidden_states = self.mid.block_1(self.conv_in(latents))
        hidden_states = self.mid.block_2(self.mid.attn_1(hidden_states))
        for level in reversed(self.up):
            hidden_states = level(hidden_states)
        return self.conv_out(nn.functional.silu(self.norm_out(hidden_states)))


class ProCapTokenizerModel(ProCapPreTrainedModel):
    """The image tokenizer where both stages keep it."""

    def __init__(self, config: ProCapConfig) -> None:
        super().__init__(config)
        self.vision_tower = ProCapVisionTower(config)
        self.post_init()

    def forward(self, pixel_values: Tensor) -> Tensor:
        """What is going to be quantized, with gradients.

        Args:
            pixel_values (`torch.Tensor` of shape `(images, channels, height, width)`): In [-1, 1].

        Returns:
            `torch.Tensor`: (images, embed_dim, rows, columns).
        """
        tokenizer = self.vision_tower.tokenizer
        return tokenizer.quant_conv(tokenizer.features(pixel_values))

    def quantize(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Put the nearest codes in the place of latents.

        Args:
            latents (`torch.Tensor` of shape `(images, embed_dim, rows, columns)`): Of `forward`.

        Returns:
            `tuple`: What a decoder reads, (images, latent_channels, rows, columns); the loss of codebook and latents;
            and the codes (images, patches).
        """
        tokenizer = self.vision_tower.tokenizer
        with maybe_autocast(latents.device.type, enabled=False):
            quantized, loss, codes = tokenizer.quantize(latents.to(tokenizer.dtype))
        return tokenizer.post_quant_conv(quantized), loss, codes.view(len(latents), -1)


@auto_docstring(custom_intro="Trains ProCap's image tokenizer before both stages, which keep it frozen.")
class ProCapForImageReconstruction(ProCapPreTrainedModel):
    """The image tokenizer with a decoder: both learn from mean absolute errors and the codebook's loss.

    The perceptual and the adversarial loss of a VQGAN need networks of their own, and are left out (ours).
    """

    auto_classes: ClassVar[dict[str, str]] = {}
    # It has no procedure encoder.
    get_auxiliary_features = ChangeCaptioningModelMixin.get_auxiliary_features
    # Its losses are means over pixels, whatever the number of tokens.
    accepts_loss_kwargs = False
    # Of both stages.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [
        r"^(msm|align|csy|lm)_head\.",
        r"^model\.(encoder|memory|decoder)\.",
        r"^model\.query_embeddings",
    ]

    def __init__(self, config: ProCapConfig) -> None:
        super().__init__(config)
        self.model = ProCapTokenizerModel(config)
        # Here alone it learns.
        self.model.vision_tower.requires_grad_(True)
        self.pixel_decoder = ProCapPixelDecoder(config.vq_config)
        # Steps since every code was last used; saved, so that a run goes on as it was.
        self.register_buffer("idle_steps", torch.zeros(config.vq_config.num_embeddings))
        self.post_init()

    @classmethod
    def from_vqgan(
        cls,
        path: str | os.PathLike,
        resolution: int = 224,
        keep_attention: bool = True,
        dtype: torch.dtype | str = torch.float32,
        **kwargs: Any,
    ) -> "ProCapForImageReconstruction":
        r"""Start from a VQGAN of taming-transformers, its decoder included.

        Args:
            path (`str` or `os.PathLike`):
                Its file, of which tensors alone are read; the discriminator and the perceptual loss are left behind.
            resolution (`int`, *optional*, defaults to 224):
                Height and width of the images.
            keep_attention (`bool`, *optional*, defaults to True):
                Keep the attention of the lowest level, which the released code loses.
            dtype (`torch.dtype` or `str`, *optional*, defaults to float32):
                Of the model.
            kwargs (`Any`, *optional*):
                Fields of [`ProCapConfig`].

        Raises:
            ValueError: It is none, or a weight is missing, left over or of another shape; the error names it.
        """
        vq_config, weights = convert_vqgan(path, resolution, keep_attention)
        for name, value in read_tensors(path, "state_dict").items():
            is_lowest_attention = re.match(r"decoder\.up\.\d+\.attn\.", name)
            if name.startswith("decoder.") and (keep_attention or not is_lowest_attention):
                weights[f"pixel_{name}"] = value
        config = ProCapConfig(**{"vq_config": vq_config} | kwargs)
        return load_converted(cls, config, weights, os.fspath(path), dtype, ("idle_steps",))

    @property
    def frames_per_pair(self) -> int:
        """One frame of every pair, see `ChangeCaptioningModelMixin`."""
        return 1

    def get_input_embeddings(self) -> nn.Module:
        """The codebook; captions are not read."""
        return self.model.vision_tower.tokenizer.quantize.embedding

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            # As in taming-transformers: plain torch.
            init.kaiming_uniform_(module.weight, a=math.sqrt(5))
            bound = module.weight[0].numel() ** -0.5
            init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, ProCapForImageReconstruction):
            init.zeros_(module.idle_steps)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        input_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        return_loss: bool | None = None,
        **kwargs: Any,
    ) -> tuple | ProCapReconstructionOutput:
        r"""Make images of their codes, and compare.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, frames, num_channels, height, width)`):
                Frames of pairs, in [-1, 1]; each is an image by itself.
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Not read.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Not read; where a collator gives them, the losses are wanted.
            return_loss (`bool`, *optional*):
                Compute the losses without labels.
            kwargs (`dict`, *optional*):
                Not read.
        """
        images = pixel_values.flatten(0, 1)
        latents = self.model(images)
        if self.training and self.config.code_restart_steps:
            self._restart_codes(latents.detach())
        quantized, codebook, codes = self.model.quantize(latents)
        made = self.pixel_decoder(quantized)
        output = ProCapReconstructionOutput(
            reconstruction=made.unflatten(0, tuple(pixel_values.shape[:2])),
            codes=codes.view(len(pixel_values), -1),
        )
        if return_loss or labels is not None:
            output.loss_parts = {
                "reconstruction": (made.float() - images.float()).abs().mean(),
                "codebook": self.config.codebook_weight * codebook,
            }
            output.loss = sum(output.loss_parts.values())
        return output

    def training_notes(self, outputs: ProCapReconstructionOutput) -> dict[str, Tensor]:
        """How many different codes the batch has, as a share of the codebook.

        Args:
            outputs (`ProCapReconstructionOutput`): What `forward` returned.
        """
        used = torch.tensor(len(outputs.codes.unique()) / self.config.vq_config.num_embeddings)
        return {"used_codes": used}

    @torch.no_grad()
    def _restart_codes(self, latents: Tensor) -> None:
        """Move codes that were not the nearest for long to where latents are (ours).

        Of a codebook from random values few codes are ever used otherwise.
        """
        embedding = self.model.vision_tower.tokenizer.quantize.embedding.weight
        latents = latents.permute(0, 2, 3, 1).flatten(0, 2).to(embedding.dtype)
        used = torch.zeros_like(self.idle_steps)
        used[torch.cdist(latents, embedding).argmin(1)] = 1
        together = dist.is_initialized() and dist.get_world_size() > 1
        if together:
            dist.all_reduce(used, dist.ReduceOp.MAX)
        self.idle_steps.add_(1).mul_(1 - used)
        idle = self.idle_steps >= self.config.code_restart_steps
        rows = latents[torch.randint(len(latents), (int(idle.sum()),)).to(latents.device)]
        if together:
            dist.broadcast(rows, 0)
        embedding[idle] = rows
        self.idle_steps[idle] = 0


__all__ = ["ProCapForImageReconstruction", "ProCapReconstructionOutput"]
