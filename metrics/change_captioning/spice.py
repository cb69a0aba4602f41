# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SPICE (Anderson et al., 2016) by its own jar, where the jars that pycocoevalcap does not ship have been added."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .java import NO_JAVA, Java, toolkit_file


SPICE_SECONDS = 3600
MISSING = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


def score_spice(
    hypotheses: Sequence[str], targets: Sequence[Sequence[str]], java: Java | None, seconds: float = SPICE_SECONDS
) -> float:
    """Score captions by SPICE; nothing is downloaded, and nothing is written beside the installed package.

    Args:
        hypotheses (`Sequence[str]`): One tokenized caption an item.
        targets (`Sequence[Sequence[str]]`): The tokenized references of each item.
        java (`Java`, *optional*): The Java to use; the jar is reported to need Java 8 or 11.
        seconds (`float`, *optional*, defaults to `SPICE_SECONDS`): Time limit.

    Returns:
        `float`: The mean F of the items, in 0..1.

    Raises:
        FileNotFoundError: If jars are missing; the error names them and the folder they belong in.
        RuntimeError: If there is no Java, or the jar fails or takes too long.
    """
    jar = toolkit_file("spice", "spice-1.0.jar")
    missing = [name for name in MISSING if not (jar.parent / "lib" / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"SPICE needs {' and '.join(missing)} (Stanford CoreNLP 3.6.0) in {jar.parent / 'lib'}; "
            "pycocoevalcap does not ship them."
        )
    if java is None:
        raise RuntimeError(f"SPICE needs Java. {NO_JAVA}")
    items = [
        {"image_id": index, "test": hypothesis, "refs": list(item)}
        for index, (hypothesis, item) in enumerate(zip(hypotheses, targets, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        values = _run(jar, items, java, Path(folder), seconds)
    # A caption without a word has no F; it scores 0, as everywhere here.
    found = [value if value == value else 0.0 for value in values]
    return sum(found) / len(found)


def _run(jar: Path, items: list[dict], java: Java, folder: Path, seconds: float) -> list[float]:
    source, target = folder / "captions.json", folder / "scores.json"
    source.write_text(json.dumps(items), encoding="utf-8")
    options = ("-cache", folder / "cache", "-out", target, "-subset", "-silent")
    (folder / "cache").mkdir()
    java.run("SPICE", "-Xmx8G", "-jar", jar, source, *options, folder=jar.parent, seconds=seconds)
    scores = json.loads(target.read_text(encoding="utf-8"))
    return [float(item["scores"]["All"]["f"]) for item in scores]
