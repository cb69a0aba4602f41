# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""ProCap's beginnings: layers of a CLIP, a VQGAN in two layouts, checkpoints of the authors' code."""

import argparse
import json
import sys
import types

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPVisionModel
from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAE

from ssgpa.baselines.procap import ProCapForConditionalGeneration, ProCapForPreTraining, ProCapVQTokenizer
from ssgpa.baselines.procap.conversion_procap import RELEASED, convert_vocabulary, convert_vqgan
from ssgpa.benchmarks.measure_parity import draw_weights, read_specification

from .cases import CLOSE, SIZES, captions, clips, tiny, tiny_config


OTHER_SIZES = {name: value for name, value in SIZES.items() if name not in ("vision_config", "vq_config")}


@pytest.fixture(scope="module")
def clip():
    torch.manual_seed(3)
    vision = SIZES["vision_config"] | {"num_hidden_layers": 3, "image_size": 32, "patch_size": 8}
    text = SIZES["vision_config"] | {"vocab_size": 60, "max_position_embeddings": 20}
    return CLIPModel(CLIPConfig(vision_config=vision, text_config=text)).eval()


@pytest.fixture(scope="module")
def vqgan(tmp_path_factory):
    """A file of taming-transformers: a VQGAN with attention at its lowest level, and what its training adds."""
    torch.manual_seed(4)
    config = tiny_config(vq_config=SIZES["vq_config"] | {"attn_resolutions": [4]}).vq_config
    model = ProCapVQTokenizer(config)
    weights = dict(model.state_dict())
    extra = ("decoder.conv_in.weight", "loss.perceptual_loss.lin0.weight", "loss.discriminator.main.0.weight")
    path = tmp_path_factory.mktemp("vqgan") / "last.ckpt"
    state = weights | {name: torch.randn(3) for name in extra}
    callback = type("ModelCheckpoint", (), {"__module__": "pytorch_lightning.callbacks.model_checkpoint"})
    with pytest.MonkeyPatch.context() as patch:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", callback.__module__):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        sys.modules[callback.__module__].ModelCheckpoint = callback
        torch.save({"state_dict": state, "epoch": 3, "callbacks": {callback: {"best": "x"}}}, path)
    return path, model.eval()


def published(tmp_path, part=None, change=None):
    """A checkpoint in the authors' format, as a file of safetensors or as one part of a pickled file."""
    specification = read_specification("procap", "tiny")
    weights = draw_weights(specification["weights"], 0, specification["factors"])
    if change is not None:
        change(weights)
    if part is None:
        save_file(weights, tmp_path / "checkpoint.safetensors")
        return tmp_path / "checkpoint.safetensors"
    if part == "weights":
        prefix = "intermediate_generator."
        weights = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    torch.save({part: weights}, tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt"


def equal_layers(model, clip, layers):
    ours, theirs = model.model.encoder.transformer.layers, clip.vision_model.encoder.layers
    assert len(ours) == layers
    for mine, other in zip(ours, theirs, strict=False):
        assert mine.state_dict().keys() == other.state_dict().keys()
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in mine.state_dict().items())


def test_layers_of_a_clip(clip, tmp_path):
    tower = CLIPVisionModel(clip.config.vision_config)
    tower.load_state_dict(
        {name.removeprefix("vision_model."): value for name, value in clip.state_dict().items()}, False
    )
    clip.save_pretrained(tmp_path / "clip")
    fields = OTHER_SIZES | {"vq_config": SIZES["vq_config"]}
    for source in (clip, str(tmp_path / "clip")):
        model = ProCapForPreTraining.from_clip(source, **fields)
        assert not model.training
        equal_layers(model, clip, 3)
    equal_layers(ProCapForConditionalGeneration.from_clip(clip, layers=2, **fields), clip, 2)
    equal_layers(ProCapForPreTraining.from_clip(clip.vision_model, **fields), clip, 3)
    with pytest.raises(ValueError, match="has 3 layers, of which 4"):
        ProCapForPreTraining.from_clip(clip, layers=4, **fields)
    text = CLIPTextModel(CLIPTextConfig(**SIZES["vision_config"], vocab_size=60))
    with pytest.raises(ValueError, match="clip_text_model"):
        ProCapForPreTraining.from_clip(text, **fields)


def test_a_clip_that_lacks_a_weight_is_refused(clip, tmp_path):
    clip.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if name.endswith("vision_model.encoder.layers.1.mlp.fc1.weight"))
    save_file({name: value for name, value in weights.items() if name != lost}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"layers\.1\.mlp\.fc1\.weight"):
        ProCapForPreTraining.from_clip(str(tmp_path), **OTHER_SIZES, vq_config=SIZES["vq_config"])


def test_a_vqgan_of_taming_transformers(clip, vqgan):
    path, source = vqgan
    model = ProCapForPreTraining.from_clip(clip, vqgan=path, resolution=32, **OTHER_SIZES)
    tower = model.get_vision_encoder().tokenizer
    assert tower.state_dict().keys() == source.state_dict().keys()
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in tower.state_dict().items())
    pixels = clips().flatten(0, 1)
    features, codes = model.get_vision_encoder().encode(clips())
    expected = source.encode(pixels)
    torch.testing.assert_close(features.flatten(0, 1), expected.last_hidden_state.flatten(2).transpose(1, 2), **CLOSE)
    assert torch.equal(codes.flatten(), expected.image_tokens)
    # Its attention belongs to the lowest level, whatever the size of the images.
    values, _ = convert_vqgan(path, resolution=64)
    assert values["attn_resolutions"] == [8]
    values, weights = convert_vqgan(path, resolution=32, keep_attention=False)
    assert values["attn_resolutions"] is None
    assert not [name for name in weights if ".down." in name and ".attn." in name]


def test_the_layout_of_chameleon(clip, vqgan, tmp_path):
    source = ChameleonVQVAE(vqgan[1].config)
    source.load_state_dict(vqgan[1].state_dict())
    source.save_pretrained(tmp_path)
    for given in (source, str(tmp_path)):
        model = ProCapForConditionalGeneration.from_clip(clip, vqgan=given, resolution=64, **OTHER_SIZES)
        assert model.config.vq_config.attn_resolutions == [8]
        assert model.config.patch_grid == (8, 8)
        tower = model.get_vision_encoder().tokenizer
        assert all(torch.equal(value, source.state_dict()[name]) for name, value in tower.state_dict().items())
    with pytest.raises(ValueError, match="CLIPModel is no `ChameleonVQVAE`"):
        convert_vqgan(clip)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda weights: weights.pop("encoder.mid.block_1.norm1.weight"), r"missing: encoder\.mid\.block_1\.norm1"),
        (lambda weights: weights.update({"surplus.weight": torch.zeros(2)}), r"without a place: surplus\.weight"),
        (lambda weights: weights.update({"quant_conv.bias": torch.zeros(9)}), r"another shape: quant_conv\.bias"),
        (lambda weights: weights.pop("quantize.embedding.weight"), "it has no 'quantize.embedding.weight'"),
    ],
)
def test_a_vqgan_that_does_not_fit_is_refused(vqgan, tmp_path, change, named):
    weights = dict(vqgan[1].state_dict())
    change(weights)
    torch.save({"state_dict": weights}, tmp_path / "broken.ckpt")
    with pytest.raises(ValueError, match=named):
        convert_vqgan(tmp_path / "broken.ckpt", 32)


def test_checkpoints_of_both_stages(tmp_path):
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first, second = published(tmp_path / "first", "weights"), published(tmp_path / "second", "model")
    ids, pixels = torch.randint(9, 40, (2, 6)), torch.rand(2, 4, 3, 64, 64)
    models = [ProCapForPreTraining.from_official(path) for path in (first, second)]
    assert models[0].config.vocab_size == 200
    assert models[0].config.bos_token_id == 198
    with torch.no_grad():
        states = [model(ids, pixels).last_hidden_state for model in models]
    torch.testing.assert_close(*states)
    captioner = ProCapForConditionalGeneration.from_official(second)
    config = captioner.config
    assert {name: getattr(config, name) for name in RELEASED} == RELEASED
    assert (config.vocab_size, config.text_vocab_size, config.num_frames, config.patch_grid) == (40, 200, 4, (4, 4))
    settings = captioner.generation_config
    assert (settings.suppress_tokens, settings.max_new_tokens, settings.num_beams) == ([6], 11, 1)
    # Of stage 1 alone, all but the decoder is there.
    started = ProCapForConditionalGeneration.from_official(first, **{**OTHER_SIZES, "text_length": 12})
    with torch.no_grad():
        features = [one.get_image_features(pixels[:, [0, 3]]).last_hidden_state for one in (captioner, started)]
    torch.testing.assert_close(*features)
    corrected = ProCapForConditionalGeneration.from_official(second, text_slots="padding", shared_queries=False)
    assert corrected.model.encoder.text.token_embeddings is None
    assert corrected.model.query_embeddings.abs().sum() == 0


def test_a_captioner_without_stage_1_has_a_table_of_padding_alone(tmp_path):
    def cut(weights):
        weights["intermediate_generator.text_emb.weight"] = weights["intermediate_generator.text_emb.weight"][:13]

    model = ProCapForConditionalGeneration.from_official(published(tmp_path, change=cut))
    assert model.config.text_slots == "padding"
    assert model.model.encoder.text.padding_embeddings.shape == (12, 128)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda weights: weights.pop("mlp.2.bias"), r"missing: model\.memory\.fc2\.bias"),
        (lambda weights: weights.update({"mlp.9.bias": torch.zeros(2)}), r"without a place: mlp\.9\.bias"),
        (lambda weights: weights.update({"mlp.2.bias": torch.zeros(9)}), r"another shape: model\.memory\.fc2\.bias"),
        (lambda weights: weights.pop("intermediate_generator.image_mask"), "it has no 'image_mask'"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path, change, named):
    with pytest.raises(ValueError, match=named):
        ProCapForConditionalGeneration.from_official(published(tmp_path, change=change))


def test_files_with_more_than_tensors_are_refused(tmp_path):
    """Their checkpoints of stage 2 hold the options of the program; VQGANs hold callbacks, which do no harm."""
    path = published(tmp_path, "model")
    state = torch.load(path, weights_only=True)
    torch.save(state | {"opt": argparse.Namespace(seed=52)}, path)
    with pytest.raises(ValueError, match=r"checkpoint\.pt .* a argparse\.Namespace is among them.*tensors alone"):
        ProCapForConditionalGeneration.from_official(path)
    # What the error asks for.
    torch.save(torch.load(path, weights_only=False)["model"], path)
    assert ProCapForConditionalGeneration.from_official(path).config.hidden_size == 64
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match=r"checkpoint\.pt holds no tensors by name in weights or model"):
        ProCapForConditionalGeneration.from_official(path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint\.pt holds no tensors that could be read"):
        ProCapForConditionalGeneration.from_official(path)


def test_their_vocabulary_becomes_a_tokenizer(tmp_path):
    words = [
        "[PAD]",
        "[CLS]",
        "[SEP]",
        "[VID]",
        "[BOS]",
        "[EOS]",
        "[UNK]",
        "[MASK]",
        "the",
        "red",
        "cube",
        "is",
        "n't",
    ]
    words += ["there", ",", "'s", "blue-green", "."]
    (tmp_path / "words.json").write_text(json.dumps({word: index for index, word in enumerate(words)}), "utf-8")
    tokenizer = convert_vocabulary(tmp_path / "words.json")
    ids = tokenizer("The red cube isn't there, there's blue-green.").input_ids
    split = ["[BOS]", "the", "red", "cube", "is", "n't", "there", ",", "there", "'s", "blue-green", "."]
    assert tokenizer.convert_ids_to_tokens(ids) == split
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 4, 5)
    assert tokenizer("a sphere").input_ids == [4, 6, 6]
    (tmp_path / "words.json").write_text('{"[PAD]": 1}', "utf-8")
    with pytest.raises(ValueError, match="no vocabulary of ProCap"):
        convert_vocabulary(tmp_path / "words.json")


def test_a_model_is_saved_with_its_settings(tmp_path):
    model = tiny(ProCapForConditionalGeneration, **RELEASED)
    model.save_pretrained(tmp_path)
    loaded = ProCapForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert {name: getattr(loaded.config, name) for name in RELEASED} == RELEASED
    ids, mask = captions()
    with torch.no_grad():
        logits = [one(ids, clips()[:, [0, 3]], mask).logits for one in (model, loaded)]
    torch.testing.assert_close(*logits)
