# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.clevr_renderer.captions.sentences import change_type_of
from ssgpa.metrics.bootstrap import compare_systems
from ssgpa.metrics.report.build import build_report
from ssgpa.metrics.report.gallery import add_images, choose_pairs, describe_pairs, encode_image, encode_map
from ssgpa.metrics.report.page import write_page
from ssgpa.metrics.report.plots import Bar, draw_bars, draw_histogram


EVIL = "the </script><script>document.title = 'evil'</script> <b>cube</b> moved"
COLORS = ("red", "green", "blue", "gray")


def make_rows():
    rows, said = [], {}
    for index, color in enumerate(COLORS * 5):
        kind = ("move", "color", "none", "drop")[index % 4]
        captions = {
            "move": [f"the small {color} cube moved", f"the {color} cube changed its location"],
            "color": [f"the {color} ball turned cyan", f"the large {color} ball became cyan"],
            "none": ["there is no change", "nothing has changed"],
            "drop": [f"the {color} cylinder is gone", f"the {color} cylinder behind the cube is missing"],
        }[kind]
        name = f"{index:02d}"
        rows.append({"pair_id": name, "change_type": kind, "captions": captions})
        said[name] = captions[0] if index % 3 else "the large purple cube moved"
    said["05"] = EVIL
    said["06"] = ""
    return rows, said


ROWS, SAID = make_rows()


@pytest.fixture(scope="module")
def results():
    report = build_report(ROWS, SAID, ROWS, change_type_of)
    facts = {
        "model": "runs/<b>model</b>",
        "data": "d",
        "split": "test",
        "decoding": {"num_beams": 5},
        "throughput": {},
    }
    report["comparison"] = {"with": "other", **compare_systems(ROWS, SAID, dict.fromkeys(SAID, "x"), draws=20)}
    return {**facts, **report}


def images(count):
    for index in range(count):
        value = 10 * index
        yield {"before": Image.new("RGB", (48, 32), (value, 0, 0)), "after": Image.new("L", (640, 320), value)}


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    cards = describe_pairs(ROWS, SAID)
    shown = choose_pairs(ROWS, 16)
    maps = np.linspace(0, 1, 16 * 2 * 2 * 3).reshape(16, 2, 2, 3)
    add_images([cards[index] for index in shown], images(16), maps)
    return write_page(tmp_path_factory.mktemp("page") / "new", results, cards)


class Reader(HTMLParser):
    """Tables and the addresses that a page asks for."""

    def __init__(self):
        super().__init__()
        self.tables, self.sources, self.open = {}, [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.sources += [value for name, value in attrs.items() if name in {"src", "href"}]
        if tag == "table":
            self.tables[attrs["id"]] = self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in {"td", "th"}:
            self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.rows[-1][-1] += data


def test_cards():
    cards = {card["pair_id"]: card for card in describe_pairs(ROWS, SAID)}
    assert cards["04"]["right"] is True
    assert cards["04"]["checks"] == [["type", True], ["size", True], ["color", True], ["shape", True]]
    assert cards["00"]["checks"] == [["type", True], ["size", False], ["color", False], ["shape", True]]
    assert cards["09"]["checks"][0] == ["type", False]
    assert cards["10"]["checks"] == [["change", True]]
    assert cards["18"]["checks"] == [["change", False]]
    assert cards["05"]["checks"] == [["sentence", False]]
    assert cards["06"]["words"] == []
    assert cards["00"]["words"] == [
        ["the", True],
        ["large", False],
        ["purple", False],
        ["cube", True],
        ["moved", True],
    ]
    assert cards["04"]["rouge_l"] == 1
    assert cards["05"]["caption"] == EVIL
    free = describe_pairs([{"pair_id": "a", "change_type": None, "captions": ["a man left"]}], {"a": "a man"})
    assert (free[0]["right"], free[0]["checks"]) == (None, [])


def test_missing_relations_are_wrong_where_all_references_use_one():
    row = {"pair_id": "a", "change_type": "move", "captions": ["the red cube behind the ball moved"]}
    assert describe_pairs([row], {"a": "the red cube moved"})[0]["checks"][-1] == ["relation", False]
    found = describe_pairs([row], {"a": "the red cube behind the sphere moved"})[0]
    assert (found["checks"][-1], found["right"]) == (["relation", True], True)
    found = describe_pairs([row], {"a": "the red cube left of the sphere moved"})[0]
    assert (found["checks"][-1], found["right"]) == (["relation", None], None)


def test_pairs_of_every_type_are_chosen():
    kinds = [ROWS[index]["change_type"] for index in choose_pairs(ROWS, 8)]
    assert sorted(kinds) == sorted(["move", "color", "none", "drop"] * 2)
    assert choose_pairs(ROWS, 100) == list(range(20))
    assert choose_pairs(ROWS, 8) == choose_pairs(ROWS, 8)
    assert choose_pairs(ROWS, 8) != choose_pairs(ROWS, 8, seed=1)


def opened(url):
    kind, data = re.fullmatch(r"data:image/(\w+);base64,(.+)", url).groups()
    return kind, Image.open(io.BytesIO(base64.b64decode(data)))


def test_images_and_maps_are_kept_small_and_raw():
    kind, image = opened(encode_image(Image.new("RGBA", (640, 320), (0, 200, 0, 255))))
    assert (kind, image.size) == ("jpeg", (320, 160))
    assert image.getpixel((9, 9)) == pytest.approx((0, 200, 0), abs=3)
    kind, cells = opened(encode_map(np.array([[0.0, 0.5, 2.0]])))
    assert (kind, cells.size) == ("png", (3, 1))
    assert [cells.getpixel((column, 0)) for column in range(3)] == [(255, 0, 0, 0), (255, 0, 0, 89), (255, 0, 0, 178)]


def test_the_page_needs_nothing_else(page, results):
    assert [path.name for path in page.parent.iterdir()] == ["index.html"]
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.sources == []
    assert "{{" not in text
    assert "url(" not in text
    assert "<b>model" not in text
    scores = {row[0]: row for row in reader.tables["scores"]}
    assert scores.keys() == {"block", "total", "changed", "unchanged", "color", "drop", "move"}
    total = results["scores"]["total"]
    assert scores["total"][1] == "20"
    low, high = total["intervals"]["cider"]
    assert scores["total"][-1] == f"{100 * total['cider']:.1f} {100 * low:.1f}\u2013{100 * high:.1f}"
    assert len(reader.tables["baselines"]) == 1 + 1 + len(results["baselines"]) + len(results["upper_bounds"]) + 2
    rates = dict(reader.tables["rates"])
    assert rates["right change type"] == f"{100 * results['change_type_accuracy']['changed']:.1f}"
    assert rates["color right, where named"] == f"{100 * results['diagnosis']['attributes']['color']['right']:.1f}"
    counts = dict(reader.tables["counts"])
    assert counts["changed pairs"] == str(results["diagnosis"]["pairs"])
    assert counts["by the references: relation used"] == str(results["diagnosis"]["relations"]["used"])
    assert reader.tables["comparison"][1][:2] == ["total", "BLEU-1"]
    assert ["model", "runs/<b>model</b>"] in reader.tables["facts"]


def test_a_collapse_is_told_on_the_page(results, tmp_path):
    cards = describe_pairs(ROWS, SAID)
    assert 'class="alarm"' not in write_page(tmp_path, results, cards).read_text(encoding="utf-8")
    broken = {**results, "no_change_rate": {"changed": 1.0, "unchanged": 1.0}}
    assert "have collapsed" in write_page(tmp_path, broken, cards).read_text(encoding="utf-8")


def test_bars_are_as_long_as_their_values():
    figure = draw_bars("a <b>", [Bar("x & y", 50, [40, 60]), Bar("z", 100, kind="baseline")], 200)
    widths = [float(width) for width in re.findall(r'<rect[^>]* width="([\d.]+)"', figure)]
    assert widths[1] == 2 * widths[0]
    assert "a &lt;b&gt;" in figure
    assert "x &amp; y" in figure
    low, high = (float(end) for end in re.search(r"M([\d.]+) \d+\.0H([\d.]+)M", figure).groups())
    assert (high - low) == pytest.approx(0.2 * widths[1], abs=0.2)
    assert draw_bars("nothing", []) == draw_histogram("nothing", []) == ""
    assert "nan" not in draw_bars("zero", [Bar("x", 0.0)])


def test_histogram_counts_every_value():
    figure = draw_histogram("h", [0, 0.04, 0.5, 1.0, 3.0])
    counts = [int(count) for count in re.findall(r"<title>(\d+) pairs", figure)]
    assert sum(counts) == 5
    assert (counts[0], counts[10], counts[-1]) == (2, 1, 2)


@pytest.fixture
def opened_page(browser, page):
    browser.open(page.as_uri())
    return browser


def seen(browser):
    """Pair ids of the cards that are shown, in their order."""
    return browser.evaluate("[...document.querySelectorAll('.card')].map((card) => card.dataset.pair)")


def test_clicks_on_filters_filter(opened_page):
    cards = {card["pair_id"]: card for card in describe_pairs(ROWS, SAID)}
    shown = [ROWS[index]["pair_id"] for index in choose_pairs(ROWS, 16)]
    assert seen(opened_page) == shown
    opened_page.click("#types .chip:nth-child(2)")
    color = [name for name in shown if cards[name]["change_type"] == "color"]
    assert seen(opened_page) == color
    assert opened_page.text("#types .chip:nth-child(2)") == f"color {len(color)}"
    opened_page.click("#verdicts .chip:nth-child(3)")
    assert seen(opened_page) == [name for name in color if cards[name]["right"] is False]
    opened_page.click("#types .chip:first-child")
    wrong = [name for name in shown if cards[name]["right"] is False]
    assert seen(opened_page) == wrong
    assert opened_page.evaluate("document.querySelectorAll('.card.wrong').length") == len(wrong)
    opened_page.click("#verdicts .chip:nth-child(2)")
    assert seen(opened_page) == [name for name in shown if cards[name]["right"]]
    opened_page.click("#verdicts .chip:first-child")
    opened_page.click("#low")
    opened_page.type("60")
    best = [name for name in shown if 100 * cards[name]["cider"] >= 60]
    assert 0 < len(best) < len(shown)
    assert seen(opened_page) == best
    assert opened_page.text("#count") == f"{len(best)} of 16 pairs"


def test_words_order_and_maps(opened_page):
    cards = {card["pair_id"]: card for card in describe_pairs(ROWS, SAID)}
    opened_page.choose("#order", "up")
    scores = [cards[name]["cider"] for name in seen(opened_page)]
    assert len(scores) == 16
    assert scores == sorted(scores)
    opened_page.click("#words")
    opened_page.type("Purple CUBE")
    assert seen(opened_page)
    assert all("purple" in SAID[name] for name in seen(opened_page))
    shown = "getComputedStyle(document.querySelector('.map')).display"
    assert opened_page.evaluate(shown) == "block"
    opened_page.click("#maps")
    assert opened_page.evaluate(shown) == "none"


def test_images_maps_and_colors(opened_page):
    loaded = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
    assert opened_page.evaluate(loaded)
    width = "(place) => document.querySelector(place).getBoundingClientRect().width"
    assert opened_page.evaluate(f"({width})('.map') === ({width})('.image')")
    struck = "[...document.querySelectorAll('[data-pair=\"00\"] .absent')].map((word) => word.textContent)"
    assert opened_page.evaluate(struck) == ["large", "purple"]
    # The caption that ends a script is text and nothing else.
    assert "evil" not in opened_page.evaluate("document.title")
    assert "document.title" in opened_page.text('[data-pair="05"] .caption')
