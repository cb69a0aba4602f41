# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Lays out the JSON of `measure_trust.py` and `measure_difference.py` as the tables in docs/trust.md."""

from collections.abc import Mapping
from typing import Any


def format_trust(report: Mapping[str, Any], source: str) -> str:
    """Tenths of the captions by confidence, and the unfamiliar images by kind.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/measure_trust.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: two tables with the lines that belong to them.
    """
    found, kinds = report["confidence"], report["unfamiliar"]
    curve = found["curve"]
    heads = [str(place) for place in range(1, len(curve) + 1)]
    lines = [f"| captions by confidence, tenth | {' | '.join(heads)} |", f"|---{'|---:' * len(curve)}|"]
    for title, name in (("mean confidence, %", "confidence"), ("right, %", "right")):
        lines.append(f"| {title} | {' | '.join(f'{100 * group[name]:.0f}' for group in curve)} |")
    lines += [
        "",
        f"{found['captions']} captions of `{report['model']}` on unseen pairs, {100 * found['right']:.1f} % of them "
        f"right ({found['right_means']}): expected calibration error {found['ece']:.3f}, AUROC of right captions "
        f"against wrong ones {found['auroc']:.3f}. Fitted on {report['fitted_on']} other pairs.",
        "",
        "| unfamiliar images | pairs | AUROC | told as unfamiliar, % |",
        "|---|---:|---:|---:|",
    ]
    for kind, values in kinds.items():
        lines.append(f"| {kind} | {values['pairs']} | {values['auroc']:.3f} | {100 * values['flagged']:.1f} |")
    lines += [
        "",
        f"Against these {found['captions']} rendered pairs, of which {100 * (1 - found['familiar']):.1f} % are told "
        f"as unfamiliar. From `{source}`.",
    ]
    return "\n".join(lines)


def format_difference(report: Mapping[str, Any], source: str) -> str:
    """One row a kind of camera.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/measure_difference.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: a table and the line that belongs to it.
    """
    cameras = {name: values for name, values in report.items() if isinstance(values, dict)}
    lines = [
        "| camera, exposure | edited | place right, % | center in the box, % | unchanged | false alarms, % |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, found in cameras.items():
        moved = f"{name}: within {100 * found['camera']:.0f} %, {100 * found['exposure']:.0f} %"
        rates = [f"{100 * found[key]:.1f}" for key in ("place_right", "center_in_box", "false_alarms")]
        lines.append(f"| {moved} | {found['edited']} | {rates[0]} | {rates[1]} | {found['unchanged']} | {rates[2]} |")
    edits = ", ".join(sorted(next(iter(cameras.values()))["place_right_by_edit"]))
    lines += ["", f"{len(report['photographs'])} photographs; edits: {edits}. From `{source}`."]
    return "\n".join(lines)
