# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Drawing answers until the count is met, and the answers of a tiny chat model."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ssgpa.data.syned import ParaphraseSettings, SynedSettings
from ssgpa.data.syned.paraphrasing import draw_answer, load_chat, messages, paraphrase


def scripted(*answers):
    """A draw that gives the answers in turn, by seed."""
    return lambda seed: answers[seed]


PART = ParaphraseSettings(count=4, attempts=3)


def test_one_full_answer_is_enough_and_what_is_over_is_left_out():
    answer = ("Sure:\n1. Paint it\n2. Colour it\n3. Redden it\n4. Tint it\n5. Dye it", True)
    record = paraphrase(scripted(answer), "Make it red", PART, [0, 1, 2])
    assert record["paraphrases"] == ["Paint it", "Colour it", "Redden it", "Tint it"]
    assert (record["missing"], record["seeds"], record["dropped"]) == (0, [0], {"chat": 1})


def test_answers_add_up_without_repetitions():
    answers = [
        ("I'm sorry, I can't.", True),
        ('1. "Paint it"\n2. make it RED\n3. Colour', False),
        ("paint it.\nColour it\nRedden it\nTint it", True),
    ]
    record = paraphrase(scripted(*answers), "Make it red", PART, [0, 1, 2])
    assert record["paraphrases"] == ["Paint it", "Colour it", "Redden it", "Tint it"]
    assert record["dropped"] == {"cut off": 1, "refusal": 1, "repeated": 1, "same as the instruction": 1}
    assert record["seeds"] == [0, 1, 2]


def test_what_is_missing_after_all_attempts_is_told():
    record = paraphrase(scripted(*[("Paint it\nColour it", True)] * 3), "Make it red", PART, [0, 1, 2])
    assert (record["paraphrases"], record["missing"]) == (["Paint it", "Colour it"], 2)
    assert record["dropped"] == {"repeated": 4}


def test_the_prompt_names_count_and_instruction():
    system, user = messages("Make it red", 4)
    assert (system["role"], user["role"]) == ("system", "user")
    assert user["content"].startswith("Write 4 different variations")
    assert user["content"].endswith(": Make it red")


@pytest.fixture
def settings_for():
    def make(path, **values):
        return SynedSettings(seed=0, image_splits=(), paraphrase=ParaphraseSettings(model=str(path), **values))

    return make


def test_answers_are_those_of_plain_sampling(chat_dir, settings_for):
    settings = settings_for(chat_dir, max_new_tokens=20, temperature=0.9)
    chat, facts = load_chat(settings)
    state = torch.get_rng_state()
    answer, ended = draw_answer(chat, "make it red", 11, settings.paraphrase)
    assert torch.equal(torch.get_rng_state(), state)

    model, tokenizer = AutoModelForCausalLM.from_pretrained(chat_dir), AutoTokenizer.from_pretrained(chat_dir)
    system, user = messages("make it red", 4)
    prompt = f"system : {system['content']} \n user : {user['content']} \n assistant : "
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    torch.manual_seed(11)
    output = model.generate(ids, do_sample=True, temperature=0.9, top_p=0.9, max_new_tokens=20)[0, ids.shape[1] :]
    assert answer == tokenizer.decode(output, skip_special_tokens=True)
    assert ended == (2 in output)
    assert facts["messages"][1]["content"].endswith("{instruction}")
    drawn = {draw_answer(chat, "make it red", seed, settings.paraphrase) for seed in range(12)}
    assert len(drawn) > 6
    assert {ended for _, ended in drawn} == {True, False}


def without_template(path):
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        if (path / name).is_file() and name.endswith("jinja"):
            (path / name).unlink()
        elif (path / name).is_file():
            content = json.loads((path / name).read_text(encoding="utf-8"))
            content.pop("chat_template", None)
            (path / name).write_text(json.dumps(content), encoding="utf-8")


def without_weight(path):
    weights = load_file(path / "model.safetensors")
    weights.pop("model.norm.weight")
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})


def without_end(path):
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        content = json.loads((path / name).read_text(encoding="utf-8"))
        content |= dict.fromkeys(("eos_token_id", "eos_token"))
        (path / name).write_text(json.dumps(content), encoding="utf-8")


def without_system_messages(path):
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.chat_template = refusal + tokenizer.chat_template
    tokenizer.save_pretrained(path)


BROKEN = {
    without_template: "has no chat template",
    without_system_messages: r"refuses a system message before the user's \(no system role\)",
    without_weight: "do not hold 1 of the model's weights, the first model.norm.weight",
    without_end: "names a token that ends an answer",
    shutil.rmtree: "model ",
}


@pytest.mark.parametrize("damage", BROKEN)
def test_models_that_cannot_be_used(damage, chat_dir, settings_for, tmp_path):
    path = shutil.copytree(chat_dir, tmp_path / "chat")
    damage(path)
    with pytest.raises(ValueError, match=BROKEN[damage]) as caught:
        load_chat(settings_for(path))
    assert str(caught.value).startswith(f"model {path}: ")
