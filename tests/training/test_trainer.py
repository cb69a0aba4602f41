# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The trainer: its losses and logs, resuming, accumulation, and how it stops."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.utils.memory import should_reduce_batch_size
from safetensors.torch import load_file
from torch import nn
from transformers import GenerationConfig, Trainer, TrainerCallback, set_seed

from ssgpa.data.clevr_renderer.captions.sentences import change_type_of
from ssgpa.training.arguments import ChangeCaptioningArguments
from ssgpa.training.auxiliary import FILE_NAME, auxiliary_heads_of
from ssgpa.training.collator import IGNORED, PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.systems import set_trainable
from ssgpa.training.trainer import ChangeCaptioningTrainer

from ..ssgpa_cases import LOSSES, NO_LOSSES, TOKENS, wake
from ..test_former_names import rename_file
from ..tiny_systems import tiny_config


AUX = {"aux_attributes": 0.3, "aux_changed": 0.5, "aux_type": 0.3}
QUIET = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "logging_steps": 1, "save_strategy": "no"}


class Recorder(TrainerCallback):
    """Keeps the epoch that the data set was in at every step."""

    def __init__(self, dataset):
        self.dataset, self.epochs = dataset, []

    def on_step_begin(self, args, state, control, **kwargs):
        self.epochs.append(self.dataset.epoch.item())


@pytest.fixture
def make_trainer(make_system, splits, tmp_path):
    """A trainer over the eight training pairs; keyword arguments go to the arguments of the run."""

    def make(folder="run", system=None, captions=2, swap=True, **options):
        options = {"per_device_train_batch_size": 4, "learning_rate": 1e-3, "max_steps": 6, **QUIET, **options}
        arguments = ChangeCaptioningArguments(output_dir=str(tmp_path / folder), **options)
        set_seed(arguments.seed)
        model, processor = system or make_system()
        wake(model)
        aux_heads = auxiliary_heads_of(model, arguments, splits["train"].column_names)
        dataset = PairDataset(splits["train"], processor, captions, swap, cache=True, seed=arguments.seed)
        trainer = ChangeCaptioningTrainer(
            model=model,
            args=arguments,
            train_dataset=dataset,
            eval_dataset=splits["validation"],
            data_collator=PairCollator(processor, aux_targets=aux_heads is not None),
            processing_class=processor,
            train_rows=splits["train"],
            change_type_of=change_type_of,
            aux_heads=aux_heads,
        )
        trainer.recorder = Recorder(dataset)
        trainer.add_callback(trainer.recorder)
        return trainer

    return make


def logged(trainer, name="loss"):
    return {entry["step"]: entry[name] for entry in trainer.state.log_history if name in entry}


@pytest.mark.parametrize("options", [{}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("step", [3, 4])
def test_resumed_run_equals_the_uninterrupted_one(make_trainer, options, step):
    """Two steps an epoch: step 3 is in the middle of the second, step 4 at its end."""
    options = {"save_strategy": "steps", "save_steps": 1, **AUX, **options}
    whole = make_trainer("whole", **options)
    whole.train()
    resumed = make_trainer("resumed", **options)
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-{step}")
    parts = (f"loss_parts/{part}" for part in (*LOSSES, "aux_type"))
    for name in ("loss", "grad_norm", *parts):
        wanted = logged(whole, name)
        assert list(wanted) == [1, 2, 3, 4, 5, 6]
        assert logged(resumed, name) == pytest.approx(wanted, abs=1e-6)
    assert resumed.recorder.epochs == whole.recorder.epochs[step:]
    for name, value in whole.model.state_dict().items():
        assert torch.allclose(value, resumed.model.state_dict()[name], atol=1e-6), name


def test_images_handed_over_as_bytes_train_the_same(make_trainer):
    floats = make_trainer("floats")
    floats.train()
    handed = make_trainer("bytes")
    handed.data_collator = PairCollator(handed.processing_class, normalize=False)
    assert next(iter(handed.get_train_dataloader()))["pixel_values"].dtype == torch.uint8
    set_seed(handed.args.seed)
    handed.train()
    assert logged(handed) == logged(floats)


def test_weights_decay_and_scalars_norms_and_biases_do_not(make_trainer):
    trainer = make_trainer(weight_decay=0.1)
    decayed, others = trainer.create_optimizer().param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0)
    names = {id(value): name for name, value in trainer.model.named_parameters()}
    found = {names[id(value)] for value in decayed["params"]}
    assert not [name for name in found if "norm" in name or "bias" in name]
    vectors = {name for name, value in trainer.model.named_parameters() if value.ndim < 2}
    assert any(value.numel() == 1 for value in others["params"])
    assert not vectors & found
    assert "lm_head.weight" in found
    assert len(found) + len(others["params"]) == len(names)


def test_decay_knows_shared_and_sharded_parameters(make_trainer, monkeypatch):
    trainer = make_trainer()
    model = trainer.model
    model.lm_head.weight = model.get_input_embeddings().weight
    sharded = model.model.alignment.dustbin_score.data.clone()
    matrix = nn.Parameter(torch.empty(0))
    matrix.ds_shape = torch.Size((4, 3))
    vector = nn.Parameter(torch.empty(0))
    vector.ds_shape = sharded.shape
    model.matrix, model.vector = matrix, vector
    names = [name for name, _ in model.named_parameters(remove_duplicate=False)]
    monkeypatch.setattr(Trainer, "get_decay_parameter_names", lambda *_: [*names, "no.such.parameter"])
    found = trainer.get_decay_parameter_names(model)
    assert {"lm_head.weight", "matrix"} <= set(found)
    assert not {"vector", "no.such.parameter", "model.alignment.dustbin_score"} & set(found)


@pytest.mark.parametrize("options", [{"lr_step_size": 2, "lr_step_factor": 0.5}, {"lr_scheduler_type": "linear"}])
def test_a_second_run_of_a_trainer_starts_its_schedule_anew(make_trainer, options):
    trainer = make_trainer("twice", max_steps=4, learning_rate=0.008, **options)
    trainer.train()
    first = logged(trainer, "learning_rate")
    trainer.train()
    assert first[1] != first[4]
    assert logged(trainer, "learning_rate") == first


def test_every_epoch_draws_anew(make_trainer):
    trainer = make_trainer()
    trainer.train()
    assert trainer.recorder.epochs == [0, 0, 1, 1, 2, 2]


def test_accumulated_batches_equal_one_large_batch(make_trainer, make_system):
    """On a frozen tower, which keeps its batch statistics, with plain gradient descent."""
    runs = []
    for size, accumulation in ((4, 1), (2, 2)):
        set_seed(0)
        model, processor = make_system()
        set_trainable(model, [r"^(?!model\.vision_tower\.tower)"], set())
        # What is drawn or averaged over a micro-batch's pairs is another in each.
        model.contrast.weight, model.loss_weights = 0.0, dict.fromkeys(model.loss_weights, 0.0)
        sizes = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation}
        trainer = make_trainer(f"by-{size}", (model, processor), swap=False, optim="sgd", **sizes, **AUX)
        trainer.train()
        runs.append(trainer)
    for name in ("loss", *(f"loss_parts/{part}" for part in ("caption", *AUX))):
        wanted = logged(runs[0], name)
        assert len(set(wanted.values())) == 6
        assert logged(runs[1], name) == pytest.approx(wanted, abs=2e-5)
    assert logged(runs[1], "grad_norm") == pytest.approx(logged(runs[0], "grad_norm"), rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"logging_steps": 1},
        {"logging_steps": 2},
        # Batches of 3, 3 and 2 pairs: the second step of an epoch has one micro-batch only.
        {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "logging_steps": 3},
        {"aux_steps": 4},
    ],
)
def test_parts_in_the_log_add_up_to_the_loss(make_trainer, options):
    trainer = make_trainer(**AUX, **options)
    trainer.train()
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(entries) == 6 // options.get("logging_steps", 1)
    for entry in entries:
        parts = {name: value for name, value in entry.items() if name.startswith("loss_parts/")}
        assert set(parts) == {f"loss_parts/{name}" for name in (*LOSSES, *AUX)}
        assert sum(parts.values()) == pytest.approx(entry["loss"], rel=1e-5)
        assert 0 < entry["fusion_gate"] < 1


def test_aux_heads_fade(make_trainer):
    trainer = make_trainer(**AUX, aux_steps=4)
    trainer.train()
    values = [value for _, value in sorted(logged(trainer, "loss_parts/aux_attributes").items())]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0
    assert values[4:] == [0, 0]


def test_trainer_counts_the_supervised_tokens(make_trainer):
    trainer = make_trainer(per_device_train_batch_size=2, gradient_accumulation_steps=2, max_steps=2)
    counted, seen = [], []
    compute_loss = trainer.compute_loss

    def spy(model, inputs, **kwargs):
        counted.append(int(kwargs["num_items_in_batch"]))
        seen.append(int((inputs["labels"] != IGNORED).sum()))
        return compute_loss(model, inputs, **kwargs)

    trainer.compute_loss = spy
    trainer.train()
    assert counted == [seen[0] + seen[1]] * 2 + [seen[2] + seen[3]] * 2


def test_frozen_parameters_stay_as_they_are(make_trainer, make_system):
    system = make_system()
    trainable = set_trainable(system[0], ["alignment", "connector"], set())
    trainer = make_trainer(system=system, max_steps=2)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert moved <= set(trainable)
    assert {name for name in trainable if "connector" in name} <= moved


def poison(trainer, step, act):
    """Let `act(model)` happen after a step was saved."""

    class Poison(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            if state.global_step == step:
                act(trainer.model)

    trainer.add_callback(Poison())


def break_weight(model):
    model.lm_head.weight.data[3] = float("nan")


def break_gradient(model):
    model.lm_head.weight.register_hook(lambda gradient: gradient * float("inf"))


@pytest.mark.parametrize(("act", "what"), [(break_weight, "loss"), (break_gradient, "gradient")])
def test_value_that_is_no_number_stops_the_run(make_trainer, splits, act, what):
    trainer = make_trainer(save_strategy="steps", save_steps=1, per_device_train_batch_size=2)
    poison(trainer, 2, act)
    with pytest.raises(FloatingPointError, match=f"The {what} is not finite at step 3") as error:
        trainer.train()
    named = [pair for pair in splits["train"]["pair_id"] if f"'{pair}'" in str(error.value)]
    assert len(named) == 2
    folder = trainer.args.output_dir
    resumed = make_trainer("again", per_device_train_batch_size=2)
    resumed.train(resume_from_checkpoint=f"{folder}/checkpoint-2")
    assert resumed.state.global_step == 6
    assert not (resumed.model.lm_head.weight.isnan().any())
    with pytest.raises(ValueError, match="checkpoint-3"):
        make_trainer("none").train(resume_from_checkpoint=f"{folder}/checkpoint-3")


def test_image_that_is_no_number_is_named(make_trainer):
    trainer = make_trainer(per_device_train_batch_size=2)
    collate = trainer.data_collator

    def broken(items):
        batch = collate(items)
        bad = [number for number, name in enumerate(batch["pair_ids"]) if name == "000004.png"]
        batch["pixel_values"][bad] = float("inf")
        return batch

    trainer.data_collator = broken
    with pytest.raises(FloatingPointError, match=r"pairs \[.*'000004\.png'"):
        trainer.train()


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one_with_aux_heads(prepared_dir, tmp_path):
    """A tower without batch statistics and the caption's loss alone: no term mixes pairs."""
    vision = TOKENS | {"model_type": "vit", "image_size": [32, 48]}
    values = tiny_config(vision_config=vision, patch_grid=[4, 6], sinkhorn_iterations=10, **NO_LOSSES)
    model = tmp_path / "model.json"
    model.write_text(json.dumps(values.to_diff_dict()), encoding="utf-8")
    paths = {"model_config": str(model), "data_dir": str(prepared_dir), "image_size": [32, 48]}
    run = {**QUIET, **AUX, **paths, "optim": "sgd", "learning_rate": 0.1, "max_steps": 4}
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(run), encoding="utf-8")
    script = Path(__file__).parents[2] / "examples" / "train.py"
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    logs = []
    for processes, batch in ((1, 4), (2, 2)):
        folder = tmp_path / f"by-{processes}"
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        options = ["--output_dir", str(folder), "--per_device_train_batch_size", str(batch)]
        command = [*launcher, str(script), str(config), *options]
        subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL, timeout=300)
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        logs.append([entry for entry in state["log_history"] if "loss" in entry])
    assert len(logs[0]) == 4
    for one, two in zip(*logs, strict=True):
        for name in ("loss", "grad_norm", *(f"loss_parts/{part}" for part in ("caption", *AUX))):
            assert two[name] == pytest.approx(one[name], abs=1e-3), name


def test_aux_heads_are_in_checkpoints_but_not_in_models(make_trainer):
    trainer = make_trainer(save_strategy="steps", save_steps=2, max_steps=2, **AUX)
    start = {name: value.clone() for name, value in trainer.aux_heads.state_dict().items()}
    trainer.train()
    checkpoint = f"{trainer.args.output_dir}/checkpoint-2"
    weights, heads = load_file(f"{checkpoint}/model.safetensors"), load_file(f"{checkpoint}/{FILE_NAME}")
    assert not [name for name in weights if "auxiliary" in name]
    assert all(torch.equal(value, trainer.aux_heads.state_dict()[name]) for name, value in heads.items())
    assert not any(torch.equal(value, start[name]) for name, value in heads.items())
    trainer.save_model(f"{trainer.args.output_dir}/best")
    assert sorted(load_file(f"{trainer.args.output_dir}/best/model.safetensors")) == sorted(weights)


def test_checkpoint_without_aux_heads_is_refused(make_trainer):
    plain = make_trainer("plain", save_strategy="steps", save_steps=1, max_steps=1)
    plain.train()
    with pytest.raises(FileNotFoundError, match="without auxiliary heads"):
        make_trainer("headed", **AUX).train(resume_from_checkpoint=f"{plain.args.output_dir}/checkpoint-1")


def test_evaluation_writes_what_it_logs(make_trainer, splits, tmp_path):
    trainer = make_trainer(max_steps=2, eval_strategy="steps", eval_steps=2, generation_max_new_tokens=4)
    trainer.train()
    record = json.loads((tmp_path / "run" / "evaluations" / "eval-000002.json").read_text(encoding="utf-8"))
    assert record["step"] == 2
    assert list(record["captions"]) == splits["validation"]["pair_id"][:]
    assert record["baselines"]
    assert logged(trainer, "eval_changed_cider") == {2: record["scores"]["changed"]["cider"]}
    assert logged(trainer, "eval_no_change_on_changed") == {2: record["no_change_rate"]["changed"]}
    assert trainer.model.training


def test_evaluation_starts_no_java(make_trainer, monkeypatch, tmp_path):
    """Whatever Java there is: one evaluation after the other must not wait for METEOR."""
    monkeypatch.setattr("ssgpa.metrics.change_captioning.scorer.find_java", pytest.fail)
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kwargs: started.append(args))
    metrics = make_trainer(generation_max_new_tokens=4).evaluate()
    assert not started
    assert "eval_total_cider" in metrics
    assert "eval_total_meteor" not in metrics
    record = json.loads((tmp_path / "run" / "evaluations" / "eval-000000.json").read_text(encoding="utf-8"))
    assert record["scores"]["total"]["meteor_reason"] == "METEOR was not asked for."


def test_too_little_memory_tells_the_batch_and_what_needs_less(make_trainer, monkeypatch):
    trainer = make_trainer(captions=1, swap=False)
    said = "CUDA out of memory. Tried to allocate 20.00 GiB."

    def forward(**inputs):
        raise torch.OutOfMemoryError(said)

    monkeypatch.setattr(trainer.model, "forward", forward)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        trainer.train()
    told = str(caught.value)
    assert re.search(r"The batch has 4 pairs and \d+ tokens a row", told)
    for word in (said, "per_device_train_batch_size", "gradient_accumulation_steps", "24gb.yaml", "docs/memory.md"):
        assert word in told
    assert "\n" not in told
    # Accelerate halves a batch over errors that it knows by these words.
    assert should_reduce_batch_size(torch.OutOfMemoryError(told))


def test_other_errors_of_a_step_stay_what_they_are(make_trainer, monkeypatch):
    trainer = make_trainer()

    def forward(**inputs):
        raise RuntimeError("something else")

    monkeypatch.setattr(trainer.model, "forward", forward)
    with pytest.raises(RuntimeError, match=r"^something else$"):
        trainer.train()


def test_label_smoothing_is_refused(make_trainer):
    with pytest.raises(ValueError, match="label_smoothing_factor"):
        make_trainer(label_smoothing_factor=0.1)


def test_a_run_of_an_earlier_version_is_refused(make_trainer):
    first = make_trainer("first", save_strategy="steps", max_steps=1, save_steps=1)
    first.train()
    checkpoint = Path(first.args.output_dir) / "checkpoint-1"
    assert rename_file(checkpoint / "model.safetensors")
    with pytest.raises(ValueError, match="earlier version"):
        make_trainer(max_steps=2).train(resume_from_checkpoint=str(checkpoint))


def test_scene_ids_reach_a_wrapped_model(make_trainer):
    trainer = make_trainer()
    batch = {"scene_ids": torch.arange(2), "input_ids": torch.ones(2, 3, dtype=torch.long)}
    inner = trainer.model
    trainer.model = torch.compile(inner, backend="eager")
    assert trainer._system is inner
    assert "scene_ids" in trainer._prepare_inputs(batch)


def test_a_repetition_penalty_is_saved_with_the_checkpoint_and_kept_without_one(make_trainer, tmp_path):
    trainer = make_trainer(generation_repetition_penalty=1.5)
    trainer.save_model(str(tmp_path / "saved"))
    assert GenerationConfig.from_pretrained(tmp_path / "saved").repetition_penalty == 1.5
    again = make_trainer("again", system=(trainer.model, trainer.processing_class))
    assert again.model.generation_config.repetition_penalty == 1.5


@pytest.mark.parametrize("use_cache", [True, False, None])
def test_a_checkpoint_keeps_the_models_use_cache(make_trainer, make_system, tmp_path, use_cache):
    """`Trainer` turns it off while it trains, also where the configuration has none."""
    model, processor = make_system()
    if use_cache is not None:
        model.config.use_cache = use_cache
    trainer = make_trainer(system=(model, processor))
    assert model.config.use_cache is False
    trainer.save_model(str(tmp_path / "saved"))
    assert json.loads((tmp_path / "saved" / "config.json").read_text("utf-8")).get("use_cache") is use_cache
    assert model.config.use_cache is False
