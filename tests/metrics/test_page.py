import base64
import io
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ssgpa.data.clevr_change.captions import change_type_of
from ssgpa.metrics.bootstrap import compare_systems
from ssgpa.metrics.gallery import add_pictures, choose_pairs, describe_pairs, encode_map, encode_picture
from ssgpa.metrics.page import write_page
from ssgpa.metrics.plots import Bar, draw_bars, draw_histogram
from ssgpa.metrics.report import build_report


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
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


def pictures(count):
    for index in range(count):
        value = 10 * index
        yield {"before": Image.new("RGB", (48, 32), (value, 0, 0)), "after": Image.new("L", (640, 320), value)}


@pytest.fixture(scope="module")
def page(results, tmp_path_factory):
    cards = describe_pairs(ROWS, SAID)
    shown = choose_pairs(ROWS, 16)
    maps = np.linspace(0, 1, 16 * 2 * 2 * 3).reshape(16, 2, 2, 3)
    add_pictures([cards[index] for index in shown], pictures(16), maps)
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
    assert describe_pairs([row], {"a": "the red cube behind the sphere moved"})[0]["checks"][-1] == ["relation", True]


def test_pairs_of_every_type_are_chosen():
    kinds = [ROWS[index]["change_type"] for index in choose_pairs(ROWS, 8)]
    assert sorted(kinds) == sorted(["move", "color", "none", "drop"] * 2)
    assert choose_pairs(ROWS, 100) == list(range(20))
    assert choose_pairs(ROWS, 8) == choose_pairs(ROWS, 8)
    assert choose_pairs(ROWS, 8) != choose_pairs(ROWS, 8, seed=1)


def opened(url):
    kind, data = re.fullmatch(r"data:image/(\w+);base64,(.+)", url).groups()
    return kind, Image.open(io.BytesIO(base64.b64decode(data)))


def test_pictures_and_maps_are_kept_small_and_raw():
    kind, picture = opened(encode_picture(Image.new("RGBA", (640, 320), (0, 200, 0, 255))))
    assert (kind, picture.size) == ("jpeg", (320, 160))
    assert picture.getpixel((9, 9)) == pytest.approx((0, 200, 0), abs=3)
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
    assert len(reader.tables["floors"]) == 1 + 1 + len(results["floors"]) + len(results["ceilings"]) + 2
    rates = dict(reader.tables["rates"])
    assert rates["right change type"] == f"{100 * results['change_type_accuracy']['changed']:.1f}"
    assert rates["color right, where named"] == f"{100 * results['diagnosis']['attributes']['color']['right']:.1f}"
    assert reader.tables["comparison"][1][:2] == ["total", "BLEU-1"]
    assert ["model", "runs/<b>model</b>"] in reader.tables["facts"]


def test_a_collapse_is_told_on_the_page(results, tmp_path):
    cards = describe_pairs(ROWS, SAID)
    assert 'class="alarm"' not in write_page(tmp_path, results, cards).read_text(encoding="utf-8")
    broken = {**results, "no_change_rate": {"changed": 1.0, "unchanged": 1.0}}
    assert "have collapsed" in write_page(tmp_path, broken, cards).read_text(encoding="utf-8")


def test_bars_are_as_long_as_their_values():
    figure = draw_bars("a <b>", [Bar("x & y", 50, [40, 60]), Bar("z", 100, kind="floor")], 200)
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


STEPS = """
const seen = {};
const set = (id, value) => {
  const input = document.getElementById(id);
  if (input.type === "checkbox") input.checked = value; else input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  return [...document.querySelectorAll(".card")];
};
const pairs = (found) => found.map((card) => card.dataset.pair);
seen.all = pairs(set("type", ""));
seen.types = [...document.querySelectorAll("#type option")].map((option) => option.value);
seen.color = pairs(set("type", "color"));
seen.evil = document.querySelector('[data-pair="05"] .caption')?.textContent ?? null;
set("type", "");
seen.right = pairs(set("verdict", "right"));
seen.green = document.querySelectorAll(".card.right").length;
seen.wrong = pairs(set("verdict", "wrong"));
seen.struck = [...document.querySelectorAll('[data-pair="00"] .absent')].map((word) => word.textContent);
set("verdict", "");
set("metric", "rouge_l");
seen.best = pairs(set("low", "99.5"));
seen.count = document.getElementById("count").textContent;
set("low", "");
seen.worstFirst = pairs(set("order", "up"));
seen.found = pairs(set("words", "Purple CUBE"));
set("words", "");
const map = document.querySelector(".map");
seen.loaded = [...document.images].every((image) => image.complete && image.naturalWidth > 0);
seen.mapWide = map.getBoundingClientRect().width === map.previousSibling.getBoundingClientRect().width;
seen.mapShown = getComputedStyle(map).display;
set("maps", false);
seen.mapHidden = getComputedStyle(document.querySelector(".map")).display;
seen.title = document.title;
document.body.replaceChildren(Object.assign(document.createElement("pre"), { id: "seen" }));
document.getElementById("seen").textContent = JSON.stringify(seen);
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser(page, tmp_path):
    driven = tmp_path / "driven.html"
    script = f'<script>window.addEventListener("load", () => {{{STEPS}}});</script></body>'
    driven.write_text(page.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [BROWSER, *options, "--virtual-time-budget=5000", "--dump-dom", driven.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seen = json.loads(unescape(re.search(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL).group(1)))
    cards = {card["pair_id"]: card for card in describe_pairs(ROWS, SAID)}
    shown = [ROWS[index]["pair_id"] for index in choose_pairs(ROWS, 16)]
    assert seen["all"] == shown
    assert seen["types"] == ["", "color", "drop", "move", "none"]
    assert seen["color"] == [name for name in shown if cards[name]["change_type"] == "color"]
    assert seen["right"] == [name for name in shown if cards[name]["right"]]
    assert seen["green"] == len(seen["right"])
    assert sorted(seen["right"] + seen["wrong"]) == shown
    assert seen["best"] == [name for name in shown if cards[name]["rouge_l"] > 0.995]
    assert seen["count"] == f"{len(seen['best'])} of 16 pairs"
    assert [cards[name]["rouge_l"] for name in seen["worstFirst"]] == sorted(cards[name]["rouge_l"] for name in shown)
    assert sorted(seen["found"]) == [name for name in shown if "purple" in SAID[name]]
    assert seen["loaded"]
    assert seen["mapWide"]
    assert seen["mapShown"] == "block"
    assert seen["mapHidden"] == "none"
    # The caption that ends a script is text and nothing else.
    assert "evil" not in seen["title"]
    assert "05" not in shown or "document.title" in seen["evil"]
    assert "00" not in shown or seen["struck"] == ["large", "purple"]
