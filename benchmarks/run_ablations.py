# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Trains and scores a list of runs one after the other, on the same data, seeds and budget.

python benchmarks/run_ablations.py examples/configs/ablations/*_*.yaml --data scenes/clevr_selection_prepared
python benchmarks/run_ablations.py examples/configs/ablations/gated_dustbin.yaml --data ... --seeds 1 2 3

Every YAML and seed gives `benchmarks/results/ablations/NAME-seedN.json`; one that is there is not run again, and an
interrupted run goes on from its last checkpoint. `benchmarks/ablation_table.py` lays the results out. No test split is
read.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from transformers.trainer_utils import get_last_checkpoint

from ssgpa.data.prepared import render_settings
from ssgpa.training.arguments import parse_arguments as parse_run
from ssgpa.training.arguments import yaml_to_arguments
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.results import library_versions, write_results


ROOT = Path(__file__).resolve().parent.parent
BLOCKS = ("total", "changed")
KEPT = ("scores", "no_change_rate", "distinct_captions", "change_type_accuracy", "bootstrap", "tokenizer", "decoding")


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(prog="run_ablations.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path, metavar="YAML", help="one run each")
    parser.add_argument("--data", required=True, help="prepared folder to score on")
    parser.add_argument("--split", default="validation", choices=["validation", "train"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--runs_dir", type=Path, default=Path("runs/ablations"), help="checkpoints and captions")
    parser.add_argument("--results_dir", type=Path, default=ROOT / "benchmarks/results/ablations")
    return parser.parse_args(arguments)


def settings_of(config: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """What tells one run from another: the YAML's values with those of its bases, the seed, and both data sets."""
    model, data, _ = parse_run([str(config)])
    return {
        "arguments": yaml_to_arguments(config),
        "seed": seed,
        "model_class": model.model_class,
        "train_data": {"data": data.data_dir, "render_settings": render_settings(data.data_dir)},
        "scored_on": {"data": options.data, "split": options.split, "render_settings": render_settings(options.data)},
    }


def call(script: str, *words: str) -> None:
    """Run one of the examples in a process of its own; its output goes to ours."""
    done = subprocess.run([sys.executable, str(ROOT / "examples" / script), *words], check=False)
    if done.returncode:
        raise RuntimeError(f"{script} ended with code {done.returncode} on {' '.join(words)}.")


def train(config: Path, seed: int, folder: Path) -> None:
    """Train one run, from its last checkpoint where there is one; a finished run is left alone."""
    if (folder / "trainer_state.json").exists():
        return
    resume = ["--resume_from_checkpoint", "true"] if folder.is_dir() and get_last_checkpoint(str(folder)) else []
    call("train.py", str(config), "--seed", str(seed), "--output_dir", str(folder), *resume)


def evaluate(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Caption and score; captions that are there are used again."""
    output, scored = folder / "evaluation.json", settings["scored_on"]
    words = ["--model", str(folder / "best"), "--data", scored["data"], "--split", scored["split"]]
    words += ["--output", str(output), "--tokenizer", "nltk", "--no_meteor", "--num_beams", "1", "--overwrite"]
    if settings["model_class"]:
        words += ["--model_class", settings["model_class"]]
    call("evaluate.py", *words)
    return json.loads(output.read_text(encoding="utf-8"))


def training_facts(folder: Path) -> dict[str, Any]:
    """Steps, seconds, sizes and the last logged losses of a run."""
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    sizes = json.loads((folder / "trainable_parameters.json").read_text(encoding="utf-8"))
    logged = [entry for entry in state["log_history"] if "loss" in entry]
    summary = next(entry for entry in reversed(state["log_history"]) if "train_runtime" in entry)
    return {
        "steps": state["global_step"],
        "seconds": summary["train_runtime"],
        "parameters": sizes["parameters"],
        "trainable": sizes["trainable"],
        "last_losses": {name: value for name, value in logged[-1].items() if name.startswith("loss")},
    }


def run(config: Path, seed: int, options: argparse.Namespace) -> Path:
    """One run, from training to its result file; returns the file."""
    name = f"{config.stem}-seed{seed}"
    path, folder = options.results_dir / f"{name}.json", options.runs_dir / name
    settings = settings_of(config, seed, options)
    if path.exists():
        if json.loads(path.read_text(encoding="utf-8"))["settings"] != json.loads(json.dumps(settings)):
            raise FileExistsError(
                f"{path} holds a run with other settings; move it away, or choose another --results_dir."
            )
        return path
    train(config, seed, folder)
    report = evaluate(folder, settings)
    constants = [baseline for baseline in report["baselines"].values() if baseline["caption"]]
    result = {
        "name": config.stem,
        "settings": settings,
        "training": training_facts(folder),
        **{key: report[key] for key in KEPT},
        # CIDEr-D of the best constant caption in each block.
        "baselines": {
            "best_constant": {
                block: max((found[block]["cider"] for found in constants if found.get(block)), default=None)
                for block in BLOCKS
            }
        },
        "versions": library_versions(),
    }
    write_results(path, result)
    return path


def main(arguments: list[str] | None = None) -> int:
    """Run the list; stop at the first failure with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    try:
        for seed in options.seeds:
            for config in options.configs:
                print(f"{run(config, seed, options)} is done.", flush=True)
    except (OSError, ValueError, RuntimeError) as error:
        return report_error("run_ablations.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
