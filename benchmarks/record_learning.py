# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
r"""Records that a small version of a system learns: its runs, what they cost, and its scores beside constant captions.

python examples/evaluate.py --model runs/scorer_clevr_tiny/best --data scenes/clevr_prepared --split test \
    --protocol clevr_change --num_beams 1 --output scorer.json
python benchmarks/record_learning.py scorer --configs examples/configs/scorer/clevr_tiny.yaml \
    --runs runs/scorer_clevr_tiny --results scorer.json --output benchmarks/results/learning.json

Of a system with several stages, name the YAML files and folders of all, in their order. A system has left the constant
baselines if the interval of its CIDEr-D on the changed pairs lies above the best of them.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.tables.learning_table import best_constant
from ssgpa.data.checks import read_json_object, read_stored_object
from ssgpa.training.arguments import read_yaml
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.results import read_results, write_results


KEPT = ("split", "protocol", "scores", "no_change_rate", "change_type_accuracy", "baselines", "upper_bounds")
KEPT += ("best_constant_baseline", "render_settings", "decoding", "throughput", "versions")


def read_run(config: Path, folder: Path) -> dict[str, Any]:
    """What a run was and what it cost.

    Args:
        config (`Path`): Its YAML file.
        folder (`Path`): Its `output_dir`.

    Returns:
        `dict[str, Any]`: `config`, `values` of the file and its bases, `steps`, `pairs` of all steps, `seconds` and
        the `log`.

    Raises:
        FileNotFoundError: The run has not ended, or there is none.
        ValueError: A file holds something else, or the run took other steps than its file tells.
    """
    values = {name: value for name, value in read_yaml(config).items() if value is not None}
    state = read_json_object(folder / "trainer_state.json")
    seconds = read_json_object(folder / "train_results.json")["train_runtime"]
    if values.get("max_steps") != state["global_step"]:
        raise ValueError(f"{folder} took {state['global_step']} steps, {config} tells {values.get('max_steps')}.")
    batch = values["per_device_train_batch_size"] * values.get("gradient_accumulation_steps", 1)
    return {
        "config": config.as_posix(),
        "values": values,
        "steps": state["global_step"],
        "pairs": state["global_step"] * batch,
        "seconds": seconds,
        "log": state["log_history"],
    }


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Add the options that name runs.

    Args:
        parser (`argparse.ArgumentParser`): Gets `--configs` and `--runs`.
    """
    parser.add_argument("--configs", required=True, nargs="+", type=Path, help="YAML files of the runs, in order")
    parser.add_argument("--runs", required=True, nargs="+", type=Path, help="their folders, in the same order")


def read_runs(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What the runs that are named were and cost, see `read_run`.

    Args:
        options (`argparse.Namespace`): `configs` and `runs`.

    Raises:
        ValueError: They are not as many.
    """
    if len(options.configs) != len(options.runs):
        raise ValueError(f"--configs names {len(options.configs)} files, --runs {len(options.runs)} folders.")
    return [read_run(*both) for both in zip(options.configs, options.runs, strict=True)]


def has_left_baselines(results: dict[str, Any]) -> bool:
    """Whether the whole interval of CIDEr-D on the changed pairs lies above the best constant caption.

    Args:
        results (`dict[str, Any]`): Of `examples/evaluate.py`.
    """
    return results["scores"]["changed"]["intervals"]["cider"][0] > best_constant(results)


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="record_learning.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("system", help="its name in the file of records")
    add_runs(parser)
    parser.add_argument("--results", required=True, type=Path, help="JSON of examples/evaluate.py on the last run")
    parser.add_argument("--output", required=True, type=Path, help="JSON file of all systems' records")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Write the record, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    try:
        runs = read_runs(options)
        results = read_results(options.results)
        record = {"runs": runs, "has_left_baselines": has_left_baselines(results)}
        record |= {name: results[name] for name in KEPT}
        stored = read_stored_object(options.output)
        write_results(options.output, dict(sorted((stored | {options.system: record}).items())))
    except (OSError, ValueError, KeyError) as error:
        return report_error("record_learning.py", error)
    told = "has left" if record["has_left_baselines"] else "has NOT left"
    sys.stdout.write(f"{options.system} {told} the constant baselines. Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
