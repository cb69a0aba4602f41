# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions in scripts without blanks, against sacrebleu and against pycocoevalcap on characters."""

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from ssgpa.metrics import score_captions
from ssgpa.metrics.bootstrap import compare_systems
from ssgpa.metrics.change_captioning.scorer import CaptionScorer, default_scorer
from ssgpa.metrics.change_captioning.scripts import base_language, guess_language, unspaced_share
from ssgpa.metrics.change_captioning.text import clean_caption, tokenize_characters
from ssgpa.metrics.report.build import build_report
from ssgpa.metrics.report.gallery import describe_pairs


# One caption of each language: the red cube has moved.
SENTENCES = {
    "zh": "红色的立方体移动了",
    "ja": "赤い立方体が動きました",
    "th": "ลูกบาศก์สีแดงเคลื่อนที่แล้ว",
    "lo": "ກ້ອນສີແດງໄດ້ຍ້າຍ",
    "km": "គូបពណ៌ក្រហមបានផ្លាស់ទី",
    "my": "အနီရောင်တုံးရွေ့သွားပြီ",
}
WORDS = {
    "zh": [
        "红色",
        "蓝色",
        "绿色",
        "的",
        "小",
        "大",
        "立方体",
        "球",
        "圆柱",
        "移动",
        "了",
        "消失",
        "没有",
        "变化",
        "在",
        "左边",
    ],
    "ja": [
        "赤い",
        "青い",
        "小さな",
        "立方体",
        "が",
        "球",
        "円柱",
        "動き",
        "ました",
        "消え",
        "変化",
        "は",
        "ありません",
        "カメラ",
    ],
    "th": ["ลูกบาศก์", "สีแดง", "สีน้ำเงิน", "เล็ก", "ใหญ่", "ทรงกลม", "หายไป", "เคลื่อนที่", "แล้ว", "ไม่มี", "การเปลี่ยนแปลง"],
}
PLAIN = {"meteor": False}


def captions(language, count, seed, extra=()):
    """Random sentences without blanks, with some words of `extra` between blanks."""
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        words = generator.choice(WORDS[language], size=generator.integers(4, 9)).tolist()
        if extra:
            words.insert(generator.integers(1, len(words)), f" {generator.choice(extra)} ")
        found.append("".join(words))
    return found


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("told", [True, False])
def test_a_caption_equal_to_its_reference_scores_one(language, told):
    text = SENTENCES[language]
    scores = score_captions({"a": [text]}, {"a": f"{text}。"}, language=language if told else None)
    assert scores["bleu_4"] == pytest.approx(1)
    assert scores["rouge_l"] == pytest.approx(1)
    assert (scores["tokenizer"], scores["language"], scores["meteor"]) == ("char", language, None)
    assert f"the language is '{language}'" in scores["meteor_reason"]


@pytest.mark.parametrize("extra", [(), ("cube", "3.5", "12", "led")])
def test_chinese_as_sacrebleu(extra):
    sacrebleu = pytest.importorskip("sacrebleu")
    from sacrebleu.tokenizers.tokenizer_zh import TokenizerZh

    first, second, said = (captions("zh", 60, seed, extra) for seed in range(3))
    # Some are partly right, so that there are 4-grams.
    said = [text if index % 2 else first[index][:9] + text for index, text in enumerate(said)]
    theirs = TokenizerZh()
    for text in [*first, *second, *said]:
        assert tokenize_characters(clean_caption(text)[0]) == theirs(text)
    expected = sacrebleu.corpus_bleu(said, [first, second], tokenize="zh", smooth_method="none").score / 100
    references = {index: list(item) for index, item in enumerate(zip(first, second, strict=True))}
    scores = score_captions(references, dict(enumerate(said)), language="zh", **PLAIN)
    assert expected > 0.1
    assert scores["bleu_4"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("language", ["zh", "ja", "th"])
def test_characters_as_sacrebleu_and_pycocoevalcap(language):
    sacrebleu = pytest.importorskip("sacrebleu")
    first, second, said = (captions(language, 60, seed) for seed in range(3))
    said = [text if index % 2 else first[index][:9] + text for index, text in enumerate(said)]
    expected = sacrebleu.corpus_bleu(said, [first, second], tokenize="char", smooth_method="none").score / 100
    references = {index: list(item) for index, item in enumerate(zip(first, second, strict=True))}
    scores = score_captions(references, dict(enumerate(said)), **PLAIN)
    assert expected > 0.05
    assert scores["bleu_4"] == pytest.approx(expected, abs=1e-9)
    truths = {index: [" ".join(text) for text in item] for index, item in references.items()}
    results = {index: [" ".join(text)] for index, text in enumerate(said)}
    assert scores["cider"] == pytest.approx(Cider().compute_score(truths, results)[0], abs=1e-9)
    assert scores["rouge_l"] == pytest.approx(Rouge().compute_score(truths, results)[0], abs=1e-9)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("红色的立方体\uff0c移动了。", "红 色 的 立 方 体 移 动 了"),
        ("「赤い」立方体が、\uff21\uff14の横へ\uff01", "赤 い 立 方 体 が a4 の 横 へ"),
        ("移动了the RED cube.", "移 动 了 the red cube"),
        ("共\uff13\uff10个\uff08cubes\uff09", "共 30 个 cubes"),
        ("スーパー・カー", "ス ー パ ー カ ー"),
        ("", ""),
        ("。\uff01\uff1f", ""),
        ("the cube is gone.", "the cube is gone"),
    ],
)
def test_golden_strings(text, tokens):
    assert tokenize_characters(clean_caption(text)[0]) == tokens


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["红色的立方体", "the cube"], "zh"),
        (["赤い立方体が動いた"], "ja"),
        (["立方体"], "zh"),
        (["สีแดง"], "th"),
        (["the red cube is gone", "le caf\u00e9"], None),
        (["빨간 큐브"], None),
        (["the red cube \u7ea2 is gone from the place where it stood"], None),
        (["123 ..."], None),
        ([], None),
    ],
)
def test_languages_are_guessed_by_their_script(texts, language):
    assert guess_language(texts) == language
    assert unspaced_share(["ab\u7ea2\u8272"]) == 0.5


def test_a_language_is_a_code():
    assert [base_language(tag) for tag in (None, "zh-Hans", "pt_BR", "EN")] == [None, "zh", "pt", "en"]
    for wrong in ("chinese", "", "z", "zh Hans", 3):
        with pytest.raises(ValueError, match="language must be a code"):
            score_captions({"a": ["x"]}, {"a": "x"}, language=wrong)
    with pytest.raises(ValueError, match="SPICE supports English only; the language is 'zh'"):
        CaptionScorer(language="zh", spice=True)


@pytest.mark.parametrize("options", [{"tokenizer": "nltk"}, {"language": "en"}, {"language": "fr"}])
def test_a_script_that_does_not_fit_the_tokenizer_is_told(options):
    with pytest.warns(UserWarning, match=r"100% of the letters .*Pass language='zh'"):
        scores = score_captions({"a": [SENTENCES["zh"]]}, {"a": SENTENCES["zh"]}, **options, **PLAIN)
    assert scores["bleu_4"] < 1e-3
    with pytest.warns(UserWarning, match=r"Only 0% of the letters .*the language is 'th'"):
        score_captions({"a": ["the cube"]}, {"a": "the cube"}, language="th", **PLAIN)


@pytest.mark.filterwarnings("error::UserWarning")
def test_other_languages_and_words_that_were_segmented_pass_without_a_word():
    score_captions({"a": ["el cubo rojo", "빨간 큐브"]}, {"a": "el cubo"}, language="es", **PLAIN)
    scores = score_captions({"a": ["红色 的 立方体 移动 了"]}, {"a": "红色 的 球 移动 了"}, tokenizer="none", **PLAIN)
    assert scores["bleu_1"] == pytest.approx(4 / 5)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("language", ["zh", "ja", "th"])
def test_reports_comparisons_and_cards_count_characters(language):
    texts = captions(language, 12, 5)
    rows = [
        {"pair_id": str(index), "captions": [text], "change_type": "none" if index % 2 else "move"}
        for index, text in enumerate(texts)
    ]
    said = dict(zip(map(str, range(12)), texts, strict=True))
    report = build_report(rows, said, rows)
    assert report["scores"]["total"]["bleu_4"] == pytest.approx(1)
    assert (report["tokenizer"], report["language"]) == ("char", language)
    assert report["no_change_rate"] == {"changed": 0, "unchanged": 1}
    compared = compare_systems(rows, said, dict.fromkeys(said, "x"), draws=5)
    assert compared["total"]["bleu_4"]["ours"] == pytest.approx(1)
    cards = describe_pairs(rows, said)
    assert [len(card["words"]) for card in cards] == list(map(len, texts))
    assert all(card["rouge_l"] == 1 for card in cards)
    assert default_scorer([], language).tokenizer == "char"
