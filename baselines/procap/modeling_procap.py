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
"""PyTorch ProCap model."""

import math
import os
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import BartConfig, CLIPVisionConfig
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache, EncoderDecoderCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPastAndCrossAttentions,
    BaseModelOutputWithPooling,
    CausalLMOutputWithCrossAttentions,
)
from transformers.modeling_utils import PreTrainedModel, slice_logits_to_keep
from transformers.models.bart.modeling_bart import (
    BartAttention,
    BartDecoderLayer,
    BartPreTrainedModel,
    BartScaledWordEmbedding,
)
from transformers.models.clip.modeling_clip import CLIPMLP, CLIPAttention, CLIPEncoder, CLIPPreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring, can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from ...compatibility_ssgpa import CACHE, renamed_cache
from ...conversion_ssgpa import load_converted
from ...system_ssgpa import AuxiliaryFeatures, ChangeCaptioningModelMixin, FreezableTower, Paper, first_output
from .configuration_procap import ProCapConfig
from .conversion_procap import UNKNOWN, convert_clip, convert_official, convert_vqgan
from .losses_procap import masked_cross_entropy, smoothed_divergence, true_or_false
from .masking_procap import draw_corruptions, draw_masks
from .vq_procap import ProCapVQTokenizer, VQCodes


PAPER = Paper(
    title="Imagine How to Change: Explicit Procedure Modeling for Change Captioning",
    venue="ICLR 2026",
    relation=(
        "This is **a reimplementation over Transformers' CLIP, Chameleon and BART layers**, checked against the "
        "authors' released code with the same weights; what differs by default is listed in the README of "
        "`baselines/procap`. The paper's scores are not reproduced by this checkpoint."
    ),
    bibtex="""\
@inproceedings{sun2026imagine,
  title     = {Imagine How to Change: Explicit Procedure Modeling for Change Captioning},
  author    = {Sun, Jiayang and Guo, Zixin and Cao, Min and Zhu, Guibo and Laaksonen, Jorma},
  booktitle = {The Fourteenth International Conference on Learning Representations},
  year      = {2026}
}""",
)


# Parts of the caption model.
STAGE_2 = ("model.memory.", "model.decoder.", "lm_head.")


@auto_docstring(custom_intro="A pair of images as the decoder reads it.")
@dataclass
class ProCapImageFeatures(BaseModelOutputWithPooling):
    r"""What `get_image_features` returns; there is no `pooler_output`.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, frames x patches, encoder_hidden_size)`):
            The procedure from the image before to the one after, as the encoder imagines it.
        memory (`torch.FloatTensor` of shape `(batch_size, frames x patches, hidden_size)`):
            The same, as the decoder attends to it.
    """

    memory: torch.FloatTensor | None = None


@auto_docstring
@dataclass
class ProCapModelOutput(BaseModelOutputWithPastAndCrossAttentions):
    r"""What the model without a head returns.

    Args:
        image_outputs (`BaseModelOutput`, *optional*):
            Of the procedure encoder: states of the frames, `hidden_states` and `attentions` where asked for.
    """

    image_outputs: BaseModelOutput | None = None


@auto_docstring
@dataclass
class ProCapCausalLMOutput(CausalLMOutputWithCrossAttentions):
    r"""What the model with a head returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
            The caption's loss.
        loss_parts (`dict[str, torch.FloatTensor]`, *optional*, returned when `labels` is provided):
            The same by name.
        logits (`torch.FloatTensor` of shape `(batch_size, sequence_length, vocab_size)`):
            Prediction scores.
        image_outputs (`BaseModelOutput`, *optional*):
            Of the procedure encoder: states of the frames, `hidden_states` and `attentions` where asked for.
    """

    loss_parts: dict[str, torch.FloatTensor] | None = None
    image_outputs: BaseModelOutput | None = None


@auto_docstring
@dataclass
class ProCapPreTrainingOutput(ModelOutput):
    r"""What the model of stage 1 returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` or `return_loss` is given):
            Weighted sum of the losses.
        loss_parts (`dict[str, torch.FloatTensor]`, *optional*, returned with `loss`):
            `msm`, `align` and `csy`, the scalars that were added up to `loss`, weights included.
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, tokens, encoder_hidden_size)`):
            States of the whole sequence.
        logits (`torch.FloatTensor` of shape `(batch_size, frames x patches, codes)`):
            Scores of the codes of every patch.
        align_logits (`torch.FloatTensor` of shape `(batch_size,)`):
            Scores that caption and clip belong together.
        csy_logits (`torch.FloatTensor` of shape `(batch_size,)`):
            Scores that the clip is consistent.
        other_align_logits (`torch.FloatTensor` of shape `(batch_size,)`, *optional*, returned with `loss`):
            Of the clips with other captions.
        corrupted_csy_logits (`torch.FloatTensor` of shape `(batch_size,)`, *optional*, returned with `loss`):
            Of the corrupted clips.
        codes (`torch.LongTensor` of shape `(batch_size, frames x patches)`):
            What the image tokenizer says.
        patch_mask (`torch.LongTensor` of shape `(batch_size, frames x patches)`):
            1 where a patch was hidden, 0 elsewhere.
    """

    loss: torch.FloatTensor | None = None
    loss_parts: dict[str, torch.FloatTensor] | None = None
    last_hidden_state: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    align_logits: torch.FloatTensor | None = None
    csy_logits: torch.FloatTensor | None = None
    other_align_logits: torch.FloatTensor | None = None
    corrupted_csy_logits: torch.FloatTensor | None = None
    codes: torch.LongTensor | None = None
    patch_mask: torch.LongTensor | None = None


class ProCapVisionTower(FreezableTower):
    """The image tokenizer, which is frozen in both stages."""

    def __init__(self, config: ProCapConfig) -> None:
        super().__init__()
        self.patch_grid = tuple(config.patch_grid)
        self.rescales = config.rescale_vq_input
        self.tokenizer = ProCapVQTokenizer._from_config(config.vq_config)
        self.requires_grad_(False)

    @property
    def inner(self) -> nn.Module:
        """The tokenizer."""
        return self.tokenizer

    @property
    def trains(self) -> bool:
        """Never: its codes are what stage 1 learns to tell."""
        return False

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutput:
        """Features of every image.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, images, channels, height, width)`): In [-1, 1].
            **kwargs (`Any`, *optional*): Not used.

        Returns:
            `BaseModelOutput`: `last_hidden_state` of shape `(batch, images, patches, latent_channels)`.
        """
        return BaseModelOutput(last_hidden_state=self._tokens(self._maps(pixel_values, self.rescales), pixel_values))

    def encode(self, pixel_values: Tensor) -> VQCodes:
        """Features and codes of every image.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, images, channels, height, width)`): In [-1, 1].

        Returns:
            `VQCodes`: (batch, images, patches, latent_channels) and (batch, images x patches).
        """
        maps = self._maps(pixel_values, True)
        codes = self.tokenizer.codes(maps).view(len(pixel_values), -1)
        # CODEPATH: the released code makes features of pixels in another range.
        if not self.rescales:
            maps = self._maps(pixel_values, False)
        return VQCodes(self._tokens(maps, pixel_values), codes)

    def _maps(self, pixel_values: Tensor, rescales: bool) -> Tensor:
        if pixel_values.dim() != 5:
            raise ValueError(
                "`pixel_values` must hold several images a row, (batch, images, channels, height, width), got "
                f"{tuple(pixel_values.shape)}."
            )
        images = pixel_values.flatten(0, 1)
        # Without gradients even where a loaded checkpoint asks for them.
        with torch.no_grad():
            maps = self.tokenizer.features(images if rescales else (images + 1) / 2)
        if tuple(maps.shape[2:]) != self.patch_grid:
            raise ValueError(
                f"The image tokenizer made a grid of {tuple(maps.shape[2:])} codes of images of "
                f"{tuple(images.shape[2:])} pixels, `vq_config` says {self.patch_grid}."
            )
        return maps

    @staticmethod
    def _tokens(maps: Tensor, pixel_values: Tensor) -> Tensor:
        return maps.flatten(2).transpose(1, 2).unflatten(0, tuple(pixel_values.shape[:2]))


class ProCapProjection(nn.Module):
    """A norm and a linear layer: in front of the encoder and, as stage 1's heads, behind it."""

    def __init__(self, width: int, output: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, output)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (..., width) to (..., output)."""
        return self.linear(self.norm(hidden_states.to(self.norm.weight.dtype)))


class ProCapText(nn.Module):
    """The places for a caption in front of the frames."""

    def __init__(self, config: ProCapConfig, reads: bool) -> None:
        super().__init__()
        width = config.vision_config.hidden_size
        self.padding_embeddings = nn.Parameter(torch.empty(config.text_length, width))
        self.position_embeddings = nn.Parameter(torch.empty(config.text_length, width))
        # CODEPATH: stage 2 reads no captions; "first_words" is what the released code fills its places with.
        self.shows_words = not reads and config.text_slots == "first_words"
        words = config.text_vocab_size or config.vocab_size
        self.token_embeddings = nn.Embedding(words, width) if reads or self.shows_words else None

    def forward(self, words: Tensor | None = None, is_word: Tensor | None = None) -> Tensor:
        """Embed captions, or the lack of one.

        Args:
            words (`torch.Tensor` of shape `(batch, text_length)`, *optional*): Captions, from the first place on.
            is_word (`torch.Tensor` of shape `(batch, text_length)`, *optional*): True for words.

        Returns:
            `torch.Tensor`: (batch, text_length, width); of one row where no captions are given.
        """
        embeds = self.padding_embeddings.unsqueeze(0)
        if words is not None:
            embeds = torch.where(is_word.unsqueeze(-1), self.token_embeddings(words), embeds)
        elif self.shows_words:
            embeds = self.token_embeddings.weight[None, : len(self.padding_embeddings)]
        return embeds + self.position_embeddings


@auto_docstring(custom_intro="The procedure encoder: a caption and a clip of frames through CLIP's layers.")
class ProCapEncoder(CLIPPreTrainedModel):
    """The procedure encoder: a caption and a clip of frames through CLIP's layers."""

    config: CLIPVisionConfig
    main_input_name = "frames"
    input_modalities = ("image",)

    def __init__(self, config: CLIPVisionConfig, procap: ProCapConfig, reads: bool) -> None:
        r"""Build the layers and what stands in front of them.

        Args:
            config (`CLIPVisionConfig`):
                Sizes of the layers.
            procap (`ProCapConfig`):
                All other sizes.
            reads (`bool`):
                Whether there are captions to read, as in stage 1.
        """
        super().__init__(config)
        width = config.hidden_size
        self.num_frames, self.num_patches = procap.num_frames, procap.num_patches
        self.text_length, self.shifts_mask = procap.text_length, procap.shifted_attention_mask
        self.projection = ProCapProjection(procap.vq_config.latent_channels, width)
        self.text = ProCapText(procap, reads)
        # [ALI], which stands in front of the caption, a start token behind it, and [CSY].
        self.special_embeddings = nn.Parameter(torch.empty(3, width))
        self.mask_embedding = nn.Parameter(torch.empty(width))
        self.frame_embeddings = nn.Parameter(torch.empty(procap.num_frames, 1, 1, width))
        self.row_embeddings = nn.Parameter(torch.empty(procap.patch_grid[0], 1, width))
        self.column_embeddings = nn.Parameter(torch.empty(procap.patch_grid[1], width))
        self.transformer = CLIPEncoder(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ProCapText):
            init.normal_(module.padding_embeddings)
            init.normal_(module.position_embeddings)
            if module.token_embeddings is not None:
                init.normal_(module.token_embeddings.weight)
        elif isinstance(module, ProCapEncoder):
            init.zeros_(module.mask_embedding)
            for name in ("special", "frame", "row", "column"):
                init.normal_(getattr(module, f"{name}_embeddings"))
            # Transformers passes over modules that have no parameters of their own.
            for part in module.modules():
                if isinstance(part, (CLIPAttention, CLIPMLP)):
                    super()._init_weights(part)

    def segments(self, aligns: bool) -> dict[str, slice]:
        """Where the parts of the sequence stand.

        Args:
            aligns (`bool`): Whether [ALI] is in front.

        Returns:
            `dict[str, slice]`: `align` where it is there, `text`, `start`, `consistency` and `frames`.
        """
        lengths = {"align": 1} if aligns else {}
        lengths |= {"text": self.text_length, "start": 1, "consistency": 1}
        lengths["frames"] = self.num_frames * self.num_patches
        segments, end = {}, 0
        for name, length in lengths.items():
            segments[name] = slice(end, end + length)
            end += length
        return segments

    def attention_mask(self, aligns: bool, like: Tensor) -> Tensor:
        """What is added to the attention scores: the start token and [CSY] see nothing in front of themselves.

        Args:
            aligns (`bool`): Whether [ALI] is in front.
            like (`torch.Tensor`): Tells dtype and device.

        Returns:
            `torch.Tensor`: (1, 1, tokens, tokens).
        """
        tokens = self.segments(aligns)["frames"].stop
        mask = like.new_zeros(tokens, tokens)
        # CODEPATH: the released code takes the rows of the sequence with [ALI] for both.
        rows = self.segments(aligns or self.shifts_mask)
        for name in ("start", "consistency"):
            row = rows[name].start
            mask[row, :row] = torch.finfo(like.dtype).min
        return mask[None, None]

    def place(self, frames: Tensor) -> Tensor:
        """Tell frames and patches where they stand.

        Args:
            frames (`torch.Tensor` of shape `(batch, frames, patches, width)`): Embedded patches.

        Returns:
            `torch.Tensor`: (batch, frames x patches, width).
        """
        places = self.frame_embeddings + self.row_embeddings + self.column_embeddings
        return (frames + places.flatten(1, 2)).flatten(1, 2)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(
        self, frames: Tensor, text: Tensor, aligns: bool = False, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutput:
        """Encode captions with clips.

        Args:
            frames (`torch.Tensor` of shape `(batch, frames x patches, width)`): What `place` returned.
            text (`torch.Tensor` of shape `(batch, text_length, width)`): The captions, or one row for all.
            aligns (`bool`, *optional*, defaults to False): Put [ALI] in front.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the layers.

        Returns:
            `BaseModelOutput`: `last_hidden_state` (batch, tokens, width).
        """
        rows = len(frames)
        special = self.special_embeddings.expand(rows, -1, -1)
        parts = [special[:, :1]] if aligns else []
        parts += [text.expand(rows, -1, -1), special[:, 1:], frames]
        sequence = torch.cat(parts, 1)
        return self.transformer(sequence, self.attention_mask(aligns, sequence), **kwargs)


class ProCapMemory(nn.Module):
    """What turns the encoder's states into what the decoder attends to."""

    def __init__(self, config: ProCapConfig) -> None:
        super().__init__()
        width = config.vision_config.hidden_size
        self.fc1 = nn.Linear(width, width)
        self.activation = nn.ReLU()
        self.fc2 = nn.Linear(width, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (..., encoder_hidden_size) to (..., hidden_size)."""
        return self.norm(self.fc2(self.activation(self.fc1(hidden_states))))


class ProCapDecoderLayer(BartDecoderLayer):
    """BART's layer, with linear layers without biases in its attention."""

    def __init__(self, config: BartConfig, procap: ProCapConfig, layer_idx: int) -> None:
        super().__init__(config, layer_idx)
        for name, is_causal in (("self_attn", True), ("encoder_attn", False)):
            attention = BartAttention(
                config.d_model,
                config.decoder_attention_heads,
                dropout=config.attention_dropout,
                is_decoder=True,
                bias=False,
                is_causal=is_causal,
                config=config,
                layer_idx=layer_idx,
            )
            # CODEPATH: what the released code divides by, for its checkpoints.
            if procap.scale_by_hidden_size:
                attention.scaling = config.d_model**-0.5
            setattr(self, name, attention)
        for norm in (self.self_attn_layer_norm, self.encoder_attn_layer_norm, self.final_layer_norm):
            norm.eps = procap.layer_norm_eps


class ProCapDecoder(BartPreTrainedModel):
    """A small caption decoder, all layers of which attend to the same memory."""

    input_modalities = ("text",)
    _no_split_modules: ClassVar[list[str]] = ["ProCapDecoderLayer"]
    _can_record_outputs: ClassVar[dict[str, Any]] = {
        "hidden_states": ProCapDecoderLayer,
        "attentions": OutputRecorder(BartAttention, index=1, layer_name="self_attn"),
        "cross_attentions": OutputRecorder(BartAttention, index=1, layer_name="encoder_attn"),
    }

    def __init__(self, config: BartConfig, procap: ProCapConfig) -> None:
        r"""Build the layers.

        Args:
            config (`BartConfig`):
                Sizes of BART's layers.
            procap (`ProCapConfig`):
                What BART has no field for.
        """
        super().__init__(config)
        self.embed_tokens = BartScaledWordEmbedding(
            config.vocab_size, config.d_model, padding_idx=None, embed_scale=config.d_model**0.5
        )
        self.layers = nn.ModuleList(
            [ProCapDecoderLayer(config, procap, index) for index in range(config.decoder_layers)]
        )
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    @auto_docstring
    def forward(
        self,
        inputs_embeds: Tensor,
        memory: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor | None = None,
        decoded: EncoderDecoderCache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Read a caption beside its pair.

        Args:
            inputs_embeds (`torch.Tensor` of shape `(batch, tokens, hidden_size)`): The embedded caption.
            memory (`torch.Tensor` of shape `(batch, frames x patches, hidden_size)`): The procedure.
            position_ids (`torch.Tensor` of shape `(batch, tokens)`): Positions of the tokens.
            attention_mask (`torch.Tensor`, *optional*): 1 for tokens; or what is added to the scores.
            decoded (`EncoderDecoderCache`, *optional*): Keys and values of the tokens before, and of the pair.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the layers.
        """
        hidden_states = self.dropout(inputs_embeds + waves(position_ids, inputs_embeds))
        mask = create_causal_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask, **{CACHE: decoded}
        )
        for layer in self.layers:
            hidden_states = layer(hidden_states, mask, memory, **{CACHE: decoded}, **kwargs)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden_states)


def waves(position_ids: Tensor, like: Tensor) -> Tensor:
    """Sines and cosines of positions, in turns.

    Args:
        position_ids (`torch.Tensor` of shape `(batch, tokens)`): The positions.
        like (`torch.Tensor` of shape `(..., width)`): Tells width and dtype.

    Returns:
        `torch.Tensor`: (batch, tokens, width).
    """
    width = like.shape[-1]
    rates = (torch.arange(0, width, 2, device=position_ids.device) * (-math.log(10000.0) / width)).exp()
    angles = position_ids.unsqueeze(-1) * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2).to(like.dtype)


def positions(text: Tensor, attention_mask: Tensor | None, start: int = 0) -> Tensor:
    """Positions of tokens where nobody tells them; padding on the left is not counted.

    Args:
        text (`torch.Tensor` of shape `(batch, tokens, ...)`): Ids or embeddings.
        attention_mask (`torch.Tensor`, *optional*): With two dimensions, 1 for tokens and 0 for padding.
        start (`int`, *optional*, defaults to 0): Tokens before these.

    Returns:
        `torch.Tensor`: (batch, tokens), or one row for all.
    """
    if attention_mask is None or attention_mask.dim() != 2:
        return torch.arange(start, start + text.shape[1], device=text.device).unsqueeze(0)
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, -text.shape[1] :]


@auto_docstring
class ProCapPreTrainedModel(ChangeCaptioningModelMixin, PreTrainedModel):
    """What all of ProCap's classes share."""

    config: ProCapConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules: ClassVar[list[str]] = ["ProCapVisionTower", "ProCapDecoderLayer"]
    # Keys and values go as they are from step to step.
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values", "cache"]
    auto_classes: ClassVar[dict[str, str]] = {"AutoModel": "ProCapModel"}
    pretrained_modules: ClassVar[tuple[str, ...]] = ("model.encoder.transformer.",)
    language_modules: ClassVar[tuple[str, ...]] = ("model.decoder.",)
    paper: ClassVar[Paper] = PAPER
    card_tags: ClassVar[tuple[str, ...]] = ("procap",)

    _new_in_clip: ClassVar[tuple[str, ...]] = (
        "model.encoder.projection.",
        "model.encoder.text.",
        "model.encoder.special_embeddings",
        "model.encoder.mask_embedding",
        "model.encoder.frame_embeddings",
        "model.encoder.row_embeddings",
        "model.encoder.column_embeddings",
    )
    _new_in_stage_1: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_clip(
        cls,
        pretrained: str | os.PathLike | PreTrainedModel,
        vqgan: str | os.PathLike | PreTrainedModel | None = None,
        layers: int | None = None,
        resolution: int = 224,
        keep_attention: bool = True,
        dtype: torch.dtype | str = torch.float32,
        revision: str | None = None,
        **kwargs: Any,
    ) -> "ProCapPreTrainedModel":
        r"""Start from the layers of a CLIP's vision tower and from a VQGAN.

        Args:
            pretrained (`str`, `os.PathLike` or `PreTrainedModel`): A whole CLIP or its vision tower: id on the Hub or
                folder, in safetensors, or the model itself. Its patches, positions and outer norms are left behind.
            vqgan (`str`, `os.PathLike` or `PreTrainedModel`, *optional*): A file of taming-transformers, a folder of
                Transformers' `ChameleonVQVAE`, or that model itself. Without one the image tokenizer is random, of the
                sizes in `vq_config`.
            layers (`int`, *optional*): How many of CLIP's layers, from the first one on; by default all.
            resolution (`int`, *optional*, defaults to 224): Height and width of the images, where a VQGAN is given.
            keep_attention (`bool`, *optional*, defaults to True): Keep the attention of the VQGAN's lowest level,
                which the released code loses.
            dtype (`torch.dtype` or `str`, *optional*, defaults to float32): Of the model.
            revision (`str`, *optional*): Commit, for an id.
            kwargs (`Any`, *optional*): Fields of [`ProCapConfig`].

        Returns:
            `ProCapForPreTraining` or `ProCapForConditionalGeneration`: In evaluation mode; all other parts are new.

        Raises:
            ValueError: A checkpoint is another one, or a weight is missing, left over or of another shape; the error
                names it.
        """
        vision_config, weights, name = convert_clip(pretrained, revision, layers)
        new = (*cls._new_in_clip, *cls._new_in_stage_1, "msm_head.", "align_head.", "csy_head.")
        if vqgan is None:
            new = (*new, "model.vision_tower.")
        else:
            vq_config, tokenizer = convert_vqgan(vqgan, resolution, keep_attention)
            kwargs, weights = {"vq_config": vq_config} | kwargs, weights | tokenizer
        config = ProCapConfig(**{"vision_config": vision_config} | kwargs)
        return load_converted(cls, config, weights, name, dtype, new)

    @classmethod
    def from_official(cls, path: str | os.PathLike, **kwargs: Any) -> "ProCapPreTrainedModel":
        r"""Import a checkpoint of the authors' code, with the settings under which it computes what it did.

        Args:
            path (`str` or `os.PathLike`): Their `dalle.pt` of stage 1 or `model.chkpt` of stage 2, of which tensors
                alone are read, or the same in safetensors.
            kwargs (`Any`, *optional*): Fields of [`ProCapConfig`]; they win. A captioner that is read from a
                checkpoint of stage 1 needs `vocab_size` and the ids of its words' ends.

        Returns:
            `ProCapForPreTraining` or `ProCapForConditionalGeneration`: In evaluation mode and float32. A captioner
            that is read from a checkpoint of stage 1 has a new decoder.

        Raises:
            ValueError: A weight is missing, left over or of another shape; the error names it.
        """
        config, weights, has_decoder = convert_official(path, **kwargs)
        if not cls._new_in_stage_1:
            weights = {name: value for name, value in weights.items() if not name.startswith(STAGE_2)}
        # Theirs has no queries of their own, which start at zero.
        new = ("model.query_embeddings",) if has_decoder else cls._new_in_stage_1
        model = load_converted(cls, config, weights, os.fspath(path), torch.float32, new)
        if has_decoder and model.can_generate():
            # Their decoding never writes the unknown word, and keeps the start token and as many words.
            model.generation_config.update(
                suppress_tokens=[UNKNOWN], max_new_tokens=config.text_length - 1, num_beams=1
            )
        return model

    def get_vision_encoder(self) -> nn.Module:
        """The image tokenizer."""
        return self.base_model.vision_tower

    def get_auxiliary_features(self) -> AuxiliaryFeatures:
        """The patches of both images in the middle of the procedure encoder, and behind it."""
        layers = self.base_model.encoder.transformer.layers
        frames, patches = self.config.num_frames, self.config.num_patches

        def read(output: Any) -> Tensor:
            clip = first_output(output)[:, -frames * patches :].unflatten(1, (frames, patches))
            return torch.stack([clip[:, 0], clip[:, -1]], 1)

        width = self.config.vision_config.hidden_size
        return AuxiliaryFeatures(layers[max(len(layers) // 2 - 1, 0)], self.base_model.encoder, width, read, 0)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ProCapModel) and module.query_embeddings is not None:
            init.zeros_(module.query_embeddings)


@auto_docstring(custom_intro="ProCap's image tokenizer and procedure encoder with captions to read.")
class ProCapProcedureModel(ProCapPreTrainedModel):
    """ProCap's image tokenizer and procedure encoder with captions to read, as stage 1 trains it."""

    def __init__(self, config: ProCapConfig) -> None:
        super().__init__(config)
        self.vision_tower = ProCapVisionTower(config)
        self.encoder = ProCapEncoder._from_config(config.vision_config, procap=config, reads=True)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Embeddings of the captions' words."""
        return self.encoder.text.token_embeddings

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace them.

        Args:
            value (`nn.Module`): The new ones.
        """
        self.encoder.text.token_embeddings = value

    def captions(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The words of captions, from the first place on and cut to `text_length`.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, tokens)`): Start token, words and end token.
            attention_mask (`torch.Tensor` of shape `(batch, tokens)`, *optional*): 1 for tokens, 0 for padding.

        Returns:
            `tuple`: Ids (batch, text_length), and which of them are words; the others are 0.
        """
        ends = self.config.eos_token_id
        ends = [*(ends if isinstance(ends, list) else [ends]), self.config.bos_token_id]
        is_word = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        for number in ends:
            if number is not None:
                is_word = is_word & (input_ids != number)
        missing = max(0, self.config.text_length - input_ids.shape[1])
        is_word = nn.functional.pad(is_word, (0, missing))
        order = (~is_word).int().argsort(dim=1, stable=True)[:, : self.config.text_length]
        is_word = is_word.gather(1, order)
        words = nn.functional.pad(input_ids, (0, missing)).gather(1, order)
        return words.masked_fill(~is_word, 0), is_word

    def embed_frames(self, features: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """Frames as the encoder reads them.

        Args:
            features (`torch.Tensor` of shape `(batch, frames, patches, latent_channels)`): Of the image tokenizer.
            patch_mask (`torch.Tensor` of shape `(batch, frames x patches)`, *optional*): True for what is hidden.

        Returns:
            `torch.Tensor`: (batch, frames x patches, encoder_hidden_size).
        """
        frames = self.encoder.projection(features)
        if patch_mask is not None:
            hidden = patch_mask.view(*frames.shape[:3], 1)
            frames = torch.where(hidden, self.encoder.mask_embedding.to(frames.dtype), frames)
        return self.encoder.place(frames)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor,
        pixel_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        patch_mask: torch.BoolTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutput:
        r"""Read captions in front of clips.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`):
                Start token, words and end token.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_frames, num_channels, height, width)`):
                Frames from the image before to the one after, in [-1, 1].
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, frames x patches)`, *optional*):
                True for patches to hide.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the encoder.
        """
        features = self.vision_tower(pixel_values).last_hidden_state
        text = self.encoder.text(*self.captions(input_ids, attention_mask))
        frames = self.embed_frames(features, patch_mask)
        return self.encoder(frames, text, aligns=True, **{**kwargs, "return_dict": True})


@auto_docstring(custom_intro="ProCap's stage 1: masked, aligned and consistent procedures of change.")
class ProCapForPreTraining(ProCapPreTrainedModel):
    """Trains the procedure encoder on clips of frames between the two images, beside their captions."""

    auto_classes: ClassVar[dict[str, str]] = {}
    # Its losses are means over clips and patches, whatever the number of tokens.
    accepts_loss_kwargs = False
    # Of stage 2, and of the training of the image tokenizer.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [
        r"^(model\.)?(decoder|memory)\.",
        r"^(model\.)?query_embeddings",
        r"^lm_head\.",
        r"^(pixel_decoder\.|idle_steps)",
    ]

    def __init__(self, config: ProCapConfig) -> None:
        super().__init__(config)
        width = config.vision_config.hidden_size
        self.model = ProCapProcedureModel(config)
        self.msm_head = ProCapProjection(width, config.vq_config.num_embeddings)
        self.align_head = ProCapProjection(width, 1)
        self.csy_head = ProCapProjection(width, 1)
        self.post_init()

    @property
    def frames_per_pair(self) -> int:
        """Frames of a training row, both images included."""
        return self.config.num_frames

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor,
        pixel_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        patch_mask: torch.BoolTensor | None = None,
        corrupted_pixel_values: torch.FloatTensor | None = None,
        return_loss: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ProCapPreTrainingOutput:
        r"""Score the hidden patches, the caption and the clip, and compute the losses where they are asked for.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`):
                Start token, words and end token; padding on either side. The first `text_length` words are read.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_frames, num_channels, height, width)`):
                Frames from the image before to the one after, in [-1, 1].
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Not read: words stand from the first place on.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Not read; where a collator gives them, the losses are wanted.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, frames x patches)`, *optional*):
                True or 1 for patches to hide, frame by frame, row by row. By default they are drawn where losses are
                wanted, and nothing is hidden where not.
            corrupted_pixel_values (`torch.FloatTensor`, *optional*):
                Of the shape of `pixel_values`: clips that are not consistent. By default they are drawn.
            return_loss (`bool`, *optional*):
                Compute the losses without labels.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the encoder.
        """
        self._check(pixel_values, attention_mask)
        model, config, batch = self.model, self.config, len(pixel_values)
        wants_loss = bool(return_loss) or labels is not None
        generator = self.generator() if wants_loss else None
        if patch_mask is None and wants_loss:
            patch_mask = draw_masks(config, batch, generator)
        if patch_mask is not None:
            patch_mask = patch_mask.to(pixel_values.device, torch.bool)
        features, codes = model.vision_tower.encode(pixel_values)
        words, is_word = model.captions(input_ids, attention_mask)
        text, clips = model.encoder.text(words, is_word), model.embed_frames(features, patch_mask)
        # The batch itself, and what it must be told from.
        passes, swapped = {"true": (clips, text)}, None
        # CODEPATH: all checkpoints have both losses; the ablations of the paper leave one or both out.
        if wants_loss and config.align_weight:
            swapped = self.swapped_rows(batch)
            passes["align"] = (clips, text[swapped])
        # CODEPATH: as above.
        if wants_loss and config.csy_weight:
            corrupted = self._corrupt(features, pixel_values, corrupted_pixel_values, generator)
            passes["csy"] = (model.embed_frames(corrupted, patch_mask), text)
        sequence = (torch.cat(parts) for parts in zip(*passes.values(), strict=True))
        states = model.encoder(*sequence, aligns=True, **{**kwargs, "return_dict": True}).last_hidden_state
        states = dict(zip(passes, states.split(batch), strict=True))
        output = ProCapPreTrainingOutput(
            last_hidden_state=states["true"],
            logits=self._score("msm", states["true"]),
            align_logits=self._score("align", states["true"]),
            csy_logits=self._score("csy", states["true"]),
            codes=codes,
            patch_mask=None if patch_mask is None else patch_mask.long(),
        )
        if "align" in states:
            output.other_align_logits = self._score("align", states["align"])
        if "csy" in states:
            output.corrupted_csy_logits = self._score("csy", states["csy"])
        if wants_loss:
            others = None if swapped is None else (words != words[swapped]).any(1)
            output.loss_parts = self.losses(output, others)
            output.loss = sum(output.loss_parts.values())
        return output

    def losses(self, outputs: ProCapPreTrainingOutput, others: Tensor | None = None) -> dict[str, Tensor]:
        """Weighted losses by name.

        Args:
            outputs (`ProCapPreTrainingOutput`): Scores, codes and masks.
            others (`torch.Tensor` of shape `(batch,)`, *optional*): True where the wrong caption says another thing.

        Returns:
            `dict[str, torch.Tensor]`: Scalars.
        """
        config, patch_mask = self.config, outputs.patch_mask.bool()
        parts = {"msm": config.msm_weight * masked_cross_entropy(outputs.logits, outputs.codes, patch_mask)}
        # What is hidden altogether can be told neither by a caption nor by its order.
        counts = (~patch_mask.all(1)).float()
        if outputs.other_align_logits is not None:
            # CODEPATH: the released code takes every other caption for a wrong one.
            others = counts * others if config.skip_equal_captions else counts
            loss = true_or_false(outputs.align_logits, outputs.other_align_logits, counts, others)
            parts["align"] = config.align_weight * loss
        if outputs.corrupted_csy_logits is not None:
            divisor = None
            # CODEPATH: what the released code adds up.
            if config.csy_counts_fully_masked:
                divisor, counts = counts.sum(), torch.ones_like(counts)
            loss = true_or_false(outputs.csy_logits, outputs.corrupted_csy_logits, counts, counts, divisor)
            parts["csy"] = config.csy_weight * loss
        return parts

    def _score(self, name: str, states: Tensor) -> Tensor:
        """Logits of one head, of the part of the sequence that it reads."""
        segments = self.model.encoder.segments(aligns=True)
        if name == "msm":
            return self.msm_head(states[:, segments["frames"]])
        head, segment = {"align": (self.align_head, "align"), "csy": (self.csy_head, "consistency")}[name]
        return head(states[:, segments[segment]])[:, 0, 0]

    def _corrupt(
        self, features: Tensor, pixel_values: Tensor, corrupted: Tensor | None, generator: torch.Generator
    ) -> Tensor:
        """Features of corrupted clips; frames that are only moved are known already."""
        tower = self.model.vision_tower
        if corrupted is not None:
            return tower(corrupted).last_hidden_state
        corruption = draw_corruptions(self.config, pixel_values, generator)
        changed = features.new_empty(0, *features.shape[2:])
        if len(corruption.frames):
            changed = tower(corruption.frames.unsqueeze(0)).last_hidden_state[0]
        return corruption.apply(features, changed)

    def _check(self, pixel_values: Tensor, attention_mask: Tensor | None) -> None:
        if attention_mask is not None and attention_mask.dim() != 2:
            raise ValueError("Stage 1 takes one caption a clip: set `captions_per_pair` to 1.")
        frames = self.config.num_frames
        if pixel_values.dim() != 5 or pixel_values.shape[1] != frames:
            raise ValueError(
                f"`pixel_values` must hold clips of {frames} frames, (batch, frames, channels, height, width), got "
                f"{tuple(pixel_values.shape)}."
            )

    def generator(self) -> torch.Generator:
        """What masks and corruptions are drawn with: in training as torch's own state says, else always the same."""
        seed = int(torch.randint(2**62, ())) if self.training else self.config.mask_seed
        return torch.Generator().manual_seed(seed)

    def swapped_rows(self, batch: int) -> Tensor:
        """Whose caption every clip gets as a wrong one: the halves of the batch are swapped.

        Args:
            batch (`int`): Clips; in evaluation an odd number is moved on by half of it.

        Returns:
            `torch.Tensor`: (batch,) rows.

        Raises:
            ValueError: The number is odd in training.
        """
        if self.training and batch % 2:
            raise ValueError(
                f"A batch of {batch} clips cannot be halved: set `per_device_train_batch_size` to an even number and "
                "`dataloader_drop_last` to true."
            )
        return torch.arange(batch).roll(-(batch // 2))


@auto_docstring(custom_intro="ProCap's tokenizer, procedure encoder and decoder without a head.")
class ProCapModel(ProCapPreTrainedModel):
    """Image tokenizer, procedure encoder and decoder."""

    def __init__(self, config: ProCapConfig) -> None:
        super().__init__(config)
        width = config.vision_config.hidden_size
        self.vision_tower = ProCapVisionTower(config)
        self.encoder = ProCapEncoder._from_config(config.vision_config, procap=config, reads=False)
        # What the places between the images have of their own, beside what stage 1 learned to put in a hidden place.
        self.query_embeddings = None
        # CODEPATH: the released code has one vector for all.
        if not config.shared_queries:
            self.query_embeddings = nn.Parameter(torch.empty(config.num_frames - 2, config.num_patches, width))
        self.memory = ProCapMemory(config)
        self.decoder = ProCapDecoder._from_config(config.decoder_config(), procap=config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The decoder's token table."""
        return self.decoder.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace it.

        Args:
            value (`nn.Module`): The new one.
        """
        self.decoder.embed_tokens = value

    def embed_pairs(self, features: Tensor) -> Tensor:
        """Pairs as the encoder reads them: both images, and queries between them.

        Args:
            features (`torch.Tensor` of shape `(batch, 2, patches, latent_channels)`): Of the image tokenizer.

        Returns:
            `torch.Tensor`: (batch, frames x patches, encoder_hidden_size).
        """
        images = self.encoder.projection(features)
        queries = self.encoder.mask_embedding.expand(self.config.num_frames - 2, self.config.num_patches, -1)
        if self.query_embeddings is not None:
            queries = queries + self.query_embeddings
        queries = queries.to(images.dtype).expand(len(images), -1, -1, -1)
        return self.encoder.place(torch.cat([images[:, :1], queries, images[:, 1:]], 1))

    @can_return_tuple
    @auto_docstring
    def get_image_features(
        self,
        pixel_values: torch.FloatTensor | None = None,
        vision_features: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ProCapImageFeatures:
        r"""Encode pairs for the decoder.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after.
            vision_features (`torch.FloatTensor` of shape `(batch_size, 2, patches, latent_channels)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the encoder.
        """
        if (pixel_values is None) == (vision_features is None):
            raise ValueError("Give either `pixel_values` or `vision_features`.")
        if vision_features is None:
            vision_features = self.vision_tower(pixel_values).last_hidden_state
        if vision_features.shape[1] != 2:
            raise ValueError(
                "`pixel_values` must hold pairs, (batch, 2, channels, height, width), got "
                f"{vision_features.shape[1]} images a row."
            )
        outputs = self.encoder(
            self.embed_pairs(vision_features), self.encoder.text(), **{**kwargs, "return_dict": True}
        )
        frames = outputs.last_hidden_state[:, self.encoder.segments(aligns=False)["frames"]]
        return ProCapImageFeatures(
            last_hidden_state=frames,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            memory=self.memory(frames),
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
        vision_features: torch.FloatTensor | None = None,
        mm_encoder_outputs: dict[str, ProCapImageFeatures] | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ProCapModelOutput:
        r"""Read captions beside their pairs.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Start token, and the caption in training.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding; or with four dimensions, what is added to the scores.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Positions of the tokens.
            cache (`Cache`, *optional*):
                Keys and values of the tokens before.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`, *optional*):
                Embeddings in place of `input_ids`.
            vision_features (`torch.FloatTensor` of shape `(batch_size, 2, patches, latent_channels)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            mm_encoder_outputs (`dict[str, ProCapImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of the images.
            use_cache (`bool`, *optional*):
                Return keys and values.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to encoder and decoder.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        for name in ("output_attentions", "output_hidden_states"):
            # The parts have configurations of their own, which do not tell.
            if kwargs.get(name) is None:
                kwargs[name] = getattr(self.config, name, None)
        features = (mm_encoder_outputs or {}).get("image")
        if features is None:
            features = self.get_image_features(pixel_values, vision_features, **{**kwargs, "return_dict": True})
        if (use_cache or cache is not None) and not isinstance(cache, EncoderDecoderCache):
            cache = EncoderDecoderCache(cache if cache is not None else DynamicCache(), DynamicCache())
        if position_ids is None:
            text = input_ids if inputs_embeds is None else inputs_embeds
            position_ids = positions(text, attention_mask, cache.get_seq_length() if cache is not None else 0)
        if inputs_embeds is None:
            inputs_embeds = self.decoder.embed_tokens(input_ids)
        if attention_mask is not None and attention_mask.is_floating_point():
            attention_mask = attention_mask.to(inputs_embeds.dtype)
        memory = features.memory
        copies = len(inputs_embeds) // len(memory)
        # Beams and samples of a pair read the same; once its keys and values are kept, nothing of it is read again.
        if copies > 1 and not (isinstance(cache, EncoderDecoderCache) and cache.is_updated.get(0)):
            memory = memory.repeat_interleave(copies, 0)
        outputs = self.decoder(
            inputs_embeds, memory, position_ids, attention_mask, cache, **{**kwargs, "return_dict": True}
        )
        return ProCapModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
            # Those that Transformers' own models with images give.
            image_outputs=BaseModelOutput(
                last_hidden_state=features.last_hidden_state,
                hidden_states=features.hidden_states,
                attentions=features.attentions,
            ),
            **{CACHE: cache},
        )


@auto_docstring(custom_intro="ProCap's stage 2: two images in, a sentence about the change out.")
class ProCapForConditionalGeneration(ProCapPreTrainedModel, GenerationMixin):
    """ProCap with a language modeling head; starts from a checkpoint of stage 1 by `from_pretrained`."""

    _new_in_stage_1: ClassVar[tuple[str, ...]] = (
        "model.memory.",
        "model.decoder.",
        "model.query_embeddings",
        "lm_head.",
    )
    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.decoder.embed_tokens.weight"}
    # Of stage 1, and of the training of the image tokenizer.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [
        r"^(msm|align|csy)_head\.",
        r"encoder\.text\.token_embeddings\.",
        r"^(pixel_decoder\.|idle_steps)",
    ]

    def __init__(self, config: ProCapConfig) -> None:
        super().__init__(config)
        self.model = ProCapModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The language modeling head."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace it.

        Args:
            new_embeddings (`nn.Module`): The new one.
        """
        self.lm_head = new_embeddings

    @auto_docstring
    def get_image_features(
        self,
        pixel_values: torch.FloatTensor | None = None,
        vision_features: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ProCapImageFeatures:
        r"""Encode pairs for the decoder.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after.
            vision_features (`torch.FloatTensor` of shape `(batch_size, 2, patches, latent_channels)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the encoder.
        """
        return self.model.get_image_features(pixel_values, vision_features, **kwargs)

    def _prepare_multimodal_encoder_kwargs_for_generation(self, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        # `generate` encodes under the name `pixel_values` alone, and would drop features computed before.
        vision_features = model_kwargs.pop("vision_features", None)
        if vision_features is not None:
            encoded = self.model.get_image_features(vision_features=vision_features, return_dict=True)
            model_kwargs["mm_encoder_outputs"] = {"image": encoded}
        return super()._prepare_multimodal_encoder_kwargs_for_generation(model_kwargs)

    def prepare_inputs_for_generation(
        self, *args: Any, mm_encoder_outputs: dict[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Keep the encoded images, which a stock step beyond the first leaves out.

        Args:
            *args (`Any`): As in Transformers.
            mm_encoder_outputs (`dict[str, ProCapImageFeatures]`, *optional*): The encoded images.
            **kwargs (`Any`, *optional*): As in Transformers.
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
        vision_features: torch.FloatTensor | None = None,
        mm_encoder_outputs: dict[str, ProCapImageFeatures] | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | ProCapCausalLMOutput:
        r"""Predict the caption, and its loss where labels are given.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Start token, and the caption in training.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding; or with four dimensions, what is added to the scores.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Positions of the tokens.
            cache (`Cache`, *optional*):
                Keys and values of the tokens before.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`, *optional*):
                Embeddings in place of `input_ids`.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                The caption's tokens and the end token; -100 elsewhere.
            logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
                Positions whose logits are computed, counted from the end; 0 for all. With `labels`, an integer.
            vision_features (`torch.FloatTensor` of shape `(batch_size, 2, patches, latent_channels)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            mm_encoder_outputs (`dict[str, ProCapImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of the images.
            use_cache (`bool`, *optional*):
                Return keys and values.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to encoder and decoder; `num_items_in_batch` and `shift_labels` to the loss.
        """
        loss_options = {name: kwargs.pop(name, None) for name in ("num_items_in_batch", "shift_labels")}
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            vision_features=vision_features,
            mm_encoder_outputs=mm_encoder_outputs,
            use_cache=use_cache and labels is None,
            **{**kwargs, "return_dict": True},
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = smoothed_divergence(
                logits,
                labels[:, -logits.shape[1] :],
                self.config.label_smoothing,
                self.config.loss_reduction,
                **loss_options,
            )
        return ProCapCausalLMOutput(
            loss=loss,
            loss_parts=None if loss is None else {"caption": loss},
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
            image_outputs=outputs.image_outputs,
            **{CACHE: outputs.get(CACHE)},
        )


__all__ = [
    "ProCapForConditionalGeneration",
    "ProCapForPreTraining",
    "ProCapModel",
    "ProCapPreTrainedModel",
    "ProCapProcedureModel",
]
