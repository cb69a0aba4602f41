# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[figures]"]
# ///
"""Draws what the alignment found in one pair: matches, dustbin, motion, camera shift and the raw change map.

python examples/draw_alignment.py BEFORE AFTER --model PATH_OR_ID --output alignment.png

Top: a line from every patch of the before image whose strongest match takes at least --min_share of its mass, red if
that is more than a cell from where the camera's shift would take it, the stronger the less transparent. Middle: the
share of each patch's mass that goes to the dustbin as shading, object motion from half a cell on as red arrows, the
camera's shift as a black arrow in the corner, all at the scale of the image. Bottom: the change map, one square per
cell.
"""

import argparse
import importlib
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from ssgpa.cli.commands import EMBEDDED
from ssgpa.pipeline_ssgpa import FiniteLogitsCheck
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, check_output, report_error, write_output
from ssgpa.utils.loading import load_system


MIN_SHARE = 0.3
# Shorter object motion is drawn by no arrow, in cells.
MIN_MOTION = 0.5
# Matches that go farther than the camera's shift by this are red, in cells.
FAR = 1.0
# The after image is drawn lower by this share of its height: matches in one row would hide each other.
LOWER = 0.45
TITLES = ("before", "after")


class Match(NamedTuple):
    """Numbers of a patch before and a patch after, and the share of the first one's mass that goes to the second."""

    before: int
    after: int
    share: float


def require_matplotlib() -> Any:
    """`matplotlib.figure`; an ImportError names the extra that brings it."""
    try:
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ImportError('figures need the package `matplotlib`: pip install "ssgpa[figures]"') from error


def strongest_matches(transport: np.ndarray, min_share: float) -> list[Match]:
    """The strongest match of every patch before that sends it at least `min_share` of its mass, dustbin included.

    Args:
        transport (`np.ndarray`): Plan (patches + 1, patches + 1); the last row and column are the dustbin.
        min_share (`float`): In (0, 1].
    """
    shares = transport[:-1, :-1] / transport[:-1].sum(1, keepdims=True)
    best = shares.argmax(1)
    return [Match(i, int(j), float(shares[i, j])) for i, j in enumerate(best) if shares[i, j] >= min_share]


def centers(grid: tuple[int, int], image: Image.Image) -> np.ndarray:
    """Middle (x, y) of every cell in an image, (rows * columns, 2) in pixels."""
    rows, columns = np.meshgrid(*(np.arange(count) + 0.5 for count in grid), indexing="ij")
    return np.stack([columns * image.width / grid[1], rows * image.height / grid[0]], -1).reshape(-1, 2)


def show_image(axes: Any, image: Image.Image, offset: Sequence[float] = (0, 0), alpha: float = 1.0) -> tuple:
    """Show an image with its corner at `offset` (x, y), in pixels; return its extent."""
    extent = (offset[0], offset[0] + image.width, offset[1] + image.height, offset[1])
    axes.imshow(np.asarray(image.convert("RGB")), extent=extent, alpha=alpha)
    axes.set_xticks([])
    axes.set_yticks([])
    return extent


def strays(matches: list[Match], grid: tuple[int, int], shift: np.ndarray) -> np.ndarray:
    """Which matches end more than a cell from where the camera's shift (rows, columns) takes their patch, bool."""
    before, after = (np.array([m[side] for m in matches], dtype=int) for side in (0, 1))
    steps = np.stack(np.unravel_index(after, grid), -1) - np.stack(np.unravel_index(before, grid), -1)
    return np.linalg.norm(steps - shift, axis=1) > FAR


def draw_matches(
    axes: Any, images: list[Image.Image], grid: tuple[int, int], matches: list[Match], far: np.ndarray
) -> None:
    """Both images side by side and one line per match, red where `far`."""
    offset = np.array([images[0].width * 1.03, LOWER * images[0].height])
    show_image(axes, images[0])
    show_image(axes, images[1], offset)
    starts, ends = centers(grid, images[0]), centers(grid, images[1]) + offset
    for strays_only in (False, True):  # red above the others
        kept = [m for m, is_far in zip(matches, far, strict=True) if is_far == strays_only]
        segments = [(starts[m.before], ends[m.after]) for m in kept]
        color, weights = ("crimson", 0.5) if strays_only else ("gold", 0.2)
        lines = importlib.import_module("matplotlib.collections").LineCollection
        alphas = [weights + (1 - weights) * m.share for m in kept]
        axes.add_collection(lines(segments, colors=color, linewidths=1.0, alpha=alphas or None))
    axes.set_facecolor("dimgray")
    axes.set_xlim(0, offset[0] + images[1].width)
    axes.set_ylim(max(images[0].height, offset[1] + images[1].height), 0)


def draw_motion(axes: Any, image: Image.Image, dustbin: np.ndarray, motion: np.ndarray, shift: np.ndarray) -> None:
    """One image, pale, with dustbin shares (rows, columns), object motion (patches, 2), camera shift (2,) in cells."""
    grid = dustbin.shape
    extent = show_image(axes, image, alpha=0.55)
    axes.imshow(np.ones(grid), extent=extent, cmap="Purples", vmin=0, vmax=1.2, alpha=0.85 * dustbin)
    cell = np.array([image.width / grid[1], image.height / grid[0]])
    moved = np.linalg.norm(motion, axis=1) >= MIN_MOTION
    options = {"angles": "xy", "scale_units": "xy", "scale": 1, "width": 0.006}
    places, steps = centers(grid, image)[moved], motion[moved][:, ::-1] * cell
    axes.quiver(*places.T, *steps.T, color="crimson", **options)
    corner = (0.5 * cell[0] + 8, image.height - 0.5 * cell[1])
    axes.quiver(*corner, *(shift[::-1] * cell), color="black", **options)
    axes.plot(*corner, "o", color="black", markersize=3)
    axes.set_xlabel(f"camera's shift: {shift[0]:+.2f} rows, {shift[1]:+.2f} columns", fontsize=8)


def draw_figure(images: list[Image.Image], evidence: dict[str, np.ndarray], title: str, min_share: float) -> Any:
    """Lay out all panels.

    Args:
        images (`list[Image.Image]`): Before and after.
        evidence (`dict[str, np.ndarray]`): Of one pair, without the batch axis: `transport`, `object_motion`,
            `camera_shift`, `change_map`.
        title (`str`): The caption.
        min_share (`float`): See `strongest_matches`.

    Returns:
        `Any`: A `matplotlib.figure.Figure`.
    """
    figure = require_matplotlib().Figure(figsize=(7.6, 9), layout="constrained")
    figure.suptitle(textwrap.fill(f"“{title}”", 80), fontsize=10)
    panels = figure.subplot_mosaic([["matches", "matches"], ["m0", "m1"], ["c0", "c1"]], height_ratios=[1.5, 1, 1])
    grid = evidence["change_map"].shape[1:]
    matches = strongest_matches(evidence["transport"], min_share)
    shift = evidence["camera_shift"]
    far = strays(matches, grid, shift)
    draw_matches(panels["matches"], images, grid, matches, far)
    label = (
        f"{len(matches)} matches of {min_share:.0%} or more of a patch's mass; {far.sum()} stray from the camera (red)"
    )
    panels["matches"].set_title(label, fontsize=9)
    for side, sign in enumerate((1, -1)):
        # Rows are the patches before, columns those after; the last one is the dustbin.
        masses = evidence["transport"] if side == 0 else evidence["transport"].T
        dustbin = masses[:-1, -1] / masses[:-1].sum(1)
        axes = panels[f"m{side}"]
        draw_motion(axes, images[side], dustbin.reshape(grid), evidence["object_motion"][side], sign * shift)
        axes.set_title(f"{TITLES[side]}: dustbin (shading), object motion (arrows)", fontsize=9)
        axes = panels[f"c{side}"]
        extent = (0, images[side].width, images[side].height, 0)
        image = axes.imshow(evidence["change_map"][side], extent=extent, cmap="magma", vmin=0, vmax=1)
        axes.set_axis_off()
        axes.set_title(f"{TITLES[side]}: raw change map", fontsize=9)
    figure.colorbar(image, ax=[panels["c0"], panels["c1"]], label="change", shrink=0.8)
    return figure


def draw(options: argparse.Namespace) -> str:
    """Caption the pair and write the figure; return a line about it."""
    check_output(options.output, overwrite=options.overwrite)
    require_matplotlib()
    model, processor = load_system(options.model)
    images = [processor.load_image(path, whole=True) for path in (options.before, options.after)]
    inputs = processor(images=images, return_tensors="pt")
    with torch.no_grad():
        features = model.get_image_features(inputs.pop("pixel_values"))
        inputs["mm_encoder_outputs"] = {"image": features}
        ids = model.generate(**inputs, logits_processor=[FiniteLogitsCheck()], max_new_tokens=40)
    names = ("transport", "object_motion", "camera_shift", "change_map")
    evidence = {name: getattr(features.evidence, name)[0].float().numpy() for name in names}
    caption = processor.post_process_captions(ids, inputs)[0]
    figure = draw_figure(images, evidence, caption, options.min_share)
    figure.set_dpi(options.dpi)
    canvas = importlib.import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure)
    canvas.draw()
    write_output(options.output, Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB"))
    return f"{caption} ({len(strongest_matches(evidence['transport'], options.min_share))} lines)"


def share(text: str) -> float:
    """Read a share in (0, 1]; argparse reports the error."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share above 0 and at most 1")
    return value


def main(arguments: list[str] | None = None) -> int:
    """Prints the caption and the number of lines, or one line on stderr; returns the exit code, 0 or 2."""
    parser = OneLineParser(
        prog="draw_alignment.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--model", default=str(EMBEDDED), help="folder of a saved SSGPA, or its id on the Hub")
    parser.add_argument("--output", type=Path, default="alignment.png", help="PNG file for the figure")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    parser.add_argument("--min_share", type=share, default=MIN_SHARE, help="weakest match that is drawn")
    parser.add_argument("--dpi", type=int, default=100)
    options = parser.parse_args(arguments)
    be_quiet()
    try:
        print(draw(options))
    except ERRORS as error:
        return report_error("draw_alignment.py", error)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
