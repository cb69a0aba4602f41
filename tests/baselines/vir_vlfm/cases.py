# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Models, files of the released code and batches for VIR-VLFM."""

import re

import torch

from ssgpa.baselines.vir_vlfm import VIRVLFMConfig, VIRVLFMForConditionalGeneration


# Heads as wide as in EVA, BERT and Llama, which the released code's files do not tell.
SIZES = {
    "vision_config": {
        "hidden_size": 88,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 1,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.02,
    },
    "qformer_config": {"hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 1},
    "text_config": {
        "model_type": "llama",
        "vocab_size": 50,
        "hidden_size": 128,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 256,
    },
    "image_token_id": 49,
    "num_query_tokens": 4,
    "fusion_interval": 2,
}
# Our names and those of the released code; written apart from the importer.
BACK = [
    ("model.vision_model.embeddings.class_embedding", "visual_encoder.cls_token"),
    ("model.vision_model.embeddings.position_embedding", "visual_encoder.pos_embed"),
    ("model.vision_model.embeddings.patch_embedding", "visual_encoder.patch_embed.proj"),
    ("model.vision_model.encoder.layers", "visual_encoder.blocks"),
    ("model.vision_model.post_layernorm", "ln_vision"),
    ("layer_norm", "norm"),
    ("self_attn.projection", "attn.proj"),
    ("self_attn.qkv", "attn.qkv"),
    ("attention_adapter", "Space_Adapter"),
    ("mlp_adapter", "MLP_Adapter"),
    ("down_proj", "D_fc1"),
    ("mix_proj", "D_fc3"),
    ("up_proj_before", "D_fc2_1"),
    ("up_proj_after", "D_fc2_2"),
    ("up_proj", "D_fc2"),
    ("model.registration.reduction_before", "flow.down_1"),
    ("model.registration.reduction_after", "flow.down_2"),
    ("model.registration.flow", "flow.flow_make"),
    ("model.query_tokens", "query_tokens"),
    ("model.qformer.layernorm", "Qformer.bert.embeddings.LayerNorm"),
    ("model.qformer.encoder", "Qformer.bert.encoder"),
    ("attention.attention.", "attention.self."),
    ("model.emphasis.gate", "change_att"),
    ("model.pair_projection", "llama_proj_1"),
    ("model.language_projection", "llama_proj"),
]


def random_model(seed=0, **changes):
    """A tiny model of which nothing is zero but the keys' bias, as in the released code."""
    torch.manual_seed(seed)
    model = VIRVLFMForConditionalGeneration(VIRVLFMConfig(**SIZES | changes)).eval()
    for name, parameter in model.named_parameters():
        if "norm" not in name:
            parameter.data.normal_(std=0.2)
        if name.endswith("qkv.bias"):
            parameter.data.view(3, -1)[1] = 0
    return model


def official_state(model):
    """The model's weights by the names of the released code."""
    state = {}
    for name, value in model.state_dict().items():
        if name.startswith(("model.language_model.", "lm_head.")):
            state[f"llama_model.{name.replace('model.language_model', 'model')}"] = value
            continue
        for ours, theirs in BACK:
            name = name.replace(ours, theirs)
        if name.endswith("attn.qkv.bias"):
            queries, _, values = value.chunk(3)
            state |= {
                name.replace("qkv.bias", f"{side}_bias"): half
                for side, half in zip("qv", (queries, values), strict=True)
            }
        else:
            state[name] = value
    return state


def official_files(model, folder):
    """The same as the released code spreads it: EVA, BLIP-2 and what was trained; the language model is left out."""
    state = {name: value for name, value in official_state(model).items() if not name.startswith("llama_model.")}
    trained = {name for name in state if re.search(r"Adapter|^flow|^change_att|^llama_proj", name)}
    blip = {name for name in state if name.startswith(("Qformer", "query_tokens", "ln_vision"))}
    eva = {name.removeprefix("visual_encoder."): state[name] for name in state.keys() - trained - blip}
    # The last block of EVA, its head, and what BLIP-2 has for a language model of its own.
    last = {name.replace("blocks.0.", "blocks.39."): value for name, value in eva.items() if "blocks.0." in name}
    unused = {"t5_proj.weight": torch.zeros(2), "Qformer.bert.embeddings.position_ids": torch.arange(5)[None]}
    files = [folder / name for name in ("eva_vit_g.pth", "blip2_pretrained_flant5xxl.pth", "checkpoint_39.pth")]
    torch.save(eva | last | {"head.weight": torch.zeros(2)}, files[0])
    torch.save({"model": {name: state[name] for name in blip} | unused}, files[1])
    torch.save({"model": {name: state[name] for name in trained}, "config": {"seed": 42}, "epoch": 39}, files[2])
    return files


def random_batch(config, rows=2, words=5, labels=True):
    """Prompts with the pair's placeholders, then captions; pairs of noise."""
    generator = torch.Generator().manual_seed(rows)
    ids = torch.randint(3, config.image_token_id, (rows, 3 + words), generator=generator)
    visual = torch.full((rows, config.visual_tokens), config.image_token_id)
    ids = torch.cat([ids[:, :2], visual, ids[:, 2:]], 1)
    size = config.vision_config.image_size
    batch = {"input_ids": ids, "pixel_values": torch.randn(rows, 2, 3, size, size, generator=generator)}
    if labels:
        batch["labels"] = ids.clone()
        batch["labels"][:, : 3 + config.visual_tokens] = -100
    return batch
