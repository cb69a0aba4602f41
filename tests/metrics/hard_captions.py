# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions that are hard to tokenise, and what pycocoevalcap makes of them (its own PTB tokeniser and scorers)."""

import json
from pathlib import Path


GOLDEN = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

# One caption of a system, then the references of the pair.
ITEMS = [
    ["The red cube is gone.", "the red cube has disappeared", "the red cube is gone"],
    ["the red cube is gone .", "The Red Cube is missing!", "nobody sees the red cube"],
    ["THE TINY BALL MOVED", "the tiny ball moved", "The small sphere changed its location."],
    ["", "the green block turned blue", "a block changed"],
    ["   ", "a man has left"],
    ["...", "the car is parked elsewhere", "the car moved"],
    ["It moved. The cube, too; see?", "It moved; the cube moved, too."],
    ['a "new" sign hangs there', "there's a 'new' sign"],
    ["\u201cred\u201d cube\u2019s side \u2014 gone\u2026", "the red cube's side is gone"],
    ["\u2018single\u2019 quotes and \u201edouble\u201c ones", "single quotes and double ones"],
    ["it doesn't move, the man's car can't", "it does not move and the man's car cannot"],
    ["they're here, we'll go, I'd stay, she's left", "they are here and she has left"],
    ["the cars' lights aren't on", "the lights of the cars are not on"],
    ["a left-hand (metal) cube", "the left-hand metal cube"],
    ["cube [blue] turned {green}", "the blue cube turned green"],
    ["the cube (it was red", "a cube was red)"],
    ["mr. smith left the u.s. car", "mr. smith has left his car in the u.s."],
    ["a st. bernard vs. a dr. in a lab", "a dog and a doctor"],
    ["3,000 cars moved 3.5 m", "3,000 cars moved by 3.5 m", "many cars moved"],
    ["5 people at 10:30 p.m.", "there are 5 people", "five persons at half past ten"],
    ["1/2 of the 2x4 is gone", "half of the 2x4 is gone"],
    ["50% more cars & trucks", "50 % more cars and trucks"],
    ["$5 or 5$ for #3 @ the door", "five dollars at the door"],
    ["really?! yes!!", "really yes", "yes, really?"],
    ["what?? no way!!!", "no way"],
    ["a <unk> cube", "a yellow cube", "an <unk> cube"],
    ["<unk> <unk> moved", "two <unk> moved"],
    ["caf\u00e9 na\u00efve \u00fcber", "the caf\u00e9 is new", "caf\u00e9 na\u00efve"],
    ["\u00c9COLE is closed", "\u00e9cole is closed"],
    ["\u65e5\u672c \u8a9e", "\u65e5\u672c", "the sign says \u65e5\u672c"],
    ["\u043a\u0443\u0431 moved", "the \u043a\u0443\u0431 moved"],
    ["the cube -- the red one -- moved", "the red cube moved"],
    ["the cube - the red one - moved", "the red cube moved"],
    ["a top-left corner-piece", "a piece in the top left corner", "top-left corner-piece"],
    ["red / green cubes", "red and green cubes"],
    ["red/green cubes", "red/green cubes", "cubes in red and green"],
    ["a_b under_score", "a_b", "under_score words"],
    ["man walks, woman sits, dog runs.", "a man walks", "the woman sits", "the dog runs"],
    ["more: people; fewer: cars", "more people and fewer cars"],
    ["the  double   blanks stay   harmless", "the double blanks stay harmless"],
    ["\tthe tab moved", "the tab moved"],
    ["no-break\u00a0blank between words", "no-break blank between words"],
    ["gonna wanna cannot gimme", "going to", "it cannot be"],
    ["'tis a cube, 'twas a ball", "it is a cube"],
    ["o'clock and rock 'n' roll", "the clock shows ten o'clock"],
    ["the 1990s' cars and the '80s ones", "cars of the 1990s"],
    ["a cube,a ball,and a cone", "a cube, a ball and a cone"],
    ["end.Start without blank", "the end. Start anew"],
    ["www.example.org moved", "the web page moved"],
    ["write to me@example.org now", "someone writes a mail"],
    ["etc. and so on", "and so on, etc."],
    ["the e.g. sign i.e. this", "a sign, for example this one"],
    ["a.m. and p.m. are swapped", "morning and evening are swapped"],
    ["the person who was standing is no longer standing", "the person is no longer standing", "nobody stands"],
    ["the the the the the", "the cube", "the ball is on the left"],
    ["there is no difference", "there is no difference", "no change was made"],
    ["there is no change", "there is no difference", "nothing was modified", ""],
    [
        "a very long caption about a small shiny cyan cylinder that is behind the large matte brown ball moved away",
        "the small shiny cyan cylinder moved",
    ],
    ["cube", "cube", "a cube"],
    ["gone", "the cube is gone"],
    ["to the left of the big metallic block", "the thing to the left of the big metallic block became purple"],
    ["the object that is in front of the ball turned rubber", "the object in front of the ball became matte"],
    ["the gray cylinder changed to brown", "the gray cylinder turned brown", "the gray cylinder became brown"],
    ["Colour, centre and grey", "color, center and gray"],
]
PREDICTIONS = {f"pair {index}": item[0] for index, item in enumerate(ITEMS)}
REFERENCES = {f"pair {index}": item[1:] for index, item in enumerate(ITEMS)}
