# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The table in the README says what the results file says."""

import json
import re
from pathlib import Path

import pytest

from ssgpa.benchmarks import readme_table
from ssgpa.metrics.bounds import ONE_REFERENCE, RIGHT_TYPE, SHUFFLED
from ssgpa.metrics.report.build import build_report
from ssgpa.metrics.report.markdown import LABELS, format_scores


ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def report():
    rows = [
        {"pair_id": "a", "change_type": "color", "captions": ["the red cube turned green", "the cube is now green"]},
        {"pair_id": "b", "change_type": "drop", "captions": ["the small sphere is gone", "the sphere has left"]},
        {"pair_id": "c", "change_type": "none", "captions": ["there is no change", "the scene remains the same"]},
    ]
    predictions = {"a": "the red cube turned green", "b": "there is no change", "c": "there is no change"}
    train_rows = [{"pair_id": "t", "change_type": "none", "captions": ["there is no change"]}]
    built = build_report(rows, predictions, train_rows, lambda text: "color" if "green" in text else None)
    return {"model": "some/where/tiny", "split": "test", "decoding": {"num_beams": 5}, **built}


def cells(text, first):
    """The cells of the row whose first cell begins so."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return next(row for row in rows if row[0].startswith(first))


def test_the_rows_hold_the_scores_of_the_file(report):
    text = readme_table.format_report(report, "benchmarks/results/tiny.json")
    row = cells(text, "**tiny**")
    for cell, block in zip(row[1:], ("changed", "unchanged", "total"), strict=True):
        expected = [100 * report["scores"][block][key] for key in ("bleu_4", "rouge_l", "cider")]
        assert [float(value) for value in cell.split(" / ")] == pytest.approx(expected, abs=0.051)
    synonym = report["no_change_synonym"]["best"]
    swapped = cells(text, "the same, no change always told as")
    assert swapped[1:] == ["-", "-", format_scores(synonym)]
    constant = report["baselines"]['always "there is no change"']
    assert cells(text, 'baseline: always "there is no change"')[1] == format_scores(constant["changed"])
    assert cells(text, f"baseline: {SHUFFLED}")[2] == "-"
    assert cells(text, "upper bound:")[3] == format_scores(next(iter(report["upper_bounds"].values()))["total"])


def test_types_and_rates_are_told(report):
    text = readme_table.format_report(report, "x.json")
    assert cells(text, "color")[1:] == [
        "1",
        format_scores(report["scores"]["by_type"]["color"]),
        "100.0 %",
    ]
    assert cells(text, "drop")[3] == "0.0 %"
    facts = text.splitlines()[-1]
    assert re.search(r"right change type[^.]* 50\.0 % of the changed pairs", facts)
    assert re.search(r"\"nothing changed\"[^.]* 50\.0 % of the changed[^.]* 100\.0 % of the unchanged", facts)
    assert "Distinct captions: 2." in facts


def test_the_block_is_replaced_and_nothing_else(report, tmp_path, capsys):
    readme, results = tmp_path / "README.md", tmp_path / "tiny.json"
    readme.write_text(f"above\n{readme_table.BEGIN}\nold\n{readme_table.END}\nbelow\n", encoding="utf-8")
    options = [str(readme), "--results", str(results)]
    assert readme_table.main([*options, "--check"]) == 1
    assert "old" in readme.read_text("utf-8")
    assert readme_table.main(options) == 0
    assert readme_table.EMPTY in readme.read_text("utf-8")
    results.write_text(json.dumps(report), encoding="utf-8")
    assert readme_table.main([*options, "--check"]) == 1
    assert readme_table.main(options) == 0
    assert readme_table.main([*options, "--check"]) == 0
    text = readme.read_text("utf-8")
    assert text.startswith("above\n<!--")
    assert text.endswith("-->\nbelow\n")
    assert "from `benchmarks/results/tiny.json`." in text
    assert "stale" in capsys.readouterr().out


def test_a_document_without_marks_is_refused():
    with pytest.raises(ValueError, match="results:begin"):
        readme_table.replace_block("no marks", "table")


def test_the_summary_holds_the_scores_of_the_changed_pairs(report, tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "tiny.json"
    readme.write_text("above\n<!-- summary:begin -->\nold\n<!-- summary:end -->\nbelow\n", encoding="utf-8")
    results.write_text(json.dumps(report), encoding="utf-8")
    assert readme_table.main([str(readme), "--results", str(results)]) == 0
    text = readme.read_text("utf-8")
    rows = {
        "**tiny**": report["scores"],
        "baseline: best constant caption": report["baselines"][report["best_constant_baseline"]["changed"]],
        f"baseline: {LABELS[RIGHT_TYPE]}": report["baselines"][RIGHT_TYPE],
        ONE_REFERENCE: report["upper_bounds"][ONE_REFERENCE],
    }
    for name, blocks in rows.items():
        expected = [100 * blocks["changed"][key] for key in ("bleu_4", "rouge_l", "cider")]
        assert [float(cell) for cell in cells(text, name)[1:]] == pytest.approx(expected, abs=0.051)
    assert re.search(r"\b2 changed pairs of 3\b", text)
    assert text.endswith("`benchmarks/results/tiny.json`.\n<!-- summary:end -->\nbelow\n")


@pytest.mark.parametrize(
    "name", ["README.md", "docs/results.md", "docs/systems/ssgpa.md", "docs/data.md", "docs/development.md"]
)
def test_the_documents_are_current(name):
    stored = ROOT / "benchmarks" / "results" / "ssgpa-clevr-tiny.json"
    assert readme_table.main(["--check", str(ROOT / name), "--results", str(stored)]) == 0


def test_speeds_stand_under_the_tables(report, tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "tiny.json"
    readme.write_text(f"{readme_table.BEGIN}\n{readme_table.END}\n", encoding="utf-8")
    results.write_text(json.dumps(report), encoding="utf-8")
    figures = {
        "training": {"pairs_per_second": {"ssgpa": 30.0, "without_alignment": 40.0}, "ratio": 0.74},
        "generation": {"beams_1": {"captions_per_second": 50.0}, "beams_5": {"captions_per_second": 12.0}},
        "parameters": {"ssgpa": 1234567},
        "settings": {"batch_size": 32},
        "threads": 2,
        "cpu": "some processor",
    }
    (tmp_path / "tiny-throughput.json").write_text(json.dumps(figures), encoding="utf-8")
    assert readme_table.main([str(readme), "--results", str(results)]) == 0
    text = readme.read_text("utf-8")
    assert "30.0 training pairs per second, 74 % of the 40.0" in text
    assert "1,234,567 parameters" in text
    assert "50.0 captions per second greedily, 12.0 with 5 beams" in text


def test_other_blocks_stand_between_their_own_marks(report, tmp_path):
    readme, results = tmp_path / "README.md", tmp_path / "tiny.json"
    marks = "<!-- cost:begin -->\nold\n<!-- cost:end -->"
    readme.write_text(f"{readme_table.BEGIN}\n{readme_table.END}\n{marks}\nbelow\n", encoding="utf-8")
    results.write_text(json.dumps(report), encoding="utf-8")
    stored = ROOT / "benchmarks" / "results" / "alignment_cost.json"
    (tmp_path / stored.name).write_bytes(stored.read_bytes())
    options = [str(readme), "--results", str(results)]
    assert readme_table.main([*options, "--check"]) == 1
    assert readme_table.main(options) == 0
    assert readme_table.main([*options, "--check"]) == 0
    text = readme.read_text("utf-8")
    assert "\nold\n" not in text
    saved = {row["patches"]: row["saved_bytes"] for row in json.loads(stored.read_text("utf-8"))["law"]["sizes"]}
    assert cells(text, "256")[3] == f"{saved[256] / 1e6:.0f}"
    assert text.endswith("<!-- cost:end -->\nbelow\n")


def test_the_presets_stand_between_their_own_marks(report, tmp_path):
    readme, results, counts = tmp_path / "README.md", tmp_path / "tiny.json", tmp_path / "parameters.json"
    marks = "<!-- parameters:begin -->\nold\n<!-- parameters:end -->"
    readme.write_text(f"{readme_table.BEGIN}\n{readme_table.END}\n{marks}\nbelow\n", encoding="utf-8")
    results.write_text(json.dumps(report), encoding="utf-8")
    one = {"parts": {"tower": {"total": 1234, "trainable": 0}}, "total": 1234, "trainable": 0, "seconds": 0.51}
    counts.write_text(json.dumps({"parts": ["tower", "head"], "models": {"big": one}}), encoding="utf-8")
    options = [str(readme), "--results", str(results), "--parameters", str(counts)]
    assert readme_table.main([*options, "--check"]) == 1
    assert readme_table.main(options) == 0
    assert readme_table.main([*options, "--check"]) == 0
    text = readme.read_text("utf-8")
    assert cells(text, "parameters")[1:] == ["big, all", "big, trainable"]
    assert cells(text, "tower")[1:] == cells(text, "**together**")[1:] == ["1,234", "0"]
    assert "(0.5 s). From `benchmarks/results/parameters.json`." in text
    assert text.endswith("<!-- parameters:end -->\nbelow\n")


@pytest.mark.parametrize(
    ("page", "block"),
    [("README.md", "summary"), ("docs/results.md", "results"), ("docs/systems/ssgpa.md", "parameters")],
)
def test_the_pages_have_their_blocks(page, block):
    assert (ROOT / page).read_text("utf-8").count(f"<!-- {block}:") == 2
