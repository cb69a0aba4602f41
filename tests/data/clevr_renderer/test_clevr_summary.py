# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Figures of a set against its files, and of the release against what else is known of it."""

import json
import statistics

import numpy as np
import pytest

from ssgpa.data.readers.clevr_change_summary import FIGURES, WORDS, describe_clevr_change

from ...scripts import load_script
from .test_clevr_captions import VOCABULARY


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_figures_are_those_of_the_files(rendered):
    figures = describe_clevr_change(rendered)
    captions = [text for texts in read(rendered / "change_captions.json").values() for text in texts]
    lengths = [len(text.split(" ")) for text in captions]
    assert figures["change_captions"]["captions"] == len(captions)
    assert figures["change_captions"]["longest"] == max(lengths)
    assert figures["change_captions"]["mean_words"] == pytest.approx(statistics.mean(lengths))
    assert figures["change_captions"]["by_length"][str(lengths[0])] == lengths.count(lengths[0])
    assert figures["no_change_captions"]["per_scene"] == 5
    said = {word for text in captions for word in text.split()}
    assert said <= VOCABULARY - set(figures["vocabulary"]["released_only"])
    assert figures["vocabulary"]["not_released"] == []
    assert figures["splits"] == {"train": 4, "validation": 2, "test": 2}
    assert {kind: sum(counts.values()) for kind, counts in figures["types"].items()} == {
        "color": 2,
        "material": 2,
        "add": 2,
        "drop": 1,
        "move": 1,
    }
    overlaps = read(rendered / "change_captions_by_IOU.json")
    assert figures["overlap"]["all"]["q25"] == pytest.approx(np.percentile(list(overlaps.values()), 25))
    test = [overlaps[str(index)] for index in read(rendered / "splits.json")["test"]]
    assert figures["overlap"]["test"]["mean"] == pytest.approx(sum(test) / 2)


def test_released_figures_add_up():
    assert set(WORDS) == VOCABULARY
    assert FIGURES["scenes"] == sum(FIGURES["splits"].values())
    for split, count in FIGURES["splits"].items():
        assert sum(counts[split] for counts in FIGURES["types"].values()) == count


def test_unknown_words_and_missing_files(copied, tmp_path, capsys):
    captions = read(copied / "change_captions.json")
    captions["CLEVR_default_000000.png"] = ["The Pink cube moved."]
    (copied / "change_captions.json").write_text(json.dumps(captions), encoding="utf-8")
    (copied / "change_captions_by_IOU.json").unlink()
    (copied / "type_mapping.json").unlink()
    example = load_script("describe_clevr_change")
    output = tmp_path / "out" / "figures.json"
    arguments = ["--source", str(copied), "--output", str(output)]
    assert example.main(arguments) == 0
    figures = read(output)
    assert figures["vocabulary"]["not_released"] == ["pink"]
    assert figures["overlap"] is None
    assert figures["types"] is None
    assert figures["render_settings"]["seed"] == 7
    (copied / "change_captions_by_IOU.json").write_text('{"0": "high"}', encoding="utf-8")
    capsys.readouterr()
    assert example.main(arguments) == 2
    assert "change_captions_by_IOU.json" in capsys.readouterr().err
