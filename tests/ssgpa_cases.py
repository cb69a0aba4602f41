# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Models, modules and images that several of SSGPA's tests share."""

import torch
from torch import Tensor, nn

from ssgpa import SSGPAForConditionalGeneration, SSGPAProcessor
from ssgpa.modeling_ssgpa import GlobalPartTransportAlignment

from .tiny_systems import tiny_ssgpa


# What the small presets train, some 10 M parameters: the Q-Former is frozen too.
FROZEN_QFORMER_TOO = [
    r"^(?!model\.vision_tower\.tower\.|model\.language_model\.|lm_head\.|model\.connector\.q(former|uery_tokens))"
]

TOKENS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
MAPS = {"hidden_sizes": [8, 16], "depths": [1, 1]}
TOWERS = {
    "instructblip": {},
    "resnet": {"vision": "resnet"},
    "clip": {"vision_config": TOKENS | {"model_type": "clip_vision_model"}},
    "siglip": {"vision_config": TOKENS | {"model_type": "siglip_vision_model", "vision_use_head": False}},
    "vit": {"vision_config": TOKENS | {"model_type": "vit"}},
    "blip2": {"vision_config": TOKENS | {"model_type": "blip_2_vision_model", "initializer_range": 0.02}},
    "registers": {"vision_config": TOKENS | {"model_type": "dinov2_with_registers", "num_register_tokens": 3}},
    "convnext": {
        "vision_config": MAPS | {"model_type": "convnext", "num_stages": 2, "patch_size": 4, "image_size": 32}
    },
}
QFORMERS = {
    "instructblip-qformer": {"qformer": True},
    "resnet-qformer": {"vision": "resnet", "qformer": True},
    "blip2-qformer": {
        "num_query_tokens": 4,
        "qformer_config": {
            "model_type": "blip_2_qformer",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
        },
    },
}
VARIANTS = TOWERS | QFORMERS
PROMPTS = (
    "before: <image> after: <image> change:",
    "the scene before <image> and the same scene after <image> : what is missing or moved in the scene ?",
    "<image> <image>",
)
TRAINED = (
    "change_fusion_adapter",
    "alignment",
    "connector.global",
    "connector.language",
    "connector.norm",
    "contrast",
)
LOSSES = {"caption", "contrast", "warp", "cycle", "global"}
NO_LOSSES = {"contrast_weight": 0.0, "warp_weight": 0.0, "cycle_weight": 0.0, "global_weight": 0.0}
CAPTIONS = ("the red cube has moved", "no change", "the small metal sphere is gone")


def wake(module: nn.Module, seed: int = 0, std: float = 0.1) -> nn.Module:
    """Set what starts at zero (but for biases of layers that do not) to small random values."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if not parameter.any():
            parameter.data.normal_(std=std, generator=generator)
    return module


def freeze(model: SSGPAForConditionalGeneration) -> SSGPAForConditionalGeneration:
    """Leave only adapter, alignment, connector and contrast to be trained."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(part in name for part in TRAINED))
    return model


def tiny_model(variant: str, **overrides: object) -> tuple[SSGPAForConditionalGeneration, SSGPAProcessor]:
    """Model of a variant, woken, and its processor."""
    model, processor = tiny_ssgpa(**(VARIANTS[variant] | overrides))
    return wake(model), processor


def random_pixels(pairs: int, seed: int = 0) -> Tensor:
    """Normalized images of noise, (pairs, 2, 3, 32, 32)."""
    return torch.randn(pairs, 2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def inputs_for(processor: SSGPAProcessor, count: int = 3, captions: bool = False) -> dict[str, Tensor]:
    """Prompts of mixed lengths for `count` pairs, with labels where captions are asked for."""
    images = [[image.clamp(-1, 1).add(1).div(2) for image in pair] for pair in random_pixels(count)]
    suffix = {"suffix": list(CAPTIONS[:count])} if captions else {}
    return dict(processor(images=images, text=list(PROMPTS[:count]), return_tensors="pt", **suffix))


def row(inputs: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """One row of a batch, its left padding removed."""
    kept = inputs["attention_mask"][index].bool()
    return {
        name: value[index : index + 1] if name == "pixel_values" else value[index : index + 1, kept]
        for name, value in inputs.items()
    }


def alignment_module(grid: tuple[int, int] = (16, 16), width: int = 64, **overrides: object) -> nn.Module:
    """An alignment at the definition's settings, as it is at the start of training."""
    model, _ = tiny_ssgpa(
        vision="resnet", patch_grid=list(grid), patch_hidden_size=width, alignment_hidden_size=256, **overrides
    )
    module: GlobalPartTransportAlignment = model.model.alignment
    return module.eval()


def with_global(before: Tensor, after: Tensor) -> Tensor:
    """Hidden states (1, 2, 1 + patches, width) from the patches of both images, the global token their mean."""
    patches = torch.stack([before, after]).unsqueeze(0)
    return torch.cat([patches.mean(2, keepdim=True), patches], 2)


def plain_scene(patches: int, width: int, generator: torch.Generator, objects: float = 0.25) -> Tensor:
    """Patches (patches, width): one surface, and in the first share of them objects, each of its own."""
    scene = torch.randn(1, width, generator=generator).repeat(patches, 1)
    scene[: int(objects * patches)] = torch.randn(int(objects * patches), width, generator=generator)
    return scene[torch.randperm(patches, generator=generator)]


def area_under_curve(scores: Tensor, positives: Tensor) -> float:
    """Share of (positive, negative) couples that the scores order right."""
    better = scores[positives].unsqueeze(1) - scores[~positives].unsqueeze(0)
    return ((better > 0).float() + 0.5 * (better == 0).float()).mean().item()
