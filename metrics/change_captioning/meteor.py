# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""METEOR 1.5 (Denkowski and Lavie, 2014) from its own jar, by one Java process that lives as long as a run."""

import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from threading import Thread, Timer
from types import TracebackType

from .java import Java, toolkit_file


METEOR_NAME = "meteor-1.5.jar -l en -norm"
METEOR_SECONDS = 900
JAR = ("meteor", "meteor-1.5.jar")
PARAPHRASES = ("meteor", "data", "paraphrase-en.gz")
SEPARATOR = "|||"


class Meteor:
    """The jar, started when the first caption is scored and stopped by `close`.

    Speaks the lines that pycocoevalcap speaks, without its lock: an error ends the process instead of leaving a
    lock that nobody opens. The statistics of a caption against its references are asked for once.

    Args:
        java: The Java to use.
        seconds: Time limit for each call of `score`.
    """

    def __init__(self, java: Java, seconds: float = METEOR_SECONDS) -> None:
        self.java = java
        self.seconds = seconds
        self.statistics: dict[tuple[str, ...], str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._complaint = ""

    def __enter__(self) -> "Meteor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def score(self, hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        """Scores one tokenised caption an item.

        Args:
            hypotheses: As many captions as items.
            targets: The tokenised references of each item, in their order, on which ties depend.

        Returns:
            METEOR of the set, from its summed statistics (not the mean of the items), and METEOR of each item.

        Raises:
            RuntimeError: If the jar fails or takes too long.
        """
        lines = self._lines(hypotheses, targets)
        line = f" {SEPARATOR} ".join(["EVAL", *lines])
        *items, total = map(float, self._ask([line], len(lines) + 1))
        return total, items

    def statistics_of(self, hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> list[list[float]]:
        """Takes captions apart; METEOR of any set of them follows from the sums.

        Args:
            hypotheses: As many captions as items.
            targets: The tokenised references of each item.

        Returns:
            23 numbers an item, for the reference that fits best.

        Raises:
            RuntimeError: If the jar fails or takes too long.
        """
        return [[float(number) for number in line.split()] for line in self._lines(hypotheses, targets)]

    def _lines(self, hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> list[str]:
        keys = [(hypothesis, *item) for hypothesis, item in zip(hypotheses, targets, strict=True)]
        new = list(dict.fromkeys(key for key in keys if key not in self.statistics))
        answers = self._ask([_score_line(key) for key in new], len(new))
        self.statistics.update(zip(new, answers, strict=True))
        return [self.statistics[key] for key in keys]

    def close(self) -> None:
        """Ends the process; a later call of `score` starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._complaint = process.communicate()[1].decode(errors="replace").strip()

    def _start(self) -> subprocess.Popen[bytes]:
        jar = toolkit_file(*JAR)
        # The jar's own way to this file fails where a folder's name holds a blank.
        options = ("-stdio", "-l", "en", "-norm", "-a", toolkit_file(*PARAPHRASES))
        return self.java.start("-Xmx2G", "-jar", jar, "-", "-", *options, folder=jar.parent)

    def _ask(self, lines: Iterable[str], count: int) -> list[str]:
        """Sends lines and reads `count` answers; whatever goes wrong ends the process."""
        process = self._process = self._process or self._start()
        watch = Timer(self.seconds, process.kill)
        sender = Thread(target=_send, args=(process, lines), daemon=True)
        watch.start()
        sender.start()
        answers: list[str] = []
        try:
            while len(answers) < count and (answer := process.stdout.readline()):
                answers.append(answer.decode().strip())
        finally:
            watch.cancel()
            if len(answers) < count:
                self.close()
        if len(answers) < count:
            raise RuntimeError(self._failure(len(answers), count))
        sender.join()
        return answers

    def _failure(self, answered: int, count: int) -> str:
        reason = self._complaint or f"it was stopped, perhaps by the time limit of {self.seconds:g} s"
        return f"METEOR ended after {answered} of {count} answers: {reason}. Pass meteor=False to go without."


def _score_line(key: Sequence[str]) -> str:
    hypothesis, *item = (text.replace(SEPARATOR, " ").strip() for text in key)
    return f" {SEPARATOR} ".join(["SCORE", *item, hypothesis])


def _send(process: subprocess.Popen[bytes], lines: Iterable[str]) -> None:
    # The reader notices the end of the process and tells why.
    with suppress(OSError, ValueError):
        process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        process.stdin.flush()
