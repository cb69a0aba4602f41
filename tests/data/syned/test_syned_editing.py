# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Variants by a tiny InstructPix2Pix, and their ranking by a tiny CLIP."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

from ssgpa.data.syned.editing import edit_image, edited_size, fit_image, load_editor
from ssgpa.data.syned.models import model_facts
from ssgpa.data.syned.ranking import best_first, clip_similarities, load_clip
from ssgpa.data.syned.settings import EditSettings
from ssgpa.data.syned.watermark import add_watermark


SIZES = {
    (512, 512): (512, 512),
    (640, 480): (576, 448),
    (480, 640): (448, 576),
    (100, 100): (512, 512),
    (4000, 1000): (1024, 256),
    (10_000, 10): (16_192, 64),
}


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size):
    assert edited_size(*size, 512) == SIZES[size]


def test_fitting_cuts_but_does_not_stretch():
    """A circle stays one: as wide as high, whatever the shape of the image."""
    rows, columns = np.mgrid[:300, :500]
    circle = ((rows - 150) ** 2 + (columns - 250) ** 2 < 100**2).astype(np.uint8) * 255
    fitted = np.asarray(fit_image(Image.fromarray(circle).convert("RGB"), 256))[:, :, 0] > 127
    assert fitted.shape == (192, 320)
    assert fitted.any(axis=0).sum() == pytest.approx(fitted.any(axis=1).sum(), abs=1)


def test_each_variant_is_what_its_seed_gives_alone(settings, noise):
    """One call for all variants gives what the library gives for one image and one generator."""
    diffusers = pytest.importorskip("diffusers")
    pipe, facts = load_editor(settings)
    assert isinstance(pipe.scheduler, diffusers.EulerAncestralDiscreteScheduler)
    assert facts["commit"] is None
    assert "unet/diffusion_pytorch_model.safetensors" in [name for name, *_ in facts["files"]]
    image = noise(0, (64, 64))
    variants = edit_image(pipe, image, "make it red", [3, 4, 5], settings.edit)
    assert len({variant.tobytes() for variant in variants}) == 3
    for seed, variant in zip([3, 4, 5], variants, strict=True):
        alone = pipe(
            "make it red",
            image,
            num_inference_steps=2,
            guidance_scale=7.0,
            image_guidance_scale=1.5,
            generator=torch.Generator().manual_seed(seed),
        ).images[0]
        difference = np.abs(np.asarray(variant, dtype=int) - np.asarray(alone, dtype=int))
        assert variant.size == (64, 64)
        assert difference.max() <= 1
    other = edit_image(pipe, image, "paint the dog", [3], settings.edit)[0]
    assert other.tobytes() != variants[0].tobytes()


def test_numbers_that_are_none_are_refused(settings, noise):
    pipe, _ = load_editor(settings)
    pipe.vae.decoder.conv_out.bias.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="try --dtype float32"):
        edit_image(pipe, noise(0, (64, 64)), "make it red", [0], settings.edit)


def test_safety_checker(build_editor, build_checker, changed, noise, tmp_path):
    build_editor(build_checker(-2.0)).save_pretrained(tmp_path / "strict")
    build_editor().save_pretrained(tmp_path / "without")
    images = {}
    for name, checked in (("strict", True), ("strict", False), ("without", False)):
        settings = changed("edit", model=str(tmp_path / name), safety_checker=checked)
        pipe, _ = load_editor(settings)
        images[name, checked] = edit_image(pipe, noise(0, (64, 64)), "make it red", [0, 1], settings.edit)
    assert images["strict", True] == [None, None]
    assert None not in images["strict", False]
    assert [image.tobytes() for image in images["strict", False]] == [
        image.tobytes() for image in images["without", False]
    ]
    with pytest.raises(ValueError, match="no safety checker; pass --no-safety_checker"):
        load_editor(changed("edit", model=str(tmp_path / "without")))


def test_other_pipelines_are_refused(build_editor, changed, clip_dir, tmp_path):
    build_editor(unet_channels=4).save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match="plain: its UNet reads 4 channels, an InstructPix2Pix editor's reads 8"):
        load_editor(changed("edit", model=str(tmp_path / "plain"), safety_checker=False))
    for path in (clip_dir, tmp_path / "nowhere"):
        with pytest.raises(ValueError, match=f"model {path}: "):
            load_editor(changed("edit", model=str(path)))


def test_a_commit_is_told_from_the_cache():
    commit = "0123456789abcdef0123456789abcdef01234567"
    edit = EditSettings(model="owner/name", revision="main")
    for path in (f"/cache/models--owner--name/snapshots/{commit}/unet", commit):
        assert model_facts(edit, path)["commit"] == commit
    for path in (None, "/models/unet", "owner/name"):
        assert model_facts(edit, path)["commit"] is None


def test_similarities_are_cosines_of_features(settings, clip_dir, noise):
    clip, _ = load_clip(settings)
    before, variants = noise(0), [noise(1), noise(2)]
    found = clip_similarities(clip, before, variants, "make it red")

    model, processor = CLIPModel.from_pretrained(clip_dir), CLIPProcessor.from_pretrained(clip_dir)
    with torch.inference_mode():
        images = processor(images=[before, *variants], return_tensors="pt")
        images = model.visual_projection(model.vision_model(**images).pooler_output)
        text = model.text_projection(model.text_model(**processor(text=["make it red"], return_tensors="pt"))[1])
    cosine = torch.nn.functional.cosine_similarity
    assert found["image_text"] == pytest.approx(cosine(images[1:], text).tolist(), abs=1e-5)
    assert found["image_image"] == pytest.approx(cosine(images[1:], images[:1]).tolist(), abs=1e-5)
    same = clip_similarities(clip, before, [before], "make it red " * 40)
    assert same["image_image"] == pytest.approx([1.0], abs=1e-5)


def test_best_first():
    assert best_first([0.1, None, 0.3, 0.3, -1.0], keep=None) == [2, 3, 0, 4]
    assert best_first([0.1, None, 0.3], keep=1) == [2]
    assert best_first([None, None], keep=2) == []


@pytest.mark.parametrize("size", [(512, 512), (576, 448)])
def test_watermark_is_read_again(size, noise):
    imwatermark = pytest.importorskip("imwatermark", reason="needs invisible-watermark")
    image = noise(3, size)
    marked = add_watermark(image, "made here")
    difference = np.abs(np.asarray(marked, dtype=int) - np.asarray(image, dtype=int))
    assert 0 < difference.mean() < 3
    blue_first = np.asarray(marked)[:, :, ::-1]
    assert imwatermark.WatermarkDecoder("bytes", 72).decode(blue_first, "dwtDctSvd") == b"made here"


def test_small_images_hold_no_watermark(noise):
    pytest.importorskip("imwatermark", reason="needs invisible-watermark")
    with pytest.raises(ValueError, match="64 x 64 is too small for a watermark"):
        add_watermark(noise(3, (64, 64)), "made")
