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
from transformers.cache_utils import DynamicCache
from transformers.generation import GenerationConfig, GenerationMixin
from transformers.utils import ModelOutput


class SharedPromptGenerationMixin(GenerationMixin):
    """`generate` reads each prompt once, however many beams or returned sequences continue it.

    The stock one repeats prompts before it reads them: with pictures in front of a short caption, that is most of what
    five beams cost. Other caches than a fresh dynamic one, hidden states and attentions on request, and prompts in
    chunks go the stock way.
    """

    def _prefill(
        self,
        input_ids: Tensor,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        is_first_iteration: bool = True,
    ) -> ModelOutput:
        copies = max(generation_config.num_beams, generation_config.num_return_sequences)
        if copies == 1 or not is_first_iteration or not _can_share(generation_config, model_kwargs):
            return super()._prefill(input_ids, generation_config, model_kwargs, is_first_iteration)
        # The copies of a row lie side by side.
        first_copies = {name: _first_copies(value, copies) for name, value in model_kwargs.items()}
        outputs = super()._prefill(input_ids[::copies], generation_config, first_copies, is_first_iteration)
        outputs.past_key_values.batch_repeat_interleave(copies)
        outputs.logits = outputs.logits.repeat_interleave(copies, 0)
        return outputs


def _can_share(generation_config: GenerationConfig, model_kwargs: dict[str, Any]) -> bool:
    cache = model_kwargs.get("past_key_values")
    states = generation_config.output_hidden_states or generation_config.output_attentions
    fresh = type(cache) is DynamicCache and cache.get_seq_length() == 0
    return fresh and not states and generation_config.prefill_chunk_size is None


def _first_copies(value: Any, copies: int) -> Any:
    """The first copy of every row of a tensor, or of the features of encoded pictures."""
    if isinstance(value, Tensor):
        return value[::copies] if value.ndim else value
    if isinstance(value, dict) and not isinstance(value, ModelOutput):
        return {name: _first_copies(item, copies) for name, item in value.items()}
    if isinstance(value, ModelOutput):
        return type(value)(**{**value, "pooler_output": value.pooler_output[::copies]})
    return value


__all__ = ["SharedPromptGenerationMixin"]
