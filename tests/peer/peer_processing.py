# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""transformers' own processor tests on the tiny ssgpa processors, run by `run.py`."""

import unittest

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers_peer.test_processing_common import MODALITY_TEST_SPECS, ProcessorTesterMixin

from ssgpa import SSGPAProcessor

from ..tiny_systems import SPECIAL, tiny_image_processor


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte a token: the suite compares decoded texts to the letter."""
    vocab = {token: index for index, token in enumerate(SPECIAL + pre_tokenizers.ByteLevel.alphabet())}
    tokenizer = Tokenizer(models.BPE(vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=False))
    special = {"image_token": SPECIAL[-1]}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, extra_special_tokens=special, **names)


class SSGPAProcessorCommon(ProcessorTesterMixin):
    """What is an image to the suite is a pair to this processor; a chat block may hold either."""

    processor_class = SSGPAProcessor
    layout = "pair"

    @classmethod
    def _setup_tokenizer(cls):
        return byte_tokenizer()

    @classmethod
    def _setup_image_processor(cls):
        return tiny_image_processor()

    @classmethod
    def _setup_test_attributes(cls, processor):
        cls.image_token = " ".join([processor.image_token] * processor.placeholders)

    @classmethod
    def prepare_processor_dict(cls):
        return {"pair_layout": cls.layout, "image_seq_length": 5}

    def prepare_images_inputs(self, batch_size=None, nested=False):
        images = np.random.default_rng(0).integers(0, 255, (2, 30, 400, 3), dtype=np.uint8)
        pair = [Image.fromarray(image) for image in images]
        return pair if batch_size is None else [pair] * batch_size

    def test_subprocessor_defaults_1_images(self):
        """As the suite's, but for the images' extra axis, or their being joined."""
        processor = self.get_processor()
        images = processor.prepare_inputs_layout(images=self.prepare_images_inputs())[0]
        expected = processor.image_processor(images, return_tensors="pt")["pixel_values"]
        result = processor(images=self.prepare_images_inputs(), **MODALITY_TEST_SPECS["images"]["call_time_kwargs"])
        torch.testing.assert_close(result["pixel_values"].flatten(end_dim=-4), expected)

    def test_get_num_multimodal_tokens_matches_processor_call(self):
        """As the suite's, with a pair where it has an image."""
        processor = self.get_processor()
        sizes = [(100, 100), (300, 100), (500, 30), (213, 167)]
        pairs = [[np.zeros((*size, 3), np.uint8)] * 2 for size in sizes]
        inputs = processor(images=pairs, return_mm_token_type_ids=True, return_tensors="pt")
        images = [size for size in sizes for _ in range(processor.placeholders)]
        expected = processor._get_num_multimodal_tokens(image_sizes=images)["num_image_tokens"]
        assert int(inputs["mm_token_type_ids"].sum()) == sum(expected)


class SSGPAPairProcessorTest(SSGPAProcessorCommon, unittest.TestCase):
    """Images apart."""


class SSGPAVerticalProcessorTest(SSGPAProcessorCommon, unittest.TestCase):
    """Images in one."""

    layout = "vertical"
