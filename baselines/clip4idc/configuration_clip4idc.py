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
"""CLIP4IDC model configuration."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import BertConfig, CLIPTextConfig, CLIPVisionConfig
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import auto_docstring

from ...system_config_ssgpa import ChangeCaptioningConfigMixin


@auto_docstring(
    custom_intro="Sizes and rates of CLIP4IDC; the defaults are those published, over ViT-B/32.",
    checkpoint="openai/clip-vit-base-patch32",
)
@strict
class CLIP4IDCConfig(ChangeCaptioningConfigMixin, PreTrainedConfig):
    r"""Configuration of CLIP4IDC.

    Args:
        vision_config (`dict`, *optional*):
            CLIP's vision tower.
        text_config (`dict`, *optional*):
            CLIP's text tower; its token and position tables are those of the caption model too.
        num_intra_layers (`int`, *optional*, defaults to 9):
            Layers of the vision tower that see one image; those behind them see the tokens of both.
        logit_scale_init_value (`float`, *optional*, defaults to 2.6592):
            Logarithm of the contrast's scale at the start, where no CLIP gives one.
        max_logit_scale (`float`, *optional*, defaults to 4.6052):
            Its upper bound, the logarithm of 100.
        decoder_layers (`int`, *optional*, defaults to 3):
            Layers of the caption model's encoder, and as many of its decoder.
        decoder_attention_heads (`int`, *optional*, defaults to 8):
            Attention heads of both.
        decoder_ffn_dim (`int`, *optional*, defaults to 2048):
            Width of their feed-forward layers.
        decoder_hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of both and of the head.
        decoder_layer_norm_eps (`float`, *optional*, defaults to 1e-12):
            Of their norms.
        dropout (`float`, *optional*, defaults to 0.1):
            Of the caption model's hidden states.
        attention_dropout (`float`, *optional*, defaults to 0.1):
            Of the caption model's attention.
        caption_weight (`float`, *optional*, defaults to 1.0):
            Weight of the caption's cross-entropy. The released code adds up a scene's change and no-change halves
            instead of averaging them: 2.0.
        initializer_factor (`float`, *optional*, defaults to 1.0):
            Scale of CLIP's random weights.

    Example:
    ```python
    >>> from ssgpa.baselines.clip4idc import CLIP4IDCConfig, CLIP4IDCForConditionalGeneration

    >>> model = CLIP4IDCForConditionalGeneration(CLIP4IDCConfig())
    ```
    """

    model_type = "clip4idc"
    # The decoder attends to the images; they take no place in the text.
    placeholder: ClassVar[str | None] = None
    image_mean: ClassVar[tuple[float, ...]] = (0.48145466, 0.4578275, 0.40821073)
    image_std: ClassVar[tuple[float, ...]] = (0.26862954, 0.26130258, 0.27577711)
    training_fields: ClassVar[frozenset[str]] = frozenset(
        {"caption_weight", "logit_scale_init_value", "max_logit_scale", "dropout", "attention_dropout"}
    )
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values", "cache", "loss_parts", "image_outputs"]
    sub_configs_defaults: ClassVar[dict[str, type]] = {
        "vision_config": CLIPVisionConfig,
        "text_config": CLIPTextConfig,
    }

    vision_config: dict | CLIPVisionConfig | None = None
    text_config: dict | CLIPTextConfig | None = None
    projection_dim: int = 512
    num_intra_layers: int = 9
    logit_scale_init_value: float = 2.6592
    max_logit_scale: float = 4.605170185988092
    decoder_layers: int = 3
    decoder_attention_heads: int = 8
    decoder_ffn_dim: int = 2048
    decoder_hidden_act: str = "gelu"
    decoder_layer_norm_eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    caption_weight: float = 1.0
    initializer_range: float = 0.02
    initializer_factor: float = 1.0
    tie_word_embeddings: bool = True

    def validate_architecture(self) -> None:
        """Check that the parts fit together."""
        layers = self.vision_config.num_hidden_layers
        if not 0 <= self.num_intra_layers <= layers:
            raise ValueError(
                f"`num_intra_layers` must lie between 0 and the vision tower's {layers} layers, got "
                f"{self.num_intra_layers}."
            )
        if self.projection_dim != self.text_config.hidden_size:
            raise ValueError(
                f"`projection_dim` ({self.projection_dim}) must be the text tower's width "
                f"({self.text_config.hidden_size}): the caption model shares its tables."
            )
        if self.decoder_layers < 1:
            raise ValueError(f"`decoder_layers` must be at least 1, got {self.decoder_layers}.")
        if self.projection_dim % self.decoder_attention_heads:
            raise ValueError(
                f"`projection_dim` ({self.projection_dim}) must be a multiple of `decoder_attention_heads` "
                f"({self.decoder_attention_heads})."
            )

    @property
    def image_positions(self) -> int:
        """Tokens of one image: the class token and the patches."""
        return (self.vision_config.image_size // self.vision_config.patch_size) ** 2 + 1

    def caption_config(self, **flags: Any) -> BertConfig:
        """Sizes of the caption model's layers, which are BERT's.

        Args:
            **flags (`Any`, *optional*): `is_decoder` and `add_cross_attention`.

        Returns:
            `BertConfig`: Of its encoder, or of its decoder with both flags.
        """
        return BertConfig(
            vocab_size=self.text_config.vocab_size,
            hidden_size=self.projection_dim,
            num_hidden_layers=self.decoder_layers,
            num_attention_heads=self.decoder_attention_heads,
            intermediate_size=self.decoder_ffn_dim,
            hidden_act=self.decoder_hidden_act,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.attention_dropout,
            max_position_embeddings=self.text_config.max_position_embeddings,
            initializer_range=self.initializer_range,
            layer_norm_eps=self.decoder_layer_norm_eps,
            pad_token_id=None,
            attn_implementation=self._attn_implementation,
            **flags,
        )


__all__ = ["CLIP4IDCConfig"]
