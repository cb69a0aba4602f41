# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The pipeline end to end with tiny models: what it writes, and the same again after any interruption."""

import json

import numpy as np
import pytest

from ssgpa.data.prepared import load_prepared
from ssgpa.data.syned import make_syned, stages
from ssgpa.data.syned.cleaning import comparison_key
from ssgpa.data.syned.editing import edit_image, fit_image, load_editor


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def made(source, settings, tmp_path_factory):
    """A finished run; not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "syned"
    make_syned(source, folder, settings, progress=False)
    return folder


def records(folder):
    return [json.loads(line) for line in (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()]


def test_variants_of_the_training_part(made, source, source_rows, settings):
    dataset, originals = load_prepared(made / "prepared"), load_prepared(source)
    train = dataset["train"]
    rows = [(f"train-{number}", *row) for number, row in enumerate(source_rows["train"])]
    assert train["pair_id"][:] == [f"{name}_v{variant}" for name, *_ in rows for variant in range(2)]
    assert train["scene_id"][:] == [f"photo-{image}" for *_, image in rows for _ in range(2)]
    assert train["captions"][:] == [[instruction] for _, instruction, *_ in rows for _ in range(2)]
    assert train["change_type"][:] == [task for _, _, task, _ in rows for _ in range(2)]
    pipe, _ = load_editor(settings)
    for row, record in zip(train.select([2, 3]), [records(made)[1]] * 2, strict=True):
        before = fit_image(originals["train"][1]["before"], 64)
        np.testing.assert_array_equal(row["before"], before)
        number = int(row["pair_id"][-1])
        edited = edit_image(pipe, before, "add a dog", record["variants"]["seeds"], settings.edit)[number]
        np.testing.assert_array_equal(row["after"], edited)


def test_the_other_parts_keep_their_pairs(made, source):
    dataset, originals = load_prepared(made / "prepared"), load_prepared(source)
    for split in ("validation", "test"):
        for row, original in zip(dataset[split], originals[split], strict=True):
            assert {key: row[key] for key in ("pair_id", "scene_id", "change_type")} == {
                key: original[key] for key in ("pair_id", "scene_id", "change_type")
            }
            for side in ("before", "after"):
                np.testing.assert_array_equal(row[side], original[side])
            assert row["captions"][:1] == original["captions"]
    assert [len(captions) for captions in dataset["validation"]["captions"]] == [1]
    for captions in dataset["test"]["captions"]:
        assert len(set(map(comparison_key, captions))) == len(captions) == 3


def test_manifest_and_records(made, settings):
    manifest = json.loads((made / "manifest.json").read_text(encoding="utf-8"))
    prepared = json.loads((made / "prepared" / "prepared.json").read_text(encoding="utf-8"))
    assert prepared["syned"] == manifest
    assert manifest["settings"] == settings.to_dict()
    assert manifest["rows"] == {"train": 6, "validation": 1, "test": 2}
    assert set(manifest["models"]) == {"variants", "ranking", "paraphrases"}
    for facts in manifest["models"].values():
        assert facts["versions"]["torch"]
        assert facts["files"]
    assert manifest["missing_paraphrases"] == manifest["flagged_variants"] == {}
    seeds = [seed for record in records(made) for seed in record.get("variants", {}).get("seeds", [])]
    assert len(set(seeds)) == 6
    assert [record["pair_id"] for record in records(made) if "paraphrasing" in record] == ["test-0", "test-1"]
    for record in records(made)[:3]:
        scores = record["ranking"]["image_text"]
        assert record["ranking"]["best_first"] == sorted(range(2), key=lambda number: -scores[number])


class Killed(BaseException):
    """Not an error that anything handles."""


@pytest.mark.parametrize("files", [2, 6, 9])
def test_a_run_that_was_stopped_gives_the_same(files, made, source, settings, tmp_path, monkeypatch):
    """Stopped before the file of that number: settings, a model's facts, or a record in any stage."""
    write, folder = stages.write_json, tmp_path / "syned"
    written = []

    def stop(path, *values, **options):
        if len(written) == files:
            raise Killed
        written.append(path)
        write(path, *values, **options)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "write_json", stop)
        with pytest.raises(Killed):
            make_syned(source, folder, settings, progress=False)
    assert not (folder / "prepared").exists()
    make_syned(source, folder, settings, progress=False)
    assert contents(folder) == contents(made)


def test_killed_while_it_wrote_its_first_file(made, source, settings, tmp_path):
    folder = tmp_path / "syned"
    folder.mkdir()
    (folder / ".syned_settings.json.tmp").write_text('{"see', encoding="utf-8")
    make_syned(source, folder, settings, progress=False)
    assert contents(folder) == contents(made)


def test_a_finished_run_loads_no_model(made, source, settings, monkeypatch):
    before = contents(made)
    for stage in ("load_editor", "load_clip", "load_chat"):
        monkeypatch.setattr(f"ssgpa.data.syned.pipeline.{stage}", lambda settings: pytest.fail("loaded"))
    make_syned(source, made, settings, progress=False)
    assert contents(made) == before


def test_other_settings_originals_and_models_are_refused(made, source, settings, changed, own_images, tmp_path):
    before = contents(made)
    cases = {
        r"begun with other settings or models: edit.steps 2 there, 3 here; choose": changed("edit", steps=3),
        r"rank.by 'image_text' there, 'image_image' here": changed("rank", by="image_image"),
        r"seed 5 there, 6 here": changed(seed=6),
    }
    for message, other in cases.items():
        with pytest.raises(ValueError, match=message):
            make_syned(source, made, other, progress=False)
    images = own_images({"id": "a", "image": "0.png", "instruction": "make it red"})
    with pytest.raises(ValueError, match="begun with other settings or models: originals "):
        make_syned(images, made, settings, progress=False)
    with pytest.raises(FileExistsError, match="was not begun by this program"):
        make_syned(source, images, settings, progress=False)
    assert contents(made) == before


def test_another_model_under_the_same_name_is_refused(build_editor, source, changed, tmp_path):
    settings = changed("edit", {"caption_splits": ()}, model=str(tmp_path / "editor"), safety_checker=False)
    build_editor().save_pretrained(tmp_path / "editor")
    make_syned(source, tmp_path / "out", settings, progress=False)
    (tmp_path / "out" / "variants" / "000001.json").unlink()
    build_editor().save_pretrained(tmp_path / "editor")
    with pytest.raises(ValueError, match="begun with other settings or models: files "):
        make_syned(source, tmp_path / "out", settings, progress=False)


def test_items_do_not_depend_on_their_order(own_images, changed, tmp_path):
    """Variants and paraphrases of an image are the same behind another and alone."""
    lines = [{"id": name, "image": f"{name}.png", "instruction": f"make {name} red"} for name in "01"]
    folder = own_images(*lines)
    settings = changed("rank", {"caption_splits": ("train",)}, by=None)
    rows = {}
    for name, order in (("both", lines), ("alone", lines[1:])):
        text = "".join(json.dumps(line) + "\n" for line in order)
        (folder / "originals.jsonl").write_text(text, encoding="utf-8")
        make_syned(folder, tmp_path / name, settings, progress=False)
        dataset = load_prepared(tmp_path / name / "prepared")["train"]
        rows[name] = {row["pair_id"]: (row["captions"], row["after"].tobytes()) for row in dataset}
    assert rows["alone"] == {name: rows["both"][name] for name in ("1_v0", "1_v1")}
    assert all(len(captions) == 3 for captions, _ in rows["both"].values())


def test_only_the_best_are_kept(made, source, changed, tmp_path):
    make_syned(source, tmp_path / "out", changed("rank", {"caption_splits": ()}, keep=1), progress=False)
    kept = load_prepared(tmp_path / "out" / "prepared")["train"]["pair_id"][:]
    best = [f"{record['pair_id']}_v{record['ranking']['best_first'][0]}" for record in records(made)[:3]]
    assert kept == best


def test_flagged_variants_are_left_out_and_named(build_editor, build_checker, source, changed, tmp_path):
    build_editor(build_checker(-2.0)).save_pretrained(tmp_path / "editor")
    settings = changed("edit", {"caption_splits": ()}, model=str(tmp_path / "editor"))
    manifest = make_syned(source, tmp_path / "out", settings, progress=False)
    assert manifest["rows"]["train"] == 0
    assert manifest["flagged_variants"] == {"train-0": 2, "train-1": 2, "train-2": 2}
    assert not list((tmp_path / "out" / "variants").glob("*_0.png"))


def test_missing_paraphrases_are_named_and_the_rest_is_kept(source, changed, tmp_path):
    """One answer of eight tokens cannot hold twenty lines."""
    settings = changed("paraphrase", {"image_splits": ()}, count=20, attempts=1, max_new_tokens=8)
    manifest = make_syned(source, tmp_path / "out", settings, progress=False)
    captions = load_prepared(tmp_path / "out" / "prepared")["test"]["captions"]
    found = {f"test-{number}": 21 - len(row) for number, row in enumerate(captions)}
    assert manifest["missing_paraphrases"] == found
    assert min(found.values()) > 10
