# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The tokenizer that a training run makes of its captions, in scripts with blanks and without."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from ssgpa.training.word_tokenizer import build_word_tokenizer, unknown_words


PROMPT = "before: <image> after: <image> change:"
WORDS = {
    "zh": [
        "红色",
        "蓝色",
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
    "ja": ["赤い", "青い", "小さな", "立方体", "が", "球", "動き", "ました", "消え", "変化", "は", "ありません"],
    "th": ["ลูกบาศก์", "สีแดง", "สีน้ำเงิน", "เล็ก", "ทรงกลม", "หายไป", "เคลื่อนที่", "แล้ว", "การเปลี่ยนแปลง"],
    "km": ["គូប", "ពណ៌", "ក្រហម", "បាន", "ផ្លាស់ទី", "បាត់"],
}


def sentences(language, count, seed):
    generator = np.random.default_rng(seed)
    return ["".join(generator.choice(WORDS[language], size=generator.integers(4, 9))) for _ in range(count)]


@pytest.mark.parametrize("language", WORDS)
def test_captions_without_blanks_become_pieces_and_come_back(language, tmp_path):
    tokenizer = build_word_tokenizer(sentences(language, 200, 0), PROMPT)
    fresh = sentences(language, 50, 1)
    rows = tokenizer(fresh, add_special_tokens=False)["input_ids"]
    assert not unknown_words(tokenizer, fresh)
    assert tokenizer.batch_decode(rows, skip_special_tokens=True) == fresh
    # Several tokens a caption, and fewer than characters.
    assert all(len(text) / 4 <= len(row) < len(text) for text, row in zip(fresh, rows, strict=True))
    assert max(len(token.removeprefix("##")) for token in tokenizer.get_vocab() if token.startswith("##")) <= 4
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(fresh)["input_ids"] == rows
    assert loaded.batch_decode(rows, skip_special_tokens=True) == fresh
    assert loaded.convert_tokens_to_ids("<image>") == loaded.image_token_id != loaded.unk_token_id


def test_one_sentence_that_is_repeated_is_no_single_token():
    """A set in which half of the pairs did not change says so in one sentence, thousands of times."""
    tokenizer = build_word_tokenizer(["场景没有变化"] * 500 + ["红色的立方体消失了"] * 500, PROMPT)
    assert [len(row) for row in tokenizer(["场景没有变化", "红色的立方体消失了"])["input_ids"]] == [2, 4]
    # Special tokens, the words of the prompt, the pieces, and each of 15 characters at a start and within.
    assert len(tokenizer) == 5 + 4 + 6 + 2 * 15
    # Characters that never stood together are told apart.
    assert tokenizer.decode(tokenizer("红化场了的没")["input_ids"]) == "红化场了的没"


def test_words_of_other_scripts_among_them_stay_whole():
    captions = ["红色的cube移动了 3.5 米\uff0c没有 Ball。", "红色的ball消失了"] * 3
    tokenizer = build_word_tokenizer(captions, PROMPT)
    tokens = tokenizer.tokenize("没有CUBE移动\uff0c ball。")
    assert {"cube", "ball"} <= set(tokens)
    assert tokenizer.decode(tokenizer("没有CUBE移动\uff0c红色。 3.5 米")["input_ids"]) == (
        "没有 cube 移动\uff0c红色。 3 . 5 米"
    )
    assert tokenizer("zebra")["input_ids"] == [tokenizer.unk_token_id]
    assert tokenizer("before : <image>", add_special_tokens=False)["input_ids"][-1] == tokenizer.image_token_id
    assert unknown_words(tokenizer, ["绿色的zebra", "没有"]) == {"绿色的": 1, "zebra": 1}


def test_one_foreign_word_leaves_the_others_as_they_were():
    captions = ["the red cube moved .", "nothing has changed", "it's a don't-know"]
    plain, mixed = build_word_tokenizer(captions, PROMPT), build_word_tokenizer([*captions, "红"], PROMPT)
    assert plain.tokenize(" ".join(captions)) == mixed.tokenize(" ".join(captions))
    assert set(mixed.get_vocab()) - set(plain.get_vocab()) == {"红", "##红"}


def test_the_order_of_captions_does_not_matter():
    captions = sentences("zh", 300, 0)
    vocabularies = [build_word_tokenizer(texts, PROMPT).get_vocab() for texts in (captions, captions[::-1], captions)]
    assert vocabularies[0] == vocabularies[1] == vocabularies[2]


def test_invisible_signs_between_words_are_no_tokens():
    tokenizer = build_word_tokenizer(["ក\u200bខ\u200bគ", "កខ"], PROMPT)
    assert not [token for token in tokenizer.get_vocab() if "\u200b" in token]
    assert tokenizer("ក\u200bខ")["input_ids"] == tokenizer("កខ")["input_ids"]


def test_a_run_of_twenty_thousand_characters_is_told_and_quick():
    tokenizer = build_word_tokenizer(["红色的立方体" * 4000, "红色"], PROMPT)
    assert list(unknown_words(tokenizer, ["红色的立方体" * 4000, "红色"]).values()) == [1]


def test_thai_letters_with_marks_are_not_taken_apart_from_their_words():
    tokenizer = build_word_tokenizer(["น้ำเงิน สีแดง", "น้ำ"], PROMPT)
    assert tokenizer.decode(tokenizer("น้ำเงิน สีแดง")["input_ids"]) == "น้ำเงิน สีแดง"
