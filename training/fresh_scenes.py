# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training pairs that are drawn and rendered as they are needed, every scene once (ours)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from torch.utils.data import Dataset as TorchDataset

from ..data.augment import PairAugmentation
from ..data.clevr_renderer.captions.sentences import no_change_captions
from ..data.clevr_renderer.dataset.cells import cell_targets, object_targets
from ..data.clevr_renderer.dataset.layout import VIEWS
from ..data.clevr_renderer.dataset.rendering import draw_image
from ..data.clevr_renderer.dataset.settings import MAX_SCENES, RenderSettings
from ..data.clevr_renderer.dataset.triples import draw_triple, triple_record
from ..data.decoding import fit_image, model_images
from ..data.schema import NO_CHANGE
from ..metrics.clevr.scenes import ChangedScene
from ..processing_ssgpa import SSGPAProcessor, fixed_size
from .dataset import AUGMENT_STREAM, check_captions_per_pair, draw_captions
from .targets import Wordings, tell_change


# Of `RenderSettings`, what a run may say of its scenes.
OPTIONS = {item.name for item in fields(RenderSettings)} - {"scenes", "splits", "object_masks", "layout", "changes"}
# Places in `VIEWS`.
DEFAULT, CHANGED, DISTRACTOR = range(3)
# Keeps what is drawn about a pair apart from the generators of the scenes, [seed, index].
ORDER_STREAM = 0x0DE2


class Orders(NamedTuple):
    """Which pairs of a scene's three images are shown.

    Attributes:
        distractor_swap (`bool`): The distractor stands in for the image before.
        time_reversal (`bool`): Changes are shown from after to before, too.
    """

    distractor_swap: bool
    time_reversal: bool

    def draw(self, rng: np.random.Generator) -> tuple[int, int]:
        """Two places in `VIEWS`; half of the pairs are unchanged.

        Args:
            rng (`np.random.Generator`): Decides.
        """
        swap, reverse = rng.random(2) < 0.5
        if rng.random() < 0.5:
            turned = (swap and self.distractor_swap) != (reverse and self.time_reversal)
            return (DISTRACTOR, DEFAULT) if turned else (DEFAULT, DISTRACTOR)
        first = DISTRACTOR if swap and self.distractor_swap else DEFAULT
        return (CHANGED, first) if reverse and self.time_reversal else (first, CHANGED)


@dataclass(frozen=True)
class SceneSource:
    """What the scenes of a run are.

    Args:
        settings (`RenderSettings`): How they are drawn.
        grid (`tuple[int, int]`, *optional*): Rows and columns of auxiliary targets.
    """

    settings: RenderSettings
    grid: tuple[int, int] | None = None

    @classmethod
    def parse(
        cls, text: str, processor: SSGPAProcessor, grid: Sequence[int] | None, prepared: dict[str, Any] | None
    ) -> "SceneSource":
        """Read a run's `fresh_scenes`.

        Args:
            text (`str`): JSON mapping of `OPTIONS`; `seed` must be there, `size` is that of the processor by default.
            processor (`SSGPAProcessor`): Says which size the model reads.
            grid (`Sequence[int]`, *optional*): Of the prepared data's auxiliary targets.
            prepared (`dict[str, Any]`, *optional*): Settings of the rendering of the prepared data.

        Raises:
            ValueError: It is no such mapping, an option is unknown or out of range, or the seed is that of the
                prepared data, whose scenes validate.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"`fresh_scenes` is no JSON: {error}.") from error
        if not isinstance(values, dict) or "seed" not in values:
            raise ValueError("`fresh_scenes` must be a mapping with `seed`, such as {seed: 11}.")
        unknown = sorted(values.keys() - OPTIONS)
        if unknown:
            raise ValueError(f"`fresh_scenes` knows {', '.join(sorted(OPTIONS))}, and not {unknown[0]!r}.")
        if prepared is not None and prepared.get("seed") == values["seed"]:
            raise ValueError(
                f"`fresh_scenes`: seed {values['seed']} is that of the prepared data, whose scenes validate; choose "
                "another one."
            )
        try:
            size = values.pop("size", None) or fixed_size(processor.image_processor)
            settings = RenderSettings.from_dict({"scenes": MAX_SCENES, **values, "size": list(size or ())})
        except (TypeError, ValueError) as error:
            raise ValueError(f"`fresh_scenes`: {error}") from error
        return cls(settings, None if grid is None else tuple(grid))


class FreshSceneDataset(TorchDataset):
    """Training rows of scenes that are rendered when they are asked for.

    Row i is of scene i of the set that `examples/render_clevr_change.py` makes from the same seed, and depends on the
    seeds and on i alone: workers share the rendering out, and a resumed run sees what it would have seen.

    Args:
        source (`SceneSource`): The scenes.
        processor (`SSGPAProcessor`): Resizes the images where they have another size.
        orders (`Orders`): Which pairs of a scene are shown.
        wordings (`Wordings`, *optional*): Canonical captions; by default those of the references' grammar.
        captions_per_pair (`int`): Captions of every pair.
        seed (`int`): Of what is drawn beside the scenes.
        augmentation (`PairAugmentation`, *optional*): Alters the images.
    """

    def __init__(
        self,
        source: SceneSource,
        processor: SSGPAProcessor,
        orders: Orders,
        wordings: Wordings | None = None,
        captions_per_pair: int = 1,
        seed: int = 0,
        augmentation: PairAugmentation | None = None,
    ) -> None:
        self.source = source
        self.processor = processor
        self.orders = orders
        self.wordings = wordings
        self.captions_per_pair = check_captions_per_pair(captions_per_pair)
        self.seed = seed
        self.augmentation = augmentation

    def __len__(self) -> int:
        return self.source.settings.scenes

    def __getitem__(self, index: int) -> dict[str, Any]:
        settings = self.source.settings
        triple = draw_triple(
            settings.seed, index, settings.size, settings.backend, settings.views, twins=settings.twins
        )
        record = triple_record(triple)
        rng = np.random.default_rng([self.seed, settings.seed, index, ORDER_STREAM])
        order = self.orders.draw(rng)
        kind, captions = self._captions(order, triple, record, rng)
        images = tuple(
            fit_image(Image.fromarray(draw_image(settings, index, place, triple.scenes[place])), self.processor)
            for place in order
        )
        if self.augmentation is not None:
            images = self.augmentation(images, np.random.default_rng([self.seed, index, AUGMENT_STREAM]))
        item = {
            "pair_id": f"{index:06d}.png",
            "scene_id": index,
            "captions": draw_captions(captions, self.captions_per_pair, rng),
            "change_type": kind,
            "images": model_images(images, self.processor),
        }
        if self.source.grid is not None:
            changed = [record["changed_object"]] if CHANGED in order else []
            views = [(triple.ids[place], record[VIEWS[place]]["objects"]) for place in order]
            cells = (cell_targets(ids, objects, changed, self.source.grid) for ids, objects in views)
            item["cells"] = tuple(np.asarray(found, dtype=np.int64) for found in cells)
            item["objects"] = tuple(
                np.asarray(object_targets(ids, objects, self.source.grid)) for ids, objects in views
            )
        return item

    def _captions(
        self, order: tuple[int, int], triple: Any, record: dict[str, Any], rng: np.random.Generator
    ) -> tuple[str, list[str]]:
        """Type and captions of the pair."""
        if CHANGED not in order:
            return NO_CHANGE, no_change_captions(rng) if self.wordings is None else [self.wordings.unchanged]
        backwards = order[0] == CHANGED
        scene = ChangedScene.from_record(record, inverse=backwards)
        if self.wordings is None and not backwards:
            return scene.change_type, triple.change_captions
        return scene.change_type, tell_change(scene, self.wordings, rng)


__all__ = ["FreshSceneDataset", "Orders", "SceneSource"]
