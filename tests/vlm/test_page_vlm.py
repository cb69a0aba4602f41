# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What docs/vlm.md shows: the families, its snippet on a tiny model, and its runs."""

import re
import runpy

from ssgpa.benchmarks.measure_vlm_memory import run_names, run_of
from ssgpa.benchmarks.tables.vlm_tables import format_vlm_cost, format_vlm_memory
from ssgpa.benchmarks.tiny_vlms import save_vlm
from ssgpa.vlm.ports_ssgpa_vlm import PORTS

from ..documents import ROOT, read, snippets


PAGE = ROOT / "docs" / "vlm.md"


def table(heading):
    """Cells of the table below a heading."""
    text = read(PAGE).split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `") and "| `model_type`" not in line]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_the_families_are_those_that_have_a_port():
    assert [row[0] for row in table("Supported families")] == sorted(PORTS)


def test_the_runs_are_those_that_there_are():
    rows = {row[0]: row[1] for row in table("Runs")}
    assert rows == {
        f"examples/configs/vlm/{name}.yaml": run_of(name, "ssgpa").model.model_name_or_path for name in run_names()
    }


def test_the_snippet_runs_on_a_tiny_model(tmp_path, monkeypatch, capsys):
    (snippet,) = snippets(PAGE)
    monkeypatch.chdir(ROOT)
    name = re.search(r'vlm = "([^"]+)"', snippet.code)[1]
    code = snippet.code.replace(name, str(save_vlm("idefics3", tmp_path / "vlm")))
    # As wide as the tiny tower allows.
    code = code.replace("patch_grid=[16, 16]", "patch_grid=[4, 4], fusion_hidden_size=8")
    code = code.replace('"patch_grid": [16, 16]', '"patch_grid": [4, 4], "fusion_hidden_size": 8')
    path = tmp_path / "snippet.py"
    path.write_text(code, encoding="utf-8")
    runpy.run_path(str(path))
    assert capsys.readouterr().out


def test_plain_lora_has_no_new_parts():
    plain = run_of("smolvlm_256m", "plain LoRA").model
    assert plain.trainable == ["none"]
    assert plain.lora == run_of("smolvlm_256m", "ssgpa").model.lora


def test_tables_say_what_the_figures_say():
    rows = [
        {"run": "a", "way": way, "batch_size": size, "tokens_per_pair": 9, "gib": {"total": size + extra}}
        for way, extra in (("ssgpa", 0.5), ("plain LoRA", 0.25))
        for size in (1, 4)
    ]
    assert "| a | 9 | 1.50 / 1.25 | 4.50 / 4.25 |" in format_vlm_memory({"rows": rows}, "x.json")
    assert "4.50 / - |" in format_vlm_memory({"rows": rows[:-1]}, "x.json")
    row = {"model": "a", "patch_grid": [4, 4], "layers": 2, "published_layers": 3, "new_parameters": 10}
    row |= {"new_bytes": 40, "plain_seconds": 2.0, "ssgpa_seconds": 3.0}
    text = format_vlm_cost({"rows": [row], "threads": 1, "dtype": "float32", "repeats": 3}, "x.json")
    assert "| a | 4 x 4 | 2.00 | 3.00 | 50 % | 10 | 40 |" in text
    assert "2 of its 3 language layers" in text
