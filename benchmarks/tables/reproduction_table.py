# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The tables of the page on the public reproduction, from `reproduction.json`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


METRICS = ("bleu_4", "rouge_l", "cider")
BLOCKS = ("changed", "unchanged", "total")
NOT_RUN = "The tiny training was not run for this file."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _scores(scores: Mapping[str, float]) -> str:
    return " / ".join(f"{100 * scores[name]:.1f}" for name in METRICS)


def _blocks(scores: Mapping[str, Mapping[str, float]]) -> list[str]:
    return [_scores(scores[name]) if name in scores else "-" for name in BLOCKS]


def format_published(figures: Mapping[str, Any], source: str) -> str:
    """What others have published and counted, none of it measured here.

    Args:
        figures (`Mapping[str, Any]`): The JSON of `benchmarks/explain_reproduction.py`.
        source (`str`): The file it came from, as the reader finds it.

    Returns:
        `str`: Markdown.
    """
    rows = [
        [f"{row['data']}, {row['variant']}, {row['kind']}", *(f"{score:.1f}" for score in row["scores"].values())]
        for row in figures["quoted"]
    ]
    told = "".join(f"- {kind}: {text}\n" for kind, text in figures["quoted_from"].items())
    head = ["quoted, not measured here", "BLEU-4", "METEOR", "ROUGE-L", "CIDEr"]
    return f"{_table(head, rows)}\n{told}\nStored in `{source}` as quotations."


def format_blind(figures: Mapping[str, Any], source: str) -> str:
    """Scores of no-change sentences for every pair, as this package computes them.

    Args:
        figures (`Mapping[str, Any]`): As for `format_published`.
        source (`str`): As there.

    Returns:
        `str`: Markdown.
    """
    blind = figures["constant"]["blind"]
    rows = [
        [f'always "{blind["constant"]}"', *_blocks(blind["scores"]["constant"])],
        ["the four saved sentences in their shares, drawn at random", *_blocks(blind["scores"]["templates"])],
        ["37 control characters", *_blocks(figures["nan"]["control_characters"]["scores"])],
    ]
    head = ["BLEU-4 / ROUGE-L / CIDEr-D, x 100", "changed", "unchanged", "all pairs"]
    drawn = ", ".join(f'"{text}" {count}' for text, count in blind["drawn"].items())
    return (
        f"{_table(head, rows)}\n{figures['pairs']} pairs, half of them changed, {_data(figures)}; seed "
        f"{figures['seed']}. Drawn: {drawn}. From `{source}`."
    )


def _data(figures: Mapping[str, Any]) -> str:
    data = figures["data"]
    return data.get("folder") or f"of {data['scenes']} scenes rendered at {data['size'][0]} x {data['size'][1]}"


def format_nan(figures: Mapping[str, Any], source: str) -> str:
    """The way from a forward pass that is not finite to a constant caption, and what this package does instead.

    Args:
        figures (`Mapping[str, Any]`): As for `format_published`.
        source (`str`): As there.

    Returns:
        `str`: Markdown.
    """
    nan = figures["nan"]
    trap, told = nan["scaler"], nan["control_characters"]
    rows = [
        ["loss of the first step, which is finite", f"{trap['loss_of_the_first_finite_step']:.3f}"],
        [
            f"steps that are not finite until the scale falls from {trap['scale_at_start']:.0f} to 0",
            str(trap["steps_until_the_scale_is_0"]),
        ],
        ["trained weights untouched until then", _yes(trap["trained_weights_untouched_until_then"])],
        ["loss of the next finite step", f"{trap['loss_of_the_next_finite_step']:.3f}"],
        [
            "trained numbers that are NaN after it",
            f"{trap['trained_numbers_nan_after_it']:,} of {trap['trained_numbers']:,}",
        ],
        ["frozen weights unchanged", _yes(trap["frozen_weights_unchanged"])],
    ]
    rows += [
        [
            f"Transformers' `generate`, {said['num_beams']} beam(s): different captions of {said['pairs']} pairs",
            f"{said['distinct']} (ids: {_counts(said['ids_of_the_first'])})",
        ]
        for said in nan["unchecked"]
    ]
    rows.append(
        [
            f"id {told['id']}, {told['repeated']} times, through a decoder with byte tokens",
            f"{told['characters']} characters U+{told['code_points'][0]:04X}, printable: {_yes(told['printable'])}; "
            f"{told['tokens_after_tokenization']} tokens for the metrics",
        ]
    )
    ours = "\n".join(f"{name}: {message}" for name, message in nan["ours"].items())
    return (
        f"{_table(['step', 'measured'], rows)}\nWhat this package says in its place, of the same weights:\n\n"
        f"```text\n{ours}\n```\n\nA tiny ViT variant on the CPU, seed {figures['seed']}. From `{source}`."
    )


def _counts(ids: Mapping[str, int]) -> str:
    return ", ".join(f"{token} x {count}" for token, count in ids.items())


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def format_targets(figures: Mapping[str, Any], source: str) -> str:
    """What the echoed prompt takes of the loss, and where the repetition penalty strikes.

    Args:
        figures (`Mapping[str, Any]`): As for `format_published`.
        source (`str`): As there.

    Returns:
        `str`: Markdown.
    """
    echo, repetition, cut = figures["constant"]["echo"], figures["constant"]["repetition"], figures["cut"]
    kinds = ("changed", "unchanged")
    rows = [
        ["words of a reference, mean", *(f"{echo[kind]['mean_words']:.1f}" for kind in kinds)],
        [
            "share of supervised tokens that are echo: all, smallest to largest",
            *(
                f"{100 * echo[kind]['of_all_tokens']:.1f} % ({100 * echo[kind]['smallest']:.1f} to "
                f"{100 * echo[kind]['largest']:.1f} %)"
                for kind in kinds
            ),
        ],
        [
            "caption tokens that the penalty strikes when they are due",
            *(f"{100 * repetition[kind]['share']:.1f} %" for kind in kinds),
        ],
        ["the same, for each caption", *(f"{repetition[kind]['per_caption']:.2f}" for kind in kinds)],
        [
            "captions in which it strikes none",
            *(f"{100 * repetition[kind]['captions_without']:.1f} %" for kind in kinds),
        ],
    ]
    templates = ", ".join(f'"{text}" {count}' for text, count in repetition["templates"].items())
    return (
        f"{_table(['references of', 'changed pairs', 'unchanged pairs'], rows)}\nStruck tokens of the saved "
        f"sentences: {templates}.\n\nStart tokens that Transformers {figures['versions']['transformers']} puts in "
        f"front of what it generates from embeddings: {cut['start_tokens_in_front']}. Of the echo and "
        f'"{cut["caption"]}", the cut of {cut["cut"]} ids leaves "{cut["left_of_it"]}".\n\nA word is a token here; '
        f"the echo has {echo['echo_tokens']}. From `{source}`."
    )


def format_learned(figures: Mapping[str, Any], source: str) -> str:
    """The variant beside ours, from the same start, on the same pairs and steps; or that they were not trained.

    Args:
        figures (`Mapping[str, Any]`): As for `format_published`.
        source (`str`): As there.

    Returns:
        `str`: Markdown.
    """
    if not figures["learned"]:
        return NOT_RUN
    rows = [
        [
            name,
            *_blocks(record["scores"]),
            f"{100 * record['best_constant_cider']['changed']:.1f}",
            f"{100 * record['no_change_rate']['changed']:.1f} %",
            str(record["distinct_captions"]),
        ]
        for name, record in figures["learned"].items()
    ]
    head = ["BLEU-4 / ROUGE-L / CIDEr-D, x 100", "changed", "unchanged", "all pairs"]
    head += ["best constant's CIDEr-D, changed", "changed told as unchanged", "different captions"]
    return f"{_table(head, rows)}\nFrom `{source}`."


__all__ = ["format_blind", "format_learned", "format_nan", "format_published", "format_targets"]
