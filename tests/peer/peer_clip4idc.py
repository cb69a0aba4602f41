# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""transformers' own model and configuration tests on a tiny CLIP4IDC, run by `run.py`."""

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

from ssgpa.baselines import clip4idc
from ssgpa.baselines.clip4idc import (
    CLIP4IDCConfig,
    CLIP4IDCForConditionalGeneration,
    CLIP4IDCForPairTextRetrieval,
    CLIP4IDCModel,
)


# The suite asks these tables which classes take labels.
MODEL_MAPPING_NAMES["clip4idc"] = "CLIP4IDCModel"
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES["clip4idc"] = "CLIP4IDCForConditionalGeneration"


class CLIP4IDCModelTester:
    """What the suite asks of a model's tester: a tiny configuration, a batch, and their sizes."""

    is_training = True
    batch_size = 7
    seq_length = 7

    def __init__(self, parent: unittest.TestCase):
        self.parent = parent
        config = self.get_config()
        self.text_config = config.text_config.to_dict()
        self.vision_config = config.vision_config.to_dict()
        self.hidden_size = config.projection_dim
        self.num_hidden_layers = config.decoder_layers
        self.num_attention_heads = config.decoder_attention_heads

    def get_config(self) -> CLIP4IDCConfig:
        values = json.loads(Path(clip4idc.__file__).with_name("tiny.json").read_text("utf-8"))
        values["text_config"] |= {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        return CLIP4IDCConfig(**{name: value for name, value in values.items() if name != "model_type"})

    def prepare_config_and_inputs_for_common(self) -> tuple[CLIP4IDCConfig, dict[str, torch.Tensor]]:
        config = self.get_config()
        input_ids = 3 + ids_tensor([self.batch_size, self.seq_length], config.text_config.vocab_size - 3)
        return config, {
            "pixel_values": floats_tensor([self.batch_size, 2, 3, 32, 32]),
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
        }


class CLIP4IDCTest(ModelTesterMixin, GenerationTesterMixin, unittest.TestCase):
    """Stage 2."""

    all_model_classes = (CLIP4IDCModel, CLIP4IDCForConditionalGeneration)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True

    def setUp(self):
        self.model_tester = CLIP4IDCModelTester(self)
        self.config_tester = ConfigTester(self, config_class=CLIP4IDCConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_sdpa_can_dispatch_composite_models(self):
        """As the suite's, which looks for other names."""
        for model_class in self.all_model_classes:
            with tempfile.TemporaryDirectory() as folder:
                model_class(self.model_tester.get_config()).save_pretrained(folder)
                for requested in (None, "eager", "sdpa"):
                    model = model_class.from_pretrained(folder, attn_implementation=requested).base_model
                    for part in (model.vision_model, model.encoder, model.decoder):
                        assert part.config._attn_implementation == (requested or "sdpa")


class CLIP4IDCRetrievalTester(CLIP4IDCModelTester):
    """The same of stage 1, whose loss needs no labels."""

    def prepare_config_and_inputs_for_common(self) -> tuple[CLIP4IDCConfig, dict[str, torch.Tensor]]:
        config, inputs = super().prepare_config_and_inputs_for_common()
        inputs["input_ids"][:, -1] = config.text_config.eos_token_id
        return config, inputs | {"return_loss": True}


class CLIP4IDCRetrievalTest(ModelTesterMixin, unittest.TestCase):
    """Stage 1, as far as the suite knows models with one loss and no layers of their own in the output."""

    all_model_classes = (CLIP4IDCForPairTextRetrieval,)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True
    has_attentions = False
    test_resize_embeddings = False

    def setUp(self):
        self.model_tester = CLIP4IDCRetrievalTester(self)

    def test_hidden_states_output(self):
        self.skipTest("The towers' states are asked of the towers.")

    def test_retain_grad_hidden_states_attentions(self):
        self.skipTest("The towers' states are asked of the towers.")
