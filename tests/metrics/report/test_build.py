# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
import json
import time

import pytest

from ssgpa.metrics import score_captions
from ssgpa.metrics.bounds import MOST_FREQUENT, ONE_REFERENCE, RIGHT_TYPE, SHUFFLED
from ssgpa.metrics.report.build import build_report, collapse_alarm, format_table, light_rows


SAME = 'always "there is no change"'
REMAINS = 'always "the scene remains the same"'
GONE = 'always "the cube is gone"'
CAPTIONS = {
    "color": ["the red cube turned green", "the cube is now green"],
    "drop": ["the small sphere is gone", "the sphere has disappeared", "someone took the sphere"],
    "none": ["there is no change", "the scene remains the same"],
}


def row(name, change_type, captions):
    return {"pair_id": name, "captions": captions, "change_type": change_type}


def type_of(caption):
    return next((name for name, word in {"color": "green", "drop": "gone"}.items() if word in caption.lower()), None)


@pytest.fixture
def rows():
    return [
        row("a", "color", ["The red cube turned green.", "the cube is now green"]),
        row("b", "drop", ["the small sphere is gone", "the sphere has disappeared"]),
        row("c", "none", ["there is no change", "the scene remains the same"]),
        row("d", "none", ["the scene remains the same"]),
        row("e", None, ["a person walks"]),
    ]


@pytest.fixture
def train_rows():
    return [
        row("t1", "color", ["the big cube is green"]),
        row("t2", "none", ["There is no change.", "the scene remains the same"]),
        row("t3", "none", ["there is no change"]),
        row("t4", "drop", ["the cube is gone"]),
    ]


@pytest.fixture
def predictions():
    return {
        "a": "the cube turned green",
        "b": "There is no change.",
        "c": "the scene remains the same",
        "d": "nothing happened",
        "e": "",
    }


@pytest.fixture
def report(rows, predictions, train_rows):
    return build_report(rows, predictions, train_rows, change_type_of=type_of)


def many_rows(count):
    """`count` pairs, half of them changed, each with two captions of its own."""
    colors = ["red", "green", "blue", "gray", "brown", "cyan", "purple"]
    found = []
    for index in range(count):
        name, shape = colors[index % 7], ["cube", "sphere", "cylinder"][index % 3]
        changed = [f"the {name} {shape} number {index} moved", f"{name} {shape} {index} has a new place"]
        found.append(row(str(index), "move" if index % 2 else "none", changed if index % 2 else CAPTIONS["none"]))
    return found


def subset(rows, predictions, names):
    chosen = {record["pair_id"]: record["captions"] for record in rows if record["pair_id"] in names}
    return score_captions(chosen, {name: predictions[name] for name in chosen}, tokenizer="nltk", meteor=False)


def test_every_block_is_scored_as_a_set_of_its_own(report, rows, predictions):
    blocks = {"total": "abcde", "changed": "ab", "unchanged": "cd"}
    for block, names in blocks.items():
        expected = subset(rows, predictions, names)
        assert {key: report["scores"][block][key] for key in expected} == expected
        assert "this block alone" in report["scores"][block]["document_frequencies"]
    assert report["scores"]["by_type"].keys() == {"color", "drop"}
    assert report["scores"]["by_type"]["color"]["n_items"] == 1
    assert report["scores"]["total"]["empty_predictions"] == 1


def test_behavior(report):
    assert report["no_change_rate"] == {"changed": 0.5, "unchanged": 0.5}
    assert report["distinct_captions"] == 5
    accuracy = report["change_type_accuracy"]
    assert accuracy["by_type"] == {"color": 1.0, "drop": 0.0}
    assert accuracy["changed"] == 0.5
    assert accuracy["references"] == 0.75


def test_constant_baselines_by_hand(report, rows):
    baseline = report["baselines"][SAME]
    assert baseline["caption"] == "there is no change"
    # On b, "is" is one of four words said and one of five words written; on a, of the second reference alone.
    one_word = (1 + 1.44) * (1 / 4) * (1 / 5) / (1 / 5 + 1.44 / 4)
    assert baseline["changed"]["rouge_l"] == pytest.approx(one_word)
    assert baseline["changed"]["bleu_1"] == pytest.approx(2 / 8 * 2.718281828459045 ** (1 - 9 / 8))
    assert baseline["changed"]["bleu_2"] < 1e-6
    everywhere = {record["pair_id"]: "there is no change" for record in rows}
    expected = subset(rows, everywhere, "abcde")
    assert baseline["total"]["cider"] == pytest.approx(expected["cider"], abs=1e-9)
    assert baseline["total"]["bleu_4"] == pytest.approx(expected["bleu_4"], abs=1e-9)


def test_every_baseline_has_its_name(report, rows, predictions):
    assert report["baselines"].keys() == {SAME, REMAINS, GONE, MOST_FREQUENT, RIGHT_TYPE, SHUFFLED}
    assert report["baselines"][MOST_FREQUENT]["caption"] == "there is no change"
    best = max((SAME, REMAINS), key=lambda name: report["baselines"][name]["total"]["cider"])
    assert report["best_constant_baseline"]["total"] == best
    assert report["best_constant_baseline"]["changed"] == GONE
    assert report["constants_tried"] == 4
    # One training caption each for "color" and "drop": nothing is left to chance on the changed pairs.
    drawn = {"a": "the big cube is green", "b": "the cube is gone"}
    expected = subset(rows, drawn, "ab")
    assert report["baselines"][RIGHT_TYPE]["changed"]["cider"] == pytest.approx(expected["cider"], abs=1e-9)


def test_no_training_caption_is_a_better_constant(report, rows, train_rows):
    for block, names in (("total", "abcde"), ("changed", "ab")):
        scores = [
            subset(rows, dict.fromkeys("abcde", text), names)["cider"]
            for record in train_rows
            for text in record["captions"]
        ]
        best = report["baselines"][report["best_constant_baseline"][block]]
        assert best[block]["cider"] == pytest.approx(max(scores), abs=1e-9)
    cheap = build_report(rows, dict.fromkeys("abcde", "x"), train_rows, all_constants=False)
    assert cheap["baselines"].keys() == {SAME, REMAINS, MOST_FREQUENT, RIGHT_TYPE, SHUFFLED}
    assert cheap["constants_tried"] is None


def test_shuffling_keeps_the_captions_and_breaks_the_pairing():
    rows = many_rows(60)
    exact = {record["pair_id"]: record["captions"][0] for record in rows}
    report = build_report(rows, exact, rows)
    assert report["scores"]["changed"]["cider"] > 5
    assert report["baselines"][SHUFFLED]["changed"]["cider"] < 0.2 * report["scores"]["changed"]["cider"]
    assert report == build_report(rows, exact, rows)
    assert report["baselines"][SHUFFLED] != build_report(rows, exact, rows, seed=1)["baselines"][SHUFFLED]
    assert collapse_alarm(report) is None


def test_without_training_rows_only_the_shuffle_is_left(rows, predictions):
    report = build_report(rows, predictions)
    assert report["baselines"].keys() == {SHUFFLED}
    assert report["best_constant_baseline"] == {"total": None, "changed": None}
    assert report["change_type_accuracy"] is None
    assert report["no_change_synonym"]["best"]["caption"] in {text.lower() for text in CAPTIONS["none"]}
    collapse_alarm(report)


def test_upper_bound_takes_the_reference_out(rows, predictions):
    upper_bound = build_report(rows, predictions)["upper_bounds"][ONE_REFERENCE]
    assert upper_bound["skipped"] == 2
    assert upper_bound["total"]["n_items"] == upper_bound["total"]["n_references"] == 3
    # The other caption of the pair shares at most 3 of 5 words: with the caption itself left in, ROUGE-L would be 1.
    assert 0 < upper_bound["total"]["rouge_l"] < 0.7
    assert upper_bound["changed"]["n_items"] == 2


def test_synonyms_swap_only_what_says_no_change(rows, predictions, train_rows, report):
    synonyms = report["no_change_synonym"]
    scores = {}
    for text in CAPTIONS["none"]:
        scores[text] = subset(rows, {**predictions, "b": text, "c": text}, "abcde")["cider"]
    assert synonyms["best"]["caption"] == max(scores, key=scores.get)
    assert synonyms["worst"]["caption"] == min(scores, key=scores.get)
    assert synonyms["best"]["cider"] == pytest.approx(max(scores.values()), abs=1e-9)
    assert synonyms["worst"]["cider"] < synonyms["best"]["cider"]
    assert build_report(rows, dict.fromkeys("abcde", "a cube"), train_rows)["no_change_synonym"] is None


def test_empty_blocks_are_none():
    changed = [row("a", "color", CAPTIONS["color"]), row("b", "drop", CAPTIONS["drop"])]
    report = build_report(changed, {"a": "x", "b": "y"}, changed, type_of)
    assert report["scores"]["unchanged"] is None
    assert report["no_change_rate"] == {"changed": None, "unchanged": None}
    unknown = [row("a", None, ["a person left"])]
    report = build_report(unknown, {"a": "x"}, unknown, type_of)
    assert report["scores"]["changed"] is None
    assert report["scores"]["by_type"] == {}
    assert report["baselines"][MOST_FREQUENT]["changed"] is None
    assert report["upper_bounds"][ONE_REFERENCE] == {"total": None, "changed": None, "skipped": 1}
    assert report["change_type_accuracy"] == {"changed": None, "by_type": {}, "references": None}
    assert "-" in format_table(report)


def test_meteor_stands_beside_the_scores_it_explains(rows, predictions, train_rows, scorer, meteor):
    report = build_report(rows, predictions, train_rows, scorer=scorer)
    tokens = scorer.tokenize(["the cube turned green", *rows[0]["captions"]])
    alone = meteor.score([tokens["the cube turned green"]], [[tokens[text] for text in rows[0]["captions"]]])
    assert report["scores"]["by_type"]["color"]["meteor"] == alone[0]
    assert (report["tokenizer"], report["java"]) == ("ptb", scorer.java.version)
    best = set(report["best_constant_baseline"].values())
    for name in (*best, RIGHT_TYPE, SHUFFLED):
        assert 0 <= report["baselines"][name]["total"]["meteor"] < 1
        assert 0 <= report["baselines"][name]["changed"]["meteor"] < 1
    assert report["upper_bounds"][ONE_REFERENCE]["changed"]["meteor"] > 0
    system = next(line for line in format_table(report).splitlines() if line.startswith("system "))
    assert f"{100 * report['scores']['total']['meteor']:.1f}" in system


def test_report_is_json(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.parametrize(
    ("change", "message"),
    [({"zz": "x"}, "unknown pairs: 'zz'"), ({"a": None}, "prediction of pair 'a' is not a string")],
)
def test_bad_predictions_are_named(rows, predictions, change, message):
    with pytest.raises(ValueError, match=message):
        build_report(rows, {**predictions, **change})


def test_bad_rows_are_named(rows, predictions):
    with pytest.raises(ValueError, match="missing for 1 of 5 pairs: 'e'"):
        build_report(rows, {name: predictions[name] for name in "abcd"})
    with pytest.raises(ValueError, match="rows hold ids twice: 'a'"):
        build_report([*rows, rows[0]], predictions)
    with pytest.raises(ValueError, match="nothing to score"):
        build_report([], {})


def test_alarm_names_each_sign():
    rows = many_rows(60)
    alarm = collapse_alarm(build_report(rows, dict.fromkeys(map(str, range(60)), "There is no change"), rows))
    assert "only 1 distinct captions over 60 pairs" in alarm
    assert "100% of the changed pairs" in alarm
    assert "is not above" in alarm


def test_alarm_on_a_constant_that_is_no_no_change_sentence():
    rows = many_rows(60)
    frequent = "the red cube number 3 moved"
    train_rows = [row("t", "move", [frequent] * 200), *rows]
    alarm = collapse_alarm(build_report(rows, dict.fromkeys(map(str, range(60)), frequent), train_rows))
    assert "is not above" in alarm
    assert 'always "the ' in alarm
    assert "of the changed pairs" not in alarm


def test_few_captions_over_few_pairs_are_no_alarm():
    rows = many_rows(8)
    exact = {record["pair_id"]: record["captions"][0] for record in rows}
    assert collapse_alarm(build_report(rows, exact, rows)) is None


def test_table_shows_system_baselines_and_upper_bounds(report):
    table = format_table(report).splitlines()
    assert len({len(line) for line in table}) == 1
    system = next(line for line in table if line.startswith("system "))
    for block in ("total", "changed"):
        assert f"{100 * report['scores'][block]['cider']:.1f}" in system
    for name in report["baselines"]:
        assert any(line.startswith(f"baseline: {name}"[:45]) for line in table)
    assert any("upper bound" in line for line in table)
    assert any("worst no-change synonym" in line for line in table)


def test_light_rows_decode_no_image():
    datasets = pytest.importorskip("datasets")
    broken = {"path": None, "bytes": b"no image"}
    data = datasets.Dataset.from_list([{**row("a", "none", ["x"]), "before": broken}]).cast_column(
        "before", datasets.Image()
    )
    assert light_rows(data) == [row("a", "none", ["x"])]


def test_baselines_are_fast():
    rows = many_rows(1000)
    train_rows = [*rows, *(row(f"n{index}", "none", [f"no change {index}"]) for index in range(20))]
    exact = {record["pair_id"]: record["captions"][0] for record in rows}
    build_report(rows[:4], {str(index): "x" for index in range(4)}, rows)
    start = time.process_time()
    build_report(rows, exact, train_rows)
    assert time.process_time() - start < 15
