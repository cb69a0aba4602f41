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
"""PyTorch SCORER model."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import AutoModel
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel, slice_logits_to_keep
from transformers.models.bert.modeling_bert import eager_attention_forward
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring, can_return_tuple
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from ...compatibility_ssgpa import CACHE, renamed_cache
from ...system_ssgpa import AuxiliaryFeatures, ChangeCaptioningModelMixin, FreezableTower, Paper
from .configuration_scorer import SCORERConfig
from .conversion_scorer import check_weights, convert_official
from .losses_scorer import MatchingContrast, pool_sentences, scene_halves


PAPER = Paper(
    title="Self-supervised Cross-view Representation Reconstruction for Change Captioning",
    venue="ICCV 2023",
    relation=(
        "This is **a reimplementation**, checked against the authors' released code with the same weights; what "
        "differs by default is listed in the README of `baselines/scorer`. The paper's scores are not reproduced by "
        "this checkpoint."
    ),
    bibtex="""\
@inproceedings{tu2023self,
  title     = {Self-supervised Cross-view Representation Reconstruction for Change Captioning},
  author    = {Tu, Yunbin and Li, Liang and Su, Li and Zha, Zheng-Jun and Yan, Chenggang and Huang, Qingming},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision},
  pages     = {2805--2815},
  year      = {2023}
}""",
)


class PairMatching(NamedTuple):
    """Both images of every pair as the last layer compares them.

    Args:
        queries (`torch.Tensor` of shape `(batch, 2, patches, heads, width)`): What looks for a partner.
        keys (`torch.Tensor` of shape `(batch, 2, patches, heads, width)`): What is looked for.
    """

    queries: Tensor
    keys: Tensor


@auto_docstring(custom_intro="What the decoder attends to, and what the losses read.")
@dataclass
class SCORERImageFeatures(BaseModelOutputWithPooling):
    r"""What `get_image_features` returns.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, patches, hidden_size)`):
            One feature a cell for the pair.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*, returned when `output_hidden_states=True`):
            Maps of the backbone, over all 2 x batch_size images.
        images (`torch.FloatTensor` of shape `(batch_size, 2, patches, hidden_size)`):
            The images before they are compared.
        matching (`PairMatching`):
            The images as the last layer compares them.
        keys_and_values (`tuple[tuple[torch.FloatTensor]]`):
            What each layer of the decoder reads of `last_hidden_state`.
    """

    images: torch.FloatTensor | None = None
    matching: PairMatching | None = None
    keys_and_values: tuple[tuple[torch.FloatTensor, torch.FloatTensor], ...] | None = None


@auto_docstring
@dataclass
class SCORERModelOutputWithPast(BaseModelOutputWithPast):
    r"""What the model without a head returns.

    Args:
        cross_attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True`):
            Attention of the words to the cells, one a layer, of shape `(batch_size, heads, sequence, patches)`.
        image_outputs (`SCORERImageFeatures`, *optional*):
            What `get_image_features` returned.
    """

    cross_attentions: tuple[torch.FloatTensor, ...] | None = None
    image_outputs: SCORERImageFeatures | None = None


@auto_docstring
@dataclass
class SCORERCausalLMOutputWithPast(CausalLMOutputWithPast):
    r"""What the model with a head returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
            Weighted sum of the losses.
        loss_parts (`dict[str, torch.FloatTensor]`, *optional*, returned when `labels` is provided):
            The scalars that were added up to `loss`, weights included.
        logits (`torch.FloatTensor` of shape `(batch_size, sequence_length, vocab_size)`):
            Prediction scores of the language modeling head.
        cross_attentions (`tuple(torch.FloatTensor)`, *optional*, returned when `output_attentions=True`):
            Attention of the words to the cells, one a layer, of shape `(batch_size, heads, sequence, patches)`.
        image_outputs (`BaseModelOutput`, *optional*):
            Of the images: what the decoder attends to as `last_hidden_state`, and the backbone's `hidden_states` where
            asked for.
    """

    loss_parts: dict[str, torch.FloatTensor] | None = None
    cross_attentions: tuple[torch.FloatTensor, ...] | None = None
    image_outputs: BaseModelOutput | None = None


def start_as_in_torch(parent: nn.Module) -> None:
    """Mark modules that start as in plain torch; only the decoder starts with weights of `initializer_range`."""
    for module in parent.modules():
        module.starts_as_in_torch = True


class SCORERVisionTower(FreezableTower):
    """A ResNet that reads each image for itself."""

    def __init__(self, config: SCORERConfig) -> None:
        super().__init__()
        self.patch_grid = tuple(config.patch_grid)
        self.backbone = AutoModel.from_config(config.vision_config, attn_implementation="eager")

    @property
    def inner(self) -> nn.Module:
        """The backbone."""
        return self.backbone

    def forward(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> BaseModelOutput:
        """Encode both images of each pair.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, 2, channels, height, width)`): The pairs.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the backbone.

        Returns:
            `BaseModelOutput`: `last_hidden_state` of shape `(batch, 2, patches, channels)`, and the backbone's
                `hidden_states` where asked for.

        Raises:
            ValueError: These are no pairs, or the map has another size than `patch_grid`.
        """
        if pixel_values.ndim != 5 or pixel_values.shape[1] != 2:
            raise ValueError(
                f"SCORER reads pixel_values of shape (batch, 2, channels, height, width), got "
                f'{tuple(pixel_values.shape)}: set `pair_layout="pair"` in the processor.'
            )
        # Convolutions and batch norms run half as fast again on channels-last maps.
        images = pixel_values.flatten(0, 1).to(self.dtype).contiguous(memory_format=torch.channels_last)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains):
            outputs = self.backbone(images, return_dict=True, **kwargs)
        maps = outputs.last_hidden_state
        if tuple(maps.shape[2:]) != self.patch_grid:
            raise ValueError(
                f"The backbone made a map of {tuple(maps.shape[2:])} cells, `patch_grid` says {self.patch_grid}: the "
                "images' size does not fit the configuration."
            )
        patches = maps.flatten(2).transpose(1, 2).unflatten(0, (-1, 2))
        return BaseModelOutput(last_hidden_state=patches, hidden_states=outputs.get("hidden_states"))


class SCORERAttention(nn.Module):
    """Multi-head attention without an output projection."""

    def __init__(
        self, config: SCORERConfig, bias: bool = True, is_causal: bool = False, layer_idx: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.scaling = (config.hidden_size // self.num_heads) ** -0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = is_causal
        self.layer_idx = layer_idx
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=bias)

    def split_heads(self, states: Tensor) -> Tensor:
        """Turn (..., tokens, hidden_size) to (..., tokens, heads, width)."""
        return states.unflatten(-1, (self.num_heads, -1))

    def keys_and_values(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """What others read of these states, two times (..., heads, tokens, width)."""
        return tuple(self.split_heads(project(states)).transpose(-3, -2) for project in (self.k_proj, self.v_proj))

    def attend(
        self, queries: Tensor, keys: Tensor, values: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Attend with (batch, heads, tokens, width) each; the result is (batch, tokens, hidden_size)."""
        attention: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        dropout = self.attention_dropout if self.training else 0.0
        output, weights = attention(
            self, queries, keys, values, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs
        )
        return output.flatten(2), weights

    def forward(
        self,
        hidden_states: Tensor,
        keys_and_values: tuple[Tensor, Tensor] | None = None,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """Let every state attend to all before it, or to what is given.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch, tokens, hidden_size)`): Who attends.
            keys_and_values (`tuple`, *optional*): What is attended to, by default the states themselves.
            attention_mask (`torch.Tensor`, *optional*): Added to the scores.
            cache (`Cache`, *optional*): Holds keys and values of earlier states, and gets these.
            **kwargs (`Any`, *optional*): Passed on to the attention function.

        Returns:
            `tuple`: The new states, and the attention where the function gives it.
        """
        queries = self.split_heads(self.q_proj(hidden_states)).transpose(1, 2)
        if keys_and_values is None:
            keys_and_values = self.keys_and_values(hidden_states)
            if cache is not None:
                keys_and_values = cache.update(*keys_and_values, self.layer_idx)
        return self.attend(queries, *keys_and_values, attention_mask, **kwargs)


class SCOREREmbeddings(nn.Module):
    """Features of the backbone at their places."""

    def __init__(self, config: SCORERConfig) -> None:
        super().__init__()
        rows, columns = config.patch_grid
        self.projection = nn.Linear(config.vision_config.hidden_sizes[-1], config.hidden_size)
        # CODEPATH: grids of scorer-resnet101 carry coordinates; those of the authors' later systems do not.
        self.coordinate_projection = nn.Linear(2, config.hidden_size, bias=False) if config.coordinates else None
        self.column_embeddings = nn.Embedding(columns, config.hidden_size // 2)
        self.row_embeddings = nn.Embedding(rows, config.hidden_size // 2)

    def forward(self, features: Tensor) -> Tensor:
        """Project (batch, 2, patches, channels) to (batch, 2, patches, hidden_size)."""
        columns, rows = self.column_embeddings.weight, self.row_embeddings.weight
        shape = (len(rows), len(columns), -1)
        places = torch.cat([columns.unsqueeze(0).expand(shape), rows.unsqueeze(1).expand(shape)], -1)
        if self.coordinate_projection is not None:
            # From -1, the far edge being left out.
            x, y = (torch.arange(len(table), device=table.device) * (2 / len(table)) - 1 for table in (columns, rows))
            coordinates = torch.stack([x.expand(shape[:2]), y.unsqueeze(1).expand(shape[:2])], -1)
            places = places + self.coordinate_projection(coordinates.to(places.dtype))
        return self.projection(features.to(self.projection.weight.dtype)) + places.flatten(0, 1)


class SCOREREncoderLayer(GradientCheckpointingLayer):
    """Each image, reconstructed from the other one."""

    def __init__(self, config: SCORERConfig) -> None:
        super().__init__()
        self.attention = SCORERAttention(config)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Let both images of (batch, 2, patches, hidden_size) read what the other one was before.

        Args:
            images (`torch.Tensor` of shape `(batch, 2, patches, hidden_size)`): The pairs.

        Returns:
            `tuple`: The same again, and the queries and keys of `PairMatching`.
        """
        attention = self.attention
        queries, keys, values = (
            attention.split_heads(project(images))
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        read = (states.flatten(0, 1).transpose(1, 2) for states in (queries, keys.flip(1), values.flip(1)))
        reconstructed, _ = attention.attend(*read)
        return self.norm(images + reconstructed.view_as(images)), queries, keys


class SCOREREncoder(nn.Module):
    """Both images compared: cross-view representation reconstruction."""

    def __init__(self, config: SCORERConfig) -> None:
        super().__init__()
        self.embeddings = SCOREREmbeddings(config)
        self.layers = nn.ModuleList([SCOREREncoderLayer(config) for _ in range(config.encoder_layers)])
        self.fusion = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout)
        start_as_in_torch(self)

    def forward(self, features: Tensor) -> SCORERImageFeatures:
        """Compare the features (batch, 2, patches, channels) of the images of each pair."""
        images = states = self.embeddings(features)
        for layer in self.layers:
            states, *matching = layer(states)
        fused = self.fusion(states.transpose(1, 2).flatten(2))
        return SCORERImageFeatures(
            last_hidden_state=self.dropout(fused).relu(), images=images, matching=PairMatching(*matching)
        )


class SCORERDecoderLayer(GradientCheckpointingLayer):
    """Words attend to the words before them and to the compared images."""

    def __init__(self, config: SCORERConfig, layer_idx: int) -> None:
        super().__init__()
        norm = partial(nn.LayerNorm, config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = SCORERAttention(config, is_causal=True, layer_idx=layer_idx)
        self.self_attn_norm = norm()
        self.cross_attn = SCORERAttention(config)
        self.cross_attn_norm = norm()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.final_norm = norm()
        self.activation = nn.GELU()
        self.dropout = nn.Dropout(config.hidden_dropout)
        # CODEPATH: "inner" is what the released code does, for its checkpoints.
        self.adds_inner = config.decoder_residual == "inner"

    def forward(
        self,
        hidden_states: Tensor,
        keys: Tensor,
        values: Tensor,
        attention_mask: Tensor | None = None,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Compute the states of the next layer.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch, tokens, hidden_size)`): The words.
            keys (`torch.Tensor` of shape `(pairs, heads, patches, width)`): Of the images. There may be several rows
                of words a pair, one behind the other.
            values (`torch.Tensor` of shape `(pairs, heads, patches, width)`): Likewise.
            attention_mask (`torch.Tensor`, *optional*): Of the words.
            cache (`Cache`, *optional*): Of the words.
            **kwargs (`Any`, *optional*): Passed on to the attention function.

        Returns:
            `torch.Tensor` of shape `(batch, tokens, hidden_size)`: The states.
        """
        read, _ = self.self_attn(hidden_states, attention_mask=attention_mask, cache=cache, **kwargs)
        hidden_states = self.self_attn_norm(hidden_states + read)
        # No word hides from another here: the rows of a pair can be read as one, and the images are not repeated.
        rows = hidden_states.reshape(len(keys), -1, hidden_states.shape[-1])
        seen, _ = self.cross_attn(rows, (keys, values), **kwargs)
        hidden_states = self.cross_attn_norm(hidden_states + seen.view_as(hidden_states))
        inner = self.activation(self.fc1(hidden_states))
        return self.final_norm((inner if self.adds_inner else hidden_states) + self.dropout(self.fc2(inner)))


class SCORERDecoder(nn.Module):
    """Word embeddings at fixed positions, and the layers."""

    def __init__(self, config: SCORERConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size)
        self.embedding_projection = nn.Linear(config.embedding_size, config.hidden_size)
        self.embedding_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList([SCORERDecoderLayer(config, index) for index in range(config.num_hidden_layers)])

    def keys_and_values(self, states: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        """What each layer reads of the compared images."""
        return tuple(layer.cross_attn.keys_and_values(states) for layer in self.layers)

    def embed(self, inputs_embeds: Tensor, position_ids: Tensor) -> Tensor:
        """Add sines and cosines of the positions, and widen."""
        width = inputs_embeds.shape[-1]
        rates = torch.arange(0, width, 2, device=inputs_embeds.device) * (-math.log(10000.0) / width)
        angles = position_ids.unsqueeze(-1) * rates.exp()
        waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)
        projected = self.embedding_projection(inputs_embeds + waves.to(inputs_embeds.dtype))
        return self.embedding_norm(self.dropout(projected))


class BackwardReasoning(nn.Module):
    """Cross-modal backward reasoning: imagine the image after from the image before and the caption, and find it."""

    def __init__(self, config: SCORERConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.trains = config.train_backward_reasoning
        # CODEPATH: "padded_mean" is what the released code does, for its checkpoints.
        self.pooled_length = config.max_position_embeddings if config.sentence_pooling == "padded_mean" else None
        self.condition = nn.Linear(2 * width, width)
        self.attention = SCORERAttention(config, bias=False)
        self.attention.attention_dropout = 0.0
        self.attention_output = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.contrast = MatchingContrast(config)
        start_as_in_torch(self)

    def imagine(self, before: Tensor, sentences: Tensor) -> Tensor:
        """Image after (batch, patches, hidden_size), from the one before and one vector (batch, hidden_size)."""
        both = torch.cat([before, sentences.unsqueeze(1).expand_as(before)], -1)
        attended, _ = self.attention(self.condition(both))
        return self.output(self.attention_output(attended))

    def forward(self, images: Tensor, sentences: Tensor) -> Tensor:
        """Similarity (pairs, pairs) of imagined images to those after.

        Args:
            images (`torch.Tensor` of shape `(pairs, 2, patches, hidden_size)`): Before they are compared.
            sentences (`torch.Tensor` of shape `(pairs, hidden_size)`): What is said of the pairs.

        Returns:
            `torch.Tensor` of shape `(pairs, pairs)`: The similarities, scaled.
        """
        split = self.attention.split_heads
        imagined = self.imagine(images[:, 0], sentences)
        return self.contrast.similarity(split(self.q_proj(imagined)), split(self.k_proj(images[:, 1])))

    def similarity(self, images: Tensor, sentences: Tensor) -> Tensor:
        """As `forward`; without gradients for the module's own parameters where they are not to train."""
        if self.trains:
            return self(images, sentences)
        fixed = {name: parameter.detach() for name, parameter in self.named_parameters()}
        return functional_call(self, fixed, (images, sentences))


@auto_docstring
class SCORERPreTrainedModel(ChangeCaptioningModelMixin, PreTrainedModel):
    """What SCORER's models share: names for loading, and the initialization of their own parameters."""

    config: SCORERConfig
    auto_classes: ClassVar[dict[str, str]] = {"AutoModel": "SCORERModel"}
    pretrained_modules: ClassVar[tuple[str, ...]] = ("model.vision_tower.backbone.",)
    language_modules: ClassVar[tuple[str, ...]] = ("model.decoder.",)
    paper: ClassVar[Paper] = PAPER
    card_tags: ClassVar[tuple[str, ...]] = ("scorer",)
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["SCOREREmbeddings", "SCOREREncoderLayer", "SCORERDecoderLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values", "cache"]
    _supports_sdpa = True
    _supports_attention_backend = True
    _can_record_outputs: ClassVar[dict[str, Any]] = {
        "hidden_states": SCORERDecoderLayer,
        "attentions": OutputRecorder(SCORERAttention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(SCORERAttention, index=1, layer_name="cross_attn"),
    }

    def set_attn_implementation(self, attn_implementation: str | dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Set the attention of all parts that have one; the backbone has none.

        Args:
            attn_implementation (`str` or `dict`): As for every model of Transformers.
            *args (`Any`): As there.
            **kwargs (`Any`, *optional*): As there.
        """
        if isinstance(attn_implementation, str):
            attn_implementation = {"": attn_implementation, "vision_config": "eager"}
        super().set_attn_implementation(attn_implementation, *args, **kwargs)

    def get_vision_encoder(self) -> nn.Module:
        """The backbone."""
        return self.base_model.vision_tower

    def get_auxiliary_features(self) -> AuxiliaryFeatures:
        """The patches before and behind the layers that reconstruct each image from the other one."""
        encoder = self.base_model.encoder
        return AuxiliaryFeatures(encoder.embeddings, encoder.layers[-1], self.config.hidden_size, leading_tokens=0)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MatchingContrast):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
        elif getattr(module, "starts_as_in_torch", False):
            if isinstance(module, nn.Embedding):
                init.normal_(module.weight)
            elif isinstance(module, nn.Linear):
                init.kaiming_uniform_(module.weight, a=math.sqrt(5))
                if module.bias is not None:
                    init.uniform_(module.bias, -(module.in_features**-0.5), module.in_features**-0.5)


@auto_docstring(custom_intro="Backbone, comparison and decoder, without a head.")
class SCORERModel(SCORERPreTrainedModel):
    """SCORER without a language modeling head."""

    def __init__(self, config: SCORERConfig) -> None:
        super().__init__(config)
        self.vision_tower = SCORERVisionTower(config)
        self.encoder = SCOREREncoder(config)
        self.decoder = SCORERDecoder(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Word embeddings."""
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the word embeddings."""
        self.decoder.embed_tokens = value

    @can_return_tuple
    @auto_docstring(custom_intro="Encode and compare the images of each pair.")
    def get_image_features(
        self,
        pixel_values: torch.FloatTensor | None = None,
        vision_features: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | SCORERImageFeatures:
        r"""Encode and compare the images of each pair.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after, `pair_layout="pair"` of the processor.
            vision_features (`torch.FloatTensor` of shape `(batch_size, 2, patches, channels)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the backbone.
        """
        if (pixel_values is None) == (vision_features is None):
            raise ValueError("Give either `pixel_values` or `vision_features`.")
        encoded = BaseModelOutput(last_hidden_state=vision_features)
        if vision_features is None:
            encoded = self.vision_tower(pixel_values, **kwargs)
        # Without `pooler_output`: `generate` would look for placeholders to repeat it for the beams.
        features = self.encoder(encoded.last_hidden_state)
        features.hidden_states = encoded.hidden_states
        features.keys_and_values = self.decoder.keys_and_values(features.last_hidden_state)
        return features

    @renamed_cache
    @capture_outputs
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        vision_features: torch.FloatTensor | None = None,
        mm_encoder_outputs: dict[str, SCORERImageFeatures] | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | SCORERModelOutputWithPast:
        r"""Read captions and pairs up to the last hidden states.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Start token, and the caption in training. There may be several rows a pair, one behind the other.
            pixel_values (`torch.FloatTensor` of shape `(pairs, 2, num_channels, height, width)`, *optional*):
                Image before and image after, `pair_layout="pair"` of the processor.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding; with four dimensions, what is added to the scores.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Positions of the tokens.
            cache (`Cache`, *optional*):
                Keys and values of the tokens before.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, embedding_size)`, *optional*):
                Word embeddings in place of `input_ids`.
            vision_features (`torch.FloatTensor` of shape `(pairs, 2, patches, channels)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            mm_encoder_outputs (`dict[str, SCORERImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of both.
            use_cache (`bool`, *optional*):
                Return keys and values.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the attention functions.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        features = (mm_encoder_outputs or {}).get("image")
        if features is None:
            features = self.get_image_features(pixel_values, vision_features, return_dict=True)
        decoder = self.decoder
        if inputs_embeds is None:
            inputs_embeds = decoder.embed_tokens(input_ids)
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        if position_ids is None and attention_mask is not None and attention_mask.ndim == 2:
            # Positions are absolute: padding on the left takes none.
            position_ids = (attention_mask.cumsum(-1) - 1).clamp_min(0)[:, -inputs_embeds.shape[1] :]
        elif position_ids is None:
            start = 0 if cache is None else cache.get_seq_length()
            position_ids = (start + torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)).unsqueeze(0)
        hidden_states = decoder.embed(inputs_embeds, position_ids)
        if attention_mask is not None and attention_mask.is_floating_point():
            attention_mask = attention_mask.to(hidden_states.dtype)
        mask = create_causal_mask(self.config, hidden_states, attention_mask, **{CACHE: cache})
        for layer, read in zip(decoder.layers, features.keys_and_values, strict=True):
            hidden_states = layer(hidden_states, *read, attention_mask=mask, cache=cache, **kwargs)
        return SCORERModelOutputWithPast(
            last_hidden_state=hidden_states, image_outputs=features, **{CACHE: cache if use_cache else None}
        )


@auto_docstring(custom_intro="SCORER with a language modeling head: two images in, a sentence about the change out.")
class SCORERForConditionalGeneration(SCORERPreTrainedModel, GenerationMixin):
    """SCORER with a language modeling head, and SCORER's losses."""

    _tp_plan: ClassVar[dict[str, str]] = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: SCORERConfig) -> None:
        super().__init__(config)
        self.model = SCORERModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.contrast = MatchingContrast(config)
        self.backward_reasoning = BackwardReasoning(config)
        self.post_init()

    @classmethod
    def from_official(
        cls, checkpoint: str | os.PathLike, vision: str | os.PathLike | PreTrainedModel | None = None, **kwargs: Any
    ) -> "SCORERForConditionalGeneration":
        r"""Read a checkpoint of the authors' released code, with the settings under which it computes what it did.

        Args:
            checkpoint (`str` or `os.PathLike`): Their `.pt` file, read without running any code in it, or its tensors
                in a safetensors file, `STATE.NAME` each.
            vision (`str`, `os.PathLike` or `PreTrainedModel`, *optional*): The backbone: a ResNet of Transformers, by
                id or folder or itself, or a file of torchvision's `resnet101` weights. Without one, the model's
                backbone is random, and it is fit for `vision_features` alone.
            **kwargs (`Any`, *optional*): Fields of [`SCORERConfig`]; they win.

        Returns:
            `SCORERForConditionalGeneration`: In evaluation mode. Backward reasoning, which their checkpoints lack, is
                random where it is missing; captions do not depend on it.

        Raises:
            ValueError: It is no such checkpoint, or a weight is missing, left over or of another shape; the error
                names it.
        """
        config, weights = convert_official(checkpoint, vision, **kwargs)
        with torch.device("meta"):
            wanted = cls(config).state_dict()
        check_weights(weights, wanted, vision is not None, checkpoint)
        model = cls.from_pretrained(None, config=config, state_dict=weights, dtype=torch.float32)
        # Their decoding never writes the unknown word, which is number 1.
        model.generation_config.update(suppress_tokens=[1], max_new_tokens=config.max_position_embeddings - 1)
        return model

    def get_output_embeddings(self) -> nn.Module:
        """The language modeling head."""
        return self.lm_head

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the language modeling head."""
        self.lm_head = value

    def _prepare_multimodal_encoder_kwargs_for_generation(self, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        # `generate` encodes under the name `pixel_values` alone, and would drop features computed before.
        vision_features = model_kwargs.pop("vision_features", None)
        if vision_features is not None:
            encoded = self.model.get_image_features(vision_features=vision_features, return_dict=True)
            model_kwargs["mm_encoder_outputs"] = {"image": encoded}
        return super()._prepare_multimodal_encoder_kwargs_for_generation(model_kwargs)

    def prepare_inputs_for_generation(
        self, *args: Any, mm_encoder_outputs: dict[str, SCORERImageFeatures] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Keep the encoded images, which a stock step beyond the first leaves out.

        Args:
            *args (`Any`): As for every model of Transformers.
            mm_encoder_outputs (`dict`, *optional*): The encoded images.
            **kwargs (`Any`, *optional*): As there.

        Returns:
            `dict`: What `forward` reads.
        """
        return super().prepare_inputs_for_generation(*args, **kwargs) | {"mm_encoder_outputs": mm_encoder_outputs}

    @renamed_cache
    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        scene_ids: torch.LongTensor | None = None,
        vision_features: torch.FloatTensor | None = None,
        mm_encoder_outputs: dict[str, SCORERImageFeatures] | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | SCORERCausalLMOutputWithPast:
        r"""Predict the caption, and its losses where labels are given.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Start token, and the caption in training. There may be several rows a pair, one behind the other.
            pixel_values (`torch.FloatTensor` of shape `(pairs, 2, num_channels, height, width)`, *optional*):
                Image before and image after, `pair_layout="pair"` of the processor.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding; with four dimensions, what is added to the scores.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Positions of the tokens.
            cache (`Cache`, *optional*):
                Keys and values of the tokens before.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, embedding_size)`, *optional*):
                Word embeddings in place of `input_ids`.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                The caption's tokens and the end token; -100 elsewhere.
            logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
                Positions whose logits are computed, counted from the end; 0 for all. With `labels`, an integer.
            scene_ids (`torch.LongTensor` of shape `(pairs,)`, *optional*):
                Scene of each pair; pairs of one scene are never each other's negatives. By default all differ.
            vision_features (`torch.FloatTensor` of shape `(pairs, 2, patches, channels)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            mm_encoder_outputs (`dict[str, SCORERImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of both.
            use_cache (`bool`, *optional*):
                Return keys and values.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the attention functions.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            vision_features=vision_features,
            mm_encoder_outputs=mm_encoder_outputs,
            use_cache=use_cache,
            **kwargs,
        )
        states, features = outputs.last_hidden_state, outputs.image_outputs
        logits = self.lm_head(slice_logits_to_keep(states, logits_to_keep))
        loss_parts = None
        if labels is not None:
            loss_parts = self.losses(logits, states, labels, features, scene_ids, **kwargs)
        return SCORERCausalLMOutputWithPast(
            loss=sum(loss_parts.values()) if loss_parts else None,
            loss_parts=loss_parts,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
            image_outputs=BaseModelOutput(features.last_hidden_state, features.hidden_states),
            **{CACHE: outputs.get(CACHE)},
        )

    def losses(
        self,
        logits: Tensor,
        states: Tensor,
        labels: Tensor,
        features: SCORERImageFeatures,
        scene_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        shift_labels: Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Tensor]:
        """Weighted losses by name; those beside the caption's count in training only.

        Args:
            logits (`torch.Tensor` of shape `(batch, kept, vocab_size)`): Predictions.
            states (`torch.Tensor` of shape `(batch, sequence, hidden_size)`): Last states of the decoder.
            labels (`torch.Tensor` of shape `(batch, sequence)`): The caption's tokens; -100 elsewhere.
            features (`SCORERImageFeatures`): Of the images.
            scene_ids (`torch.Tensor` of shape `(batch,)`, *optional*): Scene of each pair.
            num_items_in_batch (`torch.Tensor` or `int`, *optional*): Labels of the batches that are accumulated.
            shift_labels (`torch.Tensor`, *optional*): What is predicted at every position, in place of `labels`.
            **kwargs (`Any`, *optional*): Not used.

        Returns:
            `dict[str, torch.Tensor]`: Scalars.
        """
        labels = labels.to(logits.device)
        kept = labels[:, -logits.shape[1] :]  # all, or the last ones under `logits_to_keep`
        counts = ((kept[:, 1:] if shift_labels is None else shift_labels) != -100).sum(1)
        # Means shrink with the share of an accumulated batch, or accumulation would multiply them.
        share = 1.0 if num_items_in_batch is None else counts.sum() / num_items_in_batch
        groups = [slice(None)]
        # CODEPATH: "halves" is what the released code averages.
        if self.config.loss_groups == "halves" and scene_ids is not None:
            groups = scene_halves(scene_ids.to(logits.device))
            if len({len(rows) for rows in groups}) > 1:
                raise ValueError(
                    "`loss_groups` 'halves' needs batches that hold both pairs of every scene, which a shuffled run "
                    "does not give: use 'batch'."
                )
        parts: dict[str, Tensor] = {}
        for rows in groups:
            caption = self.loss_function(
                logits=logits[rows],
                labels=kept[rows],
                shift_labels=None if shift_labels is None else shift_labels[rows],
                vocab_size=self.config.vocab_size,
                num_items_in_batch=counts[rows].sum().clamp_min(1),
            )
            found = {"caption": caption}
            if self.training:
                found |= self._pair_losses(
                    states[rows],
                    labels[rows],
                    features.images[rows],
                    PairMatching(*(side[rows] for side in features.matching)),
                    scene_ids[rows] if scene_ids is not None else None,
                )
            for name, value in found.items():
                parts[name] = parts.get(name, 0) + share / len(groups) * value
        return parts

    def _pair_losses(
        self, states: Tensor, labels: Tensor, images: Tensor, matching: PairMatching, scene_ids: Tensor | None
    ) -> dict[str, Tensor]:
        parts = {}
        # CODEPATH: both are part of scorer-resnet101; 0 leaves a loss out.
        if self.config.cross_view_weight:
            queries, keys = matching
            both = [
                self.contrast.contrast(self.contrast.similarity(queries[:, side], keys[:, 1 - side]), scene_ids)
                for side in (0, 1)
            ]
            parts["cross_view"] = self.config.cross_view_weight * sum(both) / 2
        # CODEPATH: 0 is the paper's SCORER without backward reasoning.
        if self.config.cross_modal_weight:
            reasoning = self.backward_reasoning
            similarity = reasoning.similarity(images, pool_sentences(states, labels, reasoning.pooled_length))
            both = [self.contrast.contrast(scores, scene_ids) for scores in (similarity, similarity.T)]
            parts["cross_modal"] = self.config.cross_modal_weight * sum(both) / 2
        return parts

    def training_notes(self, outputs: ModelOutput) -> dict[str, Tensor]:
        """Scales of both contrasts."""
        scales = {"cross_view": self.contrast.logit_scale, "cross_modal": self.backward_reasoning.contrast.logit_scale}
        return {f"{name}_scale": value.detach().exp() for name, value in scales.items()}


__all__ = ["SCORERForConditionalGeneration", "SCORERModel", "SCORERPreTrainedModel"]
