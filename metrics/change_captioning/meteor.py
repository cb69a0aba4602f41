# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""METEOR 1.5 (Denkowski and Lavie, 2014) from its own jar, by one Java process that lives as long as a run."""

import subprocess
import warnings
from collections.abc import Iterable, Sequence
from contextlib import suppress
from threading import Event, Thread
from time import monotonic
from types import TracebackType

from .java import Java, toolkit_file


METEOR_NAME = "meteor-1.5.jar -l en -norm"
METEOR_SECONDS = 300
JAR = ("meteor", "meteor-1.5.jar")
PARAPHRASES = ("meteor", "data", "paraphrase-en.gz")
SEPARATOR = "|||"
# The jar's memory grows with the length of a caption: 10,000 words take 6 s, and 20,000 end it. Where one word is said
# over and over, its time grows with the product of the lengths: 500 beside 500 words take 21 s, 1,000 beside 1,000
# more than 300 s.
MAX_WORDS = 2000
MAX_PRODUCT = 200_000
SHOWN = 60
NUMBERS = 23
NEW_LINE = "\n"
PROBE = ("a", "a")


class Meteor:
    """The jar, started when the first caption is scored and stopped by `close`.

    Speaks the lines that pycocoevalcap speaks, without its lock: an error ends the process instead of leaving a
    lock behind. The statistics of a caption against its references are computed once.

    A caption of more than `MAX_WORDS` words, or one over which the jar dies or finds no end, counts as an empty one:
    its row scores 0 and no other changes. References of more words, or of so many that their product with the
    caption's is above `MAX_PRODUCT`, are left out. A warning and `skipped_of` report either case.

    Args:
        java (`Java`): The Java to use.
        seconds (`float`, *optional*, defaults to `METEOR_SECONDS`): Time limit for each answer of the jar, its start
            included.
    """

    def __init__(self, java: Java, seconds: float = METEOR_SECONDS) -> None:
        self.java = java
        self.seconds = seconds
        self.statistics: dict[tuple[str, ...], str] = {}
        self.skipped: set[tuple[str, ...]] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._complaint = ""

    def __enter__(self) -> "Meteor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def score(self, hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> tuple[float, list[float]]:
        """Score one tokenized caption an item.

        Args:
            hypotheses (`Sequence[str]`): One tokenized caption an item.
            targets (`Sequence[Sequence[str]]`): The tokenized references of each item, in their order, on which ties
                depend.

        Returns:
            `tuple[float, list[float]]`: METEOR of the set, from its summed statistics (not the mean of the items), and
            METEOR of each item.

        Raises:
            RuntimeError: If the jar fails or takes too long.
        """
        lines = self._lines(hypotheses, targets)
        line = f" {SEPARATOR} ".join(["EVAL", *lines])
        answers = self._exchange([line], len(lines) + 1)
        if len(answers) <= len(lines):
            raise RuntimeError(self._failure(len(answers), len(lines) + 1))
        # Where neither caption nor reference has a word, the jar divides by zero.
        *items, total = (0.0 if answer == "NaN" else float(answer) for answer in answers)
        return total, items

    def statistics_of(self, hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> list[list[float]]:
        """Return the METEOR statistics of each item; METEOR of any set follows from their sums.

        Args:
            hypotheses (`Sequence[str]`): One tokenized caption an item.
            targets (`Sequence[Sequence[str]]`): The tokenized references of each item.

        Returns:
            `list[list[float]]`: 23 numbers an item, for the reference that fits best.

        Raises:
            RuntimeError: If the jar fails or takes too long.
        """
        return [[float(number) for number in line.split()] for line in self._lines(hypotheses, targets)]

    def skipped_of(self, hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> int:
        """Count the items that METEOR could not score as they are.

        Args:
            hypotheses (`Sequence[str]`): One tokenized caption an item.
            targets (`Sequence[Sequence[str]]`): The tokenized references of each item.

        Returns:
            `int`: How many captions counted as empty, or went without a reference that is too long.
        """
        keys = zip(hypotheses, targets, strict=True)
        return sum((hypothesis, *item) in self.skipped for hypothesis, item in keys)

    def _lines(self, hypotheses: Sequence[str], targets: Sequence[Sequence[str]]) -> list[str]:
        keys = [(hypothesis, *item) for hypothesis, item in zip(hypotheses, targets, strict=True)]
        new = list(dict.fromkeys(key for key in keys if key not in self.statistics))
        while new:
            answers = self._exchange([_score_line(_bounded(key)) for key in new], len(new))
            self.statistics.update(zip(new, answers, strict=False))
            # The jar answers in order, so that the first line without an answer is the one it died of.
            new, dead = new[len(answers) + 1 :], new[len(answers) : len(answers) + 1]
            for key in dead:
                failure, complaint = self._failure(len(answers), len(keys)), self._complaint
                # Unless a new process answers, it was not the row.
                if not self._exchange([_score_line(PROBE)], 1):
                    raise RuntimeError(failure)
                self.statistics[key] = " ".join(["0"] * NUMBERS)
                reason = complaint.partition(NEW_LINE)[0] or f"no answer within {self.seconds:g} s"
                self._skip(key, f"METEOR ended over a row ({reason})")
        for key in dict.fromkeys(keys):
            if key != _bounded(key) and key not in self.skipped:
                self._skip(
                    key, f"METEOR takes no captions that long ({MAX_WORDS:,} words, {MAX_PRODUCT:,} as product)"
                )
        return [self.statistics[key] for key in keys]

    def _skip(self, key: tuple[str, ...], reason: str) -> None:
        self.skipped.add(key)
        words = ", ".join(f"{len(text.split()):,}" for text in key)
        warnings.warn(
            f"{reason}: {key[0][:SHOWN]!r}, words of caption and references: {words}. What it cannot take counts as "
            "empty; BLEU, ROUGE-L and CIDEr-D count all of it.",
            stacklevel=4,
        )

    def close(self) -> None:
        """End the process; a later call of `score` starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._complaint = process.communicate()[1].decode(errors="replace").strip()

    def _exchange(self, lines: Iterable[str], count: int) -> list[str]:
        """Send lines and read at most `count` answers; with fewer, the process has ended."""
        if self._process is None:
            jar = toolkit_file(*JAR)
            # The jar's own way to this file fails where a folder's name holds a blank.
            options = ("-stdio", "-l", "en", "-norm", "-a", toolkit_file(*PARAPHRASES))
            self._process = self.java.start("-Xmx2G", "-jar", jar, "-", "-", *options, folder=jar.parent)
        process = self._process
        watch = _Watch(process, self.seconds)
        sender = Thread(target=_send, args=(process, lines), daemon=True)
        watch.start()
        sender.start()
        answers: list[str] = []
        try:
            while len(answers) < count and (answer := process.stdout.readline()):
                answers.append(answer.decode().strip())
                watch.beat = monotonic()
        finally:
            watch.stop()
            if len(answers) < count:
                self.close()
        sender.join()
        return answers

    def _failure(self, answered: int, count: int) -> str:
        reason = self._complaint or f"it was stopped, perhaps by the time limit of {self.seconds:g} s"
        return f"METEOR ended after {answered} of {count} answers: {reason}. Pass meteor=False to go without."


class _Watch(Thread):
    """A thread that ends a process which does not answer for too long.

    Args:
        process (`subprocess.Popen[bytes]`): The process.
        seconds (`float`): How long it may take for an answer.
    """

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        super().__init__(daemon=True)
        self.process, self.seconds, self.beat, self._done = process, seconds, monotonic(), Event()

    def run(self) -> None:
        """Wait, and start over with every answer."""
        while not self._done.wait(max(0.0, self.beat + self.seconds - monotonic())):
            if monotonic() - self.beat >= self.seconds:
                self.process.kill()
                return

    def stop(self) -> None:
        """End the watch."""
        self._done.set()
        self.join()


def _bounded(key: tuple[str, ...]) -> tuple[str, ...]:
    """Return a caption and its references without those that are too long."""
    hypothesis, *item = key
    length = hypothesis.count(" ") + 1
    limit = MAX_WORDS if length > MAX_WORDS else min(MAX_WORDS, MAX_PRODUCT // length)
    kept = [text for text in item if text.count(" ") < limit]
    return ("" if length > MAX_WORDS or not kept else hypothesis, *(kept or [""]))


def _score_line(key: Sequence[str]) -> str:
    hypothesis, *item = (text.replace(SEPARATOR, " ").strip() for text in key)
    return f" {SEPARATOR} ".join(["SCORE", *item, hypothesis])


def _send(process: subprocess.Popen[bytes], lines: Iterable[str]) -> None:
    # The reader notices the end of the process and tells why.
    with suppress(OSError, ValueError):
        process.stdin.write("".join(f"{line}\n" for line in lines).encode())
        process.stdin.flush()
