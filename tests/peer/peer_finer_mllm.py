# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""transformers' own model and configuration tests on a tiny FINER-MLLM, run by `run.py`."""

import json
import tempfile
import unittest
from pathlib import Path

import torch
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)
from transformers_peer.generation.test_utils import GenerationTesterMixin
from transformers_peer.test_configuration_common import ConfigTester
from transformers_peer.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor

from ssgpa.baselines import finer_mllm
from ssgpa.baselines.finer_mllm import FinerMLLMConfig, FinerMLLMForConditionalGeneration, FinerMLLMModel


MODEL_MAPPING_NAMES["finer_mllm"] = "FinerMLLMModel"
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES["finer_mllm"] = "FinerMLLMForConditionalGeneration"
SPECIAL = 5


class FinerMLLMModelTester:
    """What the suite asks of a model's tester: a tiny configuration, a batch, and their sizes."""

    is_training = True
    # The suite fills smaller batches up with ids below 5, the placeholder among them.
    batch_size = 7
    words = 7

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent
        config = self.get_config()
        self.text_config = config.text_config.to_dict()
        self.vision_config = config.vision_config.to_dict()
        self.hidden_size = config.text_config.hidden_size
        self.num_hidden_layers = config.text_config.num_hidden_layers
        self.num_attention_heads = config.text_config.num_attention_heads
        self.seq_length = config.visual_tokens + self.words

    def get_config(self) -> FinerMLLMConfig:
        values = json.loads(Path(finer_mllm.__file__).with_name("tiny.json").read_text("utf-8"))
        values["text_config"] |= {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        values["image_token_id"] = SPECIAL - 1
        return FinerMLLMConfig(**{name: value for name, value in values.items() if name != "model_type"})

    def prepare_config_and_inputs_for_common(self) -> tuple[FinerMLLMConfig, dict[str, torch.Tensor]]:
        config = self.get_config()
        words = SPECIAL + ids_tensor([self.batch_size, self.words], config.text_config.vocab_size - SPECIAL)
        images = torch.full((self.batch_size, config.visual_tokens), config.image_token_id)
        input_ids = torch.cat([words[:, :1], images, words[:, 1:]], 1)
        return config, {
            "pixel_values": floats_tensor([self.batch_size, 2, 3, 32, 32]),
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
        }


class FinerMLLMTest(ModelTesterMixin, GenerationTesterMixin, unittest.TestCase):
    """Tower, Q-Former and language model, without and with a head."""

    all_model_classes = (FinerMLLMModel, FinerMLLMForConditionalGeneration)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True

    def setUp(self):
        self.model_tester = FinerMLLMModelTester(self)
        self.config_tester = ConfigTester(self, config_class=FinerMLLMConfig, has_text_modality=False)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        """As the suite's; with a head, some captions were retrieved for every pair."""
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if model_class is FinerMLLMForConditionalGeneration:
            rows = len(next(iter(inputs.values())))
            inputs["retrieved_ids"] = torch.arange(SPECIAL, SPECIAL + 3).repeat(rows, 1)
            inputs["retrieved_mask"] = torch.tensor([1, 1, 0]).repeat(rows, 1)
        return inputs

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_sdpa_can_dispatch_composite_models(self):
        """As the suite's, which allows for it: the tower proper lies one level below `vision_tower`."""
        for model_class in self.all_model_classes:
            with tempfile.TemporaryDirectory() as folder:
                model_class(self.model_tester.get_config()).save_pretrained(folder)
                for requested in (None, "eager", "sdpa"):
                    model = model_class.from_pretrained(folder, attn_implementation=requested).base_model
                    for part in (model.vision_tower.tower, model.connector.qformer, model.language_model):
                        assert part.config._attn_implementation == (requested or "sdpa")
