# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Killed at random moments, every program goes on to what it would have made without."""

import csv
import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
from ssgpa.data.prepared import check_prepared, load_prepared
from ssgpa.utils.results import read_predictions

from ..examples.runs import logged, options_of
from ..tiny_systems import save_tiny
from .kills import FORK, ROOT, Nursery, kill_again_and_again


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not FORK, reason="forks processes and finds them in /proc")]
EXAMPLES = ROOT / "examples"


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def clear(folder):
    """Removes an output, with all that lies beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


@pytest.mark.parametrize("workers", [1, 2])
def test_rendering(tmp_path, workers):
    settings = RenderSettings(scenes=12, seed=3, size=(96, 64))
    whole = contents(render_dataset(tmp_path / "whole", settings, progress=False))
    place = tmp_path / "place"
    words = ["--output_dir", place / "set", "--scenes", 12, "--seed", 3, "--size", 96, 64, "--workers", workers]

    def check(ended):
        found = contents(place / "set") if (place / "set").exists() else {}
        if ended:
            assert found == whole
        # A file that has its name is whole, at any moment; the settings say last that the set is complete.
        final = {name: data for name, data in found.items() if name in whole and name != "render_settings.json"}
        assert all(data == whole[name] for name, data in final.items())
        parts = sum(name.startswith(".parts") and name.endswith(".json") for name in found)
        if "change_captions.json" in found:
            return "files of the set"
        return "before the first scene" if not parts else "within the scenes"

    with Nursery("render", tmp_path, EXAMPLES / "render_clevr_change.py") as nursery:
        moments = kill_again_and_again(
            nursery, lambda: words, place, check, lambda: clear(place), f"render, {workers} workers"
        )
    assert moments["within the scenes"]


def test_preparing(tmp_path):
    """An earlier folder is replaced; at every moment the old or the new one is there, whole."""
    sources = {}
    for name, seed in (("old", 1), ("new", 2)):
        settings = RenderSettings(scenes=8, seed=seed, size=(96, 64), splits=(0.5, 0.25, 0.25))
        sources[name] = render_dataset(tmp_path / name, settings, progress=False)
    place = tmp_path / "place"
    output = place / "set"

    def words(name, folder):
        return ["--dataset", "clevr_change", "--source", sources[name], "--output_dir", folder, "--overwrite"]

    with Nursery("prepare", tmp_path, EXAMPLES / "prepare_data.py") as nursery:
        wholes = {}
        for name in sources:
            assert nursery.run(words(name, tmp_path / f"{name}_prepared"))[0] == 0
            wholes[name] = contents(tmp_path / f"{name}_prepared")

        def begin():
            clear(place)
            shutil.copytree(tmp_path / "old_prepared", output)

        def check(ended):
            hidden = place / ".set.old"
            moment = "new one in place" if output.exists() and contents(output) == wholes["new"] else "before that"
            if not output.exists():
                # Between the two renames.
                assert contents(hidden) == wholes["old"]
                return "between the renames"
            assert contents(output) in ([wholes["new"]] if ended else wholes.values())
            check_prepared(output)
            if ended:
                assert [path.name for path in place.iterdir()] == ["set"]
            elif (place / ".set.tmp").exists():
                return "half written beside the old one"
            return moment

        kill_again_and_again(nursery, lambda: words("new", output), place, check, begin, "prepare")


SAVING = {"per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 1, "max_steps": 12}
SAVING |= {"save_total_limit": 2, "eval_strategy": "steps", "eval_steps": 6, "generation_num_beams": 1}


def step_of(path):
    return int(path.name.rpartition("-")[2])


def whole_checkpoints(run):
    found = []
    for path in run.glob("checkpoint-*/trainer_state.json"):
        with suppress(ValueError):
            json.loads(path.read_text("utf-8"))
            found += [] if (path.parent / "_unfinished").exists() else [path.parent]
    return sorted(found, key=step_of)


def moment_of(run):
    whole = whole_checkpoints(run)
    if (run / "best").exists():
        return "after the best was saved"
    if (run / ".best.tmp").exists():
        return "while the best was saved"
    if {*run.glob("checkpoint-*")} - {*whole}:
        return "in a save"
    return "between saves" if whole else "before the first save"


def check_equal(run, reference):
    for name in ("loss", "grad_norm"):
        assert logged(run, name) == pytest.approx(logged(reference, name), rel=0, abs=1e-6)
    found = [(folder / "evaluations" / "eval-000012.json").read_text("utf-8") for folder in (run, reference)]
    assert json.loads(found[0])["captions"] == json.loads(found[1])["captions"]


def test_training(workshop, tmp_path):
    run = workshop / "run.yaml"
    place = tmp_path / "place"
    output = place / "run"

    def words(folder=output):
        resumed = {"resume_from_checkpoint": "true"} if folder == output and whole_checkpoints(output) else {}
        return [run, "--output_dir", folder, *options_of({**SAVING, **resumed})]

    highest = 0

    def begin():
        nonlocal highest
        clear(place)
        highest = 0

    def check(ended):
        nonlocal highest
        whole = whole_checkpoints(output)
        # Nothing is lost: the newest checkpoint can be read, and there is never one less than there was.
        assert not highest or step_of(whole[-1]) >= highest
        highest = step_of(whole[-1]) if whole else 0
        if whole:
            load_file(whole[-1] / "model.safetensors")
        if (output / "best").exists():
            found = [contents(folder / "best") for folder in (output, reference)]
            assert found[0].keys() == found[1].keys()
            assert found[0]["model.safetensors"] == found[1]["model.safetensors"]
        if ended:
            check_equal(output, reference)
        return moment_of(output)

    reference = tmp_path / "reference"
    with Nursery("train", tmp_path, EXAMPLES / "train.py") as nursery:
        assert nursery.run(words(reference))[0] == 0, nursery.log.read_text("utf-8")[-4000:]
        moments = kill_again_and_again(nursery, words, place, check, begin, "train")
    assert moments["in a save"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("model"))


def test_evaluation(workshop, tmp_path):
    place = tmp_path / "place"
    data = workshop / "data"

    def words(folder=place):
        fast = ["--num_beams", 2, "--max_new_tokens", 6, "--batch_size", 1, "--no_meteor", "--tokenizer", "nltk"]
        paths = ["--model", workshop / "base", "--data", data, "--split", "all", "--report", folder / "page"]
        # A run that was killed after its results were there is told to replace them.
        return [*paths, "--output", folder / "results.json", "--overwrite", *fast]

    def results(folder):
        found = json.loads((folder / "results.json").read_text("utf-8"))
        del found["throughput"]
        return found

    reference = tmp_path / "reference"
    reference.mkdir()
    log = "results.predictions.jsonl"
    pairs = sum(len(rows) for rows in load_prepared(data).values())
    most = 0

    def begin():
        nonlocal most
        clear(place)
        most = 0

    def check(ended):
        nonlocal most
        captions = read_predictions(place / log)[1] if (place / log).exists() else {}
        assert captions.items() <= read_predictions(reference / log)[1].items()
        assert len(captions) >= most
        most = len(captions)
        if (place / "results.json").exists():
            assert results(place) == results(reference)
        if ended:
            assert (place / log).read_bytes() == (reference / log).read_bytes()
            page = [(folder / "page" / "index.html").read_text("utf-8") for folder in (place, reference)]
            assert all(text.endswith("</html>\n") for text in page)
        if not captions:
            return "before the first caption"
        return "within the captions" if len(captions) < pairs else "scores and page"

    with Nursery("evaluate", tmp_path, EXAMPLES / "evaluate.py") as nursery:
        assert nursery.run(words(reference))[0] == 0, nursery.log.read_text("utf-8")[-4000:]
        moments = kill_again_and_again(nursery, words, place, check, begin, "evaluate")
    assert moments["within the captions"]


def test_batch_captioning(model, tmp_path):
    pairs = sorted((EXAMPLES / "pairs").glob("*_before.png"))
    with (tmp_path / "pairs.csv").open("w", encoding="utf-8", newline="") as file:
        rows = [(before, before.with_name(before.name.replace("before", "after"))) for before in pairs]
        csv.writer(file).writerows([("before", "after"), *rows, *[("gone.png", "gone.png")], *rows])
    place = tmp_path / "place"

    def words(folder=place):
        fast = ["--num-beams", 1, "--max-new-tokens", 5, "--batch-size", 1, "--quiet"]
        paths = ["--pairs", tmp_path / "pairs.csv", "--output", folder / "out.jsonl", "--model", model]
        return ["caption", *paths, *fast, "--on-error", "ignore"]

    reference = tmp_path / "reference"
    reference.mkdir()
    done = 0

    def begin():
        nonlocal done
        clear(place)
        done = 0

    def check(ended):
        nonlocal done
        path = place / "out.jsonl"
        whole = reference.joinpath("out.jsonl").read_text("utf-8").splitlines()
        lines = path.read_text("utf-8").split("\n")[:-1] if path.exists() else []
        assert set(lines) <= set(whole)
        captions = [line for line in lines if '"caption"' in line]
        assert len(captions) == len(set(captions)) >= done
        done = len(captions)
        if ended:
            assert lines == whole
        return "within the captions" if done else "before the first caption"

    with Nursery("ssgpa.cli.commands", tmp_path) as nursery:
        assert nursery.run(words(reference))[0] == 0, nursery.log.read_text("utf-8")[-4000:]
        assert Path(reference / "out.jsonl").stat().st_size
        moments = kill_again_and_again(nursery, words, place, check, begin, "ssgpa caption --pairs")
    assert moments["within the captions"]
