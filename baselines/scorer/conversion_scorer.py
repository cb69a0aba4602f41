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
"""SCORER's weights from other layouts: checkpoints of the authors' released code, and torchvision's ResNet."""

import os
import re
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerFast

from ...conversion_ssgpa import are_tensors, read_named_tensors, read_tensor_file
from ...data.checks import read_vocabulary
from .configuration_scorer import RESNET101_STAGE3, SCORERConfig


# Settings under which this code computes what the released code does, its slips among them.
RELEASED = {
    "decoder_residual": "inner",
    "sentence_pooling": "padded_mean",
    "train_backward_reasoning": False,
    "loss_groups": "halves",
}
# Parts of the authors' checkpoints. The last one is never saved by their code.
DETECTOR, SPEAKER, REASONING = "change_detector_state", "speaker_state", "generator_state"
# Their configuration lies in the checkpoint too, as a mapping of this class, which is none of torch's.
PICKLED_CLASS = "utils.attr_dict.AttrDict"
ATTENTIONS = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
# Names there, as regular expressions, and here.
NAMES = {
    DETECTOR: {
        r"img\.0\.": "model.encoder.embeddings.projection.",
        r"w_embedding\.": "model.encoder.embeddings.column_embeddings.",
        r"h_embedding\.": "model.encoder.embeddings.row_embeddings.",
        r"scorer\.(\d+)\.attention\.layer_norm\.": r"model.encoder.layers.\1.norm.",
        r"scorer\.(\d+)\.attention\.(query|key|value)\.": r"model.encoder.layers.\1.attention.\2.",
        r"embed_fc\.0\.": "model.encoder.fusion.",
    },
    SPEAKER: {
        r"core\.fc\.0\.": "model.decoder.embedding_projection.",
        r"core\.fc\.2\.": "model.decoder.embedding_norm.",
        r"core\.embed\.": "model.decoder.embed_tokens.",
        r"core\.layer\.(\d+)\.self_attention\.": r"model.decoder.layers.\1.self_attn.",
        r"core\.layer\.(\d+)\.norm1\.": r"model.decoder.layers.\1.self_attn_norm.",
        r"core\.layer\.(\d+)\.dec_enc_attention\.": r"model.decoder.layers.\1.cross_attn.",
        r"core\.layer\.(\d+)\.norm2\.": r"model.decoder.layers.\1.cross_attn_norm.",
        r"core\.layer\.(\d+)\.hidden_intermediate\.dense\.": r"model.decoder.layers.\1.fc1.",
        r"core\.layer\.(\d+)\.output\.dense\.": r"model.decoder.layers.\1.fc2.",
        r"core\.layer\.(\d+)\.output\.LayerNorm\.": r"model.decoder.layers.\1.final_norm.",
        r"logit\.": "lm_head.",
    },
    REASONING: {
        r"conv1\.": "backward_reasoning.condition.",
        r"mh_att\.out_proj\.": "backward_reasoning.attention_output.",
        r"conv2\.0\.": "backward_reasoning.output.",
        r"contra\.(query|key)\.": r"backward_reasoning.\1.",
        r"contra\.logit_scale": "backward_reasoning.contrast.logit_scale",
    },
}
# torchvision's names of a ResNet's tensors, and Transformers'.
TORCHVISION = {
    r"conv1\.": "embedder.embedder.convolution.",
    r"bn1\.": "embedder.embedder.normalization.",
    r"layer(\d)\.(\d+)\.conv(\d)\.": "encoder.stages.{}.layers.{}.layer.{}.convolution.",
    r"layer(\d)\.(\d+)\.bn(\d)\.": "encoder.stages.{}.layers.{}.layer.{}.normalization.",
    r"layer(\d)\.(\d+)\.downsample\.0\.": "encoder.stages.{}.layers.{}.shortcut.convolution.",
    r"layer(\d)\.(\d+)\.downsample\.1\.": "encoder.stages.{}.layers.{}.shortcut.normalization.",
}
MAX_NAMED = 5


def convert_official(
    checkpoint: str | os.PathLike, vision: str | os.PathLike | PreTrainedModel | None = None, **fields: Any
) -> tuple[SCORERConfig, dict[str, Tensor]]:
    """Sizes and weights of a checkpoint of the released code.

    Args:
        checkpoint (`str` or `os.PathLike`): See `SCORERForConditionalGeneration.from_official`.
        vision (`str`, `os.PathLike` or `PreTrainedModel`, *optional*): As there.
        **fields (`Any`, *optional*): Fields of [`SCORERConfig`]; they win.

    Returns:
        `tuple`: Configuration and weights.

    Raises:
        ValueError: It is no such checkpoint, or a weight has no place; the error names it.
    """
    states = _read_states(Path(checkpoint))
    backbone, backbone_config = read_backbone(vision)
    config = SCORERConfig(**_sizes(states, checkpoint) | {"vision_config": backbone_config} | RELEASED | fields)
    weights = {f"model.vision_tower.backbone.{name}": value for name, value in backbone.items()}
    for part, state in states.items():
        weights |= rename_weights(state, part, config)
    return config, weights


def _read_states(path: Path) -> dict[str, dict[str, Tensor]]:
    """Tensors of each part, by their names there."""
    try:
        read = read_tensor_file(path, [(OrderedDict, PICKLED_CLASS)])
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as a checkpoint of SCORER: {error}") from error
    if path.suffix == ".safetensors":
        parts: dict[str, dict[str, Tensor]] = {}
        for name, value in read.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = value
        read = parts
    if not isinstance(read, dict) or not {DETECTOR, SPEAKER} <= read.keys():
        raise ValueError(f"{path} is no checkpoint of SCORER's released code: it lacks `{DETECTOR}` or `{SPEAKER}`.")
    found = {part: read[part] for part in (DETECTOR, SPEAKER, REASONING) if part in read}
    wrong = next((part for part, weights in found.items() if not are_tensors(weights)), None)
    if wrong is not None:
        raise ValueError(f"{path} is no checkpoint of SCORER's released code: `{wrong}` holds no tensors by name.")
    return {part: dict(weights) for part, weights in found.items()}


def _sizes(states: dict[str, dict[str, Tensor]], checkpoint: str | os.PathLike) -> dict[str, Any]:
    """Fields that the tensors' shapes tell."""
    detector, speaker = states[DETECTOR], states[SPEAKER]
    try:
        vocab_size, embedding_size = speaker["core.embed.weight"].shape
        table = speaker.get("core.position_enc.pe")
        grid = [len(detector["h_embedding.weight"]), len(detector["w_embedding.weight"])]
        width = len(detector["img.0.weight"])
    except KeyError as error:
        raise ValueError(f"{checkpoint}: the weight {error} is missing.") from error
    return {
        "vocab_size": vocab_size,
        "embedding_size": embedding_size,
        **({} if table is None else {"max_position_embeddings": len(table)}),
        "patch_grid": grid,
        "hidden_size": width,
        "intermediate_size": width,
        "encoder_layers": _layers(detector, r"scorer\.(\d+)\."),
        "num_hidden_layers": _layers(speaker, r"core\.layer\.(\d+)\."),
    }


def _layers(state: dict[str, Tensor], pattern: str) -> int:
    return 1 + max((int(found[1]) for name in state if (found := re.match(pattern, name))), default=-1)


def rename_weights(state: dict[str, Tensor], part: str, config: SCORERConfig) -> dict[str, Tensor]:
    """Weights of one part of a checkpoint under their names here; 1 x 1 convolutions become linear layers.

    Args:
        state (`dict[str, torch.Tensor]`): By their names there.
        part (`str`): `change_detector_state`, `speaker_state` or `generator_state`.
        config (`SCORERConfig`): Of the model they go to.

    Returns:
        `dict[str, torch.Tensor]`: By their names in `SCORERForConditionalGeneration`.

    Raises:
        ValueError: A weight has no place; the error names it.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in ("core.position_enc.pe", "loss_func.one_hot"):
            continue  # computed here
        if name == "mh_att.in_proj_weight":
            projections = dict(zip(ATTENTIONS.values(), value.chunk(3), strict=True))
            renamed |= {f"backward_reasoning.attention.{key}.weight": rows for key, rows in projections.items()}
            continue
        scale = re.fullmatch(r"scorer\.(\d+)\.attention\.logit_scale", name)
        if scale:
            # Those of earlier layers scale nothing that is used.
            if int(scale[1]) == config.encoder_layers - 1:
                renamed["contrast.logit_scale"] = value
            continue
        found = next((pattern for pattern in NAMES[part] if re.match(pattern, name)), None)
        if found is None:
            raise ValueError(f"There is no place for the weight {name!r} of `{part}`.")
        new = re.sub(found, NAMES[part][found], name, count=1)
        new = re.sub(r"\.(query|key|value)\.", lambda match: f".{ATTENTIONS[match[1]]}.", new)
        renamed[new] = value.flatten(1) if value.ndim == 4 else value
    whole = renamed.pop("model.encoder.embeddings.projection.weight", None)
    if whole is not None:
        # Their last two channels are the coordinates.
        channels = config.vision_config.hidden_sizes[-1]
        renamed["model.encoder.embeddings.projection.weight"] = whole[:, :channels].contiguous()
        if whole.shape[1] > channels:
            renamed["model.encoder.embeddings.coordinate_projection.weight"] = whole[:, channels:].contiguous()
    return renamed


def read_backbone(vision: str | os.PathLike | PreTrainedModel | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights of a backbone up to its third stage, and its configuration.

    Args:
        vision (`str`, `os.PathLike` or `PreTrainedModel`, *optional*): A ResNet of Transformers, by id or folder or
            itself, or a file of torchvision's `resnet101` weights.

    Returns:
        `tuple`: Weights by their names in a `ResNetModel`, none where `vision` is None, and fields of its
            configuration.

    Raises:
        ValueError: It is no ResNet, or a weight is missing or has no place in one; the error names it.
    """
    if vision is None:
        return {}, dict(RESNET101_STAGE3)
    if isinstance(vision, PreTrainedModel):
        values, weights = vision.config.to_dict(), vision.state_dict()
    elif Path(vision).is_file():
        values, weights = dict(RESNET101_STAGE3), convert_torchvision(Path(vision))
    else:
        model, report = AutoModel.from_pretrained(os.fspath(vision), use_safetensors=True, output_loading_info=True)
        values, weights = model.config.to_dict(), model.state_dict()
        lost = sorted(name for name in report["missing_keys"] if _stage(name) < 3)
        if lost:
            raise ValueError(f"{vision}: weights of the backbone are missing: {_listed(lost)}.")
    if "depths" not in values:
        raise ValueError(f"{vision}: a {values.get('model_type')} is no ResNet.")
    stages = min(3, len(values["depths"]))
    sizes = ("embedding_size", "layer_type", "hidden_act", "downsample_in_first_stage", "downsample_in_bottleneck")
    config = {"model_type": "resnet"} | {name: values[name] for name in sizes if name in values}
    config |= {name: values[name][:stages] for name in ("hidden_sizes", "depths")}
    kept = {name: value for name, value in weights.items() if _stage(name) < stages}
    return kept, config


def _stage(name: str) -> int:
    found = re.match(r"encoder\.stages\.(\d+)\.", name)
    return int(found[1]) if found else 0


def convert_torchvision(path: Path) -> dict[str, Tensor]:
    """Weights of torchvision's `resnet101` under Transformers' names, the classifier left out.

    Args:
        path (`Path`): A state dictionary, `.safetensors` or what `torch.save` wrote.

    Returns:
        `dict[str, torch.Tensor]`: Of a `ResNetModel`.

    Raises:
        ValueError: A weight has no place in a ResNet; the error names it.
    """
    renamed = {}
    for name, value in read_named_tensors(path).items():
        if name.startswith("fc."):
            continue
        found = next((match for pattern in TORCHVISION if (match := re.match(pattern, name))), None)
        if found is None:
            raise ValueError(f"{path}: {name!r} is no weight of torchvision's ResNet.")
        place, *more = (int(number) for number in found.groups() or (0,))
        # Stages and convolutions count from 1 there, blocks from 0.
        numbers = [place - 1, *more[:1], *(number - 1 for number in more[1:])]
        renamed[TORCHVISION[found.re.pattern].format(*numbers) + name[found.end() :]] = value
    # Files from before torch 0.4.1 do not count batches, and evaluation does not read the count.
    means = [name for name in renamed if name.endswith(".running_mean")]
    counts = {name.replace("running_mean", "num_batches_tracked"): torch.tensor(0) for name in means}
    return counts | renamed


def check_weights(
    weights: dict[str, Tensor], wanted: dict[str, Tensor], backbone: bool, source: str | os.PathLike
) -> None:
    """Refuse weights that do not fit a model one to one; backward reasoning may be missing as a whole.

    Args:
        weights (`dict[str, torch.Tensor]`): By name.
        wanted (`dict[str, torch.Tensor]`): Of the model, on any device.
        backbone (`bool`): Whether the backbone's have to be there.
        source (`str` or `os.PathLike`): For the error.

    Raises:
        ValueError: They do not; the error names them.
    """
    absent = () if backbone else ("model.vision_tower.",)
    absent += () if any(name.startswith("backward_reasoning.") for name in weights) else ("backward_reasoning.",)
    wrong = {
        "missing": [name for name in wanted if name not in weights and not name.startswith(absent)],
        "without a place": [name for name in weights if name not in wanted],
        "of another shape": [name for name in weights if name in wanted and weights[name].shape != wanted[name].shape],
    }
    told = [f"{kind}: {_listed(names)}" for kind, names in wrong.items() if names]
    if told:
        raise ValueError(f"{source}: weights {'; '.join(told)}.")


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def convert_vocabulary(path: str | os.PathLike) -> PreTrainedTokenizerFast:
    """A tokenizer that reads and writes captions by a vocabulary of the released code.

    Words are what lies between blanks; commas and semicolons are words, full stops and question marks are dropped, and
    case matters.

    Args:
        path (`str` or `os.PathLike`): Their `transformer_vocab.json`, words and their numbers.

    Returns:
        `PreTrainedTokenizerFast`: With its start token in front of every text; pads on the left.

    Raises:
        ValueError: It is no such vocabulary.
    """
    special = {"pad_token": "<NULL>", "unk_token": "<UNK>", "bos_token": "<START>", "eos_token": "<END>"}
    words = read_vocabulary(Path(path))
    if [words.get(token) for token in special.values()] != [0, 1, 2, 3]:
        raise ValueError(f"{path} is no vocabulary of SCORER: the first four words are not {list(special.values())}.")
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=special["unk_token"]))
    tokenizer.normalizer = normalizers.Replace(Regex("[?.]"), "")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex("[;,]"), behavior="isolated")]
    )
    start = special["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A", special_tokens=[(start, words[start])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **special)


__all__ = [
    "RELEASED",
    "check_weights",
    "convert_official",
    "convert_torchvision",
    "convert_vocabulary",
    "read_backbone",
    "rename_weights",
]
