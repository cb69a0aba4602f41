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
"""What the shared code asks of a system's configuration class (ours)."""

from typing import Any, ClassVar


class ChangeCaptioningConfigMixin:
    """The base of every system's configuration class, in front of `PreTrainedConfig`.

    Data preparation, training, memory counts and the Hub read these instead of asking which system it is. They belong
    to the class: no checkpoint can change them.

    Attributes:
        pair_layout (`str`): How the model takes a pair: `"pair"` is `pixel_values` of shape `(batch, 2, channels,
            height, width)`; `"vertical"` and `"horizontal"` are one concatenated image, `(batch, channels, height,
            width)`.
        placeholder (`str`, *optional*): Stands for an image in the prompt; None for systems whose decoder attends
            to the images, so that they take no place in the text. With one, the configuration has the field
            `image_token_id` and the property `image_seq_length`, tokens of one placeholder.
        image_mean (`tuple[float, ...]`): Of each channel, for an image processor made from nothing.
        image_std (`tuple[float, ...]`): Of each channel, likewise.
        pixel_fields (`tuple[str, ...]`): Weights of losses that need pixels; they must be 0 where
            `vision_features` take their place.
        former_fields (`dict[str, str]`): Former names of fields, which saved checkpoints may hold, and those of now.
        training_fields (`frozenset[str]`): Fields that training alone reads; captions do not depend on them.
        packs_captions (`bool`): Whether several captions of a pair may come packed in one row.
        reads_retrieved (`bool`): Whether the model takes `retrieved_ids` and `retrieved_mask`, tokens of captions that
            were retrieved for each pair.
    """

    pair_layout: ClassVar[str] = "pair"
    placeholder: ClassVar[str | None] = "<image>"
    image_mean: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.5)
    image_std: ClassVar[tuple[float, ...]] = (0.5, 0.5, 0.5)
    former_fields: ClassVar[dict[str, str]] = {}
    pixel_fields: ClassVar[tuple[str, ...]] = ()
    training_fields: ClassVar[frozenset[str]] = frozenset()
    packs_captions: ClassVar[bool] = True
    reads_retrieved: ClassVar[bool] = False

    @property
    def visual_tokens(self) -> int:
        """Placeholder tokens that a pair takes in the prompt."""
        if self.placeholder is None:
            return 0
        return self.image_seq_length * (2 if self.pair_layout == "pair" else 1)

    def fields_over_base(self) -> dict[str, Any]:
        """Fields that a checkpoint over a base must tell beside what was trained, because the base does not.

        Returns:
            `dict[str, Any]`: None, where the base is a system with a configuration of its own.
        """
        return {}

    @classmethod
    def with_vocabulary(cls, values: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
        """Fill a tokenizer's size and ids into the values of a configuration that starts from nothing.

        Args:
            values (`dict[str, Any]`): As a JSON file holds them.
            tokenizer (`PreTrainedTokenizerBase`): With start, end and padding token.

        Returns:
            `dict[str, Any]`: New values; ids are those of the language model in `text_config`, or the configuration's
            own where it has no such part.

        Raises:
            ValueError: The class has a `text_config`, and the values have none.
        """
        ids = {"vocab_size": len(tokenizer)}
        ids |= {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
        values = dict(values)
        if cls.placeholder is not None:
            values["image_token_id"] = tokenizer.convert_tokens_to_ids(cls.placeholder)
        if "text_config" not in cls.sub_configs:
            return values | ids
        if not isinstance(values.get("text_config"), dict):
            raise ValueError("`text_config`, which describes the language model, is missing.")
        return values | {"text_config": values["text_config"] | ids}


__all__ = ["ChangeCaptioningConfigMixin"]
