# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The public reproduction of SSGPA, in both its variants, over our SSGPA; written from a description of it.

Behind the frozen tower stands the same tower once more, frozen too, whose every block got a cross-attention between
the two images: random, without a gate, and the only large part that trains. There is no alignment and no loss but the
caption's. docs/reproduction.md tells what came of it. A run takes a variant by its class path, such as
`model_class: ssgpa.benchmarks.variants.reproduction.ViTReproduction`.
"""

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, InstructBlipVisionConfig, InstructBlipVisionModel, ResNetConfig
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.models.instructblip.modeling_instructblip import (
    InstructBlipEncoderLayer,
    InstructBlipPreTrainedModel,
)

from ...alignment_ssgpa import in_dtype_of
from ...configuration_ssgpa import SSGPAConfig
from ...conversion_ssgpa import load_converted
from .ablations import SSGPAWithoutMechanism


TOWER, FUSION = "model.vision_tower.tower.", "model.change_fusion_adapter."
# Taken over from a base as they are; the tower is taken twice.
SHARED = ("model.language_model.", "lm_head.", "model.connector.language_projection.")
# Layers of the ResNet variant that no checkpoint has, and that do not train either.
RANDOM_FROZEN = (f"{TOWER}embeddings.projection.", f"{TOWER}embeddings.position_embedding")
# Regular expressions of what trains: `trainable` of a run.
TRAINABLE = (r"cross_attn\.", r"^model\.connector\.", r"tower\.post_layernorm\.")
PROMPT = "{0}{0}{1}the difference between the before image and after image is that"


def update_both(
    before: Tensor,
    after: Tensor,
    first_norm: Callable[[Tensor], Tensor],
    self_attn: Callable[[Tensor], Tensor],
    cross_attn: Callable[[Tensor, Tensor], Tensor],
    second_norm: Callable[[Tensor], Tensor],
    mlp: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """One block of the second tower, in its order: the image after attends to a before that is updated already.

    Args:
        before (`torch.Tensor` of shape `(batch, tokens, width)`): Tokens of the image before.
        after (`torch.Tensor`): Those of the image after.
        first_norm (`Callable`): In front of both attentions.
        self_attn (`Callable`): Within an image.
        cross_attn (`Callable`): From one image's tokens to the other's.
        second_norm (`Callable`): In front of the MLP.
        mlp (`Callable`): The MLP.

    Returns:
        `tuple[torch.Tensor, torch.Tensor]`: Both images' tokens.
    """
    before, after = (states + self_attn(first_norm(states)) for states in (before, after))
    before = before + cross_attn(first_norm(before), first_norm(after))
    after = after + cross_attn(first_norm(after), first_norm(before))
    before, after = (states + mlp(second_norm(states)) for states in (before, after))
    return before, after


class PlainAttention(nn.Module):
    """Attention that keeps its weights, in float32 from the softmax; keys and values have no bias.

    Args:
        width (`int`): Of all tokens.
        heads (`int`): Heads; they share the width.
        bias (`bool`, *optional*, defaults to `False`): Whether queries have a bias.
    """

    linear: ClassVar[type[nn.Linear]] = nn.Linear

    def __init__(self, width: int, heads: int, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query = self.linear(width, width, bias=bias)
        self.key_value = self.linear(width, 2 * width, bias=False)
        self.output = self.linear(width, width)

    def forward(self, states: Tensor, context: Tensor) -> Tensor:
        """Let `states` attend to `context`, both (batch, tokens, width)."""
        key, value = self.key_value(context).chunk(2, -1)
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query(states), key, value)
        )
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        weights = scores.softmax(-1, dtype=torch.float32).to(value.dtype)
        return self.output((weights @ value).transpose(1, 2).flatten(2))


class FusionLayer(InstructBlipEncoderLayer):
    """A block of the tower with a cross-attention to the other image, behind the norm of the self-attention."""

    def __init__(self, config: InstructBlipVisionConfig) -> None:
        super().__init__(config)
        self.cross_attn = PlainAttention(config.hidden_size, config.num_attention_heads)

    def forward(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Update both images' tokens (batch, tokens, width)."""

        def frozen(module: nn.Module, weight: nn.Module) -> Callable[[Tensor], Tensor]:
            # What is frozen may be kept in fewer bits than what trains.
            return lambda states: module(in_dtype_of(weight, states))

        return update_both(
            before,
            after,
            frozen(self.layer_norm1, self.layer_norm1),
            lambda states: self.self_attn(in_dtype_of(self.self_attn.qkv, states))[0],
            lambda states, context: self.cross_attn(
                in_dtype_of(self.cross_attn.query, states), in_dtype_of(self.cross_attn.query, context)
            ),
            frozen(self.layer_norm2, self.layer_norm2),
            frozen(self.mlp, self.mlp.fc1),
        )


class FusionTower(InstructBlipPreTrainedModel):
    """The tower's blocks once more, each with a cross-attention. Its input is what the last of these blocks gave."""

    config: InstructBlipVisionConfig

    def __init__(self, config: InstructBlipVisionConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList([FusionLayer(config) for _ in range(config.num_hidden_layers)])
        self.post_init()

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, None]:
        """Fuse (batch, 2, 1 + patches, width); return the same shape, and no gate."""
        before, after = hidden_states.unbind(1)
        for layer in self.layers:
            before, after = layer(before, after)
        return torch.stack([before, after], 1), None

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, PlainAttention):
            for part in (module.query, module.key_value, module.output):
                init.trunc_normal_(part.weight, std=0.02)


class TwoStepConnector(nn.Module):
    """All tokens of both images through a norm, a new projection, and the one that a Q-Former's outputs went through.

    Args:
        config (`SSGPAConfig`): `fusion_hidden_size` is the width between the two projections.
    """

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__()
        width, inner = config.patch_hidden_size, config.fusion_hidden_size
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.before_projection = nn.Linear(width, inner)
        self.language_projection = nn.Linear(inner, config.text_config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (batch, 2, 1 + patches, width) to (batch, 2 + 2 patches, text width)."""
        states = hidden_states
        for layer in (self.norm, self.before_projection, self.language_projection):
            states = layer(in_dtype_of(layer, states))
        return states.flatten(1, 2)


class ViTReproduction(SSGPAWithoutMechanism):
    """The ViT variant: frozen tower, second tower with random cross-attention, two projections, language model.

    Args:
        config (`SSGPAConfig`): Without a Q-Former; the second tower is as deep as the first.
    """

    tower_class: ClassVar[type[PreTrainedModel]] = InstructBlipVisionModel
    # What no base holds, beside the cross-attention.
    new_parts: ClassVar[tuple[str, ...]] = ("model.connector.norm.", "model.connector.before_projection.", "contrast.")

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__(config)
        found = type(self.model.vision_tower.tower)
        if found is not self.tower_class:
            raise ValueError(
                f"{type(self).__name__} stands on a {self.tower_class.__name__}, and the configuration describes a "
                f"{found.__name__}: make a base with benchmarks/make_reproduction_base.py."
            )
        self.model.change_fusion_adapter = FusionTower(self.config.vision_config)
        self.model.connector = TwoStepConnector(self.config)
        self.post_init()

    @classmethod
    def from_base(cls, source: PreTrainedModel, **options: Any) -> "ViTReproduction":
        """Put the variant together of the parts of an SSGPA with a ViT.

        Args:
            source (`PreTrainedModel`): An SSGPA, with or without a Q-Former; it gives its tower, which is taken twice,
                its language model, and the projection in front of that.
            **options (`Any`, *optional*): For subclasses.

        Returns:
            `ViTReproduction`: In evaluation mode; what is new has random weights.

        Raises:
            ValueError: The base has another tower.
        """
        if type(source.model.vision_tower.tower) is not InstructBlipVisionModel:
            raise ValueError("The base needs the tower of InstructBLIP, whose blocks the second tower repeats.")
        config = cls._config_of(source, **options)
        weights = cls._weights_of(source.state_dict(), **options)
        layers = range(config.vision_config.num_hidden_layers)
        new = (*cls.new_parts, *(f"{FUSION}layers.{number}.cross_attn." for number in layers))
        model = load_converted(cls, config, weights, "The base", source.lm_head.weight.dtype, new)
        model.generation_config = copy.deepcopy(source.generation_config)
        return model

    @classmethod
    def _config_of(cls, source: PreTrainedModel, **options: Any) -> SSGPAConfig:
        config = copy.deepcopy(source.config)
        # The width of the projection that is taken over.
        config.fusion_hidden_size = source.model.connector.language_projection.in_features
        config.qformer_config = config.qformer_input_ids = None
        return config

    @classmethod
    def _weights_of(cls, weights: Mapping[str, Tensor], **options: Any) -> dict[str, Tensor]:
        kept = {name: value for name, value in weights.items() if name.startswith((*SHARED, TOWER))}
        blocks = f"{TOWER}encoder."
        kept |= {f"{FUSION}{name[len(blocks) :]}": v.clone() for name, v in weights.items() if name.startswith(blocks)}
        return kept


@strict
class ResNetViTConfig(InstructBlipVisionConfig):
    """A ViT whose patches are cells of a ResNet's last stage.

    Args:
        resnet_config (`dict`, *optional*): Of the ResNet.
    """

    model_type = "reproduction_resnet_vit"

    resnet_config: dict | None = None


class ResNetEmbeddings(nn.Module):
    """Cells of a frozen ResNet through a projection and a position table that no checkpoint has and nothing trains."""

    def __init__(self, config: ResNetViTConfig) -> None:
        super().__init__()
        resnet, cells = ResNetConfig(**config.resnet_config), (config.image_size // config.patch_size) ** 2
        self.resnet = AutoModel.from_config(resnet, attn_implementation="eager")
        self.class_embedding = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.projection = nn.Linear(resnet.hidden_sizes[-1], config.hidden_size)
        self.position_embedding = nn.Parameter(torch.empty(1, 1 + cells, config.hidden_size))

    def train(self, mode: bool = True) -> "ResNetEmbeddings":
        """Keep the batch statistics: the features were files."""
        super().train(mode)
        self.resnet.eval()
        return self

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """Embed images (batch, channels, height, width) as (batch, 1 + cells, width); the table has one size."""
        maps = self.resnet(pixel_values).last_hidden_state
        cells = self.projection(maps.flatten(2).transpose(1, 2))
        tokens = torch.cat([self.class_embedding.expand(len(cells), -1, -1).to(cells.dtype), cells], 1)
        return tokens + self.position_embedding.to(cells.dtype)


class ResNetViTModel(InstructBlipVisionModel):
    """The tower of the ResNet variant."""

    config: ResNetViTConfig

    def __init__(self, config: ResNetViTConfig) -> None:
        super().__init__(config)
        self.embeddings = ResNetEmbeddings(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ResNetEmbeddings):
            init.trunc_normal_(module.projection.weight, std=0.02)
            init.trunc_normal_(module.position_embedding, std=0.02)
            init.trunc_normal_(module.class_embedding, std=0.02)


AutoConfig.register(ResNetViTConfig.model_type, ResNetViTConfig, exist_ok=True)
AutoModel.register(ResNetViTConfig, ResNetViTModel, exist_ok=True)


class ResNetReproduction(ViTReproduction):
    """The ResNet variant: its tower reads cells of a ResNet's last stage through layers that stay random."""

    tower_class = ResNetViTModel
    new_parts = (*ViTReproduction.new_parts, *RANDOM_FROZEN)

    @classmethod
    def from_base(cls, source: PreTrainedModel, **options: Any) -> "ResNetReproduction":
        """Put the variant together of the parts of an SSGPA with a ViT and a ResNet.

        Args:
            source (`PreTrainedModel`): As for [`ViTReproduction`].
            **options (`Any`): `resnet`, a `ResNetModel`.

        Returns:
            `ResNetReproduction`: In evaluation mode.

        Raises:
            ValueError: The base has another tower, or the ResNet's maps do not divide its images.
        """
        return super().from_base(source, **options)

    @classmethod
    def _config_of(cls, source: PreTrainedModel, **options: Any) -> SSGPAConfig:
        config = super()._config_of(source)
        resnet = options["resnet"].config
        # The stem halves twice, each stage behind the first once.
        stride = 4 * 2 ** (len(resnet.hidden_sizes) - 1 + bool(resnet.downsample_in_first_stage))
        values = config.vision_config.to_dict() | {"patch_size": stride, "resnet_config": resnet.to_diff_dict()}
        if values["image_size"] % stride:
            raise ValueError(f"Images of {values['image_size']} do not fit a ResNet that divides them by {stride}.")
        values.pop("model_type")
        config.vision_config = ResNetViTConfig(**values)
        config.patch_grid = 2 * [values["image_size"] // stride]
        return config

    @classmethod
    def _weights_of(cls, weights: Mapping[str, Tensor], **options: Any) -> dict[str, Tensor]:
        kept = super()._weights_of(weights)
        for name in ("patch_embedding.weight", "patch_embedding.bias", "position_embedding"):
            kept.pop(f"{TOWER}embeddings.{name}")
        features = options["resnet"].state_dict().items()
        return kept | {f"{TOWER}embeddings.resnet.{name}": value for name, value in features}


__all__ = ["PROMPT", "TRAINABLE", "ResNetReproduction", "ViTReproduction"]
