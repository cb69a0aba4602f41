# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""transformers' own pipeline tests, for the task "change-captioning" on a tiny one of every system, run by `run.py`.

The library loads a model and what surrounds it from a folder, hands them to the task's own tests, those below, and
then sends ten inputs through the pipeline in batches of four.
"""

import tempfile
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import pipeline
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers_peer import test_pipeline_mixin
from transformers_peer.test_pipeline_mixin import PipelineTesterMixin, pipeline_test_mapping

from ssgpa import ChangeCaptioningPipeline, SSGPAProcessor

from ..tiny_systems import TINY_SYSTEMS


TASK = "change-captioning"
SYSTEMS = [name for name in TINY_SYSTEMS if not name.startswith("toy_")]
SHORT = {"max_new_tokens": 3, "num_beams": 1}
pipeline_test_mapping[TASK] = {"test": f"{__name__}.ChangeCaptioningPipelineTests"}


def noise(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 40, 3), dtype=np.uint8))


class ChangeCaptioningPipelineTests:
    """What the library calls for the task, once a system."""

    def get_test_pipeline(self, model, tokenizer, image_processor, processor, dtype):
        assert type(image_processor) is type(processor.image_processor)
        assert tokenizer.get_vocab() == processor.tokenizer.get_vocab()
        model = model.to(getattr(torch, dtype))
        return pipeline(TASK, model=model, processor=processor, device="cpu", **SHORT), [
            (noise(0), noise(1)),
            {"before": noise(2), "after": noise(3)},
        ]

    def run_pipeline_test(self, pipe, examples):
        assert isinstance(pipe, ChangeCaptioningPipeline)
        one = pipe(examples[0])
        assert [set(item) for item in one] == [{"generated_text"}]
        assert isinstance(one[0]["generated_text"], str)
        assert pipe(examples) == [pipe(example) for example in examples]


class ChangeCaptioningPipelineTest(PipelineTesterMixin, unittest.TestCase):
    """The library's tester, on one system after the other."""

    def run_system(self, name: str, dtype: str = "float32") -> None:
        model, processor = TINY_SYSTEMS[name]()
        kind = type(model)
        self.pipeline_model_mapping = {TASK: kind}
        summary = {
            kind.__name__: {
                "tokenizer_classes": [type(processor.tokenizer).__name__],
                "processor_classes": [type(processor.image_processor).__name__],
            }
        }
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(test_pipeline_mixin, "TRANSFORMERS_TINY_MODEL_PATH", folder),
            mock.patch.object(test_pipeline_mixin, "tiny_model_summary", summary),
            mock.patch.dict(PROCESSOR_MAPPING_NAMES, {model.config.model_type: SSGPAProcessor.__name__}),
            mock.patch.object(transformers, SSGPAProcessor.__name__, SSGPAProcessor, create=True),
        ):
            place = Path(folder) / model.config.model_type / kind.__name__
            model.save_pretrained(place)
            processor.save_pretrained(place)
            self.run_task_tests(TASK, dtype)

    def test_every_system(self):
        for name in SYSTEMS:
            with self.subTest(name):
                self.run_system(name)

    def test_every_system_in_bfloat16(self):
        for name in SYSTEMS:
            with self.subTest(name):
                self.run_system(name, "bfloat16")


# Tests of other tasks, which no system here has.
for _name in vars(PipelineTesterMixin):
    if _name.startswith("test_"):
        setattr(ChangeCaptioningPipelineTest, _name, None)
