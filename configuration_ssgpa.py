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
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import auto_docstring, logging

from .change_config_ssgpa import ChangeModulesConfig
from .compatibility_ssgpa import warn_if_untested


logger = logging.get_logger(__name__)


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
        content_cue_weight (`float`, *optional*, defaults to 1.0):
            What the change of content is multiplied by in the change map, which ends at 1.
        motion_cue_weight (`float`, *optional*, defaults to 1.0):
            What an object's own motion is multiplied by there.
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


__all__ = ["SSGPAConfig"]
