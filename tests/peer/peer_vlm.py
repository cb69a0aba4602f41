# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""transformers' own model and configuration tests on SSGPA inside tiny VLMs, run by `run.py`."""

import copy
import tempfile
import unittest
from typing import ClassVar

import pytest
import torch
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers_peer.generation.test_utils import GenerationTesterMixin
from transformers_peer.test_configuration_common import ConfigTester
from transformers_peer.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor, seeded_weight_init

from ssgpa.benchmarks.tiny_vlms import FEW, IMAGE_TOKEN, MODEL_TYPES, TINY_VLMS, tiny_vlm_tokenizer
from ssgpa.vlm import SSGPAForVLM, SSGPAVLMConfig
from ssgpa.vlm.modeling_ssgpa_vlm import NEW_PARTS


# The suite asks this table which classes take labels.
MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES["ssgpa_vlm"] = "SSGPAForVLM"


class SSGPAForVLMTester:
    """What the suite asks of a model's tester: a tiny configuration, a batch, and their sizes."""

    is_training = True
    # The suite fills smaller batches up with ids below 5, the placeholder among them.
    batch_size = 7
    words = 7

    def __init__(self, parent: unittest.TestCase, family: str):
        self.parent = parent
        self.family = family
        config = self.get_config()
        text = config.get_text_config()
        self.text_config = text.to_dict()
        self.vision_config = config.vlm_config.vision_config.to_dict()
        self.hidden_size = text.hidden_size
        self.num_hidden_layers = text.num_hidden_layers
        self.num_attention_heads = text.num_attention_heads
        self.seq_length = 2 * len(self.image_ids(config)) + self.words

    def get_config(self) -> SSGPAVLMConfig:
        values, size = TINY_VLMS[self.family]
        vlm = {"model_type": MODEL_TYPES.get(self.family, self.family), **copy.deepcopy(values)}
        return SSGPAVLMConfig(vlm_config=vlm, image_size=size, **FEW)

    def image_ids(self, config: SSGPAVLMConfig) -> list[int]:
        """What an image becomes in a prompt."""
        text = config.port.text_of_image(config.vlm_config, tuple(config.image_size), IMAGE_TOKEN)
        return tiny_vlm_tokenizer(self.family)(text, add_special_tokens=False)["input_ids"]

    def prepare_config_and_inputs_for_common(self) -> tuple[SSGPAVLMConfig, dict[str, torch.Tensor]]:
        config = self.get_config()
        # Words lie above the special tokens.
        words = 100 + ids_tensor([self.batch_size, self.words], config.get_text_config().vocab_size - 100)
        image = torch.tensor([self.image_ids(config)]).expand(self.batch_size, -1)
        input_ids = torch.cat([words[:, :2], image, words[:, 2:4], image, words[:, 4:]], 1)
        return config, {
            "input_ids": input_ids,
            "pixel_values": floats_tensor([self.batch_size, 2, 3, *config.image_size]),
            "attention_mask": torch.ones_like(input_ids),
        }


class SSGPAForVLMCommon(ModelTesterMixin, GenerationTesterMixin):
    all_model_classes = (SSGPAForVLM,)
    additional_model_inputs = ("pixel_values",)
    _is_composite = True
    # Their width check reads a `vision_config`; a VLM's lies one level below.
    skip_test_image_features_output_shape = True
    family: ClassVar[str]

    def setUp(self):
        self.model_tester = SSGPAForVLMTester(self, self.family)
        self.config_tester = ConfigTester(self, config_class=SSGPAVLMConfig, has_text_modality=False)

    def test_config(self):
        self.config_tester.run_common_tests()

    def test_can_init_all_missing_weights(self):
        """As the suite's, of what no VLM brings along: weights of the VLM are never drawn anew."""
        config = self.model_tester.get_config()
        with seeded_weight_init():
            built = SSGPAForVLM(copy.deepcopy(config)).state_dict()
            filled = SSGPAForVLM.from_pretrained(None, config=copy.deepcopy(config), state_dict={}).state_dict()
        assert built.keys() == filled.keys()
        assert not any(value.is_meta for value in filled.values())
        new = [name for name in built if name.startswith(NEW_PARTS)]
        assert len(new) > 20
        assert [name for name in new if not torch.equal(built[name], filled[name])] == []

    def test_inputs_embeds(self):
        """As the suite's, without images: their tokens are counted in `input_ids`."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = SSGPAForVLM(config).eval()
        words = inputs["input_ids"][:, :2]
        embeddings = model.get_input_embeddings()(words)
        with torch.no_grad():
            torch.testing.assert_close(model(inputs_embeds=embeddings).logits, model(input_ids=words).logits)
        with pytest.raises(ValueError, match="Images need prompts as `input_ids`"):
            model(inputs_embeds=embeddings, pixel_values=inputs["pixel_values"])

    def test_get_image_features_pooler_output(self):
        """One entry a pair, the suite wants, so that `generate` can repeat it; here the VLM's `generate` repeats."""
        config, inputs = self.model_tester.prepare_config_and_inputs_for_common()
        model = SSGPAForVLM(config).eval()
        with torch.no_grad():
            features = model.get_image_features(inputs["pixel_values"])
        assert features.pooler_output is features.vlm_features.pooler_output
        options = {"num_beams": 2, "max_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        found = model.generate(ids, mm_encoder_outputs={"image": features}, attention_mask=mask, **options)
        wanted = model.generate(ids, pixel_values=inputs["pixel_values"], attention_mask=mask, **options)
        assert torch.equal(found, wanted)

    def test_model_base_model_prefix(self):
        """The other way round than the suite's: the VLM is the base, with its head."""
        model = SSGPAForVLM(self.model_tester.get_config())
        assert model.base_model is model
        assert model.get_decoder() is model.vlm.get_decoder()

    def test_tied_weights_keys(self):
        """As the suite's, of what is tied and no more: the VLM's class knows the names."""
        for tied in (True, False):
            config = self.model_tester.get_config()
            config.vlm_config.tie_word_embeddings = config.get_text_config().tie_word_embeddings = tied
            model = SSGPAForVLM(config)
            shared = model.get_input_embeddings().weight is model.get_output_embeddings().weight
            assert shared == tied
            with tempfile.TemporaryDirectory() as folder:
                model.save_pretrained(folder)
                loaded = SSGPAForVLM.from_pretrained(folder)
            assert (loaded.get_input_embeddings().weight is loaded.get_output_embeddings().weight) == tied

    def test_sdpa_can_dispatch_composite_models(self):
        """As the suite's, which looks for other names."""
        with tempfile.TemporaryDirectory() as folder:
            SSGPAForVLM(self.model_tester.get_config()).save_pretrained(folder)
            for requested in (None, "eager", "sdpa"):
                model = SSGPAForVLM.from_pretrained(folder, attn_implementation=requested)
                for part in (model.vlm, model.vlm.get_decoder(), model.vlm.get_encoder(modality="image")):
                    assert part.config._attn_implementation == (requested or "sdpa")


class SSGPAForLlavaTest(SSGPAForVLMCommon, unittest.TestCase):
    """LLaVA: a CLIP tower and a Llama."""

    family = "llava"
    # It reads the tower's last layer but one.
    test_all_params_have_gradient = False


class SSGPAForSmolVLMTest(SSGPAForVLMCommon, unittest.TestCase):
    """SmolVLM, whose connector makes one token of several patches, with other tokens around."""

    family = "smolvlm"
