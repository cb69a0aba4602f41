# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Images of prepared rows, decoded and resized as a processor does."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset
from datasets import Image as ImageFeature
from PIL import Image
from transformers.utils import logging

from ..image_utils_ssgpa import READING, Reading, concatenate, load_image
from ..processing_ssgpa import SSGPAProcessor, fixed_size
from .schema import SIDES


logger = logging.get_logger(__name__)

# Number of pairs from which the size of a set's images is estimated.
SAMPLED_PAIRS = 64


def resize_image(source: dict[str, Any], name: str, processor: SSGPAProcessor) -> np.ndarray:
    """Decode an undecoded cell of an image column, and resize it as the processor does.

    Args:
        source (`dict`): `bytes` and `path`.
        name (`str`): The pair and its side, for errors.
        processor (`SSGPAProcessor`): Decodes and resizes.

    Returns:
        `np.ndarray`: (channels, height, width), uint8. Images that the processor concatenates keep their own size.

    Raises:
        ValueError: It cannot be decoded; the error names the pair and the file.
    """
    return fit_image(_named(processor.load_image, source, name), processor)


def fit_image(image: Image.Image, processor: SSGPAProcessor) -> np.ndarray:
    """Resize a decoded image as the processor does.

    Args:
        image (`PIL.Image.Image`): Mode RGB.
        processor (`SSGPAProcessor`): Resizes.

    Returns:
        `np.ndarray`: As `resize_image`.
    """
    if processor.pair_layout != "pair" or image.size == fixed_size(processor.image_processor):
        return np.asarray(image).transpose(2, 0, 1)
    return _resize(image, processor)


def model_images(pair: tuple[np.ndarray, np.ndarray], processor: SSGPAProcessor) -> Any:
    """What the model takes of the images of a pair.

    Args:
        pair (`tuple[np.ndarray, np.ndarray]`): Before and after, as `resize_image` gives them.
        processor (`SSGPAProcessor`): Its `pair_layout` says.

    Returns:
        `tuple[np.ndarray, np.ndarray]` or `np.ndarray`: The two images; or the one that a concatenating processor
        makes of them, (channels, height, width), uint8.
    """
    if processor.pair_layout == "pair":
        return pair
    before, after = (Image.fromarray(image.transpose(1, 2, 0)) for image in pair)
    return _resize(concatenate(before, after, processor.pair_layout, processor.size_of_pair), processor)


def _resize(image: Image.Image, processor: SSGPAProcessor) -> np.ndarray:
    resized = processor.image_processor(image, do_rescale=False, do_normalize=False, return_tensors="np")
    return resized["pixel_values"][0].astype(np.uint8)


def undecoded(rows: Dataset) -> Dataset:
    """A prepared split whose images come as their files' bytes, for the decoder of this package."""
    for side in SIDES:
        if isinstance(rows.features.get(side), ImageFeature):
            rows = rows.cast_column(side, ImageFeature(decode=False))
    return rows


def load_pair(
    row: Mapping[str, Any], processor: Any = None, whole: bool = False, **reading: Any
) -> tuple[Image.Image, Image.Image]:
    """Decode the two images of a row of `undecoded` as the processor does.

    Args:
        row (`dict`): With `pair_id`, `before` and `after`.
        processor (`SSGPAProcessor`, *optional*): Says how values become colors, and which size is needed. Without one,
            or with one of another kind, the images keep their own size.
        whole (`bool`): Leave the images at their own size.
        **reading (`Any`, *optional*): `value_range`, `nodata` and `bands`; by default the processor's own.

    Returns:
        `tuple[PIL.Image.Image, PIL.Image.Image]`: Before and after, mode RGB.

    Raises:
        ValueError: One cannot be decoded; the error names the pair and the file.
    """
    # Any processor may show its pairs; only ours says how to read them.
    load = partial(processor.load_image, whole=whole) if hasattr(processor, "load_image") else load_image
    return tuple(_named(partial(load, **reading), row[side], f"pair {row['pair_id']!r}, {side}") for side in SIDES)


def _named(load: Callable[..., Image.Image], source: Any, name: str) -> Image.Image:
    try:
        return load(source, name)
    except (OSError, ValueError) as error:
        raise ValueError(str(error) if str(error).startswith(name) else f"{name}: {error}") from error


def describe_sources(processor: SSGPAProcessor, rows: Dataset | IterableDataset, reading: Mapping[str, Any]) -> None:
    """Note in a processor how the training images are read and how large they are; it is saved with it.

    Args:
        processor (`SSGPAProcessor`): Gets `value_range`, `nodata`, `bands` as the data was prepared with, None where
            it was prepared without, and `trained_size`: of the images of up to 64 pairs in the order of their
            pixels, the size of the one nine tenths up.
        rows (`datasets.Dataset` or `datasets.IterableDataset`): The prepared training split.
        reading (`dict`): What `data.prepared.reading_of` gives.

    Raises:
        ValueError: An image cannot be decoded; the error names the pair.
    """
    # The data was checked with the reading it was prepared with, so that one wins over the base model's.
    own, wanted = Reading(**processor.reading()), Reading(**reading)
    if own not in (wanted, Reading()):
        logger.warning(
            f"Images are read as the data was prepared, with {_options(wanted)}, "
            f"and no longer with the base's {_options(own)}."
        )
    _set_reading(processor, wanted)
    processor.trained_size = None
    if isinstance(rows, Dataset):
        count = min(len(rows), SAMPLED_PAIRS)
        files = undecoded(rows).select([place * len(rows) // count for place in range(count)])
    else:
        files = rows.decode(False).take(SAMPLED_PAIRS)
    sizes = sorted(
        (image.ssgpa_facts.size for row in files for image in load_pair(row, processor)),
        key=lambda size: (size[0] * size[1], size),
    )
    if sizes:
        width, height = sizes[len(sizes) * 9 // 10]
        processor.trained_size = {"height": height, "width": width}


def adopt_reading(processor: Any, reading: Mapping[str, Any], data: str) -> None:
    """Let a trained system's processor read prepared data as the data was prepared.

    Args:
        processor (`SSGPAProcessor`): Takes the options of `reading` that it does not set itself.
        reading (`dict`): What `data.prepared.reading_of` gives.
        data (`str`): What errors call the data.

    Raises:
        ValueError: The processor has another reading than the data, or has no reading to set.
    """
    wanted = Reading(**reading)
    if not hasattr(processor, "reading"):
        if wanted.is_default:
            return
        raise ValueError(
            f"{data} was prepared with {_options(wanted)}, and a {type(processor).__name__} cannot read images so; "
            "evaluate it on data prepared without."
        )
    own = processor.reading()
    other = [name for name in READING if own[name] is not None and own[name] != getattr(wanted, name)]
    if other:
        raise ValueError(
            f"{data} was prepared with {_options(wanted, other)}, and the model reads images with "
            f"{_options(Reading(**own), other)}: one of them would show other colors than were learned. Prepare the "
            "data with the model's options, or save the model's processor with the data's."
        )
    _set_reading(processor, wanted)


def _set_reading(processor: SSGPAProcessor, reading: Reading) -> None:
    for name in READING:
        setattr(processor, name, getattr(reading, name))


def _options(reading: Reading, names: Sequence[str] = READING) -> str:
    """Options of a reading in words, None included."""
    return ", ".join(f"{name}={getattr(reading, name)}" for name in names)


__all__ = ["SIDES", "adopt_reading", "describe_sources", "load_pair", "model_images", "resize_image", "undecoded"]
