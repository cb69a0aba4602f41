# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The report of an evaluation: scores by block, baselines, upper bounds, and an alarm for collapsed captions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ...utils.pair_ids import by_id, check_ids
from ..bootstrap import describe_bootstrap, intervals
from ..bounds import (
    MAX_CONSTANTS,
    PairBlocks,
    Row,
    count_captions,
    score_baselines,
    score_synonyms,
    score_upper_bounds,
)
from ..change_captioning.scorer import CaptionScorer, default_scorer
from ..change_captioning.scoring import check_lists
from ..change_captioning.text import clean_caption
from ..clevr.correctness import build_judges
from ..clevr.diagnosis import diagnose
from ..clevr.oracles import oracle_captions, score_oracles
from ..clevr.part_rates import describe_correctness
from ..clevr.scenes import SCENE, ChangedScene
from ..corpus import Judge, ReferenceCorpus
from ..protocols import Protocol, apply_protocol


OWN_FREQUENCIES = "from the references of this block alone; blocks are not comparable"
COLUMNS = {"B4": "bleu_4", "METEOR": "meteor", "ROUGE-L": "rouge_l", "CIDEr-D": "cider", "correct": "correct"}
CORRECT = "correct"
BLOCKS = ("changed", "unchanged", "by_type")
TEXT_COLUMNS = ("pair_id", "scene_id", "captions", "change_type")
NAME_WIDTH = 60
MIN_DISTINCT = 5
MIN_PAIRS = 50
MAX_NO_CHANGE_RATE = 0.9
TIE = 1e-6


def light_rows(dataset: Any) -> list[Row]:
    """Read the text columns of a split, without decoding its images.

    Args:
        dataset (`Any`): A `datasets.Dataset` with the columns of `ssgpa.data`.

    Returns:
        `list[Row]`: Records with `pair_id`, `captions`, `change_type` and, where there is one, `scene_id`. Changed
        pairs of a split with the column of `clevr.scenes.add_scene_column` have their `ChangedScene` under "scene".
    """
    names = [name for name in (*TEXT_COLUMNS, SCENE) if name in dataset.column_names]
    rows = dataset.select_columns(names).to_list()
    for row in rows:
        text = row.pop(SCENE, None)
        if text:
            row[SCENE] = ChangedScene.from_json(text)
    return rows


def build_report(
    rows: Sequence[Row],
    predictions: Mapping[str, str],
    train_rows: Sequence[Row] | None = None,
    change_type_of: Callable[[str], str | None] | None = None,
    seed: int = 0,
    scorer: CaptionScorer | None = None,
    protocol: Protocol | None = None,
    all_constants: bool = True,
) -> dict[str, Any]:
    """Score captions over all pairs and by block, beside baselines and upper bounds.

    A caption counts as "no change" when its tokenized form is a caption of a pair with change type "none", in `rows`
    or `train_rows`. Blocks without a pair are None.

    Args:
        rows (`Sequence[Row]`): Records of the split with `pair_id`, `captions` and `change_type` ("none": unchanged,
            None: unknown). With the scenes of the changed pairs (`clevr.scenes.add_scenes`), captions are judged by
            correctness too.
        predictions (`Mapping[str, str]`): One caption a pair, by pair id.
        train_rows (`Sequence[Row]`, *optional*): Records of the training split, for the baselines.
        change_type_of (`Callable[[str], str | None]`, *optional*): Reads the change type off a caption, for
            `change_type_accuracy`.
        seed (`int`, *optional*, defaults to `0`): Seed of the draws of baselines and upper bounds.
        scorer (`CaptionScorer`, *optional*): Tokenizer and metrics; by default those that need no Java, see
            `default_scorer`. METEOR is computed for the system, the upper bounds and the baselines that are no
            constants, and for the best constant.
        protocol (`Protocol`, *optional*): Which references and blocks count; by default all of them.
        all_constants (`bool`, *optional*, defaults to `True`): Whether to look for the best constant among all
            training captions, see `bounds.score_baselines`.

    Returns:
        `dict[str, Any]`: `scores` (total, changed, unchanged, by_type), `no_change_rate`, `distinct_captions`,
        `change_type_accuracy`, `diagnosis` (see `clevr.diagnosis.diagnose`), `correctness` (see
        `clevr.part_rates.describe_correctness`) and `oracles` (captions that know the scene, see
        `clevr.oracles.score_oracles`), both None where scenes are not known or do not explain the references,
        `baselines`, `best_constant_baseline`
        (names), `constants_tried` (different training captions), `upper_bounds`, `no_change_synonym`, `seed`,
        `protocol` (name and description, or None), `bootstrap`, and what the scores depend on: `tokenizer`,
        `language`, `java` and `versions`. With scenes, all scores have `correct`, the share of correct captions; of
        unchanged pairs, of those that say that nothing changed.

    Raises:
        ValueError: If there is no row, pair ids are missing, unknown or given twice, or a pair has no reference.
    """
    if not rows:
        raise ValueError("There is nothing to score: the split has no pairs.")
    by_pair = by_id(((row["pair_id"], row) for row in rows), "rows")
    check_ids(by_pair, predictions)
    said = [predictions[name] for name in by_pair]
    check_lists(said, [row["captions"] for row in rows], [f"pair {name!r}" for name in by_pair])
    scorer = scorer or default_scorer(text for row in rows for text in row["captions"])
    if protocol:
        rows, train_rows = apply_protocol(protocol, rows), train_rows and apply_protocol(protocol, train_rows)
    tokens = scorer.tokenize([*said, *(text for row in [*rows, *(train_rows or [])] for text in row["captions"])])
    table, train_table = tokenize_rows(rows, tokens), train_rows and tokenize_rows(train_rows, tokens)
    hypotheses = [tokens[text] for text in said]
    blocks = PairBlocks([row["captions"] for row in table], [row["change_type"] for row in table], scorer.meteor)
    known = set(count_captions([*table, *(train_table or [])], unchanged_only=True))
    judges = build_judges(table, known)
    types = [row["change_type"] for row in table]
    blocks = PairBlocks([row["captions"] for row in table], types, scorer.meteor, judges)
    synonyms = count_captions(train_table or table, unchanged_only=True).most_common(MAX_CONSTANTS)
    baselines = score_baselines(blocks, hypotheses, train_table, seed, all_constants)
    return {
        "seed": seed,
        **scorer.describe(),
        "protocol": protocol and {"name": protocol.name, "description": protocol.description},
        "scores": score_blocks(table, hypotheses, said, scorer, seed, protocol.blocks if protocol else BLOCKS, judges),
        "bootstrap": describe_bootstrap(),
        "no_change_rate": {
            name: _mean(hypotheses[index] in known for index in blocks.indices[name]) if known else None
            for name in ("changed", "unchanged")
        },
        "distinct_captions": len(set(hypotheses)),
        "change_type_accuracy": change_type_of and change_type_accuracy(rows, predictions, change_type_of),
        "diagnosis": diagnose(table, hypotheses),
        "correctness": judges and describe_correctness(table, hypotheses, seed),
        "oracles": judges and _score_oracles(table, blocks, scorer, seed),
        "baselines": baselines.scores,
        "best_constant_baseline": baselines.best_constant,
        "constants_tried": len(count_captions(train_table)) if train_table and all_constants else None,
        "upper_bounds": score_upper_bounds(blocks, seed),
        "no_change_synonym": score_synonyms(blocks, hypotheses, known, [sentence for sentence, _ in synonyms]),
    }


def _score_oracles(
    rows: Sequence[Row], blocks: PairBlocks, scorer: CaptionScorer, seed: int
) -> dict[str, dict[str, Any]] | None:
    captions = oracle_captions([row for row in rows if row.get(SCENE)], seed)
    tokens = scorer.tokenize([text for texts in captions.values() for text in texts])
    return score_oracles(blocks, {name: [tokens[text] for text in texts] for name, texts in captions.items()})


def tokenize_rows(rows: Sequence[Row], tokens: Mapping[str, str]) -> list[Row]:
    """Replace captions by their tokens.

    Args:
        rows (`Sequence[Row]`): Records of a split.
        tokens (`Mapping[str, str]`): {raw caption: tokens}.

    Returns:
        `list[Row]`: New records.
    """
    return [{**row, "captions": [tokens[text] for text in row["captions"]]} for row in rows]


def score_blocks(
    rows: Sequence[Row],
    hypotheses: Sequence[str],
    said: Sequence[str],
    scorer: CaptionScorer,
    seed: int = 0,
    wanted: Sequence[str] = BLOCKS,
    judges: Sequence[Judge] | None = None,
) -> dict[str, Any]:
    """Score all pairs, the changed, the unchanged, and each change type, every block as a set of its own.

    Args:
        rows (`Sequence[Row]`): Tokenized records of the split.
        hypotheses (`Sequence[str]`): One tokenized caption a record.
        said (`Sequence[str]`): The same captions before they were tokenized, to count their special tokens.
        scorer (`CaptionScorer`): The metrics.
        seed (`int`, *optional*, defaults to `0`): Seed of the bootstrap.
        wanted (`Sequence[str]`, *optional*, defaults to `BLOCKS`): The blocks to score beside the total; the others
            stay empty, so that they are not quoted.
        judges (`Sequence[Judge]`, *optional*): What decides whether a caption of each record is correct.

    Returns:
        `dict[str, Any]`: {"total", "changed", "unchanged", "by_type": {type: ...}}, each the scores with their
        `intervals`, or None.
    """

    def score(kept: Callable[[str | None], bool]) -> dict[str, Any] | None:
        indices = [index for index, row in enumerate(rows) if kept(row["change_type"])]
        if not indices:
            return None
        texts = [hypotheses[index] for index in indices]
        targets = [rows[index]["captions"] for index in indices]
        scores = scorer.score(texts, targets)
        corpus = ReferenceCorpus(targets, judges and [judges[index] for index in indices])
        items = corpus.statistics(texts, scorer.meteor)
        if items.correct is not None:
            scores["correct"] = float(items.correct.mean())
        scores["intervals"] = intervals(items, seed=seed)
        removed = sum(clean_caption(said[index])[1] for index in indices)
        return {**scores, "special_tokens": removed, "document_frequencies": OWN_FREQUENCIES}

    types = sorted({row["change_type"] for row in rows} - {None, "none"})
    by_type = types if "by_type" in wanted else []
    return {
        "total": score(lambda kind: True),
        "changed": score(lambda kind: kind in types) if "changed" in wanted else None,
        "unchanged": score(lambda kind: kind == "none") if "unchanged" in wanted else None,
        "by_type": {name: score(lambda kind, name=name: kind == name) for name in by_type},
    }


def change_type_accuracy(
    rows: Sequence[Row], predictions: Mapping[str, str], change_type_of: Callable[[str], str | None]
) -> dict[str, Any]:
    """Compare the change type that a caption names with the pair's, over the changed pairs.

    Args:
        rows (`Sequence[Row]`): Records of the split.
        predictions (`Mapping[str, str]`): One caption a pair, by pair id.
        change_type_of (`Callable[[str], str | None]`): Reads the change type off a caption.

    Returns:
        `dict[str, Any]`: {"changed": rate, "by_type": {type: rate}, "references": the same rate for the references,
        which tells whether `change_type_of` fits this data set}; None where no pair changed.
    """
    hits: dict[str, list[bool]] = {}
    checks = []
    for row in rows:
        name = row["change_type"]
        if name not in {None, "none"}:
            said = clean_caption(predictions[row["pair_id"]])[0]
            hits.setdefault(name, []).append(change_type_of(said) == name)
            checks += [change_type_of(text) == name for text in row["captions"]]
    return {
        "changed": _mean(hit for values in hits.values() for hit in values),
        "by_type": {name: _mean(values) for name, values in sorted(hits.items())},
        "references": _mean(checks),
    }


def _mean(values: Iterable[bool]) -> float | None:
    counted = [float(value) for value in values]
    return sum(counted) / len(counted) if counted else None


def format_table(report: Mapping[str, Any]) -> str:
    """Lay a report out as plain text: the system, its baselines and upper bounds, scores times 100.

    Args:
        report (`Mapping[str, Any]`): What `build_report` gave.

    Returns:
        `str`: Lines with BLEU-4, METEOR, ROUGE-L, CIDEr-D and, where scenes are known, the share of correct captions,
        over all pairs and over the changed ones; "-" for a missing score. Below, what is right about the captions.
    """
    lines = [("system", report["scores"])]
    lines += [(f"baseline: {name}", scores) for name, scores in report["baselines"].items()]
    lines += [(f"upper bound: {name}", scores) for name, scores in report["upper_bounds"].items()]
    lines += [(f"oracle: {name}", scores) for name, scores in (report.get("oracles") or {}).items()]
    for name, scores in (report["no_change_synonym"] or {}).items():
        lines.append((f"system, {name} no-change synonym", {"total": scores, "changed": None}))
    width = min(NAME_WIDTH, max(len(name) for name, _ in lines))
    columns = [name for name in COLUMNS if name != CORRECT or CORRECT in report["scores"]["total"]]
    header = [f"{title:>8}" for title in columns]
    table = [
        " " * width + f"{'total':>{8 * len(columns)}} |{'changed':>{8 * len(columns)}}",
        " " * width + "".join(header) + " |" + "".join(header),
    ]
    for name, blocks in lines:
        shown = name if len(name) <= width else name[: width - 3] + "..."
        cells = [_cells(blocks[block], columns) for block in ("total", "changed")]
        table.append(f"{shown:<{width}}{cells[0]} |{cells[1]}")
    return "\n".join([*table, *format_correctness(report)])


def format_correctness(report: Mapping[str, Any]) -> list[str]:
    """Tell what is right about the captions, judged by the scenes.

    Args:
        report (`Mapping[str, Any]`): What `build_report` gave.

    Returns:
        `list[str]`: Lines; none where scenes are not known.
    """
    if not report.get("correctness"):
        return []
    scores, parts = report["scores"], report["correctness"]["parts"]["changed"]
    known = [(name, rates["right"], rates["captions"]) for name, rates in parts.items() if rates["captions"]]
    lines = ["of the changed pairs, right: " + ", ".join(f"{name} {_percent(r)} of {n}" for name, r, n in known)]
    if scores["unchanged"]:
        lines.append(f"unchanged right: {_percent(scores['unchanged'][CORRECT])}")
    lines.append("oracles are captions made with perfect knowledge of the scene: what CIDEr owes to wording alone")
    return lines


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def format_intervals(report: Mapping[str, Any]) -> str:
    """Lay out the system's scores by block, each with its 95 % interval.

    Args:
        report (`Mapping[str, Any]`): What `build_report` gave.

    Returns:
        `str`: A line a block: its pairs, then each score times 100 with the ends of its interval.
    """
    scores = report["scores"]
    blocks = {name: scores[name] for name in ("total", "changed", "unchanged")} | scores["by_type"]
    lines = []
    for name, block in blocks.items():
        if block:
            ends = {title: block["intervals"].get(key) for title, key in COLUMNS.items() if block.get(key) is not None}
            parts = [
                f"{title} {100 * block[COLUMNS[title]]:.1f} [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"
                for title, interval in ends.items()
                if interval
            ]
            lines.append(f"{name} ({block['n_items']} pairs): {', '.join(parts)}")
    return "\n".join(lines)


def _cells(scores: Mapping[str, Any] | None, columns: Sequence[str]) -> str:
    values = [(scores or {}).get(COLUMNS[name]) for name in columns]
    return "".join(f"{'-':>8}" if value is None else f"{100 * value:>8.1f}" for value in values)


def collapse_alarm(report: Mapping[str, Any]) -> str | None:
    """Return a warning if the captions no longer depend on the images.

    The signs: fewer than 5 distinct captions over 50 or more pairs, "no change" said of more than 90 % of the changed
    pairs, or a CIDEr on the changed pairs (on all where no type is known) that one constant caption reaches too.

    Args:
        report (`Mapping[str, Any]`): What `build_report` gave.

    Returns:
        `str`: A warning that names each sign, or None.
    """
    signs = []
    distinct, pairs = report["distinct_captions"], report["scores"]["total"]["n_items"]
    if distinct < MIN_DISTINCT and pairs >= MIN_PAIRS:
        signs.append(f"only {distinct} distinct captions over {pairs} pairs")
    rate = report["no_change_rate"]["changed"]
    if rate is not None and rate > MAX_NO_CHANGE_RATE:
        signs.append(f'"no change" said of {rate:.0%} of the changed pairs')
    block = "changed" if report["scores"]["changed"] else "total"
    name = report["best_constant_baseline"][block]
    if name is not None:
        ours, baseline = report["scores"][block]["cider"], report["baselines"][name][block]["cider"]
        if ours <= baseline + TIE:
            signs.append(f"CIDEr {100 * ours:.1f} ({block}) is not above {100 * baseline:.1f} of one constant: {name}")
    return "The captions have collapsed: " + "; ".join(signs) + "." if signs else None
