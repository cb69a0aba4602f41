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
"""Sizes and rates of adapter, alignment and their losses, for every model that has them (ours)."""

import math
from difflib import get_close_matches
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import GenerationConfig
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import logging

from .system_config_ssgpa import ChangeCaptioningConfigMixin


logger = logging.get_logger(__name__)

# See `transport_ssgpa.dustbin_transport`.
_LARGEST_SPAN = 80
# What Transformers, of this version or an older one, keeps in any model's config.json beside the fields of its class.
_SHARED_FIELDS = {
    "adapters",
    "add_cross_attention",
    "attn_implementation",
    "auto_map",
    "bos_token_id",
    "cross_attention_hidden_size",
    "custom_pipelines",
    "decoder_start_token_id",
    "eos_token_id",
    "experts_implementation",
    "finetuning_task",
    "ignore_keys_at_rope_validation",
    "is_decoder",
    "pad_token_id",
    "prefix",
    "pruned_heads",
    "quantization_config",
    "sep_token_id",
    "task_specific_params",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "use_bfloat16",
    "use_cache",
    "use_return_dict",
}


@strict
class ChangeModulesConfig(ChangeCaptioningConfigMixin, PreTrainedConfig):
    """Sizes and rates of adapter, alignment and losses, the base of every configuration whose model has them (ours).

    A subclass describes the fields, and sets `patch_grid` and `patch_hidden_size` where they are left out.
    """

    pixel_fields: ClassVar[tuple[str, ...]] = ("warp_weight",)
    training_fields: ClassVar[frozenset[str]] = frozenset(
        {f"{name}_weight" for name in ("caption", "contrast", "warp", "cycle", "global")}
        | {"label_smoothing", "contrast_negatives", "contrast_temperature", "warp_fraction"}
    )
    # A stock Trainer's evaluation would gather these from every process, and keep them for the whole set.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "past_key_values",
        "cache",
        "loss_parts",
        "image_hidden_states",
        "image_outputs",
        "evidence",
        "fusion_gate",
    ]

    patch_grid: list[int] | tuple[int, int] | None = None
    patch_hidden_size: int | None = None
    fusion_layers: int = 4
    fusion_hidden_size: int | None = None
    fusion_num_attention_heads: int = 4
    gate_sharpness: float = 10.0
    gate_threshold: float = 0.5
    alignment_hidden_size: int = 256
    alignment_num_attention_heads: int = 4
    centering: float = 0.5
    marginal_eta: float = 0.5
    dustbin_score: float = 0.3
    transport_epsilon: float = 0.05
    sinkhorn_iterations: int = 50
    position_weight: float = 0.1
    content_cue_weight: float = 1.0
    motion_cue_weight: float = 1.0
    caption_weight: float = 1.0
    label_smoothing: float = 0.0
    contrast_weight: float = 0.1
    contrast_negatives: int = 7
    contrast_temperature: float = 0.07
    warp_weight: float = 0.1
    warp_fraction: float = 0.25
    cycle_weight: float = 0.05
    global_weight: float = 0.05
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02

    def _tell_unknown(self, names: dict[str, Any]) -> None:
        """Warn of fields that nothing reads: misspelled ones, or those of another version, which still loads."""
        shared = _SHARED_FIELDS | set(vars(GenerationConfig())) | set(dir(PreTrainedConfig))
        own = [name for name in self.__dataclass_fields__ if name not in PreTrainedConfig.__dataclass_fields__]
        for name in sorted(set(names) - shared):
            if name.startswith("_"):
                continue
            close = get_close_matches(name, own, n=1, cutoff=0.75)
            advice = f"did you mean `{close[0]}`?" if close else "is it misspelled, or of another version?"
            logger.warning_once(f"{type(self).__name__} has no field `{name}`, which changes nothing: {advice}")

    def validate_widths(self) -> None:
        """Check that widths and heads are positive, and that heads divide widths."""
        pairs = (
            ("fusion_hidden_size", "fusion_num_attention_heads"),
            ("alignment_hidden_size", "alignment_num_attention_heads"),
        )
        for name in ("patch_hidden_size", *(name for pair in pairs for name in pair)):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for width, heads in pairs:
            if getattr(self, width) % getattr(self, heads):
                raise ValueError(
                    f"`{width}` ({getattr(self, width)}) must be a multiple of `{heads}` ({getattr(self, heads)})."
                )

    def validate_finite(self) -> None:
        """Check that rates are numbers: no comparison with NaN would refuse it."""
        for name in self.__dataclass_fields__:
            value = getattr(self, name, None)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`{name}` must be a finite number, got {value}.")

    def validate_shares(self) -> None:
        """Check that shares of a whole are such."""
        for name in ("marginal_eta", "centering"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"`{name}` must lie in [0, 1], got {getattr(self, name)}.")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise ValueError(f"`label_smoothing` must lie in [0, 1), got {self.label_smoothing}.")
        if not 0.0 < self.warp_fraction <= 1.0:
            raise ValueError(
                f"`warp_fraction` must lie in (0, 1], got {self.warp_fraction}; `warp_weight` 0 leaves the warps out."
            )

    def validate_rates(self) -> None:
        """Check that rates and counts lie where they mean something."""
        for name in ("transport_epsilon", "contrast_temperature", "layer_norm_eps"):
            if getattr(self, name) <= 0.0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        if 1.0 - self.dustbin_score > _LARGEST_SPAN * self.transport_epsilon:
            raise ValueError(
                f"`transport_epsilon` ({self.transport_epsilon}) is too small for a `dustbin_score` of "
                f"{self.dustbin_score}: (1 - dustbin_score) / transport_epsilon must be at most {_LARGEST_SPAN}, "
                "or the transport plan leaves float32's range."
            )
        weights = [f"{name}_weight" for name in ("position", "caption", "contrast", "warp", "cycle", "global")]
        cues = ("content_cue_weight", "motion_cue_weight")
        for name in (*weights, *cues, "fusion_layers", "gate_sharpness", "initializer_range"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        for name in ("sinkhorn_iterations", "contrast_negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")

    @property
    def num_patches(self) -> int:
        """Patches of one image."""
        return self.patch_grid[0] * self.patch_grid[1]


__all__ = ["ChangeModulesConfig"]
