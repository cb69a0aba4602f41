# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""What FINER-MLLM takes over from an InstructBLIP or from a checkpoint of the authors: all its weights or an error."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.configuration_utils import PreTrainedConfig

from ...conversion_ssgpa import read_named_tensors
from .configuration_finer_mllm import FinerMLLMConfig


TOWER, QFORMER = "model.vision_tower.tower.", "model.connector.qformer."
# Names in an InstructBLIP checkpoint, as regular expressions, and here; the first that fits.
INSTRUCTBLIP_NAMES = {
    r"^vision_model\.": TOWER,
    r"^qformer\.embeddings\.layernorm\.": f"{QFORMER}layernorm.",
    r"^qformer\.": QFORMER,
    r"^query_tokens$": "model.connector.query_tokens",
    r"^language_projection\.": "model.connector.language_projection.",
    r"^language_model\.model\.": "model.language_model.",
    r"^language_model\.lm_head\.": "lm_head.",
}
# Of an instruction, which the Q-Former does not read here.
INSTRUCTION = re.compile(
    r"^qformer\.(embeddings\.(word_embeddings|position_embeddings|position_ids)|encoder\.layer\.\d+\.(intermediate|output)\.)"
)
# Names in the authors' checkpoints and here, all that fit, in their order.
OFFICIAL_NAMES = {
    r"^visual_encoder\.cls_token$": f"{TOWER}embeddings.class_embedding",
    r"^visual_encoder\.pos_embed$": f"{TOWER}embeddings.position_embedding",
    r"^visual_encoder\.patch_embed\.proj\.": f"{TOWER}embeddings.patch_embedding.",
    r"^visual_encoder\.blocks\.": f"{TOWER}encoder.layers.",
    r"^ln_vision\.": f"{TOWER}post_layernorm.",
    r"(layers\.\d+)\.norm([12])\.": r"\1.layer_norm\2.",
    r"\.attn\.proj\.": ".self_attn.projection.",
    r"\.attn\.qkv\.": ".self_attn.qkv.",
    r"^query_tokens$": "model.connector.query_tokens",
    r"^Qformer\.bert\.embeddings\.LayerNorm\.": f"{QFORMER}layernorm.",
    r"^Qformer\.bert\.": QFORMER,
    r"attention\.self\.": "attention.attention.",
    r"^llm_proj\.": "model.connector.language_projection.",
    r"^llm_model\.backbone\.model\.": "model.language_model.",
    r"^llm_model\.backbone\.lm_head\.": "lm_head.",
}
HEAD = "llm_model.assistant.sub_bag_weight."
# Nothing that is computed depends on them: what the emphasis head never used, and tables of positions.
WITHOUT_EFFECT = re.compile(
    r"^(llm_model\.assistant\.(sub_bag_weight\.out_proj|ln)\.(weight|bias)"
    r"|Qformer\.bert\.embeddings\.position_ids"
    r"|llm_model\.backbone\.model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq)$"
)
LORA = re.compile(r"^(?P<layer>.+)\.lora_(?P<side>[AB])$")
# Widths of one attention head of EVA-ViT-g, the Q-Former and Vicuna.
HEAD_WIDTHS = {"vision_config": 88, "qformer_config": 64, "text_config": 128}
EMPHASIS = "emphasis."


class Matrices(NamedTuple):
    """LoRA's matrices of one linear layer.

    Args:
        down (`torch.Tensor` of shape `(rank, in_features)`): A.
        up (`torch.Tensor` of shape `(out_features, rank)`): B.
    """

    down: Tensor
    up: Tensor

    @property
    def update(self) -> Tensor:
        """What they add to the layer's weight (out_features, in_features), at the authors' alpha of 1."""
        return self.up.float() @ self.down.float() / len(self.down)


class Official(NamedTuple):
    """A checkpoint of the authors.

    Args:
        config (`FinerMLLMConfig`): Its sizes.
        weights (`dict[str, torch.Tensor]`): By their names here, without LoRA.
        lora (`dict[str, Matrices]`): By the names of their layers here.
    """

    config: FinerMLLMConfig
    weights: dict[str, Tensor]
    lora: dict[str, Matrices]

    def merged(self) -> dict[str, Tensor]:
        """The weights with LoRA added to them."""
        merged = dict(self.weights)
        for layer, matrices in self.lora.items():
            name = f"{layer}.weight"
            merged[name] = (self.weights[name].float() + matrices.update).to(self.weights[name].dtype)
        return merged


def convert_instructblip_config(source: PreTrainedConfig, **fields: Any) -> FinerMLLMConfig:
    """Sizes of an InstructBLIP, whose Q-Former reads no instruction any more.

    Args:
        source (`PreTrainedConfig`): Its configuration.
        **fields (`Any`, *optional*): Fields of [`FinerMLLMConfig`]; they win.

    Returns:
        `FinerMLLMConfig`: The configuration.

    Raises:
        ValueError: The placeholder's id is not known or has no embedding.
    """
    qformer = source.qformer_config.to_dict()
    qformer |= {"model_type": "blip_2_qformer", "use_qformer_text_input": False}
    taken = {
        "vision_config": source.vision_config.to_dict(),
        "qformer_config": qformer,
        "text_config": source.text_config.to_dict(),
        "num_query_tokens": source.num_query_tokens,
        "image_token_id": source.image_token_index,
    }
    values = taken | fields
    if values["image_token_id"] is None:
        raise ValueError(
            "The checkpoint does not tell its placeholder's id: give `image_token_id`, the tokenizer's id of <image>."
        )
    config = FinerMLLMConfig(**values)
    if config.image_token_id >= config.text_config.vocab_size:
        raise ValueError(
            f"`image_token_id` {config.image_token_id} is none of the language model's "
            f"{config.text_config.vocab_size} tokens."
        )
    return config


def convert_instructblip(source: PreTrainedModel) -> dict[str, Tensor]:
    """The weights of an InstructBLIP by their names here, without those of its instruction.

    Args:
        source (`PreTrainedModel`): The model.

    Returns:
        `dict[str, torch.Tensor]`: The weights; a name that is not known stays as it is.
    """
    converted = {}
    for name, value in source.state_dict().items():
        if INSTRUCTION.match(name):
            continue
        for pattern, replacement in INSTRUCTBLIP_NAMES.items():
            found = re.sub(pattern, replacement, name)
            if found != name:
                break
        converted |= split_qkv(found, value)
    return converted


def split_qkv(name: str, value: Tensor) -> dict[str, Tensor]:
    """Queries, keys and values of a tower's layer as the three layers that they are here; others as they are."""
    if ".qkv." not in name:
        return {name: value}
    parts = zip("qkv", value.chunk(3), strict=True)
    return {name.replace(".qkv.", f".qkv.{part}."): share.contiguous() for part, share in parts}


def convert_official(path: str | os.PathLike, qformer_merged: bool = True, **fields: Any) -> Official:
    """Read a checkpoint of the authors' code.

    Args:
        path (`str` or `os.PathLike`): Pickled tensors, or safetensors.
        qformer_merged (`bool`, *optional*, defaults to `True`): Whether the Q-Former's weights hold LoRA already, as
            they do in what the authors' training saves, right behind an evaluation. Their test program adds it once
            more; False gives what it computes.
        **fields (`Any`, *optional*): Fields of [`FinerMLLMConfig`]; they win over the sizes that the weights tell,
            those of a part one by one.

    Returns:
        `Official`: Sizes, weights and LoRA.

    Raises:
        ValueError: It is another checkpoint, or holds weights that FINER-MLLM has no place for; the error names them.
    """
    source = read_named_tensors(Path(path))
    try:
        sizes = official_sizes(source)
        weights, lora = convert_names(source)
    except KeyError as error:
        raise ValueError(f"{path} is no checkpoint of FINER-MLLM: it has no {error}.") from error
    for name, width in HEAD_WIDTHS.items():
        sizes[name] |= fields.pop(name, {})
        sizes[name].setdefault("num_attention_heads", max(1, sizes[name]["hidden_size"] // width))
    sizes["text_config"].setdefault("num_key_value_heads", sizes["text_config"]["num_attention_heads"])
    homeless = sorted(set(lora) - {name.removesuffix(".weight") for name in weights})
    if homeless:
        raise ValueError(f"{path} has LoRA of {homeless[0]}, and not its weight.")
    config = FinerMLLMConfig(**sizes | fields)
    if config.image_token_id >= len(weights["lm_head.weight"]):
        # Their images take no place in the text; here a placeholder does, which no caption holds.
        for name in ("lm_head.weight", "model.language_model.embed_tokens.weight"):
            weights[name] = torch.cat([weights[name], torch.zeros_like(weights[name][:1])])
        config.text_config.vocab_size = len(weights["lm_head.weight"])
        config.image_token_id = config.text_config.vocab_size - 1
    if qformer_merged:
        for layer, matrices in lora.items():
            if layer.startswith(QFORMER):
                weight = weights[f"{layer}.weight"]
                weights[f"{layer}.weight"] = (weight.float() - matrices.update).to(weight.dtype)
    return Official(config, weights, lora)


def official_sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of a model as its weights in the authors' checkpoint tell them.

    Args:
        weights (`Mapping[str, torch.Tensor]`): By their names there.

    Returns:
        `dict[str, Any]`: Fields of [`FinerMLLMConfig`], all but the numbers of attention heads.
    """

    def layers(prefix: str) -> int:
        return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})

    patches = weights["visual_encoder.patch_embed.proj.weight"]
    grid = round((weights["visual_encoder.pos_embed"].shape[1] - 1) ** 0.5)
    vocabulary, width = weights["llm_model.backbone.model.embed_tokens.weight"].shape
    crossed = [name for name in weights if re.search(r"\.crossattention\.self\.key\.weight$", name)]
    return {
        "num_query_tokens": weights["query_tokens"].shape[1],
        "image_token_id": vocabulary,
        "vision_config": {
            "hidden_size": patches.shape[0],
            "intermediate_size": len(weights["visual_encoder.blocks.0.mlp.fc1.bias"]),
            "num_hidden_layers": layers("visual_encoder.blocks."),
            "patch_size": patches.shape[-1],
            "image_size": patches.shape[-1] * grid,
            "qkv_bias": "visual_encoder.blocks.0.attn.q_bias" in weights,
        },
        "qformer_config": {
            "hidden_size": weights["query_tokens"].shape[2],
            "intermediate_size": len(weights["Qformer.bert.encoder.layer.0.intermediate_query.dense.bias"]),
            "num_hidden_layers": layers("Qformer.bert.encoder.layer."),
            "cross_attention_frequency": layers("Qformer.bert.encoder.layer.") // max(1, len(crossed)),
        },
        "text_config": {
            "model_type": "llama",
            "vocab_size": vocabulary,
            "hidden_size": width,
            "intermediate_size": len(weights["llm_model.backbone.model.layers.0.mlp.up_proj.weight"]),
            "num_hidden_layers": layers("llm_model.backbone.model.layers."),
            "rms_norm_eps": 1e-6,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        },
    }


def convert_names(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Matrices]]:
    """Weights and LoRA of the authors' checkpoint by their names here; a name that is not known stays as it is.

    Args:
        weights (`Mapping[str, torch.Tensor]`): By their names there.

    Raises:
        KeyError: One of a pair of matrices, or of a layer's biases, is missing.
    """
    converted: dict[str, Tensor] = {}
    lora: dict[str, Matrices] = {}
    for name, value in weights.items():
        if WITHOUT_EFFECT.match(name) or name.endswith(".attn.v_bias"):
            continue
        found = name
        for pattern, replacement in OFFICIAL_NAMES.items():
            found = re.sub(pattern, replacement, found)
        matched = LORA.match(found)
        if name.endswith(".attn.q_bias"):
            # Keys have none there, which is one of zeros.
            rest = weights[name.replace("q_bias", "v_bias")]
            found = found.replace(".attn.q_bias", ".self_attn.qkv.bias")
            converted |= split_qkv(found, torch.cat([value, torch.zeros_like(value), rest]))
        elif name.startswith(f"{HEAD}in_proj_"):
            kind = name.removeprefix(f"{HEAD}in_proj_")
            # The values' third is computed there and not used.
            for part, share in zip("qk", value.chunk(3), strict=False):
                converted[f"{EMPHASIS}{part}_proj.{kind}"] = share.contiguous()
        elif matched and matched["side"] == "A":
            other = weights[name.removesuffix("A") + "B"]
            lora |= split_lora(matched["layer"], value, other)
        elif not matched:
            converted |= split_qkv(found, value)
        elif name.removesuffix("B") + "A" not in weights:
            raise KeyError(name.removesuffix("B") + "A")
    return converted, lora


def split_lora(layer: str, down: Tensor, up: Tensor) -> dict[str, Matrices]:
    """LoRA of one layer; of the tower's merged one, which has it for queries and values, those of both."""
    if not layer.endswith(".qkv"):
        return {layer: Matrices(down, up)}
    halves = zip("qv", down.chunk(2), up.chunk(2), strict=True)
    return {f"{layer}.{part}": Matrices(one.contiguous(), other.contiguous()) for part, one, other in halves}


__all__ = [
    "Matrices",
    "Official",
    "convert_instructblip",
    "convert_instructblip_config",
    "convert_names",
    "convert_official",
    "official_sizes",
]
