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
"""What ProCap takes over from a CLIP, a VQGAN or the authors' checkpoints: every weight of it or none."""

import os
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import AutoConfig, AutoModel, CLIPConfig, CLIPVisionConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAE

from ...conversion_ssgpa import are_tensors, check_weights, read_tensor_file
from ...data.checks import read_vocabulary
from .configuration_procap import ProCapConfig


# Settings under which this code computes what the released code does, its slips among them.
RELEASED = {
    "rescale_vq_input": False,
    "shared_queries": True,
    "text_slots": "first_words",
    "shifted_attention_mask": True,
    "scale_by_hidden_size": True,
    "loss_reduction": "sum",
    "skip_equal_captions": False,
    "csy_counts_fully_masked": True,
}
# Widths of one attention head of CLIP and of the decoder's in the authors' code, which fixes their number.
CLIP_HEAD_WIDTH = 64
DECODER_HEADS = 8
# Rows of their text table behind the padding of every place: a masked word, which nothing asks for.
UNUSED_ROWS = 1
# Their word "[UNK]", which their decoding never writes.
UNKNOWN = 6
SPECIAL_IDS = {"pad_token": ("[PAD]", 0), "bos_token": ("[BOS]", 4), "eos_token": ("[EOS]", 5)}
SPECIAL_IDS |= {"unk_token": ("[UNK]", UNKNOWN)}
# A class that VQGANs' files hold beside tensors.
CALLBACK = "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"
# Where stage 1 lies in a checkpoint of stage 2.
GENERATOR = "intermediate_generator."
# Of a VQGAN: what only its training or the drawing of images needs.
VQGAN_DROPPED = ("decoder.", "loss.")
# Of the authors' checkpoints: the same, tables that nothing reads, what is computed here, and positions, which are
# converted for themselves.
DROPPED = (
    r"^vae\.model\.(decoder|loss)\.",
    r"^image_emb\.weight$",
    r"\.attn_mask$",
    r"^target_pos_emb\.",
    r"^text_decoder\.loss_func\.one_hot$",
)
# Names in the authors' checkpoints, as regular expressions, and here; in their order.
OFFICIAL_NAMES = {
    r"^vae\.model\.": "model.vision_tower.tokenizer.",
    r"^conv_to_embedding\.0\.": "model.encoder.projection.norm.",
    r"^conv_to_embedding\.1\.": "model.encoder.projection.linear.",
    r"^image_mask$": "model.encoder.mask_embedding",
    r"^text_pos_emb\.weight$": "model.encoder.text.position_embeddings",
    r"^transformer\.transformer\.resblocks\.": "model.encoder.transformer.layers.",
    r"^to_logits\.0\.": "msm_head.norm.",
    r"^to_logits\.1\.": "msm_head.linear.",
    r"^to_logits_rel\.0\.": "align_head.norm.",
    r"^to_logits_rel\.1\.": "align_head.linear.",
    r"^to_logits_vid\.0\.": "csy_head.norm.",
    r"^to_logits_vid\.1\.": "csy_head.linear.",
    r"^mlp\.0\.": "model.memory.fc1.",
    r"^mlp\.2\.": "model.memory.fc2.",
    r"^mlp\.3\.": "model.memory.norm.",
    r"^text_decoder\.decoder\.out\.": "lm_head.",
    r"^text_decoder\.decoder\.layers\.": "model.decoder.layers.",
    # Within layers of CLIP,
    r"\.attn\.": ".self_attn.",
    r"\.ln_([12])\.": r".layer_norm\1.",
    r"\.mlp\.c_fc\.": ".mlp.fc1.",
    r"\.mlp\.c_proj\.": ".mlp.fc2.",
    # and of the decoder.
    r"\.selfattn\.layer\.w([qkv])\.": r".self_attn.\1_proj.",
    r"\.selfattn\.layer\.wo\.": ".self_attn.out_proj.",
    r"\.selfattn\.layernorm\.": ".self_attn_layer_norm.",
    r"\.attention\.layer\.w([qkv])\.": r".encoder_attn.\1_proj.",
    r"\.attention\.layer\.wo\.": ".encoder_attn.out_proj.",
    r"\.attention\.layernorm\.": ".encoder_attn_layer_norm.",
    r"\.feedforward\.layer\.linear([12])\.": r".fc\1.",
    r"\.feedforward\.layernorm\.": ".final_layer_norm.",
    r"\.gamma$": ".weight",
    r"\.beta$": ".bias",
}
# Tables of which more than a name changes. Positions are spelt in two ways by versions of the package they use.
WORDS = "text_emb.weight"
SPECIALS = ("special_emb.weight", "special_pos_emb.weight")
AXES = {"frame": 0, "row": 1, "column": 2}


def read_tensors(path: str | os.PathLike, *parts: str) -> dict[str, Tensor]:
    """Tensors of a file by name, read without running any code in it.

    Args:
        path (`str` or `os.PathLike`): `.safetensors`, or what `torch.save` wrote.
        *parts (`str`): Where in a pickled file the tensors lie; the first that is there, or the whole file.

    Returns:
        `dict[str, torch.Tensor]`: In float32.

    Raises:
        ValueError: It holds no tensors that could be read.
    """
    path = Path(path)
    try:
        found = read_tensor_file(path, [(OrderedDict, CALLBACK)])
    except ValueError as error:
        told = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"a {told[1]} is among them" if told else str(error).rstrip(".")
        raise ValueError(
            f"{path} holds no tensors that could be read: {reason}. If you trust it, save its tensors alone, by name."
        ) from error
    for part in parts:
        if isinstance(found, Mapping) and isinstance(found.get(part), Mapping):
            found = found[part]
            break
    if not found or not are_tensors(found):
        raise ValueError(f"{path} holds no tensors by name{' in ' + ' or '.join(parts) if parts else ''}.")
    return {
        name.removeprefix("module."): value.float() if value.is_floating_point() else value
        for name, value in found.items()
    }


def convert_clip(
    pretrained: str | os.PathLike | PreTrainedModel, revision: str | None = None, layers: int | None = None
) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Read the layers of a CLIP's vision tower; its patches, positions and outer norms are left behind.

    Args:
        pretrained (`str`, `os.PathLike` or `PreTrainedModel`): Id on the Hub or folder, in safetensors, or the model
            itself; a whole CLIP or its vision tower.
        revision (`str`, *optional*): Commit, for an id.
        layers (`int`, *optional*): How many of them, from the first one on; by default all.

    Returns:
        `tuple`: Fields of the vision configuration, weights by their names here, and the checkpoint's name for errors.

    Raises:
        ValueError: It is another model, has fewer layers, or its files do not hold just the model's weights.
    """
    if isinstance(pretrained, PreTrainedModel):
        source, name = pretrained, type(pretrained).__name__
    else:
        name = os.fspath(pretrained)
        _check_clip(AutoConfig.from_pretrained(name, revision=revision), name)
        source, report = AutoModel.from_pretrained(
            name,
            revision=revision,
            use_safetensors=True,
            output_loading_info=True,
            # Their error names no weight.
            ignore_mismatched_sizes=True,
        )
        check_weights(report, name)
    _check_clip(source.config, name)
    config = source.config.vision_config if isinstance(source.config, CLIPConfig) else source.config
    values = config.to_dict()
    if layers is not None:
        if not 0 < layers <= config.num_hidden_layers:
            raise ValueError(f"{name} has {config.num_hidden_layers} layers, of which {layers} cannot be taken.")
        values["num_hidden_layers"] = layers
    found = {}
    for key, value in source.state_dict().items():
        match = re.search(r"(?:^|vision_model\.)encoder\.layers\.(\d+)\.", key)
        if match and "text_model" not in key and int(match[1]) < values["num_hidden_layers"]:
            found[f"model.encoder.transformer.layers.{match[1]}.{key[match.end() :]}"] = value
    return values, found, name


def _check_clip(config: Any, name: str) -> None:
    if not isinstance(config, (CLIPConfig, CLIPVisionConfig)):
        raise ValueError(f"{name} is of type {config.model_type!r}, not 'clip' or 'clip_vision_model'.")


def convert_vqgan(
    source: str | os.PathLike | PreTrainedModel, resolution: int = 224, keep_attention: bool = True
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the encoder and the codes of a VQGAN.

    Args:
        source (`str`, `os.PathLike` or `PreTrainedModel`): A file of taming-transformers, whose decoder,
            discriminator and perceptual loss are left behind; or a folder of Transformers' `ChameleonVQVAE`, or the
            model itself.
        resolution (`int`, *optional*, defaults to 224): Height and width of the images it is going to read.
        keep_attention (`bool`, *optional*, defaults to True): Keep the attention of the lowest level of a file of
            taming-transformers. The released code loses it where images have another size than in the VQGAN's
            training.

    Returns:
        `tuple`: Fields of `vq_config`, and weights by their names here.

    Raises:
        ValueError: It is none, or a weight is missing, left over or of another shape; the error names it.
    """
    if isinstance(source, PreTrainedModel) or Path(source).is_dir():
        return _convert_chameleon(source, resolution)
    weights = {
        name: value for name, value in read_tensors(source, "state_dict").items() if not name.startswith(VQGAN_DROPPED)
    }
    if not keep_attention:
        weights = {name: value for name, value in weights.items() if not re.match(r"encoder\.down\.\d+\.attn\.", name)}
    try:
        values = vqgan_sizes(weights, resolution)
    except KeyError as error:
        raise ValueError(f"{source} is no VQGAN: it has no {error}.") from error
    _check_fit(weights, ChameleonVQVAEConfig(**values), source)
    return values, {f"model.vision_tower.tokenizer.{name}": value for name, value in weights.items()}


def _convert_chameleon(
    source: str | os.PathLike | PreTrainedModel, resolution: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    name, report = type(source).__name__, None
    if not isinstance(source, PreTrainedModel):
        name = os.fspath(source)
        source, report = ChameleonVQVAE.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
        check_weights(report, name)
    if not isinstance(source, ChameleonVQVAE):
        raise ValueError(f"A {name} is no `ChameleonVQVAE`.")
    values = source.config.to_dict()
    if values["attn_resolutions"]:
        # Attention belongs to a level, whatever the images' size.
        scale = values["resolution"] / resolution
        values["attn_resolutions"] = [round(size / scale) for size in values["attn_resolutions"]]
    values["resolution"] = resolution
    return values, {f"model.vision_tower.tokenizer.{key}": value for key, value in source.state_dict().items()}


def _check_fit(weights: Mapping[str, Tensor], config: ChameleonVQVAEConfig, source: str | os.PathLike) -> None:
    with torch.device("meta"):
        wanted = ChameleonVQVAE(config).state_dict()
    both = wanted.keys() & weights.keys()
    report = {
        "missing_keys": sorted(wanted.keys() - weights.keys()),
        "unexpected_keys": sorted(weights.keys() - wanted.keys()),
        "mismatched_keys": sorted((name,) for name in both if wanted[name].shape != weights[name].shape),
    }
    check_weights(report, os.fspath(source))


def vqgan_sizes(weights: Mapping[str, Tensor], resolution: int) -> dict[str, Any]:
    """Fields of `vq_config` as the weights of taming-transformers tell them.

    Args:
        weights (`Mapping[str, torch.Tensor]`): By their names there, which are Chameleon's.
        resolution (`int`): Height and width of the images.
    """
    first = weights["encoder.conv_in.weight"]
    codes, width = weights["quantize.embedding.weight"].shape
    levels = _numbers(weights, r"encoder\.down\.(\d+)\.block\.0\.")
    attention = _numbers(weights, r"encoder\.down\.(\d+)\.attn\.0\.")
    return {
        "num_embeddings": codes,
        "embed_dim": width,
        "latent_channels": len(weights["encoder.conv_out.weight"]),
        "in_channels": first.shape[1],
        "base_channels": len(first),
        "channel_multiplier": [
            len(weights[f"encoder.down.{level}.block.0.conv1.weight"]) // len(first) for level in levels
        ],
        "num_res_blocks": len(_numbers(weights, r"encoder\.down\.0\.block\.(\d+)\.")),
        "resolution": resolution,
        "attn_resolutions": [resolution // 2**level for level in attention] or None,
    }


def _numbers(weights: Mapping[str, Tensor], pattern: str) -> list[int]:
    return sorted({int(found[1]) for name in weights if (found := re.match(pattern, name))})


def convert_official(path: str | os.PathLike, **fields: Any) -> tuple[ProCapConfig, dict[str, Tensor], bool]:
    """Read a checkpoint of the authors' code, of either stage.

    Args:
        path (`str` or `os.PathLike`): Their `dalle.pt` or `model.chkpt`, or its tensors in safetensors.
        **fields (`Any`, *optional*): Fields of [`ProCapConfig`]; they win over sizes that the weights tell and over
            the settings of the released code.

    Returns:
        `tuple`: Configuration, weights by their names here, and whether a decoder is among them.

    Raises:
        ValueError: It holds weights that ProCap has no place for; the error names them.
    """
    source = {name.removeprefix(GENERATOR): value for name, value in read_tensors(path, "weights", "model").items()}
    try:
        config = ProCapConfig(**official_sizes(source) | fields)
        weights = convert_names(source)
    except KeyError as error:
        raise ValueError(f"{path} is no checkpoint of ProCap: it has no {error}.") from error
    except ValueError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    return config, weights, "lm_head.weight" in weights


def official_sizes(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Fields of the configuration: sizes as the authors' weights tell them, and the released settings.

    Args:
        weights (`Mapping[str, torch.Tensor]`): By their names there.
    """
    width = len(weights["image_mask"])
    frames, rows = (axial(weights, axis).numel() // width for axis in ("frame", "row"))
    tokenizer = {
        name.removeprefix("vae.model."): value for name, value in weights.items() if name.startswith("vae.model.")
    }
    vq_config = vqgan_sizes(tokenizer, 0)
    vq_config |= vqgan_sizes(tokenizer, rows * 2 ** (len(vq_config["channel_multiplier"]) - 1))
    text_length = len(weights["text_pos_emb.weight"])
    words = len(weights[WORDS]) - text_length - UNUSED_ROWS
    values = RELEASED | {
        "vision_config": {
            "hidden_size": width,
            "intermediate_size": len(weights["transformer.transformer.resblocks.0.mlp.c_fc.bias"]),
            "num_hidden_layers": len(_numbers(weights, r"transformer\.transformer\.resblocks\.(\d+)\.")),
            "num_attention_heads": width // CLIP_HEAD_WIDTH,
        },
        "vq_config": vq_config,
        "num_frames": frames,
        "text_length": text_length,
    }
    if "text_decoder.decoder.out.weight" not in weights:
        # CLIP's vocabulary ends with the start and the end token, which their captions go without.
        ids = {"pad_token_id": words - 1, "bos_token_id": words - 2, "eos_token_id": words - 1}
        return values | {"vocab_size": words, "text_vocab_size": words} | ids
    vocabulary, hidden_size = weights["text_decoder.decoder.out.weight"].shape
    if words == 0:
        # Stage 1 was left out: the table holds what stands in empty places alone.
        values |= {"text_slots": "padding"}
    return values | {
        "text_vocab_size": words or None,
        "vocab_size": vocabulary,
        "hidden_size": hidden_size,
        "num_hidden_layers": len(_numbers(weights, r"text_decoder\.decoder\.layers\.(\d+)\.")),
        "num_attention_heads": DECODER_HEADS,
        "intermediate_size": len(weights["text_decoder.decoder.layers.0.feedforward.layer.linear1.bias"]),
    }


def axial(weights: Mapping[str, Tensor], axis: str) -> Tensor:
    """Positions along one axis.

    Args:
        weights (`Mapping[str, torch.Tensor]`): By their names in the authors' checkpoint.
        axis (`str`): `"frame"`, `"row"` or `"column"`.
    """
    old, new = (f"target_pos_emb.weights{sign}{AXES[axis]}" for sign in "_.")
    return weights[old] if old in weights else weights[new]


def convert_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the authors' checkpoint by their names here.

    Args:
        weights (`Mapping[str, torch.Tensor]`): By their names there, those of stage 1 without a prefix.
    """
    length = len(weights["text_pos_emb.weight"])
    words = len(weights[WORDS]) - length - UNUSED_ROWS
    special = sum(weights[name] for name in SPECIALS)[:3]
    converted = {
        "model.encoder.text.padding_embeddings": weights[WORDS][words : words + length].clone(),
        "model.encoder.special_embeddings": special.clone(),
    }
    if words:
        converted["model.encoder.text.token_embeddings.weight"] = weights[WORDS][:words].clone()
    for axis in AXES:
        values = axial(weights, axis)
        shape = {"frame": (-1, 1, 1), "row": (-1, 1), "column": (-1,)}[axis]
        converted[f"model.encoder.{axis}_embeddings"] = values.reshape(*shape, values.shape[-1])
    changed = {WORDS, *SPECIALS}
    for name, value in weights.items():
        if name not in changed and not any(re.search(pattern, name) for pattern in DROPPED):
            converted |= _convert_one(name, value)
    if "lm_head.weight" in converted:
        converted["model.decoder.embed_tokens.weight"] = converted["lm_head.weight"]
    return converted


def _convert_one(name: str, value: Tensor) -> dict[str, Tensor]:
    found = name
    for pattern, replacement in OFFICIAL_NAMES.items():
        found = re.sub(pattern, replacement, found)
    if ".in_proj_" in found:
        # Queries, keys and values lie in one matrix.
        shares = zip("qkv", value.chunk(3), strict=True)
        return {found.replace(".in_proj_", f".{part}_proj."): share.contiguous() for part, share in shares}
    if name.endswith(".gamma"):
        # Their norm divides by the standard deviation of a sample.
        value = value * (1 - 1 / len(value)) ** 0.5
    return {found: value}


def convert_vocabulary(path: str | os.PathLike) -> PreTrainedTokenizerFast:
    """A tokenizer that reads and writes captions by a vocabulary of the released code.

    Captions are lowercase; words and punctuation are split as NLTK does.

    Args:
        path (`str` or `os.PathLike`): Their `*_word2idx.json`, words and their numbers.

    Returns:
        `PreTrainedTokenizerFast`: With its start token in front of every text; pads on the left.

    Raises:
        ValueError: It is no such vocabulary.
    """
    words = read_vocabulary(Path(path))
    wanted = dict(SPECIAL_IDS.values())
    if {token: words.get(token) for token in wanted} != wanted:
        raise ValueError(f"{path} is no vocabulary of ProCap: its special words are not {wanted}.")
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=SPECIAL_IDS["unk_token"][0]))
    tokenizer.normalizer = normalizers.Lowercase()
    contractions = Regex(r"n't\b|'(?:s|m|d|re|ve|ll)\b|[^\w\s'-]|'(?!\w)")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(contractions, behavior="isolated")]
    )
    start, number = SPECIAL_IDS["bos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{start} $A", special_tokens=[(start, number)])
    special = {name: token for name, (token, _) in SPECIAL_IDS.items()}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, padding_side="left", **special)


__all__ = [
    "RELEASED",
    "convert_clip",
    "convert_names",
    "convert_official",
    "convert_vocabulary",
    "convert_vqgan",
    "official_sizes",
    "read_tensors",
    "vqgan_sizes",
]
