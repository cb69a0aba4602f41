# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Publishing and loading over HTTP, against a Hub on the loopback interface."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load

from ssgpa import SSGPAForConditionalGeneration, SSGPAProcessor
from ssgpa.metrics.report.build import build_report

from ..tiny_systems import tiny_ssgpa
from .hub_double import HubDouble
from .hub_steps import PRIVATE, PUBLIC, SHARDED, SHORT


STEPS = Path(__file__).with_name("hub_steps.py")
CODE = {
    "alignment",
    "change_config",
    "change_modules",
    "compatibility",
    "configuration",
    "conversion",
    "difference",
    "evidence",
    "prompt_sharing",
    "losses",
    "modeling",
    "image_utils",
    "pipeline",
    "processing",
    "prompts",
    "publishing",
    "registration",
    "image_rasters",
    "image_scaling",
    "image_sources",
    "tiles",
    "system",
    "system_config",
    "transport",
    "trust",
    "visual_prompt",
    "warp",
}
FACTS = {"base_models": [], "data_name": "Drawn pairs", "training": "Not at all.", "limits": ["It knows nothing."]}


@pytest.fixture(scope="module")
def hub():
    with HubDouble() as hub:
        yield hub


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A saved tiny system, a pair of images, results and facts."""
    folder = tmp_path_factory.mktemp("hub")
    model, processor = tiny_ssgpa(vision="resnet")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    for name, angle in (("before", 0), ("after", 128)):
        Image.linear_gradient("L").rotate(angle).resize((48, 40)).save(folder / f"{name}.png")
    rows = [
        {"pair_id": "a", "change_type": "drop", "captions": ["the red cube is gone", "the cube has left"]},
        {"pair_id": "b", "change_type": "none", "captions": ["there is no change", "nothing changed"]},
    ]
    captions = {"a": "the red cube is gone", "b": "there is no change"}
    report = build_report(rows, captions, rows, lambda text: "drop" if "gone" in text else None)
    results = {"model": "tiny", "data": "drawn", "split": "test", "decoding": {"num_beams": 1}, **report}
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (folder / "facts.yaml").write_text(yaml.safe_dump(FACTS), encoding="utf-8")
    return folder


def command(step, work):
    return [sys.executable, str(STEPS), step, str(work)]


def run(step, work, home, hub, **variables):
    environment = hub.environment(home) | variables
    done = subprocess.run(command(step, work), capture_output=True, text=True, env=environment, cwd=work, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def pushed(hub, work, tmp_path_factory):
    return run("push", work, tmp_path_factory.mktemp("home"), hub)


@pytest.fixture(scope="module")
def loaded(hub, work, pushed, tmp_path_factory):
    """What a fresh process with an empty cache and without the package computes."""
    return run("load", work, tmp_path_factory.mktemp("empty"), hub, PINNED=pushed["first"])


def text_of(hub, name, revision="main"):
    return hub.files(PUBLIC, revision)[name].content.decode()


def test_the_repository_is_complete(hub, pushed):
    files = hub.files(PUBLIC, pushed["first"])
    assert {f"{name}_ssgpa.py" for name in CODE} == {name for name in files if name.endswith(".py")}
    assert {"model.safetensors", "config.json", "generation_config.json", "processor_config.json"} <= files.keys()
    assert {"tokenizer.json", "README.md", "samples/0_before.png", "samples/0_after.png"} <= files.keys()
    config = json.loads(text_of(hub, "config.json", pushed["first"]))
    assert config["auto_map"] == {
        "AutoConfig": "configuration_ssgpa.SSGPAConfig",
        "AutoModel": "modeling_ssgpa.SSGPAModel",
        "AutoModelForImageTextToText": "modeling_ssgpa.SSGPAForConditionalGeneration",
    }
    assert config["custom_pipelines"]["change-captioning"]["impl"] == "pipeline_ssgpa.ChangeCaptioningPipeline"
    processor = json.loads(text_of(hub, "processor_config.json", pushed["first"]))
    assert processor["auto_map"]["AutoProcessor"] == "processing_ssgpa.SSGPAProcessor"


def test_the_card_of_the_repository_tells_the_results(hub, work, pushed):
    card = ModelCard(text_of(hub, "README.md", pushed["first"]))
    results = json.loads((work / "results.json").read_text("utf-8"))
    found = {(item.dataset_config, item.metric_name): item.metric_value for item in card.data.eval_results}
    for block in ("changed", "unchanged", "total"):
        assert found[block, "CIDEr-D"] == round(results["scores"][block]["cider"], 4)
        assert found[block, "BLEU-4"] == round(results["scores"][block]["bleu_4"], 4)
    assert card.data.license == "apache-2.0"
    model = SSGPAForConditionalGeneration.from_pretrained(work / "model").eval()
    processor = SSGPAProcessor.from_pretrained(work / "model")
    inputs = processor(images=[work / "before.png", work / "after.png"], return_tensors="pt")
    said = processor.post_process_captions(model.generate(**inputs, num_beams=5, max_new_tokens=40), inputs)
    assert card.data.get("widget")[0]["output"]["text"] == said[0]
    assert "baseline: " in card.text
    assert "It knows nothing." in card.text


def test_publishing_leaves_the_model_as_it_was(work, pushed):
    assert pushed["config_is_as_before"]
    assert not list((work / "saved-later").glob("*.py"))
    assert "auto_map" not in (work / "saved-later" / "config.json").read_text("utf-8")
    assert "auto_map" not in (work / "saved-later" / "processor_config.json").read_text("utf-8")


def test_a_later_push_keeps_the_card(hub, pushed):
    assert text_of(hub, "README.md", pushed["first"]) == text_of(hub, "README.md", pushed["second"])
    assert "not been written down" in hub.files(PRIVATE)["README.md"].content.decode()


def test_a_fresh_process_computes_the_same_without_the_package(work, loaded):
    model = SSGPAForConditionalGeneration.from_pretrained(work / "model").eval()
    processor = SSGPAProcessor.from_pretrained(work / "model")
    inputs = processor(images=[work / "before.png", work / "after.png"], return_tensors="pt")
    ids = model.generate(**inputs, **SHORT)
    assert loaded["module"] == "transformers_modules"
    assert loaded["base"] == "SSGPAModel"
    assert loaded["logits"] == model(**inputs).logits[0, -1].tolist()
    assert loaded["ids"] == ids.tolist()
    assert loaded["captions"] == [{"generated_text": processor.post_process_captions(ids, inputs)[0]}]
    assert loaded["map"]
    assert loaded["inputs"] == loaded["alone"] == inputs["input_ids"].tolist()


def test_a_pinned_commit_is_not_the_newest(loaded):
    assert loaded["newest"] == pytest.approx([-value for value in loaded["logits"]], abs=1e-6)
    assert max(map(abs, loaded["logits"])) > 0.01


def test_a_processor_alone_comes_with_its_code_and_without_a_card(hub, pushed):
    files = hub.files("org/processor-alone")
    assert {"processor_config.json", "tokenizer.json", "processing_ssgpa.py", "publishing_ssgpa.py"} <= files.keys()
    assert not {"README.md", "config.json"} & files.keys()
    assert "AutoProcessor" in json.loads(files["processor_config.json"].content)["auto_map"]


def test_a_cached_system_loads_by_its_id_without_a_network(work, hub, pushed, tmp_path):
    online = run("load_by_id", work, tmp_path, hub)
    offline = run("load_by_id", work, tmp_path, hub, HF_ENDPOINT="http://127.0.0.1:9")
    assert offline["parameters"] == online["parameters"]
    assert offline["seconds"] < 10


def test_private_repositories_and_unknown_commits_are_refused(loaded):
    assert loaded["private"] == "SSGPAProcessor"
    assert set(loaded["refused"]) == {"anonymous", "wrong", "commit"}
    assert PRIVATE in loaded["refused"]["anonymous"]
    assert "0" * 40 in loaded["refused"]["commit"]


def test_an_interrupted_upload_goes_on(hub, work, pushed, tmp_path):
    hub.uploads.clear()
    hub.stall_after = 1
    environment = hub.environment(tmp_path / "home")
    process = subprocess.Popen(
        command("push_shards", work), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        assert hub.stalled.wait(180)
    finally:
        process.kill()
        process.wait()
    sent = dict(hub.uploads)
    assert list(sent.values()) == [1]
    assert set(hub.files(SHARDED)) == {".gitattributes"}  # nothing shows before all is there
    hub.stall_after = None
    hub.released.set()
    run("push_shards", work, tmp_path / "home", hub)
    files = hub.files(SHARDED)
    shards = [file for name, file in files.items() if name.endswith(".safetensors")]
    assert len(shards) > 2
    assert set(hub.uploads.values()) == {1}  # what had arrived was not sent again
    assert set(sent) <= {file.etag for file in shards}
    states = SSGPAForConditionalGeneration.from_pretrained(work / "model").state_dict()
    arrived = {name: value for file in shards for name, value in load(file.content).items()}
    assert all(torch.equal(states[name], value) for name, value in arrived.items())
    assert set(arrived) <= set(states)
