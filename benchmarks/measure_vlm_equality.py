# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Checks on a tiny random VLM of every family that SSGPA's untrained parts change nothing, and that nothing is lost.

python benchmarks/measure_vlm_equality.py --output benchmarks/results/vlm-equality.json
python benchmarks/measure_vlm_equality.py --families llava smolvlm --output it.json

Equal means every bit; of gradients under checkpointing the largest difference is told, as a share of the largest
gradient. A batch holds two pairs and two prompts of different length. The file keeps what was found on other versions
of Transformers and for other families and checks, so that several runs fill it.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ssgpa.benchmarks.tiny_vlms import (
    TINY_VLMS,
    build_vlm,
    open_parts,
    plain_inputs,
    save_vlm,
    tiny_pairs,
    tiny_prompts,
    wrap_vlm,
)
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.lora import add_lora, complete_checkpoint, wrap_model
from ssgpa.training.systems import set_trainable
from ssgpa.utils.console import OneLineParser, be_quiet, report_error
from ssgpa.utils.loading import load_system
from ssgpa.utils.results import library_versions, write_results
from ssgpa.vlm import SSGPAForVLM


TOKENS = 8
SIDES = ("left", "right")
LORA = json.dumps({"r": 2, "target_modules": r"vlm\..*(language_model|text_model)\..*\.(q_proj|v_proj)"})
NEW = ["^change_fusion_adapter", "^alignment", "^contrast"]
STEPS = 2
# Sums of float32 in another order are this close.
ROUNDING = 1e-6


def both(family: str, dtype: torch.dtype = torch.float32) -> tuple[PreTrainedModel, SSGPAForVLM]:
    """A plain tiny VLM, and the same with SSGPA's untrained parts.

    Args:
        family (`str`): A key of `TINY_VLMS`.
        dtype (`torch.dtype`, *optional*): Of the weights.
    """
    return build_vlm(family, dtype=dtype), wrap_vlm(build_vlm(family, dtype=dtype), family)


@torch.no_grad()
def same_logits(vlm: PreTrainedModel, model: Any, inner: SSGPAForVLM, family: str) -> bool:
    """Whether a plain VLM and a model around it give the same logits, padded left and right."""
    pixels, same = tiny_pairs(family), []
    for side in SIDES:
        prompts = tiny_prompts(inner, family, side)
        plain = vlm(**plain_inputs(inner.config.port, vlm.config, pixels.to(vlm.dtype), prompts)).logits
        same.append(torch.equal(model(pixel_values=pixels, **prompts).logits, plain))
    return all(same)


def untrained(family: str, dtype: torch.dtype) -> bool:
    """Whether the untrained model's logits are the plain VLM's."""
    vlm, model = both(family, dtype)
    return same_logits(vlm, model, model, family)


def captions(family: str, beams: int) -> bool:
    """Whether the untrained model's captions are the plain VLM's, also from images that were encoded before."""
    vlm, model = both(family)
    pixels, prompts = tiny_pairs(family), tiny_prompts(model, family)
    options = {"max_new_tokens": TOKENS, "do_sample": False, "num_beams": beams}
    wanted = vlm.generate(**plain_inputs(model.config.port, vlm.config, pixels, prompts), **options)
    encoded = {"image": model.get_image_features(pixels)}
    found = [model.generate(pixel_values=pixels, **prompts, **options)]
    found += [model.generate(mm_encoder_outputs=encoded, **prompts, **options) for _ in range(2)]
    return all(torch.equal(ids, wanted) for ids in found)


def gradients(model: SSGPAForVLM, family: str) -> dict[str, Tensor]:
    """Gradients of one training step with all losses, by name."""
    model.zero_grad()
    torch.manual_seed(0)
    prompts = tiny_prompts(model, family, "right", captions=True)
    model(pixel_values=tiny_pairs(family), **prompts).loss.backward()
    return {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}


def checkpointing(family: str) -> float:
    """Largest difference that gradient checkpointing makes to a gradient, as a share of the largest gradient."""
    model = open_parts(wrap_vlm(build_vlm(family), family)).train()
    wanted = gradients(model, family)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    found = gradients(model, family)
    if found.keys() != wanted.keys():
        raise ValueError(f"{family}: other parameters have gradients under checkpointing.")
    moved = max(float((found[name] - value).abs().max()) for name, value in wanted.items())
    return moved / max(float(value.abs().max()) for value in wanted.values())


def untrained_lora(family: str) -> bool:
    """Whether the untrained model under LoRA gives the plain VLM's logits, both with frozen weights."""
    vlm, model = both(family)
    # PyTorch rounds a product otherwise where the weight asks for gradients (Cohere2's connector, by 1e-7).
    vlm.requires_grad_(False)
    tuned = wrap_model(model, LORA, set_trainable(model, NEW, set())).eval()
    return same_logits(vlm, tuned, model, family)


@torch.no_grad()
def same_outputs(first: Any, second: Any, inputs: dict[str, Tensor]) -> bool:
    """Whether two models give the same logits and change maps."""
    one, other = (model(**inputs, output_evidence=True) for model in (first, second))
    maps = one.evidence.change_map, other.evidence.change_map
    return torch.equal(one.logits, other.logits) and torch.equal(*maps)


def save_and_load(family: str) -> bool:
    """Whether a saved model comes back with the same outputs."""
    model = open_parts(wrap_vlm(build_vlm(family), family))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        again = SSGPAForVLM.from_pretrained(folder)
    return same_outputs(model, again, {"pixel_values": tiny_pairs(family), **tiny_prompts(model, family)})


def thin_checkpoint(family: str) -> bool:
    """Whether LoRA and the new parts, trained for some steps, come back over the plain VLM with the same outputs."""
    fields = {"patch_grid": [3, 4], "fusion_layers": 1, "fusion_hidden_size": 8, "alignment_hidden_size": 16}
    fields["image_size"] = list(TINY_VLMS[family][1])
    with tempfile.TemporaryDirectory() as name:
        base, folder = save_vlm(family, Path(name) / "base"), Path(name) / "tuned"
        model, processor = load_system(str(base), **fields)
        arguments = ModelArguments(model_name_or_path=str(base), config_overrides=json.dumps(fields), lora=LORA)
        tuned = add_lora(open_parts(model), arguments, set_trainable(model, NEW, set())).train()
        inputs = {"pixel_values": tiny_pairs(family), **tiny_prompts(model, family, captions=True)}
        optimizer = torch.optim.SGD([value for value in tuned.parameters() if value.requires_grad], lr=0.1)
        for _ in range(STEPS):
            optimizer.zero_grad()
            tuned(**inputs).loss.backward()
            optimizer.step()
        tuned.eval().save_pretrained(folder)
        processor.save_pretrained(folder)
        complete_checkpoint(tuned, folder)
        again, _ = load_system(str(folder))
        return same_outputs(tuned, again, inputs)


@torch.no_grad()
def change_map(family: str) -> bool:
    """Whether change maps have the configuration's grid, coarser or finer than the VLM's, and lie in [0, 1]."""
    found = []
    for grid in ((1, 2), (3, 4), (8, 8)):
        model = open_parts(wrap_vlm(build_vlm(family), family, patch_grid=grid))
        maps = model.get_image_features(tiny_pairs(family)).evidence.change_map
        found.append(maps.shape == (2, 2, *grid) and maps.min() >= 0 and maps.max() <= 1)
    return all(found)


def is_equal(found: bool | float) -> bool:
    """Whether a check found no difference, or no more than rounding makes.

    Args:
        found (`bool` or `float`): Of a check.
    """
    return found if isinstance(found, bool) else found <= ROUNDING


CHECKS: dict[str, Callable[[str], bool | float]] = {
    "float32": lambda family: untrained(family, torch.float32),
    "bfloat16": lambda family: untrained(family, torch.bfloat16),
    "greedy": lambda family: captions(family, 1),
    "beams": lambda family: captions(family, 3),
    "lora": untrained_lora,
    "checkpointing": checkpointing,
    "save_and_load": save_and_load,
    "thin_checkpoint": thin_checkpoint,
    "change_map": change_map,
}


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=sorted(TINY_VLMS), default=sorted(TINY_VLMS))
    parser.add_argument("--checks", nargs="+", choices=sorted(CHECKS), default=list(CHECKS))
    parser.add_argument("--output", type=Path, required=True, help="JSON file; other versions' results are kept")
    return parser.parse_args(arguments)


def measure(families: list[str], checks: list[str]) -> dict[str, dict[str, bool | float]]:
    """Run checks on families; tells each family as it is done."""
    found = {}
    for family in families:
        found[family] = {name: CHECKS[name](family) for name in checks}
        wrong = [name for name, value in found[family].items() if not is_equal(value)]
        sys.stdout.write(f"{family}: {'not equal: ' + ', '.join(wrong) if wrong else 'equal'}\n")
        sys.stdout.flush()
    return found


def main(arguments: list[str] | None = None) -> int:
    """Check, and answer errors with one line on stderr and exit code 2; 1 where something is not equal."""
    options = parse_arguments(arguments)
    be_quiet()
    torch.set_num_threads(1)
    try:
        runs = json.loads(options.output.read_text("utf-8"))["runs"] if options.output.is_file() else {}
        found = measure(options.families, options.checks)
        known = runs.get(version("transformers"), {"families": {}})["families"]
        families = known | {family: known.get(family, {}) | checks for family, checks in found.items()}
        runs[version("transformers")] = {"families": families, "versions": library_versions()}
        write_results(options.output, {"runs": dict(sorted(runs.items())), "tokens": TOKENS, "steps": STEPS})
    except (OSError, ValueError) as error:
        return report_error("measure_vlm_equality.py", error)
    return int(not all(is_equal(value) for checks in found.values() for value in checks.values()))


if __name__ == "__main__":
    sys.exit(main())
