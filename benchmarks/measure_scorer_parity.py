# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Compare SCORER with what the authors' released code computes of the same weights and inputs.

The other side is run elsewhere, and gives two files. One is a checkpoint in its own format, with the state of backward
reasoning, which that code never saves, as `generator_state`. The other is a safetensors file with what it read,
`inputs.{before,after,distractor}` (scenes, 1024, 14, 14) and `inputs.{change,no_change}_ids` (scenes, 24); what it
made of it without dropout, `outputs.{change,no_change}.NAME` with the names of `OUTPUTS` and `LOSSES` below, `greedy`
and `outputs.total`; and the gradients of the total, `gradients.PART.NAME`.

    python benchmarks/measure_scorer_parity.py --checkpoint checkpoint.pt --reference reference.safetensors \
        --repository tuyunbin/SCORER --commit 2525039f7c492bed2d986ef07507122ce8313440 \
        --output benchmarks/results/scorer-parity.json
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ssgpa.baselines.scorer import SCORERForConditionalGeneration
from ssgpa.baselines.scorer.conversion_scorer import rename_weights
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.results import library_versions, write_results


HALVES = {"change": "after", "no_change": "distractor"}
OUTPUTS = ("encoder", "images_before", "images_after", "similarity_before", "similarity_after", "states", "logits")
LOSSES = ("caption", "cross_view", "cross_modal")
BOUND = 1e-4
START, END = 2, 3


def batch_of(reference: dict[str, Tensor]) -> dict[str, Tensor]:
    """Both halves as one batch: all changed pairs, then all unchanged ones."""
    grids = [[reference["inputs.before"], reference[f"inputs.{image}"]] for image in HALVES.values()]
    features = torch.cat([torch.stack(pair, 1) for pair in grids]).flatten(3).transpose(2, 3)
    ids = torch.cat([reference[f"inputs.{half}_ids"] for half in HALVES])
    return {
        "vision_features": features.contiguous(),
        "input_ids": ids,
        "attention_mask": (ids != 0).long(),
        "labels": ids.masked_fill((ids == 0) | (ids == START), -100),
        "scene_ids": torch.arange(len(ids) // 2).repeat(2),
    }


def compute(model: SCORERForConditionalGeneration, batch: dict[str, Tensor]) -> dict[str, Any]:
    """What the model makes of the batch, by the names of the reference; gradients stay in the model."""
    scenes = len(batch["input_ids"]) // 2
    outputs = model.train()(**batch)
    outputs.loss.backward()
    weights = {"cross_view": model.config.cross_view_weight, "cross_modal": model.config.cross_modal_weight}
    found = {f"mean.{name}": outputs.loss_parts[name].detach() / weights.get(name, 1.0) for name in LOSSES}
    found["total"] = outputs.loss.detach()
    with torch.no_grad():
        features = outputs.image_outputs
        states = model.model(**{name: value for name, value in batch.items() if name not in ("labels", "scene_ids")})
        inputs = {"input_ids": batch["input_ids"][:, :1], "vision_features": batch["vision_features"]}
        longest = model.config.max_position_embeddings
        greedy = model.eval().generate(**inputs, num_beams=1, do_sample=False, max_new_tokens=longest - 1)
    for number, half in enumerate(HALVES):
        rows = slice(number * scenes, (number + 1) * scenes)
        queries, keys = (side[rows].detach() for side in features.matching)
        similarity = [model.contrast.similarity(queries[:, side], keys[:, 1 - side]).detach() for side in (0, 1)]
        values = (
            features.last_hidden_state[rows],
            *features.images[rows].unbind(1),
            *similarity,
            states.last_hidden_state[rows],
            outputs.logits[rows],
        )
        found |= {f"{half}.{name}": value.detach() for name, value in zip(OUTPUTS, values, strict=True)}
        found[f"{half}.greedy"] = [caption_of(row) for row in greedy[rows].tolist()]
    return found


def caption_of(ids: list[int]) -> list[int]:
    """Tokens behind the start and before the end."""
    ids = ids[1:]
    return ids[: next((place for place, token in enumerate(ids) if token in (0, END)), len(ids))]


def largest_difference(found: Tensor, wanted: Tensor) -> float:
    """Largest absolute difference."""
    return (found - wanted).abs().max().item()


def compare(found: dict[str, Any], reference: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Any]:
    """Both sides' figures, and how far they are apart."""
    result: dict[str, Any] = {"outputs": {}, "losses": {}, "captions": {}}
    valid = batch["attention_mask"].bool().chunk(2)
    for number, half in enumerate(HALVES):
        for name in OUTPUTS:
            theirs, ours = reference[f"outputs.{half}.{name}"], found[f"{half}.{name}"]
            if name in ("states", "logits"):  # behind the end of a caption nothing counts
                theirs, ours = theirs[valid[number]], ours[valid[number]]
            result["outputs"][f"{half}.{name}"] = {
                "ours_mean_abs": ours.abs().mean().item(),
                "theirs_mean_abs": theirs.abs().mean().item(),
                "largest_difference": largest_difference(ours, theirs),
            }
        theirs = [caption_of(row) for row in reference[f"outputs.{half}.greedy"].tolist()]
        result["captions"][half] = {"ours": found[f"{half}.greedy"], "theirs": theirs}
    for name in (*LOSSES, "total"):
        if name == "total":
            ours, theirs = found["total"].item(), reference["outputs.total"].item()
        else:
            ours = found[f"mean.{name}"].item()
            theirs = sum(reference[f"outputs.{half}.{name}"].item() for half in HALVES) / 2
        result["losses"][name] = {"ours": ours, "theirs": theirs, "largest_difference": abs(ours - theirs)}
    return result


def compare_gradients(model: SCORERForConditionalGeneration, reference: dict[str, Tensor]) -> dict[str, Any]:
    """Differences of the total's gradients, of each part's parameters."""
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in reference.items():
        kind, _, rest = name.partition(".")
        if kind == "gradients":
            part, _, parameter = rest.partition(".")
            parts.setdefault(part, {})[parameter] = value
    ours = {name: parameter.grad for name, parameter in model.named_parameters()}
    result = {}
    for part, gradients in parts.items():
        # Gradients have the shapes of weights, and go the same way.
        theirs = rename_weights(gradients, part, model.config)
        result[part] = {
            "largest_gradient": max(value.abs().max().item() for value in theirs.values()),
            "largest_difference": max(largest_difference(ours[name], value) for name, value in theirs.items()),
        }
    return result


def measure(checkpoint: Path, reference: dict[str, Tensor]) -> dict[str, Any]:
    """Compare everything; `passed` tells whether all of it is within `BOUND` and all captions are equal."""
    batch = batch_of(reference)
    # Trained, so that its gradients can be compared too; no other figure depends on it.
    options = {"attention_dropout": 0.0, "hidden_dropout": 0.0, "train_backward_reasoning": True}
    model = SCORERForConditionalGeneration.from_original(checkpoint, **options)
    result = compare(compute(model, batch), reference, batch)
    result["gradients"] = compare_gradients(model, reference)
    differences = [
        entry["largest_difference"] for part in ("outputs", "losses", "gradients") for entry in result[part].values()
    ]
    same = all(both["ours"] == both["theirs"] for both in result["captions"].values())
    return {"bound": BOUND, "passed": same and max(differences) <= BOUND, "scenes": len(batch["labels"]) // 2} | result


def main(words: list[str] | None = None, measured: Callable = measure) -> int:
    """Write the comparison; exit with 1 where the sides differ, and with 2 and one line after an error."""
    parser = OneLineParser(prog="measure_scorer_parity.py", description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=Path, required=True, help="in the format of the released code")
    parser.add_argument("--reference", type=Path, required=True, help="what the released code read and computed")
    parser.add_argument("--repository", required=True, help="owner/name of the other side's repository")
    parser.add_argument("--commit", required=True, help="its commit")
    parser.add_argument("--output", type=Path, required=True, help="a JSON file")
    arguments: argparse.Namespace = parser.parse_args(words)
    try:
        torch.manual_seed(0)
        sides = {"other_repository": arguments.repository, "other_commit": arguments.commit}
        result = sides | measured(arguments.checkpoint, load_file(arguments.reference))
        write_results(arguments.output, result | {"versions": library_versions()})
    except (OSError, ValueError, KeyError) as error:
        return report_error("measure_scorer_parity.py", error)
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
