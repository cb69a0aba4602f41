# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
# /// script
# requires-python = ">=3.11"
# dependencies = ["ssgpa[demo]"]
# ///
"""The demo as a Space: two images in; out come captions with scores, and the evidence between before and after.

    python examples/app.py [--model PATH_OR_ID ...] [--port 7860]

Without `--model`, the demo uses the bundled checkpoint and needs no network. See docs/space.md.
"""

import argparse
import html
import math
import os
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import torch
from PIL import Image
from transformers import LogitsProcessorList, PreTrainedModel, ProcessorMixin

from ssgpa.cli.batch import trust_in
from ssgpa.cli.commands import EMBEDDED
from ssgpa.difference_ssgpa import same_pixels
from ssgpa.evidence_ssgpa import encode, weigh
from ssgpa.image_utils_ssgpa import size_of
from ssgpa.pipeline_ssgpa import (
    DECODING,
    ChangeCaptioningPipeline,
    FiniteLogitsCheck,
    caption_penalty,
    draw_change_map,
    draw_overlay,
    gives_evidence,
)
from ssgpa.utils.console import ERRORS, OneLineParser, be_quiet, positive, report_error
from ssgpa.utils.loading import load_system


# A page that others can reach tells nobody that it was opened.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
try:
    import gradio
except ImportError as error:
    raise ImportError('the demo needs gradio: pip install "ssgpa[demo]".') from error
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse


PAIRS = Path(__file__).resolve().parent / "pairs"
MAX_BEAMS = 8
MAX_PIXELS = 16_000_000
MAX_FILE_SIZE = "10mb"
MAX_WAITING = 16
KEEP_SECONDS = 3600
# A question may wait so long for those before it, and be answered for so long.
WAIT_SECONDS = 90
ANSWER_SECONDS = 30
# What one address may send: requests and bytes in a minute, and bytes in one request, two files and their names.
RATE_SECONDS = 60
MAX_REQUESTS = 240
MAX_BYTES = 200_000_000
MAX_BODY = 24_000_000
MAX_ADDRESSES = 10_000
# Pages whose last answer is kept, and the longest side of the images that are kept with it.
MAX_SESSIONS = 64
SHOWN_SIDE = 1024
# Answers to sample pairs that are kept: each takes some MB.
MAX_ANSWERS = 48
BEAMS = 3
SIDES = ("before", "after")
WARMING = "answers to the sample pairs"
ABOUT = """# What changed?

Two images of one scene in, one sentence about what changed out. The small model of this page knows rendered cubes,
spheres and cylinders on a plain ground, **and nothing else**: of other images the page says only where they differ."""
EMPTY = "Drop an image on each side, or click on a sample pair."
HEADERS = ["caption", "log p", "ratio"]
TABLE = {"column_widths": ["60%", "20%", "20%"], "wrap": True, "buttons": ["copy"]}
# The caption is what people come for. On a narrow screen it stays in view while they scroll to images and samples.
CSS = """
#caption textarea { font-size: 1.5rem; line-height: 1.35; font-weight: 600; }
#caption textarea::placeholder { font-size: 1.1rem; font-weight: 400; color: #525252; }
.dark #caption textarea::placeholder { color: #d4d4d4; }
.note [role="alert"] {
  border-left: 4px solid #dc2626; padding: .4rem .6rem; border-radius: 4px;
  background: #fef2f2; color: #991b1b; overflow-wrap: anywhere;
}
.dark .note [role="alert"] { background: #450a0a; color: #fecaca; }
@media (max-width: 640px) {
  .gradio-container { overflow: visible !important; }
  .gradio-container > .main { padding: 8px 12px !important; }
  .form:has(> #caption) { position: sticky; top: 0; z-index: 20; box-shadow: 0 2px 8px rgb(0 0 0 / 25%); }
  #caption textarea { font-size: 1.2rem; }
  #caption textarea::placeholder { font-size: 1rem; }
}
"""

Pair = tuple[Image.Image, Image.Image]


@dataclass(frozen=True)
class Answer:
    """What a model says about a pair.

    Args:
        pair (`Pair`): Before and after, upright RGB, at most 1,024 pixels wide and high.
        beams (`list[tuple[str, float]]`): Captions with the natural logarithm of their probability, the beam search's
            best first.
        maps (`Pair`, *optional*): Gray drawings of the evidence on the before and after images; None if the system has
            none.
        told (`dict[str, Any]`, *optional*, defaults to `{}`): What the pipeline tells beside the caption: how far it
            can be trusted, and another sentence where the images are equal or unfamiliar.
    """

    pair: Pair
    beams: list[tuple[str, float]]
    maps: Pair | None
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def caption(self) -> str:
        """The sentence to show."""
        return self.told.get("generated_text", self.beams[0][0])

    @property
    def remark(self) -> str | None:
        """What is said of it in words, below the caption; None where nothing is known."""
        if self.told.get("identical"):
            return "Both images are exactly equal."
        if self.told.get("familiar") is False:
            return f"These images are {self.told['note']} The model's own sentence is under Beams."
        if "confidence" in self.told:
            return f"Confidence: {100 * self.told['confidence']:.0f} %."
        return None


# Two at most: each of them takes its memory.
@lru_cache(maxsize=2)
def cached_system(path: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Load a system, or take it from memory."""
    return load_system(path)


class PairError(ValueError):
    """What is wrong with the images of a pair, by side.

    Args:
        reasons (`dict[str, str]`): Texts by "before" and "after".
    """

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(" ".join(f"{side}: {reason}" for side, reason in reasons.items()))
        self.reasons = reasons


def read_image(path: str | None, name: str, processor: ProcessorMixin) -> Image.Image:
    """Decode an uploaded image that is not too large, as the model that is asked reads images.

    Args:
        path (`str`, *optional*): The file; None if there is none.
        name (`str`): The side.
        processor (`ProcessorMixin`): The model's processor, which knows how values become colors.

    Returns:
        `Image.Image`: The image, RGB, of its own size.

    Raises:
        ValueError: There is none, it is too large, or no image; the error names neither side nor the server's path.
    """
    if path is None:
        raise ValueError("no image; two are needed.")
    content = Path(path).read_bytes()
    # The header has the size before anything is decoded.
    try:
        width, height = size_of(content)
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError("cannot identify image: of an unknown kind, or far too large.") from error
    except (ValueError, ImportError) as error:
        raise ValueError(f"cannot be read as an image ({error}).") from error
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width}x{height} pixels are too many; {MAX_PIXELS:,} are allowed.")
    try:
        return processor.load_image(content, name, whole=True)
    except ERRORS as error:
        raise ValueError(str(error).removeprefix(f"{name}: ")) from error


def read_pair(before: str | None, after: str | None, processor: ProcessorMixin) -> Pair:
    """Decode both images.

    Args:
        before (`str`, *optional*): File of the first image; None if there is none.
        after (`str`, *optional*): File of the second image.
        processor (`ProcessorMixin`): The model's processor.

    Returns:
        `Pair`: Both, RGB, each of its own size.

    Raises:
        PairError: One or both cannot be used.
    """
    found, reasons = [], {}
    for side, path in zip(SIDES, (before, after), strict=True):
        try:
            found.append(read_image(path, side, processor))
        except ValueError as error:
            reasons[side] = str(error)
    if reasons:
        raise PairError(reasons)
    return found[0], found[1]


class RateLimit:
    """Answers what comes too often, or is too large, before anything is read of it; an ASGI application.

    Args:
        app (`Any`): The application behind it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        # By address: the end of its minute, and the requests and bytes in it.
        self.used: OrderedDict[str, list[float]] = OrderedDict()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Pass a request on, or answer it."""
        refusal = self.refusal(scope) if scope["type"] == "http" and scope["method"] == "POST" else None
        await (PlainTextResponse(refusal[1], refusal[0]) if refusal else self.app)(scope, receive, send)

    def refusal(self, scope: dict[str, Any]) -> tuple[int, str] | None:
        """Why a request is refused, as a status of HTTP and a text; None if it is not."""
        headers = dict(scope["headers"])
        if b"transfer-encoding" in headers:
            return 411, "say how long it is."
        length = headers.get(b"content-length", b"0")
        size = int(length) if length.isdigit() else MAX_BODY + 1
        if size > MAX_BODY:
            return 413, f"at most {MAX_BODY:,} bytes are taken at once."
        now, address = time.monotonic(), (scope.get("client") or ("",))[0]
        used = self.used.get(address)
        if used is None or used[0] < now:
            used = self.used[address] = [now + RATE_SECONDS, 0, 0]
            self.used.move_to_end(address)
        if len(self.used) > MAX_ADDRESSES:
            self.used.popitem(last=False)
        used[1] += 1
        used[2] += size
        if used[1] > MAX_REQUESTS or used[2] > MAX_BYTES:
            return 429, "too many requests; wait a minute."
        return None


def shrink(image: Image.Image) -> Image.Image:
    """An image as it is shown and kept: no larger than a page has room for, itself where it is not."""
    if max(image.size) <= SHOWN_SIDE:
        return image
    shown = image.copy()
    shown.thumbnail((SHOWN_SIDE, SHOWN_SIDE))
    return shown


@torch.inference_mode()
def describe(model: PreTrainedModel, processor: ProcessorMixin, pair: Pair, beams: int) -> Answer:
    """Caption a pair with a beam search and say how probable each caption is.

    Args:
        model (`PreTrainedModel`): Any system of this library.
        processor (`ProcessorMixin`): Its processor.
        pair (`Pair`): Before and after.
        beams (`int`): Number of beams; as many captions come back.

    Returns:
        `Answer`: The answer. A caption's log probability is the sum over its tokens and the end of the sentence.

    Raises:
        RuntimeError: It takes too long.
    """
    end = time.monotonic() + ANSWER_SECONDS
    pipe = ChangeCaptioningPipeline(model, processor=processor, task="change-captioning", device=model.device)
    if same_pixels(*pair):
        answer = pipe(pair, return_change_map=gives_evidence(model))[0]
        drawn = (answer.pop("change_map_before"), answer.pop("change_map")) if gives_evidence(model) else None
        return Answer(tuple(map(shrink, pair)), [(pipe.unchanged, 0.0)], drawn and tuple(map(shrink, drawn)), answer)
    inputs = processor(images=[list(pair)], return_tensors="pt").to(model.device, dtype=model.dtype)
    sizes, pair = [image.size for image in pair], tuple(map(shrink, pair))
    prepared, features, maps = dict(inputs), None, None
    if gives_evidence(model) or pipe.trust is not None:
        features = encode(model, inputs.pop("pixel_values"))
        # A beam search repeats what it holds, in place.
        inputs["mm_encoder_outputs"] = {"image": deepcopy(features)}
    if gives_evidence(model):
        cells = features.evidence.change_map[0].cpu()
        maps = tuple(draw_change_map(part, image.size) for part, image in zip(cells, pair, strict=True))
    settings = model.generation_config
    limited = settings.max_new_tokens is not None or settings.max_length is not None
    limits: dict[str, Any] = {} if limited else {"max_new_tokens": DECODING["max_new_tokens"]}
    penalty = caption_penalty(model, limits, inputs.get("input_ids"))
    found = model.generate(
        **inputs,
        **limits,
        num_beams=beams,
        num_return_sequences=beams,
        return_dict_in_generate=True,
        output_scores=True,
        logits_processor=LogitsProcessorList([*penalty, FiniteLogitsCheck()]),
        max_time=max(0.0, end - time.monotonic()),
    )
    if time.monotonic() > end:
        raise RuntimeError(f"no answer within {ANSWER_SECONDS} seconds; ask with fewer beams.")
    scores = model.compute_transition_scores(
        found.sequences, found.scores, found.get("beam_indices"), normalize_logits=True
    )
    captions = processor.post_process_captions(found.sequences, {"input_ids": inputs.get("input_ids")})
    told = {}
    if pipe.trust is not None:
        statistics = model.image_statistics(features, 1)
        weighed = weigh(model, prepared, features, found.sequences[None])
        told = pipe.judge(weighed[0], statistics, (pair, sizes))
        if not told["familiar"]:
            told |= {"generated_text": told["difference"].sentence, "model_text": captions[0]}
    return Answer(pair, list(zip(captions, scores.sum(dim=-1).tolist(), strict=True)), maps, told)


def draw(answer: Answer | None, evidence: bool) -> Pair | None:
    """Both images at the size of the one after, for the slider, tinted with the evidence if wanted."""
    if answer is None:
        return None
    images = answer.pair
    if evidence and answer.maps:
        images = tuple(draw_overlay(*drawing) for drawing in zip(answer.pair, answer.maps, strict=True))
    before, after = images
    return before if before.size == after.size else before.resize(after.size, Image.Resampling.BICUBIC), after


def as_json(answer: Answer, before: str, after: str, model: str) -> dict[str, Any]:
    """The answer as `ssgpa caption --json` prints it, and the beams."""
    largest = [drawn.getextrema()[1] / 255 for drawn in answer.maps] if answer.maps else [None, None]
    return {
        "caption": answer.caption,
        **trust_in(answer.told),
        "before": Path(before).name,
        "after": Path(after).name,
        "model": model,
        "scores": dict(zip(("change_before", "change_after"), largest, strict=True)),
        "beams": [{"caption": text, "log_probability": score} for text, score in answer.beams],
    }


class Demo:
    """What the page does.

    Args:
        models (`dict[str, str]`): Names that the page shows, with the folder or id of each.
        samples (`Sequence[Sequence[str]]`, *optional*, defaults to `()`): Files of (before, after) that the page
            offers.
    """

    def __init__(self, models: dict[str, str], samples: Sequence[Sequence[str]] = ()) -> None:
        self.models = models
        self.samples = samples
        self.lock = Lock()
        self.sample_answer = lru_cache(maxsize=MAX_ANSWERS)(
            lambda number, model, beams: self.answer(*self.samples[number], model, beams)
        )

    def answer(self, before: str | None, after: str | None, model: str, beams: float) -> Answer:
        """Ask a model, one question at a time.

        Raises:
            TimeoutError: Others are answered meanwhile.
            ValueError: An image cannot be used; see `PairError`.
        """
        if not self.lock.acquire(timeout=WAIT_SECONDS):
            raise TimeoutError("many are asking at once; try again in a minute.")
        try:
            system, processor = cached_system(self.models[model])
            return describe(system, processor, read_pair(before, after, processor), round(beams))
        finally:
            self.lock.release()

    def warm(self) -> Thread:
        """Answer every sample pair beforehand, with what the page offers first; returns the thread that does it."""
        model = next(iter(self.models))

        def work() -> None:
            # What fails now fails when somebody clicks, and is reported then.
            with suppress(*ERRORS):
                for number in range(len(self.samples)):
                    self.sample_answer(number, model, BEAMS)

        thread = Thread(target=work, name=WARMING, daemon=True)
        thread.start()
        return thread

    def caption(
        self, before: str | None, after: str | None, model: str, beams: float, evidence: bool
    ) -> tuple[str, Pair | None, list[list[Any]], dict[str, Any]]:
        """Caption a pair of files, for programs.

        Args:
            before (`str`, *optional*): The first image.
            after (`str`, *optional*): The second image.
            model (`str`): One of the page's models.
            beams (`float`): Beams of the search, 1 to 8; as many captions come back.
            evidence (`bool`): Whether the images of the slider show the evidence.

        Returns:
            `tuple[str, Pair | None, list[list[Any]], dict[str, Any]]`: The caption, the slider's images, the rows of
            the table, and the JSON.

        Raises:
            gradio.Error: Something cannot be used; the message says what and why.
        """
        try:
            answer = self.answer(before, after, model, beams)
        except ERRORS as error:
            raise gradio.Error(str(error), print_exception=False) from error
        return show(answer, before, after, model, evidence)[:4]

    def ask(self, before: str | None, after: str | None, model: str, beams: float, evidence: bool) -> tuple[Any, ...]:
        """Caption the pair of the page, if it is complete; what is wrong with an image stands beside its field.

        Args:
            before (`str`, *optional*): The first image.
            after (`str`, *optional*): The second image.
            model (`str`): One of the page's models.
            beams (`float`): Beams of the search.
            evidence (`bool`): Whether the images of the slider show the evidence.

        Returns:
            `tuple[Any, ...]`: What `show` returns, the notes below both images, and the remark below the caption.

        Raises:
            gradio.Error: The model failed.
        """
        try:
            answer = self.answer(before, after, model, beams)
        except PairError as error:
            given = dict(zip(SIDES, (before, after), strict=True))
            # A field that is empty yet is no mistake.
            return *NOTHING, *(note(error.reasons.get(side) if given[side] else None) for side in SIDES), ""
        except ERRORS as error:
            raise gradio.Error(str(error), print_exception=False) from error
        return *show(answer, before, after, model, evidence), note(), note(), answer.remark or ""

    def ask_sample(self, sample: tuple[int, Any], model: str, beams: float, evidence: bool) -> tuple[Any, ...]:
        """Tell what is known of a sample pair, or ask; the arguments but the first are those of `ask`."""
        number = sample[0]
        try:
            answer = self.sample_answer(number, model, round(beams))
        except ERRORS as error:
            raise gradio.Error(str(error), print_exception=False) from error
        return *show(answer, *self.samples[number], model, evidence), note(), note(), answer.remark or ""


NOTHING = ("", None, [], None, None)


def show(answer: Answer, before: str, after: str, model: str, evidence: bool) -> tuple[Any, ...]:
    """An answer as the page shows it: caption, slider, rows of the table, JSON, and itself for later drawings."""
    best = answer.beams[0][1]
    rows = [[text, round(score, 3), f"{math.exp(score - best):.1%}"] for text, score in answer.beams]
    return answer.caption, draw(answer, evidence), rows, as_json(answer, before, after, model), answer


def note(text: str | None = None) -> Any:
    """The place below an image, with what is wrong with it; without a text it is away."""
    return gradio.HTML(f'<div role="alert">{html.escape(text)}</div>' if text else "", visible=bool(text))


def sample_pairs(folder: Path = PAIRS) -> list[list[str]]:
    """The pairs `NAME_before.png`, `NAME_after.png` of a folder."""
    found = sorted(folder.glob("*_before.png"))
    return [[str(path), str(path.with_name(path.name.replace("_before", "_after")))] for path in found]


def build_page(demo: Demo) -> gradio.Blocks:
    """Lay out the page, with its queue: the caption on top, images and samples on the left, evidence on the right."""
    with gradio.Blocks(title="What changed?", delete_cache=(KEEP_SECONDS, KEEP_SECONDS)) as page:
        gradio.Markdown(ABOUT)
        # One line that grows, with room for the longest of captions.
        size = {"lines": 1, "max_lines": 4}
        caption = gradio.Textbox(
            label="Caption", elem_id="caption", interactive=False, placeholder=EMPTY, buttons=["copy"], **size
        )
        # How far the caption can be trusted.
        remark = gradio.Markdown(elem_id="remark")
        with gradio.Row():
            with gradio.Column():
                images, notes = add_images()
                button = gradio.Button("Say what changed", elem_id="run")
                # A click fills in the images.
                layout = {"label": "Sample pairs", "elem_id": "samples", "examples_per_page": 4}
                pairs = [list(pair) for pair in demo.samples]
                samples = gradio.Examples(pairs, images, api_visibility="private", **layout).dataset
            with gradio.Column():
                options = {"interactive": False, "format": "png", "max_height": 340, "buttons": []}
                slider = gradio.ImageSlider(label="Before | after", elem_id="slider", **options)
                label = "Show the evidence in red: a hint, no segmentation"
                evidence = gradio.Checkbox(True, label=label, elem_id="evidence")
                with gradio.Accordion("Settings", open=False, elem_id="settings"):
                    names = list(demo.models)
                    model = gradio.Dropdown(names, value=names[0], label="Model", elem_id="model")
                    beams = gradio.Slider(1, MAX_BEAMS, value=BEAMS, step=1, label="Beams", elem_id="num_beams")
                with gradio.Accordion("Beams and JSON", open=False, elem_id="details"):
                    table = gradio.Dataframe(
                        label="Beams", headers=HEADERS, elem_id="beams", interactive=False, **TABLE
                    )
                    told = gradio.JSON(label="JSON", elem_id="json", max_height=240)
        answer = gradio.State(time_to_live=KEEP_SECONDS)
        outputs = [caption, slider, table, told, answer, *notes, remark]
        connect(demo, [*images, model, beams, evidence], outputs, button, samples)
        # Drawn anew, not asked anew.
        evidence.change(draw, [answer, evidence], slider, api_visibility="private")
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def connect(demo: Demo, inputs: list[Any], outputs: list[Any], button: gradio.Button, samples: gradio.Dataset) -> None:
    """Let the page answer as soon as it can: a second image, a click on a sample pair, another setting."""
    before, after, model, beams, _ = inputs
    triggers = [button.click, model.input, beams.release]
    triggers += [event for image in (before, after) for event in (image.upload, image.clear)]
    # While a model is asked, the caption before is covered: it belongs to another pair.
    shown = {"api_visibility": "private", "show_progress_on": outputs[0]}
    gradio.on(triggers, demo.ask, inputs, outputs, trigger_mode="always_last", **shown)
    # Its images are filled in by `gradio.Examples`.
    samples.click(demo.ask_sample, [samples, *inputs[2:]], outputs, show_progress="minimal", **shown)
    gradio.Button(visible=False).click(demo.caption, inputs, outputs[:4], api_name="caption")


def add_images() -> tuple[list[gradio.Image], list[gradio.HTML]]:
    """Fields for both images, and a place below each for what is wrong with it."""
    images, notes = [], []
    with gradio.Row():
        for side in SIDES:
            with gradio.Column(min_width=130):
                # By file, so that the library decodes them as everywhere else.
                options = {"type": "filepath", "image_mode": None, "sources": ["upload", "clipboard"]}
                field = gradio.Image(label=side, elem_id=side, min_width=120, height=220, **options)
                # It hands over any file in it: gradio would decode it, and report what is wrong far from it.
                # The file is in gradio's own folder, where it has checked that no other place is named. A subclass
                # would make gradio write a file of types beside this one.
                field.preprocess = lambda payload: None if payload is None else payload.path
                images.append(field)
                notes.append(gradio.HTML(visible=False, elem_id=f"{side}_note", elem_classes="note"))
    return images, notes


def serve(models: Sequence[str] = (), host: str | None = None, port: int | None = None, wait: bool = True) -> Any:
    """Serve the page.

    Args:
        models (`Sequence[str]`, *optional*, defaults to `()`): Folders of saved systems or ids on the Hub; by default
            the checkpoint of the package.
        host (`str`, *optional*): Address to listen at; gradio's default, this machine alone.
        port (`int`, *optional*): Port; the first free one from 7860 on.
        wait (`bool`, *optional*, defaults to `True`): Whether to go on until the server is stopped.

    Returns:
        `Any`: The page, whose `local_url` is its address.
    """
    named = {path: path for path in models} or {EMBEDDED.name: str(EMBEDDED)}
    # A broken one stops the start; the first is the one that is asked first.
    for path in reversed(named.values()):
        cached_system(path)
    demo = Demo(named, sample_pairs())
    page = build_page(demo)
    demo.warm()
    page.launch(
        server_name=host,
        server_port=port,
        max_file_size=MAX_FILE_SIZE,
        state_session_capacity=MAX_SESSIONS,
        app_kwargs={"middleware": [Middleware(RateLimit)]},
        prevent_thread_lock=not wait,
        quiet=not wait,
        show_error=True,
        ssr_mode=False,
        # As `css`, it would reach no more than what is in the page's own container.
        head=f"<style>{CSS}</style>",
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
