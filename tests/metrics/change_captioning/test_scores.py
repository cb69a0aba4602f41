# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from ssgpa.metrics import score_captions
from ssgpa.metrics.change_captioning.scorer import score_lists
from ssgpa.metrics.corpus import ReferenceCorpus


WORDS = "the a red green cube sphere has moved changed is gone to behind left and no longer there small"
# METEOR and the PTB tokenizer have tests of their own, with Java and without.
PLAIN = {"tokenizer": "nltk", "meteor": False}
METRIC_FOLDER = Path(__file__).parents[3] / "metrics" / "change_captioning"


def random_captions(items, references=5, seed=0):
    """References and predictions by id; a prediction is a new caption, a reference, or the start of one."""
    generator = np.random.default_rng(seed)

    def caption():
        return " ".join(generator.choice(WORDS.split(), size=generator.integers(3, 12)))

    targets = {
        f"pair {index}": [caption() for _ in range(generator.integers(references) + 1)] for index in range(items)
    }
    choices = {name: [caption(), item[0], item[0][:12].strip()] for name, item in targets.items()}
    return targets, {name: texts[generator.integers(3)] for name, texts in choices.items()}


def ngrams(text, order):
    words = text.split()
    return Counter(tuple(words[start : start + order]) for start in range(len(words) - order + 1))


def bleu_by_hand(predictions, references, order):
    """Papineni et al. 2002 over the whole set: clipped precisions, brevity penalty on the closest length."""
    precisions = []
    for size in range(1, order + 1):
        correct = guess = 0
        for text, item in zip(predictions, references, strict=True):
            best = Counter()
            for reference in item:
                best |= ngrams(reference, size)
            correct += (ngrams(text, size) & best).total()
            guess += ngrams(text, size).total()
        precisions.append(correct / guess)
    ours = [len(text.split()) for text in predictions]
    closest = [
        min((len(reference.split()) for reference in item), key=lambda length, own=own: (abs(length - own), length))
        for own, item in zip(ours, references, strict=True)
    ]
    return math.prod(precisions) ** (1 / order) * min(1.0, math.exp(1 - sum(closest) / sum(ours)))


def rouge_by_hand(text, item):
    """Lin 2004, beta 1.2, best precision and best recall taken separately."""

    def common(ours, theirs):
        if not ours or not theirs:
            return 0
        if ours[0] == theirs[0]:
            return 1 + common(ours[1:], theirs[1:])
        return max(common(ours[1:], theirs), common(ours, theirs[1:]))

    lengths = [(common(text.split(), other.split()), len(other.split())) for other in item]
    precision = max(length for length, _ in lengths) / len(text.split())
    recall = max(length / total for length, total in lengths)
    return (1 + 1.44) * precision * recall / (recall + 1.44 * precision) if precision else 0.0


def cider_by_hand(predictions, references):
    """CIDEr-D of Vedantam et al. 2015: clipped, sigma 6 on the difference of bigram counts, times 10."""
    scores = []
    for text, item in zip(predictions, references, strict=True):
        total = 0.0
        for size in range(1, 5):

            def weights(caption, size=size):
                return {
                    ngram: count * (math.log(len(references)) - math.log(max(1, frequency(ngram, references))))
                    for ngram, count in ngrams(caption, size).items()
                }

            ours = weights(text)
            for reference in item:
                theirs = weights(reference)
                dot = sum(min(ours[ngram], theirs[ngram]) * theirs[ngram] for ngram in ours.keys() & theirs.keys())
                norm = math.hypot(*ours.values()) * math.hypot(*theirs.values())
                delta = ngrams(text, 2).total() - ngrams(reference, 2).total()
                total += (dot / norm if norm else 0.0) * math.exp(-(delta**2) / 72) / len(item)
        scores.append(10 * total / 4)
    return sum(scores) / len(scores)


def frequency(ngram, references):
    return sum(any(ngram in ngrams(caption, len(ngram)) for caption in item) for item in references)


def test_equal_to_pycocoevalcap_on_tokenized_text():
    references, predictions = random_captions(80)
    results = {name: [text] for name, text in predictions.items()}
    bleu = Bleu(4).compute_score(references, results, verbose=0)[0]
    scores = score_captions(references, predictions, tokenize=False, meteor=False)
    assert [scores[f"bleu_{order}"] for order in range(1, 5)] == pytest.approx(bleu, abs=1e-9)
    assert scores["rouge_l"] == pytest.approx(Rouge().compute_score(references, results)[0], abs=1e-9)
    assert scores["cider"] == pytest.approx(Cider().compute_score(references, results)[0], abs=1e-9)
    assert scores["n_items"] == 80
    assert scores["n_references"] == sum(len(item) for item in references.values())
    assert scores["tokenizer"] == "none"
    assert scores["meteor"] is None
    assert scores["meteor_reason"] == "METEOR was not asked for."


def test_equal_to_the_formulas():
    references = [
        ["the red cube is gone", "the red cube has disappeared"],
        ["a small sphere moved to the left", "the sphere moved", "the sphere has a new place"],
        ["there is no change at all"],
    ]
    predictions = ["the red cube is missing now", "the small sphere moved left", "there is no change"]
    scores = score_lists(predictions, references, tokenize=False, meteor=False)
    for order in (1, 2, 3):
        assert scores[f"bleu_{order}"] == pytest.approx(bleu_by_hand(predictions, references, order), abs=1e-9)
    by_hand = [rouge_by_hand(text, item) for text, item in zip(predictions, references, strict=True)]
    assert scores["rouge_l"] == pytest.approx(sum(by_hand) / 3, abs=1e-9)
    assert scores["cider"] == pytest.approx(cider_by_hand(predictions, references), abs=1e-9)


def test_tokenized_form_is_what_counts():
    references = {"a": ["The red cube is gone.", "the cube vanished"], "b": ["A sphere moved, to the left!"]}
    raw = score_captions(references, {"a": "THE RED CUBE IS GONE", "b": "a sphere moved to the left .</s>"}, **PLAIN)
    plain = {"a": ["the red cube is gone", "the cube vanished"], "b": ["a sphere moved to the left"]}
    clean = score_captions(
        plain, {"a": "the red cube is gone", "b": "a sphere moved to the left"}, tokenize=False, meteor=False
    )
    assert raw["special_tokens"] == 1
    assert raw["tokenizer"] == "nltk"
    for key in ("bleu_4", "rouge_l", "cider"):
        assert raw[key] == clean[key]
    assert raw["cider"] > 1


def test_a_line_break_shifts_nothing():
    references, predictions = random_captions(20)
    broken = {name: text.replace(" ", "\u2028", 1) for name, text in predictions.items()}
    assert score_captions(references, broken, **PLAIN) == score_captions(references, predictions, **PLAIN)


@pytest.mark.parametrize("empty", ["", "  \n", "...", "<pad></s>"])
def test_empty_predictions_score_zero_and_are_counted(empty):
    scores = score_lists([empty, "the cube moved"], [["", "a red cube"], ["the cube moved", "nothing"]], **PLAIN)
    assert scores["empty_predictions"] == 1
    assert scores["empty_references"] == 1
    assert scores["rouge_l"] == pytest.approx(0.5)
    alone = score_lists([empty], [["the red cube is gone", ""]], **PLAIN)
    assert [alone[key] for key in ("rouge_l", "cider")] == [0.0, 0.0]
    assert alone["bleu_1"] < 1e-6


def test_single_item_and_wordless_references():
    one = score_lists(["the red cube is gone"], [["the red cube is gone"]], **PLAIN)
    assert one["cider"] == 0.0
    assert one["bleu_4"] == pytest.approx(1.0)
    assert one["rouge_l"] == pytest.approx(1.0)
    assert score_lists(["red cube", ""], [["", "."], [""]], **PLAIN)["cider"] == 0.0


def test_prints_nothing(capfd):
    score_captions(*random_captions(10), **PLAIN)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        (["a", "b"], [["a"], []], "index 1"),
        (["a"], [["a"], ["b"]], "1 predictions.*2 items"),
        ([], [], "nothing to score"),
        (["a"], ["a caption"], "not a list of strings"),
        ([None], [["a"]], "not a string"),
    ],
)
def test_bad_lists_are_named(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        score_lists(predictions, references)


@pytest.mark.parametrize(
    ("references", "predictions", "message"),
    [
        ({"a": ["x"], "b": ["y"]}, {"a": "x"}, "missing for 1 of 2 pairs: 'b'"),
        ({"a": ["x"]}, {"a": "x", "zz": "y"}, "1 unknown pairs: 'zz'"),
        ({"a": ["x"]}, [("a", "x"), ("a", "y")], "predictions hold ids twice: 'a'"),
        ([("a", ["x"]), ("a", ["y"])], {"a": "x"}, "references hold ids twice: 'a'"),
        ({"a": ["x"], "b": []}, {"a": "x", "b": "y"}, "pair 'b' is empty"),
    ],
)
def test_bad_ids_are_named(references, predictions, message):
    with pytest.raises(ValueError, match=message):
        score_captions(references, predictions, **PLAIN)


def test_order_of_ids_does_not_matter():
    references, predictions = random_captions(30)
    turned = dict(reversed(predictions.items()))
    assert score_captions(references, turned, **PLAIN) == score_captions(references, predictions, **PLAIN)


@pytest.mark.parametrize("kind", ["own", "constant", "empty"])
def test_reference_corpus_equals_pycocoevalcap(kind):
    references, predictions = random_captions(60, seed=1)
    references["pair 3"] = ["", "the cube moved"]
    hypotheses = {
        "own": list(predictions.values()),
        "constant": ["the red cube has moved unseen"] * 60,
        "empty": ["", *list(predictions.values())[1:]],
    }[kind]
    found = ReferenceCorpus(list(references.values())).score(hypotheses)
    expected = score_lists(hypotheses, list(references.values()), **PLAIN)
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-9)
    assert {"bleu_4", "rouge_l", "cider", "n_items", "empty_predictions"} <= found.keys()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_best_constant_is_the_best_of_all(seed):
    references, predictions = random_captions(40, seed=seed)
    corpus = ReferenceCorpus(list(references.values()))
    # Words said twice are what CIDEr-D clips, so that the bound and the score differ.
    captions = [*predictions.values(), *(f"{text} {text}" for text in predictions.values()), ""]
    best, score = corpus.best_constant(captions)
    scores = {text: corpus.score([text] * 40)["cider"] for text in captions}
    assert scores[best] == pytest.approx(max(scores.values()), abs=1e-12)
    assert score == pytest.approx(scores[best], abs=1e-9)
    assert corpus.best_constant([""]) is None


@pytest.mark.slow
def test_speed():
    references, predictions = random_captions(2000, references=11)
    score_captions({"a": ["b"]}, {"a": "b"}, **PLAIN)
    start = time.process_time()
    score_captions(references, predictions, **PLAIN)
    assert time.process_time() - start < 5


def test_evaluate_module_loads_offline_and_without_the_package(tmp_path):
    references, predictions = random_captions(25)
    code = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name == "ssgpa" or name.startswith("ssgpa."):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
import json
import evaluate
metric = evaluate.load({str(METRIC_FOLDER)!r})
predictions, references = json.loads({json.dumps([list(predictions.values()), list(references.values())])!r})
whole = metric.compute(predictions=predictions, references=references, tokenizer="nltk", meteor=False)
for start in (0, 10, 20):
    metric.add_batch(predictions=predictions[start:start + 10], references=references[start:start + 10])
assert metric.compute(tokenizer="nltk", meteor=False) == whole
assert "ssgpa" not in sys.modules
print(json.dumps(whole))
"""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "HF_MODULES_CACHE": str(tmp_path / "modules")}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **offline},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == score_captions(references, predictions, **PLAIN)
