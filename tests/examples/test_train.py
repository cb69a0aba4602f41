# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""From prepared scenes to a saved model by the example's own command line."""

import json
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import yaml
from torch.utils.data import DataLoader
from transformers import AutoModelForImageTextToText, AutoProcessor

from ssgpa.data.prepared import load_prepared, write_prepared
from ssgpa.training.arguments import DataArguments

from ..scripts import load_script
from ..ssgpa_cases import NO_LOSSES
from ..tiny_systems import tiny_config, tiny_ssgpa


pytestmark = pytest.mark.usefixtures("own_cache")
EXAMPLES = Path(__file__).parents[2] / "examples"
SETTINGS = {
    "image_size": [32, 48],
    "captions_per_pair": 2,
    "distractor_swap": True,
    "augment": ["blur=0.5", "jpeg=0.5"],
    "cache_images": True,
    "aux_attributes": 0.3,
    "aux_changed": 0.5,
    "aux_type": 0.3,
    "per_device_train_batch_size": 2,
    "learning_rate": "1e-3",
    "max_steps": 4,
    "bf16": True,
    "use_cpu": True,
    "logging_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 2,
    "save_steps": 2,
    "load_best_model_at_end": True,
    "generation_max_new_tokens": 4,
    "disable_tqdm": True,
    "report_to": "none",
}


@pytest.fixture(scope="module")
def script():
    return load_script("train")


def prepare(rendered, target, *options):
    words = ["--dataset", "clevr_change", "--source", str(rendered), "--output_dir", str(target), *options]
    assert load_script("prepare_data").main(words) == 0
    return target


@pytest.fixture
def config(tmp_path, prepared_dir, model_config):
    """A YAML file of a run of four steps; keyword arguments replace its values."""

    def write(**changes):
        paths = {"data_dir": str(prepared_dir), "model_config": str(model_config), "output_dir": str(tmp_path / "run")}
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({**SETTINGS, **paths, **changes}), encoding="utf-8")
        return str(path)

    return write


def caption_with(folder, data):
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    processor = AutoProcessor.from_pretrained(folder)
    row = load_prepared(data)["test"][0]
    inputs = processor(images=[row["before"], row["after"]], return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=4)
    assert ids.shape[1] > inputs["input_ids"].shape[1]
    return processor.post_process_captions(ids, inputs)


def check_run(folder, data, steps):
    state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
    assert state["global_step"] == len(losses) == steps
    for step in range(2, steps + 1, 2):
        record = json.loads((folder / "evaluations" / f"eval-{step:06d}.json").read_text(encoding="utf-8"))
        assert len(record["captions"]) == 4
        assert (folder / f"checkpoint-{step}" / "auxiliary_heads.safetensors").is_file()
    sizes = json.loads((folder / "trainable_parameters.json").read_text(encoding="utf-8"))
    assert sizes["parameters"] == sizes["trainable"]
    assert not [name for name in sizes["names"] if "auxiliary" in name]
    assert len(caption_with(folder / "best", data)) == 1


def test_run_and_its_continuation(script, config, prepared_dir, tmp_path, capsys):
    path = config()
    assert script.main([path]) == 0
    check_run(tmp_path / "run", prepared_dir, 4)
    before = (tmp_path / "run" / "best" / "model.safetensors").read_bytes()
    for checkpoint in (tmp_path / "run").glob("checkpoint-*"):
        checkpoint.rename(tmp_path / checkpoint.name)
    assert "best" in refusal(script, capsys, path)[-1]
    assert (tmp_path / "run" / "best" / "model.safetensors").read_bytes() == before
    for checkpoint in tmp_path.glob("checkpoint-*"):
        checkpoint.rename(tmp_path / "run" / checkpoint.name)
    assert script.main([path, "--resume_from_checkpoint", "true", "--max_steps", "6"]) == 0
    check_run(tmp_path / "run", prepared_dir, 6)


def test_rendered_sets_are_judged_by_their_scenes(script, config, rendered, tmp_path):
    data = prepare(rendered, tmp_path / "judged", "--aux_grid", "4", "6")
    assert script.main([config(data_dir=str(data), max_steps=2)]) == 0
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text(encoding="utf-8"))
    entry = next(entry for entry in state["log_history"] if "eval_changed_cider" in entry)
    assert {"eval_changed_correct", "eval_total_correct", "eval_unchanged_right", "eval_only_right"} <= entry.keys()
    record = json.loads((tmp_path / "run" / "evaluations" / "eval-000002.json").read_text(encoding="utf-8"))
    assert record["correctness"]["references_correct"] == 1.0
    assert state["best_metric"] == entry["eval_changed_correct"]
    streamed = script.load_splits(DataArguments(data_dir=str(data), streaming=True))
    assert "scene" in streamed["validation"].column_names
    assert "scene" not in streamed["train"].column_names


def losses_of(folder):
    history = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def test_streamed_run_and_its_continuation(script, config, tmp_path):
    """Eight pairs in batches of two: the sixth step lies in the second pass, which the resumed run finds again."""
    unlike = {
        "distractor_swap": False,
        "cache_images": False,
        "eval_strategy": "no",
        "load_best_model_at_end": False,
    }
    path = config(streaming=True, lr_scheduler_type="constant", **unlike)
    assert script.main([path]) == 0
    assert script.main([path, "--resume_from_checkpoint", "true", "--max_steps", "6"]) == 0
    assert script.main([path, "--max_steps", "6", "--output_dir", str(tmp_path / "whole")]) == 0
    assert len(losses_of(tmp_path / "whole")) == 6
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(tmp_path / "whole"), rel=1e-4)


def test_streaming_workers_see_every_row(script, prepared_dir, rendered, tmp_path, monkeypatch):
    """Files of five and three rows: a worker reads one file, whole."""
    monkeypatch.setattr("ssgpa.data.prepared.ROWS_PER_SHARD", 5)
    arguments = DataArguments(data_dir=str(prepare(rendered, tmp_path / "shards")), streaming=True)
    rows = script.load_splits(arguments)["train"]
    assert sorted(rows["pair_id"]) == sorted(load_prepared(prepared_dir)["train"]["pair_id"])
    assert set(rows.column_names) == {"pair_id", "captions", "change_type"}
    dataset = script.training_pairs(arguments, rows, tiny_ssgpa()[1], seed=0)
    loader = DataLoader(dataset, batch_size=None, num_workers=2)
    assert {item["pair_id"] for item in islice(loader, 10)} == set(rows["pair_id"])


@pytest.mark.slow
def test_accelerate_launch_and_resume(config, prepared_dir, tmp_path):
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--cpu"]
    command = [*launcher, str(EXAMPLES / "train.py"), config()]
    for steps, more in ((4, []), (6, ["--resume_from_checkpoint", "true", "--max_steps", "6"])):
        subprocess.run([*command, *more], env=environment, check=True, stdin=subprocess.DEVNULL, timeout=300)
        check_run(tmp_path / "run", prepared_dir, steps)


@pytest.mark.slow
def test_two_processes_share_the_batch(config, tmp_path):
    """Two processes with two pairs each take the steps of one process with four; no term mixes pairs."""
    vision = {
        "model_type": "instructblip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.02,
    }
    values = tiny_config(vision_config=vision, sinkhorn_iterations=10, **NO_LOSSES).to_diff_dict()
    model = tmp_path / "model.json"
    model.write_text(json.dumps(values), encoding="utf-8")
    aux = dict.fromkeys(("aux_attributes", "aux_changed", "aux_type"), 0.0)
    path = config(model_config=str(model), image_size=[32, 32], optim="sgd", bf16=False, **aux)
    environment = {**os.environ, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    logs = []
    for processes, batch in ((1, 4), (2, 2)):
        folder = tmp_path / f"by-{processes}"
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        options = ["--output_dir", str(folder), "--per_device_train_batch_size", str(batch)]
        command = [*launcher, str(EXAMPLES / "train.py"), path, *options]
        subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL, timeout=300)
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        logs.append([entry for entry in state["log_history"] if "loss" in entry])
        record = json.loads((folder / "evaluations" / "eval-000004.json").read_text(encoding="utf-8"))
        assert len(record["captions"]) == 4
    for one, two in zip(*logs, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-4)
        assert two["loss_parts/caption"] == pytest.approx(two["loss"], abs=1e-5)


def test_script_leaves_the_evaluate_library_alone():
    """Beside train.py lies evaluate.py, which `import evaluate` would find in place of the library."""
    program = "import sys; sys.path.insert(0, sys.argv[1]); import train; sys.exit('evaluate' in sys.modules)"
    subprocess.run([sys.executable, "-c", program, str(EXAMPLES)], check=True, timeout=120)


def refusal(script, capsys, *words):
    capsys.readouterr()
    assert script.main(list(words)) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("train.py: error: ")
    return lines


@pytest.mark.parametrize(
    ("changes", "extra", "named"),
    [
        ({"learning_rat": 1}, [], ["--learning_rat"]),
        ({}, ["--no_such_thing", "1"], ["--no_such_thing"]),
        ({"max_steps": "many"}, [], ["max_steps", "many"]),
        ({"data_dir": None}, [], ["--data_dir", "prepare_data.py"]),
        ({"data_dir": "nowhere"}, [], ["nowhere", "head of the run's YAML", "prepare_data.py"]),
        ({}, ["--resume_from_checkpoint", "true"], ["run", "checkpoint"]),
        ({"model_name_or_path": "both"}, [], ["--model_name_or_path", "--model_config"]),
        ({"model_config": None}, [], ["--model_name_or_path", "--model_config"]),
        ({"model_config": "none.json"}, [], ["none.json"]),
        ({"model_class": "ssgpa.Nothing"}, [], ["ssgpa.Nothing"]),
        ({"max_train_pairs": 0}, [], ["0 pairs", "train"]),
        ({"streaming": True}, [], ["--streaming", "--distractor_swap"]),
        (
            {"streaming": True, "distractor_swap": False, "cache_images": False, "max_train_pairs": 2},
            [],
            ["--streaming", "--max_train_pairs"],
        ),
        ({"streaming": True, "max_steps": -1}, [], ["--streaming", "--max_steps"]),
        ({"trainable": ["q_former"]}, [], ["q_former"]),
        ({"metric_for_best_model": "eval_loss"}, [], ["eval_loss", "computes no loss", "eval_changed_cider"]),
        ({"config_overrides": '{"fusion_hidden_size": 0}'}, [], ["`fusion_hidden_size` must be at least 1, got 0"]),
        ({"generation_max_new_tokens": 300}, [], ["`generation_max_new_tokens` 300", "256 positions"]),
    ],
)
def test_bad_runs_are_refused_in_one_line(script, config, capsys, changes, extra, named):
    *before, line = refusal(script, capsys, config(**changes), *extra)
    assert not [other for other in before if "Error" in other or "Traceback" in other]
    assert all(word in line for word in named)


def test_captions_beyond_the_positions_are_refused_before_training(script, config, capsys, prepared_dir, tmp_path):
    def lengthen(row):
        return {"captions": ["cube " * 300] if row["pair_id"] == "000002.png" else row["captions"]}

    splits = load_prepared(prepared_dir)
    splits["train"] = splits["train"].map(lengthen)
    data = write_prepared(splits, tmp_path / "long")
    line = refusal(script, capsys, config(data_dir=str(data)))[-1]
    assert "pair '000002.png': a caption of 300 tokens does not fit" in line
    assert not (tmp_path / "run").exists()


def test_error_ends_the_program_with_code_2(config):
    command = [sys.executable, str(EXAMPLES / "train.py"), config(learning_rat=1)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert "--learning_rat" in result.stderr


def test_a_special_token_in_a_caption_ends_a_run_before_it_starts(script, config, capsys, tmp_path, prepared_dir):
    """The collator alone refused it, whenever its batch came."""
    splits = load_prepared(prepared_dir)
    name = splits["train"]["pair_id"][3]
    splits["train"] = splits["train"].map(
        lambda row: {
            "captions": ["a cube </s> is gone", *row["captions"]] if row["pair_id"] == name else row["captions"]
        }
    )
    data = write_prepared(splits, tmp_path / "data")
    line = refusal(script, capsys, config(data_dir=str(data), max_steps=1))[-1]
    assert f"pair {name!r}: the caption 'a cube </s> is gone' holds </s>" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["checkpoint-2", "best", "trainer_state.json"])
def test_folder_of_an_earlier_run_is_not_taken(script, config, capsys, tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    lines = refusal(script, capsys, config())
    assert len(lines) == 1
    words = (str(tmp_path / "run"), name, "--resume_from_checkpoint true", "--output_dir")
    assert all(word in lines[0] for word in words)


def save_broken(folder, cut=False, **changes):
    """A saved system with half of its weights' file, or with other values in its configuration."""
    model, processor = tiny_ssgpa()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    weights, config = folder / "model.safetensors", folder / "config.json"
    if cut:
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    config.write_text(json.dumps(json.loads(config.read_text("utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize("changes", [{"cut": True}, {"fusion_layers": "two"}], ids=["weights", "configuration"])
def test_broken_systems_are_refused(script, config, capsys, tmp_path, changes):
    save_broken(tmp_path / "broken", **changes)
    lines = refusal(script, capsys, config(model_config=None, model_name_or_path=str(tmp_path / "broken")))
    assert f"model {tmp_path / 'broken'}: " in lines[-1]
    assert not any("Traceback" in line for line in lines)


def test_broken_checkpoint_is_refused(script, config, capsys, tmp_path):
    path = config(max_steps=2)
    assert script.main([path]) == 0
    weights = tmp_path / "run" / "checkpoint-2" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    lines = refusal(script, capsys, path, "--resume_from_checkpoint", "true", "--max_steps", "3")
    assert not any("Traceback" in line for line in lines)


def test_half_written_checkpoint_is_passed_over(script, config, tmp_path):
    path = config(max_steps=2)
    assert script.main([path]) == 0
    run = tmp_path / "run"
    shutil.copytree(run / "checkpoint-2", run / "checkpoint-10")
    (run / "checkpoint-10" / "trainer_state.json").unlink()
    assert script.main([path, "--resume_from_checkpoint", "true", "--max_steps", "3"]) == 0
    state = json.loads((run / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["global_step"] == 3


def test_aux_heads_need_data_with_their_grid(script, config, capsys, rendered, tmp_path):
    plain = prepare(rendered, tmp_path / "plain")
    coarse = prepare(rendered, tmp_path / "coarse", "--aux_grid", "2", "3")
    assert "aux_grid" in refusal(script, capsys, config(data_dir=str(plain)))[-1]
    line = refusal(script, capsys, config(data_dir=str(coarse)))[-1]
    assert "6 cells" in line
    assert "24 patches" in line


def test_run_goes_on_from_a_saved_system_in_part(script, config, tmp_path):
    assert script.main([config(max_steps=2)]) == 0
    first = tmp_path / "run" / "best"
    part = {"trainable": ["alignment"], "max_steps": 2, "model_config": None, "model_name_or_path": str(first)}
    assert script.main([config(output_dir=str(tmp_path / "second"), **part)]) == 0
    models = [AutoModelForImageTextToText.from_pretrained(tmp_path / run / "best") for run in ("run", "second")]
    states = [model.state_dict() for model in models]
    moved = {name for name, value in states[0].items() if not value.equal(states[1][name])}
    assert moved
    assert all("alignment" in name for name in moved)


def test_the_example_stays_short():
    assert len((EXAMPLES / "train.py").read_text(encoding="utf-8").splitlines()) <= 120
