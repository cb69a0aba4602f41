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
"""PyTorch CLIP4IDC model."""

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather
from transformers import CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPVisionConfig
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
from transformers.models.bert.modeling_bert import (
    BertConfig,
    BertLayer,
    BertPredictionHeadTransform,
    BertPreTrainedModel,
)
from transformers.models.clip.modeling_clip import (
    CLIPMLP,
    CLIPAttention,
    CLIPEncoder,
    CLIPPreTrainedModel,
    CLIPTextEmbeddings,
    CLIPVisionEmbeddings,
)
from transformers.processing_utils import Unpack
from transformers.utils import (
    ModelOutput,
    TransformersKwargs,
    auto_docstring,
    can_return_tuple,
    torch_compilable_check,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ...compatibility_ssgpa import CACHE, renamed_cache
from ...conversion_ssgpa import load_converted
from ...system_ssgpa import AuxiliaryFeatures, ChangeCaptioningModelMixin, Paper, first_output
from .configuration_clip4idc import CLIP4IDCConfig
from .conversion_clip4idc import convert_clip, convert_official


PAPER = Paper(
    title="CLIP4IDC: CLIP for Image Difference Captioning",
    venue="AACL-IJCNLP 2022",
    relation=(
        "This is **an independent implementation over Transformers' CLIP and BERT layers**; with the same weights it "
        "computes what the authors' code computes. The paper's scores are not reproduced by this checkpoint."
    ),
    bibtex="""\
@inproceedings{guo2022clip4idc,
  title     = {{CLIP4IDC}: {CLIP} for Image Difference Captioning},
  author    = {Guo, Zixin and Wang, Tzu-Jui Julius and Laaksonen, Jorma},
  booktitle = {Proceedings of the 2nd Conference of the Asia-Pacific Chapter of the Association for Computational
               Linguistics and the 12th International Joint Conference on Natural Language Processing},
  pages     = {33--42},
  year      = {2022}
}""",
)


@auto_docstring(custom_intro="A pair of images as the caption model reads it.")
@dataclass
class CLIP4IDCImageFeatures(BaseModelOutputWithPooling):
    r"""What `get_image_features` returns; there is no `pooler_output`.

    Args:
        memory_states (`tuple[torch.FloatTensor]`, each `(batch_size, 2 x tokens, projection_dim)`):
            What every layer of the caption model's encoder made of the pair.
    """

    memory_states: tuple[torch.FloatTensor, ...] | None = None


@auto_docstring
@dataclass
class CLIP4IDCModelOutput(BaseModelOutputWithPastAndCrossAttentions):
    r"""What the model without a head returns.

    Args:
        image_outputs (`BaseModelOutput`, *optional*):
            Of the tower: tokens of both images, `hidden_states` and `attentions` where asked for.
    """

    image_outputs: BaseModelOutput | None = None


@auto_docstring
@dataclass
class CLIP4IDCCausalLMOutput(CausalLMOutputWithCrossAttentions):
    r"""What the model with a head returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
            The caption's cross-entropy.
        loss_parts (`dict[str, torch.FloatTensor]`, *optional*, returned when `labels` is provided):
            The same by name, weight included.
        logits (`torch.FloatTensor` of shape `(batch_size, sequence_length, vocab_size)`):
            Prediction scores.
        image_outputs (`BaseModelOutput`, *optional*):
            Of the tower: tokens of both images, `hidden_states` and `attentions` where asked for.
    """

    loss_parts: dict[str, torch.FloatTensor] | None = None
    image_outputs: BaseModelOutput | None = None


@auto_docstring
@dataclass
class CLIP4IDCRetrievalOutput(ModelOutput):
    r"""What the model of stage 1 returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` or `return_loss` is given):
            The symmetric contrast over the batches of all processes.
        loss_parts (`dict[str, torch.FloatTensor]`, *optional*):
            None: there is one loss.
        logits_per_text (`torch.FloatTensor` of shape `(texts, pairs)`):
            Scaled cosines; in training on several processes, of all their texts and pairs.
        logits_per_pair (`torch.FloatTensor` of shape `(pairs, texts)`):
            The same, transposed.
        text_embeds (`torch.FloatTensor` of shape `(batch_size, projection_dim)`):
            Of length 1.
        pair_embeds (`torch.FloatTensor` of shape `(batch_size, projection_dim)`):
            Of length 1.
    """

    loss: torch.FloatTensor | None = None
    loss_parts: dict[str, torch.FloatTensor] | None = None
    logits_per_text: torch.FloatTensor | None = None
    logits_per_pair: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    pair_embeds: torch.FloatTensor | None = None


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


def init_clip_layers(tower: CLIPPreTrainedModel) -> None:
    """Give the layers of a tower CLIP's random weights.

    In models outside its own tree Transformers passes over modules without parameters of their own, as a layer's
    attention is, and its projections would keep what any linear layer gets.

    Args:
        tower (`CLIPPreTrainedModel`): Loaded weights are left as they are.
    """
    for module in tower.modules():
        if isinstance(module, (CLIPAttention, CLIPMLP)):
            CLIPPreTrainedModel._init_weights(tower, module)


@auto_docstring(custom_intro="CLIP's vision tower, whose last layers see both images.")
class CLIP4IDCVisionModel(CLIPPreTrainedModel):
    """CLIP's vision tower, whose last layers see both images."""

    config: CLIPVisionConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _input_embed_layer = "patch_embedding"

    def __init__(self, config: CLIPVisionConfig, num_intra_layers: int) -> None:
        r"""Build the layers of one tower.

        Args:
            config (`CLIPVisionConfig`):
                Its sizes.
            num_intra_layers (`int`):
                Layers that see one image.
        """
        super().__init__(config)
        self.num_intra_layers = num_intra_layers
        self.embeddings = CLIPVisionEmbeddings(config)
        # As Transformers spells it, so that CLIP's weights fit by name.
        self.pre_layrnorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.encoder = CLIPEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        # Which image a token is of, and where it stands among the tokens of both.
        self.pair_embedding = nn.Parameter(torch.empty(2, config.hidden_size))
        self.joint_position_embedding = nn.Parameter(
            torch.empty(2 * self.embeddings.num_positions, config.hidden_size)
        )
        self.mid_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, CLIP4IDCVisionModel):
            std = self.config.hidden_size**-0.5 * self.config.initializer_factor
            init.normal_(module.pair_embedding, std=std)
            init.normal_(module.joint_position_embedding, std=std)
            init_clip_layers(module)

    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    @auto_docstring
    def forward(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> BaseModelOutput:
        """Encode the images alone, then together.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, 2, channels, height, width)`): The pairs.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the layers.

        Returns:
            `BaseModelOutput`: `last_hidden_state` (batch, 2 x tokens, hidden_size), the tokens before, then
            those after, each with its class token first.

        Raises:
            ValueError: These are no pairs, or images of another size.
        """
        if pixel_values.dim() != 5 or pixel_values.shape[1] != 2:
            raise ValueError(
                "`pixel_values` must hold pairs, (batch, 2, channels, height, width), got "
                f"{tuple(pixel_values.shape)}."
            )
        hidden_states = self.pre_layrnorm(self.embeddings(pixel_values.flatten(0, 1)))
        for layer in self.encoder.layers[: self.num_intra_layers]:
            hidden_states = layer(hidden_states, None, **kwargs)
        pairs = hidden_states.unflatten(0, (-1, 2)) + self.pair_embedding.unsqueeze(1)
        hidden_states = self.mid_layernorm(pairs.flatten(1, 2) + self.joint_position_embedding)
        for layer in self.encoder.layers[self.num_intra_layers :]:
            hidden_states = layer(hidden_states, None, **kwargs)
        return BaseModelOutput(last_hidden_state=self.post_layernorm(hidden_states))


class CLIP4IDCTextTables(CLIPPreTrainedModel):
    """Token and position tables of CLIP's text tower, under the names that they have there."""

    config: CLIPTextConfig
    input_modalities = ("text",)
    _input_embed_layer = "token_embedding"

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__(config)
        self.embeddings = CLIPTextEmbeddings(config)
        self.post_init()

    @auto_docstring
    def forward(
        self, input_ids: Tensor | None, position_ids: Tensor | None, inputs_embeds: Tensor | None = None
    ) -> Tensor:
        """Embed a text.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, tokens)`, *optional*): The tokens.
            position_ids (`torch.Tensor` of shape `(batch, tokens)`, *optional*): Their positions.
            inputs_embeds (`torch.Tensor` of shape `(batch, tokens, hidden_size)`, *optional*): In place of the tokens.

        Raises:
            ValueError: A caption is longer than the table of positions.
        """
        table = self.embeddings.position_embedding
        if inputs_embeds is None:
            inputs_embeds = self.embeddings.token_embedding(input_ids)
        if position_ids.device.type != "meta":  # where sizes alone are known
            torch_compilable_check(
                (position_ids < table.num_embeddings).all(),
                f"A caption is longer than the table of {table.num_embeddings} positions (`max_position_embeddings`).",
            )
        # CLIP's own forward refuses long rows, though several captions in a row each begin with the first position.
        return inputs_embeds + table(position_ids)


class CLIP4IDCEncoder(BertPreTrainedModel):
    """The caption model's encoder, which reads the tokens of a pair."""

    _no_split_modules: ClassVar[list[str]] = ["BertLayer"]

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList([BertLayer(config, layer_idx=index) for index in range(config.num_hidden_layers)])
        self.post_init()

    @auto_docstring
    def forward(self, hidden_states: Tensor) -> tuple[Tensor, ...]:
        """Encode, and keep what each layer makes of the pair.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch, 2 x tokens, hidden_size)`): Projected tokens.
        """
        states = []
        for layer in self.layers:
            hidden_states = layer(hidden_states)
            states.append(hidden_states)
        return tuple(states)


class CLIP4IDCDecoder(BertPreTrainedModel):
    """The caption model's decoder, each layer of which attends to the encoder's layer of the same number."""

    _no_split_modules: ClassVar[list[str]] = ["BertLayer"]

    def __init__(self, config: BertConfig) -> None:
        super().__init__(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.layers = nn.ModuleList([BertLayer(config, layer_idx=index) for index in range(config.num_hidden_layers)])
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    @auto_docstring
    def forward(
        self,
        inputs_embeds: Tensor,
        memory_states: tuple[Tensor, ...],
        attention_mask: Tensor | None = None,
        decoded: EncoderDecoderCache | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPastAndCrossAttentions:
        """Read a caption beside its pair.

        Args:
            inputs_embeds (`torch.Tensor` of shape `(batch, tokens, hidden_size)`): The embedded caption.
            memory_states (`tuple[torch.Tensor]`): Of the encoder's layers.
            attention_mask (`torch.Tensor`, *optional*): 1 for tokens; or what is added to the scores.
            decoded (`EncoderDecoderCache`, *optional*): Keys and values of the tokens before, and of the pair.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the layers.
        """
        hidden_states = self.dropout(self.layernorm(inputs_embeds))
        mask = create_causal_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask, **{CACHE: decoded}
        )
        for layer, states in zip(self.layers, memory_states, strict=True):
            hidden_states = layer(hidden_states, mask, states, **{CACHE: decoded}, **kwargs)
        return BaseModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden_states)


class CLIP4IDCHead(nn.Module):
    """BERT's language modeling head over CLIP's token table."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.transform = BertPredictionHeadTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Score the vocabulary.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch, tokens, hidden_size)`): Of the decoder.
        """
        return self.decoder(self.transform(hidden_states))


@auto_docstring
class CLIP4IDCPreTrainedModel(ChangeCaptioningModelMixin, PreTrainedModel):
    """What all of CLIP4IDC's classes share."""

    config: CLIP4IDCConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    # Keys and values go as they are from step to step.
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values", "cache"]
    auto_classes: ClassVar[dict[str, str]] = {"AutoModel": "CLIP4IDCModel"}
    pretrained_modules: ClassVar[tuple[str, ...]] = (
        "model.vision_model.",
        "model.visual_projection.",
        "model.text_model.",
        "model.text_projection.",
    )
    language_modules: ClassVar[tuple[str, ...]] = ("model.encoder.", "model.decoder.")
    paper: ClassVar[Paper] = PAPER
    card_tags: ClassVar[tuple[str, ...]] = ("clip4idc", "clip")

    def get_auxiliary_features(self) -> AuxiliaryFeatures:
        """The patches before and behind the layers that see both images."""
        tower = self.base_model.vision_model
        shape = (-1, 2, self.config.image_positions, self.config.vision_config.hidden_size)
        alone = [tower.pre_layrnorm, *tower.encoder.layers][tower.num_intra_layers]
        return AuxiliaryFeatures(alone, tower, shape[-1], lambda output: first_output(output).reshape(shape))

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module in (getattr(self, "visual_projection", None), getattr(self, "text_projection", None)):
            init.normal_(module.weight, std=self.config.initializer_factor * module.in_features**-0.5)
        if isinstance(module, CLIP4IDCDualModel):
            init.constant_(module.logit_scale, self.config.logit_scale_init_value)
            init_clip_layers(module.text_model)

    @classmethod
    def from_clip(
        cls,
        pretrained: str | os.PathLike | CLIPModel,
        dtype: torch.dtype | str = torch.float32,
        revision: str | None = None,
        **kwargs: Any,
    ) -> "CLIP4IDCPreTrainedModel":
        r"""Start from a CLIP checkpoint.

        Both towers, their projections and the scale are taken over, each weight of them; what joins the images and
        the caption model are new. The captioner has CLIP's tables and no text tower.

        Args:
            pretrained (`str`, `os.PathLike` or `CLIPModel`): Id on the Hub or folder, in safetensors, or the model
                itself.
            dtype (`torch.dtype` or `str`, *optional*, defaults to float32): Of the model; `"auto"` is the
                checkpoint's own.
            revision (`str`, *optional*): Commit, for an id.
            kwargs (`Any`, *optional*): Fields of [`CLIP4IDCConfig`].

        Returns:
            `CLIP4IDCForPairTextRetrieval` or `CLIP4IDCForConditionalGeneration`: In evaluation mode.

        Raises:
            ValueError: The checkpoint is another one, or a weight is missing, left over or of another shape; the
                error names it.
        """
        config, weights, name = convert_clip(pretrained, revision, **kwargs)
        return cls._load_converted(config, weights, name, dtype, new=cls._new_in_clip)

    @classmethod
    def from_official(cls, path: str | os.PathLike, **kwargs: Any) -> "CLIP4IDCPreTrainedModel":
        r"""Import a checkpoint of the authors' code.

        Args:
            path (`str` or `os.PathLike`): Their `pytorch_model.bin.*`, of which tensors alone are read, or the same in
                safetensors.
            kwargs (`Any`, *optional*): Fields of [`CLIP4IDCConfig`] that no weight tells.

        Returns:
            `CLIP4IDCForPairTextRetrieval` or `CLIP4IDCForConditionalGeneration`: In evaluation mode and float32. A
            captioner that is read from a checkpoint of stage 1 has a new caption model.

        Raises:
            ValueError: A weight is missing, left over or of another shape; the error names it.
        """
        config, weights, has_captioner = convert_official(path, **kwargs)
        # Of stage 1, all but the caption model is there.
        new = () if has_captioner else cls._new_in_stage_1
        return cls._load_converted(config, weights, os.fspath(path), torch.float32, new=new)

    @classmethod
    def _load_converted(
        cls,
        config: CLIP4IDCConfig,
        weights: dict[str, Tensor],
        name: str,
        dtype: torch.dtype | str,
        new: tuple[str, ...],
    ) -> "CLIP4IDCPreTrainedModel":
        model = load_converted(cls, config, weights, name, dtype, new)
        if model.can_generate():
            # The released length; `generate` would stop at 20.
            model.generation_config.max_new_tokens = 32
        return model

    _new_in_clip: ClassVar[tuple[str, ...]] = (
        "model.vision_model.pair_embedding",
        "model.vision_model.joint_position_embedding",
        "model.vision_model.mid_layernorm.",
    )
    _new_in_stage_1: ClassVar[tuple[str, ...]] = ()


@auto_docstring(custom_intro="CLIP4IDC's tower and caption model without a head.")
class CLIP4IDCModel(CLIP4IDCPreTrainedModel):
    """Tower, encoder and decoder."""

    def __init__(self, config: CLIP4IDCConfig) -> None:
        super().__init__(config)
        self.vision_model = CLIP4IDCVisionModel._from_config(
            config.vision_config, num_intra_layers=config.num_intra_layers
        )
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)
        self.text_model = CLIP4IDCTextTables._from_config(config.text_config)
        self.encoder = CLIP4IDCEncoder._from_config(config.caption_config())
        self.decoder = CLIP4IDCDecoder._from_config(config.caption_config(is_decoder=True, add_cross_attention=True))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """CLIP's token table."""
        return self.text_model.embeddings.token_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace it.

        Args:
            value (`nn.Module`): The new one.
        """
        self.text_model.embeddings.token_embedding = value

    @can_return_tuple
    @auto_docstring
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | CLIP4IDCImageFeatures:
        r"""Encode pairs for the decoder.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Image before and image after.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the tower.
        """
        outputs = self.vision_model(pixel_values, **{**kwargs, "return_dict": True})
        return CLIP4IDCImageFeatures(
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            memory_states=self.encoder(self.visual_projection(outputs.last_hidden_state)),
        )

    def _with_images(self, cache: Cache | None) -> EncoderDecoderCache:
        """A cache of text with room for the images, or a new one where there is none or it has too few layers."""
        # `generate` counts the layers of the text tower, not the decoder's.
        is_short = isinstance(cache, DynamicCache) and 0 < len(cache.layers) < self.config.decoder_layers
        return EncoderDecoderCache(DynamicCache() if cache is None or is_short else cache, DynamicCache())

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
        mm_encoder_outputs: dict[str, CLIP4IDCImageFeatures] | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | CLIP4IDCModelOutput:
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
            mm_encoder_outputs (`dict[str, CLIP4IDCImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of the images.
            use_cache (`bool`, *optional*):
                Return keys and values.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the decoder.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        for name in ("output_attentions", "output_hidden_states"):
            # The caption model's parts have configurations of their own, which do not tell.
            if kwargs.get(name) is None:
                kwargs[name] = getattr(self.config, name, None)
        features = (mm_encoder_outputs or {}).get("image")
        if features is None:
            if pixel_values is None:
                raise ValueError("The decoder attends to images: give `pixel_values` or `mm_encoder_outputs`.")
            features = self.get_image_features(pixel_values, **{**kwargs, "return_dict": True})
        if (use_cache or cache is not None) and not isinstance(cache, EncoderDecoderCache):
            cache = self._with_images(cache)
        if position_ids is None:
            text = input_ids if inputs_embeds is None else inputs_embeds
            position_ids = positions(text, attention_mask, cache.get_seq_length() if cache is not None else 0)
        embeds = self.text_model(input_ids, position_ids, inputs_embeds)
        if attention_mask is not None and attention_mask.is_floating_point():
            attention_mask = attention_mask.to(embeds.dtype)
        memory = features.memory_states
        copies = len(embeds) // len(memory[0])
        # Beams and samples of a pair read the same; once their keys and values are kept, nothing of it is read again.
        if copies > 1 and not (isinstance(cache, EncoderDecoderCache) and cache.is_updated.get(0)):
            memory = tuple(states.repeat_interleave(copies, 0) for states in memory)
        outputs = self.decoder(embeds, memory, attention_mask, cache, **{**kwargs, "return_dict": True})
        return CLIP4IDCModelOutput(
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


@auto_docstring(custom_intro="CLIP4IDC's stage 2: two images in, a sentence about the change out.")
class CLIP4IDCForConditionalGeneration(CLIP4IDCPreTrainedModel, GenerationMixin):
    """CLIP4IDC with a language modeling head; starts from a checkpoint of stage 1 by `from_pretrained`."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {
        "lm_head.decoder.weight": "model.text_model.embeddings.token_embedding.weight"
    }
    # Of stage 1: the caption model has the text tower's tables alone.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [
        r"text_model\.(encoder|final_layer_norm)\.",
        r"text_projection\.",
        r"logit_scale",
    ]
    _new_in_stage_1: ClassVar[tuple[str, ...]] = ("model.encoder.", "model.decoder.", "lm_head.")
    _new_in_clip: ClassVar[tuple[str, ...]] = (*CLIP4IDCPreTrainedModel._new_in_clip, *_new_in_stage_1)

    def __init__(self, config: CLIP4IDCConfig) -> None:
        super().__init__(config)
        self.model = CLIP4IDCModel(config)
        self.lm_head = CLIP4IDCHead(config.caption_config())
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        """The part of the head that has the token table's weights."""
        return self.lm_head.decoder

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace it.

        Args:
            new_embeddings (`nn.Module`): The new one.
        """
        self.lm_head.decoder = new_embeddings

    @auto_docstring
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | CLIP4IDCImageFeatures:
        r"""Encode pairs for the decoder.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Image before and image after.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the tower.
        """
        return self.model.get_image_features(pixel_values, **kwargs)

    def prepare_inputs_for_generation(
        self, *args: Any, mm_encoder_outputs: dict[str, Any] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Keep the encoded images, which a stock step beyond the first leaves out.

        Args:
            *args (`Any`): As in Transformers.
            mm_encoder_outputs (`dict[str, CLIP4IDCImageFeatures]`, *optional*): The encoded images.
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
        mm_encoder_outputs: dict[str, CLIP4IDCImageFeatures] | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | CLIP4IDCCausalLMOutput:
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
            mm_encoder_outputs (`dict[str, CLIP4IDCImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of the images.
            use_cache (`bool`, *optional*):
                Return keys and values.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the decoder.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            mm_encoder_outputs=mm_encoder_outputs,
            use_cache=use_cache and labels is None,
            **{**kwargs, "return_dict": True},
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.config.caption_weight * self.loss_function(
                logits=logits,
                labels=labels[:, -logits.shape[1] :],
                vocab_size=self.config.text_config.vocab_size,
                **kwargs,
            )
        return CLIP4IDCCausalLMOutput(
            loss=loss,
            loss_parts=None if loss is None else {"caption": loss},
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
            image_outputs=outputs.image_outputs,
            **{CACHE: outputs.get(CACHE)},
        )


@auto_docstring(custom_intro="The pair's tower beside CLIP's text tower.")
class CLIP4IDCDualModel(CLIP4IDCPreTrainedModel):
    """The pair's tower beside CLIP's text tower."""

    def __init__(self, config: CLIP4IDCConfig) -> None:
        super().__init__(config)
        self.vision_model = CLIP4IDCVisionModel._from_config(
            config.vision_config, num_intra_layers=config.num_intra_layers
        )
        self.visual_projection = nn.Linear(config.vision_config.hidden_size, config.projection_dim, bias=False)
        self.text_model = CLIPTextModel._from_config(config.text_config)
        self.text_projection = nn.Linear(config.text_config.hidden_size, config.projection_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.empty([]))
        self.post_init()

    @can_return_tuple
    @auto_docstring
    def get_pair_features(
        self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | BaseModelOutputWithPooling:
        """Embed pairs as the contrast reads them.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, 2, channels, height, width)`): The pairs.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the tower.

        Returns:
            `BaseModelOutputWithPooling`: The tower's, with `pooler_output` (batch, projection_dim), the mean of both
            class tokens behind the projection.
        """
        outputs = self.vision_model(pixel_values, **{**kwargs, "return_dict": True})
        # Class tokens stand in front of the patches of their image, whatever their number.
        classes = outputs.last_hidden_state[:, :: self.config.image_positions]
        return BaseModelOutputWithPooling(**outputs, pooler_output=self.visual_projection(classes).mean(1))

    @can_return_tuple
    @auto_docstring
    def get_text_features(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        """Embed captions as the contrast reads them.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, tokens)`): Start token, words and end token.
            attention_mask (`torch.Tensor` of shape `(batch, tokens)`, *optional*): 1 for tokens, 0 for padding.
            position_ids (`torch.Tensor` of shape `(batch, tokens)`, *optional*): Positions of the tokens.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the tower.

        Returns:
            `BaseModelOutputWithPooling`: The tower's, with `pooler_output` (batch, projection_dim), of the first end
            token.
        """
        if position_ids is None:
            position_ids = positions(input_ids, attention_mask)
        outputs = self.text_model(input_ids, attention_mask, position_ids, **{**kwargs, "return_dict": True})
        states = outputs.last_hidden_state
        # CLIPTextModel takes the largest id where the end token's is 2, which is that of many a small vocabulary.
        ends = input_ids == self.config.text_config.eos_token_id
        if attention_mask is not None:
            # The end token may pad as well.
            ends = ends & attention_mask.bool()
        torch_compilable_check(ends.any(-1).all(), "A text has no end token, from which its features are read.")
        ends = ends.int().argmax(-1)
        outputs.pooler_output = self.text_projection(states[torch.arange(len(states), device=states.device), ends])
        return outputs


@auto_docstring(custom_intro="CLIP4IDC's stage 1: pairs of images and captions find each other.")
class CLIP4IDCForPairTextRetrieval(CLIP4IDCPreTrainedModel):
    """Adapts CLIP to pairs before it captions them; retrieves captions by pairs and pairs by captions."""

    auto_classes: ClassVar[dict[str, str]] = {}
    # Its loss is a mean over pairs, whatever the number of tokens.
    accepts_loss_kwargs = False
    # Of stage 2.
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"^(model\.)?(encoder|decoder)\.", r"^lm_head\."]

    def __init__(self, config: CLIP4IDCConfig) -> None:
        super().__init__(config)
        self.model = CLIP4IDCDualModel(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """CLIP's token table."""
        return self.model.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace it.

        Args:
            value (`nn.Module`): The new one.
        """
        self.model.text_model.set_input_embeddings(value)

    @auto_docstring
    def get_pair_features(
        self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | BaseModelOutputWithPooling:
        """Embed pairs.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, 2, channels, height, width)`): The pairs.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the tower.

        Returns:
            `BaseModelOutputWithPooling`: With `pooler_output` (batch, projection_dim).
        """
        return self.model.get_pair_features(pixel_values, **kwargs)

    @auto_docstring
    def get_text_features(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | BaseModelOutputWithPooling:
        """Embed captions.

        Args:
            input_ids (`torch.Tensor` of shape `(batch, tokens)`): Start token, words and end token.
            attention_mask (`torch.Tensor` of shape `(batch, tokens)`, *optional*): 1 for tokens, 0 for padding.
            position_ids (`torch.Tensor` of shape `(batch, tokens)`, *optional*): Positions of the tokens.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the tower.

        Returns:
            `BaseModelOutputWithPooling`: With `pooler_output` (batch, projection_dim).
        """
        return self.model.get_text_features(input_ids, attention_mask, position_ids, **kwargs)

    @can_return_tuple
    @auto_docstring
    def forward(
        self,
        input_ids: torch.LongTensor,
        pixel_values: torch.FloatTensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        return_loss: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | CLIP4IDCRetrievalOutput:
        r"""Compare captions with pairs, and contrast them where a loss is asked for.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`):
                Start token, caption and end token; row by row of the pairs.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Image before and image after.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Positions of the tokens.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Not read; where a collator gives them, the loss is wanted.
            return_loss (`bool`, *optional*):
                Compute the loss without labels.
            kwargs (`TransformersKwargs`, *optional*):
                Not used.
        """
        if attention_mask is not None and attention_mask.dim() != 2:
            raise ValueError("The contrast takes one caption a pair: set `captions_per_pair` to 1.")
        text = self.get_text_features(input_ids, attention_mask, position_ids, return_dict=True)
        pair = self.get_pair_features(pixel_values, return_dict=True)
        text_embeds, pair_embeds = (nn.functional.normalize(one.pooler_output, dim=-1) for one in (text, pair))
        texts, pairs = text_embeds, pair_embeds
        if self.training and dist.is_initialized() and dist.get_world_size() > 1:
            # With gradients to all processes, whose mean is then that of one large batch.
            texts, pairs = (torch.cat(all_gather(embeds.contiguous())) for embeds in (texts, pairs))
        logits = self._scale() * texts @ pairs.T
        loss = None
        if return_loss or labels is not None:
            targets = torch.arange(len(logits), device=logits.device)
            loss = sum(nn.functional.cross_entropy(scores, targets) for scores in (logits, logits.T)) / 2
        return CLIP4IDCRetrievalOutput(
            loss=loss,
            logits_per_text=logits,
            logits_per_pair=logits.T,
            text_embeds=text_embeds,
            pair_embeds=pair_embeds,
        )

    def _scale(self) -> Tensor:
        """The contrast's scale, bounded in value and not in gradient, so that it can come back from its bound."""
        scale = self.model.logit_scale
        return (scale - (scale - self.config.max_logit_scale).clamp(min=0).detach()).exp()


__all__ = [
    "CLIP4IDCForConditionalGeneration",
    "CLIP4IDCForPairTextRetrieval",
    "CLIP4IDCModel",
    "CLIP4IDCPreTrainedModel",
]
