# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The cache of a frozen tower's features: what it holds, when it is another, and what it refuses."""

import pytest
import torch

from ssgpa.training.arguments import ChangeCaptioningArguments
from ssgpa.training.dataset import ImageCache, PairDataset
from ssgpa.training.features import FeatureCache, fill_cache, key_of, open_cache
from ssgpa.training.systems import set_trainable


@pytest.fixture
def arguments(tmp_path):
    return ChangeCaptioningArguments(
        output_dir=str(tmp_path / "run"), use_cpu=True, per_device_train_batch_size=2, disable_tqdm=True
    )


@pytest.fixture
def system(make_system):
    model, processor = make_system(config_overrides='{"warp_weight": 0.0}')
    set_trainable(model, [r"^(?!model\.vision_tower\.)"], set())
    return model, processor


@pytest.fixture
def filled(system, splits, arguments, tmp_path):
    model, processor = system
    cache = open_cache(str(tmp_path / "cache"), model, processor, arguments)
    store = ImageCache(splits["train"], processor, cache=False)
    return cache, fill_cache(cache, store.digests(), model, processor, arguments)


def test_rows_hold_what_the_tower_makes_of_their_images(filled, system, splits):
    cache, count = filled
    model, processor = system
    options = {"captions_per_pair": 2, "distractor_swap": True, "seed": 3}
    plain = PairDataset(splits["train"], processor, **options)
    cached = PairDataset(splits["train"], processor, **options, features=cache)
    assert count == len({digest for digest, _ in plain.store.digests()})
    for number in range(len(plain)):
        images = list(plain[number]["images"])
        pixels = processor.image_processor(images, do_resize=False, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            wanted = model.eval().model.vision_tower(pixels.unsqueeze(0)).last_hidden_state[0]
        torch.testing.assert_close(cached[number]["vision_features"], wanted, atol=1e-5, rtol=0)
        assert cached[number]["captions"] == plain[number]["captions"]


def test_other_weights_or_images_take_another_folder(system, arguments):
    model, processor = system
    tower = model.model.vision_tower
    first = key_of(tower, processor, "float32")
    assert key_of(tower, processor, "float32") == first
    assert key_of(tower, processor, "bfloat16") != first
    processor.image_processor.size = {"height": 64, "width": 96}
    other_size = key_of(tower, processor, "float32")
    next(tower.parameters()).data.view(-1)[0] += 1e-6
    assert len({first, other_size, key_of(tower, processor, "float32")}) == 3


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


BREAKS = {
    "flipped": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", BREAKS)
def test_broken_file_is_refused_by_name(how, tmp_path):
    cache = FeatureCache(tmp_path)
    cache.write("ab12", torch.randn(5, 8))
    assert cache.read("ab12").shape == (5, 8)
    BREAKS[how](cache.path("ab12"))
    with pytest.raises(ValueError, match=r"ab12\.safetensors.*delete"):
        cache.read("ab12")


def test_tower_must_be_frozen_and_no_loss_need_pixels(make_system, arguments, tmp_path):
    model, processor = make_system()
    with pytest.raises(ValueError, match="trains"):
        open_cache(str(tmp_path), model, processor, arguments)
    set_trainable(model, ["alignment"], set())
    with pytest.raises(ValueError, match="warp_weight"):
        open_cache(str(tmp_path), model, processor, arguments)
