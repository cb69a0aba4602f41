# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""FSDP2 on the CPU, as torch has it: Accelerate's own launch of it needs cards, and takes none of this here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_shared_out_parameters_have_the_gradients_of_whole_ones():
    launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--module"]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, "tests.training.sharded_steps"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-6000:]
    assert done.stdout.count("gradients agree") == 2
