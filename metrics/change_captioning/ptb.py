# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The Penn Treebank tokenizer of the COCO caption evaluation, run by Java."""

from collections.abc import Iterable

from .java import Java, toolkit_file
from .text import PUNCTUATION


NAME = "The PTB tokenizer"
JAR = ("tokenizer", "stanford-corenlp-3.4.1.jar")
MAIN = "edu.stanford.nlp.process.PTBTokenizer"
PTB_SECONDS = 600


def tokenize_ptb(texts: Iterable[str], java: Java, seconds: float = PTB_SECONDS) -> list[str]:
    """Tokenize cleaned captions in one run of Java.

    The captions go through the standard input, so that nothing is written beside the installed package.

    Args:
        texts (`Iterable[str]`): What `clean_caption` gave: one line each.
        java (`Java`): The Java to use.
        seconds (`float`, *optional*, defaults to `PTB_SECONDS`): Time limit.

    Returns:
        `list[str]`: Lower-case tokens joined by single blanks, without punctuation, in the order of the texts.

    Raises:
        RuntimeError: If Java fails, gives another number of lines, or takes too long.
    """
    texts = list(texts)
    text = "".join(f"{line}\n" for line in texts)
    jar = toolkit_file(*JAR)
    answer = java.run(NAME, "-cp", jar, MAIN, "-preserveLines", "-lowerCase", text=text, seconds=seconds)
    lines = answer.decode().split("\n")[:-1]
    if len(lines) != len(texts):
        raise RuntimeError(f"{NAME} gave {len(lines)} lines for {len(texts)} captions.")
    return [" ".join(word for word in line.split() if word not in PUNCTUATION) for line in lines]
