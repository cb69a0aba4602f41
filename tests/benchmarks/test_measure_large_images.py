# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Large images and a table, captioned by two revisions."""

import json
from pathlib import Path

import pytest
from PIL import Image

from ssgpa.benchmarks import measure_large_images
from ssgpa.benchmarks.revisions import commit_of
from ssgpa.benchmarks.tables.large_images_table import format_large_images


ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "large_images.json"


def test_the_pair_is_the_sample_enlarged_with_grain(tmp_path):
    files = measure_large_images.write_pair(tmp_path, 720, 480)
    for side, path in zip(("before", "after"), files, strict=True):
        with Image.open(path) as image, Image.open(ROOT / f"examples/pairs/drop_0_{side}.png") as sample:
            assert (image.format, image.size) == ("JPEG", (720, 480))
            small = image.resize(sample.size, Image.Resampling.BOX)
            differences = [abs(a - b) for a, b in zip(small.tobytes(), sample.convert("RGB").tobytes(), strict=True)]
            assert 0 < sum(differences) / len(differences) < 8


def test_the_table_names_every_sample_and_starts_again(tmp_path):
    lines = measure_large_images.write_table(tmp_path / "pairs.csv", 100).read_text("utf-8").splitlines()
    assert len(lines) == 101
    assert len(set(lines[1:])) == len(list((ROOT / "examples" / "pairs").glob("*_before.png")))
    assert all(Path(cell).is_file() for cell in ",".join(lines[1:]).split(","))


def turn(seconds, peak, caption):
    return {"seconds": seconds, "peak_mib": peak, "idle_mib": 300.0, "caption": caption}


def test_medians_are_taken_side_by_side():
    turns = [{"before": turn(12.0 + n, 3000.0, "a"), "after": turn(0.5 + n, 500.0, "b")} for n in (0, 5, 1)]
    figures = measure_large_images.summarize(turns)
    assert figures["before"] == {"seconds": 13.0, "peak_mib": 3000.0, "idle_mib": 300.0}
    assert figures["after"]["seconds"] == 1.5
    assert figures["captions"] == {"before": "a", "after": "b"}


def test_a_revision_that_is_unknown_takes_one_line(tmp_path, capsys):
    assert measure_large_images.main(["--before", "no-such", "--output", str(tmp_path / "out.json")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
def test_a_revision_of_the_old_layout_says_the_same(tmp_path):
    """The last commit before everything moved."""
    try:
        commit_of("baeede8")
    except ValueError:
        pytest.skip("a copy without the history")
    output = tmp_path / "out.json"
    sizes = ["--width", "400", "--height", "300", "--rows", "4", "--turns", "1"]
    assert measure_large_images.main(["--before", "baeede8", "--output", str(output), *sizes]) == 0
    figures = json.loads(output.read_text("utf-8"))["figures"]
    for case in ("caption", "caption and maps"):
        said = figures[case]["captions"]
        assert said["before"] == said["after"] != ""


@pytest.mark.skipif(not RESULTS.is_file(), reason="not measured yet")
def test_the_stored_figures_show_what_the_page_says():
    stored = json.loads(RESULTS.read_text("utf-8"))
    assert (stored["settings"]["width"], stored["settings"]["height"]) == (12_000, 9_000)
    for case in ("caption", "caption and maps", "table"):
        figures = stored["figures"][case]
        assert figures["after"]["peak_mib"] <= figures["before"]["peak_mib"] * 1.1
    large = stored["figures"]["caption"]
    assert large["after"]["seconds"] < large["before"]["seconds"] / 4
    assert large["after"]["peak_mib"] - large["after"]["idle_mib"] < 200


def test_the_table_shows_both_sides():
    report = {
        "figures": {
            case: {"before": turn(12.34, 3400.0, "a"), "after": turn(0.52, 500.4, "a")}
            for case in ("caption", "caption and maps", "table")
        },
        "settings": {"width": 12000, "height": 9000, "rows": 2000, "turns": 3},
        "commits": {"before": "a" * 40, "after": "b" * 40},
        "cpu": "A CPU",
    }
    block = format_large_images(report, "x.json")
    assert "| one pair of 12,000 x 9,000 JPEG, caption | 12.3 | 0.5 | 3,400 | 500 |" in block
    assert "Commit `aaaaaaa` and commit `bbbbbbb`, medians of 3 turns" in block
