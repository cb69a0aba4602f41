# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The training of ProCap's image tokenizer, in a comparison with its authors' code."""

from pathlib import Path
from typing import Any

from torch import Tensor

from ssgpa.baselines.procap import ProCapForImageReconstruction


def compute(checkpoint: Path, inputs: dict[str, Tensor], fields: dict[str, Any]) -> dict[str, Tensor]:
    """Images through their codes and back, the losses, and some of their gradients.

    Args:
        checkpoint (`Path`): Weights in the format of taming-transformers, which the authors use.
        inputs (`dict[str, torch.Tensor]`): `pixel_values` (images, channels, height, width).
        fields (`dict[str, Any]`): Of the configuration, those that no weight tells.

    Returns:
        `dict[str, torch.Tensor]`: By the names of the other side's outputs.
    """
    model = ProCapForImageReconstruction.from_vqgan(checkpoint, **fields)
    found = model(inputs["pixel_values"].unsqueeze(1), return_loss=True)
    found.loss.backward()
    tokenizer = model.model.vision_tower.tokenizer
    return {
        "reconstruction": found.reconstruction.squeeze(1).detach(),
        "codes": found.codes,
        "reconstruction_loss": found.loss_parts["reconstruction"].detach(),
        "codebook_loss": found.loss_parts["codebook"].detach(),
        "encoder_gradient": tokenizer.encoder.conv_in.weight.grad,
        "codebook_gradient": tokenizer.quantize.embedding.weight.grad,
        "decoder_gradient": model.pixel_decoder.conv_in.weight.grad,
    }


__all__ = ["compute"]
