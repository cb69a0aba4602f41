# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Cards of single pairs: images, change maps, caption, references, and what is right about the caption."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..bounds import Row, count_captions
from ..change_captioning.scorer import CaptionScorer, default_scorer
from ..clevr.diagnosis import judge
from ..corpus import ReferenceCorpus
from .build import tokenize_rows


IMAGE_SIZE = 320
QUALITY = 82
OVERLAY_COLOR = (255, 0, 0)
OVERLAY_OPACITY = 0.7


def describe_pairs(
    rows: Sequence[Row], captions: Mapping[str, str], scorer: CaptionScorer | None = None
) -> list[dict[str, Any]]:
    """Describe each pair without its images.

    Args:
        rows (`Sequence[Row]`): Records of the split with `pair_id`, `captions` and `change_type`.
        captions (`Mapping[str, str]`): One caption a pair, by pair id.
        scorer (`CaptionScorer`, *optional*): Tokenizer; by default the one that needs no Java, see `default_scorer`.

    Returns:
        `list[dict[str, Any]]`: A record a pair, ready for JSON: `pair_id`, `change_type`, `caption`, `references`,
        `rouge_l`, `cider` (with the document frequencies of all pairs), `words` ([[word, whether a reference has it],
        ...]), `checks` ([[aspect, whether right or None], ...], see `diagnosis.judge`) and `right` (False where one
        check fails, None where one is open or there is none, else True).
    """
    scorer = scorer or default_scorer(text for row in rows for text in row["captions"])
    said = [captions[row["pair_id"]] for row in rows]
    tokens = scorer.tokenize([*said, *(text for row in rows for text in row["captions"])])
    table, hypotheses = tokenize_rows(rows, tokens), [tokens[text] for text in said]
    statistics = ReferenceCorpus([row["captions"] for row in table]).statistics(hypotheses)
    known = set(count_captions(table, unchanged_only=True))
    cards = []
    for index, (row, hypothesis) in enumerate(zip(table, hypotheses, strict=True)):
        words = {word for text in row["captions"] for word in text.split()}
        checks = judge(row, hypothesis, known)
        verdicts = {ok for _, ok in checks}
        cards.append(
            {
                "pair_id": row["pair_id"],
                "change_type": row["change_type"],
                "caption": said[index],
                "references": list(rows[index]["captions"]),
                "rouge_l": round(float(statistics.rouge_l[index]), 4),
                "cider": round(float(statistics.cider[index]), 4),
                "words": [[word, word in words] for word in hypothesis.split()],
                "checks": [list(check) for check in checks],
                "right": False if False in verdicts else True if verdicts == {True} else None,
            }
        )
    return cards


def choose_pairs(rows: Sequence[Row], count: int, seed: int = 0) -> list[int]:
    """Choose pairs to show, balanced over the change types.

    Args:
        rows (`Sequence[Row]`): Records of the split.
        count (`int`): How many.
        seed (`int`, *optional*, defaults to `0`): Seed of the choice.

    Returns:
        `list[int]`: Indices in ascending order.
    """
    generator = np.random.default_rng(seed)
    groups: dict[str | None, list[int]] = {}
    for index in generator.permutation(len(rows)).tolist():
        groups.setdefault(rows[index]["change_type"], []).append(index)
    ranked = sorted((place, index) for group in groups.values() for place, index in enumerate(group))
    return sorted(index for _, index in ranked[:count])


def add_images(
    cards: Iterable[dict[str, Any]],
    pairs: Iterable[Mapping[str, Any]],
    change_maps: Sequence[np.ndarray] | None = None,
) -> None:
    """Add the images to cards, as data URLs.

    Args:
        cards (`Iterable[dict[str, Any]]`): From `describe_pairs`; they get `before`, `after` and, with maps,
            `map_before` and `map_after`.
        pairs (`Iterable[Mapping[str, Any]]`): Records with `before` and `after` images, in the same order.
        change_maps (`Sequence[np.ndarray]`, *optional*): (2, rows, columns) in 0..1 a pair. They are kept at the
            model's own resolution; the browser interpolates.
    """
    for index, (card, pair) in enumerate(zip(cards, pairs, strict=True)):
        for side, name in enumerate(("before", "after")):
            card[name] = encode_image(pair[name])
            if change_maps is not None:
                card[f"map_{name}"] = encode_map(change_maps[index][side])


def encode_image(image: Image.Image) -> str:
    """Encode an image as a data URL, at most 320 pixels wide and high.

    Args:
        image (`Image.Image`): Any image.

    Returns:
        `str`: A JPEG in base64.
    """
    small = image.convert("RGB")
    small.thumbnail((IMAGE_SIZE, IMAGE_SIZE))
    return _data_url(small, "JPEG", quality=QUALITY)


def encode_map(cells: np.ndarray) -> str:
    """Encode a change map as a data URL: red, the more opaque the stronger.

    Args:
        cells (`np.ndarray`): (rows, columns) in 0..1.

    Returns:
        `str`: A PNG in base64, one pixel a cell.
    """
    pixels = np.empty((*cells.shape, 4), dtype=np.uint8)
    pixels[..., :3] = OVERLAY_COLOR
    pixels[..., 3] = np.rint(255 * OVERLAY_OPACITY * np.clip(cells, 0, 1))
    return _data_url(Image.fromarray(pixels), "PNG")


def _data_url(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
