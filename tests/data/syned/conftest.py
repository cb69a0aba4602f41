# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Tiny models with random weights, built and saved once: an InstructPix2Pix editor, CLIP and a chat model."""

import importlib
import json
from contextlib import suppress
from dataclasses import replace
from string import ascii_lowercase

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ssgpa.data.prepared import write_prepared
from ssgpa.data.schema import pair_features
from ssgpa.data.syned import EditSettings, ParaphraseSettings, RankSettings, SynedSettings


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} : {{ message['content'] }} \n {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)
CHAT_WORDS = [
    "paint",
    "turn",
    "make",
    "the",
    "a",
    "sky",
    "car",
    "dog",
    "red",
    "blue",
    "small",
    "add",
    "put",
    "new",
    "\n",
]
TINY = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}


@pytest.fixture(autouse=True)
def _quiet_and_restored():
    """The program silences the libraries for its process; the other tests want to hear them."""
    loggers = []
    for name in ("transformers", "datasets", "diffusers"):
        with suppress(ImportError):
            loggers.append(importlib.import_module(f"{name}.utils.logging"))
    before = [logging.get_verbosity() for logging in loggers]
    yield
    for logging, verbosity in zip(loggers, before, strict=True):
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


def clip_tokenizer():
    letters = [*ascii_lowercase, *(letter + "</w>" for letter in ascii_lowercase)]
    vocab = {token: index for index, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=24)


def clip_text_config():
    return CLIPTextConfig(
        **TINY, vocab_size=54, max_position_embeddings=24, bos_token_id=52, eos_token_id=53, pad_token_id=53
    )


def clip_image_processor():
    return CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def clip_config():
    vision = {**TINY, "image_size": 32, "patch_size": 16}
    return CLIPConfig(text_config=clip_text_config().to_dict(), vision_config=vision, projection_dim=16)


def make_editor(checker=None, unet_channels=8):
    diffusers = pytest.importorskip("diffusers", reason='needs diffusers: pip install "ssgpa[syned]"')
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        layers_per_block=1,
        in_channels=unet_channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
    )
    return diffusers.StableDiffusionInstructPix2PixPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(clip_text_config()),
        tokenizer=clip_tokenizer(),
        unet=unet,
        scheduler=diffusers.PNDMScheduler(beta_schedule="scaled_linear", skip_prk_steps=True),
        safety_checker=checker,
        feature_extractor=clip_image_processor() if checker else None,
        requires_safety_checker=checker is not None,
    )


def make_checker(threshold):
    """A safety checker that flags what is more like its concepts than the threshold: at 2 nothing, at -2 all."""
    pytest.importorskip("diffusers", reason='needs diffusers: pip install "ssgpa[syned]"')
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

    checker = StableDiffusionSafetyChecker(clip_config())
    for weights in (checker.concept_embeds_weights, checker.special_care_embeds_weights):
        weights.data.fill_(threshold)
    return checker


def chat_tokenizer():
    words = ["<pad>", "<s>", "</s>", "<unk>", *CHAT_WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        chat_template=CHAT_TEMPLATE,
    )


@pytest.fixture
def build_editor():
    return make_editor


@pytest.fixture
def build_checker():
    return make_checker


@pytest.fixture
def noise():
    return make_noise


@pytest.fixture(scope="session")
def editor_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "editor"
    make_editor(make_checker(2.0)).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def clip_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "clip"
    torch.manual_seed(1)
    CLIPModel(clip_config()).save_pretrained(path)
    CLIPProcessor(clip_image_processor(), clip_tokenizer()).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def chat_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "chat"
    torch.manual_seed(2)
    tokenizer = chat_tokenizer()
    config = LlamaConfig(**TINY, vocab_size=len(tokenizer), bos_token_id=1, eos_token_id=2, pad_token_id=0)
    LlamaForCausalLM(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def settings(editor_dir, clip_dir, chat_dir):
    """Two variants of 64 x 64 in two steps, two paraphrases."""
    return SynedSettings(
        seed=5,
        edit=EditSettings(model=str(editor_dir), variants=2, resolution=64, steps=2, batch_size=2),
        rank=RankSettings(model=str(clip_dir)),
        paraphrase=ParaphraseSettings(model=str(chat_dir), count=2, attempts=8, temperature=1.0, max_new_tokens=40),
    )


@pytest.fixture
def changed(settings):
    """The settings with some of a part's, or of the whole, replaced."""

    def change(part=None, whole=None, **values):
        parts = {part: replace(getattr(settings, part), **values)} if part else values
        return replace(settings, **parts, **(whole or {}))

    return change


def make_noise(seed, size=(80, 64)):
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def source_rows():
    """Rows of a set like Emu Edit by split: instruction, task and number of an image."""
    return {
        "train": [("make the sky red", "color", 0), ("add a dog", "add", 1), ("remove the car", None, 1)],
        "validation": [("turn the tree blue", "color", 2)],
        "test": [("paint the car green", "color", 3), ('write "SALE" on the wall', "text", 4)],
    }


@pytest.fixture(scope="session")
def source(source_rows, tmp_path_factory):
    """A prepared folder; not to be changed."""
    folder = tmp_path_factory.mktemp("source")
    splits = {}
    for split, rows in source_rows.items():
        columns = {name: [] for name in pair_features()}
        for number, (instruction, task, image) in enumerate(rows):
            names = [folder / f"{split}_{number}_{side}.png" for side in ("before", "after")]
            make_noise(image).save(names[0])
            make_noise(100 + image).save(names[1])
            values = (f"{split}-{number}", f"photo-{image}", *map(str, names), [instruction], task)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
        splits[split] = Dataset.from_dict(columns, features=pair_features())
    return write_prepared(DatasetDict(splits), folder / "prepared")


@pytest.fixture
def own_images(tmp_path):
    """A function that makes a folder of images with its listing."""

    def make(*lines):
        folder = tmp_path / "images"
        folder.mkdir()
        for number in range(2):
            make_noise(number).save(folder / f"{number}.png")
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        (folder / "originals.jsonl").write_text(text + "\n", encoding="utf-8")
        return folder

    return make
