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
"""What the shared code asks of a system's model class (ours)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers.utils import ModelOutput

from .evidence_ssgpa import pooled
from .publishing_ssgpa import publish


@dataclass(frozen=True)
class Paper:
    """Where a system comes from, for its model card.

    Args:
        title (`str`): Of the paper.
        venue (`str`): And the year.
        bibtex (`str`): The citation.
        relation (`str`): What the code is to the paper, a sentence in Markdown.
    """

    title: str
    venue: str
    bibtex: str
    relation: str


def first_output(output: Any) -> Tensor:
    """What a module returned, or the first of several things.

    Args:
        output (`Any`): A tensor, a tuple or a `ModelOutput`.
    """
    return output if isinstance(output, Tensor) else output[0]


class AuxiliaryFeatures(NamedTuple):
    """Modules whose outputs auxiliary heads read in training.

    Args:
        tower (`nn.Module`): Gives the patches before the images are compared.
        compared (`nn.Module`, *optional*): Gives the same after. None where the language model alone compares them:
            there are then no targets for the change.
        hidden_size (`int`): Width of both.
        read (`Callable`, *optional*): Makes of what a module returned (batch, 2, leading tokens + patches,
            hidden_size); by default it is there as the first output.
        leading_tokens (`int`, *optional*, defaults to 1): Tokens of each image in front of its patches.
    """

    tower: nn.Module
    compared: nn.Module | None
    hidden_size: int
    read: Callable[[Any], Tensor] = first_output
    leading_tokens: int = 1


class FreezableTower(nn.Module):
    """A vision tower around one of Transformers' own, which stays in evaluation mode while nothing of it trains.

    A subclass says which one by `inner`.
    """

    @property
    def inner(self) -> nn.Module:
        """The tower of Transformers, without what is added to it."""
        raise NotImplementedError

    @property
    def dtype(self) -> torch.dtype:
        """What the inner tower computes in; what is added to it may be kept in another."""
        return self.inner.dtype

    @property
    def trains(self) -> bool:
        """Whether any of the inner tower's parameters asks for gradients."""
        return any(parameter.requires_grad for parameter in self.inner.parameters())

    def train(self, mode: bool = True) -> "FreezableTower":
        """Keep a frozen tower in evaluation mode, so that its batch statistics stay frozen too."""
        super().train(mode)
        self.inner.train(mode and self.trains)
        return self


class ChangeCaptioningModelMixin:
    """The base of every system's model classes, in front of `PreTrainedModel`.

    Training, memory counts and the Hub read these instead of asking which system it is. The defaults are those of a
    system that offers nothing beside captions.

    Attributes:
        auto_classes (`dict[str, str]`): Names of the classes, in the module of the model, that further Auto classes
            stand for, such as `{"AutoModel": "SSGPAModel"}`.
        former_names (`dict[str, str]`): Regular expressions for parts of the names of modules and weights as earlier
            versions wrote them, and what took their place. Weights are renamed by Transformers' own mapping, which the
            system registers; an adapter's list of modules is renamed by this one.
        pretrained_modules (`tuple[str, ...]`): Beginnings of the names of parameters that some public checkpoint has
            trained; only there LoRA makes sense.
        language_modules (`tuple[str, ...]`): Beginnings of the names of the language model's layers, which quantized
            runs put into 4 bit.
        paper (`Paper`, *optional*): Where the system comes from.
        card_tags (`tuple[str, ...]`): Tags of its model cards beside those of change captioning.
    """

    auto_classes: ClassVar[dict[str, str]] = {}
    former_names: ClassVar[dict[str, str]] = {}
    pretrained_modules: ClassVar[tuple[str, ...]] = ()
    language_modules: ClassVar[tuple[str, ...]] = ("model.language_model.",)
    paper: ClassVar[Paper | None] = None
    card_tags: ClassVar[tuple[str, ...]] = ()

    @property
    def frames_per_pair(self) -> int | None:
        """Frames of a training row, which the run's `frames` makes; None where the model takes the two images."""
        return None

    def get_vision_encoder(self) -> nn.Module | None:
        """The module whose `last_hidden_state` may come as `vision_features`, computed before.

        Returns:
            `nn.Module`: With a `dtype`. Called with `pixel_values` (batch, 2, channels, height, width), it gives one
            row an image, (batch, 2, tokens, hidden_size). None where the model takes no such features.
        """
        return None

    def get_auxiliary_features(self) -> AuxiliaryFeatures | None:
        """Where auxiliary heads read, in systems that have patches; None elsewhere."""
        return None

    def image_statistics(self, features: ModelOutput, pairs: int) -> Tensor:
        """What tells pairs like those of training from others: mean and deviation of the encoded images' vectors.

        Args:
            features (`ModelOutput`): What `get_image_features` returned; `last_hidden_state` is read, or
                `pooler_output` where there is none.
            pairs (`int`): Number of pairs.

        Returns:
            `torch.Tensor` of shape `(pairs, 2 * width)`: Float32.
        """
        states = getattr(features, "last_hidden_state", None)
        return pooled(features.pooler_output if states is None else states, pairs)

    def training_notes(self, outputs: ModelOutput) -> dict[str, Tensor]:
        """Scalars of a training step for the log, beside the parts of the loss.

        Args:
            outputs (`ModelOutput`): What `forward` returned.

        Returns:
            `dict[str, torch.Tensor]`: By name.
        """
        return {}

    def push_to_hub(self, repo_id: str, processor: Any = None, **kwargs: Any) -> Any:
        """Upload a whole repository: weights, code, processor, pipeline and card, in one commit.

        Args:
            repo_id (`str`): `owner/name`; made where it is missing.
            processor (`SSGPAProcessor`, *optional*): By default the one where the model was loaded from.
            **kwargs: `card`, `files`, and those of every `push_to_hub`; see `publish` in `publishing_ssgpa.py`.

        Returns:
            `CommitInfo`: The commit.
        """
        return publish(self, repo_id, processor, **kwargs)


__all__ = ["AuxiliaryFeatures", "ChangeCaptioningModelMixin", "FreezableTower", "Paper"]
