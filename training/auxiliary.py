# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training-only heads: small ones that read the model's features and never become part of the saved model.

They stand in for a pretrained image encoder where everything is trained from scratch on rendered scenes: the renderer
knows which attributes a cell shows and where the change is. Off by default; a result that used them says so.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from ..data.clevr_renderer.dataset.cells import CHANGED_BIT
from ..data.clevr_renderer.scene.geometry import COLORS, MATERIALS, SHAPES, SIZES
from ..data.schema import OBJECT_COLUMNS
from ..system_ssgpa import AuxiliaryFeatures
from .arguments import AUXILIARY, ChangeCaptioningArguments
from .dataset import CHANGE_UNKNOWN


# The attributes are the bits below that of the change.
ATTRIBUTE_BITS = CHANGED_BIT
# Bits of shape, color, material and size; each attribute has one of its values.
ATTRIBUTE_SIZES = [len(values) for values in (SHAPES, COLORS, MATERIALS, SIZES)]
# Heads that read the images after they were compared.
COMPARED = ("counterpart", "changed", "type")
CHANGE_TYPES = ("color", "material", "add", "drop", "move", "none")
# Few cells show the change; without this the head would answer "nowhere".
CHANGED_WEIGHT = 5.0
MODULE_NAME = "auxiliary_heads"
LOSS_PREFIX = "aux_"
FILE_NAME = f"{MODULE_NAME}.safetensors"


class AuxiliaryHeads(nn.Module):
    """Heads for the attributes of every cell and object and of the other image's, for changed cells and change type.

    Args:
        hidden_size (`int`): Width of the patches.
        weights (`dict[str, float]`): Weights of `attributes`, `objects`, `counterpart`, `changed` and `type`; one of
            weight zero has no head. Cells and objects share theirs.
        leading_tokens (`int`, *optional*, defaults to 1): Tokens of each image in front of its patches.
    """

    def __init__(self, hidden_size: int, weights: dict[str, float], leading_tokens: int = 1) -> None:
        super().__init__()
        self.weights = weights
        self.leading_tokens = leading_tokens
        # A head without a loss would be left without gradients, which distributed training takes for a fault.
        if weights.get("attributes") or weights.get("objects"):
            self.attributes = nn.Linear(hidden_size, ATTRIBUTE_BITS)
        if weights.get("counterpart"):
            self.counterpart = nn.Linear(hidden_size, ATTRIBUTE_BITS)
        if weights.get("changed"):
            self.changed = nn.Linear(hidden_size, 1)
        if weights.get("type"):
            self.change_type = nn.Linear(2 * hidden_size, len(CHANGE_TYPES))
        self.scale = 1.0
        self._features: dict[str, Tensor] = {}
        self._batch: tuple[Tensor | None, list[str] | None, dict[str, Tensor] | None] = (None, None, None)

    def attach(self, model: PreTrainedModel) -> None:
        """Train with `model`, unsaved with it, on what its vision tower and alignment return.

        From then on the model's forward pass also takes `cells`, `change_types` and `objects`, and where they are
        given adds the auxiliary targets' losses to the output's `loss_parts`, though not to its `loss`. Worked out
        outside the forward pass, they would escape the wrappers of distributed training.

        Raises:
            ValueError: The model has no patches to read.
        """
        features = _patches_of(model)
        model.register_forward_pre_hook(self._keep_batch, with_kwargs=True)
        model.register_forward_hook(self._add_losses)
        for name, module in (("tower", features.tower), ("compared", features.compared)):
            if module is not None:
                module.register_forward_hook(
                    lambda module, inputs, output, name=name: self._features.update({name: features.read(output)})
                )
        model.add_module(MODULE_NAME, self)
        own = {f"{MODULE_NAME}.{name}" for name in self.state_dict()}
        model._keys_to_ignore_on_save = set(model._keys_to_ignore_on_save or []) | own

    def _keep_batch(self, model: nn.Module, inputs: tuple, options: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        self._batch = tuple(options.pop(name, None) for name in ("cells", "change_types", "objects"))
        return inputs, options

    def _add_losses(self, model: nn.Module, inputs: tuple, output: ModelOutput) -> None:
        cells, change_types, objects = self._batch
        if cells is not None:
            output["loss_parts"] = (output.loss_parts or {}) | self.losses(cells, change_types, objects)

    def save(self, folder: Path, state_dict: dict[str, Tensor] | None = None) -> None:
        """Write the heads into a checkpoint's folder, from the model's state where that is gathered already."""
        if state_dict is not None:
            prefix = f"{MODULE_NAME}."
            own = {name.removeprefix(prefix): value for name, value in state_dict.items() if name.startswith(prefix)}
        else:
            own = self.state_dict()
        save_file({name: value.contiguous() for name, value in own.items()}, folder / FILE_NAME)

    def start_from(self, folder: Path) -> None:
        """Take over the heads of another run's checkpoint, as far as they are the same ones.

        Args:
            folder (`Path`): What the run starts from; without heads, as a saved model, nothing is taken over.
        """
        path = folder / FILE_NAME
        found = load_file(path) if path.is_file() else {}
        same = {name for name, own in self.state_dict().items() if name in found and found[name].shape == own.shape}
        self.load_state_dict({name: found[name] for name in same}, strict=False)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: The checkpoint was written by a run without auxiliary heads.
            ValueError: By one without a head that this run has.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: the checkpoint was written by a run without auxiliary heads.")
        # Earlier versions wrote heads that have no loss, too.
        found, own = load_file(path), self.state_dict()
        lacking = sorted(own.keys() - found.keys())
        if lacking:
            raise ValueError(f"{path} has no {lacking[0]}: the checkpoint was written by a run without this head.")
        self.load_state_dict({name: found[name] for name in own})

    def losses(
        self, cells: Tensor, change_types: list[str], objects: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Weighted losses of the last forward pass.

        Args:
            cells (`torch.Tensor` of shape `(batch, 2, patches)`): Attribute bits of every cell.
            change_types (`list[str]`): Change type of every pair.
            objects (`dict[str, torch.Tensor]`, *optional*): What `stack_objects` gives, where objects have a weight.

        Returns:
            `dict[str, torch.Tensor]`: Scalars by name.

        Raises:
            ValueError: The cells are not the model's patches, or a change type is unknown.
        """
        # Behind the batch's own pairs there may be those that a loss made up.
        features = {name: states[: len(cells)].float() for name, states in self._features.items()}
        batch, images, tokens, _ = features["tower"].shape
        if cells.shape != (batch, images, tokens - self.leading_tokens):
            raise ValueError(
                f"The auxiliary targets have {cells.shape[-1]} cells an image, the model "
                f"{tokens - self.leading_tokens} patches: prepare the data with a `--aux_grid` of the model's "
                "patches."
            )
        unknown = {name for name in change_types if name not in CHANGE_TYPES}
        if unknown:
            raise ValueError(
                f"The auxiliary head of the change type knows {', '.join(CHANGE_TYPES)}; the data says {unknown}."
            )
        parts = {
            "attributes": lambda: self._attribute_loss(self.attributes, features["tower"], cells),
            # Whoever is to tell a change must first look at the same place of the other image.
            "counterpart": lambda: self._attribute_loss(self.counterpart, features["compared"], cells.flip(1)),
            "objects": lambda: self._object_loss(features["tower"], objects),
            "changed": lambda: self._changed_loss(features["compared"], cells),
            "type": lambda: self._type_loss(features["compared"], change_types),
        }
        factors = {name: self.scale * weight for name, weight in self.weights.items() if weight}
        return {f"{LOSS_PREFIX}{name}": factor * parts[name]() for name, factor in factors.items()}

    def _attribute_loss(self, head: nn.Module, states: Tensor, cells: Tensor) -> Tensor:
        """Attributes of every cell, all its bits together."""
        bits = (cells.unsqueeze(-1) >> torch.arange(ATTRIBUTE_BITS, device=cells.device)) & 1
        logits = head(states[:, :, self.leading_tokens :])
        return F.binary_cross_entropy_with_logits(logits, bits.float(), reduction="none").sum(-1).mean()

    def _object_loss(self, tower: Tensor, objects: dict[str, Tensor]) -> Tensor:
        """Attributes of every object, of its cells' mean by how much of it each holds; one choice an attribute."""
        logits = self.attributes(tower[:, :, self.leading_tokens :]).flatten(0, 1)
        shares = objects["shares"]
        pooled = torch.einsum("oc,ocb->ob", shares, logits[objects["image"]])
        bits = (objects["bits"].unsqueeze(-1) >> torch.arange(ATTRIBUTE_BITS, device=shares.device)) & 1
        parts = zip(pooled.split(ATTRIBUTE_SIZES, -1), bits.split(ATTRIBUTE_SIZES, -1), strict=True)
        return sum(F.cross_entropy(scores, chosen.argmax(-1)) for scores, chosen in parts)

    def _changed_loss(self, compared: Tensor, cells: Tensor) -> Tensor:
        """Changed cells, as far as known."""
        known = (cells & CHANGE_UNKNOWN == 0).float()
        changed = F.binary_cross_entropy_with_logits(
            self.changed(compared[:, :, self.leading_tokens :]).squeeze(-1),
            ((cells >> CHANGED_BIT) & 1).float(),
            weight=known,
            pos_weight=torch.tensor(CHANGED_WEIGHT, device=cells.device),
            reduction="sum",
        )
        return changed / known.sum().clamp_min(1)

    def _type_loss(self, compared: Tensor, change_types: list[str]) -> Tensor:
        """Change type of the pair."""
        tokens = compared.flatten(1, 2)
        logits = self.change_type(torch.cat([tokens.mean(1), tokens.amax(1)], 1))
        target = torch.tensor([CHANGE_TYPES.index(name) for name in change_types], device=logits.device)
        return F.cross_entropy(logits, target)


def _patches_of(model: Any) -> AuxiliaryFeatures:
    """Where a model has the patches that the heads read; an error where it has none."""
    features = model.get_auxiliary_features()
    if features is None:
        raise ValueError(f"Auxiliary heads read an image's patches; {type(model).__name__} lacks them.")
    return features


def auxiliary_heads_of(
    model: Any, arguments: ChangeCaptioningArguments, columns: list[str], start: str | None = None
) -> AuxiliaryHeads | None:
    """Auxiliary heads that the run's arguments switch on, or None.

    Args:
        model (`Any`): What they train with.
        arguments (`ChangeCaptioningArguments`): Their weights.
        columns (`list[str]`): Of the prepared data.
        start (`str`, *optional*): Checkpoint that the run starts from, whose heads it goes on with.

    Raises:
        ValueError: Auxiliary targets are wanted, and the prepared data has none or the model nothing to read them off.
    """
    weights = {name.removeprefix(LOSS_PREFIX): getattr(arguments, name) for name in AUXILIARY}
    if not any(weights.values()):
        return None
    if "before_cells" not in columns:
        raise ValueError(
            "Auxiliary targets need the cells of `prepare_data.py --aux_grid ROWS COLUMNS`; the data has none."
        )
    if weights["objects"] and OBJECT_COLUMNS[0] not in columns:
        raise ValueError("`aux_objects` needs data that was prepared anew with `--aux_grid`: it has no objects yet.")
    features = _patches_of(model)
    if features.compared is None and any(weights[name] for name in COMPARED):
        names = ", ".join(f"`aux_{name}`" for name in COMPARED)
        raise ValueError(
            f"{names} read compared images; in {type(model).__name__} the language model alone compares them: set "
            "them to 0."
        )
    heads = AuxiliaryHeads(features.hidden_size, weights, features.leading_tokens)
    if start is not None:
        heads.start_from(Path(start))
    return heads
