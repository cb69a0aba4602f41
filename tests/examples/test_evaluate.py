# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
import json
import os
import subprocess
import sys
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from datasets import Dataset, DatasetDict
from PIL import Image

from ssgpa.data.prepared import load_prepared, write_prepared
from ssgpa.data.reading import table_of
from ssgpa.data.schema import pair_features
from ssgpa.metrics import score_captions

from ..image_cases import scene, tiff
from ..scripts import load_script
from ..tiny_systems import TINY_SYSTEMS, tiny_ssgpa


SCRIPT = Path(__file__).parents[2] / "examples" / "evaluate.py"
FAST = ["--num_beams", "2", "--max_new_tokens", "4", "--batch_size", "3", "--no_meteor"]
CAPTIONS = {
    "none": ["the scene remains the same", "there is no change"],
    "move": ["the red cube moved", "the red cube has been moved"],
    "add": ["a small sphere has been added", "there is a small sphere"],
}


def split(name, count):
    generator = np.random.default_rng(len(name))
    types = list(CAPTIONS)
    records = []
    for index in range(count):
        before, after = (
            Image.fromarray(generator.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in ("before", "after")
        )
        change_type = types[index % 3]
        record = {"pair_id": f"{name}-{index}", "scene_id": f"{name} {index}", "before": before, "after": after}
        records.append({**record, "captions": CAPTIONS[change_type], "change_type": change_type})
    return Dataset.from_list(records, features=pair_features())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    splits = DatasetDict({"train": split("train", 6), "validation": split("validation", 3), "test": split("test", 7)})
    folder = write_prepared(splits, tmp_path_factory.mktemp("data") / "prepared", {"render_settings": {"seed": 3}})
    # Read once now: the first reading shows bars, in whichever test that would be.
    load_prepared(folder)
    return folder


@pytest.fixture(scope="module", params=TINY_SYSTEMS)
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / request.param
    system, processor = TINY_SYSTEMS[request.param]()
    system.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def script():
    return load_script(SCRIPT)


@pytest.fixture
def run(script, model, data, tmp_path, capsys):
    """Runs the example; returns exit code, what was written, and both streams."""

    def call(*options, **paths):
        paths = {"model": model, "data": data, "output": tmp_path / "out" / "x.json", **paths}
        code = script.main(
            [*(word for name, path in paths.items() for word in (f"--{name}", str(path))), *FAST, *options]
        )
        output = Path(paths["output"])
        written = json.loads(output.read_text(encoding="utf-8")) if output.exists() else None
        return code, written, capsys.readouterr()

    return call


def read_log(path):
    first, *records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return first["settings"], {record["pair_id"]: record["caption"] for record in records}


def assert_one_line_error(result, *words):
    code, _, streams = result
    lines = streams.err.strip().splitlines()
    assert code == 2
    assert len(lines) == 1
    assert all(word in lines[0] for word in words), lines


def test_scores_are_those_of_the_captions_beside_them(run, tmp_path, data):
    code, written, streams = run()
    assert code == 0
    _, captions = read_log(tmp_path / "out" / "x.predictions.jsonl")
    assert sorted(captions) == [f"test-{index}" for index in range(7)]
    references = {f"test-{index}": CAPTIONS[list(CAPTIONS)[index % 3]] for index in range(7)}
    expected = score_captions(references, captions, meteor=False)
    assert {key: written["scores"]["total"][key] for key in expected} == expected
    assert written["scores"]["changed"]["n_items"] == 4
    assert written["scores"]["by_type"].keys() == {"add", "move"}
    assert {"no_change_rate", "baselines", "upper_bounds", "distinct_captions", "seed", "versions"} <= written.keys()
    assert (written["data"], written["split"]) == (str(data), "test")
    assert written["render_settings"] == {"seed": 3}
    assert {"python", "ssgpa", "torch", "transformers", "pycocoevalcap", "nltk"} <= written["versions"].keys()
    assert 'always "the scene remains the same"' in written["baselines"]
    throughput = written["throughput"]
    assert throughput["captions_per_second"] == pytest.approx(7 / throughput["seconds"])
    assert throughput["num_beams"] == 2
    assert throughput["parameters"] > 1000
    assert "CIDEr-D" in streams.out
    assert 'baseline: always "the scene remains the same"' in streams.out


def test_an_interrupted_run_goes_on(run, tmp_path):
    run()
    log = tmp_path / "out" / "x.predictions.jsonl"
    settings, captions = read_log(log)
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[1] = json.dumps({"pair_id": "test-0", "caption": "kept from before"}) + "\n"
    log.write_text("".join(lines[:4]) + lines[4][:9], encoding="utf-8")
    assert_one_line_error(run(), "x.json", "--overwrite")
    code, written, _ = run("--overwrite")
    assert code == 0
    assert read_log(log) == (settings, {**captions, "test-0": "kept from before"})
    assert written["throughput"]["captioned"] == 4
    assert run("--overwrite")[1]["throughput"]["captions_per_second"] is None


def test_two_systems_are_compared_pair_by_pair(run, tmp_path):
    run()
    mine = tmp_path / "out" / "x.predictions.jsonl"
    _, captions = read_log(mine)
    theirs = tmp_path / "theirs.jsonl"
    best = {name: CAPTIONS[list(CAPTIONS)[int(name[-1]) % 3]][0] for name in captions}
    lines = [{"settings": {}}, *({"pair_id": name, "caption": text} for name, text in best.items())]
    theirs.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    _, written, _ = run("--overwrite", "--compare", str(theirs), "--protocol", "clevr_change")
    assert written["comparison"]["with"] == str(theirs)
    rouge = written["comparison"]["total"]["rouge_l"]
    assert rouge["theirs"] == pytest.approx(1)
    assert rouge["ours"] == pytest.approx(written["scores"]["total"]["rouge_l"])
    assert rouge["p"] < 0.05
    assert written["protocol"]["name"] == "clevr_change"
    theirs.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]), encoding="utf-8")
    code, _, streams = run("--overwrite", "--compare", str(theirs))
    assert code == 2
    assert "missing for 1 of 7 pairs: 'test-6'" in streams.err.splitlines()[-1]


def test_the_report_shows_every_pair_that_was_asked_for(run, model, tmp_path):
    folder = tmp_path / "page"
    code, written, _ = run("--report", str(folder), "--report_pairs", "5")
    assert code == 0
    text = (folder / "index.html").read_text(encoding="utf-8")
    cards = json.loads(text.split('id="cards">', 1)[1].split("</script>", 1)[0])
    _, captions = read_log(tmp_path / "out" / "x.predictions.jsonl")
    assert len(cards) == 5
    assert {card["caption"] for card in cards} == {captions[card["pair_id"]] for card in cards}
    assert all(card["before"].startswith("data:image/jpeg") and card["before"] != card["after"] for card in cards)
    if "output_evidence" in signature(TINY_SYSTEMS[model.name]()[0].forward).parameters:
        assert all(card["map_after"].startswith("data:image/png") for card in cards)
    else:
        assert not any("map_after" in card for card in cards)
    assert f"{100 * written['scores']['total']['cider']:.1f}" in text
    (tmp_path / "out" / "x.json").unlink()
    assert_one_line_error(run("--report", str(folder)), "index.html", "--overwrite")


@pytest.fixture
def sensor_system(tmp_path):
    """A folder of sensor data up to 3060, the same in 8 bits, and a function that saves a system of some reading."""
    system, processor = tiny_ssgpa()
    tables = {}
    for name, scale in (("sensor", 12), ("plain", 1)):
        rows = [
            {
                "pair_id": f"site {number}",
                "scene_id": f"site {number}",
                **{
                    side: {
                        "bytes": tiff(scene(40, 32, 2 * number + seed)[..., 0].astype(kind) * scale),
                        "path": "x.tif",
                    }
                    for seed, side in enumerate(("before", "after"))
                },
                "captions": ["the red cube is gone"],
                "change_type": "drop",
            }
            for number in range(3)
            for kind in [np.float32 if scale > 1 else np.uint8]
        ]
        facts = {"reading": {"value_range": [0, 3060]}} if scale > 1 else {}
        tables[name] = write_prepared(
            DatasetDict(
                {
                    part: table_of(
                        [
                            row | {"pair_id": f"{part} {row['pair_id']}", "scene_id": f"{part} {row['scene_id']}"}
                            for row in rows
                        ]
                    )
                    for part in ("train", "validation", "test")
                }
            ),
            tmp_path / name,
            facts,
        )

    def save(**reading):
        folder = tmp_path / "system"
        for option in ("value_range", "nodata", "bands"):
            setattr(processor, option, reading.get(option))
        system.save_pretrained(folder)
        processor.save_pretrained(folder)
        return folder

    return tables["sensor"], tables["plain"], save


def test_data_is_read_as_it_was_prepared(script, sensor_system, tmp_path, own_cache, monkeypatch, capsys):
    """A system that tells no reading says of sensor data what it says of the same images in 8 bits."""
    sensor, plain, save = sensor_system
    given = {}

    def keep(model, processor, pairs, batch_size):
        given[name] = [np.asarray(image) for pair in pairs for image in pair]
        return maps(model, processor, pairs, batch_size)

    maps = script.change_maps
    monkeypatch.setattr(script, "change_maps", keep)
    for name, data in (("sensor", sensor), ("plain", plain)):
        words = [
            "--data",
            str(data),
            "--output",
            str(tmp_path / f"{name}.json"),
            "--report",
            str(tmp_path / f"{name} page"),
        ]
        assert script.main(["--model", str(save()), *words, *FAST]) == 0, capsys.readouterr().err
    assert len(given["sensor"]) == 6
    np.testing.assert_array_equal(np.stack(given["sensor"]), np.stack(given["plain"]))
    logs = [read_log(tmp_path / f"{name}.predictions.jsonl")[1] for name in ("sensor", "plain")]
    assert logs[0] == logs[1]


def test_a_system_of_another_reading_is_refused(script, sensor_system, tmp_path, own_cache, capsys):
    sensor, plain, save = sensor_system
    for data, own in ((sensor, {"value_range": (0, 255)}), (plain, {"value_range": (0, 3060)})):
        words = ["--data", str(data), "--output", str(tmp_path / "x.json")]
        assert script.main(["--model", str(save(**own)), *words, *FAST]) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"evaluate.py: error: {data} was prepared with value_range=")
        assert f"the model reads images with value_range={tuple(map(float, own['value_range']))}" in line
        assert not list(tmp_path.glob("x.*"))
    words = ["--data", str(sensor), "--output", str(tmp_path / "x.json")]
    assert script.main(["--model", str(save(value_range=(0.0, 3060.0))), *words, *FAST]) == 0


def test_relations_are_judged_by_the_scenes(script, model, tmp_path, rendered, prepared_dir, own_cache, capsys):
    paths = {"model": model, "data": prepared_dir, "output": tmp_path / "x.json", "scenes": rendered / "scenes.jsonl"}
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    assert script.main([*words, *FAST]) == 0
    found = json.loads(paths["output"].read_text(encoding="utf-8"))["diagnosis"]
    assert found["scene"]["pairs"] == found["pairs"] == 2
    words[-1] = str(tmp_path / "x.predictions.jsonl")
    assert script.main([*words, *FAST, "--overwrite"]) == 2
    assert "x.predictions.jsonl does not hold scenes" in capsys.readouterr().err


def test_captions_are_judged_by_the_scenes_of_the_folder(script, rendered, tmp_path, own_cache, capsys):
    """Scenes that were prepared with the pairs need no option."""
    system, processor = tiny_ssgpa()
    system.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    words = ["--dataset", "clevr_change", "--source", str(rendered), "--output_dir", str(tmp_path / "data")]
    assert load_script("prepare_data").main(words) == 0
    paths = {"model": tmp_path / "model", "data": tmp_path / "data", "output": tmp_path / "x.json"}
    paths["report"] = tmp_path / "page"
    assert script.main([word for name, path in paths.items() for word in (f"--{name}", str(path))] + FAST) == 0
    written = json.loads(paths["output"].read_text(encoding="utf-8"))
    assert written["correctness"]["pairs"] == written["scores"]["changed"]["n_items"] == 2
    assert written["correctness"]["references_correct"] == 1.0
    assert 0 <= written["scores"]["changed"]["correct"] <= 1
    assert {blocks["changed"]["n_items"] for blocks in written["oracles"].values()} == {2}
    assert "oracle: " in capsys.readouterr().out
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert '<table id="correctness">' in page
    assert "oracle, knows the scene" in page
    assert "Correct captions by the scenes" in page


@pytest.mark.parametrize(
    ("options", "count", "first"),
    [
        (["--split", "all"], 16, "train-0"),
        (["--split", "validation"], 3, "validation-0"),
        (["--limit", "2"], 2, "test-0"),
        (["--limit", "99"], 7, "test-0"),
    ],
)
def test_splits_and_limit(run, tmp_path, options, count, first):
    code, written, _ = run(*options)
    assert code == 0
    assert written["scores"]["total"]["n_items"] == count
    assert next(iter(read_log(tmp_path / "out" / "x.predictions.jsonl")[1])) == first


def test_predictions_of_another_run_are_an_error(run, tmp_path):
    run()
    (tmp_path / "out" / "x.json").unlink()
    log = tmp_path / "out" / "x.predictions.jsonl"
    before = log.read_bytes()
    assert_one_line_error(run("--num_beams", "1"), "x.predictions.jsonl", "num_beams")
    assert_one_line_error(run("--split", "train"), "x.predictions.jsonl", "split")
    assert log.read_bytes() == before
    assert not (tmp_path / "out" / "x.json").exists()


def damaged(model, tmp_path, change):
    """A copy of a saved system whose weights went through `change`."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    change(weights)
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_a_missing_weight_is_an_error(run, model, tmp_path):
    names = []
    folder = damaged(model, tmp_path, lambda weights: names.append(weights.popitem()[0]))
    result = run(model=folder)
    assert_one_line_error(result, "damaged", "1 of the model's weights", names[0].rsplit(".", 1)[-1])
    assert result[1] is None


def test_a_weight_of_another_shape_is_an_error(run, model, tmp_path):
    def double(weights):
        name = next(iter(weights))
        weights[name] = weights[name].repeat(2, *[1] * (weights[name].dim() - 1))

    result = run(model=damaged(model, tmp_path, double))
    assert_one_line_error(result)
    assert result[1] is None


def test_non_finite_weights_are_an_error_that_names_pairs(run, model, tmp_path):
    def spoil(weights):
        for weight in weights.values():
            if weight.is_floating_point():
                weight.fill_(float("nan"))

    result = run(model=damaged(model, tmp_path, spoil))
    assert result[0] == 2
    assert "not finite for test-0" in result[2].err.strip().splitlines()[-1]
    assert result[1] is None


def test_bad_paths_and_options(run, tmp_path):
    assert_one_line_error(run(data=tmp_path / "nowhere"), "nowhere")
    assert_one_line_error(run(model=tmp_path / "nothing"), "nothing")
    assert_one_line_error(run("--limit", "0"), "--limit")


def test_the_command_line_itself(model, data, tmp_path):
    if model.name.startswith("toy_"):
        pytest.skip("a process of its own does not know the systems of the tests")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(SCRIPT), "--model", str(model), "--data", str(data), *FAST]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "x.json"), "--limit", "3"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2].startswith("system ")
    wrong = subprocess.run([*command, "--split", "all"], env=environment, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.strip() == "evaluate.py: error: the following arguments are required: --output"


def test_a_repetition_penalty_is_the_models_own_or_the_one_asked_for(script, data, tmp_path, capsys):
    system, processor = tiny_ssgpa()
    captions = {}
    for saved in (1.0, 0.2):
        system.generation_config.repetition_penalty = saved
        system.save_pretrained(tmp_path / str(saved))
        processor.save_pretrained(tmp_path / str(saved))
        for asked in (None, 1.0, 0.2):
            words = ["--model", str(tmp_path / str(saved)), "--data", str(data), "--no_meteor", "--num_beams", "1"]
            words += ["--max_new_tokens", "8", "--output", str(tmp_path / f"{saved}-{asked}.json")]
            assert script.main(words + (["--repetition_penalty", str(asked)] if asked else [])) == 0
            told = json.loads((tmp_path / f"{saved}-{asked}.json").read_text("utf-8"))["decoding"]
            assert told.get("repetition_penalty", 1.0) == (asked or saved)
            captions[saved, asked] = (
                (tmp_path / f"{saved}-{asked}.predictions.jsonl").read_text("utf-8").splitlines()[1:]
            )
    capsys.readouterr()
    assert captions[1.0, None] == captions[1.0, 1.0] == captions[0.2, 1.0]
    assert captions[0.2, None] == captions[0.2, 0.2] == captions[1.0, 0.2]
    # One below 1 makes words come again.
    assert captions[1.0, None] != captions[0.2, None]
