# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Ways of going faster, each as a pair of runs: with it, and without."""

import argparse
import copy
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import torch
from transformers import PreTrainedModel

from ssgpa import visual_prompt_ssgpa
from ssgpa.benchmarks.measure_throughput import collated, random_pairs, scene_captions
from ssgpa.training.collator import PairCollator
from ssgpa.training.generation import evaluation_mode
from ssgpa.training.systems import set_trainable
from ssgpa.utils.loading import load_system


Run = Callable[[], Any]
BEAMS = 5
TOWER_FROZEN = [r"^(?!model\.vision_tower\.)"]


class Bench:
    """A system, and training pairs for it.

    Args:
        options (`argparse.Namespace`): The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model, self.processor = load_system(options.model)
        self.pairs = random_pairs(self.processor, scene_captions(options.seed), options)

    def batches(self, pairs: list[dict[str, Any]] | None = None, **settings: Any) -> list[dict[str, Any]]:
        """Training batches of some pairs, by default of all."""
        collate = PairCollator(self.processor, **settings)
        return collated(self.pairs if pairs is None else pairs, self.options.batch_size, collate)

    def trainee(self, **settings: Any) -> PreTrainedModel:
        """A copy of the model that may be trained."""
        model = copy.deepcopy(self.model).train()
        if settings:
            model.set_attn_implementation(**settings)
        return model

    def prompts(self) -> dict[str, torch.Tensor]:
        """Arguments of `generate` for one batch."""
        ids = torch.tensor([self.processor.prompt_ids()]).expand(self.options.batch_size, -1)
        pixels = self.batches(self.pairs[: self.options.batch_size])[0]["pixel_values"].to(self.model.dtype)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": pixels}

    def steps(self, model: Any, batches: list[dict[str, Any]], prepare: Callable[[Any], Any] = lambda it: it) -> Run:
        """A step of training on each batch."""
        optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=1e-5)

        def run() -> None:
            for batch in batches:
                with torch.autocast("cpu", dtype=torch.bfloat16) if self.options.bf16 else nullcontext():
                    loss = model(**prepare(batch)).loss
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()

        return run

    def captions(self, model: PreTrainedModel, **settings: Any) -> Run:
        """Captions of one batch."""
        inputs, tokens = self.prompts(), self.options.max_new_tokens

        def run() -> None:
            with evaluation_mode(model):
                model.generate(**inputs, max_new_tokens=tokens, **{"num_beams": BEAMS, **settings})

        return run


# By name; the table in docs/speed.md has their order, and their docstrings.
WAYS: dict[str, Callable[[Bench], tuple[Run, Run]]] = {}


def way(function: Callable[[Bench], tuple[Run, Run]]) -> Callable[[Bench], tuple[Run, Run]]:
    """Enter a way: a function that makes a run with it, and one without."""
    WAYS[function.__name__] = function
    return function


@way
def packed(bench: Bench) -> tuple[Run, Run]:
    """All captions of a pair behind one prompt, or a row for each."""
    alone = [{**pair, "captions": [caption]} for pair in bench.pairs for caption in pair["captions"]]
    return bench.steps(bench.trainee(), bench.batches()), bench.steps(bench.trainee(), bench.batches(alone))


@way
def label_positions(bench: Bench) -> tuple[Run, Run]:
    """Scores over the vocabulary at the captions alone, or everywhere."""
    everywhere = [{**batch, "logits_to_keep": 0} for batch in bench.batches()]
    return bench.steps(bench.trainee(), bench.batches()), bench.steps(bench.trainee(), everywhere)


@way
def sorted_lengths(bench: Bench) -> tuple[Run, Run]:
    """Pairs with captions of like length in a batch, or as they come."""
    ordered = sorted(bench.pairs, key=lambda pair: sum(len(caption.split()) for caption in pair["captions"]))
    return bench.steps(bench.trainee(), bench.batches(ordered)), bench.steps(bench.trainee(), bench.batches())


@way
def multiple_of_8(bench: Bench) -> tuple[Run, Run]:
    """Rows padded to a multiple of 8, or to the longest."""
    padded = bench.batches(pad_to_multiple_of=8)
    return bench.steps(bench.trainee(), padded), bench.steps(bench.trainee(), bench.batches())


@way
def compiled(bench: Bench) -> tuple[Run, Run]:
    """`torch.compile` on rows padded to a multiple of 32, or none."""
    fast = torch.compile(bench.trainee())
    return bench.steps(fast, bench.batches(pad_to_multiple_of=32)), bench.steps(bench.trainee(), bench.batches())


@way
def sdpa(bench: Bench) -> tuple[Run, Run]:
    """Fused attention of torch, or the eager one."""
    fused, eager = bench.trainee(attn_implementation="sdpa"), bench.trainee(attn_implementation="eager")
    return bench.steps(fused, bench.batches()), bench.steps(eager, bench.batches())


@way
def cached_features(bench: Bench) -> tuple[Run, Run]:
    """What a frozen tower makes of the images at hand, or computed anew."""
    frozen, fed = _frozen(bench), _frozen(bench)
    with torch.no_grad():
        made = [_with_features(batch, _features(fed, batch["pixel_values"])) for batch in bench.batches()]
    return bench.steps(fed, made), bench.steps(frozen, bench.batches())


@way
def shared_before(bench: Bench) -> tuple[Run, Run]:
    """A frozen tower on three images for two pairs of a scene, or on four."""
    shared, whole = _frozen(bench), _frozen(bench)
    runs = bench.steps(shared, bench.batches(), lambda batch: _shared_before(batch, shared))
    return runs, bench.steps(whole, bench.batches())


@way
def shared_prompt(bench: Bench) -> tuple[Run, Run]:
    """A prompt read once for five beams, or five times."""
    run = bench.captions(bench.model)

    def five_times() -> None:
        with patch.object(visual_prompt_ssgpa, "count_copies", return_value=1):
            run()

    return run, five_times


@way
def encoded_once(bench: Bench) -> tuple[Run, Run]:
    """Images encoded once for five beams, or five times."""
    pixels, run = bench.prompts()["pixel_values"], bench.captions(bench.model)

    def five_times() -> None:
        with evaluation_mode(bench.model):
            for _ in range(BEAMS - 1):
                bench.model.get_image_features(pixels)
        run()

    return run, five_times


@way
def key_value_cache(bench: Bench) -> tuple[Run, Run]:
    """Keys and values of the tokens before kept, or computed at every token."""
    return bench.captions(bench.model), bench.captions(bench.model, use_cache=False)


@way
def static_cache(bench: Bench) -> tuple[Run, Run]:
    """A cache of fixed size, or one that grows; greedy, where both read a prompt once."""
    fixed = bench.captions(bench.model, num_beams=1, cache_implementation="static")
    return fixed, bench.captions(bench.model, num_beams=1)


def _frozen(bench: Bench) -> PreTrainedModel:
    model = bench.trainee()
    set_trainable(model, TOWER_FROZEN, set())
    return model


def _features(model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    return model.model.vision_tower(pixels).last_hidden_state


def _with_features(batch: dict[str, Any], features: torch.Tensor) -> dict[str, Any]:
    rest = {name: value for name, value in batch.items() if name != "pixel_values"}
    return {**rest, "vision_features": features}


def _shared_before(batch: dict[str, Any], model: PreTrainedModel) -> dict[str, Any]:
    """As if neighbors were the two pairs of a scene: the images before of every other pair are left out."""
    pixels = batch["pixel_values"]
    with torch.no_grad():
        # The tower reads pairs, though every image for itself.
        whole = _features(model, pixels[::2])
        others = _features(model, pixels[1::2, 1].unflatten(0, (-1, 2))).flatten(0, 1)
    second = torch.stack([whole[:, 0], others], 1)
    return _with_features(batch, torch.stack([whole, second], 1).flatten(0, 1))
