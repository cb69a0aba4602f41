# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Figures of speed as tables."""

import json

from ssgpa.benchmarks.readme_table import BLOCKS, NO_FIGURES, read_block


FOUND = {
    "what": "One, or five.",
    "ratio": 2.345,
    "ratio_low": 2.1,
    "ratio_high": 2.5,
    "seconds_with": 1.0,
    "seconds_without": 2.4,
}
SETTINGS = {"batch_size": 32, "captions_per_pair": 3, "steps": 4, "turns": 5, "bf16": True}
CHANGE = {"before": 10.0, "after": 15.04, "ratio": 1.5, "ratio_low": 1.4, "ratio_high": 1.6}
RATES = ("training_pairs_per_second", "captions_per_second_beams_1", "captions_per_second_beams_5")


def read_blocks(folder):
    return {name: read_block(folder / BLOCKS[name][0], BLOCKS[name][1]) for name in ("speed", "speed-change")}


def test_tables_tell_what_is_stored(tmp_path):
    assert set(read_blocks(tmp_path).values()) == {NO_FIGURES}
    ways = {"figures": {"shared": FOUND}, "padding_share": 0.0512, "settings": SETTINGS, "threads": 2, "cpu": "A CPU"}
    (tmp_path / "speed.json").write_text(json.dumps(ways), encoding="utf-8")
    commits = {"before": "a" * 40, "after": "b" * 40}
    change = {"figures": dict.fromkeys(RATES, CHANGE), "commits": commits, "settings": SETTINGS, "cpu": "A CPU"}
    (tmp_path / "speed-before-after.json").write_text(json.dumps(change), encoding="utf-8")
    blocks = read_blocks(tmp_path)
    assert "| `shared`: One, or five. | x 2.35 (2.10 to 2.50) | 1.00 | 2.40 |" in blocks["speed"]
    assert "5.1 % are padding" in blocks["speed"]
    assert "under bf16 autocast" in blocks["speed"]
    assert blocks["speed"].endswith("A CPU. From `benchmarks/results/speed.json`.")
    assert "| captions per second, 5 beams | 10.0 | 15.0 | x 1.50 (1.40 to 1.60) |" in blocks["speed-change"]
    assert "Commit `aaaaaaa` and commit `bbbbbbb`" in blocks["speed-change"]
