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
"""PyTorch FINER-MLLM model."""

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout
from transformers import AutoModel, InstructBlipForConditionalGeneration
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import slice_logits_to_keep
from transformers.models.blip_2.modeling_blip_2 import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2QFormerMultiHeadAttention,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring, can_return_tuple, logging
from transformers.utils.output_capturing import OutputRecorder

from ...alignment_ssgpa import in_dtype_of
from ...compatibility_ssgpa import CACHE, renamed_cache
from ...conversion_ssgpa import TOKEN_IDS, load_converted, read_source
from ...modeling_ssgpa import (
    SSGPACausalLMOutputWithPast,
    SSGPAModelOutputWithPast,
    SSGPAPreTrainedModel,
    SSGPAVisionTower,
)
from ...system_ssgpa import AuxiliaryFeatures, ChangeCaptioningModelMixin, Paper
from ...visual_prompt_ssgpa import VisualPromptMixin
from .configuration_finer_mllm import FinerMLLMConfig
from .conversion_finer_mllm import (
    EMPHASIS,
    convert_instructblip,
    convert_instructblip_config,
    convert_official,
)
from .losses_finer_mllm import consistency_loss, orthogonality_loss


logger = logging.get_logger(__name__)

PAPER = Paper(
    title="Differential-Perceptive and Retrieval-Augmented MLLM for Change Captioning",
    venue="ACM MM 2024",
    relation=(
        "This is an independent implementation, not the authors' code. With the same weights and the released code's "
        "settings it computes what that does; its own defaults differ. The paper's scores are not reproduced by this "
        "checkpoint."
    ),
    bibtex="""\
@inproceedings{zhang2024differential,
  title     = {Differential-Perceptive and Retrieval-Augmented {MLLM} for Change Captioning},
  author    = {Zhang, Xian and Wen, Haokun and Wu, Jianlong and Qin, Pengda and Xue, Hui and Nie, Liqiang},
  booktitle = {Proceedings of the 32nd ACM International Conference on Multimedia},
  year      = {2024}
}""",
)


def check_pairs(pixel_values: Tensor) -> None:
    """Raise a `ValueError` for images that are no pairs, or not normalized."""
    if not pixel_values.is_floating_point():
        raise ValueError(f"FINER-MLLM reads normalized pixel_values, got {pixel_values.dtype}.")
    if pixel_values.ndim != 5 or pixel_values.shape[1] != 2:
        raise ValueError(
            "FINER-MLLM reads pixel_values of shape (batch, 2, channels, height, width), got "
            f'{tuple(pixel_values.shape)}: set `pair_layout="pair"` in the processor.'
        )


@auto_docstring(custom_intro="Visual tokens of a pair, and where the queries looked.")
@dataclass
class FinerMLLMImageFeatures(BaseModelOutputWithPooling):
    r"""What `get_image_features` returns.

    Args:
        pooler_output (`torch.FloatTensor` of shape `(batch_size, visual_tokens, text_hidden_size)`):
            One entry a pair: the tokens of the image before, then those of the image after.
        attention_scores (`torch.FloatTensor` of shape `(batch_size, 2, heads, queries, 1 + patches)`):
            Of the Q-Former's last cross-attention, before the softmax.
    """

    attention_scores: torch.FloatTensor | None = None


class FinerMLLMQueryKeyValue(nn.Module):
    """What `qkv` of a tower's layer computes, by three layers, so that LoRA can have two of them."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.q = nn.Linear(width, width, bias=bias)
        self.k = nn.Linear(width, width, bias=bias)
        self.v = nn.Linear(width, width, bias=bias)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (..., width) to (..., 3 x width): queries, keys, values."""
        return torch.cat([self.q(hidden_states), self.k(hidden_states), self.v(hidden_states)], -1)


class FinerMLLMLayerNorm(nn.LayerNorm):
    """A norm that computes in its own dtype, so that it may train in float32 behind a tower in 16 bit."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Normalize (..., width); the result has the norm's dtype."""
        return super().forward(in_dtype_of(self, hidden_states))


class FinerMLLMVisionTower(SSGPAVisionTower):
    """InstructBLIP's tower, whose merged layers are split and whose last norm trains."""

    def __init__(self, config: FinerMLLMConfig) -> None:
        super().__init__(config)
        vision = config.vision_config
        for layer in self.tower.encoder.layers:
            layer.self_attn.qkv = FinerMLLMQueryKeyValue(vision.hidden_size, vision.qkv_bias)
        self.tower.post_layernorm = FinerMLLMLayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)


class FinerMLLMScores(nn.Module):
    """Scaled products of queries and keys: a module of its own, whose output Transformers can record."""

    def forward(self, queries: Tensor, keys: Tensor, heads: int) -> Tensor:
        """Map (images, queries, width) and (images, tokens, width) to (images, heads, queries, tokens)."""
        queries, keys = (states.unflatten(-1, (heads, -1)).transpose(1, 2) for states in (queries, keys))
        return queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5


class FinerMLLMCrossAttention(Blip2QFormerMultiHeadAttention):
    """A cross-attention that shows its scores, whatever computes it: most implementations show nothing."""

    def __init__(self, config: Blip2QFormerConfig) -> None:
        super().__init__(config, is_cross_attention=True)
        self.scores = FinerMLLMScores()

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[Tensor, Tensor | None]:
        """Attend as in Transformers.

        Args:
            hidden_states (`torch.Tensor` of shape `(images, queries, width)`): The queries.
            attention_mask (`torch.Tensor`, *optional*): As in Transformers.
            encoder_hidden_states (`torch.Tensor` of shape `(images, tokens, encoder_width)`): What they read.
            encoder_attention_mask (`torch.Tensor`, *optional*): As in Transformers.
            **kwargs (`TransformersKwargs`, *optional*): As in Transformers.
        """
        self.scores(self.query(hidden_states), self.key(encoder_hidden_states), self.num_attention_heads)
        return super().forward(hidden_states, attention_mask, encoder_hidden_states, encoder_attention_mask, **kwargs)


class FinerMLLMQFormer(Blip2QFormerModel):
    """InstructBLIP's Q-Former without an instruction, which is BLIP-2's; its last cross-attention shows its scores."""

    _can_record_outputs: ClassVar[dict[str, Any]] = Blip2QFormerModel._can_record_outputs | {
        "attention_scores": OutputRecorder(FinerMLLMScores)
    }

    def __init__(self, config: Blip2QFormerConfig) -> None:
        super().__init__(config)
        last = [layer for layer in self.encoder.layer if layer.has_cross_attention][-1]
        last.crossattention.attention = FinerMLLMCrossAttention(config)
        self.post_init()


class FinerMLLMConnector(nn.Module):
    """A Q-Former that reads each image alone."""

    def __init__(self, config: FinerMLLMConfig) -> None:
        super().__init__()
        width = config.qformer_config.hidden_size
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_query_tokens, width))
        self.qformer = FinerMLLMQFormer._from_config(config.qformer_config)
        self.language_projection = nn.Linear(width, config.text_config.hidden_size)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        """Summarize both images of each pair.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch, 2, 1 + patches, hidden_size)`): The tower's.

        Returns:
            `tuple`: Tokens (batch, 2 x queries, text_hidden_size), and scores
            (batch, 2, heads, queries, 1 + patches).
        """
        images = hidden_states.flatten(0, 1)
        queries = self.query_tokens.expand(images.shape[0], -1, -1)
        outputs = self.qformer(
            query_embeds=queries.to(self.qformer.dtype),
            encoder_hidden_states=images.to(self.qformer.dtype),
            output_attention_scores=True,
        )
        tokens = self.language_projection(in_dtype_of(self.language_projection, outputs.last_hidden_state))
        (scores,) = outputs["attention_scores"]
        return tokens.unflatten(0, (-1, 2)).flatten(1, 2), scores.unflatten(0, (-1, 2))


class FinerMLLMEmphasis(nn.Module):
    """One head of attention from every position to the tokens of the retrieved captions, which it makes likelier."""

    def __init__(self, config: FinerMLLMConfig) -> None:
        super().__init__()
        width = config.text_config.hidden_size
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.scale = config.emphasis_scale
        self.dropout = config.emphasis_dropout
        self.multiplies = config.released_emphasis

    def forward(
        self, logits: Tensor, hidden_states: Tensor, retrieved_ids: Tensor, retrieved_mask: Tensor, states: Tensor
    ) -> Tensor:
        """Emphasize the retrieved tokens.

        Args:
            logits (`torch.Tensor` of shape `(batch, positions, vocabulary)`): As the language model gives them.
            hidden_states (`torch.Tensor` of shape `(batch, positions, text_hidden_size)`): What it made them of; no
                gradient goes back through these.
            retrieved_ids (`torch.Tensor` of shape `(batch, tokens)`): The retrieved tokens.
            retrieved_mask (`torch.Tensor` of shape `(batch, tokens)`): 1 for tokens, 0 for padding; a row of padding
                alone has no emphasis.
            states (`torch.Tensor` of shape `(batch, tokens, text_hidden_size)`): Their embeddings.

        Returns:
            `torch.Tensor`: New logits, in float32 at least.
        """
        queries = self.q_proj(in_dtype_of(self.q_proj, hidden_states.detach()))
        keys = self.k_proj(in_dtype_of(self.k_proj, states))
        scores = (queries @ keys.transpose(1, 2)).float() * queries.shape[-1] ** -0.5
        seen = retrieved_mask.bool().unsqueeze(1)
        weights = scores.masked_fill(~seen, torch.finfo(scores.dtype).min).softmax(-1) * seen
        weights = dropout(weights, self.dropout, self.training)
        # In 16 bit a small emphasis of a large logit would be lost.
        logits = logits.to(weights.dtype)
        ids = retrieved_ids.masked_fill(retrieved_mask == 0, 0).unsqueeze(1).expand_as(weights)
        if self.multiplies:
            return logits * (1 + torch.zeros_like(logits).scatter(2, ids, weights))
        return logits.scatter_add(2, ids, self.scale * weights)


@auto_docstring
class FinerMLLMPreTrainedModel(SSGPAPreTrainedModel):
    """What FINER-MLLM's models share: names for loading, LoRA and parallelism, and how new weights begin."""

    config: FinerMLLMConfig
    auto_classes: ClassVar[dict[str, str]] = {"AutoModel": "FinerMLLMModel"}
    former_names: ClassVar[dict[str, str]] = {}
    paper: ClassVar[Paper] = PAPER
    card_tags: ClassVar[tuple[str, ...]] = ("retrieval-augmented", "finer-mllm")
    _no_split_modules: ClassVar[list[str]] = ["FinerMLLMConnector"]
    # The Q-Former has none.
    _supports_flash_attn = False

    # Its tower is trained, and nothing in it gates.
    get_vision_encoder = ChangeCaptioningModelMixin.get_vision_encoder
    training_notes = ChangeCaptioningModelMixin.training_notes

    def get_auxiliary_features(self) -> AuxiliaryFeatures:
        """The tower's patches; the images are compared by the language model alone."""
        return AuxiliaryFeatures(self.base_model.vision_tower, None, self.config.vision_config.hidden_size)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, FinerMLLMConnector):
            init.normal_(module.query_tokens, std=self.config.initializer_range)


@auto_docstring(custom_intro="Tower, Q-Former and language model, without a head.")
class FinerMLLMModel(VisualPromptMixin, FinerMLLMPreTrainedModel):
    """FINER-MLLM without a language modeling head."""

    def __init__(self, config: FinerMLLMConfig) -> None:
        super().__init__(config)
        self.vision_tower = FinerMLLMVisionTower(config)
        self.connector = FinerMLLMConnector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    @can_return_tuple
    @auto_docstring
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | FinerMLLMImageFeatures:
        r"""Encode the images of each pair, each alone.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Image before and image after, `pair_layout="pair"` of the processor.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the vision tower.
        """
        check_pairs(pixel_values)
        encoded = self.vision_tower(pixel_values, **kwargs)
        tokens, scores = self.connector(encoded.last_hidden_state)
        return FinerMLLMImageFeatures(
            last_hidden_state=encoded.last_hidden_state,
            pooler_output=tokens,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            attention_scores=scores,
        )

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
        mm_encoder_outputs: dict[str, FinerMLLMImageFeatures] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | SSGPAModelOutputWithPast:
        r"""Read prompts and pairs up to the last hidden states.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Prompt with the placeholders of both images, and the caption in training.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after, `pair_layout="pair"` of the processor.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Positions of the tokens.
            cache (`Cache`, *optional*):
                Keys and values of the tokens before.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, text_hidden_size)`, *optional*):
                Embeddings in place of `input_ids`.
            mm_encoder_outputs (`dict[str, FinerMLLMImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of the images.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the language model.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        image_features = (mm_encoder_outputs or {}).get("image")
        if image_features is not None and pixel_values is not None:
            raise ValueError("You cannot specify both pixel_values and mm_encoder_outputs at the same time")
        if pixel_values is not None:
            image_features = self.get_image_features(pixel_values, return_dict=True)
        outputs = self.read_prompts(
            image_features,
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            **kwargs,
        )
        return SSGPAModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_outputs=image_features,
            **{CACHE: outputs.get(CACHE)},
        )


@auto_docstring(custom_intro="FINER-MLLM with a language modeling head and the emphasis of retrieved captions.")
class FinerMLLMForConditionalGeneration(FinerMLLMPreTrainedModel, GenerationMixin):
    """FINER-MLLM with a language modeling head, the emphasis of retrieved captions, and its losses."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _tp_plan: ClassVar[dict[str, str]] = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: FinerMLLMConfig) -> None:
        super().__init__(config)
        self.model = FinerMLLMModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.emphasis = FinerMLLMEmphasis(config)
        # Language models keep their embeddings under names of their own.
        embeddings = self.get_input_embeddings().weight
        names = [name for name, weight in self.model.named_parameters() if weight is embeddings]
        self._tied_weights_keys = {"lm_head.weight": f"model.{names[0]}"}
        self.post_init()

    @classmethod
    def from_instructblip(
        cls,
        pretrained: str | os.PathLike | InstructBlipForConditionalGeneration,
        dtype: torch.dtype | str = "auto",
        revision: str | None = None,
        **kwargs: Any,
    ) -> "FinerMLLMForConditionalGeneration":
        r"""Start from an InstructBLIP checkpoint, as the authors do.

        Tower, Q-Former, its queries and projection, and the language model are taken over; the Q-Former's part that
        reads an instruction is not. The emphasis is new.

        Args:
            pretrained (`str`, `os.PathLike` or `InstructBlipForConditionalGeneration`): Id on the Hub or folder, in
                safetensors, or the model itself.
            dtype (`torch.dtype` or `str`, *optional*, defaults to `"auto"`): Of a checkpoint that is read; `"auto"` is
                its own.
            revision (`str`, *optional*): Commit, for an id.
            kwargs (`Any`, *optional*): Fields of [`FinerMLLMConfig`].

        Returns:
            `FinerMLLMForConditionalGeneration`: In evaluation mode.

        Raises:
            ValueError: The checkpoint is another one (Flan-T5 among them), or a weight is missing, left over or of
                another shape; the error names it.
        """
        source = read_source(pretrained, InstructBlipForConditionalGeneration, dtype, revision)
        config = convert_instructblip_config(source.config, **kwargs)
        weights, name = convert_instructblip(source), type(source).__name__
        # The queries, which come first, are kept in float32 beside fp16.
        model = load_converted(cls, config, weights, name, source.language_model.dtype, new=(EMPHASIS,))
        for name in TOKEN_IDS:
            setattr(model.generation_config, name, getattr(source.generation_config, name))
        return model

    @classmethod
    def from_official(
        cls,
        path: str | os.PathLike,
        qformer_merged: bool = True,
        dtype: torch.dtype | str = torch.float32,
        **kwargs: Any,
    ) -> "FinerMLLMForConditionalGeneration":
        r"""Read a checkpoint of the authors' code, with LoRA merged into the weights.

        `load_official_adapter` of `ssgpa.baselines.finer_mllm.lora` keeps LoRA apart.

        Args:
            path (`str` or `os.PathLike`): Pickled tensors, or safetensors.
            qformer_merged (`bool`, *optional*, defaults to `True`): Whether the Q-Former's weights hold LoRA already,
                as they do in what the authors' training saves. Their test program adds it once more; `False` gives
                what it computes.
            dtype (`torch.dtype` or `str`, *optional*, defaults to `torch.float32`): Of the model.
            kwargs (`Any`, *optional*): Fields of [`FinerMLLMConfig`].

        Returns:
            `FinerMLLMForConditionalGeneration`: In evaluation mode.

        Raises:
            ValueError: A weight is missing, left over or of another shape; the error names it.
        """
        found = convert_official(path, qformer_merged, **kwargs)
        model = load_converted(cls, found.config, found.merged(), os.fspath(path), dtype)
        for name in TOKEN_IDS:
            setattr(model.generation_config, name, getattr(found.config.text_config, name))
        # What stands for an image is no word.
        model.generation_config.suppress_tokens = [found.config.image_token_id]
        return model

    def get_output_embeddings(self) -> nn.Module:
        """The language modeling head."""
        return self.lm_head

    @auto_docstring
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | FinerMLLMImageFeatures:
        r"""Encode the images of each pair, each alone.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Image before and image after, `pair_layout="pair"` of the processor.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the vision tower.
        """
        return self.model.get_image_features(pixel_values, **kwargs)

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
        retrieved_ids: torch.LongTensor | None = None,
        retrieved_mask: torch.LongTensor | None = None,
        mm_encoder_outputs: dict[str, FinerMLLMImageFeatures] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | SSGPACausalLMOutputWithPast:
        r"""Predict the caption, and its losses where labels are given.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Prompt with the placeholders of both images, and the caption in training.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after, `pair_layout="pair"` of the processor.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Positions of the tokens.
            cache (`Cache`, *optional*):
                Keys and values of the tokens before.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, text_hidden_size)`, *optional*):
                Embeddings in place of `input_ids`.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                The caption's tokens and the end token; -100 elsewhere.
            logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
                Positions whose logits are computed, counted from the end; 0 for all. With `labels`, an integer.
            retrieved_ids (`torch.LongTensor` of shape `(batch_size, retrieved_tokens)`, *optional*):
                Tokens of captions that were retrieved for each pair, as the processor makes them of `retrieved`.
                Without them nothing is emphasized.
            retrieved_mask (`torch.LongTensor` of shape `(batch_size, retrieved_tokens)`, *optional*):
                1 for tokens, 0 for padding.
            mm_encoder_outputs (`dict[str, FinerMLLMImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of the images.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the language model.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        hidden_states = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        # A slice does not lie in one piece, and a frozen head would be copied for each of its rows.
        logits = self.lm_head(in_dtype_of(self.lm_head, hidden_states.contiguous()))
        if retrieved_ids is not None:
            mask = torch.ones_like(retrieved_ids) if retrieved_mask is None else retrieved_mask
            states = self.get_input_embeddings()(retrieved_ids)
            logits = self.emphasis(logits, hidden_states, retrieved_ids, mask, states)
        elif not torch.compiler.is_compiling():
            logger.warning_once(
                "No captions were retrieved for these pairs (`retrieved_ids`): FINER-MLLM goes without its emphasis. "
                "examples/make_retrieval_store.py retrieves some."
            )
        features = outputs.image_outputs
        image_outputs = None
        if features is not None:
            # Those that Transformers' own models with images give.
            names = ("last_hidden_state", "pooler_output", "hidden_states", "attentions")
            image_outputs = BaseModelOutputWithPooling(**{name: features.get(name) for name in names})
        loss_parts = None
        if labels is not None:
            loss_parts = self.losses(logits, labels, features, **kwargs)
        return SSGPACausalLMOutputWithPast(
            loss=sum(loss_parts.values()) if loss_parts else None,
            loss_parts=loss_parts,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=features.pooler_output if features is not None else None,
            image_outputs=image_outputs,
            **{CACHE: outputs.get(CACHE)},
        )

    def losses(
        self, logits: Tensor, labels: Tensor, features: FinerMLLMImageFeatures | None, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Weighted losses by name.

        Args:
            logits (`torch.Tensor` of shape `(batch, positions, vocabulary)`): Of the last positions or of all.
            labels (`torch.Tensor` of shape `(batch, sequence)`): -100 where there is nothing to learn.
            features (`FinerMLLMImageFeatures`, *optional*): Of the images; the constraints are on these.
            **kwargs (`Any`, *optional*): `num_items_in_batch`, of an accumulated batch.

        Returns:
            `dict[str, torch.Tensor]`: `caption`, and of images `consistency` and `orthogonality`.
        """
        config = self.config
        kept = labels[:, -logits.shape[1] :]  # all, or the last ones under `logits_to_keep`
        caption = self.loss_function(logits=logits, labels=kept, vocab_size=config.text_config.vocab_size, **kwargs)
        parts = {"caption": config.caption_weight * caption}
        scores = None if features is None else features.get("attention_scores")
        if scores is None:
            return parts
        share, total = 1.0, kwargs.get("num_items_in_batch")
        if total is not None:
            # The caption loss divides by the items of the accumulated batch; means must shrink alike.
            share = (labels[:, 1:] != -100).sum().to(scores.device) / torch.as_tensor(total, device=scores.device)
        temperatures = config.consistency_temperature, config.consistency_target_temperature
        constraints = {
            "consistency": config.consistency_weight
            * consistency_loss(scores, *temperatures, config.released_constraints),
            "orthogonality": config.orthogonality_weight
            * orthogonality_loss(scores, config.orthogonality_temperature, config.released_constraints),
        }
        return parts | {name: (share * value).to(caption.device) for name, value in constraints.items()}


__all__ = ["FinerMLLMForConditionalGeneration", "FinerMLLMModel", "FinerMLLMPreTrainedModel"]
