# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""ProCap's runs of stage 2, each with its whole command, after a tiny stage 1."""

import pytest
import torch

import ssgpa.baselines.procap
from ssgpa.baselines.procap import ProCapForConditionalGeneration, ProCapForPreTraining
from ssgpa.data.prepared import load_prepared
from ssgpa.training.arguments import ModelArguments, parse_arguments
from ssgpa.training.learning_rates import parse_factors, scale_learning_rates
from ssgpa.training.systems import create_system, read_config, set_trainable
from ssgpa.utils.loading import load_system

from ...examples.runs import ROOT, logged, options_of, prepare_set
from ...scripts import load_script
from .cases import tiny


CONFIGS = ROOT / "examples" / "configs" / "procap"
MODELS = ROOT / "examples" / "configs" / "models"
SETS = {"clevr": "clevr_change", "spot": "spot_the_diff", "ier": "image_editing_request"}
SETS |= {"clevr_tiny": "small_prepared_8x8"}
STAGE_1 = "ssgpa.baselines.procap.ProCapForPreTraining"
TINY = f"{ssgpa.baselines.procap.__path__[0]}/tiny.json"
SMALL = {"max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "use_cpu": True, "bf16": False}
SMALL |= {"dataloader_num_workers": 0, "disable_tqdm": True, "save_steps": 2, "generation_max_new_tokens": 4}


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("procap")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.chdir(ROOT)
        for name in SETS.values():
            prepare_set(name, folder)
        yield folder


def save_stage_1(workshop, data):
    """What a first stage leaves: its model, and the processor with the words of the data set."""
    folder = workshop / f"stage-1-{data}"
    torch.manual_seed(0)
    texts = [text for row in load_prepared(workshop / data)["train"]["captions"] for text in row]
    arguments = ModelArguments(model_config=TINY, image_size=[32, 32], model_class=STAGE_1)
    model, processor, _ = create_system(arguments, texts)
    assert type(model) is ProCapForPreTraining
    torch.nn.init.normal_(model.model.encoder.mask_embedding)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def train(name, **changes):
    return load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(changes)])


@pytest.mark.parametrize("name", SETS)
def test_stage_2_runs_after_stage_1(name, workshop):
    data, folder = SETS[name], workshop / "runs" / name
    places = {"model_name_or_path": save_stage_1(workshop, data), "data_dir": workshop / data, "output_dir": folder}
    evaluated = {"eval_steps": 2, "max_eval_pairs": 2, "eval_strategy": "steps", "save_strategy": "steps"}
    # The small run's own targets are of another grid than this stage 1's.
    evaluated |= dict.fromkeys(("aux_attributes", "aux_changed", "aux_type"), 0)
    assert train(name, **places, **SMALL, **evaluated, feature_cache=workshop / "features") == 0
    assert list(logged(folder)) == [1, 2]
    assert logged(folder, "eval_total_cider").keys() == {2}
    assert list((workshop / "features").rglob("*.safetensors"))
    model, processor = load_system(str(folder / "best"))
    assert type(model) is ProCapForConditionalGeneration
    # What stage 1 has not saved, stage 2 has.
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
    before, _ = load_system(str(places["model_name_or_path"]), model_class=ProCapForPreTraining)
    kept, start = model.state_dict(), before.state_dict()
    both = kept.keys() & start.keys()
    same = {key for key in both if torch.equal(kept[key], start[key])}
    assert {key for key in both if "vision_tower" in key} == same
    assert {key for key in both if key.startswith("model.encoder.")} == both - same


def test_published_values_are_those_of_the_runs():
    words = ["--use_cpu", "true", "--output_dir", "unused"]
    for name, seed, pairs in (("clevr", 52, 2 * 16), ("spot", 52, 16), ("ier", 42, 16)):
        arguments, _, run = parse_arguments([str(CONFIGS / f"{name}.yaml"), *words])
        assert (run.seed, run.per_device_train_batch_size, run.num_train_epochs) == (seed, pairs, 40)
        assert (run.learning_rate, run.weight_decay, run.max_grad_norm, run.warmup_steps) == (5e-5, 0.01, 1, 0.1)
        assert (run.adam_beta1, run.adam_beta2, run.adam_epsilon) == (0.9, 0.999, 1e-6)
        assert run.lr_scheduler_type == "linear"
        assert (run.generation_num_beams, run.generation_max_new_tokens) == (1, 23)
    model = tiny(ProCapForConditionalGeneration)
    set_trainable(model, arguments.trainable, set())
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    assert all(name.startswith("model.vision_tower.") for name in frozen)
    optimizer = torch.optim.AdamW([value for _, value in named], lr=run.learning_rate)
    scale_learning_rates(optimizer, named, parse_factors(run.learning_rate_factors))
    rates = {id(value): group["lr"] for group in optimizer.param_groups for value in group["params"]}
    for name, value in named:
        assert rates[id(value)] == pytest.approx(2e-5 if name.startswith("model.encoder.") else 5e-5), name


def test_sizes_are_the_published_ones():
    large, spot = (read_config(str(MODELS / f"procap-vit-b-32{name}.json")) for name in ("", "-spot"))
    assert (large.vision_config.num_hidden_layers, large.num_hidden_layers) == (12, 2)
    assert (spot.vision_config.num_hidden_layers, spot.num_hidden_layers) == (4, 3)
    for config in (large, spot):
        assert config.vision_config.hidden_size == 768
        assert config.patch_grid == (14, 14)
        assert config.vq_config.num_embeddings == 1024
        assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == (512, 8, 2048)
