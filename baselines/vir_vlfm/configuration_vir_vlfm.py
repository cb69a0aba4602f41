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
"""VIR-VLFM model configuration."""

import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, InstructBlipVisionConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import auto_docstring

from ...system_config_ssgpa import ChangeCaptioningConfigMixin


# Vicuna-7B and the placeholder behind its 32,000 tokens.
VICUNA_7B = {"model_type": "llama", "vocab_size": 32001, "pad_token_id": 0}


@auto_docstring(
    custom_intro="Sizes and rates of VIR-VLFM; its defaults are those of the paper.",
    checkpoint="vir-vlfm-eva-vicuna7b",
)
@strict
class VIRVLFMConfig(ChangeCaptioningConfigMixin, PreTrainedConfig):
    r"""Configuration of VIR-VLFM.

    Args:
        num_query_tokens (`int`, *optional*, defaults to 32):
            Queries of the Q-Former, and visual tokens of a pair; half of them stand at each of the prompt's two
            placeholders.
        qformer_input_ids (`list[int]`, *optional*):
            The fixed instruction that an InstructBLIP Q-Former reads beside its queries; BLIP-2's reads none.
        adapter_hidden_size (`int`, *optional*):
            Bottleneck of the adapters, by default a quarter of the tower's width.
        adapter_scale (`float`, *optional*, defaults to 0.5):
            Factor of the adapter beside a block's two linear layers.
        fusion_interval (`int`, *optional*, defaults to 6):
            The adapters of every block of such a number read both images; the others read one.
        registration_hidden_size (`int`, *optional*):
            Width of each image in front of the flow, by default half of the tower's width.
        post_layernorm_eps (`float`, *optional*, defaults to 1e-05):
            Of the norm behind the tower's last block; the blocks' norms have the tower's own.
        average_pairs (`bool`, *optional*, defaults to `False`):
            Average the loss over the tokens of each pair first, so that a pair with a short caption weighs as much as
            one with a long one, as in the released code, which adds up the loss of two pairs. By default every token
            weighs alike.

    Example:
    ```python
    >>> from ssgpa.baselines.vir_vlfm import VIRVLFMConfig

    >>> configuration = VIRVLFMConfig()
    >>> configuration.visual_tokens
    32
    ```
    """

    model_type = "vir_vlfm"
    image_mean: ClassVar[tuple[float, ...]] = (0.48145466, 0.4578275, 0.40821073)
    image_std: ClassVar[tuple[float, ...]] = (0.26862954, 0.26130258, 0.27577711)
    training_fields: ClassVar[frozenset[str]] = frozenset({"average_pairs"})
    # A stock Trainer's evaluation would gather these from every process, and keep them for the whole set.
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "past_key_values",
        "cache",
        "loss_parts",
        "image_hidden_states",
        "image_outputs",
    ]
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=InstructBlipVisionConfig),
        "qformer_config": SubConfigSpec(config_class=AutoConfig, model_type="blip_2_qformer"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    vision_config: dict | PreTrainedConfig | None = None
    qformer_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 32000
    num_query_tokens: int = 32
    qformer_input_ids: list[int] | None = None
    adapter_hidden_size: int | None = None
    adapter_scale: float = 0.5
    fusion_interval: int = 6
    registration_hidden_size: int | None = None
    post_layernorm_eps: float = 1e-5
    average_pairs: bool = False
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.text_config is None:
            self.text_config = dict(VICUNA_7B)
        super().__post_init__(**kwargs)
        width = self.vision_config.hidden_size
        # Only what is left out is derived; a size of 0 is one that is wrong.
        if self.adapter_hidden_size is None:
            self.adapter_hidden_size = width // 4
        if self.registration_hidden_size is None:
            self.registration_hidden_size = width // 2
        self.tie_word_embeddings = self.tie_word_embeddings or self.text_config.tie_word_embeddings
        self.qformer_config.encoder_hidden_size = width

    def validate_vir_vlfm(self) -> None:
        """Part of strict validation: values that no type excludes.

        Raises:
            ValueError: A field has a value that makes no model; the error names it.
        """
        for name in ("adapter_hidden_size", "registration_hidden_size", "fusion_interval"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.num_query_tokens < 2 or self.num_query_tokens % 2:
            raise ValueError(
                f"`num_query_tokens` must be even, half of them for each of two placeholders, got "
                f"{self.num_query_tokens}."
            )
        for name in ("adapter_scale", "post_layernorm_eps", "initializer_range"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"`{name}` must be a finite number and not negative, got {getattr(self, name)}.")
        if self.vision_config.image_size % self.vision_config.patch_size:
            raise ValueError(
                f"The tower's `image_size` ({self.vision_config.image_size}) must be a multiple of its `patch_size` "
                f"({self.vision_config.patch_size})."
            )

    def validate_token_ids(self) -> None:
        """Check that ids of tokens are such."""
        if self.image_token_id < 0:
            raise ValueError(f"`image_token_id` must not be negative, got {self.image_token_id}.")
        ids = self.qformer_input_ids
        if ids is None:
            return
        # A Q-Former that reads no instruction, BLIP-2's, has no table of words.
        if self.qformer_config.model_type == "blip_2_qformer":
            raise ValueError("BLIP-2's Q-Former reads no instruction: leave `qformer_input_ids` out.")
        size = self.qformer_config.vocab_size
        if not ids or not all(0 <= token < size for token in ids):
            raise ValueError(f"`qformer_input_ids` must be some of the Q-Former's {size} tokens, got {ids}.")

    @property
    def patch_grid(self) -> list[int]:
        """Rows and columns of the patches of one image."""
        return [self.vision_config.image_size // self.vision_config.patch_size] * 2

    @property
    def image_seq_length(self) -> int:
        """Tokens at one of the prompt's two placeholders; both together are the visual tokens of the pair."""
        return self.num_query_tokens // 2


__all__ = ["VIRVLFMConfig"]
