# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The way of every set through `examples/prepare_data.py`: parquet, card, summary."""

import json
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from huggingface_hub.utils import httpx

from ssgpa.data import load_prepared
from ssgpa.data.clevr_renderer.dataset.layout import SETTINGS
from ssgpa.data.prepared import language_of
from ssgpa.data.schema import pair_features
from ssgpa.hub.data_repository import push_prepared

from ...scripts import load_script
from .reader_cases import CASES


SCRIPT = Path(__file__).parents[3] / "examples" / "prepare_data.py"


@pytest.fixture(scope="module")
def script():
    return load_script(SCRIPT)


def words(name, folder, *more):
    return ["--dataset", name, "--source", str(folder / "source"), "--output_dir", str(folder / "out"), *more]


def test_every_reader_is_tested(script):
    assert set(script.READERS) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_prepared_with_card(script, name, tmp_path, capsys):
    CASES[name].make(tmp_path / "source")
    assert script.main(words(name, tmp_path)) == 0
    counts = dict(zip(("train", "validation", "test"), CASES[name].rows, strict=True))
    assert {split: len(rows) for split, rows in load_prepared(tmp_path / "out").items()} == counts
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    source = CASES[name].source
    assert card.data.license == source.license
    assert card.data.task_categories == ["image-to-text"]
    told = {split["name"]: split["num_examples"] for split in card.data.dataset_info["splits"]}
    assert told == {split: count for split, count in counts.items() if count}
    assert source.url in card.text
    assert source.citation in card.text
    # What the card names is what the library reads.
    read = load_dataset(str(tmp_path / "out"))
    assert {split: len(rows) for split, rows in read.items()} == told
    assert read["train"].features == pair_features()
    printed = capsys.readouterr().out
    if "train" in (source.counts or {}):
        found = json.loads((tmp_path / "out" / "prepared.json").read_text("utf-8"))["findings"]["read"]["train"]
        assert f"differs by {found - source.counts['train']:+,}" in printed
    if source.total:
        assert f"| together | {source.total:,} |" in printed
        assert f"| together | {source.total:,} |" in card.text
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_faulty_pairs_on_the_command_line(script, tmp_path, capsys):
    CASES["custom"].make(tmp_path / "source")
    (tmp_path / "source" / "before" / "one.png").unlink()
    assert script.main(words("custom", tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "before/one" in error
    assert not (tmp_path / "out").exists()
    assert script.main(words("custom", tmp_path, "--skip_faulty", "--license", "cc0-1.0")) == 0
    assert "1 faulty pairs left out: train, pair 'one': before/one is missing" in capsys.readouterr().out
    text = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "license: cc0-1.0" in text
    assert str(tmp_path) not in text + (tmp_path / "out" / "prepared.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "language", "noted"),
    [
        ([], None, "perhaps 'zh', and no language"),
        (["--language", "zh"], "zh", None),
        (["--language", "en"], "en", "perhaps 'zh', and --language is 'en'"),
    ],
)
def test_the_language_of_the_captions(script, tmp_path, capsys, options, language, noted):
    CASES["custom"].make(tmp_path / "source")
    table = tmp_path / "source" / "captions.jsonl"
    rows = [json.loads(line) for line in table.read_text("utf-8").splitlines()]
    lines = [json.dumps({**row, "captions": ["红色的立方体消失了"]}, ensure_ascii=False) + "\n" for row in rows]
    table.write_text("".join(lines), "utf-8")
    assert script.main(words("custom", tmp_path, *options)) == 0
    printed = capsys.readouterr().out
    assert noted in printed if noted else "captions are written" not in printed
    assert language_of(tmp_path / "out") == language
    assert DatasetCard.load(tmp_path / "out" / "README.md").data.language == (language and [language])


def test_languages_of_releases_and_wrong_codes(script, tmp_path, capsys):
    CASES["levir_cc"].make(tmp_path / "source")
    assert script.main(words("levir_cc", tmp_path, "--language", "english")) == 2
    assert "language must be a code such as 'en', 'zh' or 'pt-BR', not 'english'" in capsys.readouterr().err
    assert script.main(words("levir_cc", tmp_path)) == 0
    assert "captions are written" not in capsys.readouterr().out
    assert language_of(tmp_path / "out") == "en"


def test_missing_file_tells_the_layout(script, tmp_path, capsys):
    (tmp_path / "source").mkdir()
    assert script.main(words("levir_cc", tmp_path)) == 2
    assert "--source must hold LevirCCcaptions.json and images/{train,val,test}/{A,B}/" in capsys.readouterr().err


def test_rendered_scenes_are_not_compared_with_the_release(script, rendered, tmp_path, capsys):
    arguments = ["--dataset", "clevr_change", "--source", str(rendered), "--output_dir", str(tmp_path / "out")]
    assert script.main(arguments) == 0
    assert "| train | - | 8 | 8 |  |" in capsys.readouterr().out
    assert "# Rendered scenes in the layout of CLEVR-Change" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_settings_are_not_followed_out(script, copied, tmp_path, capsys):
    (copied / SETTINGS).rename(tmp_path / "outside.json")
    (copied / SETTINGS).symlink_to(tmp_path / "outside.json")
    words = ["--dataset", "clevr_change", "--source", str(copied), "--output_dir", str(tmp_path / "out")]
    assert script.main(words) == 2
    assert f"{SETTINGS} leads out of" in capsys.readouterr().err


def test_no_hub(script, tmp_path, monkeypatch, capsys):
    """A name that the Hub would refuse costs no reading; without a Hub the prepared folder stays."""
    CASES["custom"].make(tmp_path / "source")
    assert script.main(words("custom", tmp_path, "--push_to_hub", "org/pairs/mine")) == 2
    assert "org/pairs/mine" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

    def refuse(*_, **__):
        raise httpx.ConnectError("connection refused")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    assert script.main(words("custom", tmp_path, "--push_to_hub", "org/pairs")) == 2
    assert "org/pairs: the upload of" in capsys.readouterr().err
    assert (tmp_path / "out" / "prepared.json").is_file()


def test_only_prepared_folders_are_pushed(tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a prepared folder"):
        push_prepared(tmp_path, "org/pairs")
