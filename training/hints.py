# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training-only hints: small heads that read the model's features and never become part of the saved model.

They stand in for a pretrained image encoder where everything is trained from scratch on rendered scenes: the renderer
knows which attributes a cell shows and where the change is. Off by default; a result that used them says so.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .arguments import ChangeCaptioningArguments
from .pairs import CHANGE_UNKNOWN


ATTRIBUTE_BITS = 15
CHANGED_BIT = 15
CHANGE_TYPES = ("color", "material", "add", "drop", "move", "none")
# Few cells show the change; without this the head would answer "nowhere".
CHANGED_WEIGHT = 5.0


class CellHints(nn.Module):
    """Heads for the attributes of every cell, for the changed cells and for the change type.

    Args:
        hidden_size (`int`): Width of the parts.
        weights (`dict[str, float]`): Weights of `attributes`, `changed` and `type`; zero switches one off.
    """

    def __init__(self, hidden_size: int, weights: dict[str, float]):
        super().__init__()
        self.weights = weights
        self.attributes = nn.Linear(hidden_size, ATTRIBUTE_BITS)
        self.changed = nn.Linear(hidden_size, 1)
        self.change_type = nn.Linear(2 * hidden_size, len(CHANGE_TYPES))
        self.scale = 1.0
        self._features: dict[str, Tensor] = {}

    def watch(self, model: nn.Module) -> None:
        """Keep what the vision tower and the alignment of `model` return in every forward pass."""
        model.model.vision_tower.register_forward_hook(
            lambda module, inputs, output: self._features.update(tower=output)
        )
        model.model.alignment.register_forward_hook(
            lambda module, inputs, output: self._features.update(aligned=output[0])
        )

    def losses(self, cells: Tensor, change_types: list[str]) -> dict[str, Tensor]:
        """Weighted losses of the last forward pass.

        Args:
            cells (`torch.Tensor` of shape `(batch, 2, parts)`): Attribute bits of every cell.
            change_types (`list[str]`): Change type of every pair.

        Returns:
            `dict[str, torch.Tensor]`: Scalars by name.
        """
        tower, aligned = self._features["tower"], self._features["aligned"]
        if cells.shape != tower.shape[:2] + (tower.shape[2] - 1,):
            raise ValueError(
                f"The hints have {cells.shape[-1]} cells a picture, the model {tower.shape[2] - 1} parts: prepare the "
                "data with a `--hint_grid` of the model's `part_grid`."
            )
        parts = {
            "attributes": self._attribute_loss(tower[:, :, 1:], cells),
            "changed": self._changed_loss(aligned[:, :, 1:], cells),
            "type": self._type_loss(aligned, change_types),
        }
        return {f"hint_{name}": self.scale * self.weights[name] * loss for name, loss in parts.items() if self.weights[name]}

    def _attribute_loss(self, parts: Tensor, cells: Tensor) -> Tensor:
        bits = (cells.unsqueeze(-1) >> torch.arange(ATTRIBUTE_BITS, device=cells.device)) & 1
        logits = self.attributes(parts).float()
        return F.binary_cross_entropy_with_logits(logits, bits.float(), reduction="none").sum(-1).mean()

    def _changed_loss(self, parts: Tensor, cells: Tensor) -> Tensor:
        changed = ((cells >> CHANGED_BIT) & 1).float()
        known = (cells & CHANGE_UNKNOWN == 0).float()
        loss = F.binary_cross_entropy_with_logits(
            self.changed(parts).squeeze(-1).float(),
            changed,
            weight=known,
            pos_weight=torch.tensor(CHANGED_WEIGHT, device=cells.device),
            reduction="sum",
        )
        return loss / known.sum().clamp_min(1)

    def _type_loss(self, aligned: Tensor, change_types: list[str]) -> Tensor:
        tokens = aligned.flatten(1, 2).float()
        logits = self.change_type(torch.cat([tokens.mean(1), tokens.amax(1)], 1)).float()
        target = torch.tensor([CHANGE_TYPES.index(name) for name in change_types], device=logits.device)
        return F.cross_entropy(logits, target)


def hints_of(model: nn.Module, arguments: ChangeCaptioningArguments, columns: list[str]) -> CellHints | None:
    """Heads for the hints that the run's arguments switch on, or None.

    Raises:
        ValueError: Hints are wanted and the prepared data has none.
    """
    weights = {name: getattr(arguments, f"hint_{name}") for name in ("attributes", "changed", "type")}
    if not any(weights.values()):
        return None
    if "before_cells" not in columns:
        raise ValueError("Hints need the cells of `prepare_data.py --hint_grid ROWS COLUMNS`; the data has none.")
    return CellHints(model.config.part_hidden_size, weights)
