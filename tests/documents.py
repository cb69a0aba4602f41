# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What README and the pages of `docs` show: snippets and commands, and what a program reads of a command."""

import argparse
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ssgpa_command import parse_arguments

from .scripts import load_script


ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Commands within a sentence or a table, too: these words and at least one more.
INLINE = re.compile(r"`((?:python3?|accelerate|torchrun|ssgpa|pip) [^`]+)`")
# A yaml of the reader's, for which one of ours stands.
STAND_IN = "examples/configs/clevr_tiny.yaml"


class Snippet(NamedTuple):
    """A Python block, and what the page says that it prints, or None."""

    page: Path
    code: str
    output: str | None


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def snippets(page: Path) -> list[Snippet]:
    """The Python blocks; a `text` block that follows with nothing in between is the output."""
    pattern = r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?"
    return [
        Snippet(page, code, output or None)
        for code, output in re.findall(pattern, read(page), re.MULTILINE | re.DOTALL)
    ]


def commands(page: Path) -> list[list[str]]:
    """The words of every command of a page, in order."""
    text = read(page)
    lines = [line for block in blocks(text, "bash") for line in block.splitlines()]
    lines += INLINE.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    words = [shlex.split(part, comments=True) for line in lines for part in line.split(" && ")]
    return [command for command in words if len(command) > 1]


class ParsedError(Exception):
    """Raised in place of running: the options, and the words that a program leaves to a run's own parser."""


def options_of(main: Callable[[list[str]], Any], words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """What a program's own parser makes of the words, and what it leaves; the program does not start."""
    parse = argparse.ArgumentParser.parse_known_args

    def stop(self: argparse.ArgumentParser, *arguments: Any, **options: Any) -> None:
        raise ParsedError(*parse(self, *arguments, **options))

    def stop_at_unknown(self: argparse.ArgumentParser, *arguments: Any, **options: Any) -> None:
        found, rest = parse(self, *arguments, **options)
        raise ParsedError(found, []) if not rest else AssertionError(f"{self.prog} has no {' '.join(rest)}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
        patch.setattr(argparse.ArgumentParser, "parse_args", stop_at_unknown)
        try:
            main(words)
        except ParsedError as parsed:
            return parsed.args
    raise AssertionError("The program has no parser.")


def check_ssgpa(words: list[str]) -> None:
    """The command's own parser reads the options; sample pairs are there."""
    if len(words) <= 2 or words[2:] in (["--pairs"], ["--json"]):
        assert words[1] in {"caption", "score"}
        return
    options = parse_arguments(words[1:])
    for name in ("before", "after", "pairs"):
        path = str(getattr(options, name, None) or "")
        assert not path.startswith("examples/") or (ROOT / path).is_file()


def check_train(words: list[str]) -> None:
    """All options of a run, read by the run's own parser; its YAML is one of ours, or stands for one."""
    from ssgpa.training.arguments import parse_arguments as parse_run

    run = words[0] if (ROOT / words[0]).is_file() else STAND_IN
    assert run != STAND_IN or words[0] == STAND_IN or re.search(r"\b[A-Z]+\.yaml$", words[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        parse_run([run, *words[1:], "--use_cpu", "true"])


def check_python(words: list[str]) -> None:
    if words[1] == "-m":
        assert words[2] in {"venv", "pytest"}
    elif words[1] == "examples/train.py":
        check_train(words[2:])
    else:
        _, rest = options_of(load_script(ROOT / words[1]).main, words[2:])
        if rest:
            check_train(rest)


def check_accelerate(words: list[str]) -> None:
    launch = pytest.importorskip("accelerate.commands.launch")
    assert words[1] == "launch"
    if len(words) == 2 or words[2:] == ["--cpu"]:
        return
    options = launch.launch_command_parser().parse_args(words[2:])
    assert not options.config_file or (ROOT / options.config_file).is_file()
    if options.module:
        assert options.training_script == "ssgpa"
        check_ssgpa(["ssgpa", *options.training_script_args])
    else:
        assert options.training_script == "examples/train.py"
        check_train(options.training_script_args)


def check_torchrun(words: list[str]) -> None:
    from torch.distributed.run import get_args_parser

    options = get_args_parser().parse_args(words[1:])
    check_python(["python", options.training_script, *options.training_script_args])


def check_pip(words: list[str]) -> None:
    """Extras are there, and so is the lock."""
    assert words[1] == "install"
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for option, value in zip(words[2:], [*words[3:], None], strict=True):
        if option == "-c":
            assert (ROOT / value).is_file()
        if match := re.fullmatch(r"(?:\.|ssgpa)\[(.+)\]", option):
            assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in match[1].split(","))


def check_make(words: list[str]) -> None:
    assert words[1] in set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


CHECKS = {
    "ssgpa": check_ssgpa,
    "python": check_python,
    "python3": check_python,
    "accelerate": check_accelerate,
    "torchrun": check_torchrun,
    "pip": check_pip,
    "make": check_make,
    ".": lambda words: None,
}


def all_commands() -> Iterator[Any]:
    """Every command once, with the page that shows it first."""
    seen = set()
    for page in PAGES:
        for words in commands(page):
            if tuple(words) not in seen:
                seen.add(tuple(words))
                yield pytest.param(words, id=f"{page.name}: {' '.join(words)[:70]}")
