# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What explains the public reproduction's scores, a measurement each; `explain_reproduction.py` runs them."""

import copy
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models
from torch import Tensor, nn
from transformers import PreTrainedModel

from ssgpa.metrics.change_captioning.scorer import CaptionScorer, default_scorer
from ssgpa.metrics.report.build import light_rows, score_blocks, tokenize_rows
from ssgpa.processing_ssgpa import SSGPAProcessor
from ssgpa.training.arguments import ChangeCaptioningArguments
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.generation import caption_pairs
from ssgpa.training.trainer import ChangeCaptioningTrainer


ECHO = "the difference between the before image and after image is that"
# Ids that were cut off the front of every output: a start token and the echo.
CUT = 12
CONSTANT = "the two scenes seem identical"
# The saved captions of the ResNet run on CLEVR-Change, as counted by others.
TEMPLATES = {
    CONSTANT: 2094,
    "the scene remains the same": 1553,
    "no change has occurred": 320,
    "no change was made": 9,
}
# Llama's id of the byte 4, and how often the saved captions of the ViT run repeat it.
BYTE_ID, REPEATED = 7, 37
KEPT_SCORES = ("bleu_4", "rouge_l", "cider", "n_items")
MAX_STEPS = 400
Row = Mapping[str, Any]


def state_of(model: nn.Module, trained: bool) -> dict[str, Tensor]:
    """Copies of the parameters that train, or of those that do not."""
    return {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad is trained}


def is_equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether two states hold the same numbers."""
    return all(torch.equal(value, second[name]) for name, value in first.items())


def scaler_trap(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """Train under fp16 autocast and a gradient scaler that nobody watches, on a pair whose forward pass is not finite.

    Then take one step on the pair as it is. The optimizer is the reproduction's: AdamW, weight decay 0.1, no clipping.

    Args:
        model (`PreTrainedModel`): A variant, whose `requires_grad` are set. It is broken afterwards.
        batch (`Mapping[str, torch.Tensor]`): A batch of finite inputs.

    Returns:
        `dict[str, Any]`: What the scale and the weights did.

    Raises:
        RuntimeError: The scale has not reached 0 within `MAX_STEPS` steps.
    """
    broken = {**batch, "pixel_values": batch["pixel_values"] * float("nan")}
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    trained = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-5, weight_decay=0.1)
    model.train()

    def step(inputs: Mapping[str, Tensor]) -> float:
        with torch.autocast("cpu", torch.float16):
            loss = model(**inputs).loss
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.item()

    first = step(batch)
    start, frozen = state_of(model, True), state_of(model, False)
    scales = [scaler.get_scale()]
    while scales[-1] and len(scales) <= MAX_STEPS:
        step(broken)
        scales.append(scaler.get_scale())
    if scales[-1]:
        raise RuntimeError(f"The scale is {scales[-1]} after {MAX_STEPS} steps that are not finite.")
    untouched = is_equal(start, state_of(model, True))
    last = step(batch)
    after = state_of(model, True)
    return {
        "loss_of_the_first_finite_step": first,
        "scale_at_start": scales[0],
        "steps_until_the_scale_is_0": len(scales) - 1,
        "trained_weights_untouched_until_then": untouched,
        "loss_of_the_next_finite_step": last,
        "trained_tensors": len(after),
        "trained_tensors_all_nan_after_it": sum(bool(value.isnan().all()) for value in after.values()),
        "trained_numbers": sum(value.numel() for value in after.values()),
        "trained_numbers_nan_after_it": sum(int(value.isnan().sum()) for value in after.values()),
        "frozen_weights_unchanged": is_equal(frozen, state_of(model, False)),
    }


def unchecked_captions(model: PreTrainedModel, inputs: Mapping[str, Tensor], num_beams: int) -> dict[str, Any]:
    """What Transformers' own `generate` says of a model whose weights are NaN.

    Args:
        model (`PreTrainedModel`): The broken model.
        inputs (`Mapping[str, torch.Tensor]`): Prompts and pairs, without labels.
        num_beams (`int`): Beams.

    Returns:
        `dict[str, Any]`: Pairs, different captions among them, and how often each id stands in the first.
    """
    rows = model.eval().generate(**inputs, num_beams=num_beams, max_new_tokens=38, repetition_penalty=1.5)
    ids = rows[:, inputs["input_ids"].shape[1] :].tolist()
    return {
        "num_beams": num_beams,
        "pairs": len(ids),
        "distinct": len({tuple(row) for row in ids}),
        "ids_of_the_first": {str(token): count for token, count in Counter(ids[0]).items()},
    }


def byte_decoder() -> Tokenizer:
    """A tokenizer with the first ids of Llama's: three special tokens, then the 256 bytes."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
    tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, [], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def control_characters(rows: Sequence[Row], scorer: CaptionScorer) -> dict[str, Any]:
    """The saved caption of the ViT run, made of its ids, and its scores against any references.

    Args:
        rows (`Sequence[Mapping[str, Any]]`): Records with `captions` and `change_type`.
        scorer (`CaptionScorer`): The metrics.

    Returns:
        `dict[str, Any]`: The caption, its tokens, and scores of all pairs.
    """
    caption = byte_decoder().decode([BYTE_ID] * REPEATED)
    return {
        "id": BYTE_ID,
        "repeated": REPEATED,
        "code_points": sorted({ord(character) for character in caption}),
        "characters": len(caption),
        "printable": caption.isprintable(),
        "tokens_after_tokenization": len(scorer.tokenize([caption])[caption].split()),
        "scores": scores_of(rows, [caption] * len(rows), scorer),
    }


def scores_of(rows: Sequence[Row], captions: Sequence[str], scorer: CaptionScorer) -> dict[str, dict[str, float]]:
    """Scores in total, on changed pairs and on unchanged ones, each block with its own document frequencies."""
    tokens = scorer.tokenize([*captions, *(text for row in rows for text in row["captions"])])
    said = [tokens[text] for text in captions]
    blocks = score_blocks(tokenize_rows(rows, tokens), said, captions, scorer, wanted=("changed", "unchanged"))
    names = ("total", "changed", "unchanged")
    return {name: {key: blocks[name][key] for key in KEPT_SCORES} for name in names if blocks[name]}


def constant_scores(rows: Sequence[Row], scorer: CaptionScorer, seed: int) -> dict[str, Any]:
    """Scores of captions that owe nothing to the images.

    Args:
        rows (`Sequence[Mapping[str, Any]]`): Records with `captions` and `change_type`.
        scorer (`CaptionScorer`): The metrics.
        seed (`int`): Of the draw of templates.

    Returns:
        `dict[str, Any]`: Scores of the constant sentence, of the four saved templates in their shares, drawn at
        random, and of every template alone.
    """
    shares = np.array(list(TEMPLATES.values())) / sum(TEMPLATES.values())
    drawn = np.random.default_rng(seed).choice(list(TEMPLATES), size=len(rows), p=shares).tolist()
    constants = {text: scores_of(rows, [text] * len(rows), scorer) for text in TEMPLATES}
    return {
        "templates": TEMPLATES,
        "drawn": {text: drawn.count(text) for text in TEMPLATES},
        "constant": CONSTANT,
        "scores": {"constant": constants[CONSTANT], "templates": scores_of(rows, drawn, scorer)},
        "each_template": constants,
    }


def words_of(text: str, scorer: CaptionScorer) -> list[str]:
    """A caption's words, as the metrics count them."""
    return scorer.tokenize([text])[text].split()


def split_by_change(rows: Iterable[Row]) -> dict[str, list[str]]:
    """All references, of changed pairs and of unchanged ones."""
    found: dict[str, list[str]] = {"changed": [], "unchanged": []}
    for row in rows:
        found["unchanged" if row["change_type"] == "none" else "changed"] += row["captions"]
    return found


def echo_shares(rows: Sequence[Row], scorer: CaptionScorer) -> dict[str, Any]:
    """The share of supervised tokens that repeat the prompt: echo / (echo + caption + end), a word a token.

    Args:
        rows (`Sequence[Mapping[str, Any]]`): Records with `captions` and `change_type`.
        scorer (`CaptionScorer`): Splits captions into words.

    Returns:
        `dict[str, Any]`: Smallest, largest and mean share over the references, and of all their tokens.
    """
    echo = len(ECHO.split())
    found: dict[str, Any] = {"echo_tokens": echo}
    for name, captions in split_by_change(rows).items():
        sizes = np.array([len(words_of(text, scorer)) for text in captions])
        shares = echo / (echo + sizes + 1)
        found[name] = {
            "captions": len(captions),
            "mean_words": float(sizes.mean()),
            "smallest": float(shares.min()),
            "largest": float(shares.max()),
            "mean": float(shares.mean()),
            "of_all_tokens": float(echo * len(sizes) / (echo * len(sizes) + (sizes + 1).sum())),
        }
    return found


def repetition_shares(rows: Sequence[Row], scorer: CaptionScorer) -> dict[str, Any]:
    """The share of reference tokens that the penalty strikes when due: their id was in the echo or the caption before.

    A caption was glued to the echo's last word, so that its first token is another one than the same word elsewhere.
    It counts as new here, and so does the end token, which is left out.

    Args:
        rows (`Sequence[Mapping[str, Any]]`): Records with `captions` and `change_type`.
        scorer (`CaptionScorer`): Splits captions into words.

    Returns:
        `dict[str, Any]`: For both kinds of pairs, the share of tokens, their number in a caption, and the share of
        captions without any; the number in each of the saved templates.
    """
    found: dict[str, Any] = {"templates": {text: repeated_words(words_of(text, scorer)) for text in TEMPLATES}}
    for name, captions in split_by_change(rows).items():
        words = [words_of(text, scorer) for text in captions]
        struck = [repeated_words(one) for one in words]
        found[name] = {
            "tokens": sum(map(len, words)),
            "struck": sum(struck),
            "share": sum(struck) / sum(map(len, words)),
            "per_caption": sum(struck) / len(struck),
            "captions_without": struck.count(0) / len(struck),
        }
    return found


def repeated_words(words: Sequence[str]) -> int:
    """Words of a caption, but for its first one, that stand in the echo or earlier in the caption."""
    emitted = set(ECHO.split())
    count = 0
    for word in words[1:]:
        count += word in emitted
        emitted.add(word)
    return count


def cut_of_output(model: PreTrainedModel, processor: SSGPAProcessor, batch: Mapping[str, Tensor]) -> dict[str, Any]:
    """What cutting off 12 ids does where `generate` gets embeddings alone, as it did.

    Args:
        model (`PreTrainedModel`): A working variant.
        processor (`SSGPAProcessor`): Its processor.
        batch (`Mapping[str, torch.Tensor]`): Prompts and pairs, without labels.

    Returns:
        `dict[str, Any]`: Whether the output's first id is the model's own first prediction, and what the cut leaves of
        an output that is the echo and a caption.
    """
    caption = "the red cube is gone"
    with torch.inference_mode():
        embeddings = model.eval().get_input_embeddings()(batch["input_ids"])
        prediction = model(inputs_embeds=embeddings, attention_mask=batch["attention_mask"]).logits[:, -1]
        prediction[:, model.generation_config.suppress_tokens or []] = float("-inf")
        ids = model.generate(
            inputs_embeds=embeddings, attention_mask=batch["attention_mask"], num_beams=1, max_new_tokens=4
        )
    injected = ids.shape[1] - 4
    output = ECHO.split() + caption.split()
    start = [processor.tokenizer.bos_token] * max(injected, 0)
    return {
        "first_id_is_the_first_prediction": bool((ids[:, 0] == prediction.argmax(-1)).all()),
        "start_tokens_in_front": injected,
        "cut": CUT,
        "caption": caption,
        "left_of_it": " ".join([*start, *output][CUT:]),
    }


def refusals(
    model: PreTrainedModel, processor: SSGPAProcessor, rows: Dataset, trainable: Sequence[str]
) -> dict[str, str]:
    """What this package does with weights that are NaN: its errors, when it captions and when it trains.

    Args:
        model (`PreTrainedModel`): The broken model.
        processor (`SSGPAProcessor`): Its processor.
        rows (`Dataset`): A prepared split.
        trainable (`Sequence[str]`): Names of the parameters that train.

    Returns:
        `dict[str, str]`: Messages of `caption_pairs`, which evaluation calls, and of `ChangeCaptioningTrainer`.

    Raises:
        RuntimeError: One of them went on.
    """
    found = {}
    few = rows.select(range(2))
    pairs = [(row["before"], row["after"]) for row in few]
    calls = {
        "captioning": lambda _: caption_pairs(
            model, processor, pairs, pair_ids=few["pair_id"][:], num_beams=5, max_new_tokens=5
        ),
        "training": lambda folder: trainer_of(model, processor, few, folder).train(),
    }
    for name, value in model.named_parameters():
        value.requires_grad_(name in trainable)
    for name, call in calls.items():
        with TemporaryDirectory() as folder:
            try:
                call(folder)
            except FloatingPointError as error:
                found[name] = str(error)
            else:
                raise RuntimeError(f"{name} went on with weights that are NaN.")
    return found


def trainer_of(
    model: PreTrainedModel, processor: SSGPAProcessor, rows: Dataset, folder: str
) -> ChangeCaptioningTrainer:
    """The package's trainer for one step on the CPU."""
    arguments = ChangeCaptioningArguments(
        output_dir=folder,
        max_steps=1,
        per_device_train_batch_size=2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
        eval_strategy="no",
    )
    return ChangeCaptioningTrainer(
        model,
        arguments,
        train_dataset=PairDataset(rows, processor),
        data_collator=PairCollator(processor, normalize=False),
        processing_class=processor,
    )


def explain_nan(model: PreTrainedModel, processor: SSGPAProcessor, rows: Dataset, scorer: CaptionScorer) -> dict:
    """The way from a forward pass that is not finite to captions of control characters.

    Args:
        model (`PreTrainedModel`): A variant, whose `requires_grad` are set. It stays as it is.
        processor (`SSGPAProcessor`): Its processor.
        rows (`Dataset`): A prepared split.
        scorer (`CaptionScorer`): The metrics.

    Returns:
        `dict`: Of `scaler_trap`, `unchecked_captions`, `control_characters` and `refusals`.
    """
    dataset, broken = PairDataset(rows, processor), copy.deepcopy(model)
    trainable = [name for name, value in model.named_parameters() if value.requires_grad]
    batch = PairCollator(processor)([dataset[0]])
    batch = {name: batch[name] for name in ("input_ids", "attention_mask", "pixel_values", "labels")}
    trap = scaler_trap(broken, batch)
    few = rows.select(range(min(len(rows), 8)))
    inputs = processor(images=[[row["before"], row["after"]] for row in few], return_tensors="pt")
    return {
        "scaler": trap,
        "unchecked": [unchecked_captions(broken, inputs, num_beams) for num_beams in (1, 5)],
        "control_characters": control_characters(light_rows(rows), scorer),
        "ours": refusals(broken, processor, rows, trainable),
    }


def explain_constant(rows: Dataset, seed: int) -> dict[str, Any]:
    """What captions score that are no-change sentences for every pair, and what pulls a model there.

    Args:
        rows (`Dataset`): A prepared split.
        seed (`int`): Of the draw of templates.

    Returns:
        `dict[str, Any]`: Of `constant_scores`, `echo_shares` and `repetition_shares`.
    """
    table = light_rows(rows)
    scorer = default_scorer(text for row in table for text in row["captions"])
    return {
        "blind": constant_scores(table, scorer, seed),
        "echo": echo_shares(table, scorer),
        "repetition": repetition_shares(table, scorer),
    }


def be_quiet_about_loading() -> None:
    """Keep Transformers' report of new weights off the terminal."""
    logging.getLogger("transformers").setLevel(logging.ERROR)


def learned(results: Mapping[str, Any], source: Path) -> dict[str, Any]:
    """What is kept of an evaluation of a trained variant.

    Args:
        results (`Mapping[str, Any]`): Of `examples/evaluate.py`.
        source (`Path`): Its file.

    Returns:
        `dict[str, Any]`: Scores, rates and where they came from.
    """
    scores = {name: block for name, block in results["scores"].items() if name in {"total", "changed", "unchanged"}}
    return {
        "source": source.name,
        "scores": {name: {key: block[key] for key in KEPT_SCORES} for name, block in scores.items() if block},
        **{key: results[key] for key in ("no_change_rate", "distinct_captions", "best_constant_baseline", "decoding")},
        "best_constant_cider": {
            block: results["baselines"][name][block]["cider"]
            for block, name in results["best_constant_baseline"].items()
            if name
        },
    }
