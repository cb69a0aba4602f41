# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""What comes from a BLIP-2 and from the authors' adapters: every weight, or an error that names it."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import Blip2Config, Blip2ForConditionalGeneration

from ssgpa.baselines.blip2idc import BLIP2IDCForConditionalGeneration
from ssgpa.baselines.blip2idc.conversion_blip2idc import convert_adapter, convert_key, read_adapter
from ssgpa.utils.loading import load_system

from ...scripts import load_script
from .cases import PLACEHOLDER, SIZES, save_adapter, save_blip2, tiny_blip2
from .test_modeling_blip2idc import inputs_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BLIP-2 as the Hub has it, a base made of it, and an adapter as the released code saves it."""
    folder = tmp_path_factory.mktemp("blip2idc")
    source = save_blip2(folder / "blip2")
    assert make_base(folder / "blip2", folder / "base") == 0
    save_adapter(folder / "adapter", source)
    return folder


def make_base(source, output):
    return load_script("make_base").main(["--blip2", str(source), "--output_dir", str(output)])


def test_every_weight_of_blip_2_finds_its_place(folder):
    source = tiny_blip2()
    for model in (BLIP2IDCForConditionalGeneration.from_blip2(source), load_system(str(folder / "base"))[0]):
        state = model.state_dict()
        theirs = {convert_key(name): value for name, value in source.state_dict().items()}
        assert theirs.keys() == state.keys()
        assert all(torch.equal(value, state[name]) for name, value in theirs.items())
        assert model.lm_head.weight is model.get_input_embeddings().weight
    assert (model.config.image_token_id, model.config.num_query_tokens) == (PLACEHOLDER, 5)


def test_a_base_asks_with_the_queries_and_the_start_token_alone(folder):
    _, processor = load_system(str(folder / "base"))
    assert processor.prompt_ids() == [PLACEHOLDER] * 5 + [2]
    assert (processor.pair_layout, processor.size_of_pair) == ("vertical", "after")
    ids = processor.caption_ids(["gone"])[0]
    # As the tokenizer of OPT reads it behind its start token, and the end token.
    tokenizer = processor.tokenizer
    assert tokenizer.decode(ids[:-1]) == "gone"
    assert ids[-1] == 2 == tokenizer.eos_token_id
    assert len(ids) == 5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda state: state.pop("qformer.layernorm.bias"), r"missing: .*qformer\.layernorm\.bias"),
        (lambda state: state.update({"extra.weight": torch.zeros(1)}), r"without a place: .*extra\.weight"),
        (
            lambda state: state.update({"language_projection.bias": torch.zeros(3)}),
            r"of another shape: .*language_projection\.bias",
        ),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(folder, tmp_path, change, named):
    source = tiny_blip2()
    source.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    change(state)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=named):
        BLIP2IDCForConditionalGeneration.from_blip2(tmp_path)


def test_other_language_models_are_refused():
    llama = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    llama |= {"num_attention_heads": 2, "vocab_size": 300}
    with pytest.raises(ValueError, match=r"'llama'.*OPT"):
        BLIP2IDCForConditionalGeneration.from_blip2(
            Blip2ForConditionalGeneration(Blip2Config(**SIZES | {"text_config": llama}))
        )
    t5 = {
        "model_type": "t5",
        "d_model": 32,
        "d_ff": 48,
        "num_layers": 1,
        "num_heads": 2,
        "d_kv": 16,
        "vocab_size": 300,
    }
    with pytest.raises(ValueError, match="encoder-decoder"):
        BLIP2IDCForConditionalGeneration.from_blip2(
            Blip2ForConditionalGeneration(Blip2Config(**SIZES | {"text_config": t5}))
        )


def test_a_placeholder_without_an_embedding_is_refused():
    with pytest.raises(ValueError, match="50265 is none of the language model's 272 tokens"):
        BLIP2IDCForConditionalGeneration.from_blip2(tiny_blip2(image_token_index=None))


def test_an_adapter_of_the_authors_computes_what_peft_does_over_blip_2(folder):
    convert_adapter(folder / "adapter", folder / "base", folder / "adapted")
    model, processor = load_system(str(folder / "adapted"))
    source = Blip2ForConditionalGeneration.from_pretrained(folder / "blip2")
    theirs = PeftModel.from_pretrained(source, folder / "adapter").eval()
    inputs = inputs_of(model)
    del inputs["labels"]
    with torch.no_grad():
        wanted, found = theirs(**inputs).logits, model(**inputs).logits
        bare = load_system(str(folder / "base"))[0](**inputs).logits
    kept = inputs["attention_mask"].bool()
    torch.testing.assert_close(found[kept], wanted[kept], atol=1e-4, rtol=1e-4)
    assert (found - bare)[kept].abs().max() > 0.1
    assert processor.prompt_ids() == [PLACEHOLDER] * 5 + [2]


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_both_files_of_adapters_are_read(folder, tmp_path, kind):
    weights = save_adapter(tmp_path / "adapter", tiny_blip2())
    if kind == "safetensors":
        save_file(weights, tmp_path / "adapter" / "adapter_model.safetensors")
        (tmp_path / "adapter" / "adapter_model.bin").unlink()
    _, found = read_adapter(tmp_path / "adapter")
    assert len(found) == len(weights)
    name = "base_model.model.language_model.model.decoder.layers.1.self_attn.v_proj.lora_B.weight"
    here = "base_model.model.model.language_model.decoder.layers.1.self_attn.v_proj.lora_B.weight"
    assert torch.equal(found[here], weights[name])


def broken(tmp_path, **options):
    save_adapter(tmp_path / "adapter", tiny_blip2(), **options)
    return tmp_path / "adapter"


def test_what_is_no_adapter_is_told(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"adapter_config\.json"):
        read_adapter(tmp_path)
    adapter = broken(tmp_path)
    path = adapter / "adapter_model.bin"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"adapter_model\.bin is a pointer.*git lfs pull"):
        read_adapter(adapter)
    path.write_text("no weights", encoding="utf-8")
    with pytest.raises(ValueError, match=r"adapter_model\.bin holds no tensors"):
        read_adapter(adapter)
    torch.save({"base_model.model.text_model.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"no place for text_model\.weight"):
        read_adapter(adapter)
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "IA3"}), encoding="utf-8")
    with pytest.raises(ValueError, match="IA3"):
        read_adapter(adapter)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"adapter_model\.bin"):
        read_adapter(adapter)


def test_an_adapter_that_lacks_a_weight_does_not_load(folder, tmp_path):
    adapter = broken(tmp_path)
    weights = torch.load(adapter / "adapter_model.bin", weights_only=True)
    lost = next(name for name in weights if "qkv.lora_A" in name)
    del weights[lost]
    torch.save(weights, adapter / "adapter_model.bin")
    convert_adapter(adapter, folder / "base", tmp_path / "converted")
    with pytest.raises(ValueError, match=r"qkv\.lora_A"):
        load_system(str(tmp_path / "converted"))


def test_an_adapter_needs_its_base_and_a_new_folder(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json: make the base first"):
        convert_adapter(folder / "adapter", tmp_path / "nothing", tmp_path / "new")
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="there"):
        convert_adapter(folder / "adapter", folder / "base", tmp_path / "there")


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_no_code_of_an_adapter_runs(tmp_path):
    adapter = broken(tmp_path)
    torch.save({"base_model.model.query_tokens": Malicious(tmp_path / "written")}, adapter / "adapter_model.bin")
    with pytest.raises(ValueError, match="holds no tensors"):
        read_adapter(adapter)
    assert not (tmp_path / "written").exists()
