# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
r"""Trains every system on the same work and scores all on the same pairs: the comparison.

python benchmarks/run.py examples/configs/comparison/ssgpa.yaml examples/configs/comparison/clip4idc.yaml \
    --data scenes/clevr_fresh_prepared --scenes scenes/clevr_fresh/scenes.jsonl --seeds 1

Every YAML and seed gives an entry of `benchmarks/results/comparison.json`; one that is there is not run again, and an
interrupted run goes on from its last checkpoint. The last step's weights are scored, once: nothing is chosen by the
pairs that are scored. All are compared with the first YAML's captions of the same seed, pair by pair.
`benchmarks/readme_table.py` lays the results out.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.record_learning import KEPT, has_left_baselines, read_run
from ssgpa.benchmarks.run_ablations import ROOT, call, train
from ssgpa.data.checks import read_json_object, read_stored_object
from ssgpa.data.prepared import render_settings
from ssgpa.training.arguments import parse_arguments as parse_run
from ssgpa.training.arguments import read_yaml
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.results import read_results, write_results


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(prog="run.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("configs", nargs="+", type=Path, metavar="YAML", help="one system each; the first is ours")
    parser.add_argument("--data", required=True, help="prepared folder of scenes that no run has seen")
    parser.add_argument("--scenes", type=Path, help="their scenes.jsonl; by default the data's own")
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--runs_dir", type=Path, default=Path("runs/comparison"), help="checkpoints and captions")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks/results/comparison.json")
    return parser.parse_args(arguments)


def settings_of(config: Path, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """What tells one run from another: the file's values with those of its bases, the seed, and both data sets.

    Args:
        config (`Path`): YAML file of the run.
        seed (`int`): Of the run.
        options (`argparse.Namespace`): Of the command line.
    """
    values = {name: value for name, value in read_yaml(config).items() if value is not None}
    return {
        "values": values,
        "seed": seed,
        "trained_on": render_settings(values["data_dir"]),
        "scored_on": {"split": options.split, "render_settings": render_settings(options.data)},
    }


def evaluate(config: Path, folder: Path, ours: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Caption and score the last step's weights; captions that are there are used again.

    Args:
        config (`Path`): YAML file of the run.
        folder (`Path`): Of the run.
        ours (`Path`): Folder of the run that this one is compared with.
        options (`argparse.Namespace`): Of the command line.
    """
    model, _, _ = parse_run([str(config)])
    output = folder / "evaluation.json"
    words = ["--model", str(folder / "best"), "--data", options.data, "--split", options.split, "--num_beams", "1"]
    words += ["--protocol", "clevr_change", "--no_trust", "--no_meteor", "--output", str(output), "--overwrite"]
    words += ["--scenes", str(options.scenes)] if options.scenes else []
    words += ["--compare", str(ours / "evaluation.predictions.jsonl")] if ours != folder else []
    words += ["--model_class", model.model_class] if model.model_class else []
    call("evaluate.py", *words)
    return read_results(output)


def run(config: Path, seed: int, options: argparse.Namespace) -> str:
    """One run, from training to its entry in the results; returns the entry's name.

    Args:
        config (`Path`): YAML file of the run.
        seed (`int`): Of the run.
        options (`argparse.Namespace`): Of the command line.

    Raises:
        FileExistsError: The entry that is there is of other settings.
    """
    name = f"{config.stem}-seed{seed}"
    folder = options.runs_dir / name
    settings = json.loads(json.dumps(settings_of(config, seed, options)))
    if name in (stored := read_stored_object(options.output)):
        if stored[name]["settings"] != settings:
            raise FileExistsError(f"{options.output} holds {name} with other settings; choose another --output.")
        return name
    train(config, seed, folder)
    cost = folder / "step.json"
    if not cost.exists():
        call("../benchmarks/measure_step.py", str(config), "--output", str(cost))
    results = evaluate(config, folder, options.runs_dir / f"{options.configs[0].stem}-seed{seed}", options)
    found = {
        "system": config.stem,
        "settings": settings,
        "has_left_baselines": has_left_baselines(results),
        "training": {key: value for key, value in read_run(config, folder).items() if key != "values"},
        "step": read_json_object(cost),
        **{key: results[key] for key in (*KEPT, "correctness", "oracles")},
        "comparison": results.get("comparison"),
    }
    # Read anew: another list may have ended a run meanwhile.
    write_results(options.output, dict(sorted((read_stored_object(options.output) | {name: found}).items())))
    return name


def main(arguments: list[str] | None = None) -> int:
    """Run the list; stop at the first failure with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    try:
        for seed in options.seeds:
            for config in options.configs:
                sys.stdout.write(f"{run(config, seed, options)} is in {options.output}.\n")
                sys.stdout.flush()
    except (OSError, ValueError, RuntimeError) as error:
        return report_error("run.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
