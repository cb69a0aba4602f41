# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What is refused before any model is loaded, by name."""

import math

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from ssgpa.data.schema import pair_features
from ssgpa.data.syned import EditSettings, ParaphraseSettings, RankSettings, SynedSettings, make_syned
from ssgpa.data.syned.originals import image_before, list_originals, load_originals


GOOD = {"id": "a", "image": "0.png", "instruction": "make it red"}
LISTINGS = {
    "no json": ([GOOD, "{"], "originals.jsonl, line 2 is not a JSON object"),
    "no object": (["[]"], "line 1 is not a JSON object"),
    "no instruction": ([{"id": "a", "image": "0.png"}], "line 1: instruction must be a string"),
    "empty instruction": ([GOOD, {**GOOD, "id": "b", "instruction": " "}], "line 2: instruction must be a string"),
    "no word": ([{**GOOD, "instruction": "?!"}], "train, pair 'a': the instruction '\\?!' holds no word"),
    "numbers": ([{**GOOD, "id": 1, "image": 2}], "line 1: id, image must be a string"),
    "unknown split": ([{**GOOD, "split": "val"}], "split must be train, validation, test, not 'val'"),
    "twice": ([GOOD, GOOD], "the id 'a' occurs twice"),
    "elsewhere": ([{**GOOD, "image": "../images.png"}], "leads out of"),
    "missing": ([{**GOOD, "image": "7.png"}], "7.png is missing"),
    "empty": ([""], "line 1 is not a JSON object"),
    "no images after": (
        [GOOD, {**GOOD, "id": "b", "split": "test"}],
        "test has no images after; add it to image_s",
    ),
    "nothing in the split": ([{**GOOD, "split": "validation"}], "validation has no images after"),
}


@pytest.mark.parametrize("case", LISTINGS)
def test_broken_listings(case, own_images, tmp_path):
    lines, message = LISTINGS[case]
    pytest.importorskip("diffusers", reason='needs diffusers: pip install "ssgpa[syned]"')
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        make_syned(own_images(*lines), tmp_path / "out", SynedSettings(seed=0), progress=False)
    assert not (tmp_path / "out").exists()


def test_a_damaged_image_is_named(own_images):
    folder = own_images(GOOD)
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"0\.png is not a readable image"):
        load_originals(folder)
    with pytest.raises(FileNotFoundError, match=r"holds neither a prepared data set nor originals\.jsonl"):
        load_originals(folder / "nowhere")


def test_a_damaged_image_of_a_prepared_folder_is_named(noise, tmp_path):
    noise(0).save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()[:-200]
    row = {"pair_id": "p", "scene_id": "s", "before": {"bytes": content, "path": None}}
    rows = [row | {"after": None, "captions": ["make it red"], "change_type": None}]
    dataset = DatasetDict({"train": Dataset.from_list(rows, features=pair_features())})
    for split in ("validation", "test"):
        dataset[split] = dataset["train"].select([])
    with pytest.raises(ValueError, match="train, pair 'p': the image before cannot be read"):
        image_before(dataset, list_originals(dataset)[0])


def test_images_are_upright_and_rgb(own_images):
    """The file's first row of pixels is the right edge where its orientation is 6."""
    folder = own_images(GOOD, {**GOOD, "id": "b", "image": "turned.jpg", "split": "test"})
    gradient = np.repeat(np.linspace(0, 255, 32, dtype=np.uint8)[:, None], 64, axis=1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(gradient).save(folder / "turned.jpg", exif=exif)
    dataset = load_originals(folder)
    originals = list_originals(dataset)
    assert [(one.number, one.split, one.row, one.pair_id) for one in originals] == [
        (0, "train", 0, "a"),
        (1, "test", 0, "b"),
    ]
    image = image_before(dataset, originals[1])
    assert (image.size, image.mode) == ((32, 64), "RGB")
    assert np.asarray(image)[0, 0, 0] > 200


RANGES = [
    (EditSettings, {"variants": 0}, "variants must be between 1 and 64, not 0"),
    (EditSettings, {"resolution": 500}, "resolution must be a multiple of 64, not 500"),
    (EditSettings, {"resolution": 0}, "resolution must be between 64 and 2048"),
    (EditSettings, {"steps": 1001}, "steps must be between 1 and 1000"),
    (EditSettings, {"guidance": 1.0}, "guidance must be above 1"),
    (EditSettings, {"guidance": math.nan}, "guidance must be between 1 and 30, not nan"),
    (EditSettings, {"image_guidance": 0.5}, "image_guidance must be between 1 and 10"),
    (EditSettings, {"batch_size": 0}, "batch_size must be between"),
    (EditSettings, {"watermark": ""}, "bytes of the watermark must be between 1 and 32"),
    (RankSettings, {"by": "size"}, "rank_by must be one of image_text, image_image or none, not 'size'"),
    (RankSettings, {"keep": 0}, "keep must be between"),
    (RankSettings, {"keep": 2, "by": None}, "keep needs a ranking"),
    (ParaphraseSettings, {"count": 0}, "paraphrases must be between 1 and 20"),
    (ParaphraseSettings, {"attempts": 0}, "attempts must be between 1 and 100"),
    (ParaphraseSettings, {"temperature": 0.0}, "temperature must be between"),
    (ParaphraseSettings, {"top_p": 1.5}, "top_p must be between"),
    (ParaphraseSettings, {"max_new_tokens": 4}, "max_new_tokens must be between"),
    (SynedSettings, {"seed": -1}, "seed must be between"),
    (SynedSettings, {"seed": 0, "image_splits": ("val",)}, "splits must be among train, validation, test, not val"),
    (SynedSettings, {"seed": 0, "image_splits": (), "caption_splits": ()}, "there is nothing to make"),
    (SynedSettings, {"seed": 0, "dtype": "int8"}, "dtype must be one of"),
    (SynedSettings, {"seed": 0, "rank": RankSettings(keep=9)}, "keep must not exceed the 8 variants, not 9"),
]


@pytest.mark.parametrize(("kind", "values", "message"), RANGES)
def test_settings_out_of_range(kind, values, message):
    with pytest.raises(ValueError, match=message):
        kind(**values)


def test_defaults_are_those_of_the_paper():
    settings = SynedSettings(seed=0)
    assert (settings.edit.variants, settings.rank.keep, settings.paraphrase.count) == (8, None, 4)
    assert settings.paraphrase.model == "meta-llama/Llama-2-7b-chat-hf"
    assert (settings.paraphrase.temperature, settings.paraphrase.top_p) == (0.6, 0.9)
    assert (settings.image_splits, settings.caption_splits) == (("train",), ("test",))
