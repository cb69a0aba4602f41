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
"""Configuration of SSGPA inside a VLM."""

import math
from dataclasses import fields
from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import auto_docstring

from ..change_config_ssgpa import ChangeModulesConfig
from ..compatibility_ssgpa import warn_if_untested
from .ports_ssgpa_vlm import Port, port_of


# Matching costs the square of the patches: 1,024 of each image take a CPU thread a second.
LARGEST_SIDE = 32


@auto_docstring(
    custom_intro="A VLM, and sizes and rates of adapter and alignment in front of its connector (ours).",
    checkpoint="HuggingFaceTB/SmolVLM-256M-Instruct",
)
@strict
class SSGPAVLMConfig(ChangeModulesConfig):
    r"""Configuration of SSGPA inside a VLM.

    Args:
        vlm_config (`dict`, *optional*):
            Configuration of the VLM, of any family of `PORTS`; by default SmolVLM's.
        vlm_name_or_path (`str`, *optional*):
            Id on the Hub or folder that the VLM came from.
        vlm_revision (`str`, *optional*):
            Its commit, for an id.
        image_size (`list[int]`, *optional*):
            Height and width that both images are resized to, in pixels; by default the tower's own, or about 448 for
            towers that take any. Many towers take their own size alone, some squares alone.
        patch_grid (`list[int]`, *optional*):
            Rows and columns on which the images are compared; the VLM's patches are pooled to it. By default the VLM's
            own grid, at most 32 a side.
        patch_hidden_size (`int`, *optional*):
            Width of the patches, which follows from the VLM.
        fusion_layers (`int`, *optional*, defaults to 4):
            Layers of the Change Fusion Adapter; 0 leaves the tower's features as they are.
        fusion_hidden_size (`int`, *optional*):
            Bottleneck of the adapter, by default a quarter of the patches' width or the next multiple of the heads.
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
            Sinkhorn updates.
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
            Weight of the warp loss: match an image with a known warp of itself. Sends more images through the tower.
        warp_fraction (`float`, *optional*, defaults to 0.25):
            Share of a batch's pairs of which an image is warped, rounded up.
        cycle_weight (`float`, *optional*, defaults to 0.05):
            Weight of the cycle loss: what is matched comes back to itself by way of the other image.
        global_weight (`float`, *optional*, defaults to 0.05):
            Weight of the global loss: the matched patches of both images agree on the whole.

    Example:
    ```python
    >>> from ssgpa.vlm import SSGPAForVLM, SSGPAVLMConfig

    >>> configuration = SSGPAVLMConfig(vlm_config={"model_type": "smolvlm"}, fusion_layers=2)
    >>> model = SSGPAForVLM(configuration)
    ```
    """

    model_type = "ssgpa_vlm"
    # The VLM reads one caption a row: families whose attention is not causal, or whose positions have three
    # directions, could not tell packed captions apart.
    packs_captions: ClassVar[bool] = False
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vlm_config": SubConfigSpec(config_class=AutoConfig, model_type="smolvlm")
    }

    vlm_config: dict | PreTrainedConfig | None = None
    vlm_name_or_path: str | None = None
    vlm_revision: str | None = None
    image_size: list[int] | tuple[int, int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        warn_if_untested()
        self._tell_unknown(kwargs)
        super().__post_init__(**kwargs)
        port = self.port
        size = self.image_size if self.image_size is not None else port.default_size(self.vlm_config)
        if len(size) != 2:
            raise ValueError(f"`image_size` is height and width, got {list(size)}.")
        self.image_size = list(size)
        if self.patch_hidden_size is None:
            self.patch_hidden_size = port.width(self.vlm_config)
        if self.patch_grid is None:
            self.patch_grid = [min(side, LARGEST_SIDE) for side in port.grid(self.vlm_config, tuple(size))]
        self.patch_grid = list(self.patch_grid)
        if self.fusion_hidden_size is None:
            heads = max(self.fusion_num_attention_heads, 1)
            self.fusion_hidden_size = math.ceil(self.patch_hidden_size / 4 / heads) * heads

    def validate_image_size(self) -> None:
        """Check that images can be cut into patches and tokens."""
        self.port.check_size(self.vlm_config, tuple(self.image_size))

    def validate_patch_grid(self) -> None:
        """Check the grid on which the images are compared, and the width of what stands there."""
        grid = self.patch_grid
        if len(grid) != 2 or min(grid) < 1 or max(grid) > LARGEST_SIDE:
            raise ValueError(f"`patch_grid` must be two numbers of 1 to {LARGEST_SIDE}, (rows, columns), got {grid}.")
        width = self.port.width(self.vlm_config)
        if self.patch_hidden_size != width:
            raise ValueError(f"`patch_hidden_size` is {self.patch_hidden_size}, but the VLM's patches have {width}.")

    @property
    def port(self) -> Port:
        """Where the VLM's vision features are."""
        return port_of(self.vlm_config)

    @property
    def image_token_id(self) -> int:
        """Id of the token that is repeated for an image."""
        return self.vlm_config.image_token_id

    @property
    def image_seq_length(self) -> int:
        """Tokens of one image in the language model."""
        return self.port.image_tokens(self.vlm_config, tuple(self.image_size))

    @classmethod
    def with_vocabulary(cls, values: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
        """Fill a tokenizer's size and ids into the VLM's configuration and that of its language model.

        Args:
            values (`dict[str, Any]`): As a JSON file holds them; `vlm_config` has a `text_config`.
            tokenizer (`PreTrainedTokenizerBase`): With start, end and padding token.

        Returns:
            `dict[str, Any]`: New values.

        Raises:
            ValueError: The VLM or its language model is not described.
        """
        vlm = values.get("vlm_config")
        if not isinstance(vlm, dict) or not isinstance(vlm.get("text_config"), dict):
            raise ValueError("`vlm_config` with its `text_config`, which describe the VLM, is missing.")
        ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
        text = vlm["text_config"] | ids | {"vocab_size": len(tokenizer)}
        token = tokenizer.convert_tokens_to_ids(cls.placeholder)
        # Families call it by one of these names, or by both.
        return dict(values) | {
            "vlm_config": vlm | {"text_config": text, "image_token_id": token, "image_token_index": token}
        }

    def fields_over_base(self) -> dict[str, Any]:
        """All fields of this class but those that tell which VLM it is, which is the base."""
        inherited = {field.name for field in fields(PreTrainedConfig)}
        names = [field.name for field in fields(self) if field.name not in inherited]
        return {name: getattr(self, name) for name in names if not name.startswith("vlm_")}

    def get_text_config(self, decoder: bool = False, encoder: bool = False) -> PreTrainedConfig:
        """The language model's configuration."""
        return self.vlm_config.get_text_config(decoder=decoder, encoder=encoder)


__all__ = ["SSGPAVLMConfig"]
