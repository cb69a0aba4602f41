# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Writes the tables in README.md and docs/ from the JSON files of the programs that measured them.

python benchmarks/readme_table.py            # rewrite the blocks between their two marks
python benchmarks/readme_table.py --check    # exit code 1 if it is not what the file says
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ssgpa.benchmarks.tables.comparison_table import format_comparison
from ssgpa.benchmarks.tables.evidence_tables import format_cost, format_localization
from ssgpa.benchmarks.tables.failures_table import format_failures
from ssgpa.benchmarks.tables.house_table import format_house
from ssgpa.benchmarks.tables.learning_table import format_learning
from ssgpa.benchmarks.tables.loader_table import format_loader
from ssgpa.benchmarks.tables.memory_table import format_memory, format_system, format_systems
from ssgpa.benchmarks.tables.reproduction_table import (
    format_blind,
    format_learned,
    format_nan,
    format_published,
    format_targets,
)
from ssgpa.benchmarks.tables.speed_table import format_change, format_large_images, format_ways
from ssgpa.benchmarks.tables.trust_table import format_difference, format_trust
from ssgpa.benchmarks.tables.vlm_equality_table import format_vlm_equality
from ssgpa.benchmarks.tables.vlm_tables import format_vlm_cost, format_vlm_memory
from ssgpa.metrics.report.markdown import EMPTY, format_report, format_summary
from ssgpa.utils.files import replacing
from ssgpa.utils.results import read_results


ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    *(
        ROOT / "docs" / f"{name}.md"
        for name in (
            "results",
            "systems/blip2idc",
            "systems/finer_mllm",
            "systems/ssgpa",
            "systems/vir_vlfm",
            "development",
            "evidence",
            "data",
            "memory",
            "reproduction",
            "speed",
            "trust",
            "vlm",
        )
    ),
]
RESULTS, SUMMARY, PARAMETERS = "results", "summary", "parameters"
# Blocks that one file fills: their name between the marks, the file, and what lays it out.
BLOCKS = {
    "blip2idc-memory": ("blip2idc-memory.json", format_system),
    "finer_mllm-memory": ("finer_mllm-memory.json", format_system),
    "vir_vlfm-memory": ("vir_vlfm-memory.json", format_system),
    "comparison": ("comparison.json", format_comparison),
    "localization": ("localization.json", format_localization),
    "cost": ("alignment_cost.json", format_cost),
    "failures": ("ssgpa-clevr-tiny-failures.json", format_failures),
    "house": ("house.json", format_house),
    "large-images": ("large_images.json", format_large_images),
    "learning": ("learning.json", format_learning),
    "loader": ("loader.json", format_loader),
    "memory": ("memory.json", format_memory),
    "reproduction-blind": ("reproduction.json", format_blind),
    "reproduction-learned": ("reproduction.json", format_learned),
    "reproduction-nan": ("reproduction.json", format_nan),
    "reproduction-published": ("reproduction.json", format_published),
    "reproduction-targets": ("reproduction.json", format_targets),
    "speed": ("speed.json", format_ways),
    "speed-change": ("speed-before-after.json", format_change),
    "difference": ("difference.json", format_difference),
    "trust": ("trust.json", format_trust),
    "vlm-cost": ("vlm_cost.json", format_vlm_cost),
    "vlm-memory": ("vlm_memory.json", format_vlm_memory),
    "vlm-equality": ("vlm-equality.json", format_vlm_equality),
}
# One that all systems' counts fill.
SYSTEMS_MEMORY = "systems-memory"
COUNTS = "-memory.json"
COLUMNS = {"total": "all", "trainable": "trainable"}
NO_FIGURES = "No figures are stored yet."
BEGIN, END = f"<!-- {RESULTS}:begin -->", f"<!-- {RESULTS}:end -->"


def format_throughput(figures: Mapping[str, Any], source: str) -> str:
    """One paragraph of speeds, with what they were measured on.

    Args:
        figures (`Mapping[str, Any]`): The JSON of `benchmarks/measure_throughput.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown.
    """
    training, generation, settings = figures["training"], figures["generation"], figures["settings"]
    rates, sizes = training["pairs_per_second"], figures["parameters"]
    return (
        f"Speed on {figures['threads']} threads of a CPU ({figures['cpu']}), {sizes['ssgpa']:,} parameters, batches "
        f"of {settings['batch_size']}: {rates['ssgpa']:.1f} training pairs per second, "
        f"{100 * training['ratio']:.0f} % of the {rates['without_alignment']:.1f} of the same model without adapter, "
        f"alignment and contrast in the same run; "
        f"{generation['beams_1']['captions_per_second']:.1f} captions per second greedily, "
        f"{generation['beams_5']['captions_per_second']:.1f} with 5 beams. From `{source}`."
    )


def format_parameters(report: Mapping[str, Any], source: str) -> str:
    """One row per part, two columns per preset.

    Args:
        report (`Mapping[str, Any]`): The JSON of `benchmarks/count_parameters.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown: a table and the line that belongs to it.
    """
    models = report["models"]
    heads = [f"{name}, {column}" for name in models for column in COLUMNS.values()]
    lines = [f"| parameters | {' | '.join(heads)} |", f"|---{'|---:' * len(heads)}|"]
    rows = {part: [model["parts"].get(part) for model in models.values()] for part in report["parts"]}
    for name, counts in {**rows, "**together**": list(models.values())}.items():
        if any(counts):
            cells = [f"{one[key]:,}" if one else "-" for one in counts for key in COLUMNS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    seconds = ", ".join(f"{model['seconds']:.1f} s" for model in models.values())
    return "\n".join(
        [*lines, "", f"Each model is built on the meta device, without memory ({seconds}). From `{source}`."]
    )


def replace_block(text: str, block: str, name: str = RESULTS) -> str:
    """Put `block` between the two marks of a name.

    Args:
        text (`str`): The document.
        block (`str`): What belongs there.
        name (`str`, *optional*, defaults to `RESULTS`): The marks' name.

    Returns:
        `str`: The document.

    Raises:
        ValueError: The marks are not there once each, in order.
    """
    begin, end = BEGIN.replace(RESULTS, name), END.replace(RESULTS, name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"The document needs {begin} and then {end}, once each.")
    return f"{text[: text.index(begin)]}{begin}\n{block}\n{text[text.index(end) :]}"


def update(document: Path, blocks: Mapping[str, str], check: bool) -> bool:
    """Put the blocks into one document, each where its marks are.

    Args:
        document (`Path`): A Markdown file with the marks of one block or more.
        blocks (`Mapping[str, str]`): What belongs between marks, by their name.
        check (`bool`): Leave the file as it is.

    Returns:
        `bool`: Whether the file is current when this returns.

    Raises:
        ValueError: The document has marks of no block, or some that are not there once each, in order.
    """
    new = old = document.read_text(encoding="utf-8")
    found = [name for name in blocks if f"<!-- {name}:" in old]
    if not found:
        raise ValueError(f"{document} has none of the marks {', '.join(f'<!-- {name}:begin -->' for name in blocks)}.")
    for name in found:
        new = replace_block(new, blocks[name], name)
    if not check:
        with replacing(document) as temporary:
            temporary.write_text(new, encoding="utf-8")
    return new == old or not check


def read_block(path: Path, lay_out: Callable[[Mapping[str, Any], str], str]) -> str:
    """Lay out a results file, or say that there is none.

    Args:
        path (`Path`): The JSON file.
        lay_out (`Callable[[Mapping[str, Any], str], str]`): Makes Markdown of what the file holds and of its name as
            the reader finds it.

    Returns:
        `str`: Markdown.
    """
    if not path.is_file():
        return NO_FIGURES
    return lay_out(json.loads(path.read_text(encoding="utf-8")), f"benchmarks/results/{path.name}")


def read_counts(paths: Mapping[str, Path]) -> str:
    """Lay out all systems' counts of memory.

    Args:
        paths (`Mapping[str, Path]`): The JSON file of each system.

    Returns:
        `str`: Markdown.
    """
    figures = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items()}
    return format_systems(figures, f"benchmarks/results/*{COUNTS}")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("documents", type=Path, nargs="*", default=DOCUMENTS)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks/results/ssgpa-clevr-tiny.json")
    parser.add_argument("--parameters", type=Path, default=ROOT / "benchmarks/results/parameters.json")
    parser.add_argument("--check", action="store_true", help="change nothing, tell whether the tables are current")
    options = parser.parse_args(arguments)
    block = summary = EMPTY
    if options.results.is_file():
        report, source = read_results(options.results), f"benchmarks/results/{options.results.name}"
        block, summary = format_report(report, source), format_summary(report, source)
    folder = options.results.parent
    speeds = folder / f"{options.results.stem}-throughput.json"
    if speeds.is_file():
        block += f"\n\n{read_block(speeds, format_throughput)}"
    blocks = {name: read_block(folder / file, lay_out) for name, (file, lay_out) in BLOCKS.items()}
    counts = {path.name.removesuffix(COUNTS): path for path in sorted(folder.glob(f"*{COUNTS}"))}
    blocks[SYSTEMS_MEMORY] = read_counts(counts) if counts else NO_FIGURES
    blocks |= {RESULTS: block, SUMMARY: summary, PARAMETERS: read_block(options.parameters, format_parameters)}
    stale = [path for path in options.documents if not update(path, blocks, options.check)]
    for path in stale:
        print(f"{path}: the table is stale, run benchmarks/readme_table.py.")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
