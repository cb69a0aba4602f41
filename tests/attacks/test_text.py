# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Captions, names and metadata that are code somewhere: every document shows them as the text that they are."""

import copy
import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from markdown import Markdown

from ssgpa.data.card import write_card
from ssgpa.data.findings import Findings
from ssgpa.data.readers.clevr_change import CLEVR_CHANGE, load_clevr_change
from ssgpa.hub.model_card import CardSample, render_card
from ssgpa.metrics.report.gallery import add_images, describe_pairs
from ssgpa.metrics.report.page import write_page
from ssgpa.utils.markup import plain_markdown

from ..metrics.report.test_page import ROWS, SAID, images
from ..metrics.report.test_page import results as plain_results
from .bad_files import MARKUP


results = plain_results
ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "ssgpa-clevr-tiny.json"


def html_of(text):
    return Markdown(extensions=["tables"]).convert(text)


@pytest.mark.parametrize("payload", MARKUP, ids=range(len(MARKUP)))
def test_markdown_shows_text_as_it_is(payload):
    """In a paragraph and in a cell of a table: no element comes of it, and every sign is there."""
    line = plain_markdown(payload)
    assert "\n" not in line
    plain = re.sub(r"\s", "", payload)
    for page in (line, f"| a | b |\n|---|---|\n| {line} | the end |"):
        shown = html_of(page)
        assert set(re.findall(r"<(\w+)", shown)) <= {"p", "table", "thead", "tbody", "tr", "th", "td"}
        assert shown.count("<td>") in (0, 2)
        text = re.sub(r"<[^>]*>", "", shown)
        for name, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&#124;", "|"), ("&amp;", "&")):
            text = text.replace(name, sign)
        # GitHub's Markdown takes these backslashes away, this one leaves them.
        found = re.sub(r"\\([|~$])", r"\1", re.sub(r"\s", "", text))
        assert plain in found


@pytest.mark.parametrize("payload", MARKUP, ids=range(len(MARKUP)))
def test_a_model_card_shows_them_as_text(payload):
    report = json.loads(RESULTS.read_text("utf-8"))
    report["model"] = report["split"] = payload
    types = report["scores"]["by_type"]
    types[payload] = types.pop("move")
    report["no_change_synonym"] = {"x": {**report["scores"]["total"], "caption": payload}}
    samples = [CardSample(Path("a.png"), Path("b.<b>"), payload)]
    harmless = [CardSample(Path("a.png"), Path("b"), "a caption")]
    card = render_card("org/tiny", None, report, samples, payload)
    # As many elements of each kind as with words in its place.
    usual = render_card("org/tiny", None, json.loads(RESULTS.read_text("utf-8")), harmless, "x")
    for tag in ("script", "img", "svg", "iframe", "a", "h1", "h2", "hr"):
        assert len(re.findall(rf"<{tag}\b", html_of(card.text))) == len(re.findall(rf"<{tag}\b", html_of(usual.text)))
    data = ModelCard(str(card)).data
    assert data.license == usual.data.license
    assert data.widget[0]["output"]["text"] == payload


@pytest.fixture(scope="module")
def dataset(rendered):
    return load_clevr_change(rendered)


@pytest.mark.parametrize("payload", MARKUP, ids=range(len(MARKUP)))
def test_a_data_card_shows_them_as_text(payload, dataset):
    findings = Findings(skip_faulty=True)
    findings.blame(f"{payload}.png", payload)
    findings.note("names", [payload])
    text = write_card(CLEVR_CHANGE, dataset, findings).split("---\n", 2)[2]
    shown = html_of(text)
    assert not re.search(r"<(script|img|svg|iframe|hr)\b", shown)
    assert shown.count("<h1") == 1
    assert shown.count("<a ") == html_of(write_card(CLEVR_CHANGE, dataset, Findings())).count("<a ")


def poisoned(results, payload):
    """Results in which everything that comes from data, from names or from a user is the payload."""
    report = copy.deepcopy(results)
    for name in ("model", "data", "split", "tokenizer", "java"):
        report[name] = payload
    report["protocol"] = {"description": payload}
    report["comparison"]["with"] = payload
    report["notes"] = [payload]
    report["versions"] = {payload: payload, "python": payload}
    report["decoding"] = {payload: payload}
    report["render_settings"] = {payload: payload}
    report["scores"]["by_type"][payload] = report["scores"]["by_type"].pop("move")
    for part in ("baselines", "upper_bounds"):
        report[part] = {f"{name} {payload}" if name not in report["best_constant_baseline"].values() else name: scores
                        for name, scores in report[part].items()}  # fmt: skip
    return report


def test_the_page_shows_them_as_text_in_a_browser(browser, results, tmp_path):
    """Every payload at once: as caption, reference, name and change type of a pair, and in all of the metadata."""
    rows, said = [], {}
    for number, payload in enumerate(MARKUP):
        row = ROWS[number % len(ROWS)]
        name = f"{number} {payload}"
        rows.append({**row, "pair_id": name, "change_type": payload, "captions": [payload, *row["captions"]]})
        said[name] = f"{SAID[row['pair_id']]} {payload}"
    cards = describe_pairs(rows, said)
    add_images(cards, images(len(cards)))
    page = write_page(tmp_path / "page", poisoned(results, " ".join(MARKUP)), cards)
    browser.open(page.as_uri())
    assert browser.evaluate("document.querySelectorAll('.card').length") == len(MARKUP)
    # Time for what loads late.
    browser.wait("new Promise((done) => setTimeout(done, 0)) && document.readyState === 'complete'")
    title = browser.evaluate("document.title")
    assert title != "evil"
    assert title.startswith(MARKUP[0][:8]) or " on " in title
    assert browser.evaluate("document.querySelectorAll('script').length") == 2
    assert browser.evaluate("document.querySelectorAll('iframe, object, embed, a, link, base').length") == 0
    handlers = (
        "[...document.querySelectorAll('*')].filter((one) => [...one.attributes].some((at) => /^on/.test(at.name)))"
    )
    assert browser.evaluate(f"{handlers}.length") == 0
    assert browser.evaluate("[...document.images].filter((one) => !one.src.startsWith('data:')).length") == 0
    assert (
        browser.evaluate("performance.getEntriesByType('resource').filter((one) => /^http/.test(one.name)).length")
        == 0
    )
    shown = browser.evaluate("[...document.querySelectorAll('.card li:first-child')].map((one) => one.textContent)")
    assert shown == list(MARKUP)


def test_a_page_runs_no_script_but_its_own(browser, results, tmp_path):
    """The second wall: what came in all the same would not run, and reach nobody."""
    cards = describe_pairs(ROWS, SAID)
    page = write_page(tmp_path / "page", results, cards)
    broken = page.read_text("utf-8").replace(
        "<h2>Scores</h2>",
        "<script>window.ran = true</script><img src='https://example.org/x.png' onerror='window.ran = true'>",
        1,
    )
    page.write_text(broken, encoding="utf-8")
    browser.open(page.as_uri())
    assert browser.evaluate("document.querySelectorAll('script').length") == 3
    assert browser.evaluate("window.ran") is None
    assert browser.text("#count").endswith("pairs")
