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
"""SCORER model configuration."""

import math
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import auto_docstring

from ...system_config_ssgpa import ChangeCaptioningConfigMixin


# ResNet-101 up to its third stage, whose maps the paper compares: 14 x 14 cells of 1,024 channels at 224 pixels.
RESNET101_STAGE3 = {
    "model_type": "resnet",
    "embedding_size": 64,
    "hidden_sizes": [256, 512, 1024],
    "depths": [3, 4, 23],
    "layer_type": "bottleneck",
    "hidden_act": "relu",
    "downsample_in_first_stage": False,
}
CHOICES = {
    "matching": ("joint", "per_head"),
    "decoder_residual": ("block", "inner"),
    "sentence_pooling": ("mean", "padded_mean"),
    "loss_groups": ("batch", "halves"),
}


@auto_docstring(
    custom_intro="Sizes and rates of SCORER; its defaults are those of CLEVR-Change.", checkpoint="scorer-resnet101"
)
@strict
class SCORERConfig(ChangeCaptioningConfigMixin, PreTrainedConfig):
    r"""Configuration of SCORER.

    Args:
        patch_grid (`list[int]`, *optional*, defaults to `[14, 14]`):
            Rows and columns of the backbone's map of one image.
        coordinates (`bool`, *optional*, defaults to `True`):
            Give each cell its place in the image, from -1 to 1, beside the learned positions.
        encoder_layers (`int`, *optional*, defaults to 2):
            Layers that reconstruct each image from the other.
        matching (`str`, *optional*, defaults to `"joint"`):
            `"joint"` compares whole features before it takes a maximum; `"per_head"` takes the maximum in every
            attention head, as the paper writes it, at as many times the memory as there are heads.
        matching_chunk_size (`int`, *optional*, defaults to 8):
            Pairs of the batch that are matched with all others at once; it bounds memory and changes no result.
        embedding_size (`int`, *optional*, defaults to 300):
            Width of the word embeddings.
        decoder_residual (`str`, *optional*, defaults to `"block"`):
            What the last residual connection of a decoder layer adds: `"block"` the input of its two linear layers,
            as usual; `"inner"` the output of the first, as the released code does.
        cross_view_weight (`float`, *optional*, defaults to 0.1):
            Weight of the contrast between the two images of a pair and those of others.
        cross_modal_weight (`float`, *optional*, defaults to 0.001):
            Weight of cross-modal backward reasoning; 0 is SCORER without it.
        train_backward_reasoning (`bool`, *optional*, defaults to `True`):
            Train the parameters of backward reasoning. The released code leaves them random and passes gradients
            through.
        sentence_pooling (`str`, *optional*, defaults to `"mean"`):
            How backward reasoning pools a caption's states: `"mean"` over its tokens; `"padded_mean"` divides by
            `max_position_embeddings`, so that a short caption gives a small vector, as the released code does.
        loss_groups (`str`, *optional*, defaults to `"batch"`):
            Which pairs are averaged and contrasted together: `"batch"` all of them; `"halves"` the first pairs of all
            scenes, then the second ones, each half with the same weight, as the released code does.
        logit_scale_init_value (`float`, *optional*, defaults to 1.0):
            Logarithm of the scale of similarities at the start of training.
        max_logit_scale (`float`, *optional*, defaults to 4.605170185988092):
            Its largest value.

    Example:
    ```python
    >>> from ssgpa.baselines.scorer import SCORERConfig, SCORERForConditionalGeneration

    >>> configuration = SCORERConfig()
    >>> model = SCORERForConditionalGeneration(configuration)
    >>> configuration = model.config
    ```
    """

    model_type = "scorer"
    placeholder: ClassVar[str | None] = None
    image_mean: ClassVar[tuple[float, ...]] = (0.485, 0.456, 0.406)
    image_std: ClassVar[tuple[float, ...]] = (0.229, 0.224, 0.225)
    training_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "attention_dropout",
            "cross_modal_weight",
            "cross_view_weight",
            "hidden_dropout",
            "logit_scale_init_value",
            "loss_groups",
            "matching",
            "matching_chunk_size",
            "max_logit_scale",
            "sentence_pooling",
            "train_backward_reasoning",
        }
    )
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="resnet")
    }

    vision_config: dict | PreTrainedConfig | None = None
    patch_grid: list[int] | tuple[int, int] = (14, 14)
    coordinates: bool = True
    hidden_size: int = 512
    num_attention_heads: int = 8
    encoder_layers: int = 2
    matching: str = "joint"
    matching_chunk_size: int = 8
    vocab_size: int = 76
    embedding_size: int = 300
    num_hidden_layers: int = 2
    intermediate_size: int = 512
    decoder_residual: str = "block"
    max_position_embeddings: int = 24
    attention_dropout: float = 0.1
    hidden_dropout: float = 0.1
    layer_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    cross_view_weight: float = 0.1
    cross_modal_weight: float = 0.001
    train_backward_reasoning: bool = True
    sentence_pooling: str = "mean"
    loss_groups: str = "batch"
    logit_scale_init_value: float = 1.0
    max_logit_scale: float = math.log(100)
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        if self.vision_config is None:
            self.vision_config = dict(RESNET101_STAGE3)
        super().__post_init__(**kwargs)
        self.patch_grid = list(self.patch_grid)

    def validate_scorer(self) -> None:
        """Part of strict validation: values that no type excludes.

        Raises:
            ValueError: A field has a value that makes no model; the error names it.
        """
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {getattr(self, name)!r}.")
        if len(self.patch_grid) != 2 or min(self.patch_grid) < 1:
            raise ValueError(f"`patch_grid` is rows and columns, got {self.patch_grid}.")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2 or self.embedding_size % 2:
            raise ValueError(
                "`hidden_size` must be even and a multiple of `num_attention_heads`, and `embedding_size` even, got "
                f"{self.hidden_size}, {self.num_attention_heads} and {self.embedding_size}."
            )
        if self.decoder_residual == "inner" and self.intermediate_size != self.hidden_size:
            raise ValueError('`decoder_residual="inner"` needs an `intermediate_size` equal to `hidden_size`.')
        if min(self.matching_chunk_size, self.encoder_layers, self.num_hidden_layers) < 1:
            raise ValueError("`matching_chunk_size`, `encoder_layers` and `num_hidden_layers` must be at least 1.")


__all__ = ["SCORERConfig"]
