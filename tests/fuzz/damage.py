# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Damaged files, as hypothesis draws and shrinks them, from a corpus of whole ones and of those that found a fault."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


CORPUS = Path(__file__).with_name("corpus")
# Put in the place of a value of JSON or YAML.
VALUES = [
    *(
        "null",
        "true",
        "-1",
        "0",
        "1e999",
        "NaN",
        "1.5",
        '""',
        '" "',
        "[]",
        "{}",
        "[[]]",
        '["a"]',
        "[null]",
        '{"a": 1}',
    ),
    *('"\\ud800"', '"a\\u0000b"', '"../../etc/passwd"', '"' + "x " * 3000 + '"', "9" * 5000, "[" * 3000),
    *("!!timestamp x", "2026-13-45", "!!bool x", "!!python/object/apply:os.system [true]", "&a [*a]", "0o9", "0x"),
]
PIECES = [*map(str.encode, VALUES), b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b'"', b",", b"{", b"}", b"\\", b": "]


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes], header: int | None = None) -> bytes:
    """A file with one to three accidents: cut, lost, doubled, changed, or with a hostile value in it.

    Args:
        draw (`DrawFn`): Of hypothesis.
        seeds (`list[bytes]`): Whole files.
        header (`int`, *optional*): Damage these first bytes alone.
    """
    whole = draw(st.sampled_from(seeds))
    content, rest = (whole, b"") if header is None else (whole[:header], whole[header:])
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(1, 64)))
        way = draw(st.sampled_from(("cut", "lose", "double", "change", "insert", "value")))
        if way == "cut":
            content, rest = content[:start], b""
        elif way == "lose":
            content = content[:start] + content[stop:]
        elif way == "double":
            content = content[:stop] + content[start:]
        elif way == "change":
            content = content[:start] + draw(st.binary(min_size=1, max_size=8)) + content[min(start + 1, stop) :]
        elif way == "insert":
            content = content[:start] + draw(st.sampled_from(PIECES)) + content[start:]
        else:
            content = put_value(content, start, draw(st.sampled_from(VALUES)).encode())
    return content + rest


def put_value(content: bytes, start: int, value: bytes) -> bytes:
    """A value behind the next colon, comma or dash, up to where the old one ends."""
    place = next((index for index in range(start, len(content)) if content[index] in b":,[-"), None)
    if place is None:
        return content + value
    end = next((index for index in range(place + 1, len(content)) if content[index] in b",]}\n"), len(content))
    return content[: place + 1] + b" " + value + content[end:]


def cases(count: int) -> settings:
    """So many cases, the same in every run."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    checks.append(HealthCheck.large_base_example)
    return settings(max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=checks)


def corpus(name: str) -> list[bytes]:
    """What was kept because it once was a fault, in the order of its names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).glob("*"))]


@contextmanager
def little_memory(more: int = 2 << 30) -> Iterator[None]:
    """A size that was damaged must not take the machine's memory: allow so many bytes more than are taken now."""
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
