# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The card tells what the results file holds, whose weights they are, and what is not known."""

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from PIL import Image

from ssgpa import SSGPAForConditionalGeneration
from ssgpa.benchmarks.readme_table import format_report
from ssgpa.hub.model_card import CardMetadata, CardSample, render_card, sample_files
from ssgpa.hub.publish import read_facts
from ssgpa.pipeline_ssgpa import ChangeCaptioningPipeline

from ..tiny_systems import TINY_SYSTEMS
from .hub_store import card_errors


ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "ssgpa-clevr-tiny.json"
FACTS = ROOT / "examples" / "configs" / "cards" / "ssgpa-clevr-tiny.yaml"


@pytest.fixture(scope="module")
def results():
    return json.loads(RESULTS.read_text("utf-8"))


@pytest.fixture(scope="module")
def card(results):
    """The card of the embedded checkpoint."""
    samples = [CardSample(Path("a.png"), Path("b.jpg"), "the cube is gone")]
    return render_card("org/tiny", read_facts(FACTS), results, samples, "results.json", SSGPAForConditionalGeneration)


def test_the_card_is_valid_and_says_what_it_is(card):
    assert card_errors(str(card)) == []
    data = ModelCard(str(card)).data
    kind = {"license": "apache-2.0", "library_name": "transformers", "pipeline_tag": "image-text-to-text"}
    assert kind.items() <= data.to_dict().items()
    assert {"change-captioning", "ssgpa"} <= set(data.tags)
    assert data.metrics == ["bleu", "meteor", "rouge", "cider"]
    assert data.model_name == "tiny"
    assert 'model="org/tiny", revision="main", trust_remote_code=True' in card.text
    assert "{{" not in str(card)
    assert "1,690,390 parameters" in card.text
    assert "\n\n\n\n" not in str(card)


@pytest.mark.parametrize("name", list(TINY_SYSTEMS))
def test_cards_promise_maps_where_there_are_some(name):
    """The command of the card is run, and its promise kept."""
    model, processor = TINY_SYSTEMS[name]()
    text = " ".join(render_card("org/tiny", system=type(model)).text.split())
    (code,) = re.findall(r"print\(pipe\((.*?)\)\) ```", text)
    promised = "return_change_map=True" in code
    assert promised == ("a heat map of where the change is" in text) == ("Change maps are shown" in text)
    pipe = ChangeCaptioningPipeline(model=model, processor=processor)
    asked = {"return_change_map": True, "max_new_tokens": 2}
    images = (Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue"))
    if promised:
        assert pipe(images, **asked)[0]["change_map"].size == (32, 32)
    else:
        with pytest.raises(ValueError, match="change map"):
            pipe(images, **asked)


def test_scores_stand_beside_their_baselines(card, results):
    found = {(item.dataset_config, item.metric_type): item for item in ModelCard(str(card)).data.eval_results}
    assert len(found) == 12
    for block in ("changed", "unchanged", "total"):
        for key, kind in (("bleu_4", "bleu"), ("meteor", "meteor"), ("rouge_l", "rouge"), ("cider", "cider")):
            assert found[block, kind].metric_value == pytest.approx(results["scores"][block][key], abs=5e-5)
            assert found[block, kind].dataset_split == "test"
    assert format_report(results, "results.json") in card.text
    assert "| baseline: predictions shuffled over pairs |" in card.text


def test_samples_are_shown_with_their_files(card):
    (widget,) = ModelCard(str(card)).data.get("widget")
    assert widget["src"].endswith("org/tiny/resolve/main/samples/0_after.jpg")
    assert widget["output"] == {"text": "the cube is gone"}
    assert "| ![before](samples/0_before.png) | ![after](samples/0_after.jpg) | the cube is gone |" in card.text
    samples = [CardSample(Path("a.png"), Path("b.jpg"), "")]
    assert sample_files(samples) == {"samples/0_before.png": Path("a.png"), "samples/0_after.jpg": Path("b.jpg")}


def test_other_peoples_weights_keep_their_license():
    card = render_card("org/large", CardMetadata(base_models=["Salesforce/instructblip-vicuna-7b"]))
    data = ModelCard(str(card)).data
    assert card_errors(str(card)) == []
    assert data.license == "other"
    assert data.base_model == ["Salesforce/instructblip-vicuna-7b"]
    assert "Vicuna's weights derive from LLaMA" in card.text
    assert "trained from random ones" not in card.text
    assert data.eval_results is None
    assert "No results are stored yet." in card.text


def test_what_nobody_has_said_is_not_made_up():
    card = render_card("org/unknown")
    assert card_errors(str(card)) == []
    assert ModelCard(str(card)).data.license == "other"
    assert "Where the weights come from has not been written down" in card.text
    assert "How this checkpoint was trained has not been written down." in card.text
    with pytest.raises(ValueError, match="looks like owner/name"):
        render_card("name")


@pytest.mark.parametrize(
    ("text", "message"),
    [("licence: mit", "licence is none of a card's facts"), ("- a", "list is none of"), ("a: [", "is not YAML")],
)
def test_wrong_facts_are_named(tmp_path, text, message):
    (tmp_path / "facts.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read_facts(tmp_path / "facts.yaml")
    assert "facts.yaml" in str(caught.value)
