# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The pipeline against plain `generate`, and what it refuses."""

import copy
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, GenerationConfig, pipeline
from transformers.pipelines import PIPELINE_REGISTRY
from transformers.testing_utils import CaptureLogger
from transformers.utils import logging

from ssgpa import ChangeCaptioningPipeline, SSGPAConfig, SSGPAForConditionalGeneration, SSGPAProcessor
from ssgpa.pipeline_ssgpa import draw_change_map, draw_overlay
from ssgpa.training.generation import caption_pairs
from ssgpa.utils.loading import load_system

from .tiny_systems import TINY_SYSTEMS


SHORT = {"max_new_tokens": 6, "num_beams": 2}


def noise(seed: int, width: int = 40, height: int = 32) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


PAIRS = [(noise(2 * index), noise(2 * index + 1, 56, 48)) for index in range(3)]


@pytest.fixture(scope="module", params=list(TINY_SYSTEMS))
def pipe(request):
    model, processor = TINY_SYSTEMS[request.param]()
    return pipeline("change-captioning", model=model, processor=processor, device="cpu")


@pytest.fixture(scope="module")
def ssgpa_pipe():
    model, processor = TINY_SYSTEMS["ssgpa"]()
    return pipeline("change-captioning", model=model, processor=processor, device="cpu")


@pytest.fixture
def scaled_pipe():
    """A pipeline whose evidence reaches its captions: without training, the write-back is shut."""
    model, processor = TINY_SYSTEMS["ssgpa"]()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return pipeline("change-captioning", model=model, processor=processor, device="cpu")


def by_hand(pipe, pair, **options):
    inputs = pipe.processor(images=[list(pair)], return_tensors="pt")
    with torch.no_grad():
        ids = pipe.model.generate(**inputs, **options)
    return pipe.processor.post_process_captions(ids, inputs)


def test_the_task_is_registered():
    _, task, _ = PIPELINE_REGISTRY.check_task("change-captioning")
    assert task["impl"] is ChangeCaptioningPipeline


def test_captions_are_those_of_generate(pipe):
    assert [[item["generated_text"] for item in pipe(pair, **SHORT)] for pair in PAIRS] == [
        by_hand(pipe, pair, **SHORT) for pair in PAIRS
    ]


def test_batches_give_what_single_pairs_give(pipe):
    single = [pipe(pair, **SHORT) for pair in PAIRS]
    assert pipe(PAIRS, **SHORT) == single
    assert pipe(PAIRS, batch_size=2, **SHORT) == single


def test_the_default_is_five_beams_and_forty_tokens(ssgpa_pipe):
    expected = by_hand(ssgpa_pipe, PAIRS[0], num_beams=5, max_new_tokens=40)
    assert [item["generated_text"] for item in ssgpa_pipe(PAIRS[0])] == expected
    assert expected != by_hand(ssgpa_pipe, PAIRS[0], num_beams=1, max_new_tokens=40)


def test_the_models_own_generation_settings_win_over_the_default(ssgpa_pipe):
    model = copy.deepcopy(ssgpa_pipe.model)
    model.generation_config.update(num_beams=1, max_new_tokens=7)
    own = ChangeCaptioningPipeline(model, processor=ssgpa_pipe.processor, task="change-captioning")
    expected = by_hand(ssgpa_pipe, PAIRS[0], num_beams=1, max_new_tokens=7)
    assert [item["generated_text"] for item in own(PAIRS[0])] == expected


def test_a_generation_config_holds_what_generate_is_called_with(ssgpa_pipe, recwarn):
    """At the pipeline, at the call, and with arguments beside it, which `generate` itself deprecates."""
    config = GenerationConfig(num_beams=2, return_dict_in_generate=True)
    before = copy.deepcopy(config)
    expected = by_hand(ssgpa_pipe, PAIRS[0], num_beams=2, max_new_tokens=6)
    assert [item["generated_text"] for item in ssgpa_pipe(PAIRS[0], generation_config=config, max_new_tokens=6)] == (
        expected
    )
    assert config == before
    for options in (SHORT, {"generation_config": GenerationConfig(**SHORT)}):
        own = pipeline(
            "change-captioning", model=ssgpa_pipe.model, processor=ssgpa_pipe.processor, device="cpu", **options
        )
        assert [item["generated_text"] for item in own(PAIRS[0])] == expected
    both = pipeline(
        "change-captioning", model=ssgpa_pipe.model, processor=ssgpa_pipe.processor, device="cpu", num_beams=2
    )
    assert [item["generated_text"] for item in both(PAIRS[0], max_new_tokens=6)] == expected
    assert [item["generated_text"] for item in both(PAIRS[0], num_beams=1, max_new_tokens=6)] == by_hand(
        ssgpa_pipe, PAIRS[0], num_beams=1, max_new_tokens=6
    )
    long = ssgpa_pipe.decoding_options({"generation_config": GenerationConfig(max_length=90)})["generation_config"]
    assert (long.num_beams, long.max_new_tokens, long.max_length) == (5, None, 90)
    assert not [warning for warning in recwarn if "generation" in str(warning.message)]


def test_a_generation_config_leaves_the_models_own_settings(ssgpa_pipe):
    """`generate` lays it over them; only what neither says is the default."""
    model = copy.deepcopy(ssgpa_pipe.model)
    model.generation_config.update(num_beams=3)
    own = ChangeCaptioningPipeline(model, processor=ssgpa_pipe.processor, task="change-captioning")
    expected = by_hand(ssgpa_pipe, PAIRS[0], num_beams=3, max_new_tokens=6)
    config = GenerationConfig(max_new_tokens=6)
    assert [item["generated_text"] for item in own(PAIRS[0], generation_config=config)] == expected


def test_the_name_of_an_assistant_is_refused(ssgpa_pipe):
    with pytest.raises(ValueError, match="`assistant_model` must be a loaded model"):
        ssgpa_pipe(PAIRS[0], assistant_model="runs/small")


def test_a_pair_may_come_in_many_ways(ssgpa_pipe, tmp_path):
    before, after = PAIRS[0]
    paths = [tmp_path / "before.png", tmp_path / "after.png"]
    for image, path in zip((before, after), paths, strict=True):
        image.save(path)
    expected = ssgpa_pipe((before, after), **SHORT)
    assert ssgpa_pipe([before, after], **SHORT) == expected
    assert ssgpa_pipe({"before": before, "after": after}, **SHORT) == expected
    assert ssgpa_pipe({"before": str(paths[0]), "after": paths[1].read_bytes()}, **SHORT) == expected
    assert ssgpa_pipe(tuple(paths), **SHORT) == expected
    assert ssgpa_pipe((np.asarray(before), torch.from_numpy(np.array(after))), **SHORT) == expected


def test_collections_may_come_in_many_ways(ssgpa_pipe):
    expected = [ssgpa_pipe(pair, **SHORT) for pair in PAIRS]
    rows = [{"before": before, "after": after, "captions": ["ignored"]} for before, after in PAIRS]
    assert ssgpa_pipe(rows, **SHORT) == expected
    assert list(ssgpa_pipe((row for row in rows), **SHORT)) == expected
    assert list(ssgpa_pipe(Dataset.from_list(rows), batch_size=2, **SHORT)) == expected
    assert ssgpa_pipe(PAIRS[:1], **SHORT) == expected[:1]
    assert ssgpa_pipe([], **SHORT) == []


def test_generate_arguments_are_taken_directly_and_in_a_dict(ssgpa_pipe):
    direct = ssgpa_pipe(PAIRS[0], max_new_tokens=3, num_beams=3, num_return_sequences=2)
    assert len(direct) == 2
    assert direct[0] != direct[1]
    assert all(len(item["generated_text"].split()) <= 3 for item in direct)
    options = {"max_new_tokens": 3, "num_beams": 3, "num_return_sequences": 2}
    assert ssgpa_pipe(PAIRS[0], generate_kwargs=options) == direct
    with pytest.raises(ValueError, match="`max_new_tokens` is given twice"):
        ssgpa_pipe(PAIRS[0], max_new_tokens=3, generate_kwargs={"max_new_tokens": 4})
    with pytest.raises(ValueError, match="max_tokens"):
        ssgpa_pipe(PAIRS[0], max_tokens=3)


def test_change_maps_leave_the_captions_as_they_are(scaled_pipe):
    plain = scaled_pipe(PAIRS, **SHORT)
    for batch_size in (1, 2):
        mapped = scaled_pipe(PAIRS, return_change_map=True, batch_size=batch_size, **SHORT)
        assert [[{"generated_text": item["generated_text"]} for item in row] for row in mapped] == plain


def test_change_maps_come_from_systems_that_have_evidence(pipe):
    if pipe.has_change_map:
        assert set(pipe(PAIRS[0], return_change_map=True, **SHORT)[0]) == {
            "generated_text",
            "change_map",
            "change_map_before",
            "overlay",
            "overlay_before",
        }
    else:
        with pytest.raises(ValueError, match="has no change map"):
            pipe(PAIRS[0], return_change_map=True, **SHORT)


def test_change_maps_show_the_evidence_of_forward(scaled_pipe):
    inputs = scaled_pipe.processor(images=[list(PAIRS[1])], return_tensors="pt")
    with torch.no_grad():
        evidence = scaled_pipe.model(**inputs, output_evidence=True).evidence.change_map[0].numpy()
    result = scaled_pipe(PAIRS, return_change_map=True, batch_size=3, **SHORT)[1][0]
    for key, image, cells in zip(("_before", ""), PAIRS[1], evidence, strict=True):
        drawn = result[f"change_map{key}"]
        assert drawn.mode == "L"
        assert drawn.size == result[f"overlay{key}"].size == image.size
        np.testing.assert_allclose(np.asarray(drawn) / 255, bilinear(cells, *image.size), atol=0.51 / 255)


def bilinear(cells: np.ndarray, width: int, height: int) -> np.ndarray:
    """Linear interpolation between the cells' centers, constant beyond them."""
    rows = np.clip((np.arange(height) + 0.5) * len(cells) / height - 0.5, 0, len(cells) - 1)
    columns = np.clip((np.arange(width) + 0.5) * cells.shape[1] / width - 0.5, 0, cells.shape[1] - 1)
    tall = np.stack([np.interp(rows, np.arange(len(cells)), column) for column in cells.T], 1)
    return np.stack([np.interp(columns, np.arange(cells.shape[1]), row) for row in tall])


def test_swapping_the_images_swaps_the_maps(scaled_pipe):
    before, after = PAIRS[0]
    there = scaled_pipe((before, after), return_change_map=True, **SHORT)[0]
    back = scaled_pipe((after, before), return_change_map=True, **SHORT)[0]
    for name in ("change_map", "overlay"):
        first, second = np.asarray(there[name], np.int16), np.asarray(back[f"{name}_before"], np.int16)
        assert np.abs(first - second).max() <= 1
        assert first.std() > 0


def test_the_vision_tower_runs_once(ssgpa_pipe):
    calls = []
    handle = ssgpa_pipe.model.model.vision_tower.register_forward_hook(lambda *_: calls.append(1))
    ssgpa_pipe(PAIRS[0], return_change_map=True, num_beams=4, max_new_tokens=6)
    handle.remove()
    assert len(calls) == 1


def test_a_map_is_neither_stretched_nor_cut():
    cells = torch.tensor([[0.0, 0.1], [0.2, 0.3]])
    assert np.asarray(draw_change_map(cells, (2, 2))).tolist() == [[0, 26], [51, 76]]
    gray = Image.new("RGB", (2, 2), (100, 100, 100))
    assert np.asarray(draw_overlay(gray, draw_change_map(torch.zeros(1, 1), (2, 2)))).tolist() == [[[100] * 3] * 2] * 2
    red, green, blue = draw_overlay(gray, draw_change_map(torch.ones(1, 1), (2, 2))).getpixel((0, 0))
    assert red > 200
    assert green == blue == 30


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((noise(0),), "got 1 of type Image"),
        ((noise(0), noise(1), noise(2)), "got 3 of type Image, Image, Image"),
        (noise(0), "got 1 of type Image"),
        ([noise(0), noise(1), noise(2)], "A pair is two images"),
        ([PAIRS[0], (noise(0),)], "got 1 of type Image"),
        ({"before": noise(0)}, r"needs the keys \"before\" and \"after\", got \['before'\]"),
        (7, "a collection of pairs is needed, got a int"),
    ],
)
def test_what_is_no_pair_is_refused(ssgpa_pipe, inputs, message):
    with pytest.raises(ValueError, match=message):
        ssgpa_pipe(inputs)


def test_errors_name_the_file(ssgpa_pipe, tmp_path):
    noise(0).save(tmp_path / "there.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        ssgpa_pipe((tmp_path / "there.png", tmp_path / "gone.png"))


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_a_broken_pair_costs_its_own_place(ssgpa_pipe, tmp_path, batch_size):
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    broken = [(tmp_path / "gone.png", noise(0)), (noise(0),), {"before": noise(1)}, (noise(0), tmp_path / "text.png")]
    pairs = [broken[0], PAIRS[0], broken[1], broken[2], PAIRS[1], broken[3]]
    good = [ssgpa_pipe(pair, **SHORT) for pair in PAIRS[:2]]
    results = ssgpa_pipe(pairs, on_error="return", batch_size=batch_size, **SHORT)
    assert [results[1], results[4]] == good
    errors = [results[index] for index in (0, 2, 3, 5)]
    assert all(len(result) == 1 and list(result[0]) == ["error"] for result in errors)
    messages = ("gone.png: no such file", "got 1 of type", "needs the keys", "text.png: not an i")
    for result, message in zip(errors, messages, strict=True):
        assert message in result[0]["error"]
    rows = (pair for pair in pairs)
    assert list(ssgpa_pipe(rows, on_error="return", batch_size=batch_size, **SHORT)) == results
    assert ssgpa_pipe(broken[0], on_error="return") == results[0]
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        ssgpa_pipe(pairs[:2], batch_size=batch_size)
    with pytest.raises(ValueError, match="`on_error` must be one of raise, return; got 'skip'"):
        ssgpa_pipe(PAIRS, on_error="skip")


def test_a_pipeline_that_returns_errors_is_one_for_good(ssgpa_pipe):
    own = ChangeCaptioningPipeline(
        ssgpa_pipe.model, processor=ssgpa_pipe.processor, task="change-captioning", on_error="return"
    )
    assert "error" in own([PAIRS[0], ("gone.png", "gone.png")], **SHORT)[1][0]
    with pytest.raises(FileNotFoundError):
        own([("gone.png", "gone.png")], on_error="raise")


def test_broken_weights_are_no_error_of_a_pair():
    model, processor = TINY_SYSTEMS["ssgpa"]()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    broken = pipeline("change-captioning", model=model, processor=processor, device="cpu")
    with pytest.raises(FloatingPointError, match="not finite"):
        broken([PAIRS[0]], on_error="return")


def raise_error(error):
    raise error


FULL = {
    "GPU": lambda: raise_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")),
    "CPU": lambda: torch.empty(2**60),
    "Python": lambda: bytearray(2**60),
}


@pytest.mark.parametrize("kind", FULL)
def test_a_batch_too_large_for_memory_is_halved(scaled_pipe, monkeypatch, kind):
    pairs = [*PAIRS, *PAIRS[:2]]
    expected = scaled_pipe(pairs, batch_size=5, return_change_map=True, **SHORT)
    sizes, generate = [], scaled_pipe.model.generate

    def little(**options):
        sizes.append(len(options["input_ids"]))
        if sizes[-1] > 2:
            FULL[kind]()
        return generate(**options)

    monkeypatch.setattr(scaled_pipe.model, "generate", little)
    assert scaled_pipe(pairs, batch_size=5, return_change_map=True, **SHORT) == expected
    assert sizes == [5, 2, 2, 1]
    assert scaled_pipe.fitting_batch_size == 2
    # It does not try what failed again.
    assert scaled_pipe(pairs, batch_size=5, return_change_map=True, **SHORT) == expected
    assert sizes[4:] == [2, 2, 1]


def test_other_errors_of_a_batch_are_told(ssgpa_pipe, monkeypatch):
    def fail(**_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(ssgpa_pipe.model, "generate", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        ssgpa_pipe(PAIRS, batch_size=3)


def test_a_saved_pipeline_loads_with_its_processor(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    again = pipeline("change-captioning", model=str(tmp_path), device="cpu")
    assert again(PAIRS, **SHORT) == pipe(PAIRS, **SHORT)
    with pytest.raises(NotADirectoryError, match=r"config\.json is a file"):
        pipe.save_pretrained(tmp_path / "config.json")


REMOTE = """
import json, sys
sys.modules["ssgpa"] = None
from transformers import pipeline
pipe = pipeline("change-captioning", model=sys.argv[1], trust_remote_code=True, device="cpu")
print(json.dumps(pipe((sys.argv[2], sys.argv[3]), max_new_tokens=6, num_beams=2)))
"""


def test_published_code_runs_without_the_package(ssgpa_pipe, tmp_path, monkeypatch):
    """What `register_for_auto_class` does, undone after the test."""
    monkeypatch.setattr(SSGPAConfig, "_auto_class", "AutoConfig")
    monkeypatch.setattr(SSGPAForConditionalGeneration, "_auto_class", "AutoModelForImageTextToText")
    monkeypatch.setattr(SSGPAProcessor, "_auto_class", "AutoProcessor")
    config = dict(ssgpa_pipe.model.config.__dict__)
    ssgpa_pipe.save_pretrained(tmp_path / "model")
    ssgpa_pipe.model.config.__dict__ = config
    paths = [str(tmp_path / "before.png"), str(tmp_path / "after.png")]
    for image, path in zip(PAIRS[0], paths, strict=True):
        image.save(path)
    command = [sys.executable, "-c", REMOTE, str(tmp_path / "model"), *paths]
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == ssgpa_pipe(PAIRS[0], **SHORT)


def drop_a_weight(folder):
    """Take a weight out of a saved system; its name."""
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "connector" in key)
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return name


DOORS = {
    "pipeline by path": lambda path: pipeline("change-captioning", model=path, device="cpu"),
    "model, then pipeline": lambda path: pipeline(
        "change-captioning",
        model=AutoModelForImageTextToText.from_pretrained(path),
        processor=AutoProcessor.from_pretrained(path),
        device="cpu",
    ),
}


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("door", DOORS)
def test_missing_weights_are_told_at_loading(ssgpa_pipe, tmp_path, door):
    """By Transformers, which fills them in at random, as for any model."""
    logging.set_verbosity_warning()
    ssgpa_pipe.save_pretrained(tmp_path)
    with CaptureLogger(logging.get_logger("transformers")) as whole:
        DOORS[door](str(tmp_path))
    assert "MISSING" not in whole.out
    name = drop_a_weight(tmp_path)
    with CaptureLogger(logging.get_logger("transformers")) as told:
        DOORS[door](str(tmp_path))
    assert "MISSING" in told.out
    assert name in told.out


def test_missing_weights_are_refused_by_the_programs_loader(ssgpa_pipe, tmp_path):
    ssgpa_pipe.save_pretrained(tmp_path)
    name = drop_a_weight(tmp_path)
    with pytest.raises(ValueError, match=f"do not hold 1 of the model's weights, the first {name}"):
        load_system(str(tmp_path))


def resize(model):
    model.resize_token_embeddings(model.config.text_config.vocab_size + 3)
    return model


def merge(model):
    options = LoraConfig(r=2, target_modules=r"model\.language_model\..*\.(q_proj|v_proj)")
    return get_peft_model(model, options).merge_and_unload()


def replace(model):
    head = torch.nn.Linear(model.lm_head.in_features, model.lm_head.out_features, bias=False)
    head.load_state_dict(model.lm_head.state_dict())
    model.lm_head = head
    return model


@pytest.mark.parametrize("change", [resize, merge, replace])
def test_model_changed_after_loading_captions(ssgpa_pipe, tmp_path, change):
    """Its weights are good, though not all of them are the files' own."""
    ssgpa_pipe.save_pretrained(tmp_path)
    model = change(AutoModelForImageTextToText.from_pretrained(tmp_path)).eval()
    changed = pipeline("change-captioning", model=model, processor=ssgpa_pipe.processor, device="cpu")
    captions = [result[0]["generated_text"] for result in changed(PAIRS, **SHORT)]
    if change is not resize:
        assert captions == [result[0]["generated_text"] for result in ssgpa_pipe(PAIRS, **SHORT)]


def test_broken_weights_are_refused():
    model, processor = TINY_SYSTEMS["ssgpa"]()
    with torch.no_grad():
        model.lm_head.weight[0, 0] = float("nan")
    broken = pipeline("change-captioning", model=model, processor=processor, device="cpu")
    with pytest.raises(FloatingPointError, match="not finite"):
        broken(PAIRS[0])


def test_retrieved_captions_are_for_systems_that_read_them(pipe, tmp_path):
    plain = [{"before": before, "after": after} for before, after in PAIRS[:2]]
    told = {**plain[0], "retrieved": ["the red cube moved", "a sphere"]}
    if not pipe.model.config.reads_retrieved:
        with pytest.raises(ValueError, match="reads no retrieved captions"):
            pipe(told, **SHORT)
        (found,) = pipe([told], on_error="return", **SHORT)
        assert "reads no retrieved captions" in found[0]["error"]
        return
    broken = {"before": str(tmp_path / "none.png"), "after": PAIRS[0][1]}
    together = pipe([told, broken, plain[1]], batch_size=3, on_error="return", **SHORT)
    assert together[0] == pipe(told, **SHORT)
    assert "none.png" in together[1][0]["error"]
    logger = logging.get_logger("ssgpa.pipeline_ssgpa")
    logger.warning_once.cache_clear()
    with CaptureLogger(logger) as log:
        assert together[2] == pipe(plain[1], **SHORT)
    assert log.out.count("a pair came without") == 1


@pytest.mark.parametrize("name", [name for name in TINY_SYSTEMS if TINY_SYSTEMS[name]()[0].config.reads_retrieved])
def test_tiles_read_the_captions_retrieved_for_their_pair(name):
    model, processor = TINY_SYSTEMS[name]()
    pipe = pipeline("change-captioning", model=model, processor=processor, device="cpu")
    seen = []
    processor_call = pipe.processor.retrieved_inputs
    pipe.processor.retrieved_inputs = lambda texts, *args: seen.append(texts) or processor_call(texts, *args)
    pair = {"before": PAIRS[0][0], "after": PAIRS[0][1], "retrieved": ["the red cube moved"]}
    found = pipe(pair, tiles=(1, 2), **SHORT)
    assert len(found[0]["tiles"]) == 2
    # Two captions, then their scores beside both images and beside the first one alone.
    assert seen == [[["the red cube moved"]]] * 6


def test_a_repetition_penalty_means_the_same_everywhere(pipe):
    options = {"max_new_tokens": 10, "num_beams": 2, "do_sample": False}
    wanted = caption_pairs(pipe.model, pipe.processor, PAIRS[:2], repetition_penalty=1.7, **options)

    def captions(**more):
        return [found[0]["generated_text"] for found in pipe(PAIRS[:2], **more)]

    assert captions(repetition_penalty=1.7, **options) == wanted
    assert captions(generation_config=GenerationConfig(repetition_penalty=1.7, **options)) == wanted
    kept = pipe.model.generation_config
    pipe.model.generation_config = copy.deepcopy(kept)
    try:
        # As a checkpoint of a run with `generation_repetition_penalty` has it.
        pipe.model.generation_config.repetition_penalty = 1.7
        assert captions(**options) == wanted
        assert caption_pairs(pipe.model, pipe.processor, PAIRS[:2], **options) == wanted
        assert pipe.model.generation_config.repetition_penalty == 1.7
    finally:
        pipe.model.generation_config = kept
