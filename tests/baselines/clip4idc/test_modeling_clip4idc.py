# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""CLIP4IDC: counts and layouts, parity with the authors' code, its two stages and where they start from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionModel
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from ssgpa.baselines import clip4idc
from ssgpa.baselines.clip4idc import (
    CLIP4IDCConfig,
    CLIP4IDCForConditionalGeneration,
    CLIP4IDCForPairTextRetrieval,
)
from ssgpa.baselines.clip4idc.retrieval import recalls
from ssgpa.benchmarks.measure_parity import draw_inputs, draw_weights, read_specification
from ssgpa.benchmarks.parity.clip4idc import compute
from ssgpa.hub.model_card import render_card
from ssgpa.training.arguments import ChangeCaptioningArguments, ModelArguments
from ssgpa.training.memory.count import count_memory, create_optimizer
from ssgpa.training.memory.inputs import TextSizes, example_batch, start_model

from ...tiny_systems import TINY_SYSTEMS


HERE = Path(__file__).parent
BOTH = (CLIP4IDCForPairTextRetrieval, CLIP4IDCForConditionalGeneration)
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
SIZES = {
    "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4},
    "text_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "projection_dim": 32,
}
SIZES["vision_config"] |= {"image_size": 32, "patch_size": 8, "projection_dim": 32}
SIZES["text_config"] |= {"vocab_size": 50, "max_position_embeddings": 20, "projection_dim": 32}
SIZES["text_config"] |= {"bos_token_id": 48, "eos_token_id": 49, "pad_token_id": 49}


def tiny(model_class, **fields):
    torch.manual_seed(0)
    values = SIZES | {"num_intra_layers": 2, "decoder_layers": 2, "decoder_attention_heads": 4} | fields
    return model_class(CLIP4IDCConfig(**values)).eval()


def captions():
    """Ids of three captions, padded with a word, and their mask."""
    ids = torch.tensor([[48, 5, 6, 7, 49, 3], [48, 8, 49, 3, 3, 3], [48, 9, 4, 6, 2, 49]])
    return ids, torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0], [1] * 6])


def count(parts):
    return sum(parameter.numel() for parameter in parts)


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(3, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_parameters_at_real_size():
    with torch.device("meta"):
        retriever, captioner = (model_class(CLIP4IDCConfig()) for model_class in BOTH)
    tower = retriever.model.vision_model
    new = [tower.pair_embedding, tower.joint_position_embedding, *tower.mid_layernorm.parameters()]
    assert count(new) == 79_872
    assert count(retriever.parameters()) == 151_277_313 + 79_872
    model, head = captioner.model, captioner.lm_head
    assert count(model.encoder.parameters()) == 9_457_152
    assert count(model.decoder.layers.parameters()) == 12_612_096
    assert count(model.decoder.layernorm.parameters()) == 1_024
    assert count(head.transform.parameters()) + head.decoder.bias.numel() == 313_088
    captioner.tie_weights()
    assert head.decoder.weight is model.text_model.embeddings.token_embedding.weight
    own = {id(one) for part in (model.encoder, model.decoder, head) for one in part.parameters()}
    own.discard(id(head.decoder.weight))
    assert count(one for one in captioner.parameters() if id(one) in own) == 22_383_360
    names = [name for name, _ in retriever.named_parameters()]
    kept = {name for name in names if "embeddings." in name or "pre_layrnorm" in name}
    assert count(dict(retriever.named_parameters())[name] for name in kept) == 27_736_320


@pytest.mark.parametrize(("patch", "tokens"), [(32, 50), (16, 197)])
def test_class_tokens_follow_the_grid(patch, tokens):
    config = CLIP4IDCConfig(vision_config={"patch_size": patch})
    assert config.image_positions == tokens
    with torch.device("meta"):
        tower = CLIP4IDCForPairTextRetrieval(config).model.vision_model
        states = tower(torch.empty(1, 2, 3, 224, 224)).last_hidden_state
    assert states.shape == (1, 2 * tokens, 768)
    assert tower.joint_position_embedding.shape == (2 * tokens, 768)


def test_the_pair_embedding_is_the_mean_of_both_class_tokens(pixels):
    model = tiny(CLIP4IDCForPairTextRetrieval)
    states = model.model.vision_model(pixels).last_hidden_state
    wanted = model.model.visual_projection((states[:, 0] + states[:, 17]) / 2)
    torch.testing.assert_close(model.get_pair_features(pixels).pooler_output, wanted, **CLOSE)


def test_images_meet_in_the_last_layers_alone(pixels):
    tower = tiny(CLIP4IDCForPairTextRetrieval).model.vision_model
    other = torch.stack([pixels[:, 0], pixels[:, 1].flip(-1)], 1)
    states = [tower(images, output_hidden_states=True).hidden_states for images in (pixels, other)]
    # What comes before the first layer, and out of the two that see one image; the third sees both.
    for depth in (0, 1, 2):
        before = [found[depth].unflatten(0, (-1, 2))[:, 0] for found in states]
        assert torch.equal(*before)
    assert not torch.allclose(*(found[3][:, :17] for found in states), atol=1e-4)
    swapped = tower(pixels.flip(1)).last_hidden_state
    assert not torch.allclose(swapped.roll(17, 1), tower(pixels).last_hidden_state, atol=1e-3)


def test_a_decoder_layer_attends_to_the_encoder_layer_of_its_number(pixels):
    model = tiny(CLIP4IDCForConditionalGeneration)
    features = model.get_image_features(pixels, return_dict=True)
    ids, mask = captions()
    seen = []
    for layer in model.model.decoder.layers:
        layer.crossattention.register_forward_hook(
            lambda module, words, options, output: seen.append(words[2]), with_kwargs=True
        )
    model(ids, pixels, mask)
    assert len(seen) == 2
    assert all(torch.equal(one, states) for one, states in zip(seen, features.memory_states, strict=True))


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """This side's outputs of the drawn weights, and what the authors' code computed of them."""
    specification = read_specification("clip4idc", "tiny")
    told = json.loads((HERE / "golden.json").read_text("utf-8"))
    path = tmp_path_factory.mktemp("golden") / "checkpoint.safetensors"
    save_file(draw_weights(specification["weights"], told["seed"]), path)
    inputs = draw_inputs(specification["inputs"], told["seed"])
    return compute(path, inputs, specification["fields"]), told["outputs"]


def test_outputs_are_those_of_the_authors_code(golden):
    found, wanted = golden
    assert found.keys() == wanted.keys()
    for name, figures in wanted.items():
        value = found[name]
        assert list(value.shape) == figures["shape"], name
        if "values" in figures:
            assert value.tolist() == figures["values"]
            continue
        total, squares = value.double().sum().item(), value.double().square().sum().item()
        assert total == pytest.approx(figures["sum"], abs=1e-4 * max(1, value.numel() ** 0.5)), name
        assert squares == pytest.approx(figures["sum_of_squares"], rel=1e-4), name


def test_the_stored_comparison_agrees():
    report = json.loads((HERE.parents[2] / "benchmarks/results/clip4idc-parity.json").read_text("utf-8"))
    assert {"tiny", "real"} <= report.keys()
    for size in report.values():
        assert size["agrees"]
        assert all(figures.get("largest_difference", 0) <= 1e-4 for figures in size["outputs"].values())
        assert size["outputs"]["greedy_ids"]["different_values"] == 0
        assert len(size["other_side"]["commit"]) == 40


def clip_of(folder, **fields):
    torch.manual_seed(1)
    values = {name: dict(value) if isinstance(value, dict) else value for name, value in SIZES.items()}
    values["text_config"] |= fields
    clip = CLIPModel(CLIPConfig(**values)).eval()
    clip.save_pretrained(folder)
    return clip


# Older checkpoints tell a wrong end token.
@pytest.mark.parametrize("eos", [49, 2])
@pytest.mark.parametrize("model_class", BOTH)
def test_all_of_a_clip_is_taken_over(model_class, eos, tmp_path, pixels):
    clip = clip_of(tmp_path, eos_token_id=eos)
    model = model_class.from_clip(tmp_path, num_intra_layers=2, decoder_attention_heads=4)
    if model.can_generate():
        assert model.generation_config.max_new_tokens == 32
    assert model.config.text_config.eos_token_id == 49
    theirs, ours = clip.state_dict(), model.state_dict()
    shared = [name for name in theirs if f"model.{name}" in ours]
    assert all(torch.equal(theirs[name], ours[f"model.{name}"]) for name in shared)
    if model_class is CLIP4IDCForPairTextRetrieval:
        assert len(shared) == len(theirs)
        ids, mask = captions()
        wanted = torch.stack(
            [
                clip.text_projection(clip.text_model(row[: n + 1].unsqueeze(0)).last_hidden_state[0, n])
                for row, n in zip(ids, (4, 2, 5), strict=True)
            ]
        )
        torch.testing.assert_close(model.get_text_features(ids, mask).pooler_output, wanted, **CLOSE)
    # Layers that see one image compute what CLIP's do.
    tower = CLIPVisionModel.from_pretrained(tmp_path).eval()
    plain = tower(pixels.flatten(0, 1), output_hidden_states=True).hidden_states[1]
    found = model.model.vision_model(pixels, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(found, plain, **CLOSE)


def test_another_checkpoint_is_refused(tmp_path):
    model, _ = TINY_SYSTEMS["ssgpa"]()
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="not 'clip'"):
        CLIP4IDCForPairTextRetrieval.from_clip(tmp_path)
    clip_of(tmp_path / "clip")
    file = tmp_path / "clip" / "model.safetensors"
    weights = load_file(file)
    del weights["visual_projection.weight"]
    save_file(weights, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: visual_projection\.weight"):
        CLIP4IDCForPairTextRetrieval.from_clip(tmp_path / "clip", num_intra_layers=2)


@pytest.mark.parametrize("change", ["missing", "more"])
def test_a_checkpoint_of_the_authors_must_fit(change, tmp_path):
    weights = draw_weights(read_specification("clip4idc", "tiny")["weights"], 0)
    name = "clip.visual.ln_mid.bias"
    if change == "missing":
        del weights[name]
    else:
        weights["clip.visual.conv2.weight"] = torch.zeros(1)
    torch.save(weights, tmp_path / "pytorch_model.bin.0")
    with pytest.raises(ValueError, match="mid_layernorm" if change == "missing" else "conv2"):
        CLIP4IDCForPairTextRetrieval.from_official(tmp_path / "pytorch_model.bin.0", num_intra_layers=3)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"clip.logit_scale": Attack()}, tmp_path / "evil.bin")
    with pytest.raises(ValueError, match="no tensors that could be read"):
        CLIP4IDCForPairTextRetrieval.from_official(tmp_path / "evil.bin")
    assert not (tmp_path / "ran").exists()


def test_stage_2_starts_from_stage_1(tmp_path):
    first = tiny(CLIP4IDCForPairTextRetrieval)
    first.save_pretrained(tmp_path)
    second, report = CLIP4IDCForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["unexpected_keys"]
    assert all(name.startswith(("model.encoder.", "model.decoder.", "lm_head.")) for name in report["missing_keys"])
    ours, theirs = second.state_dict(), first.state_dict()
    kept = ours.keys() & theirs.keys()
    assert any("vision_model" in name for name in kept)
    assert all(torch.equal(ours[name], theirs[name]) for name in kept)


def test_a_row_of_captions_may_be_longer_than_the_table_of_positions(pixels):
    model = tiny(CLIP4IDCForConditionalGeneration)
    ids = torch.arange(12).repeat(1, 3)
    places = torch.arange(12).repeat(1, 3)
    alone = torch.block_diag(*[torch.ones(12, 12)] * 3).tril() == 0
    mask = torch.zeros(1, 1, 36, 36).masked_fill(alone, torch.finfo(torch.float32).min)
    row = model(ids, pixels[:1], mask, places).logits
    for caption in row.split(12, 1):
        torch.testing.assert_close(caption, model(ids[:, :12], pixels[:1]).logits, **CLOSE)
    with pytest.raises((ValueError, RuntimeError), match="table of 20 positions"):
        model(ids, pixels[:1])


def test_the_contrast_is_symmetric_and_bounded(pixels):
    model = tiny(CLIP4IDCForPairTextRetrieval)
    ids, mask = captions()
    for scale, bound in ((2.0, 2.0), (9.0, model.config.max_logit_scale)):
        model.model.logit_scale.data.fill_(scale)
        output = model(ids, pixels, mask, return_loss=True)
        cosines = output.text_embeds @ output.pair_embeds.T
        torch.testing.assert_close(output.logits_per_text, torch.tensor(bound).exp() * cosines, **CLOSE)
        torch.testing.assert_close(output.loss, image_text_contrastive_loss(output.logits_per_text), **CLOSE)
        model.zero_grad()
        output.loss.backward()
        # Beyond its bound it can still come back.
        assert model.model.logit_scale.grad.abs() > 0
    with pytest.raises(ValueError, match="captions_per_pair"):
        model(ids, pixels, torch.zeros(3, 1, 6, 6))


def test_padding_changes_nothing(pixels):
    model = tiny(CLIP4IDCForPairTextRetrieval)
    ids, mask = captions()
    wanted = model.get_text_features(ids, mask).pooler_output
    rolled = torch.stack([row.roll(int((1 - seen).sum())) for row, seen in zip(ids, mask, strict=True)])
    left = torch.stack([row.roll(int((1 - row).sum())) for row in mask])
    torch.testing.assert_close(model.get_text_features(rolled, left).pooler_output, wanted, **CLOSE)


def test_recall_counts_ranks_both_ways():
    similarity = torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 2.0], [5.0, 4.0, 3.0], [0.0, 0.0, 9.0]])
    found = recalls(similarity, torch.tensor([0, 1, 1, 2]))
    assert found["text_to_pair_r1"] == 50.0
    assert found["text_to_pair_r5"] == 100.0
    # Pair 0 is nearer to a caption of pair 1 than to its own.
    assert found["pair_to_text_r1"] == pytest.approx(200 / 3)
    assert recalls(torch.zeros(20, 20), torch.arange(20))["text_to_pair_r10"] == 0.0
    with pytest.raises(ValueError, match="needs a caption"):
        recalls(similarity, torch.tensor([0, 1, 1, 1]))


PROCESSES = """
import sys
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from ssgpa.tests.baselines.clip4idc.test_modeling_clip4idc import BOTH, captions, tiny

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(3)
pixels = torch.randn(4, 2, 3, 32, 32)
ids, mask = (torch.cat([one, one[:1].clone()]) for one in captions())
ids[3, 1] = 12
mine = slice(2 * rank, 2 * rank + 2)
model = DistributedDataParallel(tiny(BOTH[0]).train())
model(ids[mine], pixels[mine], mask[mine], return_loss=True).loss.backward()
whole = tiny(BOTH[0]).train()
# As if there were one process.
dist.is_initialized = lambda: False
whole(ids, pixels, mask, return_loss=True).loss.backward()
for (name, one), other in zip(model.module.named_parameters(), whole.parameters()):
    torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4, msg=name)
"""


def test_the_batches_of_all_processes_are_one(tmp_path):
    script = tmp_path / "processes.py"
    script.write_text(PROCESSES, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_intra_layers": 4}, "num_intra_layers"),
        ({"projection_dim": 64}, "projection_dim"),
        ({"decoder_layers": 0}, "decoder_layers"),
        ({"decoder_attention_heads": 5}, "decoder_attention_heads"),
    ],
)
def test_parts_that_do_not_fit_are_refused(fields, named):
    with pytest.raises(Exception, match=named):
        CLIP4IDCConfig(**SIZES | {"num_intra_layers": 2} | fields)


def test_the_card_tells_the_paper():
    card = render_card("me/clip4idc", system=CLIP4IDCForConditionalGeneration)
    assert "CLIP4IDC: CLIP for Image Difference Captioning" in card.text
    assert "@inproceedings{guo2022clip4idc" in card.text
    assert {"change-captioning", "clip4idc"} <= set(card.data.tags)


def test_memory_is_counted(tmp_path):
    arguments = ModelArguments(model_config=str(Path(clip4idc.__file__).with_name("tiny.json")))
    model = start_model(arguments, "meta")
    batch = example_batch(model.config, [32, 32], 2, TextSizes(prompt=1, caption=5), "meta")
    options = ChangeCaptioningArguments(output_dir=str(tmp_path), use_cpu=True, optim="adamw_torch")
    counted = count_memory(model, batch, create_optimizer(model, options))
    assert counted["total"] > counted["activations"] > 0
    assert {"vision_model", "encoder", "decoder", "lm_head"} <= counted["weights"].keys()


def test_without_images_nothing_is_written(pixels):
    model = tiny(CLIP4IDCForConditionalGeneration)
    ids, mask = captions()
    with pytest.raises(ValueError, match="pixel_values"):
        model(ids, attention_mask=mask)
    with pytest.raises(ValueError, match="must hold pairs"):
        model(ids, pixels[:, 0], mask)


def test_the_end_token_is_looked_for_among_the_words_alone():
    model = CLIP4IDCForPairTextRetrieval(TINY_SYSTEMS["clip4idc"]()[0].config).eval()
    end = model.config.text_config.eos_token_id
    words = torch.tensor([[1, 7, 8, end]])
    padded = torch.tensor([[end, end, 1, 7, 8, end]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1]])
    with torch.inference_mode():
        plain = model.get_text_features(words, torch.ones_like(words), return_dict=True).pooler_output
        left = model.get_text_features(padded, mask, return_dict=True).pooler_output
        torch.testing.assert_close(plain, left, atol=1e-5, rtol=1e-4)
        with pytest.raises(Exception, match="no end token"):
            model.get_text_features(words[:, :3], torch.ones(1, 3).long())


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("text_layers", [1, 2, 5])
def test_a_cache_does_not_go_by_the_layers_of_the_text_tower(text_layers, beams, pixels):
    """`generate` counts those; the decoder has layers of its own."""
    text = SIZES["text_config"] | {"num_hidden_layers": text_layers}
    model = tiny(CLIP4IDCForConditionalGeneration, decoder_layers=3, text_config=text)
    ids = torch.full((3, 1), 48)
    found = [
        model.generate(
            ids, pixel_values=pixels, num_beams=beams, max_new_tokens=6, do_sample=False, use_cache=use_cache
        )
        for use_cache in (True, False)
    ]
    assert found[0].shape[1] > 2
    assert torch.equal(*found)
