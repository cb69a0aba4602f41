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
"""Beams that share the reading of their prompt (ours).

`generate` repeats each prompt for its beams before the language model reads it: with images in front of a short
caption, that is most of what five beams cost. But it leaves the encoded images as they are, all but their tokens, so
that the model can tell copies from prompts, read one of each, and repeat what comes out.
"""

from typing import Any

from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer
from transformers.utils import ModelOutput

from .compatibility_ssgpa import CACHE


def count_copies(pairs: int, tokens: Tensor, cache: Cache | None, *inputs: Tensor | None) -> int:
    """How often every prompt of a batch stands there, one copy behind the other.

    Args:
        pairs (`int`): Pairs of images that were encoded.
        tokens (`torch.Tensor` of shape `(rows, visual_tokens, text_hidden_size)`): Visual tokens of every row.
        cache (`Cache`, *optional*): Where keys and values are kept. Only those of a fresh dynamic cache can be
            repeated; recurrent layers keep states that cannot.
        *inputs (`torch.Tensor` of shape `(rows, ...)`, *optional*): What else the language model reads.

    Returns:
        `int`: The copies; 1 where rows differ or the cache is another one, so that each row must be read.
    """
    rows = len(tokens)
    if not pairs or rows == pairs or rows % pairs:
        return 1
    if type(cache) is not DynamicCache or cache.offloading or cache.get_seq_length():
        return 1
    if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers):
        return 1
    copies = rows // pairs
    for value in (tokens, *inputs):
        if value is None:
            continue
        if not isinstance(value, Tensor) or len(value) != rows:
            return 1
        groups = value.unflatten(0, (-1, copies))
        if not (groups == groups[:, :1]).all():
            return 1
    return copies


def can_share_rows(language_model: nn.Module) -> bool:
    """Whether a language model may be given fewer rows than `generate` has.

    Not while hooks of PEFT choose an adapter for each of those rows (`adapter_names`); other hooks that run in front
    of a layer may count them as well.

    Args:
        language_model (`nn.Module`): Its layers are looked at.

    Returns:
        `bool`: Whether no layer has such a hook.
    """
    return not any(module._forward_pre_hooks for module in language_model.modules())


def repeat_outputs(outputs: ModelOutput, copies: int) -> ModelOutput:
    """Repeat every row of what a language model gave, keys and values among it.

    Args:
        outputs (`ModelOutput`): Of one copy of each prompt.
        copies (`int`): How many there are.

    Returns:
        `ModelOutput`: As if all copies had been read.
    """
    cache = outputs.get(CACHE)
    if cache is not None:
        cache.batch_repeat_interleave(copies)
    repeated = {name: _repeat(value, copies) for name, value in outputs.items() if name != CACHE}
    return type(outputs)(**repeated, **{CACHE: cache})


def _repeat(value: Any, copies: int) -> Any:
    if isinstance(value, tuple):
        return tuple(_repeat(item, copies) for item in value)
    return value.repeat_interleave(copies, 0) if isinstance(value, Tensor) else value


__all__ = ["can_share_rows", "count_copies", "repeat_outputs"]
