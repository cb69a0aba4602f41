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
"""BLIP2IDC model configuration."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import Blip2QFormerConfig, Blip2VisionConfig, OPTConfig
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import auto_docstring

from ...system_config_ssgpa import ChangeCaptioningConfigMixin


@auto_docstring(
    custom_intro="Sizes and rates of BLIP2IDC; the defaults are those of BLIP-2, with OPT of any size.",
    checkpoint="Salesforce/blip2-opt-2.7b",
)
@strict
class BLIP2IDCConfig(ChangeCaptioningConfigMixin, PreTrainedConfig):
    r"""Configuration of BLIP2IDC.

    Args:
        vision_config (`dict`, *optional*):
            BLIP-2's vision tower.
        qformer_config (`dict`, *optional*):
            Its Q-Former, which reads the tower.
        text_config (`dict`, *optional*):
            OPT.
        num_query_tokens (`int`, *optional*, defaults to 32):
            Queries of the Q-Former: tokens of the pair in the prompt.
        image_token_id (`int`, *optional*, defaults to 50265):
            Stands for a query in the prompt; OPT's vocabulary has room behind its 50,265 tokens.
        padded_length (`int`, *optional*):
            Tokens of a caption in training, the start token among them: shorter ones are filled up with end tokens,
            all of which are learned, and longer ones are cut. The released code has 30. By default every caption has
            its own length and one end token.
        interpolate_pos_encoding (`bool`, *optional*, defaults to `False`):
            Read images of any size, such as 448 x 224, by interpolated positions.

    Example:
    ```python
    >>> from ssgpa.baselines.blip2idc import BLIP2IDCConfig, BLIP2IDCForConditionalGeneration

    >>> model = BLIP2IDCForConditionalGeneration(BLIP2IDCConfig())
    ```
    """

    model_type = "blip2idc"
    pair_layout: ClassVar[str] = "vertical"
    image_mean: ClassVar[tuple[float, ...]] = (0.48145466, 0.4578275, 0.40821073)
    image_std: ClassVar[tuple[float, ...]] = (0.26862954, 0.26130258, 0.27577711)
    training_fields: ClassVar[frozenset[str]] = frozenset({"padded_length"})
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "past_key_values",
        "cache",
        "loss_parts",
        "image_hidden_states",
        "image_outputs",
    ]
    sub_configs_defaults: ClassVar[dict[str, type]] = {
        "vision_config": Blip2VisionConfig,
        "qformer_config": Blip2QFormerConfig,
        "text_config": OPTConfig,
    }

    vision_config: dict | Blip2VisionConfig | None = None
    qformer_config: dict | Blip2QFormerConfig | None = None
    text_config: dict | OPTConfig | None = None
    num_query_tokens: int = 32
    image_token_id: int = 50265
    padded_length: int | None = None
    interpolate_pos_encoding: bool = False
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.qformer_config.encoder_hidden_size = self.vision_config.hidden_size

    def validate_architecture(self) -> None:
        """Check that sizes make a model."""
        text = self.text_config
        if text.word_embed_proj_dim != text.hidden_size:
            raise ValueError(
                f"`text_config`: `word_embed_proj_dim` ({text.word_embed_proj_dim}) must be `hidden_size` "
                f"({text.hidden_size}), where the visual tokens go."
            )
        if self.num_query_tokens < 1:
            raise ValueError(f"`num_query_tokens` must be at least 1, got {self.num_query_tokens}.")
        if self.image_token_id < 0:
            raise ValueError(f"`image_token_id` must not be negative, got {self.image_token_id}.")
        if self.padded_length is not None and self.padded_length < 2:
            raise ValueError(
                f"`padded_length` must be at least 2, a start token and a word, got {self.padded_length}; leave it "
                "out for captions of their own length."
            )

    @property
    def image_seq_length(self) -> int:
        """Tokens of a pair in the prompt."""
        return self.num_query_tokens


__all__ = ["BLIP2IDCConfig"]
