# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Runs of `examples/train.py` by its own command line, in this process or under a launcher."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
import yaml
from datasets import DatasetDict
from transformers import set_seed

from ssgpa.benchmarks.count_parameters import FROZEN_TOWER_AND_LANGUAGE_MODEL
from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
from ssgpa.data.prepared import load_prepared, write_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.training.arguments import ModelArguments
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.systems import create_system
from ssgpa.utils.loading import load_system

from ..data.readers.reader_cases import Images, dump
from ..scripts import load_script
from ..ssgpa_cases import wake
from ..tiny_systems import tiny_config


ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "train.py"
# What is drawn or averaged over the pairs of a micro-batch, and has tests of its own.
NO_DRAWS = {"contrast_weight": 0.0, "warp_weight": 0.0}
SETTINGS = {
    "trainable": FROZEN_TOWER_AND_LANGUAGE_MODEL,
    "per_device_train_batch_size": 8,
    "learning_rate": "1e-3",
    "max_steps": 6,
    "use_cpu": True,
    "logging_steps": 1,
    "save_strategy": "no",
    "generation_max_new_tokens": 6,
    "disable_tqdm": True,
    "report_to": "none",
}


def render_pairs(folder):
    """Eight scenes to train on, so that an epoch has sixteen pairs, and three to validate; without hints."""
    settings = RenderSettings(scenes=14, seed=7, size=(96, 64), splits=(0.6, 0.2, 0.2))
    return load_clevr_change(render_dataset(folder, settings, progress=False))


def write_clevr(folder):
    """As `render_pairs`, with the masks that auxiliary targets need; five pairs to validate are enough."""
    settings = RenderSettings(scenes=14, seed=7, size=(96, 64), splits=(0.6, 0.2, 0.2), object_masks=True)
    render_dataset(folder, settings, progress=False)


# As people write of these sets: no type of change is known.
SPOTS = ("the {} car is gone", "there is a man with a {} coat", "two {} people have left", "a {} van came")
REQUESTS = ("brighten the {} part", "remove the {} person please", "crop out the {} sky", "add a {} frame")
COLORS = ("red", "green", "blue", "gray", "dark", "white", "small", "large")
SIZES = {"train": 16, "validation": 5, "test": 2}


def write_spot(folder):
    """Pairs in the layout of Spot-the-Diff."""
    image, number = Images(folder), 0
    for split, file in (("train", "train"), ("validation", "val"), ("test", "test")):
        rows = []
        for _ in range(SIZES[split]):
            number += 1
            image(f"resized_images/{number}.png"), image(f"resized_images/{number}_2.png")
            texts = [text.format(COLORS[number % 8]) for text in (SPOTS[number % 4], SPOTS[(number + 1) % 4])]
            rows.append({"img_id": str(number), "sentences": texts})
        dump(folder, f"annotations/{file}.json", rows)


def write_requests(folder):
    """Pairs in the layout of Image-Editing-Request."""
    image, number = Images(folder), 0
    for split, file in (("train", "train"), ("validation", "valid"), ("test", "test")):
        rows = []
        for _ in range(SIZES[split]):
            number += 1
            images = [image(f"images/{number}_{side}.jpg").rpartition("/")[2] for side in (0, 1)]
            text = REQUESTS[number % 4].format(COLORS[number % 8])
            rows.append({"uid": str(number), "img0": images[0], "img1": images[1], "sents": [text]})
        dump(folder, f"{file}.json", rows)


# Folders that the shipped runs read, by their names: reader, fixture, and what the run's notes say of preparing it.
DATA_SETS = {
    "clevr_change": ("clevr_change", write_clevr, []),
    "clevr_prepared": ("clevr_change", write_clevr, ["--aux_grid", "8", "12"]),
    "clevr_small_prepared": ("clevr_change", write_clevr, ["--aux_grid", "8", "12"]),
    "clevr_more_prepared": ("clevr_change", write_clevr, ["--aux_grid", "8", "12"]),
    "clevr_more_prepared_6x12": ("clevr_change", write_clevr, ["--aux_grid", "6", "12"]),
    "clevr_more_prepared_8x8": ("clevr_change", write_clevr, ["--aux_grid", "8", "8"]),
    "clevr_prepared_6x9": ("clevr_change", write_clevr, ["--aux_grid", "6", "9"]),
    "scorer_prepared": ("clevr_change", write_clevr, []),
    "small_prepared_6x12": ("clevr_change", write_clevr, ["--aux_grid", "6", "12"]),
    "small_prepared_8x8": ("clevr_change", write_clevr, ["--aux_grid", "8", "8"]),
    "still_prepared_8x8": ("clevr_change", write_clevr, ["--aux_grid", "8", "8"]),
    "spot_the_diff": ("spot_the_diff_single", write_spot, []),
    "image_editing_request": ("image_editing_request", write_requests, []),
}


def prepare_set(name, folder):
    """A prepared set of `DATA_SETS` as `folder/NAME`, by the program that users call."""
    reader, write, options = DATA_SETS[name]
    source = folder / "sources" / reader
    if not source.exists():
        source.parent.mkdir(exist_ok=True)
        write(source)
    words = ["--dataset", reader, "--source", str(source), "--output_dir", str(folder / name), *options]
    assert load_script("prepare_data").main(words) == 0
    return folder / name


def write_data(splits, folder, words=None):
    """Prepare pairs, five of them to validate, with captions cut to the first `words`."""
    if words is not None:
        splits = splits.map(lambda row: {"captions": [" ".join(text.split()[:words]) for text in row["captions"]]})
    parts = {**splits, "validation": splits["validation"].select(range(5))}
    return write_prepared(DatasetDict(parts), folder)


def save_base(folder, data, **overrides):
    """A tiny system with a tower of tokens, a Q-Former and a language model, all of its parameters awake."""
    config = tiny_config(qformer=True, sinkhorn_iterations=10, **(NO_DRAWS | overrides))
    path = folder.with_suffix(".json")
    path.write_text(json.dumps(config.to_diff_dict()), encoding="utf-8")
    captions = [text for texts in load_prepared(data)["train"]["captions"] for text in texts]
    set_seed(0)
    model, processor, _ = create_system(ModelArguments(model_config=str(path), image_size=[32, 32]), captions)
    wake(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def teach_base(folder, data, steps=90):
    """Train a saved base in full on its sixteen pairs, so that what it says differs in length from pair to pair."""
    model, processor = load_system(str(folder))
    dataset = PairDataset(load_prepared(data)["train"], processor, captions_per_pair=2)
    batch = PairCollator(processor)([dataset[index] for index in range(len(dataset))])
    del batch["pair_ids"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(steps):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def write_run(path, **changes):
    """A run's YAML file; keyword arguments replace or add values, None takes them out."""
    path.write_text(yaml.safe_dump({**SETTINGS, **changes}), encoding="utf-8")
    return str(path)


def write_workshop(folder, **settings):
    """A prepared set `data`, a tiny system `base`, and `run.yaml`, a run that trains it; `datasets` caches there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        data = write_data(render_pairs(folder / "rendered"), folder / "data")
        save_base(folder / "base", data)
    write_run(folder / "run.yaml", model_name_or_path=str(folder / "base"), data_dir=str(data), **settings)
    return folder


def options_of(changes):
    """Keyword arguments as words of a command line."""
    return [f"--{name}={value}" for name, value in changes.items()]


def free_port():
    """A port of this machine that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def accelerate(name, processes):
    """The launcher with one of the repository's configurations, on a port of its own."""
    configuration = ROOT / "examples" / "accelerate" / f"{name}.yaml"
    words = ["accelerate.commands.launch", "--config_file", str(configuration)]
    return [*words, "--num_processes", str(processes), "--main_process_port", str(free_port())]


def start(launcher, path, home, **changes):
    """Start the script under a launcher, from the repository's root."""
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *launcher, str(SCRIPT), path, *options_of(changes)]
    # A pipe could fill up while another run is waited for.
    descriptor, output = tempfile.mkstemp()
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=descriptor,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    os.close(descriptor)
    return process, Path(output)


def finish(runs):
    """Wait for started runs, and leave none behind; the output of one that fails is the error."""
    try:
        for process, output in runs:
            code = process.wait(timeout=580)
            assert code == 0, output.read_text(encoding="utf-8")[-6000:]
    finally:
        for process, output in runs:
            # With all that a launcher has started.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            output.unlink()


def launch(launcher, path, home, **changes):
    """Run the script under a launcher."""
    finish([start(launcher, path, home, **changes)])


def logged(folder, name="loss"):
    """Values of a run's log by step."""
    state = json.loads((Path(folder) / "trainer_state.json").read_text(encoding="utf-8"))
    return {entry["step"]: entry[name] for entry in state["log_history"] if name in entry}
