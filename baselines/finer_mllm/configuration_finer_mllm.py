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
"""FINER-MLLM model configuration."""

import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, InstructBlipVisionConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.models.blip_2.configuration_blip_2 import Blip2QFormerConfig
from transformers.utils import auto_docstring

from ...system_config_ssgpa import ChangeCaptioningConfigMixin


@auto_docstring(
    custom_intro="Sizes and rates of FINER-MLLM; the defaults are those published for CLEVR-Change.",
    checkpoint="Salesforce/instructblip-vicuna-7b",
)
@strict
class FinerMLLMConfig(ChangeCaptioningConfigMixin, PreTrainedConfig):
    r"""Configuration of FINER-MLLM.

    Args:
        vision_config (`dict`, *optional*):
            InstructBLIP's vision tower, EVA-ViT-g by default.
        qformer_config (`dict`, *optional*):
            A Q-Former that reads no text, by default of InstructBLIP's sizes.
        image_token_id (`int`, *optional*, defaults to 32000):
            The placeholder, which stands for `num_query_tokens` tokens an image.
        num_query_tokens (`int`, *optional*, defaults to 32):
            Query tokens an image.
        caption_weight (`float`, *optional*, defaults to 1.0):
            Weight of the caption's cross-entropy.
        consistency_weight (`float`, *optional*, defaults to 0.25):
            Weight of the consistency of both images' attention. Published: 0.25 on CLEVR-Change, 0.75 on
            Spot-the-Diff, 0.1 on Image-Editing-Request.
        orthogonality_weight (`float`, *optional*, defaults to 1.0):
            Weight of what keeps the queries apart. Published, in the same order: 1.0, 0.5, 0.75.
        consistency_temperature (`float`, *optional*, defaults to 1.0):
            Temperature of the attention scores that are compared. Published: 0.1, of probabilities.
        consistency_target_temperature (`float`, *optional*, defaults to 0.5):
            The same of those that they are compared with. Published: 0.05, of probabilities.
        orthogonality_temperature (`float`, *optional*, defaults to 0.05):
            Temperature of the queries' similarities.
        released_constraints (`bool`, *optional*, defaults to `False`):
            Put the attention's probabilities through a second softmax, as the released code does, with its mean over
            patches and its inner product; temperatures are then of probabilities.
        emphasis_scale (`float`, *optional*, defaults to 10.0):
            What is added to the logit of a token that all of the emphasis falls on.
        emphasis_dropout (`float`, *optional*, defaults to 0.3):
            Of the emphasis, in training.
        released_emphasis (`bool`, *optional*, defaults to `False`):
            Multiply logits by 1 + emphasis, as the released code does: negative ones fall, and of a token that was
            retrieved several times one emphasis counts, not their sum.

    Example:
    ```python
    >>> from ssgpa.baselines.finer_mllm import FinerMLLMConfig, FinerMLLMForConditionalGeneration

    >>> model = FinerMLLMForConditionalGeneration(FinerMLLMConfig(text_config={"model_type": "llama"}))
    ```
    """

    model_type = "finer_mllm"
    image_mean: ClassVar[tuple[float, ...]] = (0.48145466, 0.4578275, 0.40821073)
    image_std: ClassVar[tuple[float, ...]] = (0.26862954, 0.26130258, 0.27577711)
    reads_retrieved: ClassVar[bool] = True
    training_fields: ClassVar[frozenset[str]] = frozenset(
        {f"{name}_weight" for name in ("caption", "consistency", "orthogonality")}
        | {"consistency_temperature", "consistency_target_temperature", "orthogonality_temperature"}
        | {"released_constraints", "emphasis_dropout"}
    )
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "past_key_values",
        "cache",
        "loss_parts",
        "image_hidden_states",
        "image_outputs",
    ]
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": InstructBlipVisionConfig,
        "qformer_config": Blip2QFormerConfig,
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    vision_config: dict | InstructBlipVisionConfig | None = None
    qformer_config: dict | Blip2QFormerConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    image_token_id: int = 32000
    num_query_tokens: int = 32
    caption_weight: float = 1.0
    consistency_weight: float = 0.25
    orthogonality_weight: float = 1.0
    consistency_temperature: float = 1.0
    consistency_target_temperature: float = 0.5
    orthogonality_temperature: float = 0.05
    released_constraints: bool = False
    emphasis_scale: float = 10.0
    emphasis_dropout: float = 0.3
    released_emphasis: bool = False
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.tie_word_embeddings = self.tie_word_embeddings or self.text_config.tie_word_embeddings
        self.qformer_config.encoder_hidden_size = self.vision_config.hidden_size

    def validate_rates(self) -> None:
        """Check that rates and counts lie where they mean something."""
        if self.qformer_config.use_qformer_text_input:
            raise ValueError("`qformer_config`: this Q-Former reads no text; leave `use_qformer_text_input` out.")
        if self.image_token_id < 0:
            raise ValueError(f"`image_token_id` must not be negative, got {self.image_token_id}.")
        if self.num_query_tokens < 1:
            raise ValueError(f"`num_query_tokens` must be at least 1, got {self.num_query_tokens}.")
        if not 0.0 <= self.emphasis_dropout < 1.0:
            raise ValueError(f"`emphasis_dropout` must lie in [0, 1), got {self.emphasis_dropout}.")
        for name in ("consistency_temperature", "consistency_target_temperature", "orthogonality_temperature"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        weights = [f"{name}_weight" for name in ("caption", "consistency", "orthogonality")]
        for name in (*weights, "emphasis_scale", "initializer_range"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be a number from 0 on, got {getattr(self, name)}.")

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of the patches of one image."""
        side = self.vision_config.image_size // self.vision_config.patch_size
        return side, side

    @property
    def num_patches(self) -> int:
        """Patches of one image."""
        return self.patch_grid[0] * self.patch_grid[1]

    @property
    def image_seq_length(self) -> int:
        """Tokens of one image in the prompt: its queries."""
        return self.num_query_tokens


__all__ = ["FinerMLLMConfig"]
