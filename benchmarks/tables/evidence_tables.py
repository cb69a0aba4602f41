# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out what was measured of the alignment, where it points and what it costs, as Markdown for README.md."""

from collections.abc import Mapping
from statistics import median
from typing import Any


TYPES = ("color", "material", "add", "drop", "move")
# The rows of the table: the map's name in the file, and what the reader is told.
ROWS = {
    "chance": "chance: a cell drawn at random",
    "reachable": "upper bound: a perfect map on this grid",
    "change_map": "**change map**, as shown to users",
    "content": "its first cue: change of direction from what transport brings",
    "motion_cue": "its second cue: object motion",
    "residual": "transport's residual, length",
    "softmax_attention": "control: softmax attention's residual, length",
    "same_cell": "control: same-cell difference of the tower's features",
    "unmatched_mass": "unmatched mass alone",
    "counterpart": "change of direction in the matching space alone",
    "largest_of_three": "the former change map: the largest of the two lines above and object motion",
}


# The laws below the table of costs, by their names in the file.
FITTED = {
    "forward_seconds": "forward",
    "forward_backward_seconds": "forward and backward",
    "saved_bytes": "memory",
}


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _signed(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"{100 * found['mean']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def format_localization(figures: Mapping[str, Any], source: str) -> str:
    """One row a map, and what the columns mean.

    Args:
        figures (`Mapping[str, Any]`): The JSON of `benchmarks/measure_localization.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown.
    """
    heads = ["percent", *TYPES, "all", "touching", "AUC", "told apart"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, label in ROWS.items():
        pointing, auc, apart = figures["pointing"][name], figures["auc"].get(name), figures["told_apart"].get(name)
        low, high = pointing["all"]["interval"]
        cells = [
            *(_percent(pointing[kind]["mean"]) if kind in pointing else "-" for kind in TYPES),
            f"{_percent(pointing['all']['mean'])} [{_percent(low)}, {_percent(high)}]",
            _percent(figures["touching"][name]["all"]["mean"]),
            "-" if auc is None else _percent(auc["all"]["mean"]),
            "-" if apart is None else _percent(apart),
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    grid = figures["grid"]
    facts = [
        f"{figures['pairs']['changed']} changed pairs, {grid[0]} x {grid[1]} cells, 95 % bootstrap intervals, from "
        f"`{source}`.",
    ]
    for column, measure in (("all", "pointing"), ("touching", "touching")):
        differences = figures["differences"][measure]
        facts += [
            f'Paired differences in the column "{column}", in points:',
            f"change map less same cell {_signed(differences['change_map - same_cell'])},",
            f"change map less softmax attention {_signed(differences['change_map - softmax_attention'])},",
            f"transport's residual less softmax attention's {_signed(differences['residual - softmax_attention'])}.",
        ]
    return "\n".join([*lines, "", " ".join(facts), "", format_motion(figures["motion"])])


def format_motion(motion: Mapping[str, Any]) -> str:
    """What the alignment says of moves, beside the truth.

    Args:
        motion (`Mapping[str, Any]`): That part of the JSON of `benchmarks/measure_localization.py`.

    Returns:
        `str`: One paragraph.
    """
    shift, left, own = motion["camera_shift"], motion["left_by_camera_shift"], motion.get("object_motion")
    facts = [
        f"The camera's shift is off by {shift['median_error']:.2f} cells in the median, where always saying zero is "
        f"off by {shift['error_of_zero']:.2f}. Once the true shift is taken away, unchanged objects still move by "
        f"{left['median']:.2f} cells in the median and {left['percentile_90']:.2f} at the 90th percentile."
    ]
    if own:
        facts.append(
            f"Own motion of moved objects is off by {own['median_error']:.2f} cells, where zero is off by "
            f"{own['error_of_zero']:.2f}, and within 45 degrees of the truth in "
            f"{_percent(own['within_45_degrees'])} % of {own['pairs']} pairs."
        )
    return " ".join(facts)


def format_cost(figures: Mapping[str, Any], source: str) -> str:
    """The table over the number of patches, the laws and the overhead.

    Args:
        figures (`Mapping[str, Any]`): The JSON of `benchmarks/measure_alignment_cost.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown.
    """
    settings, overhead, fits = figures["settings"], figures["overhead"], figures["law"]["fits"]
    lines = ["| patches | forward, s | forward and backward, s | kept for backward, MB |", "|---:|---:|---:|---:|"]
    lines += [
        f"| {row['patches']} | {row['forward_seconds']:.2f} | {row['forward_backward_seconds']:.2f} | "
        f"{row['saved_bytes'] / 1e6:.0f} |"
        for row in figures["law"]["sizes"]
    ]
    laws = []
    for key, name in FITTED.items():
        fit = fits[key]
        between = ", ".join(f"{value:.2f}" for value in fit["between_sizes"])
        balance = "never" if fit["balance"] is None else f"at {fit['balance']:.0f} patches"
        laws.append(f"{name}: exponent {fit['exponent']:.2f} ({between} from size to size), terms equal {balance}")
    ratios = ", ".join(
        f"{_percent(row['ratio'])} % in {name} ({median(row['seconds']['alignment']):.2f} s of "
        f"{median(row['seconds']['tower']):.1f} s)"
        for name, row in overhead["dtypes"].items()
    )
    tower = overhead["tower"]
    facts = [
        f"{settings['batch_size']} pairs, patches of width {settings['width']}, processor seconds on "
        f"{figures['threads']} thread{'s' * (figures['threads'] > 1)} ({figures['cpu']}), from `{source}`.",
        f"Fitted with a N + b N^2: {'; '.join(laws)}.",
        f"Beside a vision tower of {tower['num_hidden_layers']} blocks of width {tower['hidden_size']} "
        f"({overhead['tower_parameters']:,} parameters), {overhead['patches']} patches, {overhead['pairs']} pairs, "
        f"the alignment's forward pass takes {ratios} of the tower's.",
    ]
    return "\n".join([*lines, "", " ".join(facts)])
