"""Pictures, captions and processors that the processor's tests share."""

import numpy as np
from PIL import Image
from tokenizers import processors

from ssgpa import SSGPAProcessor

from .tiny_systems import tiny_image_processor, tiny_tokenizer


CAPTIONS = ["the red cube is gone", "no change", "the small blue metal sphere has been moved to the left"]
LAYOUTS = ["pair", "vertical", "horizontal"]


def pictures(count, size=(40, 50)):
    values = np.random.default_rng(3).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return [Image.fromarray(value) for value in values]


def pairs(count):
    flat = pictures(2 * count)
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
