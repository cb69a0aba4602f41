# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Raw answers, written by hand, and what is to be left of them."""

import pytest

from ssgpa.data.syned.cleaning import MAX_WORDS, clean_answer, clean_line
from ssgpa.data.syned.quotes import unquote


SOURCE = "Make the sky red."
GOOD = ["Paint the sky red", "Turn the sky a shade of red", "Give the sky a red colour", "Recolour the sky in red"]

LISTS = {
    "plain lines": "{0}\n{1}\n{2}\n{3}",
    "numbers": "1. {0}\n2. {1}\n3. {2}\n4. {3}",
    "brackets": "1) {0}\n2) {1}\n(3) {2}\n4.) {3}",
    "colons": "1: {0}\n2: {1}\n3: {2}\n4: {3}",
    "no space": "1.{0}\n2.{1}\n3){2}\n4){3}",
    "letters": "a) {0}\nb) {1}\nC. {2}\nd. {3}",
    "bullets": "- {0}\n* {1}\n\u2022 {2}\n\u2013 {3}",
    "number and dash": "1 - {0}\n2 - {1}\n3 \u2013 {2}\n4 - {3}",
    "bold": "**1.** {0}\n2. **{1}**\n**3. {2}**\n- **{3}**",
    "labels": "Variation 1: {0}\nOption #2: {1}\nINSTRUCTION: {2}\nParaphrase 4 - {3}",
    "headings": "### 1. {0}\n\n### 2. {1}\n\n### 3. {2}\n\n### 4. {3}",
    "quotes": '1. "{0}"\n2. "{1}"\n"3. {2}"\n"{3}",',
    "curly quotes": "1. \u201c{0}\u201d\n2. \u2018{1}\u2019\n\u201e{2}\u201c\n\u00ab{3}\u00bb",
    "code quotes": "1. `{0}`\n2. `{1}`\n3. '{2}'\n4. '{3}'",
    "one line": "1. {0} 2. {1} 3. {2} 4. {3}",
    "blank lines and tabs": "\n\n 1.\t{0}  \n\n   2. {1}\r\n\n3. {2}\n4. {3}\n\n\n",
    "end tokens": "1. {0}</s>\n2. {1}<|eot_id|>\n3. {2}\n4. {3}<|im_end|></s>",
}


@pytest.mark.parametrize("form", LISTS)
def test_lists_of_every_form(form):
    cleaned = clean_answer(LISTS[form].format(*GOOD), SOURCE, ended=True)
    assert cleaned.kept == GOOD
    assert not cleaned.dropped


CHAT = [
    "Sure!",
    "Sure! Here are four variations of the instruction:",
    "Sure, I can do that.",
    "Certainly! Here you go.",
    "Of course.",
    "Here are 4 variations:",
    "Here's another way to put it",
    "Here is a concise variation of the instruction",
    "Below are the variations",
    "**Variations:**",
    "I hope this helps!",
    "Hope that helps",
    "Let me know if you need more.",
    "Please let me know if you would like any changes.",
    "Feel free to ask for more",
    "Note: all of these keep the meaning.",
    "(Note that the colour stays the same)",
    "I'd be happy to help with that.",
    "These variations are all short",
    "Is there anything else?",
    "Would you like more variations?",
    "Okay, here we go.",
]
REFUSALS = [
    "I cannot fulfill this request.",
    "I can't help with that.",
    "I'm sorry, but I can't assist with that request.",
    "I apologize, but this goes too far.",
    "As an AI language model, I have no images.",
    "I'm just an AI, it's not appropriate to do so.",
    "Sorry, I am not able to edit images.",
    "Unfortunately, I am unable to and I will not.",
    "It is not appropriate for me to say that",
    "I\u2019m unable to see the image",
]


@pytest.mark.parametrize("line", CHAT)
def test_chat_is_dropped_around_good_lines(line):
    cleaned = clean_answer(f"{line}\n\n1. {GOOD[0]}\n2. {GOOD[1]}\n\n{line}", SOURCE, ended=True)
    assert cleaned.kept == GOOD[:2]
    assert cleaned.dropped == {"chat": 2}


@pytest.mark.parametrize("line", REFUSALS)
def test_refusals_give_nothing(line):
    for form in ("{}", '"{}"', "1. {}"):
        cleaned = clean_answer(form.format(line), SOURCE, ended=True)
        assert (cleaned.kept, cleaned.dropped) == ([], {"refusal": 1})


FAULTS = {
    "cut off": [
        "Paint the sky in a shade of",
        "Turn the sky,",
        "Make the sky...",
        "Paint the",
        "Paint the sky \u2026",
    ],
    "unclosed quote": ['"Paint the sky red', "'Paint the sky red", 'Write "SALE on the wall', 'Paint the sky red"'],
    "no words": ["---", "1.", "...", '""', "[", "\U0001f600"],
    "prompt repeated": ["<s>[INST] Paint the sky red", "<<SYS>> You are", "7 <INSTRUCT> Paint the sky red"],
    "too long": ["paint " * (MAX_WORDS + 1)],
    "same as the instruction": [
        "Make the sky red",
        "MAKE THE SKY RED!",
        '"make the sky, red"',
        "3. Make the sky red.",
    ],
}


@pytest.mark.parametrize(("reason", "line"), [(reason, line) for reason, lines in FAULTS.items() for line in lines])
def test_faulty_lines(reason, line):
    cleaned = clean_answer(f"{GOOD[0]}\n{line}\n{GOOD[1]}", SOURCE, ended=True)
    assert (cleaned.kept, cleaned.dropped) == (GOOD[:2], {reason: 1})


def test_the_longest_line_that_is_kept():
    assert clean_line("paint " * MAX_WORDS) == (" ".join(["paint"] * MAX_WORDS), None)


def test_repetitions_differ_by_more_than_case_and_punctuation():
    answer = (
        "Paint the sky red\npaint the SKY red!\n- Paint, the sky: red.\nPaint the sky dark red\nDon't stop\ndont stop"
    )
    cleaned = clean_answer(answer, SOURCE, ended=True, known=["Paint the sky dark-red."])
    assert cleaned.kept == ["Paint the sky red", "Don't stop"]
    assert cleaned.dropped == {"repeated": 4}


def test_the_last_line_of_an_answer_that_was_cut():
    answer = "1. Paint the sky red\n2. Turn the sky a shade of red\n3. Give the sky a"
    assert clean_answer(answer + " red", SOURCE, ended=False).kept == GOOD[:2]
    assert clean_answer(answer + " red", SOURCE, ended=True).kept == [*GOOD[:2], "Give the sky a red"]
    assert clean_answer(answer, SOURCE, ended=True).dropped == {"cut off": 1}
    assert clean_answer("Paint the sky", SOURCE, ended=False).dropped == {"cut off": 1}
    assert clean_answer("", SOURCE, ended=False).dropped == {}


ALONE = [
    "2 dogs should be added",
    "3D text should appear on the wall",
    'Write "SALE" on the wall',
    "Replace 'STOP' with 'GO'",
    '"Stop" on the sign becomes "Go"',
    "Make the dogs' fur white",
    "Let the dog wear a hat",
    "Turn the light on",
    "Give it a '70s look",
    "Make the ball 3.5 times as large",
    "Show the inappropriate poster no more",
    "Surely a red sky",
]


@pytest.mark.parametrize("line", ALONE)
def test_good_lines_stay_as_they_are(line):
    assert clean_line(line) == (line, None)


QUOTES = {
    '"Write "SALE" on it"': 'Write "SALE" on it',
    '"Change it to "GO""': 'Change it to "GO"',
    "'Make the dog's fur blue'": "Make the dog's fur blue",
    "\"'Make it red'\"": "Make it red",
    '"Make it red".': "Make it red.",
    '"Make it red."': "Make it red.",
    "Make it red": "Make it red",
    'Add 6" of snow': None,
    "Write 'SALE": None,
}


@pytest.mark.parametrize("text", QUOTES)
def test_quotes_around_and_inside(text):
    assert unquote(text) == QUOTES[text]
