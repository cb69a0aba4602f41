# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Highest memory against batch size, beside the sizes of GPUs."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...utils.files import replacing


GPU_SIZES = (8, 16, 24, 40, 80)


def label_of(row: Mapping[str, Any]) -> str:
    """How a row's run is called in tables and plots."""
    recomputed = ", checkpointing" if row["checkpointing"] else ""
    return f"{row['run']}{recomputed}"


def draw_memory(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Draw one line a run and a dashed one a GPU.

    Args:
        rows (`Iterable[Mapping[str, Any]]`): Rows of the results; those that ran out of memory are left out.
        path (`Path`): The PNG file.

    Raises:
        ImportError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('The plot needs matplotlib: pip install "ssgpa[figures]".') from error
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["gib"]["total"] is not None:
            how = "counted" if row["device"] == "meta" else f"measured on {row['device']}"
            lines.setdefault(f"{label_of(row)} ({how})", []).append((row["batch_size"], row["gib"]["total"]))
    for label, points in lines.items():
        axes.plot(*zip(*sorted(points), strict=True), marker="o", label=label)
    for size in GPU_SIZES:
        axes.axhline(size, color="gray", linestyle="--", linewidth=0.8)
        axes.annotate(f"{size} GB", (1, size), xycoords=("axes fraction", "data"), color="gray", va="center")
    sizes = sorted({size for points in lines.values() for size, _ in points})
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_ylim(0, 84)
    axes.set_xlabel("pairs in a batch")
    axes.set_ylabel("highest allocated memory, GiB")
    axes.legend(fontsize="small")
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)
