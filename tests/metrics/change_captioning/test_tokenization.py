# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
import shutil

import numpy as np
import pytest

from ssgpa.metrics.change_captioning.text import clean_caption, tokenize_caption


WORDS = (
    "the a small large red gray grey cube sphere metal rubber is has been moved gone changed its position to behind "
    "left of in front there person's cars' doesn't it's can't they're brown-colored top-left 2 3.5 colour centre"
)
BREAKS = ("\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x00", "\u200b")


@pytest.mark.parametrize(
    ("raw", "tokens"),
    [
        ("The red cube is gone.", "the red cube is gone"),
        ("the red cube is gone .", "the red cube is gone"),
        ("It moved. The cube, too; see?", "it moved the cube too see"),
        ("it doesn't, the man's car can't", "it does n't the man 's car ca n't"),
        ("a left-hand (metal) cube", "a left-hand -lrb- metal -rrb- cube"),
        ("mr. smith left the u.s. car", "mr. smith left the u.s. car"),
        ("3,000 cars moved 3.5 m", "3,000 cars moved 3.5 m"),
        ("\u201cred\u201d cube\u2019s side \u2014 gone\u2026", "red cube 's side gone"),
        ('"quoted" words -- and dashes', "quoted words and dashes"),
        ("really?! yes!", "really ?! yes"),
        ("a <unk> cube", "a <unk> cube"),
        ("caf\u00e9 \u65e5\u672c", "caf\u00e9 \u65e5\u672c"),
        ("", ""),
        ("...", ""),
    ],
)
def test_golden_strings(raw, tokens):
    assert tokenize_caption(clean_caption(raw)[0]) == tokens


@pytest.mark.parametrize(
    "separator", ["\n", "\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x00", "\u200b"]
)
def test_line_breaks_and_control_characters_are_blanks(separator):
    assert clean_caption(f"red{separator}cube{separator}") == ("red cube", 0)


@pytest.mark.parametrize("token", ["<s>", "</s>", "<pad>", "<|endoftext|>", "<|im_end|>", "[PAD]", "<end_of_turn>"])
def test_special_tokens_are_taken_out_and_counted(token):
    assert clean_caption(f"{token}red cube{token}") == ("red cube", 2)


@pytest.mark.skipif(shutil.which("java") is None, reason="the PTB tokenizer needs Java")
def test_same_strings_as_the_ptb_tokenizer():
    from pycocoevalcap.tokenizer import ptbtokenizer

    generator = np.random.default_rng(0)
    captions = []
    for _ in range(500):
        words = generator.choice(WORDS.split(), size=generator.integers(2, 15)).tolist()
        middle = generator.integers(len(words))
        words[middle] += generator.choice(["", "", ",", ".", ";", "!", " -", " --", ")"])
        captions.append(" ".join(words).capitalize() + generator.choice(["", ".", " .", "?"]))
    theirs = ptbtokenizer.PTBTokenizer().tokenize({i: [{"caption": text}] for i, text in enumerate(captions)})
    ours = {i: [tokenize_caption(clean_caption(text)[0])] for i, text in enumerate(captions)}
    assert ours == theirs
