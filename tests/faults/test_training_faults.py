# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Training: SIGTERM, dead workers, a full disk, a clock that goes backwards, checkpoints that were never finished."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import time

import pytest
import transformers
from safetensors.torch import load_file

from ssgpa.training.dataset import PairDataset
from ssgpa.training.termination import EXIT_CODE

from ..examples.runs import logged, options_of
from ..scripts import load_script
from .kills import FORK, ROOT, Nursery, is_running


pytestmark = pytest.mark.usefixtures("own_datasets_cache")
signals = pytest.mark.skipif(os.name != "posix", reason="Windows has no such signals")
SAVING = {"per_device_train_batch_size": 2, "save_strategy": "steps", "save_steps": 2, "max_steps": 6}


@pytest.fixture
def train(workshop, tmp_path, capsys):
    """Runs in a folder of its own; gives the exit code and stderr."""

    def call(name="run", **changes):
        words = [str(workshop / "run.yaml"), "--output_dir", str(tmp_path / name)]
        code = load_script("train").main([*words, *options_of({**SAVING, **changes})])
        return code, capsys.readouterr().err

    return call


def checkpoints(folder):
    return sorted(int(path.name.rpartition("-")[2]) for path in folder.glob("checkpoint-*"))


def same_end(one, other):
    assert logged(one) == pytest.approx(logged(other), rel=0, abs=1e-6)
    weights = [load_file(folder / "best" / "model.safetensors") for folder in (one, other)]
    return all(value.equal(weights[1][name]) for name, value in weights[0].items())


def at_step(monkeypatch, step, act):
    """Lets something happen within a step."""
    work = transformers.Trainer.training_step

    def training_step(self, *words, **options):
        if self.state.global_step + 1 == step:
            act()
        return work(self, *words, **options)

    monkeypatch.setattr(transformers.Trainer, "training_step", training_step)


@signals
def test_sigterm_saves_and_ends(train, tmp_path, monkeypatch):
    """Step 3 saves nothing by itself; the run that goes on from it is the one that nobody disturbed."""
    assert train("whole")[0] == 0
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as ended:
            train()
    assert ended.value.code == EXIT_CODE == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert checkpoints(tmp_path / "run") == [2, 3]
    assert not (tmp_path / "run" / "best").exists()
    assert train(resume_from_checkpoint="true")[0] == 0
    assert same_end(tmp_path / "run", tmp_path / "whole")


@signals
def test_sigterm_at_the_end_of_an_epoch_keeps_its_evaluation(train, tmp_path, monkeypatch):
    """Two steps are an epoch: what is due at its end is done, and within an epoch nothing is that is not."""
    epochs = {"per_device_train_batch_size": 8, "eval_strategy": "epoch", "save_strategy": "epoch"}
    for step, evaluated in ((2, ["eval-000002.json"]), (3, ["eval-000002.json"])):
        name = f"run-{step}"
        with monkeypatch.context() as patch:
            at_step(patch, step, lambda: os.kill(os.getpid(), signal.SIGTERM))
            with pytest.raises(SystemExit):
                train(name, **epochs)
        assert checkpoints(tmp_path / name)[-1] == step
        assert sorted(path.name for path in (tmp_path / name / "evaluations").iterdir()) == evaluated


@signals
def test_sigterm_removes_no_checkpoint(train, tmp_path, monkeypatch):
    """At its end, `Trainer` would leave the best one alone, which is older than the one that was just saved."""
    best = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "save_total_limit": 1}
    at_step(monkeypatch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        train(**best)
    assert checkpoints(tmp_path / "run") == [2, 3]


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="a fork has what the test puts in")
def test_a_dead_worker_is_told(train, tmp_path, monkeypatch):
    """One that loads pairs is killed, as by a system that has run out of memory."""
    main, get = os.getpid(), PairDataset.__getitem__

    def get_or_die(self, index):
        if os.getpid() != main:
            os.kill(os.getpid(), signal.SIGKILL)
        return get(self, index)

    monkeypatch.setattr(PairDataset, "__getitem__", get_or_die)
    code, err = train(dataloader_num_workers=1)
    assert code == 2
    assert err.splitlines()[-1].startswith("train.py: error: A process that loads pairs has ended (DataLoader worker")
    assert "--resume_from_checkpoint true" in err


def test_a_clock_that_goes_backwards_removes_no_new_checkpoint(train, tmp_path, monkeypatch):
    save = transformers.Trainer._save_checkpoint

    def save_earlier(self, *words, **options):
        save(self, *words, **options)
        # Each an hour earlier than the one before.
        at = time.time() - 3600 * self.state.global_step
        os.utime(tmp_path / "run" / f"checkpoint-{self.state.global_step}", (at, at))

    monkeypatch.setattr(transformers.Trainer, "_save_checkpoint", save_earlier)
    assert train(save_steps=1, save_total_limit=2)[0] == 0
    assert checkpoints(tmp_path / "run") == [5, 6]
    state = json.loads((tmp_path / "run" / "checkpoint-6" / "trainer_state.json").read_text("utf-8"))
    assert state["global_step"] == 6


def test_a_checkpoint_that_was_never_finished_is_cleared_away(train, tmp_path):
    """Of a later step, it would count as the newest one, and the whole ones before it be removed."""
    assert train(max_steps=2)[0] == 0
    run = tmp_path / "run"
    for name, state in (("checkpoint-5", None), ("checkpoint-9", '{"global_step": 9')):
        shutil.copytree(run / "checkpoint-2", run / name)
        (run / name / "_unfinished").touch()
        if state is not None:
            (run / name / "trainer_state.json").write_text(state, encoding="utf-8")
    shutil.rmtree(run / "best")
    assert train(resume_from_checkpoint="true", save_total_limit=1)[0] == 0
    assert checkpoints(run) == [6]
    # Alone, they are nothing that a new run would write over.
    shutil.rmtree(run)
    (run / "checkpoint-2").mkdir(parents=True)
    (run / "checkpoint-2" / "_unfinished").touch()
    assert train(max_steps=2)[0] == 0
    assert not list(run.glob("*/_unfinished"))
    # What somebody keeps there without a state is not ours to remove.
    shutil.rmtree(run)
    (run / "checkpoint-2").mkdir(parents=True)
    assert train(max_steps=2)[0] == 2
    assert checkpoints(run) == [2]


def fill(workshop, tmp_path, small):
    """Trains where the second checkpoint does not fit, and goes on where it does; the end is that of a whole run."""
    # A rate that does not depend on where a run is to end.
    words = [workshop / "run.yaml", *options_of({**SAVING, "lr_scheduler_type": "constant"})]
    with Nursery("train", tmp_path, ROOT / "examples" / "train.py") as nursery:
        assert nursery.run([*words, "--output_dir", tmp_path / "whole"])[0] == 0
        resumed = [*words, "--output_dir", small, "--resume_from_checkpoint", "true"]
        yield nursery, words, resumed
        assert nursery.run(resumed)[0] == 0, nursery.log.read_text("utf-8")[-4000:]
    assert same_end(small, tmp_path / "whole")


def told(nursery):
    return nursery.log.read_text("utf-8").strip().splitlines()[-1]


@pytest.mark.slow
@pytest.mark.skipif(not FORK, reason="forks")
def test_a_full_disk_keeps_the_last_good_checkpoint(workshop, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = shutil.which("mount")
    command = [mount, "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a tmpfs; the test with a limit on the size of files stands in")
    try:
        parts = fill(workshop, tmp_path, small / "run")
        nursery, words, _ = next(parts)
        size = sum(path.stat().st_size for path in (tmp_path / "whole" / "checkpoint-2").rglob("*"))
        # Room for one checkpoint and a half.
        subprocess.run([mount, "-o", f"remount,size={int(1.5 * size)}", str(small)], check=True)
        assert nursery.run([*words, "--output_dir", small / "run"])[0] == 2
        assert "checkpoint-4: cannot be written" in told(nursery)
        assert checkpoints(small / "run") == [2]
        subprocess.run([mount, "-o", "remount,size=64m", str(small)], check=True)
        assert next(parts, "end") == "end"
    finally:
        subprocess.run([shutil.which("umount"), "-l", str(small)], check=True)


@pytest.mark.slow
@pytest.mark.skipif(not FORK, reason="forks")
def test_a_limit_on_the_size_of_files_keeps_the_last_good_checkpoint(workshop, tmp_path):
    """The same where nothing may be mounted: files may not grow as large as the weights."""
    resource = pytest.importorskip("resource")
    parts = fill(workshop, tmp_path, tmp_path / "run")
    nursery, words, resumed = next(parts)
    assert nursery.run([*words, "--output_dir", tmp_path / "run", "--max_steps", 2])[0] == 0
    size = (tmp_path / "run" / "checkpoint-2" / "model.safetensors").stat().st_size
    no_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(nursery.process.pid, resource.RLIMIT_FSIZE, (size // 2, no_limit[1]))
    assert nursery.run(resumed)[0] == 2
    assert "checkpoint-4: cannot be written" in told(nursery)
    assert checkpoints(tmp_path / "run") == [2]
    resource.prlimit(nursery.process.pid, resource.RLIMIT_FSIZE, no_limit)
    assert next(parts, "end") == "end"


@pytest.mark.slow
@pytest.mark.skipif(not FORK, reason="forks")
def test_sigterm_to_all_processes_of_a_run(workshop, tmp_path):
    """As a cluster sends it: to the run and to those that load its pairs, at a moment of its own."""
    words = [workshop / "run.yaml", *options_of({**SAVING, "max_steps": 40, "dataloader_num_workers": 2})]
    with Nursery("train", tmp_path, ROOT / "examples" / "train.py") as nursery:
        assert nursery.run([*words, "--output_dir", tmp_path / "whole"])[0] == 0
        run = tmp_path / "run"
        ended, code = [], EXIT_CODE
        while code == EXIT_CODE:
            assert len(ended) < 20
            more = ["--resume_from_checkpoint", "true"] if ended else []
            process = nursery.start([*words, "--output_dir", run, *more])
            wanted = max(checkpoints(run), default=0) + 4
            while is_running(process) and max(checkpoints(run), default=0) < wanted:
                time.sleep(0.01)
            if is_running(process):
                os.killpg(process, signal.SIGTERM)
            code = nursery.status()
            ended += checkpoints(run)[-1:]
        assert code == 0, nursery.log.read_text("utf-8")[-4000:]
        assert len(ended) > 3
    assert same_end(run, tmp_path / "whole")
