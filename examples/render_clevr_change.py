# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[data]"]
# ///
"""Render a CLEVR-Change set of our own: images, captions and splits in the released layout.

Three images a scene (default, changed, distractor), seven captions of the change and five that say that nothing
changed. Scene i depends on the seed alone, and the same command continues a stopped run:

    python examples/render_clevr_change.py --output_dir clevr_change --scenes 2000 --seed 0 --workers 2

Images of the released size, with object masks (needed for `prepare_data.py --aux_grid`):

    python examples/render_clevr_change.py --output_dir clevr_large --scenes 200 --seed 1 --size 480 320 --object_masks

As many scenes as the release, cameras as in the public generator's scripts, two to four changes in one caption, and
pairs in CLEVR-DC's layout, whose cameras stand anywhere; and a set for training whose scenes differ in look:

    python examples/render_clevr_change.py --output_dir clevr_full --scenes 40000 --seed 0 --workers 16
    python examples/render_clevr_change.py --output_dir clevr_code --scenes 2000 --seed 0 --cameras as_code
    python examples/render_clevr_change.py --output_dir clevr_multi --scenes 2000 --seed 0 --changes 2 4
    python examples/render_clevr_change.py --output_dir clevr_dc --scenes 48000 --seed 0 --layout clevr_dc --workers 16
    python examples/render_clevr_change.py --output_dir clevr_looks --scenes 10000 --seed 0 --random_look
"""

from __future__ import annotations

import argparse
import sys

from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
from ssgpa.data.clevr_renderer.dataset.layout import CLEVR_CHANGE, CLEVR_DC, LAYOUTS
from ssgpa.data.clevr_renderer.scene.cameras import PRESETS
from ssgpa.utils.console import OneLineParser, report_error


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    parser = OneLineParser(
        description=__doc__.split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--output_dir", required=True, help="new or empty folder, or one of an interrupted run")
    parser.add_argument("--scenes", type=int, required=True, help="number of scenes")
    parser.add_argument("--seed", type=int, required=True, help="seed of the set")
    parser.add_argument("--size", type=int, nargs=2, default=[240, 160], metavar=("WIDTH", "HEIGHT"), help="in pixels")
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        default=CLEVR_CHANGE,
        help="triples, or pairs with cameras anywhere",
    )
    parser.add_argument(
        "--cameras",
        choices=PRESETS,
        help="as_released: each moves by 1.5 from one place; as_code: by 1.0 from the first, which moves by 1.0; "
        "if not given as_released, in the layout clevr_dc anywhere",
    )
    parser.add_argument("--camera_jitter", type=float, help="each camera axis moves by U(-x, x), whatever the preset")
    parser.add_argument("--light_jitter", type=float, default=0.0, help="so do lamps from a scene's first image on")
    parser.add_argument(
        "--changes", type=int, nargs=2, default=[1, 1], metavar=("FEWEST", "MOST"), help="changes of a scene"
    )
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    parser.add_argument(
        "--splits",
        type=float,
        nargs=3,
        default=[0.85, 0.05, 0.1],
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the scenes",
    )
    parser.add_argument(
        "--random_look",
        type=float,
        nargs="?",
        const=1.0,
        default=0.0,
        metavar="SHARE",
        help="share of the scenes whose lamps, materials, floor and film are drawn at random; without a value all",
    )
    parser.add_argument(
        "--twins",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the scenes in which another object surely has the four attributes of the changed one",
    )
    parser.add_argument("--object_masks", action="store_true", help="write object-id masks too")
    return parser.parse_args(argv)


def settings_of(arguments: argparse.Namespace) -> RenderSettings:
    """What the command line asks for."""
    preset = PRESETS[arguments.cameras or ("anywhere" if arguments.layout == CLEVR_DC else "as_released")]
    return RenderSettings(
        scenes=arguments.scenes,
        seed=arguments.seed,
        size=tuple(arguments.size),
        camera_jitter=preset.jitter if arguments.camera_jitter is None else arguments.camera_jitter,
        splits=tuple(arguments.splits),
        object_masks=arguments.object_masks,
        layout=arguments.layout,
        cameras=preset.cameras,
        light_jitter=arguments.light_jitter,
        changes=tuple(arguments.changes),
        random_look=arguments.random_look,
        twins=arguments.twins,
    )


def main(argv: list[str] | None = None) -> int:
    """Render, and answer errors with one line on stderr and exit code 2."""
    arguments = parse_arguments(argv)
    try:
        settings = settings_of(arguments)
        folder = render_dataset(arguments.output_dir, settings, workers=arguments.workers)
    except (OSError, ValueError) as error:
        return report_error("render_clevr_change.py", error)
    print(f"{settings.scenes} scenes in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
