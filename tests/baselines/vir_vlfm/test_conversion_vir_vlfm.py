# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Weights of InstructBLIP, BLIP-2 and the released code's files: every one of them, or an error that names it."""

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import decoders
from transformers import LlamaForCausalLM

from ssgpa.baselines.vir_vlfm import VIRVLFMForConditionalGeneration
from ssgpa.baselines.vir_vlfm.conversion_vir_vlfm import END_SIGN_IDS, convert_tokenizer

from ...test_conversion_ssgpa import INSTRUCTION, tiny_source
from ...tiny_systems import tiny_tokenizer
from .cases import SIZES, official_files, official_state, random_batch, random_model


CLOSE = {"atol": 1e-5, "rtol": 1e-5}
FIELDS = {"text_config": {"num_key_value_heads": 1, "max_position_embeddings": 256}}


@pytest.fixture(scope="module")
def model():
    return random_model()


def language_model_of(model):
    writer = LlamaForCausalLM(model.config.text_config)
    state = {name.replace("model.language_model.", "model."): value for name, value in model.state_dict().items()}
    writer.load_state_dict({name: value for name, value in state.items() if name in writer.state_dict()})
    return writer


def check_equal(found, model):
    states, others = found.state_dict(), model.state_dict()
    assert states.keys() == others.keys()
    assert [name for name, value in states.items() if not torch.equal(value, others[name])] == []


def test_one_file_holds_all_of_it(model, tmp_path):
    save_file(official_state(model), tmp_path / "all.safetensors")
    found = VIRVLFMForConditionalGeneration.from_official(tmp_path / "all.safetensors", **FIELDS)
    check_equal(found, model)
    told = found.config.to_dict()
    for name, value in SIZES.items():
        if isinstance(value, dict):
            known = {key: told[name][key] for key in value if key != "initializer_range"}
            assert known == {key: value[key] for key in known}
        else:
            assert told[name] == value
    assert found.config.average_pairs
    assert not found.training
    batch = random_batch(model.config)
    torch.testing.assert_close(found(**batch).logits, model(**batch).logits, **CLOSE)


def test_files_as_the_released_code_spreads_them(model, tmp_path):
    writer = language_model_of(model)
    writer.save_pretrained(tmp_path / "language")
    files = official_files(model, tmp_path)
    for source in (writer, tmp_path / "language", str(tmp_path / "language")):
        check_equal(VIRVLFMForConditionalGeneration.from_official(files, source), model)


def test_a_run_starts_where_the_released_code_starts(model, tmp_path):
    """Without a checkpoint of theirs, with MiniGPT-4's projection: adapters add nothing, the rest is random."""
    eva, blip, trained = official_files(model, tmp_path)
    state = torch.load(trained, weights_only=True)["model"]
    # Later versions of MiniGPT-4 name it otherwise.
    projection = {
        name.replace("llama", "llm"): value for name, value in state.items() if name.startswith("llama_proj.")
    }
    torch.save({"model": projection}, tmp_path / "minigpt4.pth")
    files = [eva, blip, tmp_path / "minigpt4.pth"]
    fields = {"vision_config": {"num_hidden_layers": 3}, "fusion_interval": 2}
    found = VIRVLFMForConditionalGeneration.from_official(files, language_model_of(model), **fields)
    core = found.model
    assert torch.equal(core.language_projection.weight, model.model.language_projection.weight)
    assert torch.equal(core.query_tokens, model.model.query_tokens)
    for number, layer in enumerate(core.vision_model.encoder.layers, 1):
        for name, value in layer.named_parameters():
            if "adapter.up_proj" in name:
                assert not value.any()
            elif "adapter" in name and name.endswith("weight"):
                assert value.std().item() == pytest.approx(0.02, rel=0.2)
        assert hasattr(layer.mlp_adapter, "mix_proj") == (number == 2)
    # As plain torch starts a layer: uniform within 1 / sqrt(inputs).
    for layer, inputs in ((core.registration.flow, 9 * 88), (core.emphasis.gate, 128), (core.pair_projection, 128)):
        assert layer.weight.abs().max().item() == pytest.approx(inputs**-0.5, rel=0.05)
        assert layer.weight.abs().max().item() <= inputs**-0.5
    assert found.generation_config.eos_token_id == [2]


def test_captions_of_the_released_code_end_at_their_sign(model, tmp_path):
    text = {"vocab_size": 2300, "hidden_size": 128, "intermediate_size": 8, "num_hidden_layers": 1}
    large = random_model(text_config=SIZES["text_config"] | text, image_token_id=2299)
    save_file(official_state(large), tmp_path / "all.safetensors")
    found = VIRVLFMForConditionalGeneration.from_official(tmp_path / "all.safetensors", **FIELDS)
    assert found.generation_config.eos_token_id == [2, *END_SIGN_IDS]
    assert found.generation_config.suppress_tokens == [2299]
    # It says the sign at once: with a head that scores nothing else.
    found.lm_head.weight.data.zero_()
    found.model.language_model.norm.weight.data.fill_(1.0)
    batch = random_batch(found.config, labels=False)
    states = found.model(**batch).last_hidden_state[:, -1].mean(0)
    found.lm_head.weight.data[END_SIGN_IDS[1]] = states
    ids = found.generate(**batch, num_beams=1)
    assert ids[:, batch["input_ids"].shape[1] :].tolist() == [[END_SIGN_IDS[1]]] * 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.pop("flow.down_2.weight"), r"missing: model\.registration\.reduction_after\.weight"),
        (lambda state: state.pop("query_tokens"), r"'query_tokens' is missing"),
        (lambda state: state.pop("visual_encoder.blocks.1.attn.v_bias"), r"'visual_encoder\.blocks\.1\.attn\.v_bias'"),
        (
            lambda state: state.pop("visual_encoder.blocks.0.Space_Adapter.D_fc2.bias"),
            r"missing: .*layers\.0\.attention",
        ),
        (lambda state: state.update({"flow.more": torch.zeros(1)}), r"no place for the weight 'flow\.more'"),
        (
            lambda state: state.update({"Qformer.bert.encoder.layer.0.output.dense.bias": torch.zeros(1)}),
            r"without a place: model\.qformer\.encoder\.layer\.0\.output\.dense\.bias",
        ),
        (
            lambda state: state.update({"llama_proj.bias": torch.zeros(5)}),
            r"another shape: model\.language_projection",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(model, tmp_path, change, told):
    state = official_state(model)
    change(state)
    save_file(state, tmp_path / "all.safetensors")
    with pytest.raises(ValueError, match=told):
        VIRVLFMForConditionalGeneration.from_official(tmp_path / "all.safetensors", **FIELDS)


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"broken\.pth cannot be read"):
        VIRVLFMForConditionalGeneration.from_official(tmp_path / "broken.pth")
    torch.save({"model": {"epoch": 3}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth holds no tensors"):
        VIRVLFMForConditionalGeneration.from_official(tmp_path / "other.pth")


def test_heads_that_no_weight_tells_are_asked_for(tmp_path):
    narrow = random_model(vision_config=SIZES["vision_config"] | {"hidden_size": 32, "num_attention_heads": 4})
    save_file(official_state(narrow), tmp_path / "all.safetensors")
    with pytest.raises(ValueError, match="`num_attention_heads` of `vision_config`"):
        VIRVLFMForConditionalGeneration.from_official(tmp_path / "all.safetensors", **FIELDS)
    fields = FIELDS | {"vision_config": {"num_attention_heads": 4}}
    check_equal(VIRVLFMForConditionalGeneration.from_official(tmp_path / "all.safetensors", **fields), narrow)


@pytest.mark.parametrize("family", ["instructblip", "blip2"])
def test_a_public_checkpoint_gives_all_it_has(family):
    source = tiny_source(family)
    start = getattr(VIRVLFMForConditionalGeneration, f"from_{family}")
    model = start(source, INSTRUCTION) if family == "instructblip" else start(source)
    places = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert [name for name, tensor in source.state_dict().items() if tensor.data_ptr() not in places] == []
    # The tower and the Q-Former read an image as they did: adapters add nothing yet.
    pixels = torch.randn(1, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    states = source.vision_model(pixels.flatten(0, 1)).last_hidden_state
    encoded = model.model.vision_model(pixels).last_hidden_state
    torch.testing.assert_close(encoded.flatten(0, 1), states, **CLOSE)
    ids = {"qformer_input_ids": torch.tensor([INSTRUCTION]).expand(2, -1)} if family == "instructblip" else {}
    theirs = source.get_image_features(pixels.flatten(0, 1), **ids).qformer_outputs[0][:, :4]
    torch.testing.assert_close(model.model.summarize(encoded).flatten(0, 1), theirs, **CLOSE)
    assert model.config.num_query_tokens == model.config.visual_tokens == 4
    assert model.generation_config.eos_token_id == 2


def test_an_instruction_is_asked_for():
    with pytest.raises(ValueError, match="reads an instruction"):
        VIRVLFMForConditionalGeneration.from_instructblip(tiny_source("instructblip"))
    with pytest.raises(ValueError, match="reads no instruction"):
        VIRVLFMForConditionalGeneration.from_blip2(tiny_source("blip2"), qformer_input_ids=[3])


def test_the_sign_is_not_written_out():
    tokenizer = tiny_tokenizer()
    with pytest.raises(ValueError, match="none of Llama's"):
        convert_tokenizer(tokenizer)
    tokenizer.add_tokens(["\u2581cube", "##", "#", "\u2581###"])
    # As Llama's: blanks are written as a sign of their own.
    tokenizer.backend_tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    rows = [tokenizer.convert_tokens_to_ids(["the", "\u2581cube", sign]) for sign in ("##", "\u2581###")]
    assert all("#" in tokenizer.decode(row) for row in rows)
    convert_tokenizer(tokenizer)
    assert [tokenizer.decode(row) for row in rows] == ["the cube", "the cube"]
    # What is said of a number sign stays.
    assert tokenizer.decode(tokenizer.convert_tokens_to_ids(["the", "#"])) == "the#"
