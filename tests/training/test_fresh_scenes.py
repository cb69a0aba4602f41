# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training rows that are rendered when they are asked for: what the renderer would have written, once each."""

import json

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from ssgpa.data.clevr_renderer.dataset.cells import add_cell_targets, cell_targets, object_targets
from ssgpa.data.clevr_renderer.dataset.layout import SCENES, image_name, mask_name
from ssgpa.data.clevr_renderer.dataset.settings import RenderSettings
from ssgpa.data.clevr_renderer.dataset.writer import render_dataset
from ssgpa.data.decoding import fit_image
from ssgpa.data.prepared import write_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.metrics.clevr.correctness import judge_caption
from ssgpa.metrics.clevr.scenes import ChangedScene
from ssgpa.metrics.clevr.wordings import PLAIN
from ssgpa.training.collator import PairCollator
from ssgpa.training.fresh_scenes import FreshSceneDataset, Orders, SceneSource
from ssgpa.training.targets import Wordings

from ..scripts import load_script


SIZE, GRID, SCENES_THERE = (96, 64), (4, 6), 10
VIEWS = ("default", "semantic", "nonsemantic")


@pytest.fixture(scope="module", params=[0.0, 0.5], ids=["nominal", "random"])
def look(request):
    return request.param


@pytest.fixture(scope="module")
def written(look, tmp_path_factory):
    """What the renderer writes for the same seed."""
    settings = RenderSettings(scenes=SCENES_THERE, seed=11, size=SIZE, object_masks=True, random_look=look, twins=look)
    return render_dataset(tmp_path_factory.mktemp("fresh") / "set", settings, progress=False)


@pytest.fixture
def processor(make_system):
    return make_system()[1]


def fresh(processor, orders=(True, True), seed=0, look=0.0, **options):
    source = SceneSource.parse(
        json.dumps({"seed": 11, "size": SIZE, "random_look": look, "twins": look}), processor, GRID, None
    )
    return FreshSceneDataset(source, processor, Orders(*orders), seed=seed, **options)


@pytest.fixture
def views(written, processor):
    """Scene and view of an image of the written set."""
    found = {}
    for index in range(SCENES_THERE):
        for view in VIEWS:
            with Image.open(written / image_name(view, index)) as image:
                found[fit_image(image.convert("RGB"), processor).tobytes()] = (index, view)
    return found


@pytest.fixture
def records(written):
    return [json.loads(line) for line in (written / SCENES).read_text("utf-8").splitlines()]


def test_rows_are_the_scenes_that_the_renderer_writes(look, written, views, records, processor):
    seen = set()
    for seed in range(12):
        dataset = fresh(processor, seed=seed, look=look)
        for index in range(SCENES_THERE):
            item = dataset[index]
            (first, before), (second, after) = (views[image.tobytes()] for image in item["images"])
            assert first == second == index
            seen.add((before, after))
            changed = "semantic" in (before, after)
            assert (item["change_type"] == "none") != changed
            if changed:
                scene = ChangedScene.from_record(records[index], inverse=before == "semantic")
                assert item["change_type"] == scene.change_type
                assert judge_caption(scene, item["captions"][0]).is_correct
            for place, view in enumerate((before, after)):
                with Image.open(written / mask_name(view, index)) as mask:
                    ids = np.asarray(mask)
                objects = records[index][view]["objects"]
                named = [records[index]["changed_object"]] if changed else []
                assert item["cells"][place].tolist() == cell_targets(ids, objects, named, GRID)
                assert item["objects"][place].tolist() == object_targets(ids, objects, GRID)
    assert len(seen) == 6


@pytest.mark.parametrize(
    ("orders", "wanted"),
    [
        ((False, False), {("default", "semantic"), ("default", "nonsemantic")}),
        (
            (True, False),
            {
                ("default", "semantic"),
                ("nonsemantic", "semantic"),
                ("default", "nonsemantic"),
                ("nonsemantic", "default"),
            },
        ),
    ],
)
def test_orders_are_those_that_are_asked_for(orders, wanted):
    drawn = [Orders(*orders).draw(np.random.default_rng(seed)) for seed in range(400)]
    assert {(VIEWS[first], VIEWS[second]) for first, second in drawn} == wanted
    changed = sum(1 in pair for pair in drawn)
    assert 160 < changed < 240


def test_rows_depend_on_seeds_and_number_alone(processor):
    def key(item):
        return item["captions"], item["change_type"], [image.tobytes() for image in item["images"]]

    dataset = fresh(processor)
    there = [key(dataset[index]) for index in range(4)]
    assert there == [key(fresh(processor)[index]) for index in reversed(range(4))][::-1]
    assert there != [key(fresh(processor, seed=1)[index]) for index in range(4)]


def test_workers_share_the_rendering_out(processor):
    dataset = fresh(processor, wordings=Wordings(PLAIN, "nothing has changed"))
    collate = PairCollator(processor, aux_targets=True, normalize=False)
    loaders = [
        DataLoader(dataset, batch_size=2, sampler=range(4), num_workers=workers, collate_fn=collate)
        for workers in (0, 2)
    ]
    for alone, shared in zip(*loaders, strict=True):
        assert alone["pair_ids"] == shared["pair_ids"]
        assert (alone["pixel_values"] == shared["pixel_values"]).all()
        assert (alone["labels"] == shared["labels"]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", "no JSON"),
        ("[11]", "a mapping with `seed`"),
        ('{"size": [96, 64]}', "a mapping with `seed`"),
        ('{"seed": 11, "scenes": 5}', "not 'scenes'"),
        ('{"seed": 7}', "seed 7 is that of the prepared data"),
        ('{"seed": 11, "size": [9, 9]}', "size must lie between"),
        ('{"seed": 11, "camera_jitter": 9}', "camera_jitter must be between"),
        ('{"seed": 11, "backend": "gpu"}', "backend must be one of"),
    ],
)
def test_a_wrong_source_is_one_clear_error(processor, text, message):
    with pytest.raises(ValueError, match=message):
        SceneSource.parse(text, processor, None, {"seed": 7})


@pytest.fixture(scope="module")
def run_folder(rendered, model_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    prepared = write_prepared(
        add_cell_targets(load_clevr_change(rendered), rendered, GRID),
        folder / "prepared",
        {"aux_grid": list(GRID), "render_settings": {"seed": 7}},
        scenes=rendered / SCENES,
    )
    lines = {
        "model_config": model_config,
        "image_size": "[32, 48]",
        "data_dir": prepared,
        "output_dir": folder / "run",
        "fresh_scenes": "{seed: 11, size: [96, 64]}",
        "canonical_captions": "true",
        "time_reversal": "true",
        "distractor_swap": "true",
        "aux_objects": 0.5,
        "per_device_train_batch_size": 2,
        "max_steps": 3,
        "save_steps": 2,
        "use_cpu": "true",
        "report_to": "none",
        "logging_steps": 1,
    }
    (folder / "run.yaml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    return folder


def losses(folder):
    history = json.loads((folder / "trainer_state.json").read_text("utf-8"))["log_history"]
    return {entry["step"]: entry["loss"] for entry in history if "loss" in entry}


def test_a_run_trains_on_them_and_resumes_where_it_was(run_folder, own_cache):
    main, yaml = load_script("train").main, str(run_folder / "run.yaml")
    assert main([yaml]) == 0
    whole = losses(run_folder / "run")
    assert set(whole) == {1, 2, 3}
    told = json.loads((run_folder / "run" / "trainable_parameters.json").read_text("utf-8"))
    assert told["canonical_captions"]["unchanged"]
    assert main([yaml, "--resume_from_checkpoint", str(run_folder / "run" / "checkpoint-2")]) == 0
    assert losses(run_folder / "run")[3] == pytest.approx(whole[3], rel=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cache_images", "true"], "leave out `cache_images`"),
        (["--max_train_pairs", "2"], "leave out `max_train_pairs`"),
        (["--no_change_controls", "0.2"], "leave out `no_change_controls`"),
        (["--max_steps", "-1"], "have no end"),
        (["--fresh_scenes", '{"seed": 7}'], "whose scenes validate"),
        (["--fresh_scenes=", "--synthetic_data_dir", "x", "--aux_objects", "0"], "leave out `synthetic_data_dir`"),
    ],
)
def test_settings_that_do_not_go_with_them(run_folder, own_cache, capsys, words, message):
    changes = ["--output_dir", str(run_folder / "none"), *words]
    assert load_script("train").main([str(run_folder / "run.yaml"), *changes]) == 2
    assert message in capsys.readouterr().err
