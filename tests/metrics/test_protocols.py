# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
import pytest

from ssgpa.metrics import score_captions
from ssgpa.metrics.protocols import PROTOCOLS, apply_protocol
from ssgpa.metrics.report.build import build_report


PLAIN = {"tokenizer": "nltk", "meteor": False}


def row(name, kind, *captions):
    return {"pair_id": name, "change_type": kind, "captions": list(captions)}


SPOT = [row("1", None, "a man left", "the car moved"), row("2", None, "a dog came"), row("3", None, "")]
SAID = {"1": "a man left", "2": "a dog came", "3": "a cat sleeps"}


def test_names_and_published_sizes():
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())
    sizes = {name: protocol.test_pairs for name, protocol in PROTOCOLS.items()}
    # 3,985 scenes with two pairs each; 6 types of 800; grouped pairs; 495 requests; rows of the test split.
    assert sizes["clevr_change"] == 2 * 3985
    assert sizes["clevr_dc"] == 6 * 800
    assert {sizes["spot_the_diff_single"], sizes["spot_the_diff_multi"]} == {1270}
    assert (sizes["image_editing_request"], sizes["emu_edit"]) == (495, 2022)


def test_single_and_multi_change_are_never_one_number():
    single = build_report(SPOT, SAID, protocol=PROTOCOLS["spot_the_diff_single"])
    multi = build_report(SPOT, SAID, protocol=PROTOCOLS["spot_the_diff_multi"])
    assert single["protocol"]["name"] == "spot_the_diff_single"
    assert "Not comparable" in multi["protocol"]["description"]
    assert single["scores"]["total"]["n_references"] == 4
    assert multi["scores"]["total"]["n_references"] == 3
    joined = {"1": ["a man left. the car moved"], "2": ["a dog came"], "3": [""]}
    expected = score_captions(joined, SAID, **PLAIN)
    assert {key: multi["scores"]["total"][key] for key in expected} == expected
    assert multi["scores"]["total"]["rouge_l"] < single["scores"]["total"]["rouge_l"]


def test_blocks_that_a_protocol_does_not_print_are_empty():
    rows = [row("1", "add", "add a dog"), row("2", "style", "make it a painting")]
    report = build_report(rows, {"1": "add a cat", "2": "a painting"}, protocol=PROTOCOLS["emu_edit"])
    assert report["scores"]["by_type"].keys() == {"add", "style"}
    assert report["scores"]["changed"] is report["scores"]["unchanged"] is None


def test_baselines_follow_the_protocol():
    report = build_report(SPOT, SAID, SPOT[:1], protocol=PROTOCOLS["spot_the_diff_multi"])
    assert "a man left the car moved" in {baseline["caption"] for baseline in report["baselines"].values()}


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("spot_the_diff_single", [SPOT[0], SPOT[0]], "scores each pair once; group the rows of '1'"),
        ("spot_the_diff_multi", [row("1", "add", "x")], "expects no change types; this does not fit the pairs '1'"),
        (
            "clevr_change",
            [row("1", None, "x"), row("2", "texture", "x")],
            "color.*none; this does not fit the pairs '1', '2'",
        ),
        ("syned", [row("1", None, "x")], "one of the tasks"),
    ],
)
def test_rows_that_do_not_fit_are_named(name, rows, message):
    with pytest.raises(ValueError, match=message):
        apply_protocol(PROTOCOLS[name], rows)


def test_rows_stay_as_they_were():
    rows = [row("1", None, "x", "y")]
    assert apply_protocol(PROTOCOLS["spot_the_diff_multi"], rows)[0]["captions"] == ["x. y"]
    assert rows == [row("1", None, "x", "y")]
