# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Files of every format: read, refused by name when damaged, decoded no larger than needed."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.checks import check_image_bytes
from ssgpa.image_utils_ssgpa import load_image, pair_up
from ssgpa.processing_ssgpa import fixed_size, needed_size

from .image_cases import FORMATS, encoded, scene, tiff
from .processing_cases import build
from .tiny_systems import tiny_image_processor


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_that_can_be_written_is_read(kind):
    # ICNS holds it at larger sizes.
    found = np.asarray(load_image(encoded(kind)).resize((32, 32), Image.Resampling.BOX)).astype(int)
    expected = np.asarray(Image.fromarray(scene()).convert(FORMATS[kind]).convert("RGB")).astype(int)
    # Half of them lose something; none loses the scene.
    assert np.abs(found - expected).mean() < 25


@pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, KeyError, IndexError, ZeroDivisionError])
def test_whatever_a_decoder_raises_names_the_file(error, tmp_path, monkeypatch):
    """AVIF raises RuntimeError, DDS NotImplementedError; plugins of other packages may raise anything."""
    file = tmp_path / "scan.png"
    file.write_bytes(encoded("PNG"))

    def fail(self):
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ValueError, match=rf"^{file}: cannot be read as an image \({error.__name__}\)\.$"):
        load_image(file)


def test_damaged_avif_and_unknown_dds_are_refused_by_name():
    avif = encoded("AVIF")
    dds = bytearray(encoded("DDS"))
    dds[80:84], dds[84:88] = (4).to_bytes(4, "little"), b"ZZZZ"
    for name, content in (("a.avif", avif[: len(avif) * 2 // 3]), ("b.dds", bytes(dds))):
        with pytest.raises(ValueError, match=f"^{name}: "):
            load_image(content, name)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def test_heic_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ValueError, match=r'^phone: .*needs pillow-heif: pip install "ssgpa\[heif\]"'):
        load_image(HEIC, "phone")


def test_heic_is_read_where_its_package_is_there():
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(scene(64, 64))).save(file, quality=95)
    found = np.asarray(load_image(file.getvalue())).astype(int)
    assert np.abs(found - scene(64, 64)).mean() < 12
    with pytest.raises(ValueError, match=r"^phone: "):
        load_image(HEIC, "phone")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_an_image_left_on_a_later_frame_gives_the_first(kind, tmp_path):
    frames = [Image.fromarray(scene(seed=seed)) for seed in range(3)]
    file = tmp_path / "frames"
    frames[0].save(
        file, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    expected = np.asarray(load_image(file))
    with Image.open(file) as image:
        image.seek(2)
        third = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(np.asarray(load_image(image)), expected)
        # It is left where it was.
        assert image.tell() == 2
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), third)
    assert not np.array_equal(expected, third)


def test_a_users_own_image_is_neither_changed_nor_handed_back():
    own = Image.fromarray(scene())
    loaded = load_image(own)
    assert loaded is not own
    loaded.paste((0, 0, 0), (0, 0, 32, 32))
    np.testing.assert_array_equal(np.asarray(own), scene())
    assert load_image(loaded) is loaded


def test_pairs_may_be_dicts():
    rows = [{"before": "a.png", "after": "b.png", "captions": []}, {"before": "c.png", "after": "d.png"}]
    pairs = [("a.png", "b.png"), ("c.png", "d.png")]
    assert pair_up(rows) == pair_up(tuple(rows)) == pairs
    assert pair_up(rows[0]) == pair_up(rows[:1]) == pairs[:1]
    assert pair_up([rows[:1], rows[1:]]) == pairs
    undecoded = [{"bytes": b"1", "path": None}, {"path": "b.png"}]
    assert pair_up(undecoded) == [tuple(undecoded)]
    with pytest.raises(ValueError, match="Pair 1 has no 'after'"):
        pair_up([rows[0], {"before": "c.png"}])
    pixels = build()(images=[{"before": scene(), "after": scene(seed=1)}] * 2, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (2, 2, 3, 32, 32)


def photograph(width, height, **options):
    """A large JPEG with detail at every scale."""
    rng = np.random.default_rng(5)
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((width, height)))
        for side in (4, 16, 64, 256)
    ]
    file = io.BytesIO()
    Image.fromarray(np.mean(layers, axis=0).astype(np.uint8)).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def large():
    return photograph(3200, 2400)


def test_a_large_jpeg_is_decoded_at_a_fraction_and_looks_the_same(large):
    whole = load_image(large)
    drafted = load_image(large, size=(192, 128))
    assert whole.size == (3200, 2400)
    assert drafted.size == (800, 600)
    assert drafted.ssgpa_facts.size == (3200, 2400)
    small, expected = (
        np.asarray(image.resize((192, 128), Image.Resampling.BICUBIC)).astype(int) for image in (drafted, whole)
    )
    assert np.abs(small - expected).max() <= 4
    assert np.abs(small - expected).mean() < 0.5


def test_no_more_is_decoded_away_than_the_margin(large):
    assert load_image(large, size=(448, 448)).size == (3200, 2400)
    assert load_image(large, size=(400, 300)).size == (1600, 1200)
    # An image of fewer pixels is whole, whatever is needed.
    ordinary = photograph(1600, 1200)
    np.testing.assert_array_equal(load_image(ordinary, size=(8, 8)), load_image(ordinary))


def test_a_large_jpeg_on_its_side_is_turned(large):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = load_image(photograph(3200, 2400, exif=exif), size=(128, 192))
    assert turned.size == (600, 800)
    assert turned.ssgpa_facts.size == (2400, 3200)
    upright = load_image(large, size=(192, 128)).transpose(Image.Transpose.ROTATE_270)
    assert np.abs(np.asarray(turned).astype(int) - np.asarray(upright)).max() <= 2


def test_the_processor_makes_the_pixels_of_its_image_processor(large):
    """Resized before or by the image processor, the bits are the same; a drafted image differs by rounding."""
    processor = build()
    assert fixed_size(processor.image_processor) == (32, 32)
    images = [Image.fromarray(scene(300, 200, seed)) for seed in range(2)]
    expected = processor.image_processor(images, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(processor(images=images, return_tensors="np")["pixel_values"][0], expected)
    assert processor.load_image(large).size == (32, 32)
    found = processor(images=[large, large], return_tensors="np")["pixel_values"][0, 0]
    whole = processor.image_processor([load_image(large)], return_tensors="np")["pixel_values"][0]
    assert np.abs(found - whole).max() < 0.1


def test_other_image_processors_still_get_whole_images():
    processor = tiny_image_processor()
    assert needed_size(processor) == (32, 32)
    processor.do_center_crop = True
    assert fixed_size(processor) is None
    edge = type(processor)(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32})
    assert fixed_size(edge) is None
    assert needed_size(edge) == (40, 40)
    assert needed_size(type(processor)(do_resize=False)) is None
    images = [Image.fromarray(scene(90, 60, seed)) for seed in range(2)]
    ours = build()
    ours.image_processor = edge
    expected = edge(images, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(ours(images=images, return_tensors="np")["pixel_values"][0], expected)
    # What one call changes, it decides alone.
    again = build()(images=images, size={"height": 16, "width": 24}, return_tensors="np")["pixel_values"]
    expected = tiny_image_processor(16, 24)(images, return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal(again[0], expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (encoded("PNG", scene(4, 4)), "4x4 pixels is too small"),
        (tiff(np.full((16, 16), -9999, np.float32), nodata=-9999), "no value is finite and data"),
        (tiff(np.linspace(0, 3060, 256, dtype=np.float32).reshape(16, 16)), "value_range"),
        (b"text", "not an image"),
    ],
)
def test_preparing_refuses_what_training_cannot_read(content, reason):
    with pytest.raises(ValueError, match=f"^x.png is not a readable image: .*{reason}") as error:
        check_image_bytes(content, "x.png")
    assert str(error.value).count("x.png") == 1


def test_preparing_takes_what_training_reads_with_the_same_options():
    from ssgpa.image_utils_ssgpa import Reading

    content = tiff(np.linspace(0, 3060, 256, dtype=np.float32).reshape(16, 16))
    check_image_bytes(content, "x.tif", Reading(value_range=(0, 3060)))
