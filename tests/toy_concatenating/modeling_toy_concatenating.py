# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A toy system that reads one image, the earlier above the later; its cells stand in a language model's prompt."""

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple

from ssgpa.compatibility_ssgpa import CACHE, renamed_cache
from ssgpa.modeling_ssgpa import SSGPACausalLMOutputWithPast
from ssgpa.system_ssgpa import ChangeCaptioningModelMixin

from .configuration_toy_concatenating import ToyConcatenatingConfig


class ToyConcatenatingPreTrainedModel(ChangeCaptioningModelMixin, PreTrainedModel):
    """What both classes share."""

    config: ToyConcatenatingConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")


class ToyConcatenatingModel(ToyConcatenatingPreTrainedModel):
    """Tower and language model without a head."""

    def __init__(self, config: ToyConcatenatingConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config, attn_implementation="eager")
        self.pool = nn.AdaptiveAvgPool2d((config.image_seq_length, 1))
        self.projection = nn.Linear(config.vision_config.hidden_sizes[-1], config.text_config.hidden_size)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.language_model.set_input_embeddings(value)

    @can_return_tuple
    def get_image_features(self, pixel_values, **kwargs):
        """Cells from top to bottom, (batch, image_seq_length, width)."""
        maps = self.pool(self.vision_tower(pixel_values).last_hidden_state)
        states = self.projection(maps.flatten(2).transpose(1, 2))
        return BaseModelOutputWithPooling(last_hidden_state=states, pooler_output=states)

    def forward(self, input_ids, pixel_values=None, mm_encoder_outputs=None, **kwargs):
        """Embed the prompt, put the cells into it, and read on."""
        features = (mm_encoder_outputs or {}).get("image")
        if features is None and pixel_values is not None:
            features = self.get_image_features(pixel_values, return_dict=True)
        embeds = self.get_input_embeddings()(input_ids)
        places = (input_ids == self.config.image_token_id).unsqueeze(-1)
        if features is not None:
            states = features.last_hidden_state
            states = states.repeat_interleave(len(input_ids) // len(states), 0)
            embeds = embeds.masked_scatter(places, states.to(embeds.dtype))
        return self.language_model(inputs_embeds=embeds, **kwargs)


class ToyConcatenatingForConditionalGeneration(ToyConcatenatingPreTrainedModel, GenerationMixin):
    """The toy with a head and the caption's loss."""

    def __init__(self, config: ToyConcatenatingConfig) -> None:
        super().__init__(config)
        self.model = ToyConcatenatingModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    @renamed_cache
    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        cache=None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        mm_encoder_outputs: dict | None = None,
        use_cache: bool | None = None,
        **kwargs,
    ):
        """Predict the caption, and its loss where labels are given."""
        outputs = self.model(
            input_ids,
            pixel_values,
            mm_encoder_outputs,
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=use_cache,
            **{CACHE: cache},
        )
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            vocab_size = self.config.text_config.vocab_size
            loss = self.loss_function(
                logits=logits, labels=labels[:, -logits.shape[1] :], vocab_size=vocab_size, **kwargs
            )
        return SSGPACausalLMOutputWithPast(loss=loss, logits=logits, **{CACHE: outputs.get(CACHE)})


__all__ = ["ToyConcatenatingForConditionalGeneration", "ToyConcatenatingModel"]
