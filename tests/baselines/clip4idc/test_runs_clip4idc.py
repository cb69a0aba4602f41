# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""CLIP4IDC's shipped runs, each by its own command over a tiny CLIP: stage 1, its recall, stage 2."""

import json

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from ssgpa.baselines.clip4idc import CLIP4IDCForConditionalGeneration, CLIP4IDCForPairTextRetrieval
from ssgpa.data.prepared import load_prepared
from ssgpa.data.schema import NO_CHANGE
from ssgpa.training.arguments import parse_arguments, read_yaml
from ssgpa.training.dataset import PairDataset
from ssgpa.training.learning_rates import parse_factors, scale_learning_rates
from ssgpa.training.systems import set_trainable
from ssgpa.utils.loading import load_system

from ...examples.runs import ROOT, logged, options_of, prepare_set
from ...scripts import load_script
from ...tiny_systems import TINY_SYSTEMS
from .test_modeling_clip4idc import SIZES, tiny


CONFIGS = ROOT / "examples" / "configs" / "clip4idc"
SHARED = {"retrieval", "captions"}
SETS = {"clevr": "clevr_change", "spot": "spot_the_diff", "ier": "image_editing_request"}
SMALL = {"max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "use_cpu": True, "bf16": False}
SMALL |= {"dataloader_num_workers": 0, "disable_tqdm": True, "save_strategy": "no"}
CAPTIONS = {"generation_max_new_tokens": 4, "eval_strategy": "no", "load_best_model_at_end": False}


def write_clip(folder, texts):
    """A tiny CLIP checkpoint with a tokenizer of words, ended as CLIP's is."""
    words = sorted({word for text in texts for word in text.lower().replace(".", " .").split()})
    vocabulary = {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[(token, vocabulary[token]) for token in ("<|startoftext|>", "<|endoftext|>")],
    )
    names = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    PreTrainedTokenizerFast(tokenizer_object=inner, **names, unk_token="<|endoftext|>").save_pretrained(folder)
    ids = {"vocab_size": len(vocabulary), "bos_token_id": len(words), "eos_token_id": len(words) + 1}
    text = SIZES["text_config"] | ids | {"max_position_embeddings": 77}
    vision = SIZES["vision_config"] | {"num_hidden_layers": 12}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=32)).save_pretrained(folder)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip4idc")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.chdir(ROOT)
        texts = []
        for name in (*SETS.values(), "small_prepared_8x8", "still_prepared_8x8"):
            data = load_prepared(prepare_set(name, folder))
            texts += [text for row in data["train"]["captions"] for text in row]
        write_clip(folder / "clip", texts)
        words = ["--clip", str(folder / "clip"), "--output_dir", str(folder / "base")]
        assert load_script("make_base").main(words) == 0
        yield folder


@pytest.fixture(scope="module")
def stage_1(workshop):
    """Runs a first stage once; the folder of its model."""

    def run(name):
        folder = workshop / "runs" / name
        if not folder.exists():
            _, data, _ = parse_arguments([str(CONFIGS / f"{name}.yaml"), "--use_cpu", "true"])
            own = {} if "tiny" in name else {"model_name_or_path": workshop / "base"}
            values = {"data_dir": workshop / data.data_dir.rpartition("/")[2], "output_dir": folder, **SMALL, **own}
            assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(values)]) == 0
        return folder

    return run


def test_every_shipped_run_is_run_here():
    names = {f"{short}{kind}" for short in (*SETS, "clevr_tiny") for kind in ("", "_retrieval")}
    assert {path.stem for path in CONFIGS.glob("*.yaml")} - SHARED == names | {"clevr_tiny_second"}


def test_the_second_round_goes_on_from_the_first(stage_1, workshop, tmp_path):
    first = stage_1("clevr_tiny_retrieval") / "best"
    data = workshop / "small_prepared_8x8"
    values = {"model_name_or_path": first, "data_dir": data, "output_dir": tmp_path / "first", **SMALL, **CAPTIONS}
    assert load_script("train").main([str(CONFIGS / "clevr_tiny.yaml"), *options_of(values)]) == 0
    values |= {"model_name_or_path": tmp_path / "first" / "best", "output_dir": tmp_path / "second"}
    assert load_script("train").main([str(CONFIGS / "clevr_tiny_second.yaml"), *options_of(values)]) == 0
    assert list(logged(tmp_path / "second")) == [1, 2]
    # Neither name nor rate of the second file is another's.
    both = [read_yaml(CONFIGS / f"{name}.yaml") for name in ("clevr_tiny", "clevr_tiny_second")]
    other = {name for name in both[1] if both[1][name] != both[0].get(name)}
    assert other == {"model_name_or_path", "output_dir", "max_steps"}


@pytest.mark.parametrize("name", [*SETS, "clevr_tiny"])
def test_both_stages_run(name, stage_1, workshop, capsys):
    first = stage_1(f"{name}_retrieval")
    assert list(logged(first)) == [1, 2]
    data = workshop / SETS.get(name, "small_prepared_8x8")
    words = ["--model", str(first / "best"), "--data", str(data), "--split", "validation"]
    assert load_script("evaluate_retrieval").main([*words, "--output", str(first / "recall.json")]) == 0
    recall = json.loads((first / "recall.json").read_text("utf-8"))["recall"]
    assert recall.keys() == {f"{way}_r{n}" for way in ("text_to_pair", "pair_to_text") for n in (1, 5, 10)}
    folder = workshop / "runs" / name
    values = {"model_name_or_path": first / "best", "data_dir": data, "output_dir": folder, **SMALL, **CAPTIONS}
    values |= {"eval_strategy": "steps", "eval_steps": 2, "max_eval_pairs": 2} if name == "clevr" else {}
    assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(values)]) == 0
    model, processor = load_system(str(folder / "best"))
    assert type(model) is CLIP4IDCForConditionalGeneration
    # What stage 1 has not saved, stage 2 has.
    assert model.generation_config.max_new_tokens == 40
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
    if name != "clevr":
        return
    assert logged(folder, "eval_total_cider").keys() == {2}
    before, _ = load_system(str(first / "best"), model_class=CLIP4IDCForPairTextRetrieval)
    # The tables stay CLIP's; the tower learns.
    tower, other = model.model.vision_model, before.model.vision_model
    assert torch.equal(model.get_input_embeddings().weight, before.get_input_embeddings().weight)
    assert torch.equal(tower.embeddings.class_embedding, other.embeddings.class_embedding)
    assert not torch.equal(tower.joint_position_embedding, other.joint_position_embedding)


@pytest.mark.parametrize(("name", "slow", "fast"), [("retrieval", 1e-7, 4), ("captions", 1e-7, 91)])
def test_clip_learns_at_its_own_rate(name, slow, fast):
    model_class = CLIP4IDCForPairTextRetrieval if name == "retrieval" else CLIP4IDCForConditionalGeneration
    model = tiny(model_class)
    path = str(CONFIGS / f"{name}.yaml")
    arguments, _, options = parse_arguments([path, "--use_cpu", "true", "--bf16", "false", "--output_dir", "unused"])
    set_trainable(model, arguments.trainable, set())
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW([value for _, value in named], lr=options.learning_rate)
    scale_learning_rates(optimizer, named, parse_factors(options.learning_rate_factors))
    rates = {id(value): group["lr"] for group in optimizer.param_groups for value in group["params"]}
    own = [name for name, value in named if rates[id(value)] == pytest.approx(1e-4)]
    assert all(rates[id(value)] == pytest.approx(slow) for name, value in named if name not in own)
    assert len(own) == fast
    if name == "retrieval":
        assert all(any(word in one for word in ("pair_embedding", "joint_position", "mid_layernorm")) for one in own)
    else:
        assert all(one.startswith(("model.encoder.", "model.decoder.", "lm_head.")) for one in own)


@pytest.mark.parametrize(
    ("factors", "named"), [("{", "must map"), ('{"(": 1}', "must map"), ('{"x": "y"}', "must map"), ("[]", "must map")]
)
def test_factors_that_say_nothing_are_refused(factors, named):
    with pytest.raises(ValueError, match=named):
        parse_factors(factors)
    weight = torch.nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match="no_such_name"):
        scale_learning_rates(torch.optim.SGD([weight], lr=1.0), [("weight", weight)], {"no_such_name": 2.0})
    with pytest.raises(ValueError, match="negative"):
        parse_factors('{"x": -1}')


def test_pairs_without_a_change_can_be_left_out(workshop):
    rows = load_prepared(workshop / "clevr_change")["train"]
    _, processor = TINY_SYSTEMS["clip4idc"]()
    changed = PairDataset(rows, processor, changed_only=True, distractor_swap=True, seed=3)
    found = [changed[index] for index in range(len(changed))]
    kinds = [kind for kind in rows["change_type"] if kind != NO_CHANGE]
    assert [item["change_type"] for item in found] == kinds
    assert 0 < len(found) < len(rows)
    # Their images stand in all the same.
    plain = PairDataset(rows, processor, changed_only=True, seed=3)
    swapped = [(one["images"][0] != two["images"][0]).any() for one, two in zip(found, plain, strict=False)]
    assert 0 < sum(swapped) < len(found)
    still = rows.select([index for index, kind in enumerate(rows["change_type"]) if kind == NO_CHANGE])
    with pytest.raises(ValueError, match="changed_only"):
        PairDataset(still, processor, changed_only=True)
