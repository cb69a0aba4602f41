# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""`examples/train.py --push_to_hub`: the repository of a run is whole, and its card tells the run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from transformers import GenerationConfig

from ssgpa.hub.training_run import facts_of_run, results_of_run
from ssgpa.training.arguments import ChangeCaptioningArguments, DataArguments, ModelArguments
from ssgpa.utils.results import write_results

from .hub_double import HubDouble


TRAIN = Path(__file__).parents[2] / "examples" / "train.py"
SETTINGS = {
    "image_size": [32, 48],
    "per_device_train_batch_size": 2,
    "max_steps": 2,
    "use_cpu": True,
    "eval_strategy": "steps",
    "eval_steps": 1,
    "save_steps": 1,
    "load_best_model_at_end": True,
    "generation_max_new_tokens": 4,
    "disable_tqdm": True,
    "report_to": "none",
    "aux_type": 0.3,
    "push_to_hub": True,
    "hub_model_id": "org/run",
}


@pytest.mark.slow
def test_a_run_is_published(prepared_dir, model_config, tmp_path):
    facts = {"limits": ["It was trained for two steps."], "data_license": "Drawn for a test."}
    (tmp_path / "facts.yaml").write_text(yaml.safe_dump(facts), encoding="utf-8")
    paths = {"data_dir": prepared_dir, "model_config": model_config, "output_dir": tmp_path / "run"}
    paths["card_metadata"] = tmp_path / "facts.yaml"
    settings = SETTINGS | {name: str(path) for name, path in paths.items()}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with HubDouble() as hub:
        done = subprocess.run(
            [sys.executable, str(TRAIN), str(tmp_path / "run.yaml")],
            env=hub.environment(tmp_path / "home") | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        files = {name: file.content for name, file in hub.files("org/run").items()}
        commits = hub.repositories["model", "org/run"].commits.values()
        # Nobody can fetch weights without their code, whenever they look.
        assert all(("model.safetensors" in names) == ("modeling_ssgpa.py" in names) for names in commits)
    assert "Published" in done.stdout
    assert files["model.safetensors"] == (tmp_path / "run" / "best" / "model.safetensors").read_bytes()
    assert {"modeling_ssgpa.py", "pipeline_ssgpa.py", "processor_config.json", "generation_config.json"} <= set(files)
    assert "custom_pipelines" in json.loads(files["config.json"])
    card = ModelCard(files["README.md"].decode())
    state = json.loads((tmp_path / "run" / "trainer_state.json").read_text("utf-8"))
    evaluation = tmp_path / "run" / "evaluations" / f"eval-{state['best_global_step']:06d}.json"
    scores = json.loads(evaluation.read_text("utf-8"))["scores"]
    values = {(item.dataset_config, item.metric_type): item.metric_value for item in card.data.eval_results}
    assert values["changed", "cider"] == round(scores["changed"]["cider"], 4)
    assert {item.dataset_split for item in card.data.eval_results} == {"validation"}
    assert card.data.license == "apache-2.0"
    for words in (
        "2 steps of 2 pairs",
        "aux_type",
        "which flatters it",
        "It was trained for two steps.",
        "baseline: ",
    ):
        assert words in card.text


def test_the_card_tells_of_the_run_that_came_before(tmp_path):
    run = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True)
    sizes = {"parameters": 7, "trainable": 5}
    told = [
        facts_of_run(
            ModelArguments("bases/x", adapter_name_or_path=path), DataArguments("data"), run, 3, sizes
        ).training
        for path in (None, "runs/first/best")
    ]
    assert "runs/first/best" not in told[0]
    assert told[1].startswith("From `bases/x` and what `runs/first/best` had trained over it")


def test_the_card_tells_of_controls(tmp_path):
    run = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True)
    sizes = {"parameters": 7, "trainable": 5}
    data = DataArguments("data", no_change_controls=0.125)
    plain, told = (
        facts_of_run(ModelArguments("bases/x"), data, run, 3, sizes | record).training
        for record in ({}, {"no_change_controls": {"rate": 0.125}})
    )
    assert "controls" not in plain
    assert told == f"{plain} 12.5 % of the pairs became controls without a change."


@pytest.mark.parametrize(("given", "saved", "wanted"), [(1.0, 1.7, 1.7), (1.5, 1.5, 1.5), (1.0, None, None)])
def test_the_card_tells_the_penalty_that_captions_were_made_with(given, saved, wanted, tmp_path):
    run = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True, generation_repetition_penalty=given)
    GenerationConfig(repetition_penalty=saved).save_pretrained(tmp_path / "best")
    write_results(tmp_path / "evaluations" / "eval-000003.json", {"step": 3, "scores": {}, "captions": {}})
    path = results_of_run({"global_step": 3}, "org/run", DataArguments("data"), run)
    assert json.loads(path.read_text("utf-8"))["decoding"].get("repetition_penalty") == wanted
