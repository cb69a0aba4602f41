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
"""PyTorch BLIP2IDC model."""

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Blip2ForConditionalGeneration, OPTModel
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.modeling_utils import PreTrainedModel, slice_logits_to_keep
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel, Blip2VisionModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring, can_return_tuple, torch_compilable_check

from ...compatibility_ssgpa import CACHE, renamed_cache
from ...system_ssgpa import AuxiliaryFeatures, ChangeCaptioningModelMixin, Paper, first_output
from .configuration_blip2idc import BLIP2IDCConfig
from .conversion_blip2idc import GENERATION, check_weights, convert_blip2, read_source


IGNORED = -100
PAPER = Paper(
    title="Reframing Image Difference Captioning with BLIP2IDC and Synthetic Augmentation",
    venue="WACV 2025",
    relation=(
        "This is **a reimplementation**, checked against the authors' released code with the same weights; what "
        "differs by default is listed in the README of `baselines/blip2idc`. The paper's scores are not reproduced by "
        "this checkpoint."
    ),
    bibtex="""\
@inproceedings{evennou2025reframing,
  title     = {Reframing Image Difference Captioning with BLIP2IDC and Synthetic Augmentation},
  author    = {Evennou, Gautier and Chaffin, Antoine and Chappelier, Vivien and Kijak, Ewa},
  booktitle = {Proceedings of the IEEE/CVF Winter Conference on Applications of Computer Vision},
  year      = {2025}
}""",
)


@auto_docstring
@dataclass
class BLIP2IDCModelOutputWithPast(BaseModelOutputWithPast):
    r"""What the model without a head returns.

    Args:
        image_outputs (`BaseModelOutputWithPooling`, *optional*):
            What `get_image_features` returned, where images were given.
    """

    image_outputs: BaseModelOutputWithPooling | None = None


@auto_docstring
@dataclass
class BLIP2IDCCausalLMOutputWithPast(CausalLMOutputWithPast):
    r"""What the model with a head returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
            The caption's cross-entropy.
        loss_parts (`dict[str, torch.FloatTensor]`, *optional*, returned when `labels` is provided):
            The same under its name.
        logits (`torch.FloatTensor` of shape `(batch_size, sequence_length, vocab_size)`):
            Prediction scores of the language modeling head.
        image_hidden_states (`torch.FloatTensor` of shape `(batch_size, visual_tokens, text_hidden_size)`, *optional*):
            The visual tokens of each pair.
        image_outputs (`BaseModelOutputWithPooling`, *optional*):
            Of the images: the tower's `last_hidden_state`, the visual tokens as `pooler_output`, and the tower's
            `hidden_states` and `attentions` where asked for.
    """

    loss_parts: dict[str, torch.FloatTensor] | None = None
    image_hidden_states: torch.FloatTensor | None = None
    image_outputs: BaseModelOutputWithPooling | None = None


def pad_captions(
    input_ids: Tensor, labels: Tensor, attention_mask: Tensor | None, length: int, end: int
) -> tuple[Tensor, Tensor]:
    """Bring captions to one length, as the released code does: padding is the end token, and learned.

    Args:
        input_ids (`torch.Tensor` of shape `(batch, sequence)`): Prompts and captions.
        labels (`torch.Tensor` of shape `(batch, sequence)`): The captions and their end token; -100 elsewhere.
        attention_mask (`torch.Tensor` of shape `(batch, sequence)`, *optional*): 1 for tokens, 0 for padding.
        length (`int`): Tokens of a caption, the prompt's last token, which starts it, among them.
        end (`int`): The end token.

    Returns:
        `tuple`: Ids and labels of shape `(batch, prompt + length - 1)`, with nothing to mask.

    Raises:
        ValueError: Rows hold several captions, or prompts of different lengths.
    """
    if attention_mask is not None and attention_mask.dim() != 2:
        raise ValueError("`padded_length` takes one caption a pair: set `captions_per_pair` to 1.")
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    start = (labels != IGNORED).int().argmax(1, keepdim=True)
    seen = places < start
    prompts = (seen if attention_mask is None else seen & attention_mask.bool()).sum(1)
    prompt = int(prompts[0])
    torch_compilable_check((prompts == prompt).all(), "`padded_length` needs prompts of one length.")
    # Behind the caption there is nothing to gather; its place is filled below.
    index = start - prompt + torch.arange(prompt + length - 1, device=input_ids.device)
    inside = index < input_ids.shape[1]
    index = index.clamp(max=input_ids.shape[1] - 1)
    targets = labels.gather(1, index).masked_fill(~inside, IGNORED)
    is_prompt = torch.arange(index.shape[1], device=index.device) < prompt
    filled = targets.masked_fill(targets == IGNORED, end)
    return torch.where(is_prompt, input_ids.gather(1, index), filled), filled.masked_fill(is_prompt, IGNORED)


@auto_docstring
class BLIP2IDCPreTrainedModel(ChangeCaptioningModelMixin, PreTrainedModel):
    """What BLIP2IDC's models share."""

    config: BLIP2IDCConfig
    auto_classes: ClassVar[dict[str, str]] = {"AutoModel": "BLIP2IDCModel"}
    pretrained_modules: ClassVar[tuple[str, ...]] = (
        "model.vision_model.",
        "model.qformer.",
        "model.language_projection.",
        "model.language_model.",
    )
    paper: ClassVar[Paper] = PAPER
    card_tags: ClassVar[tuple[str, ...]] = ("blip-2", "blip2idc")
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = []
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values", "cache"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def get_auxiliary_features(self) -> AuxiliaryFeatures:
        """The patches in the middle of the tower, which sees both images in all its layers, and behind it."""
        tower = self.base_model.vision_model
        return AuxiliaryFeatures(
            tower=tower.encoder.layers[len(tower.encoder.layers) // 2 - 1],
            compared=tower,
            hidden_size=self.config.vision_config.hidden_size,
            # The image before lies above the image after; one class token stands for both.
            read=lambda output: first_output(output)[:, 1:].unflatten(1, (2, -1)),
            leading_tokens=0,
        )

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BLIP2IDCModel):
            # Transformers' own start at 0, all alike.
            init.normal_(module.query_tokens, std=self.config.initializer_range)


@auto_docstring(custom_intro="BLIP-2's vision tower, Q-Former and OPT, without a head.")
class BLIP2IDCModel(BLIP2IDCPreTrainedModel):
    """BLIP2IDC without a language modeling head."""

    def __init__(self, config: BLIP2IDCConfig) -> None:
        super().__init__(config)
        self.vision_model = Blip2VisionModel._from_config(config.vision_config)
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_query_tokens, config.qformer_config.hidden_size))
        self.qformer = Blip2QFormerModel._from_config(config.qformer_config)
        self.language_projection = nn.Linear(config.qformer_config.hidden_size, config.text_config.hidden_size)
        self.language_model = OPTModel._from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Word embeddings of OPT."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace OPT's word embeddings.

        Args:
            value (`nn.Module`): The new ones.
        """
        self.language_model.set_input_embeddings(value)

    @can_return_tuple
    @auto_docstring(custom_intro="Encode the concatenated images of each pair and summarize them by the queries.")
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | BaseModelOutputWithPooling:
        r"""Encode the concatenated images of each pair and summarize them by the queries.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`):
                Image before above image after, `pair_layout="vertical"` of the processor.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the vision tower.
        """
        self.check_images(pixel_values)
        vision = self.vision_model(
            pixel_values,
            interpolate_pos_encoding=self.config.interpolate_pos_encoding,
            **{**kwargs, "return_dict": True},
        )
        states = vision.last_hidden_state
        queries = self.query_tokens.expand(len(states), -1, -1)
        summary = self.qformer(query_embeds=queries, encoder_hidden_states=states, return_dict=True).last_hidden_state
        tokens = self.language_projection(summary.to(self.language_projection.weight.dtype))
        return BaseModelOutputWithPooling(
            last_hidden_state=states,
            pooler_output=tokens,
            hidden_states=vision.get("hidden_states"),
            attentions=vision.get("attentions"),
        )

    def check_images(self, pixel_values: Tensor) -> None:
        """Refuse what is no normalized, concatenated pair of the tower's size.

        Args:
            pixel_values (`torch.Tensor`): What came.

        Raises:
            ValueError: It is something else; the error tells what to do.
        """
        if not pixel_values.is_floating_point():
            raise ValueError(f"BLIP2IDC reads normalized pixel_values, got {pixel_values.dtype}.")
        if pixel_values.ndim != 4:
            raise ValueError(
                "BLIP2IDC reads pixel_values of shape (batch, channels, height, width), got "
                f'{tuple(pixel_values.shape)}: set `pair_layout="vertical"` in the processor.'
            )
        size, side = tuple(pixel_values.shape[2:]), self.config.vision_config.image_size
        wanted = (side, side) if isinstance(side, int) else tuple(side)
        if size != wanted and not self.config.interpolate_pos_encoding:
            raise ValueError(
                f"The images are {size[0]} x {size[1]} pixels, the vision tower reads {wanted[0]} x {wanted[1]}: set "
                "the image processor's size, or `interpolate_pos_encoding` in the configuration."
            )

    def _embed(self, input_ids: Tensor | None, inputs_embeds: Tensor | None, features: Any) -> Tensor:
        """The prompts as OPT reads them, with the visual tokens in their places."""
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if features is None:
            return inputs_embeds
        tokens = features.pooler_output
        # Beam search hands the pairs' tokens back as a list.
        tokens = tokens if isinstance(tokens, Tensor) else torch.stack(list(tokens))
        tokens = tokens.to(inputs_embeds.device, inputs_embeds.dtype)
        if input_ids is None:
            token = torch.full((), self.config.image_token_id, dtype=torch.long, device=inputs_embeds.device)
            mask = (inputs_embeds == self.get_input_embeddings()(token)).all(-1)
        else:
            mask = input_ids == self.config.image_token_id
        if mask.device.type != "meta":  # where numbers are counted and none is known
            # Of a prompt that is read in chunks, each comes with its own tokens alone, in one row.
            chunk = features.last_hidden_state is None
            found, wanted = (
                (mask.sum(), tokens.shape[0] * tokens.shape[1]) if chunk else (mask.sum(-1), tokens.shape[1])
            )
            torch_compilable_check(
                (found == wanted).all() & (chunk or len(mask) == len(tokens)),
                lambda: (
                    f"The prompts hold {mask.sum(-1).tolist()} image tokens, the {len(tokens)} pairs give "
                    f"{tokens.shape[1]} visual tokens each: check the processor's `image_seq_length`."
                ),
            )
        return inputs_embeds.masked_scatter(mask.unsqueeze(-1).to(inputs_embeds.device), tokens)

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
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BLIP2IDCModelOutputWithPast:
        r"""Read prompts and pairs up to the last hidden states.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Prompt with the placeholders of the pair, and the caption in training.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`, *optional*):
                Image before above image after.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding; or with four dimensions, what is added to the scores.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Positions of the tokens.
            cache (`Cache`, *optional*):
                Keys and values of the tokens before.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, text_hidden_size)`, *optional*):
                Embeddings in place of `input_ids`.
            mm_encoder_outputs (`dict[str, BaseModelOutputWithPooling]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of the images.
            use_cache (`bool`, *optional*):
                Return keys and values.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to OPT.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        features = (mm_encoder_outputs or {}).get("image")
        if features is not None and pixel_values is not None:
            raise ValueError("You cannot specify both pixel_values and mm_encoder_outputs at the same time")
        if features is None and pixel_values is not None:
            features = self.get_image_features(pixel_values, return_dict=True)
        inputs_embeds = self._embed(input_ids, inputs_embeds, features)
        if attention_mask is not None and attention_mask.is_floating_point():
            # What is added to the scores; beside a language model in bfloat16 a float32 mask is refused.
            attention_mask = attention_mask.to(inputs_embeds.dtype)
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **{CACHE: cache},
            **kwargs,
        )
        return BLIP2IDCModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_outputs=features,
            **{CACHE: outputs.get(CACHE)},
        )


@auto_docstring(custom_intro="BLIP2IDC with a language modeling head: two images in, a sentence about the change out.")
class BLIP2IDCForConditionalGeneration(BLIP2IDCPreTrainedModel, GenerationMixin):
    """BLIP2IDC with a language modeling head and the caption's loss."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {
        "lm_head.weight": "model.language_model.decoder.embed_tokens.weight"
    }

    def __init__(self, config: BLIP2IDCConfig) -> None:
        super().__init__(config)
        self.model = BLIP2IDCModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    @classmethod
    def from_blip2(
        cls,
        pretrained: str | os.PathLike | Blip2ForConditionalGeneration,
        dtype: torch.dtype | str = "auto",
        revision: str | None = None,
        **kwargs: Any,
    ) -> "BLIP2IDCForConditionalGeneration":
        r"""Start from a BLIP-2 checkpoint with OPT; every weight of it is taken over, and nothing is new.

        `generate` then stops at OPT's end token, which training teaches, and at BLIP-2's line break.

        Args:
            pretrained (`str`, `os.PathLike` or `Blip2ForConditionalGeneration`): Id on the Hub or folder, in
                safetensors, or the model itself, with which the new one then shares its weights.
            dtype (`torch.dtype` or `str`, *optional*, defaults to `"auto"`): Of a checkpoint that is read; `"auto"` is
                its own.
            revision (`str`, *optional*): Commit, for an id.
            kwargs (`Any`, *optional*): Fields of [`BLIP2IDCConfig`].

        Returns:
            `BLIP2IDCForConditionalGeneration`: In evaluation mode.

        Raises:
            ValueError: The checkpoint is another one (Flan-T5 among them), or a weight is missing, left over or of
                another shape; the error names it.

        Example:
        ```python
        >>> from ssgpa.baselines.blip2idc import BLIP2IDCForConditionalGeneration

        >>> model = BLIP2IDCForConditionalGeneration.from_blip2("Salesforce/blip2-opt-2.7b", dtype="bfloat16")
        ```
        """
        source = read_source(pretrained, Blip2ForConditionalGeneration, dtype, revision)
        config, weights = convert_blip2(source, **kwargs)
        model, report = cls.from_pretrained(
            None,
            config=config,
            state_dict=weights,
            # The queries, which come first, are kept in float32 beside fp16.
            dtype=source.language_model.dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        check_weights(report, type(source).__name__)
        text = config.text_config
        told = (text.eos_token_id, source.generation_config.eos_token_id, source.config.text_config.eos_token_id)
        ends = sorted({end for ids in told for end in _as_list(ids)})
        ids = {"bos_token_id": text.bos_token_id, "eos_token_id": ends, "pad_token_id": text.pad_token_id}
        model.generation_config.update(**ids, suppress_tokens=[config.image_token_id], **GENERATION)
        return model

    def get_output_embeddings(self) -> nn.Module:
        """The language modeling head."""
        return self.lm_head

    @auto_docstring
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | BaseModelOutputWithPooling:
        r"""Encode the concatenated images of each pair and summarize them by the queries.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`):
                Image before above image after, `pair_layout="vertical"` of the processor.
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
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BLIP2IDCCausalLMOutputWithPast:
        r"""Predict the caption, and its loss where labels are given.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Prompt with the placeholders of the pair, and the caption in training.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, num_channels, height, width)`, *optional*):
                Image before above image after, `pair_layout="vertical"` of the processor.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding; or with four dimensions, what is added to the scores.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Positions of the tokens.
            cache (`Cache`, *optional*):
                Keys and values of the tokens before.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, text_hidden_size)`, *optional*):
                Embeddings in place of `input_ids`.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                The caption's tokens and the end token; -100 elsewhere.
            logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
                Positions whose logits are computed, counted from the end; 0 for all. With `labels`, an integer; with
                `padded_length`, that many instead.
            mm_encoder_outputs (`dict[str, BaseModelOutputWithPooling]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of the images.
            use_cache (`bool`, *optional*):
                Return keys and values.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to OPT.

        Example:
        ```python
        >>> import ssgpa
        >>> from transformers import AutoModelForImageTextToText, AutoProcessor

        >>> processor = AutoProcessor.from_pretrained("runs/blip2idc_clevr/best")
        >>> model = AutoModelForImageTextToText.from_pretrained("runs/blip2idc_clevr/best")
        >>> inputs = processor(images=["before.png", "after.png"], return_tensors="pt")
        >>> ids = model.generate(**inputs, max_new_tokens=40)
        >>> processor.post_process_captions(ids, inputs)
        ```
        """
        learned, length = labels, self.config.padded_length
        # CODEPATH: the authors' adapters were trained with captions of 30 tokens, padding among them.
        if labels is not None and length is not None:
            if input_ids is None:
                raise ValueError("`padded_length` fills captions up and needs `input_ids`, not `inputs_embeds`.")
            end = self.config.text_config.eos_token_id
            input_ids, learned = pad_captions(input_ids, labels, attention_mask, length, end)
            attention_mask, position_ids, logits_to_keep = None, None, length
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            mm_encoder_outputs=mm_encoder_outputs,
            # Keys and values of a training step would be kept twice.
            use_cache=use_cache if labels is None else False,
            **{**kwargs, "return_dict": True},
        )
        hidden_states = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        # A slice does not lie in one piece, and a frozen head would be copied for each of its rows.
        logits = self.lm_head(hidden_states.contiguous())
        features = outputs.image_outputs
        image_outputs = None
        if features is not None:
            names = ("last_hidden_state", "pooler_output", "hidden_states", "attentions")
            image_outputs = BaseModelOutputWithPooling(**{name: features.get(name) for name in names})
        loss = None if labels is None else self._caption_loss(logits, labels, learned, **kwargs)
        return BLIP2IDCCausalLMOutputWithPast(
            loss=loss,
            loss_parts=None if loss is None else {"caption": loss},
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=features.pooler_output if features is not None else None,
            image_outputs=image_outputs,
            **{CACHE: outputs.get(CACHE)},
        )

    def _caption_loss(self, logits: Tensor, labels: Tensor, learned: Tensor, **kwargs: Any) -> Tensor:
        """Cross-entropy of what is learned: the labels, or what `padded_length` has made of them."""
        share = 1.0
        # CODEPATH: as in `forward`.
        if self.config.padded_length is not None:
            # A mean over padding too, of which the number of items in an accumulated batch does not know.
            total = kwargs.pop("num_items_in_batch", None)
            if total is not None:
                share = (labels[:, 1:] != IGNORED).sum() / torch.as_tensor(total, device=labels.device)
        loss = self.loss_function(
            logits=logits,
            labels=learned[:, -logits.shape[1] :],
            vocab_size=self.config.text_config.vocab_size,
            **kwargs,
        )
        return share * loss


def _as_list(ids: int | list[int] | None) -> list[int]:
    return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)


__all__ = ["BLIP2IDCForConditionalGeneration", "BLIP2IDCModel", "BLIP2IDCPreTrainedModel"]
