# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Several bands, 16-bit color and large rasters, which rasterio reads."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from ssgpa.image_utils_ssgpa import load_image

from .image_cases import geotiff, scene


pytest.importorskip("rasterio")
GRAY = scene()[..., 0]
BANDS = np.stack([GRAY.astype(np.uint16) * (4 + band) for band in range(5)])
NO_RASTERIO = 'needs rasterio: pip install "ssgpa\\[geo\\]"'


@pytest.mark.parametrize("profile", [{}, {"compress": "lzw"}, {"compress": "deflate", "predictor": 2, "tiled": True}])
def test_bands_of_a_geotiff_are_chosen(profile):
    if profile.get("tiled"):
        profile = profile | {"blockxsize": 16, "blockysize": 16}
    content = geotiff(BANDS, **profile)
    found = np.asarray(load_image(content, bands=(3, 2, 1), value_range=(0, 2000)))
    expected = np.rint(np.clip(BANDS[[2, 1, 0]] / 2000, 0, 1) * 255).transpose(1, 2, 0)
    np.testing.assert_array_equal(found, expected)
    single = np.asarray(load_image(content, bands=5, value_range=(0, 2000)))
    np.testing.assert_array_equal(single[..., 0], np.rint(np.clip(BANDS[4] / 2000, 0, 1) * 255))
    for layout in (BANDS, BANDS.transpose(1, 2, 0)):
        array = np.asarray(load_image(layout, bands=(3, 2, 1), value_range=(0, 2000)))
        np.testing.assert_array_equal(array, expected)


def test_many_bands_are_not_guessed():
    with pytest.raises(ValueError, match=r"^image: .*5 bands; say which to show, as bands=\(3, 2, 1\)"):
        load_image(geotiff(BANDS))
    with pytest.raises(ValueError, match=r"5 bands; say which"):
        load_image(BANDS)
    for source in (geotiff(BANDS), BANDS):
        with pytest.raises(ValueError, match=r"it has 5 band\(s\), and bands=\(6, 2, 1\) asks for band 6"):
            load_image(source, bands=(6, 2, 1))
    with pytest.raises(ValueError, match=r"it has 3 band\(s\)"):
        load_image(Image.fromarray(scene()), bands=(4,))


def test_bands_of_a_palette_are_those_of_its_colors():
    rng = np.random.default_rng(0)
    places = rng.integers(0, 16, (32, 40), dtype=np.uint8)
    colors = rng.integers(0, 256, (256, 3), dtype=np.uint8)
    colors[16:] = 0
    image = Image.fromarray(places)
    image.putpalette(colors.tobytes())
    files = {}
    for kind in ("PNG", "GIF", "TIFF"):
        file = io.BytesIO()
        image.save(file, kind)
        files[kind] = file.getvalue()
    for source in (image, *files.values()):
        for bands in ((1,), (3, 2, 1)):
            wanted = colors[places][..., [band - 1 for band in bands]]
            found = np.asarray(load_image(source, bands=bands))
            np.testing.assert_array_equal(found, np.broadcast_to(wanted, (*places.shape, 3)))
        with pytest.raises(ValueError, match=r"it has 3 band\(s\)"):
            load_image(source, bands=(4,))
        np.testing.assert_array_equal(np.asarray(load_image(source)), colors[places])


def test_a_large_palette_is_not_averaged():
    """Read at a fraction of its size, it shows colors of its palette alone."""
    places = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8) % 2 * 15, np.ones((8, 8), np.uint8))
    image, file = Image.fromarray(np.kron(places, np.ones((33, 33), np.uint8))), io.BytesIO()
    palette = np.full((256, 3), 128, np.uint8)
    palette[0], palette[15] = (255, 0, 0), (0, 0, 255)
    image.putpalette(palette.tobytes())
    image.save(file, "TIFF", compression="tiff_lzw")
    found = np.asarray(load_image(file.getvalue(), size=(16, 16), bands=(1, 2, 3)))
    assert max(found.shape) < image.width
    assert {tuple(color) for color in found.reshape(-1, 3).tolist()} == {(255, 0, 0), (0, 0, 255)}


def test_no_data_of_a_geotiff_is_left_out():
    values = BANDS.astype(np.float32)
    values[:, :8, :8] = -9999
    content = geotiff(values, nodata=-9999)
    found = np.asarray(load_image(content, bands=(1, 2, 3), value_range=(0, 2000)))
    assert (found[:8, :8] == 0).all()
    np.testing.assert_array_equal(found[8:], np.rint(values[:3, 8:] * (255 / 2000)).transpose(1, 2, 0))
    stretched = np.asarray(load_image(content, bands=(1, 2, 3), value_range="percentile"))
    assert stretched[8:].std() > 40


def test_16_bit_color_keeps_its_depth_where_a_range_is_told():
    """Pillow gives the high bytes alone, of which sensor data has next to none."""
    colors = scene().astype(np.uint16) * 12
    files = [geotiff(colors.transpose(2, 0, 1), photometric="RGB"), geotiff(colors.transpose(2, 0, 1), driver="PNG")]
    for content in files:
        assert Image.open(io.BytesIO(content)).mode == "RGB"
        np.testing.assert_array_equal(np.asarray(load_image(content, value_range=(0, 3060))), scene())
        np.testing.assert_array_equal(np.asarray(load_image(content)), colors // 256)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(ValueError, match=f"^field: .*{NO_RASTERIO}"):
        load_image(geotiff_bytes, "field", bands=(1, 2, 3))
    with pytest.raises(ValueError, match=f"^field: .*{NO_RASTERIO}"):
        load_image(geotiff_bytes, "field")


geotiff_bytes = geotiff(BANDS)


def test_a_cut_off_geotiff_is_refused():
    with pytest.raises(ValueError, match=r"^field\.tif: cannot be read as an image \(.+") as error:
        load_image(geotiff_bytes[: len(geotiff_bytes) // 2], "field.tif", bands=(1, 2, 3))
    # Neither the name in memory nor "see previous exception".
    assert "vsimem" not in str(error.value)
    assert "previous" not in str(error.value)


def test_large_rasters_are_read_at_the_size_that_is_needed():
    smooth = np.linspace(0, 3000, 600, dtype=np.uint16)
    content = geotiff(np.stack([np.repeat(smooth[None], 400, 0)] * 4))
    image = load_image(content, size=(30, 20), bands=(1, 2, 3), value_range=(0, 3000))
    assert image.size == (120, 80)
    assert image.ssgpa_facts.size == (600, 400)
    whole = load_image(content, bands=(1, 2, 3), value_range=(0, 3000)).resize((120, 80), Image.Resampling.BOX)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(whole)).max() <= 1
