# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Writes the tables of data/clevr_renderer/README.md from the JSON files of figures, speed and the resumed run.

python benchmarks/renderer_tables.py            # rewrite the blocks between their marks
python benchmarks/renderer_tables.py --check    # exit code 1 if they are not what the files say
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.readme_table import replace_block
from ssgpa.data.checks import read_json_object
from ssgpa.utils.console import OneLineParser, report_error
from ssgpa.utils.files import write_text


ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "data" / "clevr_renderer" / "README.md"
RESULTS = ROOT / "benchmarks" / "results"
SPLITS = ("train", "validation", "test")
QUANTILES = ("q05", "q25", "q50", "q75", "q95")


def spread(figures: dict[str, Any]) -> str:
    """Mean and quantiles of overlaps as one cell."""
    return f"{figures['mean']:.3f}; {' / '.join(f'{figures[name]:.3f}' for name in QUANTILES)}"


def counts(types: dict[str, dict[str, int]]) -> str:
    """Scenes of a type in train / val / test, as a range where the types differ."""
    cells = []
    for split in SPLITS:
        found = sorted({of_type[split] for of_type in types.values()})
        cells.append(str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}")
    return " / ".join(cells)


def figures_table(ours: dict[str, Any], code: dict[str, Any]) -> str:
    """Both presets beside the release.

    Args:
        ours (`dict[str, Any]`): Figures of the default set.
        code (`dict[str, Any]`): Figures of a set with the cameras of the public generator's scripts.
    """
    released = ours["released"]
    sets = (ours, code)

    def row(name: str, known: str, cells: list[str]) -> str:
        return f"| {name} | {known} | {' | '.join(cells)} |"

    changes = [one["change_captions"] for one in sets]
    lines = [
        "| | released | as_released | as_code |",
        "|---|---|---|---|",
        row("scenes", str(released["scenes"]), [str(one["scenes"]) for one in sets]),
        row(
            "of each type: train / val / test", f"{counts(released['types'])} [i]", [counts(o["types"]) for o in sets]
        ),
        row("words", f"{released['vocabulary']} [v]", [str(one["vocabulary"]["words"]) for one in sets]),
        row("of them not released", "-", [str(len(one["vocabulary"]["not_released"])) for one in sets]),
        row("longest caption, words", f"{released['longest_caption']} [c]", [str(one["longest"]) for one in changes]),
        row("words a change caption", "-", [f"{one['mean_words']:.1f}" for one in changes]),
        row(
            "captions per scene, both kinds",
            f"{released['captions'] / released['scenes']:.1f} [t]",
            [f"{one['change_captions']['per_scene'] + one['no_change_captions']['per_scene']:.1f}" for one in sets],
        ),
        row(
            "box overlap: mean; 5 / 25 / 50 / 75 / 95 %",
            f"{spread(released['overlap']['all'])} [i]",
            [spread(one["overlap"]["all"]) for one in sets],
        ),
    ]
    return "\n".join(lines)


def speed_table(speeds: dict[str, Any]) -> str:
    """Scenes per second of wall clock and of processor time."""
    lines = [
        "| backend | size | workers | scenes per second | scenes per CPU-second | load before |",
        "|---|---|---|---|---|---|",
    ]
    for row in speeds["rows"]:
        size = " x ".join(map(str, row["size"]))
        rates = f"{row['scenes_per_second']:.2f} | {row['scenes_per_cpu_second']:.2f}"
        load = row.get("load_average_before")
        busy = "not recorded" if load is None else f"{load:.1f}"
        lines.append(f"| {row['backend']} | {size} | {row['workers']} | {rates} | {busy} |")
    return "\n".join(lines)


def resume_table(resume: dict[str, Any]) -> str:
    """A run that was left alone beside one that was killed and given again."""
    killed, (whole, resumed) = resume["killed"], resume["verdict"]["files"]
    parts = [f"{killed[name]:.0f}" for name in ("seconds_until_killed", "seconds_after_resuming")]
    lines = [
        "| | left alone | killed and given again |",
        "|---|---|---|",
        f"| seconds | {resume['uninterrupted']['seconds']:.0f} | {' + '.join(parts)} |",
        f"| scenes recorded when killed | - | {killed['scenes_recorded']} |",
        f"| images there when killed | - | {killed['images_left']} |",
        f"| files at the end | {whole} | {resumed} |",
        f"| of them different by SHA-256 | - | {resume['verdict']['different']} |",
    ]
    return "\n".join(lines)


def written() -> str:
    """The document with its blocks as the files have them."""
    names = ("as-released", "as-code", "throughput", "resume")
    ours, code, speeds, resume = (read_json_object(RESULTS / f"clevr-renderer-{name}.json") for name in names)
    blocks = {"figures": figures_table(ours, code), "speed": speed_table(speeds), "resume": resume_table(resume)}
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, block in blocks.items():
        text = replace_block(text, block, name)
    return text


def main(argv: list[str] | None = None) -> int:
    """Write or check; return 1 for a document that is not up to date, 2 for an error."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(argv)
    try:
        text = written()
        if options.check:
            return int(text != DOCUMENT.read_text(encoding="utf-8"))
        write_text(DOCUMENT, text)
    except (OSError, ValueError, KeyError) as error:
        return report_error("renderer_tables.py", error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
