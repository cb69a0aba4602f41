# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Tables of the HTML report."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any


METRICS = {
    "bleu_1": "BLEU-1",
    "bleu_4": "BLEU-4",
    "meteor": "METEOR",
    "rouge_l": "ROUGE-L",
    "cider": "CIDEr-D",
}
CORRECT = {"correct": "correct"}
PARTS = {"change": "change and new value", "relation": "relation holds", "only": "fits the object and no other"}
DASH = "\u2013"
BY_REFERENCES = {
    "used": "relation used",
    "confirmed": "of these, a reference says so too",
    "contradicted": "of these, a reference says the opposite",
    "open": "of these, the references do not tell",
    "needed": "each reference uses a relation",
    "used_where_needed": "of these, relation used",
    "confirmed_where_needed": "of these, a reference says so too",
}
BY_SCENES = {
    "singled_out": "caption fits the changed object and no other",
    "relation_used": "relation used",
    "relation_true": "of these, it holds",
    "relation_needed": "attributes alone do not single the object out",
    "used_where_needed": "of these, relation used",
    "true_where_needed": "of these, it holds",
    "singled_out_where_needed": "of these, caption fits the object and no other",
}


def table(header: Sequence[str], rows: Iterable[Sequence[str]], name: str = "") -> str:
    """Lay out a table; its cells are HTML already.

    Args:
        header (`Sequence[str]`): Titles of the columns.
        rows (`Iterable[Sequence[str]]`): Cells.
        name (`str`, *optional*, defaults to `''`): The table's id.

    Returns:
        `str`: HTML.
    """
    head = "".join(f"<th>{escape(title)}</th>" for title in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<table id="{escape(name)}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def percent(value: float | None) -> str:
    """Format a number times 100, or a dash.

    Args:
        value (`float`, *optional*): A score or a rate.

    Returns:
        `str`: Text.
    """
    return DASH if value is None else f"{100 * value:.1f}"


def known_metrics(results: Mapping[str, Any]) -> dict[str, str]:
    """Return the titles of the scores that an evaluation has; correctness only where scenes are known.

    Args:
        results (`Mapping[str, Any]`): What `examples/evaluate.py` writes.

    Returns:
        `dict[str, str]`: Titles by name.
    """
    return METRICS | (CORRECT if "correct" in results["scores"]["total"] else {})


def scores_table(results: Mapping[str, Any]) -> str:
    """Lay out the scores of every block with their intervals.

    Args:
        results (`Mapping[str, Any]`): What `examples/evaluate.py` writes.

    Returns:
        `str`: HTML.
    """
    scores = results["scores"]
    blocks = {name: scores[name] for name in ("total", "changed", "unchanged")} | scores["by_type"]
    rows = []
    metrics = known_metrics(results)
    for name, block in blocks.items():
        if block:
            cells = [escape(name), str(block["n_items"]), str(block["n_references"])]
            for metric in metrics:
                ends = block["intervals"].get(metric)
                reason = escape(block["meteor_reason"] or "") if metric == "meteor" else ""
                shown = f'<span title="{reason}">{percent(block[metric])}</span>'
                interval = f" <small>{percent(ends[0])}{DASH}{percent(ends[1])}</small>" if ends else ""
                cells.append(shown + interval)
            rows.append(cells)
    return table(["block", "pairs", "references", *metrics.values()], rows, "scores")


def baselines_table(results: Mapping[str, Any]) -> str:
    """Lay out the scores of the system, its baselines and its upper bounds.

    Args:
        results (`Mapping[str, Any]`): What `examples/evaluate.py` writes.

    Returns:
        `str`: HTML.
    """
    lines = [("system", results["scores"])]
    lines += [(f"baseline: {name}", blocks) for name, blocks in results["baselines"].items()]
    lines += [(f"upper bound: {name}", blocks) for name, blocks in results["upper_bounds"].items()]
    lines += [(f"oracle, knows the scene: {name}", blocks) for name, blocks in (results.get("oracles") or {}).items()]
    for name, scores in (results["no_change_synonym"] or {}).items():
        lines.append((f'system, always "{scores["caption"]}" ({name} no-change synonym)', {"total": scores}))
    titles = known_metrics(results)
    chosen = list(titles)[1:]
    header = ["", *(f"{block}: {titles[metric]}" for block in ("changed", "total") for metric in chosen)]
    rows = [
        [
            escape(name),
            *(percent((blocks.get(block) or {}).get(key)) for block in ("changed", "total") for key in chosen),
        ]
        for name, blocks in lines
    ]
    return table(header, rows, "baselines")


def rates_table(results: Mapping[str, Any]) -> str:
    """Lay out how often captions name no change, the right change type and the right attributes.

    Args:
        results (`Mapping[str, Any]`): What `examples/evaluate.py` writes.

    Returns:
        `str`: HTML.
    """
    rates, accuracy = results["no_change_rate"], results["change_type_accuracy"] or {}
    found = {
        '"nothing changed", of the changed pairs': rates["changed"],
        '"nothing changed", of the unchanged pairs': rates["unchanged"],
        "right change type": accuracy.get("changed"),
        **{f"right change type: {name}": rate for name, rate in accuracy.get("by_type", {}).items()},
    }
    diagnosis = results["diagnosis"]
    if diagnosis:
        found["captions that the grammar explains"] = diagnosis["captions_parsed"]
        found["object named without a mistake"] = diagnosis["subject"]
        for name, values in diagnosis["attributes"].items():
            found |= {f"{name} named": values["named"], f"{name} right, where named": values["right"]}
        found |= {f"new {name} right": rate for name, rate in diagnosis["new_value"].items()}
    rows = [[escape(name), percent(rate)] for name, rate in found.items()]
    rows.append(["distinct captions", str(results["distinct_captions"])])
    return table(["what", "%"], rows, "rates")


def correctness_table(results: Mapping[str, Any]) -> str:
    """Lay out what is right about the captions of changed pairs by the scenes, part by part and type by type.

    Args:
        results (`Mapping[str, Any]`): What `examples/evaluate.py` writes.

    Returns:
        `str`: HTML; "" where scenes are not known.
    """
    found = results.get("correctness")
    if not found:
        return ""
    blocks = found["parts"]
    rows = []
    for part in blocks["changed"]:
        rates = [block[part] for block in blocks.values()]
        rows.append([escape(PARTS.get(part, part)), *(_rate_cell(rate) for rate in rates)])
    return table(["right where told, %", *blocks], rows, "correctness")


def _rate_cell(rate: Mapping[str, Any]) -> str:
    if not rate["captions"]:
        return DASH
    ends = DASH.join(percent(end) for end in rate["interval"])
    return f"{percent(rate['right'])} of {rate['captions']} <small>{ends}</small>"


def counts_table(results: Mapping[str, Any]) -> str:
    """Lay out counts of relations and of singled-out objects, by the references and, if known, by the scenes.

    Args:
        results (`Mapping[str, Any]`): What `examples/evaluate.py` writes.

    Returns:
        `str`: HTML; "" where there is no diagnosis.
    """
    diagnosis = results["diagnosis"]
    if not diagnosis:
        return ""
    lines = [(f"by the references: {title}", diagnosis["relations"][name]) for name, title in BY_REFERENCES.items()]
    if diagnosis["scene"]:
        lines += [(f"by the scenes: {title}", diagnosis["scene"][name]) for name, title in BY_SCENES.items()]
    rows = [[escape(title), str(count)] for title, count in lines]
    return table(["changed pairs", str(diagnosis["pairs"])], rows, "counts")


def comparison_table(results: Mapping[str, Any]) -> str:
    """Lay out the paired comparison with another system.

    Args:
        results (`Mapping[str, Any]`): What `examples/evaluate.py` writes.

    Returns:
        `str`: HTML; "" where there is none.
    """
    comparison = results.get("comparison")
    if not comparison:
        return ""
    rows = []
    for block in ("total", "changed"):
        for metric, values in (comparison[block] or {}).items():
            cells = [percent(values[key]) for key in ("ours", "theirs", "difference")]
            ends = DASH.join(percent(end) for end in values["interval"])
            rows.append([block, METRICS.get(metric, metric.upper()), *cells, ends, f"{values['p']:.3f}"])
    heading = f"<h2>Beside {escape(comparison['with'])}</h2>"
    return heading + table(["block", "metric", "ours", "theirs", "difference", "95 %", "p"], rows, "comparison")


def facts_table(results: Mapping[str, Any]) -> str:
    """Lay out what the scores depend on.

    Args:
        results (`Mapping[str, Any]`): What `examples/evaluate.py` writes.

    Returns:
        `str`: HTML.
    """
    facts = {name: results.get(name) for name in ("model", "data", "split", "seed", "tokenizer", "java")}
    facts["protocol"] = (results["protocol"] or {}).get("description")
    for group in ("decoding", "throughput", "versions", "bootstrap"):
        facts |= {f"{group}: {name}": value for name, value in (results.get(group) or {}).items()}
    rows = [[escape(name), DASH if value is None else escape(str(value))] for name, value in facts.items()]
    return table(["", ""], rows, "facts")
