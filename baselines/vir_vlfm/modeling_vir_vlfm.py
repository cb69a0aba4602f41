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
"""VIR-VLFM: fused adapters in a frozen tower, a registration flow, and a frozen language model."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    AutoModel,
    Blip2ForConditionalGeneration,
    InstructBlipForConditionalGeneration,
    InstructBlipVisionConfig,
    InstructBlipVisionModel,
)
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.modeling_utils import PreTrainedModel, slice_logits_to_keep
from transformers.models.instructblip.modeling_instructblip import (
    InstructBlipEncoderLayer,
    InstructBlipQFormerConfig,
    InstructBlipQFormerModel,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, auto_docstring, can_return_tuple

from ...alignment_ssgpa import in_dtype_of
from ...compatibility_ssgpa import CACHE, renamed_cache
from ...conversion_ssgpa import TOKEN_IDS, read_source
from ...conversion_ssgpa import check_weights as check_report
from ...system_ssgpa import AuxiliaryFeatures, ChangeCaptioningModelMixin, Paper
from ...visual_prompt_ssgpa import VisualPromptMixin
from .configuration_vir_vlfm import VIRVLFMConfig
from .conversion_vir_vlfm import (
    END_SIGN_IDS,
    check_weights,
    convert_official,
    convert_source_config,
    convert_source_weights,
)


PAPER = Paper(
    title=(
        "Viewpoint Integration and Registration with Vision Language Foundation Model for Image Change Understanding"
    ),
    venue="arXiv 2023",
    relation=(
        "This is **an independent implementation over Transformers' InstructBLIP, BLIP-2 and Llama layers**; with the "
        "same weights it computes what the authors' code computes. The paper's scores are not reproduced by this "
        "checkpoint."
    ),
    bibtex="""\
@article{lu2023viewpoint,
  title   = {Viewpoint Integration and Registration with Vision Language Foundation Model for Image Change
             Understanding},
  author  = {Lu, Xiaonan and Yuan, Jianlong and Niu, Ruigang and Hu, Yuan and Wang, Fan},
  journal = {arXiv preprint arXiv:2309.08585},
  year    = {2023}
}""",
)
# What no InstructBLIP or BLIP-2 checkpoint holds.
NEW_PARTS = ("model.registration.", "model.emphasis.", "model.pair_projection.")
ADAPTERS = (".attention_adapter.", ".mlp_adapter.")

# AutoConfig knows this Q-Former, AutoModel does not.
AutoModel.register(InstructBlipQFormerConfig, InstructBlipQFormerModel, exist_ok=True)


@auto_docstring(custom_intro="Visual tokens of a pair, and how its images were registered.")
@dataclass
class VIRVLFMImageFeatures(BaseModelOutputWithPooling):
    r"""What `get_image_features` returns.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, 2, 1 + patches, hidden_size)`):
            Both images with the other one, registered, added.
        pooler_output (`torch.FloatTensor` of shape `(batch_size, visual_tokens, text_hidden_size)`):
            The visual tokens of each pair.
        flow (`torch.FloatTensor` of shape `(batch_size, 2, 2, rows, columns)`):
            Where each image is read from when it is added to the other: x and y, in units of half the image's width
            over the number of columns, and height over rows.
    """

    flow: torch.FloatTensor | None = None


@auto_docstring
@dataclass
class VIRVLFMModelOutputWithPast(BaseModelOutputWithPast):
    r"""What the model without a head returns.

    Args:
        image_outputs (`VIRVLFMImageFeatures`, *optional*):
            What `get_image_features` returned, where images were given.
    """

    image_outputs: VIRVLFMImageFeatures | None = None


@auto_docstring
@dataclass
class VIRVLFMCausalLMOutputWithPast(CausalLMOutputWithPast):
    r"""What the model with a head returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
            The caption's cross-entropy.
        loss_parts (`dict[str, torch.FloatTensor]`, *optional*, returned when `labels` is provided):
            The same by name.
        logits (`torch.FloatTensor` of shape `(batch_size, sequence_length, vocab_size)`):
            Prediction scores of the language modeling head.
        image_hidden_states (`torch.FloatTensor` of shape `(batch_size, visual_tokens, text_hidden_size)`, *optional*):
            The visual tokens of each pair.
        image_outputs (`BaseModelOutputWithPooling`, *optional*):
            Of the images: registered features as `last_hidden_state`, the visual tokens as `pooler_output`, and the
            tower's `hidden_states` and `attentions`, over all 2 x batch_size images, where asked for.
    """

    loss_parts: dict[str, torch.FloatTensor] | None = None
    image_hidden_states: torch.FloatTensor | None = None
    image_outputs: BaseModelOutputWithPooling | None = None


def as_pairs(images: Tensor) -> Tensor:
    """Images (2 x batch, ...) as pairs (batch, 2, ...)."""
    return images.unflatten(0, (-1, 2))


def mark_adapter(adapter: nn.Module) -> None:
    """Tell the layers of an adapter how they start: what is added is zero, so that the tower is as it was."""
    for name, layer in adapter.named_children():
        layer.starts_at_zero = name.startswith("up_proj")


class ImageAdapter(nn.Module):
    """A bottleneck that reads each image for itself: W2 GELU(W1 x)."""

    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.down_proj = nn.Linear(width, hidden_size)
        self.up_proj = nn.Linear(hidden_size, width)
        mark_adapter(self)

    def forward(self, images: Tensor) -> Tensor:
        """What is added to (2 x batch, tokens, width), the images of a pair one behind the other."""
        hidden_states = F.gelu(self.down_proj(in_dtype_of(self.down_proj, images)))
        return self.up_proj(hidden_states).to(images.dtype)


class FusedAdapter(nn.Module):
    """A bottleneck that reads both images at the same place: s = W3 [GELU(W1 x_1); GELU(W1 x_2)], then W2 s each."""

    def __init__(self, width: int, hidden_size: int) -> None:
        super().__init__()
        self.down_proj = nn.Linear(width, hidden_size)
        self.mix_proj = nn.Linear(2 * hidden_size, hidden_size)
        self.up_proj_before = nn.Linear(hidden_size, width)
        self.up_proj_after = nn.Linear(hidden_size, width)
        mark_adapter(self)

    def forward(self, images: Tensor) -> Tensor:
        """What is added to (2 x batch, tokens, width), the images of a pair one behind the other."""
        hidden_states = F.gelu(self.down_proj(in_dtype_of(self.down_proj, images)))
        mixed = self.mix_proj(as_pairs(hidden_states).transpose(1, 2).flatten(2))
        added = torch.stack([self.up_proj_before(mixed), self.up_proj_after(mixed)], 1)
        return added.flatten(0, 1).to(images.dtype)


class VIRVLFMVisionLayer(InstructBlipEncoderLayer):
    """A block of the tower with an adapter behind its attention and one beside its linear layers."""

    def __init__(self, vision_config: InstructBlipVisionConfig, config: VIRVLFMConfig, number: int) -> None:
        r"""Build the block and its adapters.

        Args:
            vision_config (`InstructBlipVisionConfig`):
                Of the tower.
            config (`VIRVLFMConfig`):
                Of the model.
            number (`int`):
                Of the block, from 1 on.
        """
        super().__init__(vision_config)
        # CODEPATH: in vir-vlfm-eva-vicuna7b every sixth block reads both images, the others read one.
        adapter = ImageAdapter if number % config.fusion_interval else FusedAdapter
        self.attention_adapter = adapter(vision_config.hidden_size, config.adapter_hidden_size)
        self.mlp_adapter = adapter(vision_config.hidden_size, config.adapter_hidden_size)
        self.adapter_scale = config.adapter_scale

    @auto_docstring
    def forward(self, hidden_states: Tensor, **kwargs: Unpack[TransformersKwargs]) -> Tensor:
        """Compute the states of the next block.

        Args:
            hidden_states (`torch.Tensor` of shape `(2 x batch, tokens, hidden_size)`): The images of a pair one behind
                the other.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the attention.
        """
        attended, _ = self.self_attn(hidden_states=self.layer_norm1(hidden_states), **kwargs)
        hidden_states = hidden_states + attended + self.attention_adapter(attended)
        normed = self.layer_norm2(hidden_states)
        return hidden_states + self.mlp(normed) + self.adapter_scale * self.mlp_adapter(normed)


@auto_docstring(custom_intro="EVA-ViT-g as in InstructBLIP, whose blocks have adapters that read pairs.")
class VIRVLFMVisionModel(InstructBlipVisionModel):
    """InstructBLIP's tower with adapters in its blocks."""

    def __init__(self, config: InstructBlipVisionConfig, model_config: VIRVLFMConfig) -> None:
        r"""Build the tower.

        Args:
            config (`InstructBlipVisionConfig`):
                Its sizes.
            model_config (`VIRVLFMConfig`):
                Of the model, for the adapters.
        """
        super().__init__(config)
        self.model_config = model_config
        numbers = range(1, config.num_hidden_layers + 1)
        self.encoder.layers = nn.ModuleList([VIRVLFMVisionLayer(config, model_config, number) for number in numbers])
        self.post_layernorm.eps = model_config.post_layernorm_eps
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        zero = getattr(module, "starts_at_zero", None)
        if zero is not None:
            init.zeros_(module.bias)
            if zero:
                init.zeros_(module.weight)
            else:
                init.trunc_normal_(module.weight, std=self.model_config.initializer_range)

    def forward(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> BaseModelOutput:
        """Encode both images of each pair, together in the blocks that are fused.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, 2, channels, height, width)`): The pairs.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the blocks.

        Returns:
            `BaseModelOutput`: `last_hidden_state` (batch, 2, 1 + patches, hidden_size), the class token first;
            `hidden_states` and `attentions` where asked for, over all 2 x batch images.

        Raises:
            ValueError: These are no pairs, not normalized, or images of another size.
        """
        if not pixel_values.is_floating_point():
            raise ValueError(f"VIR-VLFM reads normalized pixel_values, got {pixel_values.dtype}.")
        size = self.config.image_size
        if pixel_values.ndim != 5 or pixel_values.shape[1] != 2 or tuple(pixel_values.shape[3:]) != (size, size):
            raise ValueError(
                f"VIR-VLFM reads pixel_values of shape (batch, 2, channels, {size}, {size}), got "
                f"{tuple(pixel_values.shape)}: check `pair_layout` and the image processor's `size`."
            )
        outputs = super().forward(pixel_values.flatten(0, 1), return_dict=True, **kwargs)
        return BaseModelOutput(
            last_hidden_state=as_pairs(outputs.last_hidden_state),
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
        )


class ViewpointRegistrationFlow(nn.Module):
    """Each image gets the other one added, warped by a flow that is read off both."""

    def __init__(self, config: VIRVLFMConfig) -> None:
        super().__init__()
        width, reduced = config.vision_config.hidden_size, config.registration_hidden_size
        self.patch_grid = tuple(config.patch_grid)
        self.reduction_before = nn.Conv2d(width, reduced, kernel_size=1, bias=False)
        self.reduction_after = nn.Conv2d(width, reduced, kernel_size=1, bias=False)
        self.flow = nn.Conv2d(2 * reduced, 4, kernel_size=3, padding=1, bias=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Register both images of each pair with each other.

        Args:
            images (`torch.Tensor` of shape `(batch, 2, 1 + patches, width)`): The class token, which is left as it is,
                then the patches.

        Returns:
            `tuple`: The same shape, and the flow (batch, 2, 2, rows, columns) by which the image before and the image
            after were warped.
        """
        images = in_dtype_of(self.flow, images)
        maps = images[:, :, 1:].transpose(2, 3).unflatten(3, self.patch_grid)
        reduced = torch.cat([self.reduction_before(maps[:, 0]), self.reduction_after(maps[:, 1])], 1)
        flow = self.flow(reduced).unflatten(1, (2, 2))
        warped = warp(maps.flatten(0, 1), flow.flatten(0, 1))
        registered = maps + as_pairs(warped).flip(1)
        return torch.cat([images[:, :, :1], registered.flatten(3).transpose(2, 3)], 2), flow


def warp(maps: Tensor, flow: Tensor) -> Tensor:
    """Read maps where a flow points, bilinearly; beyond the edge lies nothing.

    Args:
        maps (`torch.Tensor` of shape `(batch, width, rows, columns)`): What is read.
        flow (`torch.Tensor` of shape `(batch, 2, rows, columns)`): x and y, added to each cell's own place. The map
            reaches from -1 to 1, and a flow of 1 is 1 / columns and 1 / rows of that: almost half a cell.

    Returns:
        `torch.Tensor` of shape `(batch, width, rows, columns)`: The warped maps.
    """
    rows, columns = maps.shape[2:]
    steps = [torch.linspace(-1.0, 1.0, size, device=maps.device, dtype=maps.dtype) for size in (rows, columns)]
    y, x = torch.meshgrid(*steps, indexing="ij")
    places = torch.stack([x, y], -1) + flow.permute(0, 2, 3, 1) / flow.new_tensor([columns, rows])
    return F.grid_sample(maps, places, align_corners=True)


class SemanticEmphasis(nn.Module):
    """Each image's queries, weighted channel by channel by what both images say."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, width)

    def forward(self, queries: Tensor) -> Tensor:
        """Map (batch, 2, queries, width) to (batch, queries, 2 x width), the image before first."""
        queries = in_dtype_of(self.gate, queries)
        weights = self.gate(torch.cat([queries, queries.flip(1)], -1)).sigmoid()
        return (weights * queries).transpose(1, 2).flatten(2)


@auto_docstring
class VIRVLFMPreTrainedModel(ChangeCaptioningModelMixin, PreTrainedModel):
    """What VIR-VLFM's models share: names for loading and parallelism, and the start of their own parameters."""

    config: VIRVLFMConfig
    auto_classes: ClassVar[dict[str, str]] = {"AutoModel": "VIRVLFMModel"}
    pretrained_modules: ClassVar[tuple[str, ...]] = ("model.language_model.", "model.qformer.", "model.vision_model.")
    paper: ClassVar[Paper] = PAPER
    card_tags: ClassVar[tuple[str, ...]] = ("vir-vlfm", "blip-2", "vicuna")
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = [
        "SemanticEmphasis",
        "VIRVLFMVisionLayer",
        "ViewpointRegistrationFlow",
    ]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values", "cache"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def get_auxiliary_features(self) -> AuxiliaryFeatures:
        """The patches behind the tower and behind the registration."""
        core = self.base_model
        return AuxiliaryFeatures(core.vision_model, core.registration, self.config.vision_config.hidden_size)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, VIRVLFMModel):
            init.normal_(module.query_tokens, std=self.config.initializer_range)
        elif getattr(module, "starts_as_in_torch", False):
            init.kaiming_uniform_(module.weight, a=sqrt(5))
            if module.bias is not None:
                init.uniform_(module.bias, -(module.in_features**-0.5), module.in_features**-0.5)


@auto_docstring(custom_intro="Tower with adapters, registration, Q-Former and language model, without a head.")
class VIRVLFMModel(VisualPromptMixin, VIRVLFMPreTrainedModel):
    """VIR-VLFM without a language modeling head."""

    def __init__(self, config: VIRVLFMConfig) -> None:
        super().__init__(config)
        width = config.qformer_config.hidden_size
        self.vision_model = VIRVLFMVisionModel(config.vision_config, config)
        self.registration = ViewpointRegistrationFlow(config)
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_query_tokens, width))
        self.qformer = AutoModel.from_config(config.qformer_config)
        self.emphasis = SemanticEmphasis(width)
        self.pair_projection = nn.Linear(2 * width, width)
        self.language_projection = nn.Linear(width, config.text_config.hidden_size)
        self.language_model = AutoModel.from_config(config.text_config)
        for part in (self.registration, self.emphasis, self.pair_projection, self.language_projection):
            for layer in part.modules():
                layer.starts_as_in_torch = isinstance(layer, nn.Conv2d | nn.Linear)
        self.post_init()

    def train(self, mode: bool = True) -> "VIRVLFMModel":
        """Keep a frozen Q-Former in evaluation mode, without dropout, as the released code does."""
        super().train(mode)
        self.qformer.train(mode and any(parameter.requires_grad for parameter in self.qformer.parameters()))
        return self

    def summarize(self, images: Tensor) -> Tensor:
        """Let the Q-Former read each image (batch, 2, tokens, width) for itself; (batch, 2, queries, width)."""
        images = images.flatten(0, 1)
        # No hook of a device map moves what this module itself owns.
        queries = self.query_tokens.to(images.device).expand(images.shape[0], -1, -1)
        text = {}
        # CODEPATH: InstructBLIP's Q-Former reads an instruction beside its queries, BLIP-2's does not.
        if self.config.qformer_config.model_type == "instructblip_qformer":
            ids = self.config.qformer_input_ids
            text["input_ids"] = (
                None if ids is None else torch.tensor([ids], device=images.device).expand(len(images), -1)
            )
        read = {"query_embeds": queries, "encoder_hidden_states": images}
        read = {name: states.to(self.qformer.dtype) for name, states in read.items()}
        return as_pairs(self.qformer(**read, **text).last_hidden_state[:, : queries.shape[1]])

    @can_return_tuple
    @auto_docstring(custom_intro="Encode, register, summarize and project the images of each pair.")
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | VIRVLFMImageFeatures:
        r"""Encode, register, summarize and project the images of each pair.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Image before and image after, `pair_layout="pair"` of the processor.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the tower.
        """
        encoded = self.vision_model(pixel_values, **kwargs)
        registered, flow = self.registration(encoded.last_hidden_state)
        emphasized = self.emphasis(self.summarize(registered))
        projected = self.pair_projection(in_dtype_of(self.pair_projection, emphasized))
        return VIRVLFMImageFeatures(
            last_hidden_state=registered,
            pooler_output=self.language_projection(in_dtype_of(self.language_projection, projected)),
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            flow=flow,
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
        mm_encoder_outputs: dict[str, VIRVLFMImageFeatures] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | VIRVLFMModelOutputWithPast:
        r"""Read prompts and pairs up to the last hidden states.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Prompt with the placeholders of the pair, and the caption in training.
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
            mm_encoder_outputs (`dict[str, VIRVLFMImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of `pixel_values`.
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
        return VIRVLFMModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_outputs=image_features,
            **{CACHE: outputs.get(CACHE)},
        )


@auto_docstring(custom_intro="VIR-VLFM with a language modeling head: two images in, a sentence about the change out.")
class VIRVLFMForConditionalGeneration(VIRVLFMPreTrainedModel, GenerationMixin):
    """VIR-VLFM with a language modeling head."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _tp_plan: ClassVar[dict[str, str]] = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: VIRVLFMConfig) -> None:
        super().__init__(config)
        self.model = VIRVLFMModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        # Language models keep their embeddings under names of their own.
        embeddings = self.get_input_embeddings().weight
        names = [name for name, weight in self.model.named_parameters() if weight is embeddings]
        self._tied_weights_keys = {"lm_head.weight": f"model.{names[0]}"}
        self.post_init()

    @classmethod
    def from_instructblip(
        cls,
        pretrained: str | os.PathLike | InstructBlipForConditionalGeneration,
        qformer_input_ids: list[int] | None = None,
        dtype: torch.dtype | str = "auto",
        revision: str | None = None,
        **kwargs: Any,
    ) -> "VIRVLFMForConditionalGeneration":
        r"""Start from an InstructBLIP checkpoint: tower, Q-Former, its projection and a language model that fit.

        Args:
            pretrained (`str`, `os.PathLike` or `InstructBlipForConditionalGeneration`): Id on the Hub or folder, in
                safetensors, or the model itself, with which the new one then shares its weights.
            qformer_input_ids (`list[int]`): The instruction that the Q-Former reads with every image.
            dtype (`torch.dtype` or `str`, *optional*, defaults to `"auto"`): Of a checkpoint that is read; `"auto"` is
                its own.
            revision (`str`, *optional*): Commit, for an id.
            kwargs (`Any`, *optional*): Fields of [`VIRVLFMConfig`].

        Returns:
            `VIRVLFMForConditionalGeneration`: In evaluation mode. Adapters add nothing before they are trained;
                registration, emphasis and the pair's projection are random.

        Raises:
            ValueError: The instruction is missing, the checkpoint is another one (Flan-T5 among them), or a weight is
                missing, left over or of another shape; the error names it.
        """
        if not qformer_input_ids:
            raise ValueError(
                "InstructBLIP's Q-Former reads an instruction: give `qformer_input_ids`, e.g. "
                '`InstructBlipProcessor.from_pretrained(...).qformer_tokenizer("describe the image in detail.")'
                ".input_ids`."
            )
        source = read_source(pretrained, InstructBlipForConditionalGeneration, dtype, revision)
        return cls._from_source(source, qformer_input_ids=qformer_input_ids, **kwargs)

    @classmethod
    def from_blip2(
        cls,
        pretrained: str | os.PathLike | Blip2ForConditionalGeneration,
        dtype: torch.dtype | str = "auto",
        revision: str | None = None,
        **kwargs: Any,
    ) -> "VIRVLFMForConditionalGeneration":
        r"""Start from a BLIP-2 checkpoint with OPT, as `from_instructblip` from an InstructBLIP one.

        Args:
            pretrained (`str`, `os.PathLike` or `Blip2ForConditionalGeneration`): Id on the Hub or folder, in
                safetensors, or the model itself, with which the new one then shares its weights.
            dtype (`torch.dtype` or `str`, *optional*, defaults to `"auto"`): Of a checkpoint that is read; `"auto"` is
                its own.
            revision (`str`, *optional*): Commit, for an id.
            kwargs (`Any`, *optional*): Fields of [`VIRVLFMConfig`].

        Returns:
            `VIRVLFMForConditionalGeneration`: In evaluation mode.

        Raises:
            ValueError: An instruction is given, the checkpoint is another one (Flan-T5 among them), or a weight is
                missing, left over or of another shape; the error names it.
        """
        if kwargs.get("qformer_input_ids") is not None:
            raise ValueError("BLIP-2's Q-Former reads no instruction: leave `qformer_input_ids` out.")
        return cls._from_source(read_source(pretrained, Blip2ForConditionalGeneration, dtype, revision), **kwargs)

    @classmethod
    def _from_source(cls, source: PreTrainedModel, **kwargs: Any) -> "VIRVLFMForConditionalGeneration":
        model, report = cls.from_pretrained(
            None,
            config=convert_source_config(source.config, **kwargs),
            state_dict=convert_source_weights(source),
            # The queries, which come first, are kept in float32 beside fp16.
            dtype=source.language_model.dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        new = tuple(key for key in report["missing_keys"] if any(part in key for part in ADAPTERS))
        check_report(report, type(source).__name__, NEW_PARTS + new)
        for name in TOKEN_IDS:
            setattr(model.generation_config, name, getattr(source.generation_config, name))
        return model

    @classmethod
    def from_official(
        cls,
        checkpoints: str | os.PathLike | Sequence[str | os.PathLike],
        language_model: str | os.PathLike | PreTrainedModel | None = None,
        dtype: torch.dtype = torch.float32,
        **kwargs: Any,
    ) -> "VIRVLFMForConditionalGeneration":
        r"""Read files of the authors' released code, with the settings under which it computes what it did.

        A checkpoint of theirs holds what was trained. What it was trained over lies in other files:

        - EVA-ViT-g, `eva_vit_g.pth`
        - the Q-Former with its queries and the norm behind the tower, `blip2_pretrained_flant5xxl.pth`
        - the language projection, `pretrained_minigpt4_7b.pth`; a checkpoint of theirs has its own
        - Vicuna-7B of version 0

        Without a checkpoint of theirs, the result is what their training starts from.

        Args:
            checkpoints (`str`, `os.PathLike` or a sequence of them): The files, read without running any code in them;
                of a weight that several hold, the last one counts.
            language_model (`str`, `os.PathLike` or `PreTrainedModel`, *optional*): Vicuna, by id or folder in
                safetensors or itself. Not needed where the files hold one, `llama_model.NAME` each.
            dtype (`torch.dtype`, *optional*, defaults to `torch.float32`): Of all weights.
            **kwargs (`Any`, *optional*): Fields of [`VIRVLFMConfig`]; they win. `image_token_id` is by default the
                last token of the language model, which in version 0 of Vicuna is one that no text holds.

        Returns:
            `VIRVLFMForConditionalGeneration`: In evaluation mode.

        Raises:
            ValueError: A file is none of them, or a weight is missing, left over or of another shape; the error names
                it.
        """
        config, weights = convert_official(checkpoints, language_model, **kwargs)
        with torch.device("meta"):
            wanted = cls(config).state_dict()
        check_weights(weights, wanted, str(checkpoints))
        model = cls.from_pretrained(None, config=config, state_dict=weights, dtype=dtype)
        text = config.text_config
        ends = text.eos_token_id if isinstance(text.eos_token_id, list) else [text.eos_token_id]
        # A new run learns to end captions by the end token.
        if text.vocab_size > max(END_SIGN_IDS) and any(name.startswith(NEW_PARTS) for name in weights):
            ends = [*ends, *END_SIGN_IDS]
        model.generation_config.update(
            pad_token_id=text.pad_token_id if text.pad_token_id is not None else ends[0],
            bos_token_id=text.bos_token_id,
            eos_token_id=ends,
            max_new_tokens=30,
            num_beams=5,
            suppress_tokens=[config.image_token_id],
        )
        return model

    def get_output_embeddings(self) -> nn.Module:
        """The language modeling head."""
        return self.lm_head

    @auto_docstring
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | VIRVLFMImageFeatures:
        r"""Encode, register, summarize and project the images of each pair.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Image before and image after, `pair_layout="pair"` of the processor.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the tower.
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
        mm_encoder_outputs: dict[str, VIRVLFMImageFeatures] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | VIRVLFMCausalLMOutputWithPast:
        r"""Predict the caption, and its loss where labels are given.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Prompt with the placeholders of the pair, and the caption in training.
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
            mm_encoder_outputs (`dict[str, VIRVLFMImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of `pixel_values`.
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
        features = outputs.image_outputs
        image_outputs = None
        if features is not None:
            # Those that Transformers' own models with images give.
            names = ("last_hidden_state", "pooler_output", "hidden_states", "attentions")
            image_outputs = BaseModelOutputWithPooling(**{name: features.get(name) for name in names})
        loss = None if labels is None else self.caption_loss(logits, labels, **kwargs)
        return VIRVLFMCausalLMOutputWithPast(
            loss=loss,
            loss_parts=None if loss is None else {"caption": loss},
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=features.pooler_output if features is not None else None,
            image_outputs=image_outputs,
            **{CACHE: outputs.get(CACHE)},
        )

    def caption_loss(
        self,
        logits: Tensor,
        labels: Tensor,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Cross-entropy of the captions.

        Args:
            logits (`torch.Tensor` of shape `(batch, kept, vocab_size)`): Predictions.
            labels (`torch.Tensor` of shape `(batch, sequence)`): The captions' tokens; -100 elsewhere.
            num_items_in_batch (`torch.Tensor` or `int`, *optional*): Labels of the batches that are accumulated.
            **kwargs (`Any`, *optional*): For Transformers' loss.

        Returns:
            `torch.Tensor`: A scalar.
        """
        labels = labels[:, -logits.shape[1] :].to(logits.device)  # all, or the last ones under `logits_to_keep`
        options = {"vocab_size": self.config.text_config.vocab_size, **kwargs}
        # CODEPATH: the released code averages each pair for itself.
        if not self.config.average_pairs:
            return self.loss_function(logits=logits, labels=labels, num_items_in_batch=num_items_in_batch, **options)
        counts = (labels[:, 1:] != -100).sum(1)
        pairs = [
            self.loss_function(logits=logits[[row]], labels=labels[[row]], num_items_in_batch=count, **options)
            for row, count in enumerate(counts.clamp_min(1))
        ]
        # Means shrink with the share of an accumulated batch, or accumulation would multiply them.
        share = 1.0 if num_items_in_batch is None else counts.sum() / num_items_in_batch
        return share * torch.stack(pairs).mean()


__all__ = ["VIRVLFMForConditionalGeneration", "VIRVLFMModel", "VIRVLFMPreTrainedModel"]
