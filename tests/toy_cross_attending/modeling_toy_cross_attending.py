# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A toy system whose decoder attends to both images: no placeholders, no alignment, no evidence."""

from typing import ClassVar

import torch
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple

from ssgpa.compatibility_ssgpa import CACHE, renamed_cache
from ssgpa.modeling_ssgpa import SSGPACausalLMOutputWithPast
from ssgpa.system_ssgpa import ChangeCaptioningModelMixin, Paper

from .configuration_toy_cross_attending import ToyCrossAttendingConfig


class ToyCrossAttendingPreTrainedModel(ChangeCaptioningModelMixin, PreTrainedModel):
    """What both classes share."""

    config: ToyCrossAttendingConfig
    base_model_prefix = "model"
    input_modalities = ("image", "text")
    auto_classes: ClassVar[dict[str, str]] = {"AutoModel": "ToyCrossAttendingModel"}
    pretrained_modules: ClassVar[tuple[str, ...]] = ("model.language_model.", "model.vision_tower.")
    card_tags: ClassVar[tuple[str, ...]] = ("toy",)
    paper: ClassVar[Paper] = Paper("A Toy", "Nowhere 2026", "@misc{toy, title = {A Toy}}", "It is a toy.")


class ToyCrossAttendingModel(ToyCrossAttendingPreTrainedModel):
    """Tower and decoder without a head."""

    def __init__(self, config: ToyCrossAttendingConfig) -> None:
        super().__init__(config)
        self.vision_tower = AutoModel.from_config(config.vision_config, attn_implementation="eager")
        self.projection = nn.Linear(config.vision_config.hidden_sizes[-1], config.text_config.hidden_size)
        self.language_model = AutoModel.from_config(config.text_config, add_pooling_layer=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value):
        self.language_model.set_input_embeddings(value)

    @can_return_tuple
    def get_image_features(self, pixel_values, **kwargs):
        """Grids of both images, one after the other, (batch, 2 x cells, width)."""
        maps = self.vision_tower(pixel_values.flatten(0, 1)).last_hidden_state
        states = self.projection(maps.flatten(2).transpose(1, 2)).unflatten(0, (-1, 2)).flatten(1, 2)
        # Without `pooler_output`: `generate` would look for placeholders to repeat it for the beams.
        return BaseModelOutput(last_hidden_state=states)

    def forward(self, input_ids, pixel_values=None, mm_encoder_outputs=None, cache=None, use_cache=None, **kwargs):
        """Decode, at every step beside the images."""
        features = (mm_encoder_outputs or {}).get("image")
        if features is None:
            features = self.get_image_features(pixel_values, return_dict=True)
        states = features.last_hidden_state
        if use_cache and not isinstance(cache, EncoderDecoderCache):
            cache = EncoderDecoderCache(cache if cache is not None else DynamicCache(), DynamicCache())
        outputs = self.language_model(
            input_ids=input_ids,
            encoder_hidden_states=states.repeat_interleave(len(input_ids) // len(states), 0),
            use_cache=use_cache,
            **{CACHE: cache},
            **kwargs,
        )
        return outputs.last_hidden_state, cache


class ToyCrossAttendingForConditionalGeneration(ToyCrossAttendingPreTrainedModel, GenerationMixin):
    """The toy with a head and the caption's loss."""

    def __init__(self, config: ToyCrossAttendingConfig) -> None:
        super().__init__(config)
        self.model = ToyCrossAttendingModel(config)
        self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
        self.post_init()

    def get_output_embeddings(self):
        return self.lm_head

    def prepare_inputs_for_generation(self, *args, mm_encoder_outputs=None, **kwargs):
        """Keep the encoded images, which a stock step beyond the first leaves out."""
        return super().prepare_inputs_for_generation(*args, **kwargs) | {"mm_encoder_outputs": mm_encoder_outputs}

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
        states, cache = self.model(
            input_ids,
            pixel_values,
            mm_encoder_outputs,
            cache,
            use_cache and labels is None,
            attention_mask=attention_mask,
            position_ids=position_ids,
        )
        logits = self.lm_head(slice_logits_to_keep(states, logits_to_keep))
        parts = None
        if labels is not None:
            vocab_size = self.config.text_config.vocab_size
            loss = self.loss_function(
                logits=logits, labels=labels[:, -logits.shape[1] :], vocab_size=vocab_size, **kwargs
            )
            parts = {"caption": self.config.caption_weight * loss}
        return SSGPACausalLMOutputWithPast(
            loss=parts and sum(parts.values()), loss_parts=parts, logits=logits, **{CACHE: cache}
        )


__all__ = ["ToyCrossAttendingForConditionalGeneration", "ToyCrossAttendingModel"]
