# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Instructions in other words by a chat language model, drawn again until there are enough."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer

from .cleaning import clean_answer
from .models import check_complete, hub_commit, model_facts, naming, source, torch_dtype
from .settings import ParaphraseSettings, SynedSettings


# Our words; the paper's script asks for one concise variation in the neutral style of an editing instruction.
SYSTEM = (
    "You put instructions for a program that edits pictures in other words. Keep the meaning exactly: the same "
    "objects, colours, places and quoted texts. Be short and neutral. Answer with the instructions alone."
)


def messages(instruction: str, count: int) -> list[dict[str, str]]:
    """The chat that asks for `count` paraphrases."""
    wish = f"Write {count} different variations of this instruction, numbered 1 to {count}, one a line: {instruction}"
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": wish}]


def load_chat(settings: SynedSettings) -> tuple[Any, dict[str, Any]]:
    """Load a chat language model.

    Returns:
        `tuple[Any, dict[str, Any]]`: The model in evaluation mode with its tokenizer, and what their answers depend
        on.

    Raises:
        ValueError: If it cannot be loaded, lacks weights or has no chat template; the error names it.
    """
    part = settings.paraphrase
    with naming(part.model):
        tokenizer = AutoTokenizer.from_pretrained(part.model, **source(part))
        if not tokenizer.chat_template:
            raise ValueError("its tokenizer has no chat template; choose a model made for chat")
        example = messages("make it red", part.count)
        try:
            tokenizer.apply_chat_template(example, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise ValueError(f"its chat template refuses a system message before the user's ({error})") from error
        model, info = AutoModelForCausalLM.from_pretrained(
            part.model, dtype=torch_dtype(settings), output_loading_info=True, **source(part)
        )
        check_complete(info)
        _end_tokens(model, tokenizer)
        facts = model_facts(part, hub_commit(model))
        facts["generation_config"] = model.generation_config.to_diff_dict()
        facts["messages"] = messages("{instruction}", part.count)
        return (model.eval().to(settings.device), tokenizer), facts


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    if ends is None:
        raise ValueError("neither model nor tokenizer names a token that ends an answer")
    return ends if isinstance(ends, list) else [ends]


@torch.inference_mode()
def draw_answer(chat: Any, instruction: str, seed: int, part: ParaphraseSettings) -> tuple[str, bool]:
    """One answer.

    Args:
        chat (`Any`): What `load_chat` gives.
        instruction (`str`): What to put in other words.
        seed (`int`): Of sampling; PyTorch's own random state is left as it was.
        part (`ParaphraseSettings`): How to sample.

    Returns:
        `tuple[str, bool]`: The answer without the prompt, and whether the model ended it itself.
    """
    model, tokenizer = chat
    prompt = tokenizer.apply_chat_template(
        messages(instruction, part.count), add_generation_prompt=True, return_dict=True, return_tensors="pt"
    ).to(model.device)
    ends = _end_tokens(model, tokenizer)
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(seed)
        output = model.generate(
            **prompt,
            do_sample=True,
            temperature=part.temperature,
            top_p=part.top_p,
            max_new_tokens=part.max_new_tokens,
            eos_token_id=ends,
            pad_token_id=ends[0],
        )
    answer = output[0, prompt["input_ids"].shape[1] :].tolist()
    ended = answer[-1] in ends
    return tokenizer.decode(answer, skip_special_tokens=True), ended


def paraphrase(
    draw: Callable[[int], tuple[str, bool]], instruction: str, part: ParaphraseSettings, seeds: list[int]
) -> dict[str, Any]:
    """Draw answers until there are enough paraphrases, or the seeds are used up.

    Args:
        draw (`Callable[[int], tuple[str, bool]]`): Gives the answer of a seed and whether it ended.
        instruction (`str`): What to put in other words.
        part (`ParaphraseSettings`): How many are wanted.
        seeds (`list[int]`): One an attempt.

    Returns:
        `dict[str, Any]`: "paraphrases", at most as many as wanted; "missing", how many fewer; "seeds", those used;
        "dropped", the lines left out by reason.
    """
    found: list[str] = []
    used: list[int] = []
    dropped: Counter[str] = Counter()
    for seed in seeds:
        answer, ended = draw(seed)
        cleaned = clean_answer(answer, instruction, ended, found)
        used.append(seed)
        dropped += cleaned.dropped
        found += cleaned.kept
        if len(found) >= part.count:
            break
    found = found[: part.count]
    return {
        "paraphrases": found,
        "missing": part.count - len(found),
        "seeds": used,
        "dropped": dict(sorted(dropped.items())),
    }
