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
"""PyTorch SSGPA inside a VLM: the Change Fusion Adapter and the alignment in front of the VLM's own connector."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.cache_utils import Cache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs, auto_docstring, can_return_tuple, logging

from ..alignment_ssgpa import ChangeEvidence, ChangeFusionAdapter, GlobalPartTransportAlignment, PartMatching
from ..change_modules_ssgpa import ChangeModulesMixin, check_pairs
from ..compatibility_ssgpa import CACHE, renamed_cache
from ..modeling_ssgpa import PAPER, SSGPACausalLMOutputWithPast, rows
from ..system_ssgpa import Paper
from ..warp_ssgpa import WarpedPairs, warped_pairs
from .configuration_ssgpa_vlm import SSGPAVLMConfig
from .ports_ssgpa_vlm import port_of


# Weights that no VLM brings along.
NEW_PARTS = ("change_fusion_adapter.", "alignment.", "contrast.")


@auto_docstring(custom_intro="What a VLM made of the images of pairs, and the evidence it rests on.")
@dataclass
class SSGPAVLMImageFeatures(BaseModelOutputWithPooling):
    r"""What `get_image_features` returns.

    Args:
        vlm_features (`ModelOutput`):
            What the VLM's own `get_image_features` returned; its `pooler_output` are the tokens.
        evidence (`ChangeEvidence`):
            The alignment's outputs, on `patch_grid`.
        matching (`PartMatching`):
            What the losses read of the alignment.
        warped_matching (`PartMatching`, *optional*):
            The same of the warped pairs, where there are any.
        fusion_gate (`torch.FloatTensor`, *optional*):
            Mean of the adapter's similarity gates.
    """

    vlm_features: ModelOutput | None = None
    evidence: ChangeEvidence | None = None
    matching: PartMatching | None = None
    warped_matching: PartMatching | None = None
    fusion_gate: torch.FloatTensor | None = None


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep Transformers from listing weights that are new as missing; what is wrong is told by the caller."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def resize_maps(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    """Bring maps (images, rows, columns, width) to a grid: by means of areas, or between cells where it is finer."""
    if tuple(maps.shape[1:3]) == grid:
        return maps
    channels_first = maps.permute(0, 3, 1, 2)
    if maps.shape[1] >= grid[0] and maps.shape[2] >= grid[1]:
        return F.adaptive_avg_pool2d(channels_first, grid).permute(0, 2, 3, 1)
    finer = F.interpolate(channels_first.float(), grid, mode="bilinear", align_corners=False)
    return finer.to(maps.dtype).permute(0, 2, 3, 1)


@auto_docstring
class SSGPAVLMPreTrainedModel(ChangeModulesMixin, PreTrainedModel):
    """How SSGPA's parts inside a VLM begin."""

    config: SSGPAVLMConfig
    pretrained_modules: ClassVar[tuple[str, ...]] = ("vlm.",)
    paper: ClassVar[Paper] = PAPER
    card_tags: ClassVar[tuple[str, ...]] = ("optimal-transport", "ssgpa", "vlm")
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values", "cache"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        self.init_change_modules(module)


@auto_docstring(
    custom_intro="A VLM that reads two images, with SSGPA's adapter and alignment in front of its connector."
)
class SSGPAForVLM(SSGPAVLMPreTrainedModel, GenerationMixin):
    """Any supported VLM with SSGPA's parts; before these are trained it is the VLM, given two images (ours)."""

    def __init__(self, config: SSGPAVLMConfig) -> None:
        super().__init__(config)
        # Transformers reads it of the names of its own classes.
        self.loss_type = "ForCausalLM"
        self.vlm = AutoModelForImageTextToText.from_config(config.vlm_config)
        self.change_fusion_adapter = ChangeFusionAdapter(config)
        self.alignment = GlobalPartTransportAlignment(config)
        self.add_losses(config)
        self.post_init()

    @classmethod
    def from_vlm(
        cls,
        vlm: str | os.PathLike | PreTrainedModel,
        revision: str | None = None,
        dtype: torch.dtype | str = "auto",
        attn_implementation: str | None = None,
        local_files_only: bool = False,
        **kwargs: Any,
    ) -> "SSGPAForVLM":
        r"""Start from a VLM of any family that has a port.

        Args:
            vlm (`str`, `os.PathLike` or `PreTrainedModel`): Id on the Hub or folder, in safetensors, or the model
                itself, with which the new one then shares its weights.
            revision (`str`, *optional*): Commit, for an id.
            dtype (`torch.dtype` or `str`, *optional*, defaults to `"auto"`): Of a checkpoint that is read; `"auto"` is
                its own.
            attn_implementation (`str`, *optional*): `eager`, `sdpa`, ...; by default the library's choice.
            local_files_only (`bool`, *optional*, defaults to `False`): Do not ask the Hub.
            kwargs (`Any`, *optional*): Fields of [`SSGPAVLMConfig`].

        Returns:
            `SSGPAForVLM`: In evaluation mode.

        Raises:
            ValueError: The family has no port, or a weight is missing or of another shape; the error names it.

        Example:
        ```python
        >>> from ssgpa.vlm import SSGPAForVLM, processor_for_vlm

        >>> model = SSGPAForVLM.from_vlm("HuggingFaceTB/SmolVLM-256M-Instruct", patch_grid=[16, 16])
        >>> processor = processor_for_vlm(model.config)
        ```
        """
        name = None
        if not isinstance(vlm, PreTrainedModel):
            name, source = os.fspath(vlm), {"revision": revision, "local_files_only": local_files_only}
            port_of(AutoConfig.from_pretrained(name, **source))
            with _without_report():
                vlm, report = AutoModelForImageTextToText.from_pretrained(
                    name,
                    dtype=dtype,
                    use_safetensors=True,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,
                    **source,
                )
            lost = sorted([*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])])
            if lost:
                raise ValueError(f"{name}: {len(lost)} weights are missing or of another shape, the first {lost[0]}.")
        port_of(vlm.config)
        told = {"vlm_name_or_path": name, "vlm_revision": revision if name else None}
        config = cls.config_class(vlm_config=vlm.config.to_dict(), **{**told, **kwargs})
        with _without_report():
            model, report = cls.from_pretrained(
                None,
                config=config,
                state_dict={f"vlm.{key}": value for key, value in vlm.state_dict().items()},
                dtype=vlm.dtype,
                attn_implementation=attn_implementation or vlm.config._attn_implementation,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        lost = [key for key in report["missing_keys"] if not key.startswith(NEW_PARTS)]
        wrong = sorted([*lost, *report["unexpected_keys"], *(key for key, *_ in report["mismatched_keys"])])
        if wrong:
            raise ValueError(f"{name or type(vlm).__name__} does not fit: {len(wrong)} weights, the first {wrong[0]}.")
        model.generation_config = vlm.generation_config
        return model

    @property
    def language_modules(self) -> tuple[str, ...]:
        """Beginnings of the names of the language model's layers."""
        decoder = self.vlm.get_decoder()
        return tuple(f"vlm.{name}." for name, module in self.vlm.named_modules() if module is decoder)

    def get_input_embeddings(self) -> nn.Module:
        """The language model's word embeddings."""
        return self.vlm.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's word embeddings."""
        self.vlm.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module | None:
        """The language modeling head."""
        return self.vlm.get_output_embeddings()

    def set_output_embeddings(self, value: nn.Module) -> None:
        """Replace the language modeling head."""
        self.vlm.set_output_embeddings(value)

    def get_decoder(self) -> nn.Module:
        """The language model."""
        return self.vlm.get_decoder()

    def get_alignment(self) -> GlobalPartTransportAlignment:
        """The alignment, whose plan the losses read."""
        return self.alignment

    @can_return_tuple
    @auto_docstring(custom_intro="Encode the images of each pair by the VLM, compared on the way.")
    def get_image_features(
        self, pixel_values: torch.FloatTensor, **kwargs: Unpack[TransformersKwargs]
    ) -> tuple | SSGPAVLMImageFeatures:
        r"""Encode the images of each pair by the VLM, compared on the way.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`):
                Image before and image after, `pair_layout="pair"` of the processor.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the VLM.
        """
        check_pairs(pixel_values)
        size, config = tuple(pixel_values.shape[-2:]), self.config
        if size != tuple(config.image_size):
            raise ValueError(
                f"The images have {size[0]} x {size[1]} pixels, the configuration says {tuple(config.image_size)}: "
                "load the processor that belongs to the model, or change `image_size` in both."
            )
        found: dict[str, Any] = {}
        with config.port.tapped(self.vlm, lambda states: self._compare(states, size, found)):
            features = self.encode_images(pixel_values, **kwargs)
        if not found:
            raise RuntimeError(
                f"{type(self.vlm).__name__} did not run {config.port.connector}, before which images are compared."
            )
        # Layers of the tower, where the VLM returns them.
        layers = {name: features.get(name) for name in ("last_hidden_state", "hidden_states", "attentions")}
        return SSGPAVLMImageFeatures(pooler_output=features.pooler_output, vlm_features=features, **layers, **found)

    def encode_images(self, pixel_values: Tensor, **kwargs: Any) -> ModelOutput:
        """Encode images as the VLM itself does, each on its own.

        Args:
            pixel_values (`torch.Tensor` of shape `(batch, 2, channels, height, width)`): The pairs.
            **kwargs (`Any`, *optional*): Passed on to the VLM.

        Returns:
            `ModelOutput`: Of the VLM's `get_image_features`.
        """
        inputs = self.config.port.vision_inputs(self.config.vlm_config, pixel_values.to(self.vlm.dtype))
        # Some families have it in the model without a head alone.
        encoder = self.vlm if hasattr(self.vlm, "get_image_features") else self.vlm.base_model
        return encoder.get_image_features(**inputs, return_dict=True, **kwargs)

    def _compare(self, states: Tensor, size: tuple[int, int], found: dict[str, Any]) -> Tensor:
        """What the connector reads, changed by what the two images tell of each other."""
        if found:
            raise RuntimeError("The connector ran twice for one batch of images.")
        port, vlm_config, grid = self.config.port, self.config.vlm_config, tuple(self.config.patch_grid)
        own = port.grid(vlm_config, size)
        maps = port.to_maps(states, vlm_config, own)
        patches = resize_maps(maps, grid).flatten(1, 2).unflatten(0, (-1, 2))
        # The VLM may compute in another dtype than what trains.
        patches = patches.to(self.alignment.match_norm.weight.dtype)
        tokens = torch.cat([patches.mean(2, keepdim=True), patches], 2)
        fused, gates = self.change_fusion_adapter(tokens)
        aligned, evidence, matching = self.alignment(fused)
        # No connector reads the global token: what it learned goes to every patch.
        change = aligned - tokens
        change = (change[:, :, 1:] + change[:, :, :1]).flatten(0, 1).unflatten(1, grid)
        # Where an image is seen in several tiles, the first shows it whole.
        whole = slice(None, None, port.tiles(vlm_config, size))
        found.update(
            evidence=rows(evidence, whole),
            matching=rows(matching, whole),
            fusion_gate=None if gates is None else gates.mean(),
        )
        change = resize_maps(change, own).to(states.dtype)
        # A sum and no new tensor: its strides, and so its rounding, are those of the VLM's own.
        return states + port.from_maps(change, states, vlm_config, own)

    def _encode(
        self, pixel_values: Tensor | None, mm_encoder_outputs: dict[str, Any] | None
    ) -> SSGPAVLMImageFeatures | None:
        encoded = (mm_encoder_outputs or {}).get("image")
        if encoded is not None and pixel_values is not None:
            raise ValueError("You cannot specify both pixel_values and mm_encoder_outputs at the same time")
        if encoded is None and pixel_values is not None:
            encoded = self.get_image_features(pixel_values, return_dict=True)
        return encoded

    def _vlm_inputs(
        self, features: SSGPAVLMImageFeatures | None, input_ids: Tensor | None, labels: Tensor | None = None
    ) -> dict[str, Any]:
        """What the VLM takes of encoded images beside the prompts."""
        if features is None:
            return {}
        if input_ids is None:
            raise ValueError("Images need prompts as `input_ids`: their tokens are counted there.")
        config, encoded = self.config, features.vlm_features
        # `generate` repeats the features for its beams where they stand.
        own = type(encoded)(**dict(encoded.items()))
        extra = config.port.prompt_inputs(config.vlm_config, input_ids, labels, tuple(config.image_size))
        return {"mm_encoder_outputs": {"image": own}, **extra}

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
        mm_encoder_outputs: dict[str, SSGPAVLMImageFeatures] | None = None,
        output_evidence: bool = False,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple | SSGPACausalLMOutputWithPast:
        r"""Predict the caption, and its losses where labels are given.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Prompts with the tokens of both images, and the captions in training.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after, `pair_layout="pair"` of the processor.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for tokens, 0 for padding.
            position_ids (`torch.LongTensor`, *optional*):
                Not used with images: the VLM numbers the tokens itself, some in three directions.
            cache (`Cache`, *optional*):
                Keys and values of the tokens before.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, text_hidden_size)`, *optional*):
                Embeddings in place of `input_ids`, without images.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                The caption's tokens and the end token; -100 elsewhere.
            logits_to_keep (`int` or `torch.Tensor`, *optional*, defaults to 0):
                Positions whose logits are computed, counted from the end; 0 for all. With `labels`, an integer.
            scene_ids (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                Scene of each pair; pairs of one scene are never each other's negatives. By default all differ.
            mm_encoder_outputs (`dict[str, SSGPAVLMImageFeatures]`, *optional*):
                `{"image": get_image_features(...)}` computed before, in place of `pixel_values`.
            output_evidence (`bool`, *optional*, defaults to `False`):
                Return the alignment's outputs.
            kwargs (`TransformersKwargs`, *optional*):
                Passed on to the VLM.
        """
        if attention_mask is not None and attention_mask.ndim > 2:
            raise ValueError("A VLM reads one caption a row: train with `captions_per_pair` 1.")
        features = self._encode(pixel_values, mm_encoder_outputs)
        # For the loss here; the VLM is given no labels.
        told = {name: kwargs.pop(name) for name in ("num_items_in_batch", "shift_labels") if name in kwargs}
        if features is None and position_ids is not None:
            kwargs["position_ids"] = position_ids
        outputs = self.vlm(
            input_ids=input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            logits_to_keep=logits_to_keep,
            **{CACHE: cache},
            **self._vlm_inputs(features, input_ids, labels),
            **kwargs,
        )
        loss_parts = None
        if labels is not None:
            targets = self._warped_matching(pixel_values, features)
            loss_parts = self.losses(outputs.logits, labels, features, scene_ids, targets, **told)
        return SSGPACausalLMOutputWithPast(
            loss=sum(loss_parts.values()) if loss_parts else None,
            loss_parts=loss_parts,
            logits=outputs.logits,
            hidden_states=outputs.get("hidden_states"),
            attentions=outputs.get("attentions"),
            image_outputs=features.vlm_features if features is not None else None,
            evidence=features.evidence if features is not None and output_evidence else None,
            fusion_gate=features.get("fusion_gate") if features is not None else None,
            **{CACHE: outputs.get(CACHE)},
        )

    def _warped_matching(self, pixel_values: Tensor | None, features: SSGPAVLMImageFeatures | None) -> Tensor | None:
        """Let images and warps of them be matched as well, for the warp loss; return where their patches are."""
        if not (self.training and self.loss_weights["warp"]) or features is None:
            return None
        if pixel_values is None:
            raise ValueError(
                "The warp loss warps images: train on `pixel_values`, or with a configuration whose `warp_weight` "
                "is 0."
            )
        warped: WarpedPairs = warped_pairs(pixel_values, tuple(self.config.patch_grid), self.config.warp_fraction)
        features.warped_matching = self.get_image_features(warped.pixel_values, return_dict=True).matching
        return warped.targets

    def generate(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        mm_encoder_outputs: dict[str, SSGPAVLMImageFeatures] | None = None,
        **kwargs: Any,
    ) -> ModelOutput | torch.LongTensor:
        r"""Let the VLM generate.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*): The prompts.
            pixel_values (`torch.FloatTensor` of shape `(batch_size, 2, num_channels, height, width)`, *optional*):
                Image before and image after.
            mm_encoder_outputs (`dict[str, SSGPAVLMImageFeatures]`, *optional*): `{"image": get_image_features(...)}`
                computed before, in place of `pixel_values`.
            kwargs (`Any`, *optional*): As for every `generate`.

        Returns:
            `ModelOutput` or `torch.LongTensor`: As of every `generate`.
        """
        with torch.no_grad():
            features = self._encode(pixel_values, mm_encoder_outputs)
            self.vlm.generation_config = self.generation_config
            return self.vlm.generate(input_ids, **self._vlm_inputs(features, input_ids), **kwargs)


__all__ = ["SSGPAForVLM", "SSGPAVLMImageFeatures", "SSGPAVLMPreTrainedModel"]
