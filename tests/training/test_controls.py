# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""No-change controls in training: how many, told by what, beside all else that is drawn, and what is refused."""

import json
from itertools import islice

import numpy as np
import pytest
import torch
import yaml
from datasets import DatasetDict, concatenate_datasets
from torch.utils.data import DataLoader

from ssgpa.data.augment import PairAugmentation
from ssgpa.data.clevr_renderer.dataset.cells import CHANGED_BIT
from ssgpa.data.controls import HarmlessChanges
from ssgpa.data.frames import PairFrames
from ssgpa.data.prepared import load_prepared, write_prepared
from ssgpa.training.arguments import ChangeCaptioningArguments, DataArguments, ModelArguments, parse_arguments
from ssgpa.training.auxiliary import auxiliary_heads_of
from ssgpa.training.collator import PairCollator
from ssgpa.training.controls import CONTROL_MARK, NoChangeControls, make_controls, report_controls
from ssgpa.training.dataset import PairDataset
from ssgpa.training.features import FeatureCache
from ssgpa.training.mixing import MixedPairDataset, Mixture
from ssgpa.training.run import check_data_fits, check_settings, load_splits, training_pairs
from ssgpa.training.streams import PairIterableDataset

from ..scripts import load_script
from ..tiny_systems import TINY_SYSTEMS


GIVEN = ["nothing has changed", "the two are the same", "no change"]
UNALTERED = HarmlessChanges(exposure=0, blur=0, jpeg=0, noise=0, motion=0)
# So near to 1 that every row drawn here is a control.
SURE = 1 - 1e-9


@pytest.fixture
def processor(make_system):
    return make_system()[1]


@pytest.fixture
def rows(splits):
    return splits["train"]


@pytest.fixture
def bare(rows):
    return rows.remove_columns(["before_cells", "after_cells"])


@pytest.fixture
def changed(rows):
    return rows.filter(lambda row: row["change_type"] != "none")


@pytest.fixture
def streamed(prepared_dir):
    return load_prepared(prepared_dir, streaming=True)["train"]


def is_control(item):
    return item["pair_id"].endswith(CONTROL_MARK)


def is_same(one, other):
    """Equal images, captions and all else that an item has."""
    arrays = [name for name in ("images", "cells", "objects") if name in one]
    pairs = [both for name in arrays for both in zip(one[name], other[name], strict=True)]
    rest = [{name: value for name, value in item.items() if name not in arrays} for item in (one, other)]
    return all(np.array_equal(*both) for both in pairs) and rest[0] == rest[1]


def epoch_of(dataset, epoch, order=None):
    dataset.set_epoch(epoch)
    found = {index: dataset[index] for index in order or range(len(dataset))}
    return [found[index] for index in range(len(dataset))]


@pytest.mark.parametrize("rate", [0.1, 0.6])
def test_the_share_of_controls_is_the_rate(rows, rate):
    controls = NoChangeControls(rate, rows)
    count = sum(
        controls.draw((seed, epoch, row)) is not None for seed in range(2) for epoch in range(5) for row in range(600)
    )
    # Four standard deviations of 6,000 rows.
    assert abs(count - 6000 * rate) < 4 * np.sqrt(6000 * rate * (1 - rate))


def test_controls_depend_on_seed_epoch_and_row_alone(rows, processor):
    def make(seed=1, cache=True):
        controls = NoChangeControls(0.5, rows)
        return PairDataset(rows, processor, 2, distractor_swap=True, cache=cache, seed=seed, controls=controls)

    there = epoch_of(make(), 3)
    went_through = make(cache=False)
    for epoch in range(3):
        epoch_of(went_through, epoch)
    again = epoch_of(went_through, 3, order=range(7, -1, -1))
    assert all(is_same(*both) for both in zip(there, again, strict=True))
    assert 0 < sum(map(is_control, there)) < 8
    for other in (epoch_of(make(), 4), epoch_of(make(seed=2), 3)):
        assert list(map(is_control, there)) != list(map(is_control, other))
    loader = DataLoader(went_through, batch_size=None, num_workers=2)
    went_through.set_epoch(4)
    wanted = epoch_of(make(), 4)
    for item, other in zip(loader, wanted, strict=True):
        assert (item["pair_id"], item["captions"]) == (other["pair_id"], other["captions"])
        assert all(np.array_equal(*both) for both in zip(item["images"], other["images"], strict=True))


@pytest.mark.parametrize(
    "options", [{}, {"augmentation": PairAugmentation(blur=0.5, jpeg=0.5), "first_captions": True}]
)
def test_rows_that_are_no_controls_stay_what_they_were(rows, processor, options):
    options |= {"distractor_swap": True, "captions_per_pair": 3, "seed": 4}
    plain = PairDataset(rows, processor, **options)
    controls = NoChangeControls(0.4, rows, changes=UNALTERED)
    mixed = PairDataset(rows, processor, **options, controls=controls)
    numbers = {True: 0, False: 0}
    for epoch in range(6):
        for one, other in zip(epoch_of(plain, epoch), epoch_of(mixed, epoch), strict=True):
            numbers[is_control(other)] += 1
            assert is_same(one, other) != is_control(other)
    assert min(numbers.values()) > 5


def test_rows_that_are_no_controls_are_altered_alike(rows, processor):
    """An alteration is no sign of a control."""
    controls = NoChangeControls(0.4, rows, changes=HarmlessChanges(1, 1, 1, 1, 0))
    plain = PairDataset(rows, processor, seed=4)
    mixed = PairDataset(rows, processor, seed=4, controls=controls)
    sides = {True: set(), False: set()}
    for epoch in range(8):
        for one, other in zip(epoch_of(plain, epoch), epoch_of(mixed, epoch), strict=True):
            if is_control(other):
                continue
            assert one["captions"] == other["captions"]
            same = tuple(np.array_equal(*both) for both in zip(one["images"], other["images"], strict=True))
            sides[one["change_type"] == "none"].add(same)
    # One image or the other or both, in changed and unchanged pairs.
    ways = {(True, False), (False, True), (False, False)}
    assert sides == {True: ways, False: ways}


def test_without_a_rate_draws_are_those_of_the_generator_of_seed_epoch_and_row(rows, processor):
    """Written out, so that a draw more or less before them is seen."""
    arguments = DataArguments(captions_per_pair=2, distractor_swap=True)
    controls = make_controls(arguments, rows)
    assert controls is None
    dataset = training_pairs(arguments, rows, processor, seed=6, controls=controls)
    for epoch in range(4):
        for index, item in enumerate(epoch_of(dataset, epoch)):
            rng = np.random.default_rng([6, epoch, index])
            swapped = rng.random() < 0.5
            captions = rows[index]["captions"]
            assert item["captions"] == [captions[place] for place in rng.permutation(len(captions))[:2]]
            side = (index, "before")
            if swapped:
                side = (
                    (index, "after")
                    if rows[index]["change_type"] == "none"
                    else (int(dataset.unchanged[index // 2]), "after")
                )
            assert np.array_equal(item["images"][0], dataset.store(*side))


def test_a_control_is_one_image_of_its_row_altered(rows, bare, processor):
    shown = set()
    exact = PairDataset(bare, processor, controls=NoChangeControls(SURE, bare, changes=UNALTERED))
    altered = PairDataset(bare, processor, cache=True, controls=NoChangeControls(SURE, bare))
    kept = [image.copy() for image in altered.store.images]
    for epoch in range(4):
        for index, (one, other) in enumerate(zip(epoch_of(exact, epoch), epoch_of(altered, epoch), strict=True)):
            assert is_control(one)
            before, after = one["images"]
            assert np.array_equal(before, after)
            sides = [side for side in ("before", "after") if np.array_equal(before, exact.store(index, side))]
            assert len(sides) == 1
            shown.update(sides)
            assert one["change_type"] == "none"
            assert one["pair_id"] == f"{rows[index]['pair_id']} (as a no-change control)"
            assert one["scene_id"] == index // 2
            for image in other["images"]:
                assert (image.shape, image.dtype) == (before.shape, np.uint8)
                # Of the same row and side as without alterations, and near to it.
                assert np.abs(image.astype(int) - before).mean() < 25
            assert "cells" not in one
    assert shown == {"before", "after"}
    assert all(np.array_equal(*both) for both in zip(altered.store.images, kept, strict=True))


def test_captions_are_those_of_the_scenes_unchanged_pair(rows, processor):
    dataset = PairDataset(rows, processor, captions_per_pair=2, controls=NoChangeControls(SURE, rows))
    for epoch in range(3):
        for index, item in enumerate(epoch_of(dataset, epoch)):
            own = next(
                row for row in rows if row["scene_id"] == rows[index]["scene_id"] and row["change_type"] == "none"
            )
            assert len(set(item["captions"])) == 2
            assert set(item["captions"]) <= set(own["captions"])


def test_a_scene_without_an_unchanged_pair_has_the_captions_of_any(rows, processor):
    texts = {1: ["still one"], 3: ["still three"]}
    few = rows.select([0, 1, 2, 3, 4, 6])
    few = few.map(lambda row, index: {"captions": texts.get(index, row["captions"])}, with_indices=True)
    dataset = PairDataset(few, processor, controls=NoChangeControls(SURE, few))
    told = [set() for _ in few]
    for epoch in range(20):
        for index, item in enumerate(epoch_of(dataset, epoch)):
            told[index].update(item["captions"])
    both = {"still one", "still three"}
    assert told == [{"still one"}, {"still one"}, {"still three"}, {"still three"}, both, both]


def test_unknown_change_types_are_not_taken_for_none(rows):
    unknown = rows.select([0, 2]).map(lambda row: {"change_type": None}, features=rows.features)
    with pytest.raises(ValueError, match="`control_captions`"):
        NoChangeControls(0.5, unknown)
    mixed = concatenate_datasets([unknown, rows.select([1])])
    assert NoChangeControls(0.5, mixed).texts["captions"][:] == [rows[1]["captions"]]


def test_given_captions_are_told_in_their_stead(rows, changed, processor):
    for data in (rows, changed):
        for number, first in ((1, False), (3, False), (2, True)):
            controls = NoChangeControls(SURE, data, GIVEN)
            dataset = PairDataset(data, processor, number, first_captions=first, controls=controls)
            found = [item["captions"] for epoch in range(4) for item in epoch_of(dataset, epoch)]
            assert all(len(set(captions)) == number and set(captions) <= set(GIVEN) for captions in found)
            if first:
                assert all(captions == GIVEN[:2] for captions in found)
            else:
                assert len({tuple(captions) for captions in found}) > 2


def test_unchanged_pairs_that_are_left_out_still_give_their_captions(rows, processor):
    dataset = PairDataset(rows, processor, changed_only=True, controls=NoChangeControls(0.5, rows))
    items = [item for epoch in range(4) for item in epoch_of(dataset, epoch)]
    assert len(items) == 16
    still = {text for row in rows if row["change_type"] == "none" for text in row["captions"]}
    told = {text for item in items if is_control(item) for text in item["captions"]}
    assert told
    assert told <= still
    assert {item["change_type"] == "none" for item in items if not is_control(item)} == {False}


def test_auxiliary_targets_are_of_the_image_and_nothing_is_changed(rows, make_system, tmp_path):
    """The camera stands still, so that cells show what they did."""
    model, processor = make_system()
    changes = HarmlessChanges(exposure=0, blur=0, jpeg=0, noise=0, motion=1)
    controls = NoChangeControls(SURE, rows, changes=changes)
    dataset = PairDataset(rows, processor, controls=controls)
    assert controls.changes.motion == 1
    for index, item in enumerate(epoch_of(dataset, 0)):
        side = next(
            side for side in ("before", "after") if np.array_equal(item["images"][0], dataset.store(index, side))
        )
        assert np.array_equal(*item["images"])
        for cells in item["cells"]:
            assert cells.tolist() == [value & ~(1 << CHANGED_BIT) for value in rows[index][f"{side}_cells"]]
    assert any(value >> CHANGED_BIT & 1 for value in rows[0]["before_cells"])
    options = {"aux_attributes": 0.3, "aux_changed": 0.5, "aux_type": 0.3}
    arguments = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True, **options)
    heads = auxiliary_heads_of(model, arguments, rows.column_names)
    heads.attach(model)
    batch = PairCollator(processor, aux_targets=True)([dataset[0], dataset[1]])
    assert batch["change_types"] == ["none", "none"]
    del batch["pair_ids"]
    assert all(torch.isfinite(part) for part in model.train()(**batch).loss_parts.values())


def test_real_and_synthetic_pairs_become_controls(bare, processor):
    variants = bare.map(
        lambda row: {"pair_id": f"{row['pair_id']}_v", "captions": ["a variant"], "change_type": "add"}
    )
    both = concatenate_datasets([bare, variants])
    dataset = MixedPairDataset(both, processor, mixture=Mixture(8, 4, 8), controls=NoChangeControls(0.5, both))
    items = [item for epoch in range(6) for item in epoch_of(dataset, epoch)]
    assert len(items) == 72
    controls = [item for item in items if is_control(item)]
    assert {"_v" in item["pair_id"] for item in controls} == {True, False}
    still = {text for row in bare if row["change_type"] == "none" for text in row["captions"]}
    assert {text for item in controls for text in item["captions"]} <= still
    assert {item["scene_id"] for item in controls} == {0, 1, 2, 3}


def test_a_stream_has_controls_too(rows, streamed, processor, prepared_dir):
    arguments = DataArguments(str(prepared_dir), streaming=True, no_change_controls=0.5, shuffle_buffer=0)
    texts = load_splits(arguments)["train"]
    controls = make_controls(arguments, texts)
    controls.changes = UNALTERED
    plain = list(islice(PairIterableDataset(streamed, processor, 2, shuffle_buffer=0, seed=3), 24))
    stream = PairIterableDataset(streamed, processor, 2, shuffle_buffer=0, seed=3, controls=controls)
    found, again = (list(islice(stream, 24)) for _ in range(2))
    assert all(is_same(*both) for both in zip(found, again, strict=True))
    flags = [is_control(item) for item in found]
    assert len({tuple(flags[start : start + 8]) for start in (0, 8, 16)}) > 1
    references = {row["scene_id"]: set(row["captions"]) for row in rows if row["change_type"] == "none"}
    for number, (one, other) in enumerate(zip(plain, found, strict=True)):
        assert is_same(one, other) != is_control(other)
        assert one["scene_id"] == other["scene_id"]
        if is_control(other):
            row = rows[number % 8]
            assert other["pair_id"] == f"{row['pair_id']}{CONTROL_MARK}"
            assert set(other["captions"]) <= references[row["scene_id"]]
            assert other["change_type"] == "none"
            assert np.array_equal(*other["cells"])
            assert not (other["cells"][0] >> CHANGED_BIT & 1).any()
    through = training_pairs(arguments, texts, processor, seed=3, controls=controls)
    assert [item["pair_id"] for item in islice(through, 24)] == [item["pair_id"] for item in found]


def test_systems_that_join_the_images_get_one_of_both(bare):
    _, processor = TINY_SYSTEMS["toy_concatenating"]()
    plain = PairDataset(bare, processor)
    dataset = PairDataset(bare, processor, controls=NoChangeControls(SURE, bare, changes=UNALTERED))
    image = dataset[0]["images"]
    assert image.shape == plain[0]["images"].shape
    assert image.dtype == np.uint8
    batch = PairCollator(processor)([dataset[0], dataset[1]])
    assert batch["pair_ids"][0].endswith(CONTROL_MARK)


@pytest.mark.parametrize("name", TINY_SYSTEMS)
def test_every_system_learns_from_controls(bare, name):
    model, processor = TINY_SYSTEMS[name]()
    controls = NoChangeControls(SURE, bare, ["the cube has moved"])
    dataset = PairDataset(bare, processor, controls=controls)
    batch = PairCollator(processor)([dataset[0], dataset[1]])
    assert all(name.endswith(CONTROL_MARK) for name in batch.pop("pair_ids"))
    batch.pop("scene_ids", None)
    loss = model.train()(**batch).loss
    loss.backward()
    assert torch.isfinite(loss)


def test_augmentation_alters_controls_too(bare, processor):
    def make(augmentation):
        controls = NoChangeControls(SURE, bare, changes=UNALTERED)
        return PairDataset(bare, processor, augmentation=augmentation, controls=controls)

    plain, augmented = make(None), make(PairAugmentation(jpeg=1.0))
    assert not np.array_equal(plain[0]["images"], augmented[0]["images"])
    with pytest.raises(ValueError, match=r"flip would make captions wrong.*'control_captions'.*left"):
        PairDataset(
            bare.map(lambda row: {"captions": ["the ball is gone"]}),
            processor,
            augmentation=PairAugmentation(flip=0.5),
            controls=NoChangeControls(0.5, bare, ["the left one is still there"]),
        )


@pytest.mark.parametrize(
    ("data", "named"),
    [
        ({"no_change_controls": -0.1}, "`no_change_controls` must be at least 0 and below 1, got -0.1"),
        ({"no_change_controls": 1.0}, "`no_change_controls` must be at least 0"),
        ({"no_change_controls": float("nan")}, "`no_change_controls` must be at least 0"),
        ({"control_captions": GIVEN}, "say how many with `no_change_controls`"),
        ({"no_change_controls": 0.1, "feature_cache": "x"}, "does not go with `feature_cache`"),
        ({"no_change_controls": 0.1, "frames": "{}"}, "does not go with `frames`"),
        ({"no_change_controls": 0.1, "retrieval_store": "x"}, "does not go with `retrieval_store`"),
    ],
)
def test_settings_that_exclude_controls_are_told(data, named, tmp_path):
    arguments = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ValueError, match=named):
        check_settings(ModelArguments(), DataArguments(data_dir="x", **data), arguments)
    check_settings(ModelArguments(), DataArguments(data_dir="x", no_change_controls=0.1), arguments)


def test_a_data_set_refuses_what_its_controls_cannot_have(rows, streamed, changed, processor, tmp_path):
    controls = NoChangeControls(0.5, rows)
    with pytest.raises(ValueError, match="`feature_cache`"):
        PairDataset(rows, processor, features=FeatureCache(tmp_path), controls=controls)
    for make in (
        lambda **made: PairDataset(rows, processor, **made),
        lambda **made: PairIterableDataset(streamed, processor, **made),
    ):
        with pytest.raises(ValueError, match="`frames`"):
            make(frames=PairFrames(3), controls=controls)
    with pytest.raises(ValueError, match="`retrieval_store`"):
        PairDataset(rows.add_column("retrieved", [["x"]] * 8), processor, controls=controls)
    with pytest.raises(ValueError, match=r"no training pair is unchanged.*set `control_captions`"):
        NoChangeControls(0.5, changed)
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="must lie above 0 and below 1"):
            NoChangeControls(rate, rows)
    for captions in ([" "], [""], ["fine", ""]):
        with pytest.raises(ValueError, match="`control_captions`: caption"):
            NoChangeControls(0.5, rows, captions)


@pytest.mark.parametrize(
    ("caption", "named"), [("nothing </s> changed", "special to the tokenizer"), ("nothing " * 999, "does not fit")]
)
def test_given_captions_are_checked_as_others_are(make_system, rows, prepared_dir, tmp_path, caption, named):
    model, processor = make_system()
    arguments = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True)
    data = DataArguments(str(prepared_dir), no_change_controls=0.1, control_captions=["no change", caption])
    with pytest.raises(ValueError, match=f"'control_captions'.*{named}"):
        check_data_fits(model, processor, rows, data, arguments)


def test_the_record_tells_the_rate(rows, capsys):
    told = report_controls(NoChangeControls(0.1, rows))
    assert told == {"no_change_controls": {"rate": 0.1, "captions": None, "unchanged_pairs": 4}}
    assert (
        "10.0 % of the rows become no-change controls, told by captions of 4 unchanged pairs."
        in capsys.readouterr().out
    )
    given = report_controls(NoChangeControls(0.25, rows, GIVEN))["no_change_controls"]
    assert given["captions"] == GIVEN
    assert "25.0 %" in capsys.readouterr().out
    assert report_controls(None) == {}


@pytest.fixture
def run_file(tmp_path, prepared_dir, model_config):
    """A YAML file of a run of four steps; keyword arguments replace its values."""

    def write(**changes):
        values = {
            "data_dir": str(prepared_dir),
            "model_config": str(model_config),
            "output_dir": str(tmp_path / "run"),
            "image_size": [32, 48],
            "captions_per_pair": 2,
            "distractor_swap": True,
            "cache_images": True,
            "no_change_controls": 0.5,
            "per_device_train_batch_size": 4,
            "max_steps": 6,
            "use_cpu": True,
            "logging_steps": 1,
            "save_steps": 3,
            "disable_tqdm": True,
            "report_to": "none",
        }
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(values | changes), encoding="utf-8")
        return str(path)

    return write


def losses_of(folder):
    history = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


@pytest.mark.usefixtures("own_cache")
def test_a_run_has_controls_and_resumes(run_file, tmp_path, capsys):
    aux = {"aux_attributes": 0.3, "aux_changed": 0.5, "aux_type": 0.3}
    path = run_file(control_captions=["nothing differs whatsoever", "no change"], **aux)
    script = load_script("train")
    assert script.main([path]) == 0
    told = capsys.readouterr().out
    assert "50.0 % of the rows become no-change controls, told by the given captions." in told
    # The tokenizer of the run's words has theirs.
    assert "does not know" not in told
    record = json.loads((tmp_path / "run" / "trainable_parameters.json").read_text(encoding="utf-8"))
    assert record["no_change_controls"]["rate"] == 0.5
    assert record["no_change_controls"]["captions"] == ["nothing differs whatsoever", "no change"]
    whole = losses_of(tmp_path / "run")
    assert len(whole) == 6
    resumed = ["--output_dir", str(tmp_path / "resumed"), "--resume_from_checkpoint"]
    assert script.main([path, *resumed, str(tmp_path / "run" / "checkpoint-3")]) == 0
    assert losses_of(tmp_path / "resumed") == pytest.approx(whole, abs=1e-6)


@pytest.mark.usefixtures("own_cache")
def test_a_streamed_run_has_controls(run_file, tmp_path, capsys):
    unlike = {"streaming": True, "shuffle_buffer": 0, "distractor_swap": False, "cache_images": False}
    assert load_script("train").main([run_file(**unlike)]) == 0
    assert "told by captions of 4 unchanged pairs." in capsys.readouterr().out
    losses = losses_of(tmp_path / "run")
    plain = {"no_change_controls": 0.0, "output_dir": str(tmp_path / "plain")}
    assert load_script("train").main([run_file(**unlike, **plain)]) == 0
    assert "controls" not in capsys.readouterr().out
    assert len(losses) == 6
    assert losses != losses_of(tmp_path / "plain")
    record = json.loads((tmp_path / "plain" / "trainable_parameters.json").read_text(encoding="utf-8"))
    assert "no_change_controls" not in record


@pytest.mark.usefixtures("own_cache")
def test_a_run_without_captions_for_controls_ends_before_its_first_step(run_file, splits, changed, tmp_path, capsys):
    folder = write_prepared(DatasetDict(splits | {"train": changed}), tmp_path / "changed")
    path = run_file(data_dir=str(folder), distractor_swap=False)
    script = load_script("train")
    assert script.main([path]) == 2
    *_, told = capsys.readouterr().err.strip().splitlines()
    assert "no training pair is unchanged" in told
    assert "`control_captions`" in told
    assert not (tmp_path / "run" / "trainer_state.json").exists()
    assert script.main([path, "--control_captions", "nothing has changed", "--max_steps", "1"]) == 0


def test_the_command_line_takes_both(run_file):
    _, data, _ = parse_arguments([run_file(), "--control_captions", *GIVEN, "--no_change_controls", "0.2"])
    assert (data.no_change_controls, data.control_captions) == (0.2, GIVEN)
    assert (DataArguments().no_change_controls, DataArguments().control_captions) == (0.0, [])
