# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Plugin of `run.py`: every skip has its reason in README.md, and every reason there still skips something."""

import re
from collections import Counter
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest


README = Path(__file__).with_name("README.md")


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _has_mps() -> bool:
    import torch

    return torch.backends.mps.is_available()


# What a machine may have that makes a reason go away; named in the table's last column.
PRESENT = {
    "a GPU": lambda: _gpus() > 0,
    "several GPUs": lambda: _gpus() > 1,
    "MPS": _has_mps,
    "kernels": lambda: find_spec("kernels") is not None,
    "librosa": lambda: find_spec("librosa") is not None,
    "torchcodec": lambda: find_spec("torchcodec") is not None,
    "RUN_SLOW": lambda: False,
}


class Reason(NamedTuple):
    """A row of the table: what skips say, and what a machine may have that ends them."""

    messages: list[str]
    unless: str


def read_reasons(text: str) -> list[Reason]:
    """Rows between the marks; in the first column `*` stands for anything.

    Raises:
        ValueError: A row has no message, no reason, or names something unknown that would end it.
    """
    body = text.split("<!-- skips:begin -->\n")[1].split("<!-- skips:end -->")[0]
    reasons = []
    for line in body.strip().splitlines()[2:]:
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        messages = re.findall(r"`` ?(.+?) ?``|`([^`]+)`", cells[0])
        messages = [double or single for double, single in messages]
        if len(cells) != 3 or not messages or not cells[1] or (cells[2] and cells[2] not in PRESENT):
            raise ValueError(f"{README}: not a row of the table of skips: {line}")
        reasons.append(Reason(messages, cells[2]))
    return reasons


def message_of(report: pytest.TestReport) -> str:
    """What a skipped test says."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return " ".join(text.removeprefix("Skipped: ").split())


def check(skips: Counter, reasons: list[Reason], whole: bool) -> list[str]:
    """What is wrong: skips without a reason and, where all tests ran, reasons that no longer skip anything.

    Args:
        skips (`Counter`): How often each message was given.
        reasons (`list[Reason]`): Of the table.
        whole (`bool`): All tests ran.
    """
    patterns = [(message, reason) for reason in reasons for message in reason.messages]
    wrong = [
        f"{count} skip(s) without a reason: {message}"
        for message, count in sorted(skips.items())
        if not any(fnmatchcase(message, pattern) for pattern, _ in patterns)
    ]
    for pattern, reason in patterns if whole else ():
        used = any(fnmatchcase(message, pattern) for message in skips)
        if not used and not (reason.unless and PRESENT[reason.unless]()):
            wrong.append(f"a reason that skips nothing any more: {pattern}")
    return wrong


class SkipReasons:
    """Collects the skips of all workers and ends the run with an error where table and skips differ."""

    def __init__(self, config: pytest.Config) -> None:
        self.reasons = read_reasons(README.read_text(encoding="utf-8"))
        self.skips: Counter = Counter()
        # A choice of tests leaves some reasons without a skip.
        self.whole = not (config.option.keyword or config.option.maxfail)
        self.wrong: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skips[message_of(report)] += 1

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.wrong = check(self.skips, self.reasons, self.whole)
        if self.wrong and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.wrong:
            terminalreporter.write_line(f"{README.name}: {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    """Watch in the process that all reports come to."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipReasons(config), "skip_reasons_of_ssgpa")
