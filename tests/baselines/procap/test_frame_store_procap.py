# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Frames and scores on disk: what was written comes back, and nothing else."""

import json

import numpy as np
import pytest

from ssgpa.baselines.procap.frame_store import MANIFEST, SCORES, FrameFolder, ScoreLog, ScoreTable, digest_of_pair


SETTINGS = {"count": 2, "stored": True, "interpolator": "a"}


def frames(value=3):
    return np.full((2, 3, 4, 5), value, dtype=np.uint8)


def test_frames_come_back_as_they_were(tmp_path):
    folder = FrameFolder.create(tmp_path / "new", SETTINGS)
    made = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5), dtype=np.uint8)
    folder.write("pair/1", "images", made)
    again = FrameFolder(tmp_path / "new")
    assert np.array_equal(again.read("pair/1", "images"), made)
    assert again.settings == {"format": 1, **SETTINGS}
    assert again.missing(["pair/1", "pair/2"]) == ["pair/2"]
    assert again.is_current("pair/1", "images")
    assert not again.is_current("pair/2", "images")
    assert not list((tmp_path / "new").rglob("*.part"))


def test_damaged_and_foreign_frames_are_refused(tmp_path):
    folder = FrameFolder.create(tmp_path / "new", SETTINGS)
    folder.write("a", "images", frames())
    path = folder.path("a")
    for read in (folder.read, folder.is_current):
        with pytest.raises(ValueError, match="other images of pair 'a'"):
            read("a", "other images")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x07")
    with pytest.raises(ValueError, match="not what was written"):
        folder.read("a", "images")
    path.write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="cannot be read"):
        folder.read("a", "images")
    assert not folder.is_current("a", "images")


def test_a_folder_of_other_settings_is_refused(tmp_path):
    FrameFolder.create(tmp_path / "new", SETTINGS)
    FrameFolder.create(tmp_path / "new", SETTINGS)
    with pytest.raises(ValueError, match=r"different: interpolator"):
        FrameFolder.create(tmp_path / "new", SETTINGS | {"interpolator": "b"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(FileExistsError, match="something else"):
        FrameFolder.create(tmp_path / "other", SETTINGS)
    with pytest.raises(FileNotFoundError, match="no frames"):
        FrameFolder(tmp_path / "other")
    path = tmp_path / "new" / MANIFEST
    for text in ("{", "[]", '{"format": 1}'):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match="damaged"):
            FrameFolder(tmp_path / "new")
    path.write_text(json.dumps({**SETTINGS, "format": 2}), encoding="utf-8")
    with pytest.raises(ValueError, match="another version"):
        FrameFolder(tmp_path / "new")


def test_the_digest_tells_images_sizes_and_sides_apart():
    one, two = frames(1)[0], frames(2)[0]
    made = [(one, two), (two, one), (one, one), (one.reshape(3, 5, 4), two.reshape(3, 5, 4))]
    assert len({digest_of_pair(*images) for images in made}) == 4
    assert digest_of_pair(one, two) == digest_of_pair(one.copy(order="F"), two)


def test_scores_are_taken_up_again(tmp_path):
    path = tmp_path / SCORES
    log = ScoreLog(path, SETTINGS)
    log.add("a", "one", np.array([[0.1, 0.2], [0.3, 0.4]]))
    # As a machine that goes down in the middle of a line leaves it.
    with path.open("a", encoding="utf-8") as file:
        file.write('{"pair_id": "b", "im')
    again = ScoreLog(path, SETTINGS)
    assert again.is_current("a", "one")
    assert not again.is_current("b", "two")
    with pytest.raises(ValueError, match="other images of pair 'a'"):
        again.is_current("a", "two")
    again.add("b", "two", np.ones((2, 2)))
    table = ScoreTable(path, 2)
    np.testing.assert_array_equal(table.read("a", "one"), [[0.1, 0.2], [0.3, 0.4]])
    np.testing.assert_array_equal(table.read("b", "two"), np.ones((2, 2)))
    assert table.missing(["a", "b", "c"]) == ["c"]
    with pytest.raises(ValueError, match="different: interpolator"):
        ScoreLog(path, SETTINGS | {"interpolator": "b"})


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"pair_id": "b", "images": "x", "before": [1.0, 2.0]}',
        '{"pair_id": "b", "images": "x", "before": [1.0, 2.0], "after": [1.0]}',
        '{"pair_id": "b", "images": "x", "before": [1.0, NaN], "after": [1.0, 2.0]}',
    ],
)
def test_damaged_scores_are_refused_with_their_line(line, tmp_path):
    path = tmp_path / SCORES
    ScoreLog(path, SETTINGS).add("a", "one", np.ones((2, 2)))
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"scores.jsonl, line 3"):
        ScoreTable(path, 2)


def test_two_lines_for_one_pair_are_refused(tmp_path):
    path = tmp_path / SCORES
    log = ScoreLog(path, SETTINGS)
    for _ in range(2):
        log.add("a", "one", np.ones((2, 2)))
    with pytest.raises(ValueError, match="two lines for one pair"):
        ScoreTable(path, 2)
    path.write_text("{}\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 1"):
        ScoreTable(path, 2)
