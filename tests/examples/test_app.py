# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The demo: used in a browser and by gradio's client on images of our own, and what it refuses.

`SSGPA_SCREENSHOT=docs/space.png pytest tests/examples/test_app.py -k browser` writes the image of the README.
"""

import base64
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub.utils import httpx
from packaging.requirements import Requirement
from PIL import Image
from transformers import pipeline

from ssgpa import ChangeCaptioningPipeline
from ssgpa.cli.commands import EMBEDDED
from ssgpa.data.clevr_renderer import RenderSettings, render_dataset
from ssgpa.image_utils_ssgpa import load_image
from ssgpa.utils.loading import load_system

from ..image_cases import geotiff, scene, tiff
from ..metrics.browser import CHROMIUM, Browser
from ..scripts import load_script


gradio = pytest.importorskip("gradio", reason="the extra `demo` is not installed")
gradio_client = pytest.importorskip("gradio_client", reason="the extra `demo` is not installed")
ROOT = Path(__file__).parents[2]
NAME = EMBEDDED.name
# Names that are no addresses of this machine lead nowhere.
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
MINUTES = 6
MAPS = {"before": "change_map_before", "after": "change_map"}


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
    """Two images that no one has seen: one lossless, one a photograph's kind of file that lies on its side."""
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


# What every test of the page uses. gradio mounts each of them when its own script has come, in any order.
PARTS = (
    *(f"#{place} {part}" for place in ("before", "after") for part in ("button", "input[type=file]")),
    "#caption textarea",
    "#run",
    "#evidence input",
    "#details button.label-wrap",
    "tr.tr-body",
)
CAPTION = "document.querySelector('#caption textarea')?.value"
CAPTIONED = f"!!{CAPTION}"


def visit(browser, page):
    """Opens the page and waits until all of it is there."""
    browser.open(page.local_url)
    for place in PARTS:
        browser.wait(f"!!document.querySelector('{place}')")


@pytest.fixture
def visited(browser, page):
    visit(browser, page)
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
    visited.wait(CAPTIONED)
    visited.wait(f"{loaded('#slider img')} && document.querySelectorAll('#slider img').length === 2")
    assert visited.evaluate(CAPTION) == expected["generated_text"]
    shown = drawings(visited, tmp_path)
    assert same_pixels(shown[0], expected["overlay_before"])
    assert same_pixels(shown[1], expected["overlay"])
    if target := os.environ.get("SSGPA_SCREENSHOT"):
        visited.wait("!document.querySelector('#caption .progress-text')")
        time.sleep(1)  # what covered the caption fades
        visited.evaluate("scrollTo(0, 0)")
        visited.screenshot(Path(target))
    assert not visited.evaluate("!!document.querySelector('#beams, #json')")
    visited.click("#details button.label-wrap")
    visited.wait("!!document.querySelector('#beams td') && !!document.querySelector('#json')")
    assert expected["generated_text"] in visited.text("#beams")
    assert expected["generated_text"] in visited.text("#json")

    # The slider uncovers more of one image.
    clip = "getComputedStyle(document.querySelector('#slider img.fixed, #slider img:last-of-type')).clipPath"
    start = visited.evaluate(clip)
    visited.drag("#slider .inner", 0.9)
    visited.wait(f"{clip} !== {json.dumps(start)}")

    # Without evidence, the images themselves.
    old = visited.evaluate("document.querySelector('#slider img').src")
    visited.click("#evidence input")
    visited.wait(f"document.querySelector('#slider img')?.src !== {json.dumps(old)} && {loaded('#slider img')}")
    assert same_pixels(drawings(visited, tmp_path)[0], Image.open(own_pair[0]).convert("RGB"))

    asked = visited.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert asked
    assert [name for name in asked if not name.startswith((page.local_url, "data:", "blob:"))] == []


def test_sample_pairs_in_the_browser(visited, app):
    visited.click("tr.tr-body")
    visited.wait(f"{loaded('#before img')} && {loaded('#after img')}")
    visited.click("#run")
    visited.wait(CAPTIONED)
    pair = app.sample_pairs()[0]
    assert len(app.sample_pairs()) == 12
    pipe = pipeline("change-captioning", model=str(EMBEDDED), device="cpu")
    said = visited.evaluate(CAPTION)
    assert said == pipe(pair, num_beams=3)[0]["generated_text"]


@pytest.fixture(scope="module")
def captions(app):
    """What the pipeline says about the sample pairs."""
    pipe = pipeline("change-captioning", model=str(EMBEDDED), device="cpu")
    return [found[0]["generated_text"] for found in pipe([tuple(pair) for pair in app.sample_pairs()], num_beams=3)]


@pytest.fixture
def silent(app, page, monkeypatch):
    """A page whose sample pairs are answered, and which asks no model any more."""
    for thread in threading.enumerate():
        if thread.name == app.WARMING:
            thread.join()
    monkeypatch.setattr(app, "describe", None)


@pytest.mark.parametrize("row", [1, 3])
def test_a_click_on_a_sample_pair_is_answered_from_memory(silent, visited, captions, row):
    visited.click(f"tr.tr-body:nth-child({row})")
    visited.wait(CAPTIONED)
    visited.wait(f"{loaded('#before img')} && {loaded('#after img')} && {loaded('#slider img')}")
    assert visited.evaluate(CAPTION) == captions[row - 1]


def test_an_answer_to_a_sample_pair_is_kept(app, monkeypatch):
    demo = app.Demo({NAME: str(EMBEDDED)}, app.sample_pairs()[:2])
    first = demo.ask_sample((1, None), NAME, 2, True)
    assert len(first[2]) == 2
    monkeypatch.setattr(app, "describe", None)
    again = demo.ask_sample((1, None), NAME, 2, True)
    assert (again[0], again[2], again[3]) == (first[0], first[2], first[3])
    with pytest.raises(TypeError):
        demo.ask_sample((0, None), NAME, 2, True)


def test_a_broken_model_does_not_stop_the_page(app, monkeypatch, caplog):
    """What goes wrong beforehand is told by the click."""
    demo = app.Demo({NAME: str(EMBEDDED)}, app.sample_pairs()[:2])

    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(app, "describe", fail)
    demo.warm().join()
    with pytest.raises(gradio.Error, match="out of memory"):
        demo.ask_sample((0, None), NAME, 2, True)


DROP = """
(() => {
  const bytes = Uint8Array.from(atob(CONTENT), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], NAME, { type: TYPE }));
  document.querySelector(PLACE).dispatchEvent(new EVENT(KIND, { dataTransfer, bubbles: true, cancelable: true }));
})()
"""


def drop(browser, place, path):
    """Drops a file on a field."""
    values = {
        "CONTENT": base64.b64encode(path.read_bytes()).decode(),
        "NAME": path.name,
        "TYPE": "image/jpeg" if path.suffix == ".jpg" else "image/png",
        "PLACE": f"#{place} button",
        "KIND": "drop",
    }
    code = re.sub("|".join(values), lambda found: json.dumps(values[found[0]]), DROP)
    browser.evaluate(code.replace("EVENT", "DragEvent"))


def test_a_dropped_pair_is_answered_at_once(visited, own_pair, expected):
    for place, path in zip(("after", "before"), own_pair[::-1], strict=True):
        assert visited.evaluate(CAPTION) == ""
        drop(visited, place, path)
        visited.wait(loaded(f"#{place} img"))
    visited.wait(CAPTIONED)
    assert visited.evaluate(CAPTION) == expected["generated_text"]
    assert visited.evaluate("document.querySelectorAll('.note [role=alert]').length") == 0


COPY = """
(() => {
  const bytes = Uint8Array.from(atob(CONTENT), (letter) => letter.charCodeAt(0));
  const item = new ClipboardItem({ 'image/png': new Blob([bytes], { type: 'image/png' }) });
  const tell = (what) => { window.copied = String(what); };
  navigator.clipboard.write([item]).then(() => tell(NAME), tell);
})()
"""


def test_a_pasted_pair_is_answered_at_once(visited, app, captions):
    visited.send("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    for place, name in zip(("before", "after"), map(Path, app.sample_pairs()[2]), strict=True):
        content = json.dumps(base64.b64encode(name.read_bytes()).decode())
        visited.evaluate(COPY.replace("CONTENT", content).replace("NAME", json.dumps(place)))
        assert visited.wait("window.copied") == place
        visited.evaluate("delete window.copied")
        visited.click(f"#{place} button[aria-label='Paste from clipboard']")
        visited.wait(loaded(f"#{place} img"))
    visited.wait(CAPTIONED)
    assert visited.evaluate(CAPTION) == captions[2]


def test_a_bad_image_is_told_beside_its_field(visited, own_pair, expected, tmp_path):
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    visited.upload("#before input[type=file]", own_pair[0])
    visited.wait(loaded("#before img"))
    visited.upload("#after input[type=file]", tmp_path / "text.png")
    visited.wait("!!document.querySelector('#after_note [role=alert]')")
    assert "cannot identify image" in visited.text("#after_note")
    assert str(tmp_path) not in visited.text("#after_note")
    assert not visited.evaluate("!!document.querySelector('#before_note [role=alert], .toast-body')")
    assert visited.evaluate(CAPTION) == ""
    below = "(place) => document.querySelector(place).getBoundingClientRect()"
    assert visited.evaluate(f"(({below})('#after_note').left >= ({below})('#after').left)")
    assert contrast(visited, "#after_note [role=alert]") >= READABLE

    # A good one takes its place, and the note goes.
    visited.click("#after button[aria-label='Remove Image']")
    visited.wait(
        "!!document.querySelector('#after input[type=file]') && !document.querySelector('.note [role=alert]')"
    )
    visited.upload("#after input[type=file]", own_pair[1])
    visited.wait(CAPTIONED)
    assert visited.evaluate(CAPTION) == expected["generated_text"]


READABLE = 4.5
CONTRAST = """
(() => {
  const found = document.querySelector(PLACE), numbers = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => numbers(color).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  let ground = found;
  while (ground && (numbers(getComputedStyle(ground).backgroundColor)[3] ?? 1) < 1) ground = ground.parentElement;
  const below = ground ? getComputedStyle(ground).backgroundColor : 'rgb(255, 255, 255)';
  const both = [getComputedStyle(found, PART).color, below];
  const [low, high] = both.map(light).sort((one, other) => one - other);
  return (high + 0.05) / (low + 0.05);
})()
"""


def contrast(browser, place, part=None):
    """The contrast of a text with its ground, after WCAG 2: from 1 to 21."""
    return browser.evaluate(CONTRAST.replace("PLACE", json.dumps(place)).replace("PART", json.dumps(part)))


@pytest.fixture
def phone(visited):
    visited.send("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    yield visited
    visited.send("Emulation.clearDeviceMetricsOverride")
    visited.send("Emulation.setEmulatedMedia", features=[])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_and_dark_mode(phone, page, captions, scheme):
    """Nothing is cut off, both fields stand side by side, and the caption stays in view and can be read."""
    phone.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    visit(phone, page)
    assert phone.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    assert contrast(phone, "#caption textarea", "::placeholder") >= READABLE
    phone.click("tr.tr-body:nth-child(4)")
    phone.wait(CAPTIONED)
    assert phone.evaluate(CAPTION) == captions[3]
    box = phone.evaluate(
        "(({ top, bottom }) => [top, bottom])(document.querySelector('#caption').getBoundingClientRect())"
    )
    assert phone.evaluate("scrollY") > 0
    assert box[0] >= 0
    assert box[1] <= 844 / 3
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    tops = [phone.evaluate(f"document.querySelector('#{place}').getBoundingClientRect().top") for place in MAPS]
    assert tops[0] == tops[1]
    for place in ("#caption textarea", "#evidence label span", "#details button.label-wrap", "#run"):
        assert contrast(phone, place) >= READABLE


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


def test_images_alone_by_the_client(client, own_pair):
    _, shown, table, _ = ask(client, *own_pair, beams=1, evidence=False)
    assert same_pixels(shown[0], Image.open(own_pair[0]).convert("RGB"))
    assert len(table["data"]) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"before": None}, "before: no image"),
        ({"after": "wide.png"}, "after: 40000x500 pixels are too many"),
        ({"after": "small.png"}, "after: an image of 4x4 pixels is too small"),
        ({"after": "text.png"}, "cannot identify image"),
        ({"model": "/somewhere/else"}, "not in the list of choices"),
        ({"beams": 99}, "greater than maximum value 8"),
    ],
)
def test_what_is_refused(client, own_pair, tmp_path, changes, message):
    Image.new("L", (40_000, 500)).save(tmp_path / "wide.png")
    Image.new("L", (4, 4)).save(tmp_path / "small.png")
    (tmp_path / "text.png").write_text("no image", encoding="utf-8")
    changes = {name: tmp_path / value if name == "after" else value for name, value in changes.items()}
    with pytest.raises(Exception, match=message):
        ask(client, **{"before": own_pair[0], "after": own_pair[1], **changes})


def test_no_file_of_the_server_is_read(client, own_pair, tmp_path):
    """A program may name any path in place of an upload; only gradio's own folder is open to it."""
    Image.open(own_pair[0]).save(tmp_path / "secret.png")
    named = {"path": str(tmp_path / "secret.png"), "meta": {"_type": "gradio.FileData"}}
    job = {"data": [named, named, NAME, 1, True]}
    started = httpx.post(f"{client.src}gradio_api/call/caption", json=job).json()["event_id"]
    told = httpx.get(f"{client.src}gradio_api/call/caption/{started}", timeout=60).text
    assert "event: error" in told
    assert "secret" in told


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


def test_images_of_different_sizes_and_systems_without_evidence(app):
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


RANGE = (0, 3060)


@pytest.fixture
def sensor(app, monkeypatch):
    """A demo of a checkpoint for sensor data, and its processor."""
    model, processor = load_system(str(EMBEDDED))
    processor.value_range = RANGE
    monkeypatch.setattr(app, "cached_system", lambda path: (model, processor))
    return app.Demo({NAME: str(EMBEDDED)}), processor


def write(folder, contents):
    paths = [folder / name for name in ("before.tif", "after.tif")]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return [str(path) for path in paths]


def test_values_become_colors_as_the_model_says(app, sensor, tmp_path):
    demo, processor = sensor
    gray = [scene(96, 64, seed)[..., 0] for seed in range(2)]
    paths = write(tmp_path, [tiff(values.astype(np.float32) * 12) for values in gray])
    answer = demo.answer(*paths, NAME, 2)
    # The page shows what the model sees, at the image's own size.
    for image, values in zip(answer.pair, gray, strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.repeat(values[..., None], 3, -1))
    seen, once = (processor(images=[images], return_tensors="pt")["pixel_values"] for images in (answer.pair, paths))
    assert torch.equal(seen, once)
    wanted = app.describe(*app.cached_system(NAME), [load_image(path, value_range=RANGE) for path in paths], 2)
    assert answer.beams == wanted.beams


def test_images_of_several_bands_are_read_and_limited(app, sensor, tmp_path, monkeypatch):
    demo, processor = sensor
    bands = [np.stack([scene(40, 40, seed)[..., 0].astype(np.uint16) * 12] * 5) for seed in range(2)]
    paths = write(tmp_path, map(geotiff, bands))
    with pytest.raises(app.PairError, match=r"before: .*5 bands; say which to show"):
        demo.answer(*paths, NAME, 1)
    processor.bands = (3, 2, 1)
    assert demo.answer(*paths, NAME, 1).pair[0].size == (40, 40)
    monkeypatch.setattr(app, "MAX_PIXELS", 1500)
    with pytest.raises(app.PairError, match="before: 40x40 pixels are too many; 1,500 are allowed"):
        demo.answer(*paths, NAME, 1)
    monkeypatch.setitem(sys.modules, "rasterio", None)
    with pytest.raises(app.PairError, match=r'after: .*needs rasterio: pip install "ssgpa\[geo\]"'):
        demo.answer(*paths, NAME, 1)


def test_the_extra_for_heic_is_told(app, sensor, own_pair, tmp_path, monkeypatch):
    demo, _ = sensor
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(app.PairError, match=r'^after: .*needs pillow-heif: pip install "ssgpa\[heif\]"') as caught:
        demo.answer(str(own_pair[0]), str(tmp_path / "phone.heic"), NAME, 1)
    assert str(tmp_path) not in str(caught.value)


def test_the_default_length_is_the_packages_and_goes_behind_the_models(app, own_pair, monkeypatch):
    model, processor = load_system(str(EMBEDDED))
    pair = tuple(Image.open(path).convert("RGB") for path in own_pair)

    def tokens():
        return max(
            len(processor.tokenizer(text)["input_ids"]) for text, _ in app.describe(model, processor, pair, 1).beams
        )

    model.generation_config.max_new_tokens = model.generation_config.max_length = None
    monkeypatch.setitem(app.DECODING, "max_new_tokens", 2)
    short = tokens()
    monkeypatch.setitem(app.DECODING, "max_new_tokens", 40)
    assert tokens() > short
    model.generation_config.max_new_tokens = 2
    assert tokens() == short


def test_the_demo_captions_with_the_models_own_penalty(app):
    """As the pipeline does: of the caption's own words, not of the prompt's."""
    model, processor = load_system(str(EMBEDDED))
    model.generation_config.repetition_penalty = 1e-3
    pair = app.read_pair(*app.sample_pairs()[0], processor)
    pipe = ChangeCaptioningPipeline(model, processor=processor, task="change-captioning")
    found = app.describe(model, processor, pair, 3).beams[0][0]
    assert found == pipe(pair, num_beams=3)[0]["generated_text"]
    model.generation_config.repetition_penalty = 1.0
    assert found != app.describe(model, processor, pair, 3).beams[0][0]
