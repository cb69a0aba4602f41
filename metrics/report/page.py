# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The report of an evaluation as one self-contained HTML page."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ...utils.files import holding_output, write_text
from .build import collapse_alarm
from .plots import Bar, draw_bars, draw_histogram
from .tables import (
    baselines_table,
    comparison_table,
    correctness_table,
    counts_table,
    facts_table,
    rates_table,
    scores_table,
)


FILES = Path(__file__).parent / "page_files"
INDEX = "index.html"
# A second wall behind the escaping: the page loads nothing, and no script but its own runs.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'; base-uri 'none'; "
    "form-action 'none'"
)


def write_page(folder: Path, results: Mapping[str, Any], cards: Sequence[Mapping[str, Any]]) -> Path:
    """Write the page; it needs no other file and no network.

    Args:
        folder (`Path`): Where `index.html` goes; made where it is missing.
        results (`Mapping[str, Any]`): What `examples/evaluate.py` writes.
        cards (`Sequence[Mapping[str, Any]]`): From `gallery.describe_pairs`, for all pairs; those with images come
            into the gallery.

    Returns:
        `Path`: The file.

    Raises:
        FileExistsError: Another run is writing there.
    """
    with holding_output(folder):
        folder.mkdir(exist_ok=True)
        write_text(folder / INDEX, build_page(results, cards))
    return folder / INDEX


def build_page(results: Mapping[str, Any], cards: Sequence[Mapping[str, Any]]) -> str:
    """Fill in the template of the page.

    Args:
        results (`Mapping[str, Any]`): As for `write_page`.
        cards (`Sequence[Mapping[str, Any]]`): As for `write_page`.

    Returns:
        `str`: HTML.
    """
    alarm = collapse_alarm(results)
    shown = [card for card in cards if "before" in card]
    script = (FILES / "page.js").read_text(encoding="utf-8")
    parts = {
        "policy": POLICY.format(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()),
        "title": escape(
            f"{Path(str(results['model'])).name} on {results['split'] or Path(str(results['data'])).name}"
        ),
        "style": (FILES / "page.css").read_text(encoding="utf-8"),
        "script": script,
        "alarm": f'<p class="alarm">{escape(alarm)}</p>' if alarm else "",
        "facts": facts_table(results),
        "scores": scores_table(results),
        "baselines": baselines_table(results),
        "rates": rates_table(results),
        "counts": counts_table(results),
        "correctness": correctness_table(results),
        "comparison": comparison_table(results),
        "plots": "".join(_plots(results, cards)),
        "count": str(len(cards)),
        "shown": str(len(shown)),
        # No caption may end the script element.
        "cards": json.dumps(shown, ensure_ascii=False).replace("<", "\\u003c"),
    }
    page = (FILES / "page.html").read_text(encoding="utf-8")
    pieces = page.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def _plots(results: Mapping[str, Any], cards: Sequence[Mapping[str, Any]]) -> list[str]:
    plots = []
    for block in ("changed", "total"):
        scores = results["scores"][block]
        if not scores:
            continue
        ends, best = scores["intervals"]["cider"], results["best_constant_baseline"][block]
        bars = [Bar("system", 100 * scores["cider"], [100 * end for end in ends])]
        bars += [
            Bar(name, 100 * baseline[block]["cider"], kind="baseline")
            for name, baseline in results["baselines"].items()
            if baseline[block] and (name == best or not baseline["caption"])
        ]
        bars += [
            Bar(name, 100 * upper_bound[block]["cider"], kind="upper_bound")
            for name, upper_bound in results["upper_bounds"].items()
            if upper_bound[block]
        ]
        oracles = results.get("oracles") or {}
        bars += [
            Bar(f"oracle: {name}", 100 * oracle[block]["cider"], kind="upper_bound")
            for name, oracle in oracles.items()
            if oracle[block]
        ]
        plots.append(draw_bars(f"CIDEr-D x 100, {block} pairs: system, baselines, upper bound", bars))
    plots.append(_correct_plot(results))
    plots.append(_trust_plot(results))
    accuracy = (results["change_type_accuracy"] or {}).get("by_type", {})
    plots.append(
        draw_bars("Change type named right, %", [Bar(name, 100 * rate) for name, rate in accuracy.items()], 100)
    )
    diagnosis = results["diagnosis"]
    if diagnosis:
        rates = {name: values["right"] for name, values in diagnosis["attributes"].items()}
        rates |= {f"new {name}": rate for name, rate in diagnosis["new_value"].items()}
        bars = [Bar(name, 100 * rate) for name, rate in rates.items() if rate is not None]
        plots.append(draw_bars("Attributes of the object, right where named, and new values, %", bars, 100))
    changed = [card for card in cards if card["change_type"] != "none"]
    plots.append(
        draw_histogram("ROUGE-L of single pairs, unchanged ones left out", [card["rouge_l"] for card in changed])
    )
    return plots


def _trust_plot(results: Mapping[str, Any]) -> str:
    """The reliability curve: tenths of the captions by confidence, with the share of each that is right."""
    found = results.get("trust")
    if not found:
        return ""
    told = f"expected calibration error {found['ece']:.3f}"
    told += "" if found["auroc"] is None else f", AUROC {found['auroc']:.3f}"
    bars = []
    for group in found["curve"]:
        bars.append(Bar(f"confidence of {group['captions']} captions", 100 * group["confidence"], kind="baseline"))
        bars.append(Bar("of these, right", 100 * group["right"]))
    return draw_bars(f"Confidence and what came true, % ({told}; right: {found['right_means']})", bars, 100)


def _correct_plot(results: Mapping[str, Any]) -> str:
    scores = results["scores"]
    blocks = {name: scores[name] for name in ("changed", "unchanged")} | scores["by_type"]
    bars = [
        Bar(name, 100 * block["correct"], [100 * end for end in block["intervals"]["correct"]])
        for name, block in blocks.items()
        if block and "correct" in block
    ]
    return draw_bars("Correct captions by the scenes, %", bars, 100)
