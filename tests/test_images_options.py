# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""How images are read, from the processor, the pipeline and the command line; and what is said of shrunk ones."""

import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

import ssgpa_command
from ssgpa import ChangeCaptioningPipeline, SSGPAProcessor
from ssgpa.image_utils_ssgpa import load_image

from .image_cases import scene, tiff
from .processing_cases import build
from .tiny_systems import TINY_SYSTEMS


ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ROOT / "checkpoints" / "ssgpa-clevr-tiny"
SENSOR = [tiff((scene(40, 40, seed)[..., 0].astype(np.float32)) * 12) for seed in range(2)]
RANGE = (0, 3060)
SHORT = {"max_new_tokens": 4, "num_beams": 1}
GRAY = [np.repeat(scene(40, 40, seed)[..., :1], 3, -1) for seed in range(2)]


@pytest.fixture(scope="module")
def pipe():
    model, processor = TINY_SYSTEMS["ssgpa"]()
    return ChangeCaptioningPipeline(model, processor=processor, task="change-captioning", device="cpu")


def pixels(processor, images, **options):
    return processor(images=images, return_tensors="pt", **options)["pixel_values"]


def test_a_call_of_the_processor_takes_a_range():
    expected = pixels(build(), GRAY)
    assert torch.equal(pixels(build(), SENSOR, value_range=RANGE), expected)
    with pytest.raises(ValueError, match=r"^pair 0, before: .*up to .* value_range="):
        pixels(build(), SENSOR)
    with pytest.raises(ValueError, match="`value_range` must be"):
        pixels(build(), SENSOR, value_range=(5, 1))


def test_a_processor_keeps_its_range_on_disk(tmp_path):
    plain = build()
    assert not {"value_range", "nodata", "bands", "trained_size"} & plain.to_dict().keys()
    processor = build(value_range=RANGE, nodata=-9999, bands=(1,), trained_size={"height": 40, "width": 40})
    processor.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "processor_config.json").read_text("utf-8"))
    assert (told["value_range"], told["nodata"], told["bands"]) == ([0, 3060], -9999, [1])
    again = SSGPAProcessor.from_pretrained(tmp_path)
    assert again.to_dict() == processor.to_dict()
    assert torch.equal(pixels(again, SENSOR), pixels(build(), GRAY))
    # What a call says wins over it.
    assert torch.equal(pixels(again, GRAY, value_range=(0, 255)), pixels(build(), GRAY))


def test_what_was_read_once_is_not_scaled_again():
    processor = build(value_range=(0, 6120))
    loaded = [processor.load_image(source, value_range=RANGE) for source in SENSOR]
    assert torch.equal(pixels(processor, loaded), pixels(build(), GRAY))
    whole = [load_image(source, value_range=RANGE) for source in SENSOR]
    assert torch.equal(pixels(processor, whole), pixels(build(), GRAY))


def test_chats_take_a_range():
    processor = build()
    turn = {"role": "user", "content": [{"type": "image", "image": source} for source in GRAY]}
    told = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    found = processor.apply_chat_template([turn], **told)["pixel_values"]
    assert torch.equal(found, pixels(processor, GRAY))


@pytest.mark.parametrize(
    "options", [{"value_range": 5}, {"bands": (0,)}, {"nodata": "x"}, {"trained_size": {"height": 0, "width": 5}}]
)
def test_a_processor_refuses_options_of_another_form(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be"):
        build(**options)


def test_the_pipeline_takes_a_range(pipe):
    expected = pipe(tuple(GRAY), **SHORT)
    assert pipe(tuple(SENSOR), value_range=RANGE, **SHORT) == expected
    assert pipe([tuple(SENSOR)] * 2, value_range=RANGE, batch_size=2, **SHORT) == [expected] * 2
    if pipe.has_change_map:
        mapped = pipe(tuple(SENSOR), value_range=RANGE, return_change_map=True, **SHORT)[0]
        assert mapped["generated_text"] == expected[0]["generated_text"]
        assert mapped["overlay"].size == (40, 40)
    with pytest.raises(ValueError, match=r"^before: .*value_range="):
        pipe(tuple(SENSOR), **SHORT)


def test_the_pipeline_reads_maps_and_captions_alike_for_a_checkpoint_of_sensor_data(pipe):
    own = copy.copy(pipe)
    own.processor = copy.deepcopy(pipe.processor)
    own.processor.value_range = RANGE
    expected = pipe(tuple(GRAY), **SHORT)[0]["generated_text"]
    assert own(tuple(SENSOR), **SHORT)[0]["generated_text"] == expected
    mapped = own(tuple(SENSOR), return_change_map=True, **SHORT)[0]
    assert mapped["generated_text"] == expected
    # The overlay shows the scaled image.
    assert np.asarray(mapped["overlay"])[..., 2].std() > 20


@pytest.mark.parametrize("stack", [np.stack, lambda arrays: torch.from_numpy(np.stack(arrays))])
def test_stacked_pairs_are_pairs(pipe, stack):
    expected = pipe(tuple(GRAY), **SHORT)
    assert pipe(stack(GRAY), **SHORT) == expected
    assert pipe([stack(GRAY)] * 2, **SHORT) == [expected] * 2
    assert list(pipe(stack([np.stack(GRAY)] * 2), **SHORT)) == [expected] * 2
    channels_first = stack(GRAY).transpose(0, 3, 1, 2) if stack is np.stack else stack(GRAY).permute(0, 3, 1, 2)
    assert pipe(channels_first, **SHORT) == expected
    with pytest.raises(ValueError, match="got 3 of type"):
        pipe(stack([*GRAY, GRAY[0]]), **SHORT)


def test_whole_images_are_kept_for_maps_alone(pipe):
    plain = pipe.preprocess(tuple(GRAY))
    assert plain["images"] == [None]
    mapped = pipe.preprocess(tuple(GRAY), return_change_map=True)
    assert [image.size for image in mapped["images"][0]] == [(40, 40)] * 2
    assert torch.equal(plain["pixel_values"], mapped["pixel_values"])


def test_the_embedded_checkpoint_tells_the_size_that_it_was_trained_on():
    processor = AutoProcessor.from_pretrained(EMBEDDED)
    record = json.loads((ROOT / "benchmarks" / "results" / "ssgpa-clevr-tiny-training.json").read_text("utf-8"))
    (size,) = {tuple(run["data"]["size"]) for run in record["runs"]}
    width, height = size
    assert processor.trained_size == {"height": height, "width": width} == {"height": 128, "width": 192}


def shrunk(caplog):
    return [record.getMessage() for record in caplog.records if "are shrunk" in record.getMessage()]


def test_an_image_shrunk_more_than_in_training_is_told_once_a_size(tmp_path, caplog):
    processor = build(trained_size={"height": 48, "width": 64})
    Image.fromarray(scene(128, 96)).save(tmp_path / "large.png")
    with caplog.at_level(logging.WARNING):
        pixels(processor, [scene(64, 48), scene(66, 50)])
        assert not shrunk(caplog)
        pixels(processor, [tmp_path / "large.png"] * 2)
        pixels(processor, [tmp_path / "large.png", scene(64, 48)])
    (line,) = shrunk(caplog)
    assert line.startswith(f"{tmp_path / 'large.png'}: 128x96 pixels are shrunk 4.0 times")
    assert "trained on 64x48, shrunk 2.0 times" in line
    assert "\n" not in line
    with caplog.at_level(logging.WARNING):
        pixels(build(), [scene(960, 1280)] * 2)
    assert len(shrunk(caplog)) == 1


def test_a_scene_in_a_larger_canvas_is_told_by_the_command(tmp_path, monkeypatch, capfd, restored_logging):
    """The public case: right at the size of the training, and "the scene remains the same" on a large canvas."""
    monkeypatch.chdir(tmp_path)
    for side in ("before", "after"):
        with Image.open(ROOT / "examples" / "pairs" / f"drop_0_{side}.png") as image:
            image.save(f"{side}.png")
            canvas = Image.new("RGB", (1024, 683), (110, 110, 110))
            canvas.paste(image, (300, 200))
            canvas.save(f"{side}_large.png")
    assert ssgpa_command.main(["caption", "before.png", "after.png"]) == 0
    assert capfd.readouterr().err == ""
    assert ssgpa_command.main(["caption", "before_large.png", "after_large.png"]) == 0
    # A canvas around a scene is told as unfamiliar, too.
    (line,) = (line for line in capfd.readouterr().err.splitlines() if "are shrunk" in line)
    assert line.startswith("ssgpa: warning: before_large.png: 1024x683 pixels are shrunk 5.3 times")


@pytest.fixture
def sensor_table(tmp_path, monkeypatch, pipe):
    monkeypatch.chdir(tmp_path)
    pipe.save_pretrained("model")
    for name, content in zip(("a.tif", "b.tif"), SENSOR, strict=True):
        Path(name).write_bytes(content)
    for name, values in zip(("c.png", "d.png"), GRAY, strict=True):
        Image.fromarray(values).save(name)
    Path("pairs.csv").write_text("before,after\na.tif,b.tif\n", encoding="utf-8")


def command(capfd, *words):
    code = ssgpa_command.main(["caption", *words, "--model", "./model"])
    out, err = capfd.readouterr()
    return code, out, err


def test_the_command_reads_sensor_data(sensor_table, capfd, restored_logging):
    expected = command(capfd, "c.png", "d.png")
    assert expected[0] == 0
    assert command(capfd, "a.tif", "b.tif", "--value-range", "0,3060", "--nodata", "-9999") == expected
    code, out, err = command(capfd, "a.tif", "b.tif")
    assert (code, out) == (2, "")
    assert err.startswith("ssgpa: error: a.tif: cannot be read as an image (values up to")
    assert "value_range=(low, high)" in err


def test_a_table_of_sensor_data_is_read_and_not_mixed_with_another_reading(sensor_table, capfd, restored_logging):
    expected = command(capfd, "c.png", "d.png")[1].strip()
    words = ["--pairs", "pairs.csv", "--output", "out.jsonl", "--quiet"]
    assert command(capfd, *words, "--value-range", "0,3060")[0] == 0
    assert json.loads(Path("out.jsonl").read_text("utf-8"))["caption"] == expected
    code, _, err = command(capfd, *words, "--value-range", "percentile")
    assert code == 2
    assert "different: reading" in err


def test_a_nearly_black_image_is_told_by_the_command(sensor_table, capfd, restored_logging):
    for name in ("e.tif", "f.tif"):
        Path(name).write_bytes(tiff(scene(seed=len(name))[..., 0].astype(np.uint16)))
    code, out, err = command(capfd, "e.tif", "c.png")
    assert (code, out.count("\n")) == (0, 1)
    assert err.startswith("ssgpa: warning: e.tif: is nearly one color; its uint16 values run from")
    Path("pairs.csv").write_text("before,after\nf.tif,c.png\n", encoding="utf-8")
    code, _, err = command(capfd, "--pairs", "pairs.csv", "--output", "out.jsonl", "--quiet")
    assert (code, err.count("\n")) == (0, 1)
    assert "f.tif: is nearly one color" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--value-range", "5"], "'5' is neither LOW,HIGH"),
        (["--value-range", "9,1"], "'9,1' is neither LOW,HIGH"),
        (["--value-range", "min,max"], "is neither LOW,HIGH"),
        (["--bands", "1,2"], "is neither one nor three"),
        (["--bands", "0"], "is neither one nor three"),
        (["--nodata", "x"], "invalid float"),
    ],
)
def test_options_of_another_form_take_one_line(words, message, capfd):
    with pytest.raises(SystemExit):
        ssgpa_command.main(["caption", "a.tif", "b.tif", *words])
    err = capfd.readouterr().err
    assert message in err
    assert err.count("\n") == 1
