# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Images, captions and processors that the processor's tests share."""

import numpy as np
from PIL import Image
from tokenizers import processors

from ssgpa import SSGPAProcessor

from .tiny_systems import tiny_image_processor, tiny_tokenizer


CAPTIONS = ["the red cube is gone", "no change", "the small blue metal sphere has been moved to the left"]
LAYOUTS = ["pair", "vertical", "horizontal"]


def images(count, size=(40, 50)):
    values = np.random.default_rng(3).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return [Image.fromarray(value) for value in values]


def pairs(count):
    flat = images(2 * count)
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def build(special="", padding_side="left", **options):
    """A processor; `special` is what its tokenizer puts around a text, such as "<s> $A"."""
    tokenizer = tiny_tokenizer(padding_side)
    if special:
        ids = [(token, tokenizer.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=special, special_tokens=ids)
    return SSGPAProcessor(tiny_image_processor(), tokenizer, **({"image_seq_length": 5} | options))


def words(processor, row):
    return processor.tokenizer.decode([int(token) for token in row if token != -100], skip_special_tokens=False)
