# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""transformers' own model and configuration tests on tiny ssgpa models, run by `run.py`."""

import tempfile
import unittest
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import load_file, save_file
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)
from transformers_peer.generation.test_utils import GenerationTesterMixin
from transformers_peer.test_configuration_common import ConfigTester
from transformers_peer.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor

from ssgpa import SSGPAConfig, SSGPAForConditionalGeneration, SSGPAModel

from ..tiny_systems import tiny_config


# The suite asks these tables which classes take labels.
MODEL_MAPPING_NAMES["ssgpa"] = "SSGPAModel"
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES["ssgpa"] = "SSGPAForConditionalGeneration"


class SSGPAModelTester:
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
        self.seq_length = 2 * config.image_seq_length + self.words

    def get_config(self) -> SSGPAConfig:
        return tiny_config(**self.options)

    def prepare_config_and_inputs_for_common(self) -> tuple[SSGPAConfig, dict[str, torch.Tensor]]:
        config = self.get_config()
        # Words lie above the special tokens, the placeholder among them.
        words = 5 + ids_tensor([self.batch_size, self.words], config.text_config.vocab_size - 5)
        images = torch.full((self.batch_size, 2 * config.image_seq_length), config.image_token_id)
        input_ids = torch.cat([words[:, :1], images, words[:, 1:]], 1)
        pixel_values = floats_tensor([self.batch_size, 2, 3, 32, 32])
        return config, {
            "pixel_values": pixel_values,
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
        }


class SSGPACommon(ModelTesterMixin, GenerationTesterMixin):
    all_model_classes = (SSGPAModel, SSGPAForConditionalGeneration)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True
    options = MappingProxyType({})

    def setUp(self):
        self.model_tester = SSGPAModelTester(self, **self.options)
        self.config_tester = ConfigTester(self, config_class=SSGPAConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_reverse_loading_mapping(self):
        """The other way round than the suite's: former names are read, and nothing is saved under them."""
        for model_class in self.all_model_classes:
            model = model_class(self.model_tester.get_config())
            with tempfile.TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                file = Path(folder) / "model.safetensors"
                weights = load_file(file)
                assert weights.keys() == model.state_dict().keys()
                former = {
                    name.replace("patch_scale", "part_scale").replace("patch_projection", "part_projection"): value
                    for name, value in weights.items()
                }
                assert former.keys() != weights.keys()
                save_file(former, file, metadata={"format": "pt"})
                loaded, report = model_class.from_pretrained(folder, output_loading_info=True)
            assert not report["missing_keys"]
            assert not report["unexpected_keys"]
            assert all(torch.equal(value, weights[name]) for name, value in loaded.state_dict().items())

    def test_sdpa_can_dispatch_composite_models(self):
        """As the suite's, which allows for it: the tower proper lies one level below `vision_tower`."""
        for model_class in self.all_model_classes:
            with tempfile.TemporaryDirectory() as folder:
                model_class(self.model_tester.get_config()).save_pretrained(folder)
                for requested in (None, "eager", "sdpa"):
                    model = model_class.from_pretrained(folder, attn_implementation=requested).base_model
                    parts = [model.vision_tower.tower, model.language_model]
                    for part in parts:
                        expected = (requested or "sdpa") if part._supports_sdpa else "eager"
                        assert part.config._attn_implementation == expected


class SSGPALinearTest(SSGPACommon, unittest.TestCase):
    """ViT tower, linear connector."""


class SSGPAQFormerTest(SSGPACommon, unittest.TestCase):
    """ViT tower, InstructBLIP Q-Former."""

    options = MappingProxyType({"qformer": True})


class SSGPAResNetTest(SSGPACommon, unittest.TestCase):
    """ResNet tower, linear connector."""

    options = MappingProxyType({"vision": "resnet"})
    # Their width check reads one `hidden_size`, a ResNet has several.
    skip_test_image_features_output_shape = True

    def test_get_image_features_attentions(self):
        self.skipTest("A ResNet has no attention.")
