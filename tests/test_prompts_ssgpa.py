# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The default chat template asks what the default prompt asks."""

import pytest
import torch

from ssgpa import SSGPAProcessor

from .processing_cases import LAYOUTS, build, pairs


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("blocks", ["two", "one"])
def test_a_chat_with_two_images_asks_the_default_prompt(layout, blocks):
    processor = build("<s> $A", pair_layout=layout)
    before, after = pairs(1)[0]
    content = [{"type": "image", "image": before}, {"type": "image", "image": after}]
    content = content if blocks == "two" else [{"type": "image", "image": [before, after]}]
    chat = [{"role": "user", "content": content}]
    found = processor.apply_chat_template(chat, tokenize=True, return_dict=True, return_tensors="pt")
    expected = processor(images=[before, after], return_tensors="pt")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value)


def test_chats_keep_the_order_of_their_blocks():
    processor = build()
    before, after = pairs(1)[0]
    content = [
        {"type": "text", "text": "the scene before :"},
        {"type": "image", "image": before},
        {"type": "text", "text": "after :"},
        {"type": "image", "image": after},
    ]
    chat = [{"role": "user", "content": content}]
    assert processor.apply_chat_template(chat) == "the scene before : <image> after : <image>"
    answered = [*chat, {"role": "assistant", "content": "no change"}]
    assert processor.apply_chat_template(answered) == "the scene before : <image> after : <image> no change</s>"
    batch = processor.apply_chat_template([chat, chat], tokenize=True, return_dict=True, return_tensors="pt")
    assert batch["pixel_values"].shape == (2, 2, 3, 32, 32)
    masks = processor.apply_chat_template(
        answered, tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    ids = masks["input_ids"][masks["assistant_masks"].bool()]
    assert processor.tokenizer.decode(ids) == "no change </s>"


def test_a_template_of_one_s_own_is_kept():
    assert build(chat_template="mine").chat_template == "mine"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prompt", ["the scene {0} :", 'now "{0}" \\ what ?'])
def test_a_prompt_given_when_loading_is_asked_in_chats_too(layout, prompt, tmp_path):
    placeholder = "<image> <image>" if layout == "pair" else "<image>"
    build("<s> $A", pair_layout=layout).save_pretrained(tmp_path)
    loaded = SSGPAProcessor.from_pretrained(tmp_path, prompt=prompt.format(placeholder))
    before, after = pairs(1)[0]
    chat = [{"role": "user", "content": [{"type": "image", "image": before}, {"type": "image", "image": after}]}]
    assert loaded.apply_chat_template(chat) == loaded.prompt == prompt.format(placeholder)
    loaded.save_pretrained(tmp_path / "again")
    assert SSGPAProcessor.from_pretrained(tmp_path / "again").chat_template == loaded.chat_template


def test_layout_and_prompt_given_when_loading_reach_the_template(tmp_path):
    build().save_pretrained(tmp_path)
    loaded = SSGPAProcessor.from_pretrained(tmp_path, pair_layout="vertical", prompt="<image> what ?")
    assert loaded.chat_template == build(pair_layout="vertical", prompt="<image> what ?").chat_template


def test_a_template_of_one_s_own_is_kept_beside_another_prompt(tmp_path):
    build(chat_template="mine: {{ messages }}").save_pretrained(tmp_path)
    loaded = SSGPAProcessor.from_pretrained(tmp_path, prompt="<image> <image> :")
    assert loaded.chat_template == "mine: {{ messages }}"
