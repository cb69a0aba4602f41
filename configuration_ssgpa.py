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
"""SSGPA model configuration."""

import math
from difflib import get_close_matches
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, GenerationConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import auto_docstring, logging

from .compatibility_ssgpa import warn_if_untested
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


@auto_docstring(custom_intro="Sizes and rates of adapter, alignment and losses, for models that have them (ours).")
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
        for name in (*weights, "fusion_layers", "gate_sharpness", "initializer_range"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        for name in ("sinkhorn_iterations", "contrast_negatives"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")

    @property
    def num_patches(self) -> int:
        """Patches of one image."""
        return self.patch_grid[0] * self.patch_grid[1]


@auto_docstring(
    custom_intro="Sizes and rates of SSGPA; which classes are built follows from the sub-configurations.",
    checkpoint="ssgpa-clevr-tiny",
)
@strict
class SSGPAConfig(ChangeModulesConfig):
    r"""Configuration of SSGPA.

    Args:
        qformer_config (`dict`, *optional*):
            Configuration of a Q-Former that summarizes each image in `num_query_tokens` tokens. Without it every token
            of both images goes to the language model through one linear layer.
        patch_grid (`list[int]`, *optional*):
            Rows and columns of the patches of one image. Derived from the vision configuration's `image_size` and
            `patch_size` where it has them; needed for towers that return feature maps.
        patch_hidden_size (`int`, *optional*):
            Width of the patches. Towers that return tokens keep their own width; feature maps are projected to this
            one, by default the width of the last map.
        num_query_tokens (`int`, *optional*, defaults to 32):
            Query tokens an image, with a Q-Former.
        qformer_input_ids (`list[int]`, *optional*):
            The fixed instruction that an InstructBLIP Q-Former reads beside its queries.
        fusion_layers (`int`, *optional*, defaults to 4):
            Layers of the Change Fusion Adapter; 0 leaves the tower's features as they are.
        fusion_hidden_size (`int`, *optional*):
            Bottleneck of the adapter, by default a quarter of the patches' width.
        fusion_num_attention_heads (`int`, *optional*, defaults to 4):
            Attention heads in the bottleneck.
        gate_sharpness (`float`, *optional*, defaults to 10.0):
            Slope of the similarity gate; 0 turns the gated cross-attention into plain attention at half strength.
        gate_threshold (`float`, *optional*, defaults to 0.5):
            Cosine at which the gate is half open, at the start of training.
        alignment_hidden_size (`int`, *optional*, defaults to 256):
            Width of the matching space and of the write-back.
        alignment_num_attention_heads (`int`, *optional*, defaults to 4):
            Heads of the attention that writes the evidence into the global token.
        centering (`float`, *optional*, defaults to 0.5):
            Share of the pair's mean feature that is removed before matching.
        marginal_eta (`float`, *optional*, defaults to 0.5):
            How far a patch's mass follows its agreement with the other image's global feature; 0 is uniform.
        dustbin_score (`float`, *optional*, defaults to 0.3):
            Score of the dustbin at the start of training, in cosine units.
        transport_epsilon (`float`, *optional*, defaults to 0.05):
            Entropic regularization, in cosine units, at least an 80th of what the dustbin's score lacks to 1.
        sinkhorn_iterations (`int`, *optional*, defaults to 50):
            Sinkhorn updates. The first ten or so leave it far from the marginals.
        position_weight (`float`, *optional*, defaults to 0.1):
            Weight of the position term in the second transport pass; 0 skips that pass.
        caption_weight (`float`, *optional*, defaults to 1.0):
            Weight of the caption's cross-entropy.
        label_smoothing (`float`, *optional*, defaults to 0.0):
            Share of every target of the caption that is spread over the whole vocabulary, in training only.
        contrast_weight (`float`, *optional*, defaults to 0.1):
            Weight of the contrast between this scene and others of the batch.
        contrast_negatives (`int`, *optional*, defaults to 7):
            Scenes sampled from the batch as negatives.
        contrast_temperature (`float`, *optional*, defaults to 0.07):
            Temperature of the contrast at the start of training.
        warp_weight (`float`, *optional*, defaults to 0.1):
            Weight of the warp loss: match an image with a known warp of itself. Needs pixels, and sends more images
            through the tower.
        warp_fraction (`float`, *optional*, defaults to 0.25):
            Share of a batch's pairs of which an image is warped, rounded up.
        cycle_weight (`float`, *optional*, defaults to 0.05):
            Weight of the cycle loss: what is matched comes back to itself by way of the other image.
        global_weight (`float`, *optional*, defaults to 0.05):
            Weight of the global loss: the matched patches of both images agree on the whole.

    Example:
    ```python
    >>> from ssgpa import SSGPAConfig, SSGPAForConditionalGeneration

    >>> configuration = SSGPAConfig(vision_config={"model_type": "clip_vision_model"}, image_token_id=32000)
    >>> model = SSGPAForConditionalGeneration(configuration)
    ```
    """

    model_type = "ssgpa"
    former_fields: ClassVar[dict[str, str]] = {"part_grid": "patch_grid", "part_hidden_size": "patch_hidden_size"}
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="instructblip_vision_model"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
        "qformer_config": SubConfigSpec(config_class=AutoConfig, model_type="instructblip_qformer", optional=True),
    }

    vision_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    qformer_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 32000
    num_query_tokens: int = 32
    qformer_input_ids: list[int] | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        # The configuration is loaded first, before code that another version of Transformers could break.
        warn_if_untested()
        for former, name in self.former_fields.items():
            if former in kwargs:
                setattr(self, name, kwargs.pop(former))
        self._tell_unknown(kwargs)
        super().__post_init__(**kwargs)
        # Only what is left out is derived; a size of 0 is one that is wrong.
        if self.patch_hidden_size is None:
            self.patch_hidden_size = self._tower_width()
        self.patch_grid = list(self.patch_grid) if self.patch_grid is not None else self._tower_grid()
        if self.fusion_hidden_size is None:
            self.fusion_hidden_size = self.patch_hidden_size // 4
        self.tie_word_embeddings = self.tie_word_embeddings or self.text_config.tie_word_embeddings
        if self.qformer_config is not None:
            self.qformer_config.encoder_hidden_size = self.patch_hidden_size

    def _tower_width(self) -> int:
        return getattr(self.vision_config, "hidden_size", None) or self.vision_config.hidden_sizes[-1]

    def _tower_grid(self) -> list[int] | None:
        sizes = [getattr(self.vision_config, name, None) for name in ("hidden_size", "image_size", "patch_size")]
        if None in sizes:
            return None
        sides, patches = ([size, size] if isinstance(size, int) else list(size) for size in sizes[1:])
        return [side // patch for side, patch in zip(sides, patches, strict=True)]

    def validate_patch_grid(self) -> None:
        """Check the patches' grid and width against those of a tower that tells its own."""
        tower = self.vision_config.model_type
        grid, expected = self.patch_grid, self._tower_grid()
        if grid is None:
            raise ValueError(
                f"`patch_grid` (rows, columns) is needed: a {tower} tower does not tell how many patches it makes of "
                "an image."
            )
        if len(grid) != 2 or min(grid) < 1:
            raise ValueError(f"`patch_grid` must be two positive numbers, (rows, columns), got {grid}.")
        if expected is not None and grid != expected:
            raise ValueError(f"`patch_grid` is {grid}, but the {tower} tower makes {expected} patches of an image.")
        if expected is not None and self.patch_hidden_size != self._tower_width():
            raise ValueError(
                f"`patch_hidden_size` is {self.patch_hidden_size}, but the {tower} tower's tokens keep their own "
                f"width of {self._tower_width()}."
            )

    def validate_query_tokens(self) -> None:
        """Check the number of a Q-Former's queries."""
        if self.num_query_tokens < 1:
            raise ValueError(f"`num_query_tokens` must be at least 1, got {self.num_query_tokens}.")

    def validate_token_ids(self) -> None:
        """Check that ids of tokens are such."""
        if self.image_token_id < 0:
            raise ValueError(f"`image_token_id` must not be negative, got {self.image_token_id}.")
        ids = self.qformer_input_ids
        if ids is None:
            return
        if not ids:
            raise ValueError("`qformer_input_ids` is empty: give the instruction's ids, or None for no instruction.")
        # A Q-Former that reads no instruction, BLIP-2's, has no vocabulary.
        size = getattr(self.qformer_config, "vocab_size", None) or math.inf
        wrong = next((token for token in ids if not 0 <= token < size), None)
        if wrong is not None:
            raise ValueError(f"`qformer_input_ids` must lie in [0, {size}), the Q-Former's vocabulary, got {wrong}.")

    @property
    def image_seq_length(self) -> int:
        """Tokens of one image in the prompt: the global token and either all patches or the queries."""
        return 1 + (self.num_patches if self.qformer_config is None else self.num_query_tokens)


__all__ = ["ChangeModulesConfig", "SSGPAConfig"]
