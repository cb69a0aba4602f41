# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The demo: used in a browser and by gradio's client on pictures of our own, and what it refuses.

`SSGPA_SCREENSHOT=docs/space.png pytest tests/examples/test_app.py -k browser` writes the picture of the README.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.utils import httpx
from packaging.requirements import Requirement
from PIL import Image
from transformers import pipeline

from ssgpa.cli import EMBEDDED
from ssgpa.data.clevr_change import RenderSettings, render_dataset

from ..metrics.browser import CHROMIUM, Browser
from ..scripts import load_script


gradio = pytest.importorskip("gradio", reason="the extra `demo` is not installed")
gradio_client = pytest.importorskip("gradio_client", reason="the extra `demo` is not installed")
ROOT = Path(__file__).parents[2]
NAME = EMBEDDED.name
# Names that are no addresses of this machine lead nowhere.
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
MINUTES = 3


@pytest.fixture(scope="module")
def app():
    return load_script("app")


@pytest.fixture(scope="module")
def page(app):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        served = app.serve(wait=False)
        yield served
        served.close()


@pytest.fixture(scope="module")
def own_pair(tmp_path_factory):
    """Two pictures that no one has seen: one lossless, one a photograph's kind of file that lies on its side."""
    base = tmp_path_factory.mktemp("own")
    scenes = render_dataset(base / "scenes", RenderSettings(scenes=1, seed=23, splits=(1, 0, 0)), progress=False)
    before, after = (Image.open(next((scenes / part).iterdir())) for part in ("images", "sc_images"))
    before.save(base / "table.png")
    upright = Image.Exif()
    upright[0x0112] = 6
    after.convert("RGB").rotate(90, expand=True).save(base / "table.jpg", quality=95, exif=upright)
    return base / "table.png", base / "table.jpg"


@pytest.fixture(scope="module")
def expected(own_pair):
    """What the pipeline says about the pair, with its overlays."""
    pipe = pipeline("change-captioning", model=str(EMBEDDED), device="cpu")
    return pipe(own_pair, return_change_map=True, num_beams=3)[0]


def same_pixels(path, drawing):
    return np.array_equal(np.asarray(Image.open(path).convert("RGB")), np.asarray(drawing))


def loaded(place):
    return f"!!document.querySelector('{place}') && document.querySelector('{place}').naturalWidth > 0"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with Browser(CHROMIUM, tmp_path_factory.mktemp("browser"), OFFLINE, seconds=60 * MINUTES) as found:
        yield found


@pytest.fixture
def visited(browser, page):
    browser.open(page.local_url)
    for place in ("before", "after"):
        browser.wait(f"!!document.querySelector('#{place} input[type=file]')")
    return browser


def drawings(browser, tmp_path):
    """The files that the slider shows, before and after."""
    addresses = browser.evaluate("[...document.querySelectorAll('#slider img')].map((image) => image.src)")
    for number, address in enumerate(addresses):
        (tmp_path / f"{number}.png").write_bytes(httpx.get(address).content)
    return [tmp_path / f"{number}.png" for number in range(len(addresses))]


def test_in_the_browser(visited, page, own_pair, expected, tmp_path):
    for place, path in zip(("before", "after"), own_pair, strict=True):
        visited.upload(f"#{place} input[type=file]", path)
        visited.wait(loaded(f"#{place} img"))
    visited.click("#run")
    visited.wait("document.querySelector('#caption textarea').value !== ''")
    visited.wait(f"{loaded('#slider img')} && document.querySelectorAll('#slider img').length === 2")
    assert visited.evaluate("document.querySelector('#caption textarea').value") == expected["generated_text"]
    shown = drawings(visited, tmp_path)
    assert same_pixels(shown[0], expected["overlay_before"])
    assert same_pixels(shown[1], expected["overlay"])
    assert expected["generated_text"] in visited.text("#beams")
    assert expected["generated_text"] in visited.text("#json")
    if target := os.environ.get("SSGPA_SCREENSHOT"):
        visited.evaluate("scrollTo(0, 0)")
        visited.screenshot(Path(target))

    # The slider uncovers more of one picture.
    clip = "getComputedStyle(document.querySelector('#slider img.fixed, #slider img:last-of-type')).clipPath"
    start = visited.evaluate(clip)
    visited.drag("#slider .inner", 0.9)
    visited.wait(f"{clip} !== {json.dumps(start)}")

    # Without evidence, the pictures themselves.
    old = visited.evaluate("document.querySelector('#slider img').src")
    visited.click("#evidence input")
    visited.wait(f"document.querySelector('#slider img').src !== {json.dumps(old)} && {loaded('#slider img')}")
    assert same_pixels(drawings(visited, tmp_path)[0], Image.open(own_pair[0]).convert("RGB"))

    asked = visited.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked
    assert [name for name in asked if not name.startswith((page.local_url, "data:", "blob:"))] == []


def test_sample_pairs_in_the_browser(visited, app):
    visited.wait("!!document.querySelector('.gallery-item, tr.tr-body')")
    visited.click("tr.tr-body")
    visited.wait(f"{loaded('#before img')} && {loaded('#after img')}")
    visited.click("#run")
    visited.wait("document.querySelector('#caption textarea').value !== ''")
    pair = app.sample_pairs()[0]
    assert len(app.sample_pairs()) == 12
    pipe = pipeline("change-captioning", model=str(EMBEDDED), device="cpu")
    said = visited.evaluate("document.querySelector('#caption textarea').value")
    assert said == pipe(pair, num_beams=3)[0]["generated_text"]


@pytest.fixture(scope="module")
def client(page, tmp_path_factory):
    return gradio_client.Client(page.local_url, verbose=False, download_files=str(tmp_path_factory.mktemp("client")))


def ask(client, before, after, model=NAME, beams=3, evidence=True):
    files = [path and gradio_client.handle_file(str(path)) for path in (before, after)]
    return client.predict(*files, model, beams, evidence, api_name="/caption")


def test_by_the_client(client, own_pair, expected):
    caption, shown, table, record = ask(client, *own_pair)
    assert caption == record["caption"] == table["data"][0][0] == expected["generated_text"]
    assert same_pixels(shown[0], expected["overlay_before"])
    assert same_pixels(shown[1], expected["overlay"])
    assert [row[0] for row in table["data"]] == [beam["caption"] for beam in record["beams"]]
    assert len(record["beams"]) == 3
    assert (record["before"], record["after"], record["model"]) == ("table.png", "table.jpg", NAME)
    largest = {f"change_{side}": expected[name].getextrema()[1] / 255 for side, name in MAPS.items()}
    assert record["scores"] == largest


MAPS = {"before": "change_map_before", "after": "change_map"}


def test_pictures_alone_by_the_client(client, own_pair):
    _, shown, table, _ = ask(client, *own_pair, beams=1, evidence=False)
    assert same_pixels(shown[0], Image.open(own_pair[0]).convert("RGB"))
    assert len(table["data"]) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"before": None}, "before: no picture"),
        ({"after": "wide.png"}, "after: 40000x500 pixels are too many"),
        ({"after": "small.png"}, "after: a picture of 4x4 pixels is too small"),
        ({"after": "text.png"}, "cannot identify image"),
        ({"model": "/somewhere/else"}, "not in the list of choices"),
        ({"beams": 99}, "greater than maximum value 8"),
    ],
)
def test_what_is_refused(client, own_pair, tmp_path, changes, message):
    Image.new("L", (40_000, 500)).save(tmp_path / "wide.png")
    Image.new("L", (4, 4)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    changes = {name: tmp_path / value if name == "after" else value for name, value in changes.items()}
    with pytest.raises(Exception, match=message):
        ask(client, **{"before": own_pair[0], "after": own_pair[1], **changes})


@pytest.mark.parametrize(("size", "status"), [(9 << 20, 200), (11 << 20, 413)])
def test_the_server_takes_no_larger_files(page, size, status):
    assert httpx.post(f"{page.local_url}gradio_api/upload", files={"files": bytes(size)}).status_code == status


def test_the_queue_is_limited(page, app):
    assert page._queue.max_size == app.MAX_WAITING
    assert page._queue.default_concurrency_limit == 1
    assert {step.concurrency_limit for step in page.fns.values()} <= {"default", 1, None}


@pytest.mark.parametrize("beams", [1, 3])
def test_scores_are_those_of_the_forward_pass(app, own_pair, beams):
    """The beam search's sums, against the captions' own tokens read in one go."""
    model, processor = app.cached_system(str(EMBEDDED))
    pair = tuple(Image.open(path).convert("RGB") for path in own_pair)
    answer = app.describe(model, processor, pair, beams)
    texts = [text for text, _ in answer.beams]
    assert len(set(texts)) == beams
    inputs = processor(images=[list(pair)] * beams, suffix=texts, return_tensors="pt")
    labels = inputs.pop("labels")
    with torch.inference_mode():
        logs = model(**inputs).logits[:, :-1].log_softmax(dim=-1)
    wanted = labels[:, 1:]
    sums = logs.gather(-1, wanted.clamp(min=0)[..., None])[..., 0].masked_fill(wanted < 0, 0).sum(dim=-1)
    assert [score for _, score in answer.beams] == pytest.approx(sums.tolist(), abs=1e-3)


def test_pictures_of_different_sizes_and_systems_without_evidence(app):
    pair = Image.new("RGB", (40, 20), "red"), Image.new("RGB", (30, 30), "blue")
    answer = app.Answer(pair, [("x", -1.0)], None)
    before, after = app.draw(answer, evidence=True)
    assert before.size == after.size == (30, 30)
    assert before.getpixel((0, 0)) == (255, 0, 0)
    assert app.draw(None, evidence=True) is None
    assert app.as_json(answer, "a/b.png", "c.png", "m")["scores"] == {"change_before": None, "change_after": None}


def test_a_choice_of_models(app, tmp_path, monkeypatch):
    (tmp_path / "other").symlink_to(EMBEDDED, target_is_directory=True)
    monkeypatch.setattr(gradio.Blocks, "launch", lambda self, **options: None)
    page = app.serve([str(EMBEDDED), str(tmp_path / "other")])
    (choice,) = (block for block in page.blocks.values() if isinstance(block, gradio.Dropdown))
    assert [value for _, value in choice.choices] == [str(EMBEDDED), str(tmp_path / "other")]


@pytest.mark.parametrize("words", [["--port", "x"], ["--model", "no/such/folder"], ["--what"]])
def test_bad_starts_are_refused_in_one_line(app, capsys, words):
    try:
        code = app.main(words)
    except SystemExit as error:
        code = error.code
    assert code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("app.py: error: ")
    assert words[-1] in line


def test_the_card_of_a_space_fits():
    text = (ROOT / "docs" / "space.md").read_text(encoding="utf-8")
    card = yaml.safe_load(text.split("```yaml\n---\n")[1].split("---\n")[0])
    assert (card["sdk"], card["app_file"]) == ("gradio", "app.py")
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (demo,) = (line for line in extras.splitlines() if line.startswith("demo = "))
    assert card["sdk_version"] in Requirement(demo.split('"')[1]).specifier
