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
"""PyTorch SSGPA model."""

import os
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
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
from transformers.models.blip_2.modeling_blip_2 import Blip2VisionConfig, Blip2VisionModel
from transformers.models.instructblip.modeling_instructblip import InstructBlipQFormerConfig, InstructBlipQFormerModel
from transformers.processing_utils import Unpack
from transformers.utils import (
    ModelOutput,
    TransformersKwargs,
    auto_docstring,
    can_return_tuple,
)

from .alignment_ssgpa import (
    ChangeEvidence,
    ChangeFusionAdapter,
    GlobalPartTransportAlignment,
    PartMatching,
    in_dtype_of,
)
from .change_modules_ssgpa import ChangeModulesMixin, check_pairs
from .compatibility_ssgpa import CACHE, renamed_cache
from .configuration_ssgpa import SSGPAConfig
from .conversion_ssgpa import (
    FORMER_NAMES,
    NEW_PARTS,
    TOKEN_IDS,
    check_weights,
    convert_config,
    convert_weights,
    read_source,
)
from .system_ssgpa import AuxiliaryFeatures, FreezableTower, Paper
from .transport_ssgpa import log_sinkhorn
from .visual_prompt_ssgpa import VisualPromptMixin
from .warp_ssgpa import WarpedPairs, warped_pairs


PAPER = Paper(
    title="Revisiting Change Captioning from Self-supervised Global-Part Alignment",
    venue="AAAI 2025",
    relation=(
        "This is **an independent implementation, not the authors' code**. It is written from the abstract and the "
        "published claims; details that those do not give are our own design. The paper's scores are not reproduced "
        "by this checkpoint."
    ),
    bibtex="""\
@inproceedings{lv2025revisiting,
  title     = {Revisiting Change Captioning from Self-supervised Global-Part Alignment},
  author    = {Lv, Feixiao and Wang, Rui and Jing, Lihua},
  booktitle = {Proceedings of the AAAI Conference on Artificial Intelligence},
  volume    = {39},
  number    = {6},
  pages     = {5892--5900},
  year      = {2025}
}""",
)

# AutoConfig knows these towers, AutoModel does not.
AutoModel.register(InstructBlipVisionConfig, InstructBlipVisionModel, exist_ok=True)
AutoModel.register(Blip2VisionConfig, Blip2VisionModel, exist_ok=True)
AutoModel.register(InstructBlipQFormerConfig, InstructBlipQFormerModel, exist_ok=True)


@auto_docstring(custom_intro="Visual tokens of a pair and the evidence they rest on.")
@dataclass
class SSGPAImageFeatures(BaseModelOutputWithPooling):
    r"""What `get_image_features` returns.

    Args:
        pooler_output (`torch.FloatTensor` of shape `(batch_size, visual_tokens, text_hidden_size)`):
            One entry a pair: the tokens of the image before, then those of the image after.
        evidence (`ChangeEvidence`):
            The alignment's outputs.
        matching (`PartMatching`):
            What the losses read of the alignment.
        warped_matching (`PartMatching`, *optional*):
            The same of the warped pairs, where there are any.
        fusion_gate (`torch.FloatTensor`, *optional*):
            Mean of the adapter's similarity gates.
    """

    evidence: ChangeEvidence | None = None
    matching: PartMatching | None = None
    warped_matching: PartMatching | None = None
    fusion_gate: torch.FloatTensor | None = None


@auto_docstring
@dataclass
class SSGPAModelOutputWithPast(BaseModelOutputWithPast):
    r"""What the model without a head returns.

    Args:
        image_outputs (`SSGPAImageFeatures`, *optional*):
            What `get_image_features` returned, where images were given.
    """

    image_outputs: SSGPAImageFeatures | None = None


@auto_docstring
@dataclass
class SSGPACausalLMOutputWithPast(CausalLMOutputWithPast):
    r"""What the model with a head returns.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*, returned when `labels` is provided):
            Weighted sum of the losses.
        loss_parts (`dict[str, torch.FloatTensor]`, *optional*, returned when `labels` is provided):
            The scalars that were added up to `loss`, weights included.
        logits (`torch.FloatTensor` of shape `(batch_size, sequence_length, vocab_size)`):
            Prediction scores of the language modeling head.
        image_hidden_states (`torch.FloatTensor` of shape `(batch_size, visual_tokens, text_hidden_size)`, *optional*):
            The visual tokens of each pair.
        image_outputs (`BaseModelOutputWithPooling`, *optional*):
            Of the images: aligned features of the tower as `last_hidden_state`, the visual tokens as `pooler_output`,
            and the tower's `hidden_states` and `attentions`, over all 2 x batch_size images, where asked for.
        evidence (`ChangeEvidence`, *optional*, returned when `output_evidence=True`):
            The alignment's outputs.
        fusion_gate (`torch.FloatTensor`, *optional*):
            Mean of the adapter's similarity gates; near 0 or 1 it gates nothing.
    """

    loss_parts: dict[str, torch.FloatTensor] | None = None
    image_hidden_states: torch.FloatTensor | None = None
    image_outputs: BaseModelOutputWithPooling | None = None
    evidence: ChangeEvidence | None = None
    fusion_gate: torch.FloatTensor | None = None


class SSGPAVisionTower(FreezableTower):
    """A vision tower and what turns its output into one global token and a grid of patches.

    This is the one place that tells a tower of tokens from a tower of maps.
    """

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__()
        self.num_patches = config.num_patches
        self.patch_grid = tuple(config.patch_grid)
        # CODEPATH: ResNet towers (ssgpa-clevr-tiny, ssgpa-resnet101-vicuna7b) return maps, of several widths,
        # and have no attention whose implementation could be chosen.
        self.returns_maps = getattr(config.vision_config, "hidden_size", None) is None
        attention = {"attn_implementation": "eager"} if self.returns_maps else {}
        self.tower = AutoModel.from_config(config.vision_config, **attention)
        if self.returns_maps:
            channels = config.vision_config.hidden_sizes[-1]
            self.patch_projection = nn.Conv2d(channels, config.patch_hidden_size, kernel_size=1)
            self.position_embeddings = nn.Parameter(torch.empty(1, config.num_patches, config.patch_hidden_size))
            self.global_token = nn.Parameter(torch.empty(1, 1, config.patch_hidden_size))

    @property
    def inner(self) -> nn.Module:
        """The tower of Transformers."""
        return self.tower

    def forward(self, pixel_values: Tensor, **kwargs: Unpack[TransformersKwargs]) -> BaseModelOutput:
        """Encode both images of each pair.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, 2, channels, height, width)`): The pairs.
            **kwargs (`Unpack[TransformersKwargs]`, *optional*): Passed on to the tower.

        Returns:
            `BaseModelOutput`: `last_hidden_state` (batch, 2, 1 + patches, patch_hidden_size), the global token, then
            the patches; `hidden_states` and `attentions` of the tower where asked for, over all 2 x batch images.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains):
            outputs = self.tower(self._images(pixel_values).to(self.tower.dtype), return_dict=True, **kwargs)
        hidden_states = outputs.last_hidden_state
        tokens = self._tokens_of_maps(hidden_states) if self.returns_maps else self._tokens_of_sequence(hidden_states)
        return BaseModelOutput(
            last_hidden_state=tokens.unflatten(0, (-1, 2)),
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
        )

    def _images(self, pixel_values: Tensor) -> Tensor:
        images = pixel_values.flatten(0, 1)
        # Convolutions and batch norms run half as fast again on channels-last maps.
        return images.contiguous(memory_format=torch.channels_last) if self.returns_maps else images

    def _tokens_of_maps(self, maps: Tensor) -> Tensor:
        if tuple(maps.shape[2:]) != self.patch_grid:
            raise ValueError(
                f"The vision tower made a grid of {tuple(maps.shape[2:])} patches, `patch_grid` says "
                f"{self.patch_grid}: the images' size does not fit the configuration."
            )
        patches = self.patch_projection(in_dtype_of(self.patch_projection, maps)).flatten(2).transpose(1, 2)
        # No hook of a device map moves what this module itself owns.
        patches = patches + self.position_embeddings.to(patches.device)
        return torch.cat([self.global_token.expand(patches.shape[0], -1, -1).to(patches), patches], 1)

    def _tokens_of_sequence(self, sequence: Tensor) -> Tensor:
        prefix = sequence.shape[1] - self.num_patches
        if prefix < 0:
            raise ValueError(
                f"The vision tower made {sequence.shape[1]} tokens, fewer than the {self.num_patches} of `patch_grid`."
            )
        patches = sequence[:, prefix:]
        global_token = sequence[:, :1] if prefix else patches.mean(1, keepdim=True)
        return torch.cat([global_token, patches], 1)


class SSGPALinearConnector(nn.Module):
    """All tokens of both images, through one linear layer."""

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.patch_hidden_size, eps=config.layer_norm_eps)
        self.language_projection = nn.Linear(config.patch_hidden_size, config.text_config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (batch, 2, 1 + patches, width) to (batch, 2 + 2 patches, text width)."""
        normed = self.norm(in_dtype_of(self.norm, hidden_states))
        return self.language_projection(in_dtype_of(self.language_projection, normed)).flatten(1, 2)


class SSGPAQFormerConnector(nn.Module):
    """A Q-Former that reads each image, and the projected global token in front of its queries."""

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__()
        width = config.qformer_config.hidden_size
        self.instruction = config.qformer_input_ids
        self.query_tokens = nn.Parameter(torch.empty(1, config.num_query_tokens, width))
        self.qformer = AutoModel.from_config(config.qformer_config)
        self.language_projection = nn.Linear(width, config.text_config.hidden_size)
        self.global_projection = nn.Linear(config.patch_hidden_size, config.text_config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """Map (batch, 2, 1 + patches, width) to (batch, 2 + 2 queries, text width)."""
        images = hidden_states.flatten(0, 1)
        queries = self.query_tokens.expand(images.shape[0], -1, -1)
        text = {}
        # CODEPATH: InstructBLIP's Q-Former reads an instruction beside its queries, BLIP-2's does not.
        if self.instruction is not None:
            ids = torch.tensor(self.instruction, device=images.device)
            text["input_ids"] = ids.expand(images.shape[0], -1)
        read = {"query_embeds": queries, "encoder_hidden_states": images}
        read = {name: states.to(self.qformer.dtype) for name, states in read.items()}
        output = self.qformer(**read, **text).last_hidden_state[:, : queries.shape[1]]
        summary = self.language_projection(in_dtype_of(self.language_projection, output))
        global_token = self.global_projection(in_dtype_of(self.global_projection, images[:, :1]))
        tokens = torch.cat([global_token, summary.to(global_token.dtype)], 1)
        return tokens.unflatten(0, (-1, 2)).flatten(1, 2)


def rows(output: ModelOutput, kept: slice) -> ModelOutput:
    """The same output of some of the batch's rows."""
    return type(output)(**{name: value[kept] for name, value in output.items()})


@auto_docstring
class SSGPAPreTrainedModel(ChangeModulesMixin, PreTrainedModel):
    """What SSGPA's models share: names for loading and parallelism, and the initialization of their own parameters."""

    config: SSGPAConfig
    auto_classes: ClassVar[dict[str, str]] = {"AutoModel": "SSGPAModel"}
    former_names: ClassVar[dict[str, str]] = FORMER_NAMES
    pretrained_modules: ClassVar[tuple[str, ...]] = (
        "model.language_model.",
        "model.connector.qformer.",
        "model.vision_tower.tower.",
    )
    paper: ClassVar[Paper] = PAPER
    card_tags: ClassVar[tuple[str, ...]] = ("optimal-transport", "ssgpa")
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = [
        "ChangeFusionAdapterLayer",
        "GlobalPartTransportAlignment",
        "SSGPAQFormerConnector",
    ]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values", "cache"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def set_attn_implementation(self, attn_implementation: str | dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Set the attention of all parts that have one.

        Args:
            attn_implementation (`str` or `dict`): As for every model of Transformers.
            *args (`Any`): As there.
            **kwargs (`Any`, *optional*): As there.
        """
        # CODEPATH: ResNet towers (ssgpa-clevr-tiny, ssgpa-resnet101-vicuna7b) have no attention and refuse to set one.
        if isinstance(attn_implementation, str) and getattr(self.config.vision_config, "hidden_size", None) is None:
            parts = dict.fromkeys(["", *self.config.sub_configs], attn_implementation)
            attn_implementation = parts | {"vision_config": "eager"}
        super().set_attn_implementation(attn_implementation, *args, **kwargs)

    def get_vision_encoder(self) -> nn.Module:
        """The vision tower with its projection."""
        return self.base_model.vision_tower

    def get_auxiliary_features(self) -> AuxiliaryFeatures:
        """The patches before the adapter and behind the alignment."""
        core = self.base_model
        return AuxiliaryFeatures(core.vision_tower, core.alignment, self.config.patch_hidden_size)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, SSGPAVisionTower) and module.returns_maps:
            init.normal_(module.position_embeddings, std=std)
            init.normal_(module.global_token, std=std)
        elif isinstance(module, SSGPAQFormerConnector):
            init.normal_(module.query_tokens, std=std)
        else:
            self.init_change_modules(module)


@auto_docstring(custom_intro="Vision tower, adapter, alignment, connector and language model, without a head.")
class SSGPAModel(VisualPromptMixin, SSGPAPreTrainedModel):
    """SSGPA without a language modeling head."""

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__(config)
        self.vision_tower = SSGPAVisionTower(config)
        self.change_fusion_adapter = ChangeFusionAdapter(config)
        self.alignment = GlobalPartTransportAlignment(config)
        # CODEPATH: ssgpa-eva-vicuna7b has a Q-Former, ssgpa-resnet101-vicuna7b and ssgpa-clevr-tiny have none.
        connector = SSGPALinearConnector if config.qformer_config is None else SSGPAQFormerConnector
        self.connector = connector(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    @can_return_tuple
    @auto_docstring(custom_intro="Encode, fuse, align and project the images of each pair.")
    def get_image_features(
        self,
        pixel_values: torch.FloatTensor | None = None,
        vision_features: torch.FloatTensor | None = None,
        warped_pixel_values: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | SSGPAImageFeatures:
        r"""Encode, fuse, align and project the images of each pair.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after, `pair_layout="pair"` of the processor.
            vision_features (`torch.FloatTensor` of shape `(batch_size, 2, 1 + patches, hidden_size)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            warped_pixel_values (`torch.FloatTensor` of shape `(pairs, 2, num_channels, height, width)`, *optional*):
                Images beside their warps. They go the way of the pairs in `pixel_values`, behind them in one batch,
                as far as the alignment.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the vision tower.
        """
        if (pixel_values is None) == (vision_features is None):
            raise ValueError("Give either `pixel_values` or `vision_features`.")
        encoded = BaseModelOutput(last_hidden_state=vision_features)
        if vision_features is None:
            check_pairs(pixel_values)
            # One batch, so that a trained tower's batch norms see, and average, one set of images a step.
            images = pixel_values if warped_pixel_values is None else torch.cat([pixel_values, warped_pixel_values])
            encoded = self.vision_tower(images, **kwargs)
        fused, gates = self.change_fusion_adapter(encoded.last_hidden_state)
        aligned, evidence, matching = self.alignment(fused)
        warped_matching = None
        if warped_pixel_values is not None:
            own, further = slice(len(pixel_values)), slice(len(pixel_values), None)
            warped_matching, matching, evidence = rows(matching, further), rows(matching, own), rows(evidence, own)
            aligned, gates = aligned[own], None if gates is None else gates[own]
        return SSGPAImageFeatures(
            last_hidden_state=aligned,
            pooler_output=self.connector(aligned),
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            evidence=evidence,
            matching=matching,
            warped_matching=warped_matching,
            fusion_gate=None if gates is None else gates.mean(),
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
        mm_encoder_outputs: dict[str, SSGPAImageFeatures] | None = None,
        warped_pixel_values: torch.FloatTensor | None = None,
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
            vision_features (`torch.FloatTensor` of shape `(batch_size, 2, 1 + patches, hidden_size)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            mm_encoder_outputs (`dict[str, SSGPAImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of both.
            warped_pixel_values (`torch.FloatTensor` of shape `(pairs, 2, num_channels, height, width)`, *optional*):
                Images beside their warps, encoded with `pixel_values`; see `get_image_features`.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the language model.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        image_features = (mm_encoder_outputs or {}).get("image")
        if image_features is not None and pixel_values is not None:
            raise ValueError("You cannot specify both pixel_values and mm_encoder_outputs at the same time")
        if image_features is None and (pixel_values is not None or vision_features is not None):
            image_features = self.get_image_features(
                pixel_values, vision_features, warped_pixel_values, return_dict=True
            )
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


@auto_docstring(custom_intro="SSGPA with a language modeling head: two images in, a sentence about the change out.")
class SSGPAForConditionalGeneration(SSGPAPreTrainedModel, GenerationMixin):
    """SSGPA with a language modeling head and its losses."""

    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.language_model.embed_tokens.weight"}
    _tp_plan: ClassVar[dict[str, str]] = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: SSGPAConfig) -> None:
        super().__init__(config)
        self.model = SSGPAModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.add_losses(config)
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
    ) -> "SSGPAForConditionalGeneration":
        r"""Start from an InstructBLIP checkpoint.

        A frozen language model needs a bridge that is aligned to it already. Vision tower, Q-Former, its queries and
        projection, and the language model are taken over, each weight of them; adapter, alignment and the global
        token's projection are new.

        Args:
            pretrained (`str`, `os.PathLike` or `InstructBlipForConditionalGeneration`): Id on the Hub or folder, in
                safetensors, or the model itself, with which the new one then shares its weights.
            qformer_input_ids (`list[int]`): The instruction that the Q-Former reads with every image, as
                `InstructBlipProcessor.from_pretrained(pretrained).qformer_tokenizer("describe the image in detail."
                ).input_ids` gives it.
            dtype (`torch.dtype` or `str`, *optional*, defaults to `"auto"`): Of a checkpoint that is read; `"auto"` is
                its own.
            revision (`str`, *optional*): Commit, for an id.
            kwargs (`Any`, *optional*): Fields of [`SSGPAConfig`].

        Returns:
            `SSGPAForConditionalGeneration`: In evaluation mode.

        Raises:
            ValueError: The instruction is missing, the checkpoint is another one (Flan-T5 among them), or a weight is
                missing, left over or of another shape; the error names it.

        Example:
        ```python
        >>> from transformers import InstructBlipProcessor
        >>> from ssgpa import SSGPAForConditionalGeneration, SSGPAProcessor

        >>> path = "Salesforce/instructblip-vicuna-7b"
        >>> theirs = InstructBlipProcessor.from_pretrained(path)
        >>> instruction = theirs.qformer_tokenizer("describe the image in detail.").input_ids
        >>> model = SSGPAForConditionalGeneration.from_instructblip(path, instruction, dtype="bfloat16")
        >>> processor = SSGPAProcessor(
        ...     theirs.image_processor,
        ...     theirs.tokenizer,
        ...     image_seq_length=model.config.image_seq_length,
        ...     image_token=theirs.tokenizer.convert_ids_to_tokens(model.config.image_token_id),
        ... )
        ```
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
    ) -> "SSGPAForConditionalGeneration":
        r"""Start from a BLIP-2 checkpoint with OPT, as `from_instructblip` from an InstructBLIP one.

        Args:
            pretrained (`str`, `os.PathLike` or `Blip2ForConditionalGeneration`): Id on the Hub or folder, in
                safetensors, or the model itself, with which the new one then shares its weights.
            dtype (`torch.dtype` or `str`, *optional*, defaults to `"auto"`): Of a checkpoint that is read; `"auto"` is
                its own.
            revision (`str`, *optional*): Commit, for an id.
            kwargs (`Any`, *optional*): Fields of [`SSGPAConfig`].

        Returns:
            `SSGPAForConditionalGeneration`: In evaluation mode.

        Raises:
            ValueError: An instruction is given, the checkpoint is another one (Flan-T5 among them), or a weight is
                missing, left over or of another shape; the error names it.
        """
        if kwargs.get("qformer_input_ids") is not None:
            raise ValueError("BLIP-2's Q-Former reads no instruction: leave `qformer_input_ids` out.")
        return cls._from_source(read_source(pretrained, Blip2ForConditionalGeneration, dtype, revision), **kwargs)

    @classmethod
    def _from_source(cls, source: PreTrainedModel, **kwargs: Any) -> "SSGPAForConditionalGeneration":
        model, report = cls.from_pretrained(
            None,
            config=convert_config(source.config, **kwargs),
            state_dict=convert_weights(source),
            # The queries, which come first, are kept in float32 beside fp16.
            dtype=source.language_model.dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        check_weights(report, type(source).__name__, NEW_PARTS)
        for name in TOKEN_IDS:
            setattr(model.generation_config, name, getattr(source.generation_config, name))
        return model

    def get_output_embeddings(self) -> nn.Module:
        """The language modeling head."""
        return self.lm_head

    def get_alignment(self) -> GlobalPartTransportAlignment:
        """The alignment, whose plan the losses read."""
        return self.model.alignment

    def _prepare_multimodal_encoder_kwargs_for_generation(self, model_kwargs: dict[str, Any]) -> dict[str, Any]:
        # `generate` encodes under the name `pixel_values` alone, and would drop features computed before.
        vision_features = model_kwargs.pop("vision_features", None)
        if vision_features is not None:
            encoded = self.get_image_features(
                model_kwargs.pop("pixel_values", None), vision_features, return_dict=True
            )
            model_kwargs["mm_encoder_outputs"] = {"image": encoded}
        return super()._prepare_multimodal_encoder_kwargs_for_generation(model_kwargs)

    @auto_docstring
    def get_image_features(
        self,
        pixel_values: torch.FloatTensor | None = None,
        vision_features: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | SSGPAImageFeatures:
        r"""Encode, fuse, align and project the images of each pair.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after, `pair_layout="pair"` of the processor.
            vision_features (`torch.FloatTensor` of shape `(batch_size, 2, 1 + patches, hidden_size)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            kwargs (`TransformersKwargs`, *optional*):
                Not used.
        """
        return self.model.get_image_features(pixel_values, vision_features, **kwargs)

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
        mm_encoder_outputs: dict[str, SSGPAImageFeatures] | None = None,
        output_evidence: bool = False,
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
            scene_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                Scene of each pair; pairs of one scene are never each other's negatives. By default all differ.
            vision_features (`torch.FloatTensor` of shape `(batch_size, 2, 1 + patches, hidden_size)`, *optional*):
                `last_hidden_state` of `vision_tower` computed before, in place of `pixel_values`.
            mm_encoder_outputs (`dict[str, SSGPAImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of both.
            output_evidence (`bool`, *optional*, defaults to `False`):
                Return the alignment's outputs.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the language model.

        Example:
        ```python
        >>> import ssgpa
        >>> from transformers import AutoModelForImageTextToText, AutoProcessor

        >>> processor = AutoProcessor.from_pretrained("checkpoints/ssgpa-clevr-tiny")
        >>> model = AutoModelForImageTextToText.from_pretrained("checkpoints/ssgpa-clevr-tiny")
        >>> inputs = processor(images=["before.png", "after.png"], return_tensors="pt")
        >>> ids = model.generate(**inputs, max_new_tokens=40)
        >>> processor.post_process_captions(ids, inputs)
        ```
        """
        warped = self._warped_pairs(pixel_values, vision_features, mm_encoder_outputs) if labels is not None else None
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=cache,
            inputs_embeds=inputs_embeds,
            vision_features=vision_features,
            mm_encoder_outputs=mm_encoder_outputs,
            warped_pixel_values=warped.pixel_values if warped is not None else None,
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
        targets = warped.targets if warped is not None else None
        loss_parts = None
        if labels is not None:
            loss_parts = self.losses(logits, labels, features, scene_ids, targets, **kwargs)
        return SSGPACausalLMOutputWithPast(
            loss=sum(loss_parts.values()) if loss_parts else None,
            loss_parts=loss_parts,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=features.pooler_output if features is not None else None,
            image_outputs=image_outputs,
            evidence=features.get("evidence") if features is not None and output_evidence else None,
            fusion_gate=features.get("fusion_gate") if features is not None else None,
            **{CACHE: outputs.get(CACHE)},
        )

    def _warped_pairs(
        self, pixel_values: Tensor | None, vision_features: Tensor | None, mm_encoder_outputs: dict | None
    ) -> WarpedPairs | None:
        if not (self.training and self.loss_weights["warp"]):
            return None
        if pixel_values is not None:
            check_pairs(pixel_values)
            return warped_pairs(pixel_values, tuple(self.config.patch_grid), self.config.warp_fraction)
        if vision_features is not None or mm_encoder_outputs:
            raise ValueError(
                "The warp loss warps images: train on `pixel_values`, or with a configuration whose `warp_weight` "
                "is 0."
            )
        return None


__all__ = [
    "ChangeEvidence",
    "ChangeFusionAdapter",
    "GlobalPartTransportAlignment",
    "SSGPAForConditionalGeneration",
    "SSGPAModel",
    "SSGPAPreTrainedModel",
    "log_sinkhorn",
]
