# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The shapes and dtypes of a public reproduction of the paper, to count its memory beside ours. It trains nothing.

Written from a description of it: a frozen ViT-g in fp16, a second one in fp32 whose blocks also attend to the other
image and train that attention, 514 visual tokens, Vicuna-7B in fp16, plain attention, no activation checkpointing,
fp16 autocast. Autocast does not reach the meta device, so its casts are written out.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, LlamaConfig
from transformers.models.instructblip.configuration_instructblip import InstructBlipVisionConfig
from transformers.utils import ModelOutput

from .variants.reproduction import PlainAttention, update_both


HALF = torch.float16
PROMPT, ECHO = 12, 11


class AutocastLinear(nn.Linear):
    """A linear layer as under autocast: a frozen weight is cast at every use, a trained one once a step."""

    cast: Tensor | None = None

    def forward(self, states: Tensor) -> Tensor:
        """Compute in fp16."""
        if not self.weight.requires_grad:
            weight = self.weight.to(HALF)
        else:
            weight = self.cast = self.weight.to(HALF) if self.cast is None else self.cast
        bias = None if self.bias is None else self.bias.to(HALF)
        return F.linear(states.to(HALF), weight, bias)


class FullNorm(nn.LayerNorm):
    """A layer norm that computes and answers in fp32."""

    def forward(self, states: Tensor) -> Tensor:
        """Normalize."""
        return super().forward(states.float())


class AutocastAttention(PlainAttention):
    """The same with linear layers as under autocast."""

    linear = AutocastLinear


class FusionBlock(nn.Module):
    """A block of the second tower: self-attention, the trained cross-attention, and the MLP, for both images."""

    def __init__(self, width: int, inner: int, heads: int) -> None:
        super().__init__()
        self.first_norm, self.second_norm = FullNorm(width), FullNorm(width)
        self.self_attn = AutocastAttention(width, heads, bias=True)
        self.cross_attn = AutocastAttention(width, heads)
        self.fc1, self.fc2 = AutocastLinear(width, inner), AutocastLinear(inner, width)

    def forward(self, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
        """Update both images' tokens (batch, tokens, width)."""
        return update_both(
            before,
            after,
            self.first_norm,
            lambda normed: self.self_attn(normed, normed),
            self.cross_attn,
            self.second_norm,
            lambda normed: self.fc2(F.gelu(self.fc1(normed))),
        )


class Reproduction(nn.Module):
    """The whole system with `forward(pixel_values, labels)`; on CLEVR-Change one step takes two such passes."""

    def __init__(self, vision: InstructBlipVisionConfig, text: LlamaConfig) -> None:
        super().__init__()
        self.tower = AutoModel.from_config(vision, dtype=HALF)
        self.tower_norm = FullNorm(vision.hidden_size)
        self.fusion = nn.ModuleList(
            FusionBlock(vision.hidden_size, vision.intermediate_size, vision.num_attention_heads)
            for _ in range(vision.num_hidden_layers)
        )
        self.fusion_norm = FullNorm(vision.hidden_size)
        self.before_projection = AutocastLinear(vision.hidden_size, 768)
        self.projection = AutocastLinear(768, text.hidden_size)
        self.language_model = AutoModel.from_config(text, dtype=HALF, attn_implementation="eager")
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False, dtype=HALF)
        # A retrieval head that is never called.
        self.assistant = nn.ModuleList(nn.Linear(text.hidden_size, text.hidden_size) for _ in range(4))
        for name, parameter in self.named_parameters():
            part = name.split(".")[0]
            parameter.requires_grad_("cross_attn" in name or part.endswith(("_norm", "projection")))

    def forward(self, pixel_values: Tensor, labels: Tensor) -> ModelOutput:
        """The loss of pairs (passes, batch, 2, 3, height, width) with labels (passes, batch, tokens)."""
        for module in self.modules():
            if isinstance(module, AutocastLinear):
                module.cast = None
        loss = sum(self._one_pass(pairs, targets) for pairs, targets in zip(pixel_values, labels, strict=True))
        return ModelOutput(loss=loss)

    def _one_pass(self, pairs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            tokens = [self.tower(pairs[:, side].to(HALF)).last_hidden_state for side in (0, 1)]
        before, after = (self.tower_norm(states).to(HALF) for states in tokens)
        for block in self.fusion:
            before, after = block(before, after)
        visual = [self.projection(self.before_projection(self.fusion_norm(states))) for states in (before, after)]
        words = self.language_model.get_input_embeddings()(labels)
        embeddings = torch.cat([*visual, words], 1)
        count, length = embeddings.shape[:2]
        mask = torch.zeros(count, 1, length, length, device=embeddings.device, dtype=HALF)
        states = self.language_model(inputs_embeds=embeddings, attention_mask=mask, use_cache=True).last_hidden_state
        logits = self.lm_head(states).float()
        targets = F.pad(labels, (length - labels.shape[1], 0), value=-100)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets[:, 1:].flatten())


def build_reproduction(vision: dict, text: dict) -> Reproduction:
    """The system on the meta device.

    Args:
        vision (`dict`): ViT-g's configuration.
        text (`dict`): Vicuna's configuration.

    Returns:
        `Reproduction`: Ready to count: 313 million parameters train.
    """
    with torch.device("meta"):
        return Reproduction(InstructBlipVisionConfig(**vision), LlamaConfig(**text)).train()


def reproduction_batch(batch_size: int, caption: int, passes: int = 2, size: int = 224) -> dict[str, Tensor]:
    """A batch on the meta device; the prompt stands in front of the caption a second time, as it did.

    Args:
        batch_size (`int`): Pairs.
        caption (`int`): Tokens of the longest caption, its end among them.
        passes (`int`, *optional*, defaults to `2`): Forward passes whose graphs are kept until the one backward pass;
            two on CLEVR-Change.
        size (`int`, *optional*, defaults to `224`): Height and width of the images.

    Returns:
        `pixel_values` and `labels`.
    """
    tokens = PROMPT + ECHO + caption
    return {
        "pixel_values": torch.empty(passes, batch_size, 2, 3, size, size, device="meta"),
        "labels": torch.zeros(passes, batch_size, tokens, dtype=torch.long, device="meta"),
    }
