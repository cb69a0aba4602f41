# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""`ssgpa score`: files of captions in, the report of `evaluate.py` out."""

import base64
import io
import json
import re

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from PIL import Image

from ssgpa.cli import commands as cli
from ssgpa.data.prepared import write_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.data.reading import table_of
from ssgpa.data.schema import pair_features
from ssgpa.metrics import score_captions
from ssgpa.metrics.report.build import build_report

from ..image_cases import scene, tiff


pytestmark = pytest.mark.usefixtures("restored_logging")
KINDS = {
    "none": ["the scene remains the same", "there is no change"],
    "move": ["the red cube moved", "the red cube has been moved"],
    "add": ["a small sphere has been added", "there is a small sphere"],
}


def split(name, count):
    generator = np.random.default_rng(len(name))
    records = []
    for index in range(count):
        kind = list(KINDS)[index % 3]
        images = {
            side: Image.fromarray(generator.integers(0, 255, (24, 32, 3), dtype=np.uint8))
            for side in ("before", "after")
        }
        names = {"pair_id": f"{name}-{index}", "scene_id": f"{name} {index}"}
        records.append({**names, **images, "captions": KINDS[kind], "change_type": kind})
    return Dataset.from_list(records, features=pair_features())


@pytest.fixture(scope="module")
def splits():
    return DatasetDict({"train": split("train", 6), "validation": split("validation", 3), "test": split("test", 7)})


@pytest.fixture(scope="module")
def data(splits, tmp_path_factory):
    return write_prepared(splits, tmp_path_factory.mktemp("data") / "prepared", {"language": "en"})


@pytest.fixture(scope="module")
def said():
    """The right caption for all but one pair."""
    return {f"test-{index}": KINDS[list(KINDS)[index % 3]][0] for index in range(6)} | {"test-6": "it moved"}


def run(capsys, *words):
    try:
        code = cli.main(["score", *map(str, words)])
    except SystemExit as stop:
        code = stop.code
    return code, *capsys.readouterr()


def refused(capsys, *words):
    code, out, error = run(capsys, *words)
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    return error


@pytest.fixture
def predictions(tmp_path, said):
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps([{"image_id": name, "caption": text} for name, text in said.items()]), "utf-8")
    return path


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_the_report_of_a_prepared_folder(data, splits, said, predictions, tmp_path, capsys):
    output, page = tmp_path / "out" / "scores.json", tmp_path / "page"
    code, out, error = run(
        capsys,
        predictions,
        "--references",
        data,
        "--output",
        output,
        "--report",
        page,
        "--report-pairs",
        4,
        "--no-meteor",
    )
    assert (code, error) == (0, "")
    scores = read(output)
    references = {row["pair_id"]: row["captions"] for row in splits["test"].select_columns(["pair_id", "captions"])}
    expected = score_captions(references, said, meteor=False, language="en")
    assert {name: scores["scores"]["total"][name] for name in expected} == expected
    assert scores["scores"]["by_type"].keys() == {"add", "move"}
    assert 'always "the scene remains the same"' in scores["baselines"]
    assert scores["scores"]["total"]["intervals"].keys() >= {"bleu_4", "rouge_l", "cider"}
    assert (scores["model"], scores["data"], scores["split"], scores["notes"]) == (
        str(predictions),
        str(data),
        "test",
        [],
    )
    assert "baseline: predictions shuffled over pairs" in out
    assert (
        f"move (2 pairs): B4 100.0 [100.0, 100.0], ROUGE-L {100 * scores['scores']['by_type']['move']['rouge_l']:.1f}"
        in out
    )
    text = (page / "index.html").read_text("utf-8")
    cards = json.loads(text.split('id="cards">', 1)[1].split("</script>", 1)[0])
    assert len(cards) == 4
    assert all(
        card["before"].startswith("data:image/jpeg") and card["caption"] == said[card["pair_id"]] for card in cards
    )
    assert "theirs.json on test" in text
    again = ("--references", data, "--output", output, "--no-meteor")
    assert "scores.json exists; pass --overwrite" in refused(capsys, predictions, *again)
    assert run(capsys, predictions, *again, "--overwrite")[0] == 0


def images_of(page):
    """The images before of a page's cards, as arrays by pair."""
    text = (page / "index.html").read_text("utf-8")
    cards = json.loads(text.split('id="cards">', 1)[1].split("</script>", 1)[0])
    contents = {card["pair_id"]: base64.b64decode(card["before"].partition(",")[2]) for card in cards}
    return {name: np.asarray(Image.open(io.BytesIO(content))).astype(int) for name, content in contents.items()}


def test_the_page_shows_sensor_data_as_training_reads_it(predictions, splits, tmp_path, capsys, own_cache):
    """The decoder of `datasets` clips floats at 255: next to all of an image was white."""
    content = tiff(scene(40, 32)[..., 0].astype(np.float32) * 12)

    def prepare(name, cell, facts):
        rows = {
            split: [dict(row) for row in table.remove_columns(["before", "after"])] for split, table in splits.items()
        }
        made = {
            split: table_of([row | {"before": cell, "after": cell} for row in table]) for split, table in rows.items()
        }
        return write_prepared(DatasetDict(made), tmp_path / name, facts)

    reading = {"reading": {"value_range": [0, 3060]}}
    folder = prepare("sensor", {"bytes": content, "path": "scan.tif"}, reading)
    words = ("--report", tmp_path / "page", "--report-pairs", 3, "--no-meteor")
    assert run(capsys, predictions, "--references", folder, *words)[0] == 0
    expected = scene(40, 32)[..., :1].repeat(3, -1).astype(int)
    shown = images_of(tmp_path / "page")
    assert len(shown) == 3
    for pixels in shown.values():
        assert pixels.shape == expected.shape
        # JPEG rounds a little.
        assert np.abs(pixels - expected).mean() < 3
    broken = prepare("broken", {"bytes": content[:900], "path": "scan.tif"}, reading)
    words = ("--report", tmp_path / "other", "--report-pairs", 1, "--no-meteor")
    capsys.readouterr()
    line = refused(capsys, predictions, "--references", broken, *words)
    assert re.search(r"pair 'test-\d', before: scan\.tif: cannot be read", line)
    assert not (tmp_path / "other").exists()


def test_files_give_what_the_folder_gives(data, splits, said, predictions, tmp_path, capsys):
    references, train = tmp_path / "references.jsonl", tmp_path / "train.csv"
    columns = ["pair_id", "captions", "change_type"]
    rows = {name: splits[name].select_columns(columns).to_list() for name in ("test", "train")}
    references.write_text("".join(json.dumps(row) + "\n" for row in rows["test"]), "utf-8")
    flat = [f"{row['pair_id']},{text},{row['change_type']}\n" for row in rows["train"] for text in row["captions"]]
    train.write_text("pair_id,caption,change_type\n" + "".join(flat), "utf-8")
    outputs = [tmp_path / "one.json", tmp_path / "two.json"]
    assert run(capsys, predictions, "--references", data, "--output", outputs[0], "--no-meteor")[0] == 0
    words = ("--references", references, "--train", train, "--output", outputs[1], "--no-meteor", "--language", "en")
    assert run(capsys, predictions, *words, "--report", tmp_path / "page")[0] == 0
    one, two = map(read, outputs)
    for name in ("scores", "baselines", "upper_bounds", "no_change_rate", "change_type_accuracy"):
        assert one[name] == two[name]
    assert "theirs.json on references.jsonl" in (tmp_path / "page" / "index.html").read_text("utf-8")


def test_two_systems_of_two_kinds_of_files(data, said, predictions, tmp_path, capsys):
    other, output = tmp_path / "other.csv", tmp_path / "x.json"
    other.write_text("pair_id,prediction\n" + "".join(f"{name},there is no change\n" for name in said), "utf-8")
    words = ("--references", data, "--compare", other, "--output", output, "--no-meteor", "--protocol", "clevr_change")
    assert run(capsys, predictions, *words)[0] == 0
    comparison = read(output)["comparison"]
    assert comparison["with"] == str(other)
    assert comparison["changed"]["rouge_l"]["difference"] > 0.5


def test_captions_are_judged_by_scenes(rendered, tmp_path, capsys):
    rows = load_clevr_change(rendered)["test"].select_columns(["pair_id", "captions", "change_type"]).to_list()
    scenes, output = rendered / "scenes.jsonl", tmp_path / "x.json"
    folder = write_prepared(load_clevr_change(rendered), tmp_path / "prepared", scenes=scenes)
    said, references = tmp_path / "said.jsonl", tmp_path / "references.jsonl"
    first = {"pair_id": rows[0]["pair_id"], "caption": "the thing moved"}
    right = [first, *({"pair_id": row["pair_id"], "caption": row["captions"][0]} for row in rows[1:])]
    said.write_text("".join(json.dumps(record) + "\n" for record in right), "utf-8")
    references.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    assert [row["change_type"] == "none" for row in rows] == [False, True, False, True]
    for words in (("--references", folder), ("--references", references, "--scenes", scenes)):
        code, out, _ = run(capsys, said, *words, "--no-meteor", "--output", output, "--overwrite")
        assert code == 0
        scores = read(output)["scores"]
        found = [scores[name]["correct"] for name in ("total", "changed", "unchanged")]
        assert found == [0.75, 0.5, 1.0]
        assert "correct 50.0 [" in out
    run(capsys, said, "--references", references, "--no-meteor", "--output", output, "--overwrite")
    assert "correct" not in read(output)["scores"]["total"]
    assert "does not hold scenes" in refused(capsys, said, "--references", references, "--scenes", said)


def test_pairs_without_a_caption(data, splits, said, tmp_path, capsys):
    some, output = tmp_path / "some.csv", tmp_path / "x.json"
    some.write_text(
        "".join(f"{name},{text}\n" for name, text in [("pair_id", "caption"), *list(said.items())[:5]]), "utf-8"
    )
    words = (some, "--references", data, "--no-meteor")
    error = refused(capsys, *words)
    assert "some.csv: Predictions are missing for 2 of 7 pairs: 'test-5', 'test-6'" in error
    assert "--missing" in error
    rows = splits["test"].select_columns(["pair_id", "captions", "change_type"]).to_list()
    for choice, kept, captions in (
        ("empty", rows, {**dict(list(said.items())[:5]), "test-5": "", "test-6": ""}),
        ("skip", rows[:5], dict(list(said.items())[:5])),
    ):
        code, _, error = run(capsys, *words, "--missing", choice, "--output", output, "--overwrite")
        assert code == 0
        assert error.startswith("ssgpa: 2 of 7 pairs have no caption")
        scores = read(output)["scores"]["total"]
        expected = build_report(kept, captions)["scores"]["total"]
        assert (scores["n_items"], scores["cider"]) == (len(kept), expected["cider"])


def test_what_does_not_fit_is_one_line(data, predictions, tmp_path, capsys):
    strange = tmp_path / "strange.json"
    strange.write_text('[{"image_id": "zzz", "caption": "a"}]', "utf-8")
    assert "unknown" in refused(capsys, strange, "--references", data, "--missing", "empty")
    assert "none of its ids" in refused(capsys, strange, "--references", data, "--missing", "skip")
    assert "nowhere" in refused(capsys, predictions, "--references", tmp_path / "nowhere")
    assert "neither a prepared folder" in refused(capsys, predictions, "--references", tmp_path)
    assert "--protocol must be one of" in refused(capsys, predictions, "--references", data, "--protocol", "x")
    assert "spot_the_diff_single expects no change types" in refused(
        capsys, predictions, "--references", data, "--protocol", "spot_the_diff_single", "--no-meteor"
    )
    assert "tokenizer must be one of" in refused(capsys, predictions, "--references", data, "--tokenizer", "x")
    assert "language must be a code" in refused(capsys, predictions, "--references", data, "--language", "english")
    assert "unrecognized arguments: --modle" in refused(capsys, predictions, "--references", data, "--modle", "x")
    assert "required: --references" in refused(capsys, predictions)


def test_captions_without_blanks(tmp_path, capsys):
    pytest.importorskip("nltk")
    texts = ["红色的立方体移动了", "场景没有变化", "蓝色的球消失了"]
    references, said = tmp_path / "references.json", tmp_path / "said.json"
    references.write_text(json.dumps({str(index): [text] for index, text in enumerate(texts)}), "utf-8")
    said.write_text(json.dumps(dict(enumerate(texts))), "utf-8")
    code, _, error = run(capsys, said, "--references", references, "--output", tmp_path / "x.json")
    assert (code, error) == (0, "")
    assert read(tmp_path / "x.json")["scores"]["total"]["bleu_4"] == pytest.approx(1)
    code, _, error = run(capsys, said, "--references", references, "--tokenizer", "nltk", "--no-meteor")
    assert code == 0
    assert "100% of the letters are of a script without blanks" in error
