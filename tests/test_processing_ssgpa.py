# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The processor: pairs, prompts, labels, captions and files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import AddedToken
from transformers import AutoProcessor

from ssgpa import SSGPAProcessor

from .processing_cases import CAPTIONS, LAYOUTS, build, images, pairs, words
from .tiny_systems import TINY_SYSTEMS, tiny_image_processor, tiny_tokenizer


def test_a_lone_pair_a_list_of_pairs_and_a_flat_list_are_the_same():
    processor, batch = build(), pairs(2)
    nested = processor(images=batch, return_tensors="pt")
    flat = processor(images=[image for pair in batch for image in pair], return_tensors="pt")
    assert nested["pixel_values"].shape == (2, 2, 3, 32, 32)
    for key, value in nested.items():
        assert torch.equal(value, flat[key])
        alone = processor(images=batch[1], return_tensors="pt")[key]
        assert torch.equal(alone, value[1:])


def test_pixels_are_those_of_the_image_processor():
    processor, batch = build(), pairs(2)
    expected = processor.image_processor([image for pair in batch for image in pair], return_tensors="pt")
    found = processor(images=batch, return_tensors="pt")["pixel_values"]
    assert torch.equal(found.flatten(0, 1), expected["pixel_values"])


def test_sizes_may_differ_within_a_pair_and_between_pairs():
    batch = [[images(1, (20, 30))[0], images(1, (64, 9))[0]], pairs(1)[0]]
    assert build()(images=batch, return_tensors="pt")["pixel_values"].shape == (2, 2, 3, 32, 32)
    for layout in ("vertical", "horizontal"):
        found = build(pair_layout=layout)(images=batch, return_tensors="pt")
        assert found["pixel_values"].shape == (2, 3, 32, 32)


@pytest.mark.parametrize("step", ["image processor", "processor"])
def test_images_resized_once_and_normalized_later_give_the_same_pixels(step):
    processor, batch = build(), pairs(3)
    direct = processor(images=batch, return_tensors="pt")["pixel_values"]
    kept = processor(images=batch, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
    assert kept.dtype == np.uint8
    if step == "processor":
        later = processor(images=kept, do_resize=False, return_tensors="pt")["pixel_values"]
    else:
        flat = kept.reshape(-1, *kept.shape[2:])
        later = processor.image_processor(flat, do_resize=False, return_tensors="pt")["pixel_values"]
        later = later.unflatten(0, (-1, 2))
    assert torch.equal(later, direct)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_decide_shapes_and_placeholders(layout):
    processor = build(pair_layout=layout)
    batch = pairs(2)
    inputs = processor(images=batch, return_tensors="pt")
    images = 2 if layout == "pair" else 1
    assert (inputs["input_ids"] == processor.image_token_id).sum(1).tolist() == [5 * images] * 2
    assert processor.prompt.count("<image>") == images
    if layout != "pair":
        axis = 0 if layout == "vertical" else 1
        joined = [Image.fromarray(np.concatenate([np.asarray(p) for p in pair], axis)) for pair in batch]
        expected = processor.image_processor(joined, return_tensors="pt")["pixel_values"]
        assert torch.equal(inputs["pixel_values"], expected)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_prompts_must_agree_with_the_layout(layout):
    right, wrong = ("<image> <image>", "<image> :") if layout == "pair" else ("<image> :", "<image> <image>")
    assert build(pair_layout=layout, prompt=right).prompt == right
    with pytest.raises(ValueError, match=rf"`prompt` '{wrong}' must hold <image> .* `pair_layout='{layout}'`"):
        build(pair_layout=layout, prompt=wrong)


def test_texts_with_half_a_pair_are_named():
    batch = pairs(2)
    texts = ["<image> <image> <image> change", "<image> change"]
    with pytest.raises(ValueError, match=r"Text 0 holds 3 <image>; .* a pair takes 2"):
        build()(images=batch, text=texts)
    with pytest.raises(ValueError, match="number of images"):
        build()(images=batch, text=["<image> <image>"] * 3)
    with pytest.raises(ValueError, match="number of images"):
        build()(images=batch, text=["change"] * 2)
    with pytest.raises(ValueError, match="no images were passed"):
        build()(text="<image> <image>")


def test_unknown_layouts_and_placeholders_are_refused():
    with pytest.raises(ValueError, match=r"pair, vertical, horizontal; got 'diagonal'"):
        build(pair_layout="diagonal")
    unknown = {"image_token": "<photo>"}
    with pytest.raises(ValueError, match="does not know <photo>; load it with"):
        build(**unknown)


def test_without_a_placeholder_images_take_no_place_in_the_text():
    tokenizer = tiny_tokenizer()
    tokenizer.image_token = None
    processor = SSGPAProcessor(tiny_image_processor(), tokenizer, prompt="change :")
    train = processor(images=pairs(2), suffix=CAPTIONS[:2], return_tensors="pt")
    assert train["pixel_values"].shape == (2, 2, 3, 32, 32)
    assert words(processor, train["labels"][0]) == "the red cube is gone </s>"
    assert processor.prompt_ids() == tokenizer("change :")["input_ids"]


@pytest.mark.parametrize("count", [1, 3])
def test_one_or_three_images_are_refused_naming_the_pair(count):
    with pytest.raises(ValueError, match=rf"Pair 1 has {count} image\(s\)"):
        build()(images=[pairs(1)[0], images(count)])


def test_bad_images_are_named_by_file_or_pair(tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("no image", encoding="utf-8")
    with pytest.raises(ValueError, match=r"notes\.png: not an image"):
        build()(images=[pairs(1)[0], [images(1)[0], text]])
    with pytest.raises(ValueError, match="pair 1, after: an image of 1x1"):
        build()(images=[pairs(1)[0], [images(1)[0], Image.new("RGB", (1, 1))]])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("options", [{}, {"pad_to_multiple_of": 16}, {"padding": "max_length", "max_length": 48}])
@pytest.mark.parametrize("special", ["", "<s> $A", "<s> $A </s>"])
def test_labels_are_caption_and_end_token_only(side, options, special):
    processor = build(special, side)
    batch = processor(images=pairs(3), suffix=CAPTIONS, return_tensors="pt", **options)
    prompt = processor.prompt_ids()
    for ids, mask, labels, caption in zip(
        batch["input_ids"], batch["attention_mask"], batch["labels"], CAPTIONS, strict=True
    ):
        target = [*processor.tokenizer(caption, add_special_tokens=False)["input_ids"], 2]
        assert ids[mask == 1].tolist() == prompt + target
        assert labels[mask == 1].tolist() == [-100] * len(prompt) + target
        assert (labels[mask == 0] == -100).all()
        assert mask.tolist() == sorted(mask.tolist(), reverse=side == "right")
    width = batch["labels"].shape[1]
    assert width == options.get("max_length", width)
    assert width % options.get("pad_to_multiple_of", 1) == 0


def test_the_side_of_one_call_wins():
    batch = build()(images=pairs(2), suffix=CAPTIONS[:2], padding_side="right", return_tensors="pt")
    assert batch["attention_mask"][:, 0].tolist() == [1, 1]
    assert batch["labels"][1, -1] == -100


@pytest.mark.parametrize("special", ["", "<s> $A", "<s> $A </s>", "$A </s>"])
def test_prompts_are_the_same_with_and_without_a_caption(special):
    processor = build(special)
    prompt = processor(images=pairs(1), return_tensors="pt")["input_ids"][0].tolist()
    train = processor(images=pairs(1), suffix=CAPTIONS[0], return_tensors="pt")["input_ids"][0].tolist()
    bare = processor.tokenizer(processor.prompt.replace("<image>", 5 * "<image>"), add_special_tokens=False)[
        "input_ids"
    ]
    assert prompt == train[: len(prompt)] == processor.prompt_ids() == ([1] if "<s>" in special else []) + bare
    assert 2 not in prompt
    assert train.count(2) == 1


def test_texts_alone_keep_the_tokenizer_s_end_token():
    processor = build("<s> $A </s>")
    assert processor(text=CAPTIONS[:1])["input_ids"] == [processor.tokenizer(CAPTIONS[0])["input_ids"]]


@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_cuts_captions_and_keeps_their_end_token(side):
    processor = build("<s> $A", side)
    start = len(processor.prompt_ids())
    limit = start + 4
    batch = processor(images=pairs(3), suffix=CAPTIONS, truncation=True, max_length=limit, return_tensors="pt")
    assert batch["input_ids"].shape == (3, limit)
    found = [words(processor, row) for row in batch["labels"]]
    assert found == ["the red cube </s>", "no change </s>", "the small blue </s>"]
    with pytest.raises(ValueError, match=f"`max_length` {start} leaves no room for a caption"):
        processor(images=pairs(1), suffix=CAPTIONS[0], truncation=True, max_length=start)


def test_rows_that_do_not_fit_are_not_returned_as_lists():
    processor = build()
    with pytest.raises(ValueError, match="padding"):
        processor(images=pairs(2), suffix=CAPTIONS[:2], padding=False, return_tensors="pt")


def test_suffixes_that_cannot_be_learned_are_refused():
    processor = build()
    with pytest.raises(ValueError, match="holds the placeholder <image>"):
        processor(images=pairs(1), suffix="the <image> is gone")
    with pytest.raises(ValueError, match="3 captions for 2 pairs"):
        processor(images=pairs(2), suffix=CAPTIONS)
    processor.tokenizer.eos_token = None
    with pytest.raises(ValueError, match="no `eos_token`"):
        processor(images=pairs(1), suffix=CAPTIONS[0])


@pytest.mark.parametrize("token", ["</s>", "<s>", "<pad>", "<extra>", "<image>"])
def test_a_special_token_in_a_caption_is_no_silent_end(token):
    processor = build()
    # Special to the tokenizer, though none of its named tokens.
    processor.tokenizer.add_tokens([AddedToken("<extra>", special=True)])
    with pytest.raises(ValueError, match=rf"caption 1, 'the red {token}cube' holds .*{token}"):
        processor(images=pairs(2), suffix=["no change", f"the red {token}cube"])
    with pytest.raises(ValueError, match=rf"pair 'x': the caption 'no{token}' holds"):
        processor.caption_ids([f"no{token}"], ["pair 'x'"])


def test_the_unknown_token_in_a_caption_is_text():
    processor = build()
    ids = processor.caption_ids(["the <unk> cube"])[0]
    assert ids == processor.tokenizer("the <unk> cube", add_special_tokens=False, split_special_tokens=True)[
        "input_ids"
    ] + [2]
    assert len(ids) > 4


@pytest.mark.parametrize(("caption", "named"), [(None, "None is not a string"), (3, "3 is"), ("a \ud800 b", "half a")])
def test_a_caption_that_is_no_text_is_named(caption, named):
    with pytest.raises(ValueError, match=rf"caption 1,.*{named}"):
        build()(images=pairs(2), suffix=["no change", caption])


def test_options_may_be_nested_or_flat():
    processor = build()
    flat = processor(images=pairs(2), suffix=CAPTIONS[:2], padding="max_length", max_length=40, return_tensors="pt")
    nested = processor(
        images=pairs(2),
        suffix=CAPTIONS[:2],
        text_kwargs={"padding": "max_length", "max_length": 40},
        common_kwargs={"return_tensors": "pt"},
    )
    assert flat["labels"].shape == (2, 40)
    for key, value in flat.items():
        assert torch.equal(value, nested[key])


@pytest.mark.parametrize("suffix", [None, CAPTIONS[:2]])
def test_modality_ids_mark_the_placeholders(suffix):
    processor = build("<s> $A </s>")
    batch = processor(images=pairs(2), suffix=suffix, return_mm_token_type_ids=True, return_tensors="pt")
    assert torch.equal(batch["mm_token_type_ids"] == 1, batch["input_ids"] == processor.image_token_id)


def test_numbers_of_tokens_without_images():
    found = build()._get_num_multimodal_tokens(image_sizes=[(480, 320), (10, 20)])
    assert found["num_image_tokens"] == [5, 5]


def caption_ids(processor, captions):
    rows = [[*processor.tokenizer(text, add_special_tokens=False)["input_ids"], 2] for text in captions]
    width = max(map(len, rows))
    return torch.tensor([row + [0] * (width - len(row)) for row in rows])


@pytest.mark.parametrize("sequences", [1, 3])
@pytest.mark.parametrize("system", ["decoder-only", "encoder-decoder"])
def test_captions_are_read_with_and_without_the_prompt_in_front(sequences, system):
    processor = build("<s> $A")
    texts = ["before <image> <image>", "the scene before <image> after <image> : what change ?"]
    inputs = processor(images=pairs(2), text=texts, return_tensors="pt")
    expected = [text for text in CAPTIONS[:2] for _ in range(sequences)]
    ids = caption_ids(processor, expected)
    if system == "decoder-only":
        ids = torch.cat([inputs["input_ids"].repeat_interleave(sequences, 0), ids], 1)
    else:
        ids = torch.cat([torch.full((len(ids), 1), 1), ids], 1)
    assert processor.post_process_captions(ids, inputs) == expected
    assert processor.post_process_captions(ids.numpy(), inputs) == expected


def test_captions_are_read_from_padded_predictions_and_mixed_up_batches_refused():
    processor = build()
    ids = caption_ids(processor, CAPTIONS)
    assert processor.post_process_captions(ids.masked_fill(ids == 0, -100)) == CAPTIONS
    inputs = processor(images=pairs(2), return_tensors="pt")
    with pytest.raises(ValueError, match="3 generated rows cannot belong to 2 prompts"):
        processor.post_process_captions(ids, inputs)


TEXTS = ["before <image> <image>", "the scene before <image> after <image> : what change ?"]


@pytest.mark.parametrize("special", ["", "<s> $A"])
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("fill", [0, -100])
@pytest.mark.parametrize("sequences", [1, 2])
def test_a_prompt_that_is_padded_otherwise_is_cut_off_too(special, masked, fill, sequences):
    """As after a gather over processes, or where prompts were padded to a multiple in one of two calls."""
    processor = build(special)
    inputs = processor(images=pairs(2), text=TEXTS, pad_to_multiple_of=32, return_tensors="pt")
    narrow = processor(images=pairs(2), text=TEXTS, return_tensors="pt")["input_ids"]
    assert narrow.shape[1] < inputs["input_ids"].shape[1]
    expected = [text for text in CAPTIONS[:2] for _ in range(sequences)]
    ids = torch.cat([narrow.repeat_interleave(sequences, 0), caption_ids(processor, expected)], 1)
    ids = torch.nn.functional.pad(ids, (3, 2), value=fill)
    given = inputs if masked else {"input_ids": inputs["input_ids"]}
    assert processor.post_process_captions(ids, given) == expected


@pytest.mark.parametrize("pad", ["<s>", "</s>"])
def test_padding_may_be_the_token_that_starts_a_prompt(pad):
    processor = build("<s> $A")
    processor.tokenizer.pad_token = pad
    inputs = processor(images=pairs(2), text=TEXTS, pad_to_multiple_of=32, return_tensors="pt")
    narrow = processor(images=pairs(2), text=TEXTS, return_tensors="pt")["input_ids"]
    ids = torch.cat([narrow, caption_ids(processor, CAPTIONS[:2])], 1)
    assert processor.post_process_captions(ids, inputs) == CAPTIONS[:2]


def test_one_row_that_differs_costs_no_other_row_its_caption():
    processor = build()
    inputs = processor(images=pairs(2), text=TEXTS, return_tensors="pt")
    ids = torch.cat([inputs["input_ids"], caption_ids(processor, CAPTIONS[:2])], 1)
    ids[0] = ids[0].roll(-1)
    assert processor.post_process_captions(ids, inputs) == CAPTIONS[:2]
    with pytest.raises(ValueError, match="row 0 begins with another prompt"):
        processor.post_process_captions(ids.flip(0), inputs)


def test_without_inputs_the_processor_s_own_prompt_is_cut_off():
    processor = build("<s> $A")
    prompt = torch.tensor([processor.prompt_ids()] * 3)
    ids = torch.nn.functional.pad(torch.cat([prompt, caption_ids(processor, CAPTIONS)], 1), (2, 0), value=-100)
    assert processor.post_process_captions(ids) == CAPTIONS


@pytest.mark.parametrize("system", TINY_SYSTEMS)
def test_generated_captions_are_what_follows_the_prompt(system):
    model, processor = TINY_SYSTEMS[system]()
    inputs = processor(images=pairs(2), return_tensors="pt")
    ids = model.generate(**inputs, max_new_tokens=5, num_beams=4, num_return_sequences=2)
    start = 0 if model.config.is_encoder_decoder else inputs["input_ids"].shape[1]
    decoded = processor.tokenizer.batch_decode(ids[:, start:], skip_special_tokens=True)
    assert processor.post_process_captions(ids, inputs) == [" ".join(text.split()) for text in decoded]


def test_a_tokenizer_that_cannot_pad_is_refused():
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    with pytest.raises(ValueError, match=r"no `pad_token`.*tokenizer\.pad_token = tokenizer\.eos_token"):
        SSGPAProcessor(tiny_image_processor(), tokenizer)
    # What the error says helps, and a batch of captions of several lengths is whole.
    tokenizer.pad_token = tokenizer.eos_token
    processor = SSGPAProcessor(tiny_image_processor(), tokenizer, image_seq_length=5)
    batch = processor(images=pairs(3), suffix=CAPTIONS, return_tensors="pt")
    assert [words(processor, row) for row in batch["labels"]] == [f"{caption} </s>" for caption in CAPTIONS]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("prompt", [False, True])
def test_save_and_load_give_the_same_inputs(layout, prompt, tmp_path):
    placeholder = "<image> " * (2 if layout == "pair" else 1)
    options = {"prompt": f"the scene {placeholder}:"} if prompt else {}
    processor = build("<s> $A", pair_layout=layout, **options)
    processor.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "processor_config.json").read_text(encoding="utf-8"))
    assert settings["pair_layout"] == layout
    assert settings["prompt"] == processor.prompt
    for loaded in (SSGPAProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is SSGPAProcessor
        assert loaded.to_dict() == processor.to_dict()
        assert loaded.chat_template == processor.chat_template
        first, second = (
            each(images=pairs(2), suffix=CAPTIONS[:2], return_tensors="pt") for each in (processor, loaded)
        )
        for key, value in first.items():
            assert torch.equal(value, second[key])
