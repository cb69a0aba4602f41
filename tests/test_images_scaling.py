# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Floats, 16 bits and sensor data become colors by one rule, and nothing turns black without a word."""

import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image

from ssgpa.image_scaling_ssgpa import is_nearly_one_color, to_8_bit
from ssgpa.image_utils_ssgpa import Reading, load_image

from .image_cases import scene, tiff


GRAY = scene()[..., 0]


def gray(source, **options):
    image = load_image(source, "field.tif", **options)
    assert image.mode == "RGB"
    pixels = np.asarray(image)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


def overshot(white, share):
    """A scene in floats of which some values lie beyond either end, as bicubic resizing leaves them."""
    values = GRAY / 255 * white
    values[0, :4], values[1, :4] = white * (1 + share), -white * share
    return values


@pytest.mark.parametrize("white", [1.0, 255.0])
@pytest.mark.parametrize("share", [0.0001, 0.02, 0.2])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_that_overshoot_keep_their_scale(white, share, dtype):
    expected = GRAY.copy()
    expected[0, :4], expected[1, :4] = 255, 0
    found = gray(overshot(white, share).astype(dtype))
    assert np.abs(found.astype(int) - expected).max() <= (1 if dtype is np.float16 else 0)


def test_bicubic_overshoot_of_real_resizing_stays_within_the_margin():
    """White beside black, resized by the libraries' own kernels: the case that overshoots most."""
    board = torch.from_numpy(np.kron([[0, 1] * 4, [1, 0] * 4] * 4, np.ones((8, 8)))).float()[None, None]
    for size in (50, 96, 131):
        resized = torch.nn.functional.interpolate(board, size=(size, size), mode="bicubic", align_corners=False)
        assert resized.max() > 1
        for white in (1, 255):
            assert gray(resized[0, 0] * white).std() > 90


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.linspace(0, 3060, 256).reshape(16, 16), r"up to 3060 .*value_range=\(low, high\)"),
        (np.linspace(-1, 1, 256).reshape(16, 16), "undo any normalization"),
        (np.linspace(-2.1, 2.6, 256).reshape(16, 16), "undo any normalization"),
        (np.arange(-5, 251, dtype=np.int16).reshape(16, 16), "not negative"),
        (np.arange(256).reshape(16, 16) * 1000, "neither 8 nor 16 bits"),
        (np.zeros((16, 16), complex), "complex128"),
        (np.full((16, 16), "a"), "are no numbers"),
        (np.full((16, 16), None), "are no numbers"),
        (np.full((16, 16, 3), np.inf), "no value is finite"),
    ],
)
def test_values_that_fit_no_range_are_refused_with_advice(values, reason):
    with pytest.raises(ValueError, match=f"^field.tif: .*{reason}"):
        gray(values)


def test_a_range_makes_its_ends_black_and_white_whatever_the_dtype():
    twelve = (GRAY.astype(np.uint16) * 12).clip(0, 3060)
    for dtype in (np.uint16, np.int16, np.int32, np.uint32, np.int64, np.float32, np.float64):
        np.testing.assert_array_equal(gray(twelve.astype(dtype), value_range=(0, 3060)), GRAY)
    np.testing.assert_array_equal(gray(torch.from_numpy(twelve.astype(np.int32)), value_range=[0, 3060]), GRAY)
    np.testing.assert_array_equal(gray(GRAY, value_range=(0, 255)), GRAY)
    # An 8-bit image is no exception, nor is a PIL one.
    dark = GRAY // 4
    found = gray(Image.fromarray(dark), value_range=(0, 63))
    np.testing.assert_array_equal(found, np.rint(dark.astype(float) * 255 / 63))
    np.testing.assert_array_equal(gray(dark, value_range=(0, 63)), found)
    assert gray(np.linspace(-9, 9, 256).reshape(16, 16), value_range=(0, 1)).min() == 0


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
@pytest.mark.parametrize("carrier", ["array", "tiff"])
def test_sensor_ranges_of_files_and_arrays(dtype, carrier):
    """The public case: 16-bit TIFF with values up to 3060, as int32 and float too."""
    values = (GRAY.astype(dtype) * 12).astype(dtype)
    source = values if carrier == "array" else tiff(values)
    np.testing.assert_array_equal(gray(source, value_range=(0, 3060)), GRAY)
    low, high = np.percentile(values.astype(float), (2, 98))
    expected = np.rint(np.clip((values.astype(float) - low) / (high - low), 0, 1) * 255)
    assert np.abs(gray(source, value_range="percentile") - expected).max() <= 1


def test_percentiles_are_taken_over_all_channels_together():
    values = np.zeros((16, 16, 3), np.float32)
    values[..., 0], values[..., 1], values[..., 2] = np.linspace(0, 1000, 256).reshape(16, 16), 400, 600
    found = np.asarray(load_image(values, value_range="percentile")).astype(int)
    # Gray stays gray and orange stays orange: one scale for the three.
    assert np.ptp(found[..., 1]) == np.ptp(found[..., 2]) == 0
    assert 45 <= found[0, 0, 2] - found[0, 0, 1] <= 60


@pytest.mark.parametrize("value_range", [(1, 1), (2, 1), (1,), (1, 2, 3), "minmax", 5, (0, float("nan")), ("0", "1")])
def test_other_ranges_are_refused(value_range):
    with pytest.raises(ValueError, match="`value_range` must be"):
        load_image(GRAY, value_range=value_range)


def test_other_options_are_refused():
    with pytest.raises(ValueError, match="`nodata` must be a number"):
        load_image(GRAY, nodata="none")
    for bands in ((1, 2), (0,), (1.5,), "321", ()):
        with pytest.raises(ValueError, match="`bands` must be"):
            Reading(bands=bands)


def hole(dtype, value):
    """A scene up to 3060 with a corner of no data, and what it looks like."""
    values = GRAY.astype(dtype) * 12
    values[:8, :8] = value
    expected = GRAY.copy()
    expected[:8, :8] = 0
    return values.astype(dtype), expected


@pytest.mark.parametrize(
    ("dtype", "value"), [(np.float32, -9999), (np.float32, np.nan), (np.float32, np.inf), (np.uint16, 65535)]
)
@pytest.mark.parametrize("told", ["option", "tag"])
def test_no_data_is_black_and_out_of_the_scale(dtype, value, told):
    values, expected = hole(dtype, value)
    source = values if told == "option" else tiff(values, nodata=value)
    options = {"nodata": value} if told == "option" else {}
    np.testing.assert_array_equal(gray(source, value_range=(0, 3060), **options), expected)
    # The stretch is the same as if the corner had been cut off.
    stretched = gray(source, value_range="percentile", **options)
    low, high = np.percentile(np.concatenate([values[8:].ravel(), values[:8, 8:].ravel()]).astype(float), (2, 98))
    rest = np.rint(np.clip((values[8:].astype(float) - low) / (high - low), 0, 1) * 255)
    assert np.abs(stretched[8:] - rest).max() <= 1
    assert (stretched[:8, :8] == 0).all()


def test_no_data_leaves_the_scale_by_dtype_alone():
    values = GRAY / 255
    values[0, 0] = -9999
    found = gray(tiff(values.astype(np.float32), nodata=-9999))
    np.testing.assert_array_equal(found.ravel()[1:], GRAY.ravel()[1:])
    assert found[0, 0] == 0
    with pytest.raises(ValueError, match="not negative"):
        gray(tiff(values.astype(np.float32)))


def test_a_color_is_no_data_only_where_all_channels_are():
    pixels = scene()
    pixels[0, 0], pixels[1, 1] = (255, 255, 255), (255, 0, 0)
    found = np.asarray(load_image(pixels, nodata=255))
    assert tuple(found[0, 0]) == (0, 0, 0)
    np.testing.assert_array_equal(found.reshape(-1, 3)[1:], pixels.reshape(-1, 3)[1:])


def test_nothing_but_no_data_is_refused_by_name():
    for source, options in (
        (np.full((9, 9), -9999.0), {"nodata": -9999}),
        (tiff(np.full((9, 9), -9999, np.float32), nodata=-9999), {}),
        (np.full((9, 9), np.nan), {}),
    ):
        with pytest.raises(ValueError, match=r"^field\.tif: .*no value is finite and data"):
            gray(source, **options)


def test_8_bit_pixels_are_left_alone():
    pixels = scene()
    for source in (pixels, Image.fromarray(pixels), torch.from_numpy(pixels)):
        np.testing.assert_array_equal(np.asarray(load_image(source)), pixels)
    assert to_8_bit(pixels)[0] is pixels


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_tensors_of_every_float_are_images(dtype):
    unit = torch.from_numpy(scene()).permute(2, 0, 1).float() / 255
    found = np.asarray(load_image(unit.to(dtype))).astype(int)
    # bfloat16 has 8 bits of precision, of which the last one is off.
    assert np.abs(found - scene()).max() <= (1 if dtype is torch.bfloat16 else 0)


SILENT = {
    "8 bits in uint16": (GRAY.astype(np.uint16), "its uint16 values run from 15 to 217"),
    "12 bits in uint16": (GRAY.astype(np.uint16) * 16, "240 to 3472.*value_range="),
    "sensor TIFF": (tiff(GRAY.astype(np.uint16) * 12), "its uint16 values run from .*value_range="),
    "32-bit TIFF": (tiff(GRAY.astype(np.int32) * 12), "int32"),
    "floats up to 1.5": (GRAY / 170, "float64"),
    "black": (np.zeros((16, 16, 3), np.uint8), "nearly one color"),
    "white PNG": (Image.new("RGB", (20, 20), "white"), "nearly one color"),
}


@pytest.mark.parametrize("case", SILENT)
def test_an_image_of_nearly_one_color_is_told_by_name(case, tmp_path, caplog):
    source, told = SILENT[case]
    name = f"{case}.tif"
    if isinstance(source, bytes):
        name = str(tmp_path / name)
        (tmp_path / f"{case}.tif").write_bytes(source)
        source = name
    with caplog.at_level(logging.WARNING):
        load_image(source, name)
        load_image(source, name)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"{name}: is nearly one color")
    assert re.search(told, message)


def test_images_that_show_something_are_not_told(caplog):
    with caplog.at_level(logging.WARNING):
        load_image(scene())
        load_image(GRAY.astype(np.uint16) * 12, value_range=(0, 3060))
    assert not caplog.records


def test_nearly_one_color_counts_pixels_and_not_outliers():
    night = np.full((100, 100, 3), 7, np.uint8)
    night[0, :9] = 255
    assert is_nearly_one_color(Image.fromarray(night))
    night[0, :11] = 255
    assert not is_nearly_one_color(Image.fromarray(night))
    ramp = np.repeat(np.linspace(0, 15, 100).round().astype(np.uint8)[None], 100, 0)
    assert is_nearly_one_color(Image.fromarray(ramp).convert("RGB"))
    assert not is_nearly_one_color(Image.fromarray(ramp * 2).convert("RGB"))
    # One channel is enough.
    blue = np.zeros((100, 100, 3), np.uint8)
    blue[..., 2] = np.repeat(np.arange(100, dtype=np.uint8)[None], 100, 0)
    assert not is_nearly_one_color(Image.fromarray(blue))
