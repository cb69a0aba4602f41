# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Ways of going faster: that with and without do the same work, and what is made of their times."""

import json
import statistics

import pytest
import torch

from ssgpa.benchmarks import measure_speed, speed_ways
from ssgpa.benchmarks.speed_ways import WAYS, Bench
from ssgpa.training.collator import PairCollator

from ..ssgpa_cases import wake
from ..tiny_systems import tiny_ssgpa


SMALL = ["--batch_size", "4", "--steps", "2", "--turns", "2", "--max_new_tokens", "3", "--captions_per_pair", "2"]
# Both runs leave the same weights behind.
SAME_STEPS = ("label_positions", "multiple_of_8", "sdpa", "cached_features")


@pytest.fixture
def words(tmp_path, monkeypatch):
    monkeypatch.setattr(speed_ways, "scene_captions", lambda seed: [["no change"], ["the cube has moved", "it moved"]])
    model, processor = tiny_ssgpa(vision="resnet", patch_grid=[4, 4], sinkhorn_iterations=5, warp_weight=0.0)
    model.generation_config.suppress_tokens = [model.config.image_token_id]
    wake(model).save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    return ["--model", str(tmp_path / "model"), "--output", str(tmp_path / "speed.json"), *SMALL]


@pytest.fixture
def bench(words):
    return Bench(measure_speed.parse_arguments(words))


@pytest.mark.parametrize("way", SAME_STEPS)
def test_with_and_without_take_the_same_steps(bench, monkeypatch, way):
    trained = []
    steps = Bench.steps
    monkeypatch.setattr(Bench, "steps", lambda self, model, *more: trained.append(model) or steps(self, model, *more))
    for run in WAYS[way](bench):
        torch.manual_seed(0)  # negatives
        run()
    first, second = (model.state_dict() for model in trained)
    assert not torch.equal(first["lm_head.weight"], bench.model.state_dict()["lm_head.weight"])
    for name, value in first.items():
        assert torch.allclose(value, second[name], atol=1e-5), name


def test_a_shared_image_is_encoded_once(bench):
    model = bench.trainee().eval()
    batch = bench.batches()[0]
    pixels = batch["pixel_values"]
    pixels[1::2, 0] = pixels[::2, 0]  # two pairs of a scene
    with torch.no_grad():
        wanted = model.model.vision_tower(pixels).last_hidden_state
    sizes = []
    model.model.vision_tower.tower.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    shared = speed_ways._shared_before(batch, model)
    assert sum(sizes) == 6
    assert "pixel_values" not in shared
    assert torch.allclose(shared["vision_features"], wanted, atol=1e-5)


def test_packed_captions_are_those_of_the_rows(bench, monkeypatch):
    taken = []
    monkeypatch.setattr(Bench, "steps", lambda self, model, batches: taken.append(batches))
    WAYS["packed"](bench)
    packed, rows = ([batch["labels"] for batch in batches] for batches in taken)
    assert {len(labels) for labels in (*packed, *rows)} == {4}
    assert len(rows) == 2 * len(packed)
    said = [
        sorted(labels[labels >= 0].tolist())
        for labels in (torch.cat([x.flatten() for x in packed]), torch.cat([x.flatten() for x in rows]))
    ]
    assert said[0] == said[1]
    assert said[0]


def test_times_become_ratios(monkeypatch):
    times = {"with": iter([9.0, 1.0, 1.0, 2.0]), "without": iter([9.0, 2.0, 4.0, 6.0])}
    taken = []
    monkeypatch.setattr(measure_speed, "seconds_of", lambda run: taken.append(run) or next(times[run]))
    found = measure_speed.compare(("with", "without"), turns=3)
    # Whoever is first gains or loses nothing by it.
    assert taken[2:] == ["with", "without", "without", "with", "with", "without"]
    assert (found["ratio"], found["ratio_low"], found["ratio_high"]) == (3, 2.5, 3.5)
    assert (found["seconds_with"], found["seconds_without"]) == (1, 4)
    assert found["seconds_to_warm_up"] == {"with": 9, "without": 9}
    assert found["turns"] == [[1, 2], [1, 4], [2, 6]]


def test_padding_is_counted(bench):
    batches = bench.batches()
    collate = PairCollator(bench.processor)
    lengths = [
        [sum(len(ids) + 2 for ids in _targets(collate, pair)) for pair in bench.pairs[start : start + 4]]
        for start in (0, 4)
    ]
    before = len(collate.prompt) - 1
    padding = sum(max(row) - length for row in lengths for length in row)
    assert measure_speed.padding_share(batches) == padding / sum(4 * (before + max(row)) for row in lengths)
    assert padding > 0


def _targets(collate, pair):
    return collate.processor.tokenizer(pair["captions"], add_special_tokens=False)["input_ids"]


def test_every_way_is_measured_and_written(words, tmp_path, capsys, monkeypatch):
    """All but the compiler, whose start alone takes longer than the rest."""
    monkeypatch.setattr(torch, "compile", lambda model: model)
    assert measure_speed.main([*words, "--threads", str(torch.get_num_threads())]) == 0
    report = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))
    assert list(report["figures"]) == list(WAYS)
    for name, found in report["figures"].items():
        assert found["what"] == WAYS[name].__doc__
        assert found["ratio"] == pytest.approx(statistics.median(other / own for own, other in found["turns"]))
    assert 0 < report["padding_share"] < 1
    assert report["settings"]["batch_size"] == 4
    assert f"Wrote {tmp_path / 'speed.json'}." in capsys.readouterr().out


def test_other_ways_stay_when_one_is_measured_again(words, tmp_path):
    assert measure_speed.main([*words, "--only", "packed", "static_cache"]) == 0
    stored = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))["figures"]
    assert measure_speed.main([*words, "--only", "static_cache"]) == 0
    found = json.loads((tmp_path / "speed.json").read_text(encoding="utf-8"))["figures"]
    assert list(found) == ["packed", "static_cache"]
    assert found["packed"] == stored["packed"]
    assert found["static_cache"]["turns"] != stored["static_cache"]["turns"]


def test_what_cannot_be_measured_is_said(words, capsys):
    assert measure_speed.main([*words, "--batch_size", "5"]) == 2
    assert "--batch_size must be even" in capsys.readouterr().err
    assert measure_speed.main([*words, "--model", "nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        measure_speed.main([*words, "--only", "magic"])
    assert "--only" in capsys.readouterr().err
