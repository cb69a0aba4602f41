# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""transformers' own model and configuration tests on a tiny VIR-VLFM, run by `run.py`."""

import json
import unittest
from pathlib import Path
from types import MappingProxyType

import torch
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)
from transformers_peer.generation.test_utils import GenerationTesterMixin
from transformers_peer.test_configuration_common import ConfigTester
from transformers_peer.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor

from ssgpa.baselines import vir_vlfm
from ssgpa.baselines.vir_vlfm import VIRVLFMConfig, VIRVLFMForConditionalGeneration, VIRVLFMModel

from ..tiny_systems import QFORMER


# The suite asks these tables which classes take labels.
MODEL_MAPPING_NAMES["vir_vlfm"] = "VIRVLFMModel"
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES["vir_vlfm"] = "VIRVLFMForConditionalGeneration"


class VIRVLFMModelTester:
    """What the suite asks of a model's tester: a tiny configuration, a batch, and their sizes."""

    is_training = True
    # The suite fills smaller batches up with ids below 5, the placeholder among them.
    batch_size = 7
    words = 7

    def __init__(self, parent: unittest.TestCase, **options: object):
        self.parent = parent
        self.options = options
        config = self.get_config()
        self.text_config = config.text_config.to_dict()
        self.vision_config = config.vision_config.to_dict()
        self.hidden_size = config.text_config.hidden_size
        self.num_hidden_layers = config.text_config.num_hidden_layers
        self.num_attention_heads = config.text_config.num_attention_heads
        self.seq_length = config.visual_tokens + self.words

    def get_config(self) -> VIRVLFMConfig:
        values = json.loads(Path(vir_vlfm.__file__).with_name("tiny.json").read_text("utf-8"))
        values["text_config"] |= {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        values |= {"image_token_id": 4, **self.options}
        return VIRVLFMConfig(**{name: value for name, value in values.items() if name != "model_type"})

    def prepare_config_and_inputs_for_common(self) -> tuple[VIRVLFMConfig, dict[str, torch.Tensor]]:
        config = self.get_config()
        # Words lie above the special tokens, the placeholder among them.
        words = 5 + ids_tensor([self.batch_size, self.words], config.text_config.vocab_size - 5)
        images = torch.full((self.batch_size, config.visual_tokens), config.image_token_id)
        input_ids = torch.cat([words[:, :1], images, words[:, 1:]], 1)
        return config, {
            "pixel_values": floats_tensor([self.batch_size, 2, 3, 32, 32]),
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
        }


class VIRVLFMCommon(ModelTesterMixin, GenerationTesterMixin):
    all_model_classes = (VIRVLFMModel, VIRVLFMForConditionalGeneration)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True
    options = MappingProxyType({})

    def setUp(self):
        self.model_tester = VIRVLFMModelTester(self, **self.options)
        self.config_tester = ConfigTester(self, config_class=VIRVLFMConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()


class VIRVLFMBlip2Test(VIRVLFMCommon, unittest.TestCase):
    """BLIP-2's Q-Former, as published."""


class VIRVLFMInstructBlipTest(VIRVLFMCommon, unittest.TestCase):
    """InstructBLIP's Q-Former with an instruction."""

    options = MappingProxyType({"qformer_config": dict(QFORMER), "qformer_input_ids": [3, 4, 5]})
