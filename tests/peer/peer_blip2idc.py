# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""transformers' own model and configuration tests on a tiny BLIP2IDC, run by `run.py`."""

import json
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

from ssgpa.baselines import blip2idc
from ssgpa.baselines.blip2idc import BLIP2IDCConfig, BLIP2IDCForConditionalGeneration, BLIP2IDCModel


# The suite asks these tables which classes take labels.
MODEL_MAPPING_NAMES["blip2idc"] = "BLIP2IDCModel"
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES["blip2idc"] = "BLIP2IDCForConditionalGeneration"
PLACEHOLDER = 4


class BLIP2IDCModelTester:
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
        self.seq_length = config.image_seq_length + self.words

    def get_config(self) -> BLIP2IDCConfig:
        values = json.loads(Path(blip2idc.__file__).with_name("tiny.json").read_text("utf-8"))
        values["text_config"] |= {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        values["image_token_id"] = PLACEHOLDER
        return BLIP2IDCConfig(**{name: value for name, value in values.items() if name != "model_type"})

    def prepare_config_and_inputs_for_common(self) -> tuple[BLIP2IDCConfig, dict[str, torch.Tensor]]:
        config = self.get_config()
        # Words lie above the special tokens, the placeholder among them.
        words = 5 + ids_tensor([self.batch_size, self.words], config.text_config.vocab_size - 5)
        images = torch.full((self.batch_size, config.image_seq_length), config.image_token_id)
        input_ids = torch.cat([words[:, :1], images, words[:, 1:]], 1)
        return config, {
            "pixel_values": floats_tensor([self.batch_size, 3, 32, 32]),
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
        }


class BLIP2IDCTest(ModelTesterMixin, GenerationTesterMixin, unittest.TestCase):
    """Model and model with a head."""

    all_model_classes = (BLIP2IDCModel, BLIP2IDCForConditionalGeneration)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True

    def setUp(self):
        self.model_tester = BLIP2IDCModelTester(self)
        self.config_tester = ConfigTester(self, config_class=BLIP2IDCConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()
