# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command line of `ssgpa score`."""

from pathlib import Path
from typing import Any


def add_score_command(commands: Any) -> None:
    """Describe the command.

    Args:
        commands (`Any`): What `add_subparsers` of the parser gave.
    """
    score = commands.add_parser(
        "score",
        help="score a file of captions, of any system",
        description="Scores PREDICTIONS (COCO results JSON, JSON Lines or CSV, by pair id) against references: BLEU, "
        "METEOR, ROUGE-L and CIDEr-D with 95 % intervals, by change type, beside captions that never saw the images.",
        allow_abbrev=False,
    )
    score.add_argument(
        "predictions", metavar="PREDICTIONS", type=Path, help="one caption a pair: .json, .jsonl or .csv"
    )
    score.add_argument(
        "--references",
        metavar="DATA",
        required=True,
        help="a folder of prepare_data.py, or a file: COCO annotations, JSON Lines or CSV with pair_id and captions",
    )
    score.add_argument("--split", default="test", choices=["test", "validation", "train", "all"], help="of the folder")
    score.add_argument(
        "--train", metavar="FILE", type=Path, help="references of the training pairs, for the baselines"
    )
    score.add_argument(
        "--scenes",
        metavar="FILE",
        type=Path,
        help="the renderer's scenes.jsonl, to judge captions; by default the folder's",
    )
    score.add_argument("--compare", metavar="OTHER", type=Path, help="another system's captions, of any such kind")
    score.add_argument(
        "--missing",
        default="error",
        choices=["error", "empty", "skip"],
        help="pairs without a caption: refuse (the default), count as empty, or leave out, as COCO does",
    )
    score.add_argument("--protocol", metavar="NAME", help="how a published table was scored, e.g. clevr_change")
    score.add_argument("--language", metavar="CODE", help="of the captions, e.g. zh; by default the data's")
    score.add_argument("--tokenizer", default="auto", help="auto (the default), ptb, nltk, char or none")
    score.add_argument("--no-meteor", action="store_true", help="go without METEOR, which needs Java and time")
    score.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws of baselines and intervals")
    score.add_argument("--output", metavar="OUT.json", type=Path, help="write all scores as JSON")
    score.add_argument("--report", metavar="DIR", type=Path, help="write DIR/index.html, a page to look at")
    score.add_argument("--report-pairs", type=int, default=400, metavar="N", help="pairs in its gallery, default: 400")
    score.add_argument("--overwrite", action="store_true", help="replace files that exist")
    score.set_defaults(parser=score)


__all__ = ["add_score_command"]
