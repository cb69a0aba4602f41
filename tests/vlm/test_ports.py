# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Ports against pixels: what is where on a map, and what a family's own image processor makes."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from PIL import Image
from transformers import LlamaConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ssgpa.benchmarks.tiny_vlms import MODEL_TYPES, TINY_VLMS, tiny_pairs
from ssgpa.vlm import SSGPAVLMConfig
from ssgpa.vlm.ports_ssgpa_vlm import PORTS, port_of

from .cases import FAMILIES, untrained
from .own_processors import SIZES, own_image_processor


every_family = pytest.mark.parametrize("family", FAMILIES)


def what_connector_reads(vlm, config, pixels):
    """The features that a plain VLM's connector reads, as the VLM lays them out."""
    found = []

    def take(states):
        found.append(states.detach().clone())
        return states

    encoder = vlm if hasattr(vlm, "get_image_features") else vlm.base_model
    with torch.no_grad(), config.port.tapped(vlm, take):
        encoder.get_image_features(**config.port.vision_inputs(vlm.config, pixels), return_dict=True)
    assert len(found) == 1
    return found[0]


def test_every_port_has_a_tiny_vlm():
    assert {MODEL_TYPES.get(family, family) for family in TINY_VLMS} == set(PORTS)


@every_family
def test_maps_are_right_side_up(family):
    """Pixels of one cell of the image after are changed, for each cell in turn: its features move most."""
    vlm, model = untrained(family)
    config, port = model.config, model.config.port
    size = TINY_VLMS[family][1]
    rows, columns = grid = port.grid(vlm.config, size)
    assert min(grid) > 1
    cell = size[0] // rows, size[1] // columns
    pixels = tiny_pairs(family, 1).repeat(rows * columns + 1, 1, 1, 1, 1)
    places = [(row, column) for row in range(rows) for column in range(columns)]
    for index, (row, column) in enumerate(places, 1):
        top, left = row * cell[0], column * cell[1]
        pixels[index, 1, :, top : top + cell[0], left : left + cell[1]] *= -1
    maps = port.to_maps(what_connector_reads(vlm, config, pixels), vlm.config, grid)
    tiles = port.tiles(vlm.config, size)
    maps = maps.unflatten(0, (len(pixels), tiles, 2))
    moved = (maps - maps[:1]).norm(dim=-1)  # pair, tile, image, row, column
    # Rows of a batch may be rounded apart.
    assert moved[:, :, 0].max() < 1e-4 * moved[:, :, 1].max()
    for index, place in enumerate(places, 1):
        peak = moved[index, 0, 1].argmax().item()
        assert divmod(peak, columns) == place
        others = moved[index, 0, 1].flatten().sort(descending=True).values
        assert others[0] > 1.5 * others[1], "the peak must be no matter of chance"


def test_second_look_of_llava_next_lies_between_black():
    """Two tiles side by side show the image in the middle: each cell is half an image further right."""
    vlm, model = untrained("llava_next")
    config, port = model.config, model.config.port
    pixels = tiny_pairs("llava_next", 1).repeat(17, 1, 1, 1, 1)
    for index in range(16):
        row, column = divmod(index, 4)
        pixels[index + 1, 1, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] *= -1
    maps = port.to_maps(what_connector_reads(vlm, config, pixels), vlm.config, (4, 4)).unflatten(0, (17, 3, 2))
    moved = (maps - maps[:1]).norm(dim=-1)[1:, 1:, 1]
    for index in range(16):
        row, column = divmod(index, 4)
        tile, place = divmod(column + 2, 4)
        assert np.unravel_index(moved[index].argmax().item(), (2, 4, 4)) == (tile, row, place)


@every_family
def test_maps_go_back_where_they_were(family):
    vlm, model = untrained(family)
    config, port = model.config, model.config.port
    grid = port.grid(vlm.config, TINY_VLMS[family][1])
    states = what_connector_reads(vlm, config, tiny_pairs(family))
    states = torch.randn(states.shape, generator=torch.Generator().manual_seed(0))
    maps = port.to_maps(states, vlm.config, grid)
    assert maps.shape[-3:] == (*grid, config.patch_hidden_size)
    back = port.from_maps(maps, states, vlm.config, grid)
    assert back.shape == states.shape
    # A class token in front is no patch.
    leading = states.numel() // len(states) // config.patch_hidden_size - grid[0] * grid[1] if states.ndim == 3 else 0
    leading = leading if family in ("internvl", "llava", "llava_next", "vipllava") else 0
    assert torch.equal(back[:, leading:], states[:, leading:])
    assert not back[:, :leading].any()


@every_family
def test_vision_inputs_are_the_own_image_processors(family):
    own = own_image_processor(family)
    _, model = untrained(family)
    height, width = SIZES.get(family, TINY_VLMS[family][1])
    random = np.random.default_rng(0)
    images = [Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)) for _ in range(4)]
    nested = family in ("idefics3", "llava_onevision", "smolvlm")
    theirs = own(images=[images[:2], images[2:]] if nested else images, return_tensors="pt")
    clip = CLIPImageProcessorPil(
        size={"height": height, "width": width},
        do_center_crop=False,
        image_mean=own.image_mean,
        image_std=own.image_std,
    )
    pixels = clip(images=images, return_tensors="pt")["pixel_values"].unflatten(0, (2, 2))
    ours = model.config.port.vision_inputs(model.config.vlm_config, pixels)
    assert ours["pixel_values"].std() > 0.5
    for name, value in ours.items():
        torch.testing.assert_close(value, torch.as_tensor(theirs[name]).to(value.dtype), msg=f"{name} differs")


def test_unknown_family_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"No port is known for 'llama'. Known families: aya_vision, .*vipllava"):
        port_of(LlamaConfig())


@pytest.mark.parametrize("family", ["idefics3", "llava", "qwen3_vl", "gemma4"])
def test_image_size_is_cut_into_tokens(family):
    vlm, model = untrained(family)
    height, width = model.config.image_size
    with pytest.raises(StrictDataclassError, match=f"`image_size` is .*{family}.*multiples"):
        SSGPAVLMConfig(vlm_config=vlm.config.to_dict(), image_size=[height + 1, width])


@pytest.mark.parametrize("grid", [[0, 4], [4], [33, 4], [4, 4, 4]])
def test_patch_grid_has_bounds(grid):
    vlm, _ = untrained("llava")
    with pytest.raises(StrictDataclassError, match="`patch_grid` must be two numbers of 1 to 32"):
        SSGPAVLMConfig(vlm_config=vlm.config.to_dict(), patch_grid=grid)


def test_llava_next_takes_squares_of_a_tile():
    vlm, _ = untrained("llava_next")
    config = vlm.config.to_dict()
    with pytest.raises(ValueError, match="squares of 32 pixels"):
        model_tiles(config, (32, 64))
    with pytest.raises(ValueError, match="two tiles side by side"):
        model_tiles(config | {"image_grid_pinpoints": [[64, 64]]}, (32, 32))


def model_tiles(values, size):
    config = SSGPAVLMConfig(vlm_config=values, fusion_hidden_size=8)
    return config.port.tiles(config.vlm_config, size)
