# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
r"""Explains the scores of the public reproduction of SSGPA by running what led to them, on the CPU at a small size.

python benchmarks/explain_reproduction.py --output benchmarks/results/reproduction.json
python benchmarks/explain_reproduction.py --data scenes/small_prepared_8x8 --output reproduction.json

Without `--data` it renders a small set. `--learned NAME=FILE` adds an evaluation of a trained variant by
`examples/evaluate.py`; without it, that part says so. docs/reproduction.md lays the results out.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset

from ssgpa.benchmarks import reproduction_facts as facts
from ssgpa.benchmarks.variants.reproduction import PROMPT, TRAINABLE, ViTReproduction
from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
from ssgpa.data.prepared import load_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.metrics.change_captioning.scorer import default_scorer
from ssgpa.training.arguments import ModelArguments, yaml_to_arguments
from ssgpa.training.systems import create_system, set_trainable
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.results import library_versions, read_results, write_results


ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "examples/configs/reproduction"
MODEL = ROOT / "examples/configs/models/reproduction-clevr-tiny.json"
RUNS = ("vit_clevr", "vit_spot", "resnet_clevr", "resnet_spot")
SIZE = (192, 128)
QUOTED = {
    "paper": "the paper's own, as the reproduction's README quotes them",
    "readme": "as the reproduction's README reports them",
    "saved": "captions saved in its repository, scored by others with the official scorers on the validation split",
    "constant": 'the sentence "there are more people in the parking lot" for every pair, scored by others likewise',
    "constant, test": "the same sentence on the test split, scored by others likewise",
    "shuffled": "the saved captions shuffled over the images, scored by others likewise; CIDEr's lower bound of three",
}
# BLEU-4, METEOR, ROUGE-L, CIDEr, times 100. Nothing here was measured by this program.
QUOTED_SCORES = [
    ("CLEVR-Change", "paper", "SSGPA", [60.9, 44.2, 80.2, 159.1]),
    ("CLEVR-Change", "readme", "ViT", [33.5, 17.0, 50.3, 65.3]),
    ("CLEVR-Change", "readme", "ResNet", [32.4, 14.5, 48.9, 91.4]),
    ("Spot-the-Diff", "paper", "SSGPA", [13.5, 16.0, 42.7, 63.4]),
    ("Spot-the-Diff", "readme", "ViT", [9.0, 11.7, 30.7, 29.7]),
    ("Spot-the-Diff", "saved", "ViT", [9.6, 11.6, 30.5, 29.5]),
    ("Spot-the-Diff", "shuffled", "ViT", [7.7, 10.5, 28.7, 20.0]),
    ("Spot-the-Diff", "readme", "ResNet", [9.6, 11.4, 30.1, 30.5]),
    ("Spot-the-Diff", "saved", "ResNet", [4.1, 7.7, 23.6, 12.4]),
    ("Spot-the-Diff", "shuffled", "ResNet", [6.4, 9.0, 25.1, 16.0]),
    ("Spot-the-Diff", "constant", "-", [8.6, 10.9, 30.9, 27.1]),
    ("Spot-the-Diff", "constant, test", "-", [7.9, 11.1, 30.0, 37.1]),
]


def quoted_rows() -> list[dict[str, Any]]:
    """Published figures, each with where it is quoted from."""
    names = ("bleu_4", "meteor", "rouge_l", "cider")
    return [
        {"data": data, "kind": kind, "variant": variant, "scores": dict(zip(names, scores, strict=True))}
        for data, kind, variant, scores in QUOTED_SCORES
    ]


def rendered(folder: Path, scenes: int, seed: int) -> Dataset:
    """The pairs of a set that is rendered here; all of them, since nothing is trained on them."""
    settings = RenderSettings(scenes=scenes, seed=seed, size=SIZE, splits=(0.0, 0.0, 1.0))
    return load_clevr_change(render_dataset(folder, settings, progress=False))["test"]


def tiny_variant(rows: Dataset, seed: int) -> tuple:
    """A small ViT variant of random weights and its processor, with the words of the rows, ready to train."""
    captions = [text for texts in rows["captions"] for text in texts]
    words = ModelArguments(
        model_config=str(MODEL),
        model_class="ssgpa.benchmarks.variants.ablations.SSGPAWithoutMechanism",
        image_size=[128, 128],
        prompt=PROMPT.format("<image>", "<s>"),
    )
    torch.manual_seed(seed)
    source, processor, _ = create_system(words, captions)
    model = ViTReproduction.from_base(source)
    set_trainable(model, list(TRAINABLE), set())
    return model, processor


def explain(rows: Dataset, seed: int) -> dict[str, Any]:
    """Everything that is measured without a long training.

    Args:
        rows (`Dataset`): Pairs with captions and change types.
        seed (`int`): Of random weights and draws.

    Returns:
        `dict[str, Any]`: `nan`, `constant`, `cut` and how long each took.
    """
    model, processor = tiny_variant(rows, seed)
    scorer = default_scorer(text for texts in rows["captions"] for text in texts)
    few = rows.select(range(2))
    inputs = processor(images=[[row["before"], row["after"]] for row in few], return_tensors="pt")
    parts = {
        "cut": lambda: facts.cut_of_output(model, processor, inputs),
        "nan": lambda: facts.explain_nan(model, processor, rows, scorer),
        "constant": lambda: facts.explain_constant(rows, seed),
    }
    found: dict[str, Any] = {"seconds": {}}
    for name, measure in parts.items():
        start = time.process_time()
        found[name] = measure()
        found["seconds"][name] = round(time.process_time() - start, 1)
    return found


def named_file(text: str) -> tuple[str, Path]:
    """NAME=FILE of a command line."""
    name, sign, path = text.partition("=")
    if not (name and sign and path):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE.")
    return name, Path(path)


def parse_arguments(words: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = OneLineParser(
        prog="explain_reproduction.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", help="prepared folder whose test split stands for the rendered set")
    parser.add_argument("--scenes", type=positive, default=150, help="scenes to render")
    parser.add_argument("--seed", type=int, default=7, help="of scenes, weights and draws")
    parser.add_argument("--learned", type=named_file, nargs="+", default=[], metavar="NAME=FILE")
    parser.add_argument("--output", required=True, type=Path, help="JSON file")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Measure and write, and answer errors with one line on stderr and exit code 2."""
    options = parse_arguments(words)
    be_quiet()
    facts.be_quiet_about_loading()
    try:
        trained = {name: facts.learned(read_results(path), path) for name, path in options.learned}
        with TemporaryDirectory() as folder:
            if options.data:
                rows = load_prepared(options.data)["test"]
            else:
                rows = rendered(Path(folder) / "scenes", options.scenes, options.seed)
            measured = explain(rows, options.seed)
            pairs = len(rows)
        seconds = measured.pop("seconds")
        write_results(
            options.output,
            {
                "data": {"folder": options.data} if options.data else {"scenes": options.scenes, "size": SIZE},
                "pairs": pairs,
                "seed": options.seed,
                "model": json.loads(MODEL.read_text(encoding="utf-8")),
                "runs": {name: yaml_to_arguments(CONFIGS / f"{name}.yaml") for name in RUNS},
                "parts": {**dict.fromkeys(measured, True), "learned": bool(trained)},
                **measured,
                "learned": trained,
                "quoted_from": QUOTED,
                "quoted": quoted_rows(),
                "seconds": seconds,
                "threads": torch.get_num_threads(),
                "versions": library_versions(),
            },
        )
    except ERRORS as error:
        return report_error("explain_reproduction.py", error)
    sys.stdout.write(f"Wrote {options.output}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
