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
"""ProCap model configuration."""

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import BartConfig, CLIPVisionConfig
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.utils import auto_docstring

from ...system_config_ssgpa import ChangeCaptioningConfigMixin


# A VQGAN of 1,024 codes that makes one of 16 x 16 pixels, at the size of image that is published: 14 x 14 codes.
VQGAN_F16_1024 = {"num_embeddings": 1024, "resolution": 224}
CHOICES = {"text_slots": ("padding", "first_words"), "loss_reduction": ("mean", "sum")}


@auto_docstring(
    custom_intro="Sizes and rates of ProCap; its defaults are those of CLEVR-Change.", checkpoint="procap-vit-b-32"
)
@strict
class ProCapConfig(ChangeCaptioningConfigMixin, PreTrainedConfig):
    r"""Configuration of ProCap, of both stages.

    Args:
        vision_config (`dict`, *optional*):
            Layers of the procedure encoder, which are those of CLIP's vision tower.
        vq_config (`dict`, *optional*):
            The image tokenizer, Transformers' VQ-VAE of Chameleon; `resolution` is the size of the images.
        num_frames (`int`, *optional*, defaults to 4):
            Images of a clip: the one before, those between, the one after.
        text_length (`int`, *optional*, defaults to 24):
            Places for a caption in front of the frames.
        text_vocab_size (`int`, *optional*):
            Words that stage 1 knows; by default `vocab_size`, as both stages share a tokenizer.
        rescale_vq_input (`bool`, *optional*, defaults to `True`):
            Let the image tokenizer's encoder read pixels in [-1, 1], for which it was trained; the released code gives
            it pixels in [0, 1] where it makes features, and in [-1, 1] where it makes codes.
        shared_queries (`bool`, *optional*, defaults to `False`):
            Let all places between the two images of a pair start with one vector, as the released code does; by
            default each has a query of its own, as the paper describes.
        text_slots (`str`, *optional*, defaults to `"padding"`):
            What fills the places of the caption when there is none to read: `"padding"`, what stage 1 puts behind a
            caption; `"first_words"`, the first words of the vocabulary, as the released code does in stage 2.
        shifted_attention_mask (`bool`, *optional*, defaults to `False`):
            Let the released code's attention mask of stage 1 apply to stage 2 as well, where one token is missing in
            front and the rows are off by one.
        scale_by_hidden_size (`bool`, *optional*, defaults to `False`):
            Divide the decoder's attention scores by the root of `hidden_size` instead of that of a head's width, as
            the released code does.
        label_smoothing (`float`, *optional*, defaults to 0.1):
            Share of every target that is spread evenly over the other words.
        loss_reduction (`str`, *optional*, defaults to `"mean"`):
            `"mean"` over the words; `"sum"`, as the released code does.
        msm_weight (`float`, *optional*, defaults to 7.0):
            Weight of masked modelling in stage 1.
        align_weight (`float`, *optional*, defaults to 0.5):
            Weight of telling a clip's caption from another's; 0 leaves it out.
        csy_weight (`float`, *optional*, defaults to 0.5):
            Weight of telling a clip from a corrupted one; 0 leaves it out.
        mask_strategy_weights (`list[float]`, *optional*, defaults to `[0.7, 0.1, 0.1, 0.1]`):
            How often a clip of stage 1 has random patches masked, all, those in a rectangle, those outside of one.
        patch_mask_rate (`float`, *optional*, defaults to 0.8):
            Share of patches that is masked where patches are random.
        block_area (`list[float]`, *optional*, defaults to `[0.2, 0.8]`):
            Smallest and largest share of an image that a rectangle covers.
        block_aspect (`list[float]`, *optional*, defaults to `[0.5, 2.0]`):
            Its smallest and largest height by width.
        corruption_weights (`list[float]`, *optional*, defaults to `[0.25, 0.25, 0.25, 0.25]`):
            How often a corrupted clip has a frame of another clip, its frames in another order, a frame of other
            color, a warped frame.
        skip_equal_captions (`bool`, *optional*, defaults to `True`):
            Take a caption that says the same for no negative. The released code takes it.
        csy_counts_fully_masked (`bool`, *optional*, defaults to `False`):
            Add up the consistency of clips that are fully masked, and divide by the number of the others, as the
            released code does; by default they do not count.
        mask_seed (`int`, *optional*, defaults to 0):
            Of masks and corruptions in evaluation.
        codebook_weight (`float`, *optional*, defaults to 1.0):
            Weight of the codebook's loss where the image tokenizer itself is trained.
        code_restart_steps (`int`, *optional*, defaults to 0):
            Steps in which a code is never the nearest before it is moved to where a latent is, in that training; 0
            never moves one. A codebook from random values needs it, a pretrained one does not.

    Example:
    ```python
    >>> from ssgpa.baselines.procap import ProCapConfig, ProCapForConditionalGeneration

    >>> configuration = ProCapConfig()
    >>> model = ProCapForConditionalGeneration(configuration)
    >>> configuration = model.config
    ```
    """

    model_type = "procap"
    # The decoder attends to the images; they take no place in the text.
    placeholder: ClassVar[str | None] = None
    training_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "align_weight",
            "attention_dropout",
            "block_area",
            "block_aspect",
            "code_restart_steps",
            "codebook_weight",
            "corruption_weights",
            "csy_counts_fully_masked",
            "csy_weight",
            "dropout",
            "label_smoothing",
            "loss_reduction",
            "mask_seed",
            "mask_strategy_weights",
            "msm_weight",
            "patch_mask_rate",
            "skip_equal_captions",
        }
    )
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["past_key_values", "cache", "loss_parts", "image_outputs"]
    sub_configs_defaults: ClassVar[dict[str, type]] = {
        "vision_config": CLIPVisionConfig,
        "vq_config": ChameleonVQVAEConfig,
    }

    vision_config: dict | CLIPVisionConfig | None = None
    vq_config: dict | ChameleonVQVAEConfig | None = None
    num_frames: int = 4
    text_length: int = 24
    text_vocab_size: int | None = None
    vocab_size: int = 80
    hidden_size: int = 512
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    hidden_act: str = "relu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    rescale_vq_input: bool = True
    shared_queries: bool = False
    text_slots: str = "padding"
    shifted_attention_mask: bool = False
    scale_by_hidden_size: bool = False
    label_smoothing: float = 0.1
    loss_reduction: str = "mean"
    msm_weight: float = 7.0
    align_weight: float = 0.5
    csy_weight: float = 0.5
    mask_strategy_weights: list[float] | tuple[float, ...] = (0.7, 0.1, 0.1, 0.1)
    patch_mask_rate: float = 0.8
    block_area: list[float] | tuple[float, ...] = (0.2, 0.8)
    block_aspect: list[float] | tuple[float, ...] = (0.5, 2.0)
    corruption_weights: list[float] | tuple[float, ...] = (0.25, 0.25, 0.25, 0.25)
    skip_equal_captions: bool = True
    csy_counts_fully_masked: bool = False
    mask_seed: int = 0
    codebook_weight: float = 1.0
    code_restart_steps: int = 0
    pad_token_id: int | None = 0
    bos_token_id: int | None = 4
    eos_token_id: int | list[int] | None = 5
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs: Any) -> None:
        if self.vq_config is None:
            self.vq_config = dict(VQGAN_F16_1024)
        super().__post_init__(**kwargs)
        for name in ("mask_strategy_weights", "block_area", "block_aspect", "corruption_weights"):
            setattr(self, name, list(getattr(self, name)))

    def validate_procap(self) -> None:
        """Part of strict validation: values that no type excludes.

        Raises:
            ValueError: A field has a value that makes no model; the error names it.
        """
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"`{name}` must be one of {', '.join(choices)}, got {getattr(self, name)!r}.")
        for name in ("mask_strategy_weights", "corruption_weights"):
            weights = getattr(self, name)
            if len(weights) != 4 or min(weights) < 0 or sum(weights) <= 0:
                raise ValueError(f"`{name}` must be four weights that are not negative, got {weights}.")
        if self.num_frames < 3:
            raise ValueError(f"`num_frames` must be at least 3, one between the images, got {self.num_frames}.")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"`hidden_size` must be even and a multiple of `num_attention_heads`, got {self.hidden_size} and "
                f"{self.num_attention_heads}."
            )
        if self.vq_config.resolution % self.patch_size:
            raise ValueError(
                f"`vq_config.resolution` ({self.vq_config.resolution}) must be a multiple of the {self.patch_size} "
                "pixels that make one code."
            )

    @property
    def patch_size(self) -> int:
        """Height and width, in pixels, of what one code stands for."""
        return 2 ** (len(self.vq_config.channel_multiplier) - 1)

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Rows and columns of codes of one image."""
        return (self.vq_config.resolution // self.patch_size,) * 2

    @property
    def num_patches(self) -> int:
        """Codes of one image."""
        return self.patch_grid[0] * self.patch_grid[1]

    def decoder_config(self) -> BartConfig:
        """Sizes of the caption decoder's layers, which are BART's.

        Returns:
            `BartConfig`: Of the decoder; there is no encoder of BART.
        """
        return BartConfig(
            vocab_size=self.vocab_size,
            d_model=self.hidden_size,
            # BART's own name for the number of layers and heads of any part.
            encoder_layers=self.num_hidden_layers,
            encoder_attention_heads=self.num_attention_heads,
            decoder_layers=self.num_hidden_layers,
            decoder_attention_heads=self.num_attention_heads,
            decoder_ffn_dim=self.intermediate_size,
            activation_function=self.hidden_act,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            init_std=self.initializer_range,
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
            forced_eos_token_id=None,
            decoder_start_token_id=None,
            is_encoder_decoder=False,
            is_decoder=True,
            attn_implementation=self._attn_implementation,
        )


__all__ = ["ProCapConfig"]
