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
"""Language models that read visual tokens in the places of a prompt's placeholders (ours)."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutputWithPast, BaseModelOutputWithPooling
from transformers.utils import torch_compilable_check

from .compatibility_ssgpa import CACHE
from .prompt_sharing_ssgpa import can_share_rows, count_copies, repeat_outputs


class VisualPromptMixin:
    """The language model's side of a system whose images take places in the prompt, in front of `PreTrainedModel`.

    The model has a `language_model`, and its configuration the field `image_token_id`.
    """

    def get_input_embeddings(self) -> nn.Module:
        """Word embeddings of the language model."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's word embeddings."""
        self.language_model.set_input_embeddings(value)

    def get_placeholder_mask(
        self, input_ids: Tensor | None, inputs_embeds: Tensor, image_tokens: Tensor, chunk: bool = False
    ) -> Tensor:
        """Where the image tokens go (batch, sequence, 1); every prompt must hold as many as its pair has tokens.

        Of a `chunk` of the prompts, only their number is known: its tokens come in one row.
        """
        if input_ids is None:
            token = torch.full((), self.config.image_token_id, dtype=torch.long, device=inputs_embeds.device)
            mask = (inputs_embeds == self.get_input_embeddings()(token)).all(-1)
        else:
            mask = input_ids == self.config.image_token_id
        if mask.device.type != "meta":  # where numbers are counted and none is known
            found = mask.sum() if chunk else mask.sum(-1)
            wanted = image_tokens.shape[0] * image_tokens.shape[1] if chunk else image_tokens.shape[1]
            torch_compilable_check(
                (found == wanted).all() & (chunk or mask.shape[0] == image_tokens.shape[0]),
                lambda: (
                    f"The prompts hold {mask.sum(-1).tolist()} image tokens, the {len(image_tokens)} pairs give "
                    f"{image_tokens.shape[1]} visual tokens each: check the processor's `image_seq_length`."
                ),
            )
        return mask.unsqueeze(-1).to(inputs_embeds.device)

    def _embed(
        self, input_ids: Tensor | None, inputs_embeds: Tensor | None, image_tokens: Tensor | None, chunk: bool
    ) -> Tensor:
        """The prompts as the language model reads them, with the image tokens in their places."""
        if inputs_embeds is None:
            inputs_embeds = self.get_input_embeddings()(input_ids)
        if image_tokens is None:
            return inputs_embeds
        image_tokens = image_tokens.to(inputs_embeds.device, inputs_embeds.dtype)
        mask = self.get_placeholder_mask(input_ids, inputs_embeds, image_tokens, chunk)
        return inputs_embeds.masked_scatter(mask, image_tokens)

    def read_prompts(
        self,
        image_features: BaseModelOutputWithPooling | None,
        input_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Let the language model read prompts, each with the visual tokens of its pair.

        Prompts that `generate` has repeated for its beams are read once.

        Args:
            image_features (`BaseModelOutputWithPooling`, *optional*): What `get_image_features` returned: the visual
                tokens in `pooler_output` (batch, visual_tokens, text_hidden_size), and in `last_hidden_state` one row
                a pair.
            input_ids (`torch.Tensor` of shape `(batch, sequence)`, *optional*): The prompts.
            inputs_embeds (`torch.Tensor` of shape `(batch, sequence, text_hidden_size)`, *optional*): Embeddings in
                place of `input_ids`.
            attention_mask (`torch.Tensor` of shape `(batch, sequence)`, *optional*): 1 for tokens, 0 for padding; with
                four dimensions, what is added to the scores.
            position_ids (`torch.Tensor` of shape `(batch, sequence)`, *optional*): Positions of the tokens.
            cache (`Cache`, *optional*): Keys and values of the tokens before.
            **kwargs (`Any`, *optional*): Passed on to the language model.

        Returns:
            `BaseModelOutputWithPast`: Of the language model.

        Raises:
            ValueError: A prompt has another number of placeholders than its pair has visual tokens.
        """
        copies, tokens, chunk = 1, None, False
        if image_features is not None:
            tokens = image_features.pooler_output
            # Beam search hands the pairs' tokens back as a list.
            tokens = tokens if isinstance(tokens, Tensor) else torch.stack(list(tokens))
            prompts = (input_ids, inputs_embeds, attention_mask, position_ids)
            # A prompt that is read in chunks comes with the tokens of each chunk alone.
            chunk = image_features.last_hidden_state is None
            if not chunk:
                copies = count_copies(len(image_features.last_hidden_state), tokens, cache, *prompts)
            # Its layers are looked at for copies alone: a step of training has none.
            if copies > 1 and not can_share_rows(self.language_model):
                copies = 1
        if copies > 1:
            input_ids, inputs_embeds, attention_mask, position_ids, tokens = (
                value if value is None else value[::copies] for value in (*prompts, tokens)
            )
        inputs_embeds = self._embed(input_ids, inputs_embeds, tokens, chunk)
        if attention_mask is not None and attention_mask.is_floating_point():
            # What is added to the scores; beside a language model in bfloat16 a float32 mask is refused.
            attention_mask = attention_mask.to(inputs_embeds.dtype)
        outputs = self.language_model(
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **{CACHE: cache},
            **kwargs,
        )
        if copies > 1:
            outputs = repeat_outputs(outputs, copies)
        return outputs


__all__ = ["VisualPromptMixin"]
