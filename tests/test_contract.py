# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What the shared code asks of a system, and gives to each: training from a YAML, evaluation, the Hub, remote code.

The toy systems are a folder each and a line in `tiny_systems.py`; nothing else in the repository knows them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedTokenizerFast

from ssgpa.benchmarks.variants.ablations import SSGPAWithSoftmaxAlignment
from ssgpa.data.prepared import load_prepared
from ssgpa.hub.model_card import render_card
from ssgpa.publishing_ssgpa import save_repository
from ssgpa.training.arguments import ChangeCaptioningArguments, ModelArguments
from ssgpa.training.collator import IGNORED, PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.features import open_cache
from ssgpa.training.lora import add_lora
from ssgpa.training.memory.count import count_memory, create_optimizer
from ssgpa.training.memory.inputs import TextSizes, example_batch, start_model
from ssgpa.training.streams import PairIterableDataset
from ssgpa.training.systems import config_class_of, create_system, set_trainable

from .remote_steps import compute
from .scripts import load_script
from .tiny_systems import TINY_SYSTEMS, WORDS, tiny_config


TESTS = Path(__file__).parent
TOYS = [name for name in TINY_SYSTEMS if name.startswith("toy_")]
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


def config_of(name):
    return TESTS / name / "tiny.json"


@pytest.fixture(scope="module")
def splits(prepared_dir, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        return load_prepared(prepared_dir)


@pytest.fixture
def start(splits):
    """A toy with the words of the prepared captions; options go to ModelArguments."""

    def make(name, **options):
        arguments = ModelArguments(model_config=str(config_of(name)), image_size=[32, 48], **options)
        captions = [caption for row in splits["train"]["captions"] for caption in row]
        return create_system(arguments, captions)[:2]

    return make


@pytest.mark.parametrize("name", TOYS)
def test_a_yaml_trains_evaluates_and_saves(name, prepared_dir, tmp_path, own_cache):
    run = {
        "data_dir": str(prepared_dir),
        "model_config": str(config_of(name)),
        "output_dir": str(tmp_path / "run"),
        "image_size": [32, 48],
        "captions_per_pair": 2,
        "distractor_swap": True,
        "augment": ["blur=0.5", "jpeg=0.5"],
        "cache_images": True,
        "per_device_train_batch_size": 2,
        "learning_rate": "1e-3",
        "max_steps": 4,
        "use_cpu": True,
        "logging_steps": 1,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_steps": 2,
        "load_best_model_at_end": True,
        "generation_max_new_tokens": 4,
        "disable_tqdm": True,
        "report_to": "none",
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(run), encoding="utf-8")
    assert load_script("train").main([str(path)]) == 0
    history = json.loads((tmp_path / "run" / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    assert all(entry["loss"] > 0 for entry in history if "loss" in entry)
    assert any("eval_total_cider" in entry for entry in history)
    results = tmp_path / "results.json"
    words = ["--model", str(tmp_path / "run" / "best"), "--data", str(prepared_dir), "--split", "validation"]
    words += ["--output", str(results), "--num_beams", "2", "--max_new_tokens", "4", "--no_meteor"]
    assert load_script("evaluate").main(words) == 0
    assert json.loads(results.read_text(encoding="utf-8"))["scores"]["total"]["n_items"] == 4


@pytest.mark.parametrize("name", TOYS)
def test_packed_captions_are_computed_as_if_each_stood_alone(name, start, splits):
    model, processor = start(name)
    model.eval()
    items = [PairDataset(splits["train"], processor, captions_per_pair=3)[index] for index in range(2)]
    batch = PairCollator(processor)(items)
    del batch["pair_ids"], batch["scene_ids"]
    packed = model(**batch)
    kept = batch["labels"][:, -packed.logits.shape[1] :]
    found = packed.logits[:, :-1][kept[:, 1:] != IGNORED]
    alone = []
    for row, item in enumerate(items):
        for caption in item["captions"]:
            single = PairCollator(processor)([item | {"captions": [caption]}])
            del single["pair_ids"], single["scene_ids"]
            logits = model(**single).logits
            labels = single["labels"][:, -logits.shape[1] :]
            alone.append(logits[:, :-1][labels[:, 1:] != IGNORED])
            assert torch.equal(single["pixel_values"][0], batch["pixel_values"][row])
    torch.testing.assert_close(found, torch.cat(alone), **CLOSE)


def test_concatenated_images_are_those_of_the_processor(start, splits):
    _, processor = start("toy_concatenating")
    row = splits["train"][1]
    wanted = processor(images=[[row["before"], row["after"]]], return_tensors="pt")["pixel_values"][0]
    assert wanted.shape == (3, 32, 48)
    at_hand = PairDataset(splits["train"], processor, cache=True)[1]
    assert at_hand["images"].shape == (3, 32, 48)
    for item in (at_hand, PairDataset(splits["train"], processor)[1]):
        pixels = PairCollator(processor)([item])["pixel_values"][0]
        torch.testing.assert_close(pixels, wanted, atol=1e-6, rtol=0)
    rows = PairIterableDataset(splits["train"].to_iterable_dataset(), processor, shuffle_buffer=0)
    items = iter(rows)
    next(items)
    torch.testing.assert_close(PairCollator(processor)([next(items)])["pixel_values"][0], wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", TOYS)
def test_memory_is_counted_for_every_system(name, tmp_path):
    arguments = ModelArguments(model_config=str(config_of(name)))
    model = start_model(arguments, "meta")
    batch = example_batch(model.config, [32, 32], 2, TextSizes(prompt=2, caption=5), "meta")
    options = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True, optim="adamw_torch")
    counted = count_memory(model, batch, create_optimizer(model, options))
    assert counted["total"] > counted["activations"] > 0
    assert {"vision_tower", "language_model", "lm_head"} <= counted["weights"].keys()


def test_lora_goes_where_a_checkpoint_has_trained(tmp_path):
    model, processor = TINY_SYSTEMS["toy_cross_attending"]()
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    arguments = ModelArguments(
        model_name_or_path=str(tmp_path), lora='{"target_modules": "model.language_model.*(query|value)", "r": 2}'
    )
    tuned = add_lora(model, arguments, set_trainable(model, ["projection"], set()))
    assert any("lora_A" in name for name, value in tuned.named_parameters() if value.requires_grad)
    other, _ = TINY_SYSTEMS["toy_concatenating"]()
    arguments.lora = '{"target_modules": "model.language_model.*(q_proj|v_proj)", "r": 2}'
    with pytest.raises(ValueError, match="no checkpoint pretrained"):
        add_lora(other, arguments, set_trainable(other, ["projection"], set()))


def test_what_a_system_does_not_offer_is_refused(start, tmp_path, script_errors):
    for name in TOYS:
        model, processor = start(name)
        assert model.get_auxiliary_features() is None
        arguments = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True)
        with pytest.raises(ValueError, match="feature_cache"):
            open_cache(str(tmp_path / "features"), model, processor, arguments)
        assert "lacks them" in script_errors(name, aux_attributes=0.5)


@pytest.fixture
def script_errors(prepared_dir, tmp_path, capsys, own_cache):
    """The last line on stderr of a run of `train.py` that is refused."""

    def run(name, **options):
        values = {"data_dir": str(prepared_dir), "model_config": str(config_of(name)), "image_size": [32, 48]}
        values |= {"output_dir": str(tmp_path / "refused"), "use_cpu": True, "max_steps": 1, **options}
        path = tmp_path / "refused.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        assert load_script("train").main([str(path)]) == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    return run


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"model_type": "llama"}, "does not caption changes"),
        ({"model_type": "no_such_model"}, "no_such_model"),
        ({"model_type": "toy_concatenating"}, "text_config"),
        ({"vision_config": {}}, "model_type"),
    ],
)
def test_a_configuration_that_is_no_system_is_named(values, named, tmp_path):
    path = tmp_path / "model.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(ValueError, match=named) as error:
        create_system(ModelArguments(model_config=str(path)), ["a word"])
    assert "model.json" in str(error.value)


def public_tokenizer(folder, kind):
    """A tokenizer as checkpoints of CLIP, BERT and Llama bring it: ends of a text, and which tokens are named."""
    names = {
        "clip": {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
        "bert": {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]"},
        "llama": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    }[kind]
    first, last = {
        "clip": ("bos_token", "eos_token"),
        "bert": ("cls_token", "sep_token"),
        "llama": ("bos_token", None),
    }[kind]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys([*names.values(), *WORDS]))}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token=names["unk_token"]))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [names[first], *([names[last]] if last else [])]
    template = f"{ends[0]} $A {ends[1]}" if last else f"{ends[0]} $A"
    inner.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(token, vocabulary[token]) for token in ends]
    )
    PreTrainedTokenizerFast(tokenizer_object=inner, **names).save_pretrained(folder)
    return vocabulary[ends[0]], vocabulary[names.get("eos_token") or names["sep_token"]]


@pytest.mark.parametrize("kind", ["clip", "bert", "llama"])
@pytest.mark.parametrize("name", TOYS)
def test_public_tokenizers_start_a_system(name, kind, start, tmp_path):
    first, last = public_tokenizer(tmp_path, kind)
    model, processor = start(name, tokenizer=str(tmp_path))
    prompt = processor.prompt_ids()
    assert prompt[0] == first
    assert prompt[-1] != last
    assert processor.caption_ids(["the red cube"])[0][-1] == last == model.generation_config.eos_token_id
    assert processor.tokenizer.pad_token_id == model.config.text_config.pad_token_id
    assert model.config.text_config.vocab_size == len(processor.tokenizer)
    if name == "toy_cross_attending":
        assert prompt == [first]
    else:
        assert prompt.count(model.config.image_token_id) == model.config.visual_tokens == 6
    pair = [Image.new("RGB", (48, 32), color) for color in ("red", "blue")]
    inputs = processor(images=[pair], return_tensors="pt")
    ids = model.eval().generate(**inputs, num_beams=1, max_new_tokens=4)
    assert len(processor.post_process_captions(ids, inputs)) == 1


@pytest.mark.parametrize("name", TINY_SYSTEMS)
def test_a_repository_brings_all_the_code_of_its_system(name, tmp_path):
    model, processor = TINY_SYSTEMS[name]()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    folder = tmp_path / name
    save_repository(model, processor, folder)
    files = []
    for side, angle in (("before", 0), ("after", 128)):
        files.append(str(tmp_path / f"{side}.png"))
        Image.linear_gradient("L").rotate(angle).resize((48, 40)).save(files[-1])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PYTHONPATH": ""}
    environment["HF_MODULES_CACHE"] = str(tmp_path / "modules")
    command = [sys.executable, str(TESTS / "remote_steps.py"), *files, str(folder)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    found = torch.load(folder.with_suffix(".pt"), weights_only=True)
    assert found.pop("module").startswith("transformers_modules.")
    auto = AutoModelForImageTextToText.from_pretrained, AutoProcessor.from_pretrained
    # The folder's own code is not asked for where the package knows the system.
    local = compute(str(folder), [files, files[::-1]], *auto, trust_remote_code=False)
    local.pop("module")
    assert found.keys() == local.keys()
    for key, value in local.items():
        assert torch.equal(found[key], value) if isinstance(value, torch.Tensor) else found[key] == value, key


@pytest.mark.parametrize("name", TINY_SYSTEMS)
def test_pairs_of_a_batch_do_not_meet(name):
    model, processor = TINY_SYSTEMS[name]()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            # A gate that is shut at the start would let no image through.
            parameter += 0.05 * torch.randn_like(parameter)
    images = torch.rand(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    # The images of the last pair are one.
    images[2, 1] = images[2, 0]

    def logits_of(pairs):
        inputs = processor(images=[list(pair) for pair in pairs], suffix=["red cube"] * 3, return_tensors="pt")
        inputs.pop("labels")
        with torch.no_grad():
            return model(**inputs).logits

    logits = logits_of(images)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits_of(images[[2, 0, 1]]), logits[[2, 0, 1]], **CLOSE)
    others = images.clone()
    others[0] = 1 - others[0]
    found = logits_of(others)
    torch.testing.assert_close(found[1:], logits[1:], **CLOSE)
    assert (found[0] - logits[0]).abs().max() > 1e-4
    swapped = logits_of(images.flip(1))
    # One of the toys reads both images as one set.
    assert name in TOYS or (swapped[:2] - logits[:2]).abs().flatten(1).amax(1).min() > 1e-5
    torch.testing.assert_close(swapped[2], logits[2], **CLOSE)


def test_two_files_of_one_name_cannot_lie_in_a_repository(tmp_path, monkeypatch):
    for folder in ("one", "one/two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "layers.py").write_text("X = 1\n", encoding="utf-8")
    code = "from .layers import X\nfrom ..layers import X as Y\nclass Z: pass\n"
    (tmp_path / "one/two/modeling_z.py").write_text(code, encoding="utf-8")
    (tmp_path / "one/__init__.py").touch()
    (tmp_path / "one/two/__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    from one.two.modeling_z import Z

    from ssgpa import publishing_ssgpa

    with pytest.raises(ValueError, match="layers"):
        publishing_ssgpa._copy_code(Z, tmp_path)


def test_a_card_tells_the_paper_and_tags_of_its_system():
    toy = type(TINY_SYSTEMS["toy_cross_attending"]()[0])
    card = render_card("me/toy", system=toy)
    assert "A Toy" in card.text
    assert "@misc{toy" in card.text
    assert {"change-captioning", "toy"} <= set(card.data.tags)
    assert "ssgpa" not in card.data.tags
    bare = render_card("me/toy", system=type(TINY_SYSTEMS["toy_concatenating"]()[0]))
    assert "Citation" not in bare.text


def test_ssgpa_says_what_shared_code_knew_of_it():
    model, _ = TINY_SYSTEMS["ssgpa"]()
    tower, compared, width, *_ = model.get_auxiliary_features()
    assert tower is model.get_vision_encoder() is model.model.vision_tower
    assert compared is model.model.alignment
    assert width == model.config.patch_hidden_size
    assert model.config.pixel_fields == ("warp_weight",)
    assert isinstance(tower, nn.Module)
    assert model.config.visual_tokens == 2 * model.config.image_seq_length
    assert config_class_of("ssgpa", Path("model.json")) is type(model.config)
    assert all(name in model.config.__dataclass_fields__ for name in model.config.training_fields)
    names = [name for name, _ in model.named_parameters()]
    assert any(name.startswith(model.pretrained_modules) for name in names)


def test_a_variant_of_another_module_is_published_with_its_base(tmp_path):
    variant = SSGPAWithSoftmaxAlignment(tiny_config())
    save_repository(variant, None, tmp_path)
    found = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["auto_map"]
    assert found["AutoModel"] == "modeling_ssgpa.SSGPAModel"
    assert found["AutoModelForImageTextToText"] == "ablations.SSGPAWithSoftmaxAlignment"
    assert {"ablations.py", "modeling_ssgpa.py", "system_ssgpa.py"} <= {path.name for path in tmp_path.iterdir()}


def test_what_is_no_system_is_not_published(tmp_path):
    with pytest.raises(ValueError, match=r"A Linear is no system"):
        save_repository(nn.Linear(1, 1), None, tmp_path)
