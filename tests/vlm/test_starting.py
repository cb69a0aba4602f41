# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A plain VLM's own files as a system: prompt, pixels, and what is missing in them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from transformers import AutoProcessor, PreTrainedTokenizerFast, pipeline
from transformers.testing_utils import CaptureLogger
from transformers.utils import logging

from ssgpa.benchmarks.tiny_vlms import IMAGE, IMAGE_TOKEN, MODEL_TYPES, TINY_VLMS, save_processing, save_vlm
from ssgpa.benchmarks.tiny_vlms import tiny_vlm_tokenizer as tiny_tokenizer
from ssgpa.utils.loading import load_system
from ssgpa.vlm import SSGPAVLMConfig, processor_for_vlm
from ssgpa.vlm.ports_ssgpa_vlm import PORTS
from ssgpa.vlm.starting import INSTRUCTION, is_plain_vlm

from .cases import FAMILIES, untrained
from .own_processors import SIZES, own_processor


# What processors that look for no name of their tokenizer call the repeated token.
NAMES = {"idefics3": "<image>", "ovis2": "<IMG_ATOM>", "paligemma": "<image>", "smolvlm": "<image>"}
ASKED = "what changed ?"
SHORT = {"max_new_tokens": 5, "num_beams": 2}


def noise(seed, width=40, height=32):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def port_named(family):
    return PORTS[MODEL_TYPES.get(family, family)]


def renamed_tokenizer(family):
    """The tiny tokenizer whose image token has the name that the family's own processor expects, and that name."""
    name, first = NAMES.get(family, IMAGE_TOKEN), tiny_tokenizer(family)
    if name == IMAGE_TOKEN:
        return first, name
    placed = first.backend_tokenizer.to_str().replace(IMAGE_TOKEN, name)
    told = {key: getattr(first, key) for key in ("pad_token", "bos_token", "eos_token", "unk_token")}
    template = first.chat_template.replace(IMAGE_TOKEN, name)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(placed), **told, chat_template=template), name


@pytest.mark.parametrize("family", FAMILIES)
def test_prompt_is_the_own_processors(family, tmp_path):
    if family == "cohere2_vision":
        pytest.skip("its image processor has no version without torchvision")
    vlm, _ = untrained(family)
    size = SIZES.get(family, TINY_VLMS[family][1])
    config = SSGPAVLMConfig(vlm_config=vlm.config.to_dict(), image_size=size, fusion_hidden_size=8)
    save_processing(family, tmp_path)
    tokenizer, name = renamed_tokenizer(family)
    assert tokenizer.convert_tokens_to_ids(name) == IMAGE
    template = tokenizer.chat_template
    own = own_processor(family, tokenizer, name)
    images = [noise(1, *size[::-1]), noise(2, *size[::-1])]
    if family == "paligemma":
        wanted = own(images=[images], text=f"{name}{name}{ASKED}")["input_ids"][0]
    else:
        content = [*({"type": "image", "image": image} for image in images), {"type": "text", "text": ASKED}]
        wanted = own.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=template,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )["input_ids"]
    wanted = torch.as_tensor(wanted).flatten().tolist()
    mine, _ = renamed_tokenizer(family)
    mine.chat_template = None
    template = None if family == "paligemma" else template
    processor = processor_for_vlm(config, str(tmp_path), instruction=ASKED, tokenizer=mine, chat_template=template)
    assert processor.prompt_ids() == wanted
    assert wanted.count(IMAGE) == 2 * config.image_seq_length


@pytest.mark.parametrize(("family", "rows", "columns"), [("mistral3", 2, 3), ("pixtral", 4, 6)])
def test_pixtrals_rows_end_in_a_break_and_the_last_in_an_end(family, rows, columns, tmp_path):
    """As the reference of Mistral's own tokenizer has it: 32 x 48 pixels, cells of 16 or 8."""
    _, model = untrained(family)
    processor = processor_for_vlm(model.config, str(save_processing(family, tmp_path)), instruction=ASKED)
    tokens = processor.tokenizer.convert_ids_to_tokens(processor.prompt_ids())
    row = [IMAGE_TOKEN] * columns
    image = [*[*row, "[IMG_BREAK]"] * (rows - 1), *row, "[IMG_END]", "<sep>"]
    assert tokens == ["<s>", "user", ":", *image, *image, "what", "changed", "?", "assistant", ":"]


@pytest.mark.parametrize("family", FAMILIES)
def test_processor_asks_of_two_images(family, tmp_path):
    """Without the own processor: one start token, all special tokens known, both images, and saved as it is."""
    _, model = untrained(family)
    save_processing(family, tmp_path / "vlm")
    processor = processor_for_vlm(model.config, str(tmp_path / "vlm"), instruction=ASKED)
    ids = processor.prompt_ids()
    assert ids.count(IMAGE) == 2 * model.config.image_seq_length
    assert ids.count(processor.tokenizer.bos_token_id) == 1
    assert processor.tokenizer.unk_token_id not in ids
    placeholder = port_named(family).placeholder
    if family != "gemma3":  # whose placeholder also stands in front of the tokens of an image
        assert placeholder is None or processor.tokenizer.convert_tokens_to_ids(placeholder) not in ids
    processor.save_pretrained(tmp_path / "saved")
    again = AutoProcessor.from_pretrained(tmp_path / "saved")
    assert again.prompt_ids() == ids
    inputs = again(images=[noise(1), noise(2)], return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == ids
    assert inputs["pixel_values"].shape == (1, 2, 3, *model.config.image_size)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.25]))
    height, width = model.config.image_size
    resized = noise(1).resize((width, height), Image.Resampling.BILINEAR)
    wanted = (torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255 - mean) / std
    torch.testing.assert_close(inputs["pixel_values"][0, 0], wanted, atol=1e-5, rtol=1e-5)


def edit(folder, name, **values):
    path = folder / name
    told = json.loads(path.read_text("utf-8"))
    kept = {key: value for key, value in (told | values).items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def test_default_instruction_is_asked():
    assert "first before and then after" in INSTRUCTION


def test_model_without_chat_template_is_no_assistant(tmp_path):
    _, model = untrained("llava")
    save_processing("llava", tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="has no chat template"):
        processor_for_vlm(model.config, str(tmp_path))
    given = processor_for_vlm(model.config, str(tmp_path), chat_template=tiny_tokenizer("llava").chat_template)
    assert given.prompt_ids().count(IMAGE) == 32


def test_chat_template_without_images_is_refused(tmp_path):
    _, model = untrained("llava")
    save_processing("llava", tmp_path)
    with pytest.raises(ValueError, match=r"writes <img_tok> 0 time\(s\) for two images"):
        processor_for_vlm(model.config, str(tmp_path), chat_template="{{ messages[0].content[2].text }}")


def test_tokenizer_without_image_token_is_refused(tmp_path):
    vlm, _ = untrained("llava")
    save_processing("llava", tmp_path)
    values = vlm.config.to_dict() | {"image_token_index": 9999, "image_token_id": 9999}
    config = SSGPAVLMConfig(vlm_config=values, fusion_hidden_size=8)
    with pytest.raises(ValueError, match="the tokenizer has no token 9999"):
        processor_for_vlm(config, str(tmp_path))


def test_unknown_pixels_are_refused(tmp_path):
    _, model = untrained("llava")
    save_processing("llava", tmp_path)
    edit(tmp_path, "preprocessor_config.json", image_mean=None)
    with pytest.raises(ValueError, match="tell no `image_mean` and `image_std`"):
        processor_for_vlm(model.config, str(tmp_path))


def test_pixels_that_files_leave_out_are_the_classs(tmp_path):
    _, model = untrained("llava")
    save_processing("llava", tmp_path)
    edit(
        tmp_path,
        "preprocessor_config.json",
        image_mean=None,
        image_std=None,
        image_processor_type="SiglipImageProcessor",
    )
    processor = processor_for_vlm(model.config, str(tmp_path))
    assert list(processor.image_processor.image_mean) == [0.5, 0.5, 0.5]


def test_processor_needs_a_folder():
    _, model = untrained("llava")
    with pytest.raises(ValueError, match="names no VLM"):
        processor_for_vlm(model.config)


def test_folder_of_a_plain_vlm_is_told_from_a_system(tmp_path):
    _, model = untrained("llava")
    save_vlm("llava", tmp_path / "vlm")
    model.save_pretrained(tmp_path / "system")
    assert is_plain_vlm(str(tmp_path / "vlm"))
    assert not is_plain_vlm(str(tmp_path / "system"))
    assert not is_plain_vlm(str(tmp_path / "nothing"))


FEW = {"fusion_layers": 1, "fusion_hidden_size": 8, "alignment_hidden_size": 16, "patch_grid": (3, 4)}


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_vlm_captions_pairs_and_says_so(family, tmp_path):
    """Through loading and pipeline: batches, maps, tiles and scores."""
    save_vlm(family, tmp_path)
    logger = logging.get_logger("ssgpa.utils.loading")
    with CaptureLogger(logger) as captured:
        model, processor = load_system(str(tmp_path), image_size=TINY_VLMS[family][1], instruction=ASKED, **FEW)
    assert "adapter and change map are untrained" in captured.out
    assert model.config.vlm_name_or_path == str(tmp_path)
    pipe = pipeline("change-captioning", model=model, processor=processor, device="cpu")
    pairs = [(noise(2 * index), noise(2 * index + 1, 56, 48)) for index in range(3)]
    one_by_one = [pipe(pair, return_change_map=True, **SHORT) for pair in pairs]
    batched = pipe(pairs, batch_size=2, return_change_map=True, **SHORT)
    for alone, found, pair in zip(one_by_one, batched, pairs, strict=True):
        alone, found = (item[0] if isinstance(item, list) else item for item in (alone, found))
        assert found["generated_text"] == alone["generated_text"]
        for name, image in zip(("change_map_before", "change_map"), pair, strict=True):
            assert found[name].size == image.size
            assert found[name] == alone[name]
    with torch.no_grad():
        inputs = processor(images=list(pairs[0]), return_tensors="pt")
        ids = model.generate(**inputs, **SHORT)
    wanted = processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    first = one_by_one[0][0] if isinstance(one_by_one[0], list) else one_by_one[0]
    assert first["generated_text"].strip() == wanted


@pytest.mark.parametrize("family", ["gemma3", "llava_next", "qwen2_5_vl"])
def test_tiles_and_scores(family, tmp_path):
    save_vlm(family, tmp_path)
    model, processor = load_system(str(tmp_path), image_size=TINY_VLMS[family][1], instruction=ASKED, **FEW)
    pipe = pipeline("change-captioning", model=model, processor=processor, device="cpu")
    pair = noise(1, 96, 48), noise(2, 96, 48)
    found = pipe(pair, tiles=(1, 2), return_change_map=True, **SHORT)
    found = found[0] if isinstance(found, list) else found
    assert found["change_map_before"].size == (96, 48)
    assert len(found["tiles"]) == 2
    scores = pipe.change_scores([pair, (pair[0], pair[0])], ["the ball moved", "the ball moved"], batch_size=2)
    alone = [pipe.change_scores([one], ["the ball moved"])[0] for one in (pair, (pair[0], pair[0]))]
    assert scores == pytest.approx(alone, abs=1e-3)
    assert scores[1] == 0  # the image before beside itself is what is compared with
    assert scores[0] != 0
