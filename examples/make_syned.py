# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[syned]"]
# ///
r"""Make synthetic pairs out of images and editing instructions, after the Syned pipeline of the BLIP2IDC paper.

Eight edited images of each training original, four more captions of each test pair, validation as it is; the result
that training reads is `syned/prepared`. The same command continues a stopped run:

    python examples/make_syned.py --source prepared/emu_edit --output_dir syned --seed 0 --device cuda

Images of your own, listed in `images/originals.jsonl` with one line each like
{"id": "1", "image": "street.jpg", "instruction": "remove the car"}, two of eight variants kept:

    python examples/make_syned.py --source images --output_dir syned --seed 0 --caption_splits --keep 2
"""

from __future__ import annotations

import argparse
import importlib
import sys
from contextlib import suppress

from ssgpa.data.schema import SPLITS
from ssgpa.data.syned import EditSettings, ParaphraseSettings, RankSettings, SynedSettings, make_syned
from ssgpa.data.syned.settings import DTYPES, RANKINGS
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, report_error


NAMES_TOLD = 5


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line as a namespace."""
    edit, rank, part = EditSettings(), RankSettings(), ParaphraseSettings()
    parser = OneLineParser(
        description=__doc__.split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--source", required=True, help="prepared folder, or one with originals.jsonl and images")
    parser.add_argument("--output_dir", required=True, help="new or empty folder, or one of an interrupted run")
    parser.add_argument("--seed", type=int, required=True, help="seed of the set")
    parser.add_argument("--device", default="cpu", help="where the models run, such as cuda")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="of the models' weights")
    parser.add_argument("--image_splits", nargs="*", default=["train"], choices=SPLITS, help="splits to edit")
    parser.add_argument("--editor", default=edit.model, help="InstructPix2Pix pipeline fine-tuned on MagicBrush")
    parser.add_argument("--editor_revision", help="its commit")
    parser.add_argument("--variants", type=int, default=edit.variants, help="edited images an original")
    parser.add_argument("--resolution", type=int, default=edit.resolution, help="root of the number of pixels")
    parser.add_argument("--steps", type=int, default=edit.steps, help="denoising steps")
    parser.add_argument("--guidance", type=float, default=edit.guidance, help="weight of the instruction")
    parser.add_argument("--image_guidance", type=float, default=edit.image_guidance, help="weight of the original")
    parser.add_argument("--batch_size", type=int, default=edit.batch_size, help="variants of an original at once")
    parser.add_argument(
        "--safety_checker",
        "--safety-checker",
        action=argparse.BooleanOptionalAction,
        default=edit.safety_checker,
        help="leave out what the editor's safety checker flags",
    )
    parser.add_argument("--watermark", help="text of an invisible watermark on the edited images")
    parser.add_argument("--clip", default=rank.model, help="CLIP model")
    parser.add_argument("--clip_revision", help="its commit")
    parser.add_argument("--rank_by", default=rank.by, choices=[*RANKINGS, "none"], help="similarity to rank by")
    parser.add_argument("--keep", type=int, help="best variants to keep; all by default")
    parser.add_argument("--caption_splits", nargs="*", default=["test"], choices=SPLITS, help="splits to paraphrase")
    parser.add_argument("--chat_model", default=part.model, help="chat language model")
    parser.add_argument("--chat_revision", help="its commit")
    parser.add_argument("--paraphrases", type=int, default=part.count, help="paraphrases an instruction")
    parser.add_argument("--attempts", type=int, default=part.attempts, help="answers drawn at most")
    parser.add_argument("--temperature", type=float, default=part.temperature, help="of sampling")
    parser.add_argument("--top_p", type=float, default=part.top_p, help="of sampling")
    parser.add_argument("--max_new_tokens", type=int, default=part.max_new_tokens, help="length of an answer")
    return parser.parse_args(argv)


def to_settings(options: argparse.Namespace) -> SynedSettings:
    """The settings that the options say."""
    return SynedSettings(
        seed=options.seed,
        image_splits=tuple(options.image_splits),
        caption_splits=tuple(options.caption_splits),
        device=options.device,
        dtype=options.dtype,
        edit=EditSettings(
            model=options.editor,
            revision=options.editor_revision,
            variants=options.variants,
            resolution=options.resolution,
            steps=options.steps,
            guidance=options.guidance,
            image_guidance=options.image_guidance,
            batch_size=options.batch_size,
            safety_checker=options.safety_checker,
            watermark=options.watermark,
        ),
        rank=RankSettings(
            model=options.clip,
            revision=options.clip_revision,
            by=None if options.rank_by == "none" else options.rank_by,
            keep=options.keep,
        ),
        paraphrase=ParaphraseSettings(
            model=options.chat_model,
            revision=options.chat_revision,
            count=options.paraphrases,
            attempts=options.attempts,
            temperature=options.temperature,
            top_p=options.top_p,
            max_new_tokens=options.max_new_tokens,
        ),
    )


def keep_quiet() -> None:
    """Keep the libraries' notes and bars off stderr, so that an error stands alone; the stages' own bars stay."""
    be_quiet()
    for name in ("datasets", "diffusers"):
        # Whether it is needed, and how to get it, is told later.
        with suppress(ImportError):
            logging = importlib.import_module(f"{name}.utils.logging")
            logging.set_verbosity_error()
            logging.disable_progress_bar()


def tell_missing(what: str, counts: dict[str, int]) -> None:
    """Name the pairs that lack something."""
    if counts:
        names = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:NAMES_TOLD])
        rest = " ..., all in manifest.json" if len(counts) > NAMES_TOLD else ""
        print(f"{what}: {names}{rest}")


def main(argv: list[str] | None = None) -> int:
    """Make the set, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(argv)
    keep_quiet()
    try:
        manifest = make_syned(options.source, options.output_dir, to_settings(options))
    except ERRORS as error:
        return report_error("make_syned.py", error)
    print(
        f"{options.output_dir}/prepared: " + ", ".join(f"{count} {name}" for name, count in manifest["rows"].items())
    )
    tell_missing("paraphrases missing after all attempts", manifest["missing_paraphrases"])
    tell_missing("variants left out by the safety checker", manifest["flagged_variants"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
