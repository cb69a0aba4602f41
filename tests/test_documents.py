# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The pages in `docs`: what they name and link to is there."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import ssgpa
from ssgpa import alignment_ssgpa, modeling_ssgpa

from .ssgpa_cases import LOSSES
from .tiny_systems import TINY_SYSTEMS


ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
MODEL = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")


def table(heading):
    """The first column and the cells of the table below a heading."""
    text = MODEL.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    targets = [target for target in targets if not target.startswith("http")]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_images_are_small_enough_to_load():
    for path in (ROOT / "docs").glob("*.png"):
        assert path.stat().st_size < 300_000
        assert Image.open(path).width <= 1600


def test_the_parts_of_the_model_are_its_classes():
    names = [name for row in table("Part by part").values() for name in re.findall(r"`(\w+)`", row[-1])]
    assert len(names) >= 5
    assert [name for name in names if not hasattr(modeling_ssgpa, name)] == []
    described = re.findall(r"^- `(\w+)`", MODEL.split("Read off the plan:")[1].split("\n## ")[0], re.MULTILINE)
    fields = alignment_ssgpa.ChangeEvidence.__dataclass_fields__
    assert described
    assert set(described) <= set(fields)


def test_the_losses_are_those_of_the_model():
    names = {name.strip("`") for name in table("What it learns from")}
    assert names == set(LOSSES)
    fields = ssgpa.SSGPAConfig.__dataclass_fields__
    assert {f"{name}_weight" for name in names} <= set(fields)


def test_what_a_new_system_needs_is_what_the_systems_have():
    """Every call that the page names, on every system."""
    for build in TINY_SYSTEMS.values():
        model, processor = build()
        image = Image.new("RGB", (48, 32), "red")
        batch = processor(images=[[image, image]], suffix=["the cube moved"], return_tensors="pt")
        output = model(**batch)
        if output.loss_parts is not None:
            assert sum(output.loss_parts.values()).item() == pytest.approx(output.loss.item(), rel=1e-5)
        inputs = processor(images=[[image, image]], return_tensors="pt")
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=3)
        assert len(processor.post_process_captions(ids, inputs)) == 1
