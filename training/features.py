# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What a frozen vision tower makes of every image, computed once and kept on disk."""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from ..processing_ssgpa import SSGPAProcessor
from .arguments import ChangeCaptioningArguments
from .model_setup import autocast_dtype


NAME = "features"


class FeatureCache:
    """A folder of features, one file an image, under names that change with the tower's weights and the images.

    Args:
        folder (`Path`): Of this tower and this way to prepare images alone; made where it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """The file of the image with this digest."""
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def write(self, digest: str, features: Tensor) -> None:
        """Write an image's features (1 + patches, patch_hidden_size), whole or not at all."""
        path = self.path(digest)
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        features = features.cpu().contiguous()
        save_file({NAME: features}, part, metadata={"sha256": _hash_tensor(features)})
        Path(part).replace(path)

    def read(self, digest: str) -> Tensor:
        """Read an image's features.

        Raises:
            ValueError: The file is missing or does not hold what was written; the error names it.
        """
        path = self.path(digest)
        try:
            with safe_open(path, "pt") as file:
                features, wanted = file.get_tensor(NAME), file.metadata()["sha256"]
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise ValueError(f"{path} cannot be read ({error}); delete it, and the next run computes it.") from error
        if _hash_tensor(features) != wanted:
            raise ValueError(f"{path} is not what was written; delete it, and the next run computes it.")
        return features


def digest_of(image: bytes) -> str:
    """The name of an image, by its encoded bytes."""
    return hashlib.sha256(image).hexdigest()


def _hash_tensor(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    return hashlib.sha256(data.numpy()).hexdigest()


def key_of(tower: nn.Module, processor: SSGPAProcessor, precision: str) -> str:
    """A name that changes with the tower's weights, the preparation of images and the precision."""
    parts = [precision, processor.image_processor.to_json_string()]
    # Only what is told: caches of ordinary images keep their names.
    parts += [f"{name} {value}" for name, value in processor.reading().items() if value is not None]
    parts += [f"{name} {tuple(value.shape)} {_hash_tensor(value)}" for name, value in tower.state_dict().items()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def open_cache(
    folder: str, model: PreTrainedModel, processor: SSGPAProcessor, arguments: ChangeCaptioningArguments
) -> FeatureCache:
    """The cache of a model whose vision tower is frozen.

    Raises:
        ValueError: Something of the tower trains, a loss needs pixels, or ZeRO-3 has shared out the tower.
    """
    tower = model.get_vision_encoder()
    if tower is None or processor.pair_layout != "pair":
        raise ValueError(
            f"`feature_cache` keeps what a vision encoder makes of each image, and {type(model).__name__} takes no "
            "such features: leave it out."
        )
    trained = [name for name, value in tower.named_parameters() if value.requires_grad]
    if trained:
        raise ValueError(f"`feature_cache` keeps what a frozen tower makes, and its {trained[0]} trains.")
    needed = [name for name in model.config.pixel_fields if getattr(model.config, name)]
    if needed:
        raise ValueError(
            f"`feature_cache` goes without pixels, which the loss of `{needed[0]}` needs: set it to 0 in "
            "`config_overrides`."
        )
    if is_deepspeed_zero3_enabled():
        raise ValueError("`feature_cache` needs a whole vision tower in every process: use ZeRO-2.")
    precision = f"{tower.dtype} {autocast_dtype(arguments)}"
    return FeatureCache(Path(folder) / key_of(tower, processor, precision))


def fill_cache(
    cache: FeatureCache,
    images: Iterable[tuple[str, Any]],
    model: PreTrainedModel,
    processor: SSGPAProcessor,
    arguments: ChangeCaptioningArguments,
) -> int:
    """Compute the features that are not there.

    Args:
        cache (`FeatureCache`): The cache of `model`.
        images (`Iterable`): Digest of every image and a function that decodes it to (channels, height, width).
        model (`PreTrainedModel`): Its tower is moved to the run's device.
        processor (`SSGPAProcessor`): Normalizes.
        arguments (`ChangeCaptioningArguments`): Device, precision and batch size.

    Returns:
        `int`: How many were computed.
    """
    tower = model.get_vision_encoder().to(arguments.device)
    wanted: dict[str, Any] = {}
    count = 0
    for digest, decode in tqdm(images, desc="Vision features", leave=False, disable=arguments.disable_tqdm):
        if digest not in wanted and not cache.path(digest).exists():
            wanted[digest] = decode()
        if len(wanted) >= 2 * arguments.per_device_train_batch_size:
            count += _compute(cache, wanted, tower, processor, arguments)
            wanted = {}
    return count + (_compute(cache, wanted, tower, processor, arguments) if wanted else 0)


def _compute(
    cache: FeatureCache,
    images: dict[str, Any],
    tower: nn.Module,
    processor: SSGPAProcessor,
    arguments: ChangeCaptioningArguments,
) -> int:
    pixels = processor.image_processor(list(images.values()), do_resize=False, return_tensors="pt")["pixel_values"]
    if len(pixels) % 2:
        # The tower reads pairs, though every image for itself.
        pixels = torch.cat([pixels, pixels[-1:]])
    dtype, training = autocast_dtype(arguments), tower.training
    precision = torch.autocast(arguments.device.type, dtype) if dtype else nullcontext()
    tower.eval()
    with torch.no_grad(), precision:
        states = tower(pixels.unflatten(0, (-1, 2)).to(arguments.device)).last_hidden_state.flatten(0, 1)
    tower.train(training)
    for digest, features in zip(images, states, strict=False):
        cache.write(digest, features)
    return len(images)
