# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lists the captions of changed pairs that are not correct, why, and what their scenes have in common.

python benchmarks/list_failures.py --predictions results.predictions.jsonl --data scenes/clevr_fresh_prepared \
    --output benchmarks/results/ssgpa-clevr-tiny-failures.json

The first fault of a caption counts: the change missed, then another type of change, another new value, a wrong
attribute, a relation that does not hold, a description that fits another object too. Beside the shares of faults stand
those of the scenes' traits, among failures and among all changed pairs. Needs the renderer's scenes in the prepared
folder.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.measure_throughput import settings_of
from ssgpa.data.prepared import load_prepared, scenes_of
from ssgpa.metrics.clevr.correctness import CHANGE, RELATION, Verdict, judge_caption
from ssgpa.metrics.clevr.scenes import SCENE, ChangedScene, add_scenes
from ssgpa.metrics.clevr.templates import ATTRIBUTES
from ssgpa.metrics.clevr.wordings import canonical_caption
from ssgpa.metrics.predictions import load_captions
from ssgpa.metrics.report.build import light_rows
from ssgpa.utils.console import OneLineParser, positive, report_error
from ssgpa.utils.results import library_versions, write_results


MISSED, UNREADABLE, TYPE, VALUE, AMBIGUOUS = (
    "says that nothing changed",
    "the grammar does not make such a sentence",
    "another type of change",
    "another new value",
    "fits another object too",
)
FALSE_RELATION = "the relation does not hold"
CROWDED = 7


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="list_failures.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--predictions", required=True, type=Path, help="captions, as examples/evaluate.py writes them"
    )
    parser.add_argument("--data", required=True, help="prepared folder with the renderer's scenes")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--count", type=positive, default=50, help="failures that are listed one by one")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    return parser.parse_args(arguments)


def fault_of(scene: ChangedScene, verdict: Verdict) -> str | None:
    """The first fault of a caption; None where it is correct."""
    caption = verdict.caption
    if verdict.is_correct:
        return None
    if caption is None:
        return UNREADABLE
    if caption.change_type == "none":
        return MISSED
    if not verdict.parts[CHANGE]:
        return TYPE if caption.change_type != scene.change_type else VALUE
    wrong = [name for name in ATTRIBUTES if not verdict.parts.get(name, True)]
    if wrong:
        return f"{' and '.join(sorted(wrong))} wrong"
    return AMBIGUOUS if verdict.parts.get(RELATION, True) else FALSE_RELATION


def _differences(scene: ChangedScene, thing: Mapping[str, Any]) -> int:
    return sum(thing[name] != scene.changed[name] for name in ATTRIBUTES)


# What may make a scene hard.
TRAITS: dict[str, Callable[[ChangedScene], bool]] = {
    "the changed object is small": lambda scene: scene.changed["size"] == "small",
    "it is a cube": lambda scene: scene.changed["shape"] == "cube",
    "it is a cylinder": lambda scene: scene.changed["shape"] == "cylinder",
    "it is a sphere": lambda scene: scene.changed["shape"] == "sphere",
    "it is metal": lambda scene: scene.changed["material"] == "metal",
    f"the scene has {CROWDED} objects or more": lambda scene: len(scene.objects) >= CROWDED,
    "another object differs in one attribute": lambda scene: any(
        _differences(scene, thing) == 1 for thing in scene.objects if thing["id"] != scene.target
    ),
    "another object has the same four attributes": lambda scene: scene.needs_relation,
}


def shares(scenes: Sequence[ChangedScene]) -> dict[str, float]:
    """Share of the scenes with each trait."""
    return {name: sum(map(holds, scenes)) / len(scenes) if scenes else 0.0 for name, holds in TRAITS.items()}


def list_failures(rows: Sequence[Mapping[str, Any]], captions: Mapping[str, str], count: int) -> dict[str, Any]:
    """Judge the captions of the changed pairs.

    Args:
        rows (`Sequence[Mapping[str, Any]]`): Records with their scenes.
        captions (`Mapping[str, str]`): Captions by pair.
        count (`int`): Failures that are listed.

    Returns:
        `dict[str, Any]`: Numbers of pairs and failures, of faults in all and by change type, shares of traits, and the
        first failures.

    Raises:
        ValueError: No pair has a scene.
    """
    changed = [row for row in rows if row.get(SCENE)]
    if not changed:
        raise ValueError("no changed pair has a scene of the renderer by which captions could be judged")
    failures = []
    for row in changed:
        scene, text = row[SCENE], " ".join(captions[row["pair_id"]].lower().split())
        fault = fault_of(scene, judge_caption(scene, text))
        if fault is not None:
            failures.append((row, fault))
    kinds = sorted({row["change_type"] for row in changed})
    return {
        "pairs": len(changed),
        "failures": len(failures),
        "faults": dict(Counter(fault for _, fault in failures).most_common()),
        "faults_by_type": {
            kind: dict(Counter(fault for row, fault in failures if row["change_type"] == kind).most_common())
            for kind in kinds
        },
        "traits": {
            "failures": shares([row[SCENE] for row, _ in failures]),
            "changed": shares([row[SCENE] for row in changed]),
        },
        "listed": [
            {
                "pair_id": row["pair_id"],
                "change_type": row["change_type"],
                "fault": fault,
                "caption": captions[row["pair_id"]],
                "true": canonical_caption(row[SCENE]),
            }
            for row, fault in failures[:count]
        ],
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Read, judge and write."""
    scenes = scenes_of(options.data)
    if scenes is None:
        raise ValueError(f"{options.data} was prepared without the renderer's scenes")
    rows = add_scenes(light_rows(load_prepared(options.data)[options.split]), scenes)
    kept, captions, _ = load_captions(options.predictions, rows)
    results = list_failures(kept, captions, options.count)
    write_results(options.output, results | {"settings": settings_of(options), "versions": library_versions()})
    return results


def main(arguments: list[str] | None = None) -> int:
    """List failures, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(arguments)
    try:
        found = run(options)
    except (OSError, ValueError) as error:
        return report_error("list_failures.py", error)
    lines = [f"{found['failures']} of {found['pairs']} captions are not correct. Wrote {options.output}."]
    lines += [f"{number:5} {name}" for name, number in found["faults"].items()]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
