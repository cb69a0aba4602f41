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
"""Beams that share the reading of their prompt (ours)."""

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer
from transformers.generation import GenerationConfig, GenerationMixin
from transformers.utils import ModelOutput

from .compatibility_ssgpa import CACHE


# Transformers lets a class generate whose bases have `GenerationMixin` in their names.
class SharedPromptGenerationMixin(GenerationMixin):
    """`generate` reads each prompt once, however many beams or returned sequences continue it.

    The stock one repeats prompts before it reads them: with pictures in front of a short caption, that is most of what
    five beams cost. All other caches than a fresh dynamic one of keys and values, and runs that return hidden states
    or attentions, go the stock way. Batches that mix PEFT's adapters (`adapter_names`) cannot have beams.
    """

    def _prefill(
        self,
        input_ids: Tensor,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> ModelOutput:
        copies = max(generation_config.num_beams, generation_config.num_return_sequences)
        if copies == 1 or not _can_share(generation_config, model_kwargs):
            return super()._prefill(input_ids, generation_config, model_kwargs, *args, **kwargs)
        # The copies of a row lie side by side.
        first_copies = {name: _first_copies(value, copies) for name, value in model_kwargs.items()}
        outputs = super()._prefill(input_ids[::copies], generation_config, first_copies, *args, **kwargs)
        outputs[CACHE].batch_repeat_interleave(copies)
        outputs.logits = outputs.logits.repeat_interleave(copies, 0)
        return outputs


def _can_share(generation_config: GenerationConfig, model_kwargs: dict[str, Any]) -> bool:
    states = generation_config.output_hidden_states or generation_config.output_attentions
    cache = model_kwargs.get(CACHE)
    if states or generation_config.prefill_chunk_size is not None:
        return False
    if type(cache) is not DynamicCache or cache.offloading or cache.get_seq_length():
        return False
    # Recurrent layers keep states that cannot be repeated.
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in cache.layers)


def _first_copies(value: Any, copies: int) -> Any:
    """The first copy of every row of a tensor, or of the features of encoded pictures."""
    if isinstance(value, Tensor):
        return value[::copies]
    if isinstance(value, ModelOutput):
        return type(value)(**{**value, "pooler_output": value.pooler_output[::copies]})
    if isinstance(value, dict):
        return {name: _first_copies(item, copies) for name, item in value.items()}
    return value


__all__ = ["SharedPromptGenerationMixin"]
