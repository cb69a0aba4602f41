# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[demo]"]
# ///
"""The demo as a Space: two pictures in; out come captions with scores, and the evidence between before and after.

    python examples/app.py [--model PATH_OR_ID ...] [--port 7860]

Without `--model`, the checkpoint of the package speaks, and no network is needed. docs/space.md tells the rest.
"""

import argparse
import inspect
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import LogitsProcessorList, PreTrainedModel, ProcessorMixin

from ssgpa.cli import EMBEDDED
from ssgpa.command_line import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.loading import load_system
from ssgpa.pictures_ssgpa import load_picture
from ssgpa.pipeline_ssgpa import FiniteLogitsCheck, draw_change_map, draw_overlay


# A page that others can reach tells nobody that it was opened.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
try:
    import gradio
except ImportError as error:
    raise ImportError('the demo needs gradio: pip install "ssgpa[demo]".') from error

PAIRS = Path(__file__).resolve().parent / "pairs"
MAX_BEAMS = 8
MAX_PIXELS = 16_000_000
MAX_FILE_SIZE = "10mb"
MAX_WAITING = 16
KEEP_SECONDS = 3600
ABOUT = """# What changed?

Two pictures of one scene in, one sentence about what changed out. The small model of this page knows rendered cubes,
spheres and cylinders on a plain ground, **and nothing else**: on photographs its sentences mean nothing, and it
answers all the same. Red is raw evidence, a hint and no segmentation."""
HEADERS = ["caption", "log probability", "against the first"]
TABLE = {"column_widths": ["60%", "20%", "20%"], "wrap": True, "buttons": ["copy"]}

Pair = tuple[Image.Image, Image.Image]


@dataclass(frozen=True)
class Answer:
    """What a model says about a pair.

    Args:
        pair: Before and after, upright RGB.
        beams: Captions with the natural logarithm of their probability, the beam search's best first.
        maps: Grey drawings of the evidence on before and on after; None where the system has none.
    """

    pair: Pair
    beams: list[tuple[str, float]]
    maps: Pair | None


# Two at most: each of them takes its memory.
@lru_cache(maxsize=2)
def cached_system(path: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Load a system, or take it from memory."""
    return load_system(path)


def read_picture(path: str | None, name: str) -> Image.Image:
    """Decode an uploaded picture that is not too large.

    Raises:
        ValueError: There is none, it is too large, or no picture; the error names the side, never the server's path.
    """
    if path is None:
        raise ValueError(f"{name}: no picture; two are needed.")
    content = Path(path).read_bytes()
    # The header tells the size before anything is decoded.
    try:
        with Image.open(path) as picture:
            width, height = picture.size
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: not a picture, of an unknown kind, or far too large.") from error
    if width * height > MAX_PIXELS:
        raise ValueError(f"{name}: {width}x{height} pixels are too many; {MAX_PIXELS:,} are allowed.")
    return load_picture(content, name)


@torch.inference_mode()
def describe(model: PreTrainedModel, processor: ProcessorMixin, pair: Pair, beams: int) -> Answer:
    """Caption a pair with a beam search and say how probable each caption is.

    Args:
        model: Any system of this library.
        processor: Its processor.
        pair: Before and after.
        beams: Number of beams; as many captions come back.

    Returns:
        The answer. A caption's log probability is the sum over its tokens and the end of the sentence.
    """
    inputs = processor(images=[list(pair)], return_tensors="pt").to(model.device, dtype=model.dtype)
    maps = None
    if "output_evidence" in inspect.signature(model.forward).parameters:
        features = model.get_image_features(inputs.pop("pixel_values"), return_dict=True)
        inputs["mm_encoder_outputs"] = {"image": features}
        cells = features.evidence.change_map[0].cpu()
        maps = tuple(draw_change_map(part, picture.size) for part, picture in zip(cells, pair, strict=True))
    found = model.generate(
        **inputs,
        num_beams=beams,
        num_return_sequences=beams,
        max_new_tokens=model.generation_config.max_new_tokens or 40,
        return_dict_in_generate=True,
        output_scores=True,
        logits_processor=LogitsProcessorList([FiniteLogitsCheck()]),
    )
    scores = model.compute_transition_scores(
        found.sequences, found.scores, found.get("beam_indices"), normalize_logits=True
    )
    captions = processor.post_process_captions(found.sequences, {"input_ids": inputs.get("input_ids")})
    return Answer(pair, list(zip(captions, scores.sum(dim=-1).tolist(), strict=True)), maps)


def draw(answer: Answer | None, evidence: bool) -> Pair | None:
    """Both pictures at the size of the one after, for the slider, tinted with the evidence if wanted."""
    if answer is None:
        return None
    pictures = answer.pair
    if evidence and answer.maps:
        pictures = tuple(draw_overlay(*drawing) for drawing in zip(answer.pair, answer.maps, strict=True))
    before, after = pictures
    return before if before.size == after.size else before.resize(after.size, Image.Resampling.BICUBIC), after


def as_json(answer: Answer, before: str, after: str, model: str) -> dict[str, Any]:
    """The answer as `ssgpa caption --json` tells it, and the beams."""
    largest = [drawn.getextrema()[1] / 255 for drawn in answer.maps] if answer.maps else [None, None]
    return {
        "caption": answer.beams[0][0],
        "before": Path(before).name,
        "after": Path(after).name,
        "model": model,
        "scores": dict(zip(("change_before", "change_after"), largest, strict=True)),
        "beams": [{"caption": text, "log_probability": score} for text, score in answer.beams],
    }


class Demo:
    """What the page's buttons do.

    Args:
        models: Names that the page shows, with the folder or id of each.
    """

    def __init__(self, models: dict[str, str]) -> None:
        self.models = models

    def caption(
        self, before: str | None, after: str | None, model: str, beams: float, evidence: bool
    ) -> tuple[str, Pair | None, list[list[Any]], dict[str, Any], Answer]:
        """Caption a pair of files.

        Args:
            before: The first picture.
            after: The second picture.
            model: One of the page's models.
            beams: Beams of the search, 1 to 8; as many captions come back.
            evidence: Whether the pictures of the slider show the evidence.

        Returns:
            The caption, the slider's pictures, the rows of the table, the JSON, and the answer for later drawings.

        Raises:
            gradio.Error: Something cannot be used; the page shows why.
        """
        try:
            pair = read_picture(before, "before"), read_picture(after, "after")
            answer = describe(*cached_system(self.models[model]), pair, round(beams))
        except ERRORS as error:
            raise gradio.Error(str(error), print_exception=False) from error
        best = answer.beams[0][1]
        rows = [[text, round(score, 3), f"{math.exp(score - best):.1%}"] for text, score in answer.beams]
        return answer.beams[0][0], draw(answer, evidence), rows, as_json(answer, before, after, model), answer


def sample_pairs(folder: Path = PAIRS) -> list[list[str]]:
    """The pairs `NAME_before.png`, `NAME_after.png` of a folder."""
    found = sorted(folder.glob("*_before.png"))
    return [[str(path), str(path.with_name(path.name.replace("_before", "_after")))] for path in found]


def build_page(models: dict[str, str]) -> gradio.Blocks:
    """Lay out the page, with its queue: pictures, settings and sample pairs on the left, the answer on the right."""
    demo = Demo(models)
    with gradio.Blocks(title="What changed?", delete_cache=(KEEP_SECONDS, KEEP_SECONDS)) as page:
        gradio.Markdown(ABOUT)
        with gradio.Row():
            with gradio.Column():
                inputs = add_inputs(demo)
                button = gradio.Button("Say what changed", variant="primary", elem_id="run")
                gradio.Examples(
                    sample_pairs(), inputs[:2], label="Sample pairs", elem_id="samples", examples_per_page=4
                )
            with gradio.Column():
                outputs = add_outputs()
        answer = gradio.State()
        button.click(demo.caption, inputs, [*outputs, answer], api_name="caption")
        # Drawn anew, not asked anew.
        inputs[-1].change(draw, [answer, inputs[-1]], outputs[1], api_visibility="private")
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def add_inputs(demo: Demo) -> list[gradio.components.Component]:
    """Pictures, model, beams and evidence, in the order of `Demo.caption`."""
    with gradio.Row():
        # By file, so that the library decodes them as everywhere else.
        pictures = [
            gradio.Image(label=name, type="filepath", image_mode=None, sources=["upload", "clipboard"], elem_id=name)
            for name in ("before", "after")
        ]
    names = list(demo.models)
    return [
        *pictures,
        gradio.Dropdown(names, value=names[0], label="Model", elem_id="model"),
        gradio.Slider(1, MAX_BEAMS, value=3, step=1, label="Beams", elem_id="num_beams"),
        gradio.Checkbox(True, label="Show the evidence in red", elem_id="evidence"),
    ]


def add_outputs() -> list[gradio.components.Component]:
    """Caption, slider, table and JSON, in the order of what `Demo.caption` returns."""
    return [
        gradio.Textbox(label="Caption", elem_id="caption", interactive=False, lines=2, buttons=["copy"]),
        gradio.ImageSlider(
            label="Before | after", elem_id="slider", interactive=False, format="png", max_height=340, buttons=[]
        ),
        gradio.Dataframe(label="Beams", headers=HEADERS, elem_id="beams", interactive=False, **TABLE),
        gradio.JSON(label="JSON", elem_id="json", max_height=240),
    ]


def serve(models: Sequence[str] = (), host: str | None = None, port: int | None = None, wait: bool = True) -> Any:
    """Serve the page.

    Args:
        models: Folders of saved systems or ids on the Hub; by default the checkpoint of the package.
        host: Address to listen at; gradio's default, this machine alone.
        port: Port; the first free one from 7860 on.
        wait: Whether to go on until the server is stopped.

    Returns:
        The page, whose `local_url` is its address.
    """
    named = {path: path for path in models} or {EMBEDDED.name: str(EMBEDDED)}
    # A broken one stops the start; the first is the one that is asked first.
    for path in reversed(named.values()):
        cached_system(path)
    page = build_page(named)
    page.launch(
        server_name=host,
        server_port=port,
        max_file_size=MAX_FILE_SIZE,
        prevent_thread_lock=not wait,
        quiet=not wait,
        show_error=True,
        ssr_mode=False,
    )
    return page


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted; returns the exit code, or 2 after one line on stderr."""
    parser = OneLineParser(prog="app.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", action="append", default=[], help="a saved system; give it again for a choice")
    parser.add_argument("--host", help="address to listen at, default: this machine alone")
    parser.add_argument("--port", type=positive, help="default: the first free one from 7860 on")
    options = parser.parse_args(arguments)
    be_quiet()
    try:
        serve(options.model, options.host, options.port)
    except ERRORS as error:
        return report_error("app.py", error)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
