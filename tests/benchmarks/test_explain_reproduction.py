# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The explanations of the public reproduction's scores: from the program on a small set to the tables of the page."""

import json
from pathlib import Path

import pytest
import torch

from ssgpa.benchmarks import reproduction_facts as facts
from ssgpa.benchmarks.readme_table import BLOCKS
from ssgpa.benchmarks.tables import reproduction_table
from ssgpa.metrics.change_captioning.scorer import default_scorer

from ..scripts import load_script


ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "benchmarks/results/reproduction.json"
EVALUATION = ROOT / "benchmarks/results/ssgpa-clevr-tiny.json"
ROWS = [
    {"pair_id": "a", "change_type": "color", "captions": ["the red cube that is before the ball is now green"]},
    {"pair_id": "b", "change_type": "drop", "captions": ["someone took away a small sphere"]},
    {"pair_id": "c", "change_type": "none", "captions": ["the two scenes seem identical", "nothing has changed"]},
    {"pair_id": "d", "change_type": "none", "captions": ["the two scenes seem identical"]},
]
SCRIPT = ROOT / "benchmarks/explain_reproduction.py"


@pytest.fixture(scope="module")
def scorer():
    return default_scorer(text for row in ROWS for text in row["captions"])


def test_a_constant_scores_on_unchanged_pairs_alone(scorer):
    found = facts.constant_scores(ROWS, scorer, seed=0)
    scores = found["scores"]["constant"]
    # Of a changed pair it has one word, "the".
    assert scores["changed"]["cider"] < 0.2 * scores["total"]["cider"]
    assert scores["unchanged"]["rouge_l"] == 1.0
    assert sum(found["drawn"].values()) == len(ROWS)
    assert sum(facts.TEMPLATES.values()) == 3976


def test_shares_of_the_echo_by_hand(scorer):
    found = facts.echo_shares(ROWS, scorer)
    # 11 words of echo; captions of 11 and 6 words, and their ends.
    assert found["changed"]["smallest"] == pytest.approx(11 / (11 + 11 + 1))
    assert found["changed"]["largest"] == pytest.approx(11 / (11 + 6 + 1))
    assert found["changed"]["of_all_tokens"] == pytest.approx(22 / (22 + 17 + 2))
    assert found["unchanged"]["largest"] == pytest.approx(11 / (11 + 3 + 1))


def test_repeated_words_by_hand(scorer):
    """After the glued first word: that, is, before, the, is of the first; none of the second."""
    words = [facts.words_of(row["captions"][0], scorer) for row in ROWS]
    assert [facts.repeated_words(one) for one in words] == [5, 0, 0, 0]
    found = facts.repetition_shares(ROWS, scorer)
    assert (found["changed"]["struck"], found["changed"]["tokens"]) == (5, 17)
    assert found["changed"]["captions_without"] == 0.5
    assert found["templates"][facts.CONSTANT] == 0
    assert found["templates"]["the scene remains the same"] == 1


def test_the_bytes_of_llamas_vocabulary():
    decoder = facts.byte_decoder()
    assert decoder.decode([7, 7]) == "\x04\x04"
    assert decoder.decode([3 + ord("o"), 3 + ord("k")]) == "ok"


class OneWeight(torch.nn.Module):
    """A model whose loss is its only weight times the images."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([2.0]))
        self.frozen = torch.nn.Parameter(torch.tensor([1.0]), requires_grad=False)

    def forward(self, pixel_values):
        class Output:
            loss = (self.weight * pixel_values).mean()

        return Output


def test_the_trap_closes_after_as_many_halvings_as_a_float_has():
    found = facts.scaler_trap(OneWeight(), {"pixel_values": torch.ones(3)})
    # From 2 ** 16 down to the smallest float32, 2 ** -149, and once more.
    assert found["steps_until_the_scale_is_0"] == 16 + 149 + 1
    assert found["trained_weights_untouched_until_then"]
    assert (found["trained_numbers"], found["trained_numbers_nan_after_it"]) == (1, 1)
    assert found["frozen_weights_unchanged"]


@pytest.fixture
def small(tmp_path, own_cache, restored_logging):
    """The program on a few scenes, with an evaluation that lies there."""
    path = tmp_path / "small.json"
    words = ["--scenes", "6", "--learned", f"ssgpa={EVALUATION}", "--output", str(path)]
    assert load_script(SCRIPT).main(words) == 0
    return json.loads(path.read_text("utf-8"))


@pytest.mark.slow
def test_the_program_from_its_scenes_to_its_tables(small):
    assert small["pairs"] == 12
    assert small["parts"] == {"cut": True, "nan": True, "constant": True, "learned": True}
    trap = small["nan"]["scaler"]
    assert trap["steps_until_the_scale_is_0"] == 166
    assert trap["trained_numbers_nan_after_it"] == trap["trained_numbers"] > 0
    assert trap["frozen_weights_unchanged"]
    assert all(said["distinct"] == 1 < said["pairs"] for said in small["nan"]["unchecked"])
    assert "are not finite" in small["nan"]["ours"]["captioning"]
    assert "Training stops" in small["nan"]["ours"]["training"]
    assert small["cut"]["first_id_is_the_first_prediction"]
    assert set(small["runs"]) == {"vit_clevr", "vit_spot", "resnet_clevr", "resnet_spot"}
    for name, (file, lay_out) in BLOCKS.items():
        if name.startswith("reproduction-"):
            assert file == STORED.name
            assert lay_out(small, "x.json").startswith("| ")
    learned = json.loads(EVALUATION.read_text("utf-8"))["scores"]["changed"]["cider"]
    assert f" {100 * learned:.1f} " in reproduction_table.format_learned(small, "x.json")


def test_the_stored_tables_say_what_was_measured():
    figures = json.loads(STORED.read_text("utf-8"))
    blind = figures["constant"]["blind"]["scores"]["constant"]
    assert blind["changed"]["cider"] < 0.1 < blind["total"]["cider"] < blind["unchanged"]["cider"]
    table = reproduction_table.format_blind(figures, "x.json")
    assert f"{100 * blind['total']['cider']:.1f} |" in table
    assert not any(
        score
        for block in figures["nan"]["control_characters"]["scores"].values()
        for score in list(block.values())[:3]
    )
    if not figures["learned"]:
        assert reproduction_table.format_learned(figures, "x.json") == reproduction_table.NOT_RUN
    quoted = reproduction_table.format_published(figures, "x.json")
    assert "quoted, not measured here" in quoted
    assert all(kind in quoted for kind in figures["quoted_from"])


def test_a_wrong_word_is_one_line(tmp_path, capsys, restored_logging):
    program = load_script(SCRIPT)
    with pytest.raises(SystemExit):
        program.main(["--learned", "nothing", "--output", str(tmp_path / "x.json")])
    assert "is not NAME=FILE" in capsys.readouterr().err
    assert program.main(["--learned", f"a={tmp_path / 'none.json'}", "--output", str(tmp_path / "x.json")]) == 2
    assert "none.json" in capsys.readouterr().err
