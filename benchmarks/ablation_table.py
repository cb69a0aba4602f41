# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays the results of `benchmarks/run_ablations.py` out as tables, and compares the runs pair by pair.

python benchmarks/ablation_table.py --runs_dir runs/ablations --data scenes/clevr_selection_prepared
python benchmarks/ablation_table.py            # the tables alone, from the stored files

The first form also writes `differences.json`: what every run gains or loses against the reference run of the same seed
on the same pairs, with paired bootstrap intervals; it needs the captions that the runs left behind.
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssgpa.data import load_prepared
from ssgpa.metrics.bootstrap import compare_systems
from ssgpa.metrics.report.build import light_rows
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.files import replacing
from ssgpa.utils.results import read_predictions, write_results


ROOT = Path(__file__).resolve().parent.parent
REFERENCE = "gated_dustbin"
DIFFERENCES = "differences.json"
FUSIONS = {"nofusion": "no fusion", "samecell": "same cell", "attention": "attention", "gated": "similarity-gated"}
ALIGNMENTS = {"noalignment": "no alignment", "softmax": "softmax attention", "dustbin": "transport with dustbin"}
Runs = Mapping[str, Sequence[Mapping[str, Any]]]


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="ablation_table.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results_dir", type=Path, default=ROOT / "benchmarks/results/ablations")
    parser.add_argument("--runs_dir", type=Path, help="checkpoints and captions of the runs")
    parser.add_argument("--data", help="prepared folder that the runs were scored on")
    parser.add_argument("--reference", default=REFERENCE, help="the run that the others are compared with")
    parsed = parser.parse_args(arguments)
    if bool(parsed.runs_dir) != bool(parsed.data):
        parser.error("--runs_dir and --data go together.")
    return parsed


def read_runs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The stored results by name, in the order of their seeds."""
    runs = defaultdict(list)
    for path in folder.glob("*-seed*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        runs[result["name"]].append(result)
    if not runs:
        raise FileNotFoundError(f"{folder} holds no results; make them with benchmarks/run_ablations.py.")
    return {name: sorted(found, key=lambda run: run["settings"]["seed"]) for name, found in sorted(runs.items())}


def compare_runs(runs: Runs, options: argparse.Namespace) -> dict[str, Any]:
    """Compare every run with the reference of its seed.

    Returns:
        `dict[str, Any]`: {name: {seed: {block: {metric: see `metrics.bootstrap.compare_statistics`}}}}.
    """
    split = runs[options.reference][0]["settings"]["scored_on"]["split"]
    rows = light_rows(load_prepared(options.data)[split])
    found: dict[str, Any] = {"reference": options.reference, "runs": {}}
    base = {run["settings"]["seed"]: captions_of(run, options.runs_dir) for run in runs[options.reference]}
    for name, results in runs.items():
        seeds = [run for run in results if run["settings"]["seed"] in base and name != options.reference]
        found["runs"][name] = {}
        for run in seeds:
            seed = run["settings"]["seed"]
            compared = compare_systems(rows, captions_of(run, options.runs_dir), base[seed])
            found["bootstrap"] = compared.pop("bootstrap")
            found["runs"][name][str(seed)] = compared
    return found


def captions_of(run: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Captions by pair id that a run left behind."""
    return read_predictions(folder / f"{run['name']}-seed{run['settings']['seed']}" / "evaluation.predictions.jsonl")[
        1
    ]


def mean_of(runs: Sequence[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], float]) -> str:
    """Mean over the seeds times 100, and the smallest and largest where there are several."""
    values = [100 * read(run) for run in runs]
    spread = f" ({min(values):.1f} to {max(values):.1f})" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"


def changed_cider(run: Mapping[str, Any]) -> float:
    """CIDEr-D on the changed pairs."""
    return run["scores"]["changed"]["cider"]


def type_accuracy(run: Mapping[str, Any]) -> float:
    """Share of the changed pairs whose caption names the right change type."""
    return run["change_type_accuracy"]["changed"]


def interval_of(runs: Sequence[Mapping[str, Any]]) -> str:
    """The bootstrap interval of the first seed's CIDEr-D."""
    low, high = runs[0]["scores"]["changed"]["intervals"]["cider"]
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def grid_table(runs: Runs) -> list[str]:
    """Fusion against alignment; CIDEr-D with its interval, and the share of right change types."""
    lines = [f"| fusion | {' | '.join(ALIGNMENTS.values())} |", f"|---|{'---|' * len(ALIGNMENTS)}"]
    for fusion, title in FUSIONS.items():
        cells = [runs.get(f"{fusion}_{alignment}") for alignment in ALIGNMENTS]
        texts = [
            f"{mean_of(found, changed_cider)} {interval_of(found)}, type {mean_of(found, type_accuracy)} %"
            if found
            else "-"
            for found in cells
        ]
        lines.append(f"| {title} | {' | '.join(texts)} |")
    return lines


def list_table(runs: Runs, differences: Mapping[str, Any]) -> list[str]:
    """Every run: sizes, scores, and the difference from the reference on the same pairs."""
    lines = [
        "| run | seeds | parameters | minutes | CIDEr-D, changed | type right | missed changes | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, found in runs.items():
        minutes = statistics.fmean(run["training"]["seconds"] for run in found) / 60
        # Seed by seed, with the paired interval.
        against = []
        for compared in differences.get("runs", {}).get(name, {}).values():
            cider = compared["changed"]["cider"]
            low, high = cider["interval"]
            against.append(f"{100 * cider['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
        cells = [
            name,
            ", ".join(str(run["settings"]["seed"]) for run in found),
            f"{found[0]['training']['parameters']:,}",
            f"{minutes:.1f}",
            f"{mean_of(found, changed_cider)} {interval_of(found)}",
            f"{mean_of(found, type_accuracy)} %",
            f"{mean_of(found, lambda run: run['no_change_rate']['changed'])} %",
            "; ".join(against) or "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def format_tables(runs: Runs, differences: Mapping[str, Any]) -> str:
    """The whole page."""
    first = next(iter(runs.values()))[0]
    scored, steps = first["settings"]["scored_on"], first["training"]["steps"]
    baseline = 100 * first["baselines"]["best_constant"]["changed"]
    head = [
        "# Ablations",
        "",
        f"Runs of {steps} steps, scored on {first['scores']['total']['n_items']} pairs of `{scored['data']}` "
        f"({scored['split']}); the best constant caption has CIDEr-D {baseline:.1f} on the changed pairs. Scores are "
        "times 100. In brackets the 95 % interval over resampled pairs for the first seed, in parentheses the "
        "smallest and largest over seeds. A missed change is a changed pair whose caption says that nothing changed. "
        "Made by `benchmarks/ablation_table.py` from the JSON files beside this page; the runs are those of "
        "`examples/configs/ablations/`.",
        "",
        "## Fusion and alignment",
        "",
    ]
    against = (
        f"Differences are against `{differences.get('reference', REFERENCE)}` of the same seed on the same pairs, "
        "with paired 95 % intervals."
    )
    rest = ["", "## All runs", "", against, "", *list_table(runs, differences), ""]
    return "\n".join([*head, *grid_table(runs), *rest])


def main(arguments: list[str] | None = None) -> int:
    """Write the page, and the differences where captions are at hand."""
    options = parse_arguments(arguments)
    try:
        runs, stored = read_runs(options.results_dir), options.results_dir / DIFFERENCES
        if options.runs_dir:
            write_results(stored, compare_runs(runs, options))
        differences = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else {}
        with replacing(options.results_dir / "README.md") as path:
            path.write_text(format_tables(runs, differences), encoding="utf-8")
    except (OSError, ValueError, KeyError) as error:
        return report_error("ablation_table.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
