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
"""What CLIP4IDC takes over from a CLIP or from a checkpoint of the authors' code: every weight of it or none."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, CLIPConfig, CLIPModel, PreTrainedModel

from ...conversion_ssgpa import check_weights, read_named_tensors
from .configuration_clip4idc import CLIP4IDCConfig


# An id that older CLIP checkpoints tell for the end token, which theirs is not.
LEGACY_EOS = 2
# Widths of one attention head in the authors' code.
HEAD_WIDTH = 64
# Names in the authors' checkpoints, as regular expressions, and here; in their order.
OFFICIAL_NAMES = {
    r"^clip\.visual\.conv1\.weight$": "model.vision_model.embeddings.patch_embedding.weight",
    r"^clip\.visual\.class_embedding$": "model.vision_model.embeddings.class_embedding",
    r"^clip\.visual\.positional_embedding$": "model.vision_model.embeddings.position_embedding.weight",
    r"^clip\.visual\.joint_positional_embedding$": "model.vision_model.joint_position_embedding",
    r"^clip\.visual\.ln_pre\.": "model.vision_model.pre_layrnorm.",
    r"^clip\.visual\.ln_mid\.": "model.vision_model.mid_layernorm.",
    r"^clip\.visual\.ln_post\.": "model.vision_model.post_layernorm.",
    r"^clip\.visual\.proj$": "model.visual_projection.weight",
    r"^clip\.visual\.transformer\.resblocks\.": "model.vision_model.encoder.layers.",
    r"^clip\.transformer\.resblocks\.": "model.text_model.encoder.layers.",
    r"^clip\.token_embedding\.": "model.text_model.embeddings.token_embedding.",
    r"^clip\.positional_embedding$": "model.text_model.embeddings.position_embedding.weight",
    r"^clip\.ln_final\.": "model.text_model.final_layer_norm.",
    r"^clip\.text_projection$": "model.text_projection.weight",
    r"^clip\.logit_scale$": "model.logit_scale",
    r"^decoder\.embeddings\.LayerNorm\.": "model.decoder.layernorm.",
    r"^decoder\.(encoder|decoder)\.layer\.": r"model.\1.layers.",
    r"^decoder\.classifier\.cls\.predictions\.bias$": "lm_head.decoder.bias",
    r"^decoder\.classifier\.cls\.predictions\.transform\.": "lm_head.transform.",
    # Within layers of CLIP,
    r"\.attn\.": ".self_attn.",
    r"\.ln_([12])\.": r".layer_norm\1.",
    r"\.mlp\.c_fc\.": ".mlp.fc1.",
    r"\.mlp\.c_proj\.": ".mlp.fc2.",
    # and of BERT.
    r"\.slf_attn\.att\.": ".attention.self.",
    r"\.slf_attn\.output\.": ".attention.output.",
    r"\.enc_attn\.att\.": ".crossattention.self.",
    r"\.enc_attn\.output\.": ".crossattention.output.",
}
TRANSPOSED = ("clip.visual.proj", "clip.text_projection")
# Copies of the text tower's tables.
TIED = (
    "decoder.embeddings.word_embeddings.weight",
    "decoder.embeddings.position_embeddings.weight",
    "decoder.classifier.cls.predictions.decoder.weight",
)
PAIR = ("clip.visual.bef_embedding", "clip.visual.aft_embedding")


def convert_clip(
    pretrained: str | os.PathLike | CLIPModel, revision: str | None = None, **fields: Any
) -> tuple[CLIP4IDCConfig, dict[str, Tensor], str]:
    """Read a CLIP checkpoint as the beginnings of a CLIP4IDC.

    Args:
        pretrained (`str`, `os.PathLike` or `CLIPModel`): Id on the Hub or folder, in safetensors, or the model itself.
        revision (`str`, *optional*): Commit, for an id.
        **fields (`Any`, *optional*): Fields of [`CLIP4IDCConfig`]; they win.

    Returns:
        `tuple`: Configuration, weights by their names here, and the checkpoint's name for errors.

    Raises:
        ValueError: It is another model, or its files do not hold just the model's weights.
    """
    if isinstance(pretrained, PreTrainedModel):
        source, name = pretrained, type(pretrained).__name__
    else:
        name = os.fspath(pretrained)
        kind = AutoConfig.from_pretrained(name, revision=revision)
        if not isinstance(kind, CLIPConfig):
            raise ValueError(f"{name} is of type {kind.model_type!r}, not 'clip'.")
        source, report = CLIPModel.from_pretrained(
            name,
            revision=revision,
            use_safetensors=True,
            output_loading_info=True,
            # Their error names no weight.
            ignore_mismatched_sizes=True,
        )
        check_weights(report, name)
    if not isinstance(source.config, CLIPConfig):
        raise ValueError(f"{name} is of type {source.config.model_type!r}, not 'clip'.")
    text = source.config.text_config.to_dict()
    if text["eos_token_id"] == LEGACY_EOS:
        # CLIP's vocabulary ends with the start and the end token.
        text |= {"bos_token_id": text["vocab_size"] - 2, "eos_token_id": text["vocab_size"] - 1}
    # Padding is left out of everything; CLIP's tokenizer pads with the end token.
    text["pad_token_id"] = text["eos_token_id"]
    values = {
        "vision_config": source.config.vision_config.to_dict(),
        "text_config": text,
        "projection_dim": source.config.projection_dim,
        "logit_scale_init_value": source.config.logit_scale_init_value,
    }
    config = CLIP4IDCConfig(**values | fields)
    return config, {f"model.{key}": value for key, value in source.state_dict().items()}, name


def convert_official(path: str | os.PathLike, **fields: Any) -> tuple[CLIP4IDCConfig, dict[str, Tensor], bool]:
    """Read a checkpoint of the authors' code, of either stage.

    Args:
        path (`str` or `os.PathLike`): Pickled tensors, or safetensors.
        **fields (`Any`, *optional*): Fields of [`CLIP4IDCConfig`]; they win over the sizes that the weights tell.

    Returns:
        `tuple`: Configuration, weights by their names here, and whether a caption model is among them.

    Raises:
        ValueError: It holds weights that CLIP4IDC has no place for; the error names them.
    """
    path = Path(path)
    source = read_named_tensors(path)
    try:
        config, weights = CLIP4IDCConfig(**official_sizes(source) | fields), convert_names(source)
    except KeyError as error:
        raise ValueError(f"{path} is no checkpoint of CLIP4IDC: it has no {error}.") from error
    return config, weights, any(name.startswith("decoder.") for name in source)


def official_sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Sizes of a model as its weights in the authors' checkpoint tell them.

    Args:
        weights (`Mapping[str, torch.Tensor]`): By their names there.
    """

    def layers(prefix: str) -> int:
        return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})

    patches = weights["clip.visual.conv1.weight"]
    vision_width, patch_size = patches.shape[0], patches.shape[-1]
    grid = round((len(weights["clip.visual.positional_embedding"]) - 1) ** 0.5)
    vocabulary, width = weights["clip.token_embedding.weight"].shape
    values: dict[str, Any] = {
        "vision_config": {
            "hidden_size": vision_width,
            "intermediate_size": 4 * vision_width,
            "num_hidden_layers": layers("clip.visual.transformer.resblocks."),
            "num_attention_heads": vision_width // HEAD_WIDTH,
            "patch_size": patch_size,
            "image_size": patch_size * grid,
            "projection_dim": weights["clip.visual.proj"].shape[1],
        },
        "text_config": {
            "vocab_size": vocabulary,
            "hidden_size": width,
            "intermediate_size": 4 * width,
            "num_hidden_layers": layers("clip.transformer.resblocks."),
            "num_attention_heads": width // HEAD_WIDTH,
            "max_position_embeddings": len(weights["clip.positional_embedding"]),
            "projection_dim": weights["clip.text_projection"].shape[1],
            # The vocabulary ends with the start and the end token.
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            "pad_token_id": vocabulary - 1,
        },
        "projection_dim": weights["clip.visual.proj"].shape[1],
        "logit_scale_init_value": weights["clip.logit_scale"].item(),
    }
    if (depth := layers("decoder.decoder.layer.")) > 0:
        values |= {
            "decoder_layers": depth,
            "decoder_ffn_dim": len(weights["decoder.decoder.layer.0.intermediate.dense.bias"]),
        }
    return values


def convert_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the authors' checkpoint by their names here, in float32, the precision that they are computed in.

    Args:
        weights (`Mapping[str, torch.Tensor]`): By their names there.
    """
    converted = {"model.vision_model.pair_embedding": torch.stack([weights[name] for name in PAIR]).float()}
    for name, value in weights.items():
        if name in PAIR or name in TIED:
            continue
        found = name
        for pattern, replacement in OFFICIAL_NAMES.items():
            found = re.sub(pattern, replacement, found)
        value = (value.T if name in TRANSPOSED else value).float().contiguous()
        if ".in_proj_" in found:
            # Queries, keys and values lie in one matrix.
            for part, share in zip("qkv", value.chunk(3), strict=True):
                converted[found.replace(".in_proj_", f".{part}_proj.")] = share.contiguous()
        else:
            converted[found] = value
    return converted


__all__ = ["convert_clip", "convert_names", "convert_official", "official_sizes"]
