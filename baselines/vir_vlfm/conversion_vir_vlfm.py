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
"""VIR-VLFM's weights from other layouts: InstructBLIP and BLIP-2, and checkpoints of the authors' released code."""

import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, decoders
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers.configuration_utils import PreTrainedConfig

from ...conversion_ssgpa import SUB_CONFIGS, are_tensors, read_tensor_file
from .configuration_vir_vlfm import VIRVLFMConfig


# As published; each placeholder stands for half of the pair's visual tokens. "this two image" is theirs.
PROMPT = "###Human: <Img>{0}{0}</Img> Describe the differences between this two image. ###Assistant: "
# What the released code asks when it captions, which is not what it trains with.
RELEASED_TEST_PROMPT = (
    "Give the following image: <Img>ImageContent</Img>. You will be able to see the image once I provide it to you. "
    "Please answer my questions.###Human: <Img>{0}{0}</Img> Describe the differences between this two image."
    "###Assistant:"
)
# Settings under which this code computes what the released code does.
RELEASED = {"average_pairs": True}
# Captions end with `###` there, in Llama's vocabulary one token behind a blank, else `##` and `#`.
END_SIGN_IDS = (835, 2277)
# The parts of InstructBLIP and BLIP-2, which are named alike, and where they go.
SOURCE_NAMES = {
    r"^language_model\.model\.": "model.language_model.",
    r"^language_model\.lm_head\.": "lm_head.",
    r"^(?=(vision_model|qformer|query_tokens|language_projection)\b)": "model.",
}
# Names in the released code, as regular expressions, and here.
NAMES = {
    r"^visual_encoder\.cls_token$": "model.vision_model.embeddings.class_embedding",
    r"^visual_encoder\.pos_embed$": "model.vision_model.embeddings.position_embedding",
    r"^visual_encoder\.patch_embed\.proj\.": "model.vision_model.embeddings.patch_embedding.",
    r"^visual_encoder\.blocks\.(\d+)\.norm(\d)\.": r"model.vision_model.encoder.layers.\1.layer_norm\2.",
    r"^visual_encoder\.blocks\.(\d+)\.attn\.qkv\.": r"model.vision_model.encoder.layers.\1.self_attn.qkv.",
    r"^visual_encoder\.blocks\.(\d+)\.attn\.proj\.": r"model.vision_model.encoder.layers.\1.self_attn.projection.",
    r"^visual_encoder\.blocks\.(\d+)\.mlp\.": r"model.vision_model.encoder.layers.\1.mlp.",
    r"^visual_encoder\.blocks\.(\d+)\.Space_Adapter\.": r"model.vision_model.encoder.layers.\1.attention_adapter.",
    r"^visual_encoder\.blocks\.(\d+)\.MLP_Adapter\.": r"model.vision_model.encoder.layers.\1.mlp_adapter.",
    r"^ln_vision\.": "model.vision_model.post_layernorm.",
    r"^flow\.down_1\.": "model.registration.reduction_before.",
    r"^flow\.down_2\.": "model.registration.reduction_after.",
    r"^flow\.flow_make\.": "model.registration.flow.",
    r"^query_tokens$": "model.query_tokens",
    r"^Qformer\.bert\.embeddings\.LayerNorm\.": "model.qformer.layernorm.",
    r"^Qformer\.bert\.encoder\.layer\.(\d+)\.(cross)?attention\.self\.": (
        r"model.qformer.encoder.layer.\1.\2attention.attention."
    ),
    r"^Qformer\.bert\.encoder\.layer\.": "model.qformer.encoder.layer.",
    r"^change_att\.": "model.emphasis.gate.",
    r"^llama_proj_1\.": "model.pair_projection.",
    r"^llama_proj\.": "model.language_projection.",
    r"^llama_model\.model\.": "model.language_model.",
    r"^llama_model\.lm_head\.": "lm_head.",
}
ADAPTER_NAMES = {
    ".D_fc1.": ".down_proj.",
    ".D_fc2.": ".up_proj.",
    ".D_fc2_1.": ".up_proj_before.",
    ".D_fc2_2.": ".up_proj_after.",
    ".D_fc3.": ".mix_proj.",
}
# What the files hold beside, and neither side reads: counted positions, EVA's head, BLIP-2's own language projection.
UNUSED = re.compile(
    r"^(Qformer\.bert\.embeddings\.position_ids|visual_encoder\.(norm|fc_norm|head)\..*|(t5|opt)_proj\..*"
    r"|llama_model\..*\.rotary_emb\.inv_freq)$"
)
# EVA's file may hold a fortieth block, which BLIP-2 leaves out.
EVA_BLOCKS = 39
# How the names of what is trained begin, but for the language projection; a new run has none of it yet.
NEW_PARTS = re.compile(r"\.(attention_adapter|mlp_adapter)\.|^model\.(registration|emphasis|pair_projection)\.")
MAX_NAMED = 5


def convert_source_config(source: PreTrainedConfig, **fields: Any) -> VIRVLFMConfig:
    """Sizes of what is taken over from an InstructBLIP or a BLIP-2.

    Args:
        source (`PreTrainedConfig`): Its configuration.
        **fields (`Any`, *optional*): Fields of [`VIRVLFMConfig`]; they win.

    Returns:
        `VIRVLFMConfig`: The configuration.

    Raises:
        ValueError: The placeholder's id is not known or has no embedding.
    """
    parts = {name: getattr(source, name).to_dict() for name in SUB_CONFIGS}
    # Both families' towers are the same.
    parts["vision_config"].pop("model_type")
    values = parts | {"num_query_tokens": source.num_query_tokens, "image_token_id": source.image_token_index}
    # There the norm behind the last block has the eps of the others.
    values |= {"post_layernorm_eps": source.vision_config.layer_norm_eps} | fields
    size = source.text_config.vocab_size
    if values["image_token_id"] is None or not 0 <= values["image_token_id"] < size:
        raise ValueError(
            f"`image_token_id` {values['image_token_id']} is none of the language model's {size} tokens: give the "
            "tokenizer's id of <image>."
        )
    return VIRVLFMConfig(**values)


def convert_source_weights(source: PreTrainedModel) -> dict[str, Tensor]:
    """Weights of an InstructBLIP or a BLIP-2 under their names here; the tensors are not copied."""
    return {_renamed(name, SOURCE_NAMES) or name: tensor for name, tensor in source.state_dict().items()}


def _renamed(name: str, names: dict[str, str]) -> str | None:
    """A name by the first expression that it begins with; None where there is none."""
    found = next((pattern for pattern in names if re.match(pattern, name)), None)
    return None if found is None else re.sub(found, names[found], name, count=1)


def convert_official(
    checkpoints: str | os.PathLike | Sequence[str | os.PathLike],
    language_model: str | os.PathLike | PreTrainedModel | None = None,
    **fields: Any,
) -> tuple[VIRVLFMConfig, dict[str, Tensor]]:
    """Sizes and weights of files of the released code.

    Args:
        checkpoints (`str`, `os.PathLike` or a sequence): See `VIRVLFMForConditionalGeneration.from_official`.
        language_model (`str`, `os.PathLike` or `PreTrainedModel`, *optional*): As there.
        **fields (`Any`, *optional*): Fields of [`VIRVLFMConfig`]; they win, those of its parts one by one.

    Returns:
        `tuple`: Configuration and weights.

    Raises:
        ValueError: A file is none of them, or a weight has no place; the error names it.
    """
    paths = [checkpoints] if isinstance(checkpoints, str | os.PathLike) else list(checkpoints)
    state: dict[str, Tensor] = {}
    for path in paths:
        state |= read_official(Path(path))
    text_values: dict[str, Any] = {}
    if language_model is not None:
        text_values, weights = read_language_model(language_model)
        state = {name: value for name, value in state.items() if not name.startswith("llama_model.")} | weights
    told = ", ".join(str(path) for path in paths)
    try:
        sizes = _sizes(state, text_values)
    except KeyError as error:
        raise ValueError(f"{told}: the weight {error} is missing.") from error
    for name in SUB_CONFIGS:
        sizes[name] = sizes[name] | dict(fields.pop(name, {}))
    _add_heads(sizes)
    sizes["image_token_id"] = sizes["text_config"]["vocab_size"] - 1
    config = VIRVLFMConfig(**sizes | RELEASED | fields)
    return config, rename_weights(state, config.vision_config.num_hidden_layers)


def read_official(path: Path) -> dict[str, Tensor]:
    """Tensors of one file of the released code, or of what it starts from, by their names in its model.

    Args:
        path (`Path`): What `torch.save` wrote, read without running code in it, or a safetensors file.

    Returns:
        `dict[str, torch.Tensor]`: By name; EVA's own get their place in the model.

    Raises:
        ValueError: It cannot be read as such.
    """
    try:
        found = read_tensor_file(path)
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    found = found.get("model", found) if isinstance(found, dict) else found
    if not are_tensors(found):
        raise ValueError(f"{path} holds no tensors by name, in `model` or by itself.")
    if "patch_embed.proj.weight" in found:
        return {f"visual_encoder.{name}": value for name, value in found.items()}
    # MiniGPT-4's later names.
    return {name.replace("llm_", "llama_"): value for name, value in found.items()}


def read_language_model(source: str | os.PathLike | PreTrainedModel) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Configuration and weights of a causal language model, the latter by the released code's names.

    Args:
        source (`str`, `os.PathLike` or `PreTrainedModel`): Id on the Hub, folder, or the model itself, which the new
            one then shares its weights with.

    Returns:
        `tuple`: Fields of its configuration, and its weights.
    """
    model = source
    if not isinstance(model, PreTrainedModel):
        model = AutoModelForCausalLM.from_pretrained(os.fspath(source), dtype="auto", use_safetensors=True)
    return model.config.to_dict(), {f"llama_model.{name}": value for name, value in model.state_dict().items()}


def _sizes(state: dict[str, Tensor], text_values: dict[str, Any]) -> dict[str, Any]:
    """Fields that the tensors' shapes tell, as far as they do."""
    width, _, _, patch = state["visual_encoder.patch_embed.proj.weight"].shape
    blocks = _numbers(state, r"visual_encoder\.blocks\.(\d+)\.")
    adapted = _numbers(state, r"visual_encoder\.blocks\.(\d+)\.Space_Adapter\.")
    fused = _numbers(state, r"visual_encoder\.blocks\.(\d+)\.Space_Adapter\.D_fc3\.")
    layers = 1 + max(adapted or [number for number in blocks if number < EVA_BLOCKS], default=-1)
    crossing = _numbers(state, r"Qformer\.bert\.encoder\.layer\.(\d+)\.crossattention\.")
    queries = state["query_tokens"].shape
    sizes: dict[str, Any] = {
        "vision_config": {
            "hidden_size": width,
            "patch_size": patch,
            "image_size": patch * math.isqrt(state["visual_encoder.pos_embed"].shape[1] - 1),
            "intermediate_size": len(state["visual_encoder.blocks.0.mlp.fc1.weight"]),
            "num_hidden_layers": layers,
        },
        "qformer_config": {
            "hidden_size": queries[2],
            "num_hidden_layers": 1 + max(_numbers(state, r"Qformer\.bert\.encoder\.layer\.(\d+)\."), default=-1),
            "intermediate_size": len(state["Qformer.bert.encoder.layer.0.intermediate_query.dense.weight"]),
            "cross_attention_frequency": crossing[1] - crossing[0] if len(crossing) > 1 else 2,
        },
        "text_config": text_values or _text_sizes(state),
        "num_query_tokens": queries[1],
    }
    if adapted:
        sizes["adapter_hidden_size"] = len(state["visual_encoder.blocks.0.MLP_Adapter.D_fc1.weight"])
        # Without any, no block's number may be a multiple.
        sizes["fusion_interval"] = 1 + fused[0] if fused else layers + 1
        sizes["registration_hidden_size"] = len(state["flow.down_1.weight"])
    return sizes


def _text_sizes(state: dict[str, Tensor]) -> dict[str, Any]:
    vocab_size, width = state["llama_model.model.embed_tokens.weight"].shape
    return {
        "vocab_size": vocab_size,
        "hidden_size": width,
        "intermediate_size": len(state["llama_model.model.layers.0.mlp.gate_proj.weight"]),
        "num_hidden_layers": 1 + max(_numbers(state, r"llama_model\.model\.layers\.(\d+)\."), default=-1),
        "rms_norm_eps": 1e-6,
    }


def _add_heads(sizes: dict[str, Any]) -> None:
    """Attention heads, which no shape tells: as wide as in EVA, BERT and Llama."""
    for name, head in (("vision_config", 88), ("qformer_config", 64), ("text_config", 128)):
        part = sizes[name]
        if "num_attention_heads" not in part:
            if part["hidden_size"] % head:
                raise ValueError(
                    f"`num_attention_heads` of `{name}` follows from no weight of width {part['hidden_size']}: give "
                    f'`{name}={{"num_attention_heads": ...}}`.'
                )
            part["num_attention_heads"] = part["hidden_size"] // head


def _numbers(state: dict[str, Tensor], pattern: str) -> list[int]:
    """Numbers that an expression finds in the names, in order."""
    return sorted({int(found[1]) for name in state if (found := re.match(pattern, name))})


def rename_weights(state: dict[str, Tensor], num_layers: int) -> dict[str, Tensor]:
    """The released code's weights under their names here.

    Args:
        state (`dict[str, torch.Tensor]`): By their names there.
        num_layers (`int`): Blocks of the tower; EVA's last one is left out.

    Returns:
        `dict[str, torch.Tensor]`: By their names in `VIRVLFMForConditionalGeneration`.

    Raises:
        ValueError: A weight has no place, or half of a bias is missing; the error names it.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        block = re.match(r"visual_encoder\.blocks\.(\d+)\.", name)
        if UNUSED.match(name) or (block and num_layers <= int(block[1]) == EVA_BLOCKS):
            continue
        bias = re.fullmatch(r"visual_encoder\.blocks\.(\d+)\.attn\.(q|v)_bias", name)
        if bias:
            queries, values = (f"{name[: bias.start(2)]}{side}_bias" for side in "qv")
            if queries not in state or values not in state:
                raise ValueError(f"The weight {(values if bias[2] == 'q' else queries)!r} is missing.")
            # Keys have no bias there.
            whole = torch.cat([state[queries], torch.zeros_like(state[values]), state[values]])
            renamed[f"model.vision_model.encoder.layers.{bias[1]}.self_attn.qkv.bias"] = whole
            continue
        new = _renamed(name, NAMES)
        if new is None:
            raise ValueError(f"There is no place for the weight {name!r}.")
        for theirs, ours in ADAPTER_NAMES.items():
            new = new.replace(theirs, ours)
        renamed[new] = value
    return renamed


def check_weights(weights: dict[str, Tensor], wanted: dict[str, Tensor], source: str) -> None:
    """Refuse weights that do not fit a model one to one; the parts that VIR-VLFM adds may be missing all together.

    Args:
        weights (`dict[str, torch.Tensor]`): By name.
        wanted (`dict[str, torch.Tensor]`): Of the model, on any device.
        source (`str`): For the error.

    Raises:
        ValueError: They do not; the error names them.
    """
    started = any(NEW_PARTS.search(name) for name in weights)
    missing = [name for name in wanted if name not in weights]
    wrong = {
        "missing": [name for name in missing if started or not NEW_PARTS.search(name)],
        "without a place": [name for name in weights if name not in wanted],
        "of another shape": [name for name in weights if name in wanted and weights[name].shape != wanted[name].shape],
    }
    told = [f"{kind}: {_listed(names)}" for kind, names in wrong.items() if names]
    if told:
        raise ValueError(f"{source}: weights {'; '.join(told)}.")


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def convert_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Let a Llama tokenizer read captions of the released code, which end with `###`: the sign is not written out.

    Args:
        tokenizer (`PreTrainedTokenizerFast`): Vicuna's; changed in place.

    Returns:
        `PreTrainedTokenizerFast`: The same.

    Raises:
        ValueError: It joins its tokens by blanks, as no Llama tokenizer does.
    """
    inner = tokenizer.backend_tokenizer
    if inner.decoder is None:
        raise ValueError("The tokenizer has no decoder, so it is none of Llama's: captions of theirs cannot be read.")
    inner.decoder = decoders.Sequence([decoders.Replace(Regex("^\u2581?##+$"), ""), inner.decoder])
    return tokenizer
