# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The switches of the ecosystem on tiny models; docs/ecosystem.md has the table of what works and what cannot."""

import threading
from importlib.util import find_spec

import peft
import pytest
import torch
import transformers
from packaging.version import Version
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForImageTextToText, AutoProcessor, TextIteratorStreamer, pipeline
from transformers.integrations.peft import MIN_PEFT_VERSION

from ssgpa import SSGPAForConditionalGeneration

from .ssgpa_cases import inputs_for, random_pixels, tiny_model
from .tiny_systems import tiny_config


CLOSE = {"atol": 1e-4, "rtol": 1e-4}
GREEDY = {"max_new_tokens": 6, "do_sample": False}
VARIANTS = ["resnet", "instructblip-qformer"]
LORA = LoraConfig(r=2, target_modules=r".*\.language_model\..*\.(q_proj|v_proj)")
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("bitsandbytes") is None, reason="needs CUDA and bitsandbytes"
)


def awake(variant: str = "resnet", **overrides: object):
    """A model in which no part is shut by its start."""
    model, processor = tiny_model(variant, **overrides)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model, processor


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with model and processor."""
    folder = tmp_path_factory.mktemp("saved")
    for part in awake():
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(saved):
    return AutoModelForImageTextToText.from_pretrained(saved).eval(), AutoProcessor.from_pretrained(saved)


def test_device_map_auto_and_weights_on_disk(saved, loaded, tmp_path):
    model, processor = loaded
    inputs = inputs_for(processor)
    placed = AutoModelForImageTextToText.from_pretrained(saved, device_map="auto").eval()
    torch.testing.assert_close(placed(**inputs).logits.cpu(), model(**inputs).logits, **CLOSE)
    half = sum(value.nbytes for value in model.state_dict().values()) // 2
    spread = AutoModelForImageTextToText.from_pretrained(
        saved, device_map="auto", max_memory={"cpu": half}, offload_folder=str(tmp_path)
    ).eval()
    assert set(spread.hf_device_map.values()) == {"cpu", "disk"}
    torch.testing.assert_close(spread(**inputs).logits, model(**inputs).logits, **CLOSE)
    assert torch.equal(spread.generate(**inputs, **GREEDY), model.generate(**inputs, **GREEDY))


@needs_cuda
@pytest.mark.parametrize("bits", [4, 8])
def test_bitsandbytes(saved, bits):
    from transformers import BitsAndBytesConfig

    options = BitsAndBytesConfig(**{f"load_in_{bits}bit": True})
    model = AutoModelForImageTextToText.from_pretrained(saved, quantization_config=options, device_map="cuda")
    inputs = {name: value.cuda() for name, value in inputs_for(AutoProcessor.from_pretrained(saved)).items()}
    assert model.generate(**inputs, **GREEDY).shape[0] == 3


def test_a_language_model_in_4_bit(tmp_path):
    """On the CPU too, where bitsandbytes wants layers as wide as its blocks."""
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    text = tiny_config().text_config.to_dict() | {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    model, processor = tiny_model("instructblip-qformer", text_config=text)
    model.save_pretrained(tmp_path)
    parts = ("vision_tower", "change_fusion_adapter", "alignment", "connector")
    others = ["contrast", "lm_head", *(f"model.{part}" for part in parts)]
    options = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", llm_int8_skip_modules=others)
    packed = AutoModelForImageTextToText.from_pretrained(tmp_path, quantization_config=options, device_map="cpu")
    kinds = {type(layer).__name__ for layer in packed.model.language_model.modules() if isinstance(layer, nn.Linear)}
    assert kinds == {"Linear4bit"}
    assert type(packed.model.connector.language_projection) is nn.Linear
    inputs = inputs_for(processor)
    expected = model(**inputs).logits
    assert 0 < (packed(**inputs).logits - expected).abs().mean() < 0.2 * expected.abs().mean()
    assert packed.generate(**inputs, **GREEDY).shape[0] == 3


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations_agree(variant, attention):
    model, processor = awake(variant)
    inputs = inputs_for(processor)
    expected = model(**inputs).logits
    model.set_attn_implementation(attention)
    assert model.model.language_model.config._attn_implementation == attention
    valid = inputs["attention_mask"].bool()
    torch.testing.assert_close(model(**inputs).logits[valid], expected[valid], **CLOSE)


@pytest.mark.slow
def test_flex_attention_agrees():
    """Slow: the kernel is compiled. On a CPU it has no backward pass."""
    model, processor = awake()
    inputs = inputs_for(processor)
    expected = model(**inputs).logits
    model.set_attn_implementation("flex_attention")
    valid = inputs["attention_mask"].bool()
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits[valid], expected[valid], **CLOSE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_forward_compiles_to_one_graph(variant):
    model, processor = awake(variant)
    inputs = inputs_for(processor)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(
            compiled(**inputs, use_cache=False).logits, model(**inputs, use_cache=False).logits, **CLOSE
        )


def test_static_cache_generates_the_same(loaded):
    model, processor = loaded
    inputs = inputs_for(processor)
    static = model.generate(**inputs, **GREEDY, cache_implementation="static", disable_compile=True)
    assert torch.equal(static, model.generate(**inputs, **GREEDY))


def test_captions_can_be_streamed(loaded):
    model, processor = loaded
    inputs = {name: value[:1] for name, value in inputs_for(processor, 1).items()}
    streamer = TextIteratorStreamer(processor.tokenizer, skip_prompt=True, timeout=60, skip_special_tokens=True)
    thread = threading.Thread(target=model.generate, kwargs=inputs | GREEDY | {"streamer": streamer})
    thread.start()
    pieces = list(streamer)
    thread.join()
    expected = processor.post_process_captions(model.generate(**inputs, **GREEDY), inputs)
    assert " ".join("".join(pieces).split()) == expected[0]
    assert len(pieces) > 2


def test_decoding_can_be_constrained_and_drawn(loaded):
    model, processor = loaded
    inputs = inputs_for(processor)
    start = inputs["input_ids"].shape[1]
    allowed = processor.tokenizer.convert_tokens_to_ids(["red", "cube", "gone"])
    for options in ({"num_beams": 3}, {"do_sample": True}):
        ids = model.generate(**inputs, max_new_tokens=5, prefix_allowed_tokens_fn=lambda *_: allowed, **options)
        assert set(ids[:, start:].flatten().tolist()) <= set(allowed)
    greedy = model.generate(**inputs, **GREEDY)[:, start]
    banned = [[token] for token in set(greedy.tolist())]
    assert not set(model.generate(**inputs, **GREEDY, bad_words_ids=banned)[:, start].tolist()) & set(greedy.tolist())
    several = model.generate(**inputs, max_new_tokens=5, do_sample=True, num_return_sequences=4)
    assert len(several) == 4 * len(greedy)
    assert len(processor.post_process_captions(several, inputs)) == 12


def chat(images):
    content = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*content, {"type": "text", "text": "what has changed ?"}]}]


def test_stock_pipeline_takes_a_chat_with_two_images(loaded):
    from PIL import Image

    model, processor = loaded
    images = [Image.linear_gradient("L").rotate(angle).convert("RGB") for angle in (0, 90)]
    pipe = pipeline("image-text-to-text", model=model, processor=processor, device="cpu")
    said = pipe(text=chat(images), max_new_tokens=6, do_sample=False, return_full_text=False)
    inputs = processor.apply_chat_template(
        chat(images), tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    assert inputs["pixel_values"].shape[:2] == (1, 2)
    expected = processor.post_process_captions(model.generate(**inputs, **GREEDY), inputs)
    assert " ".join(said[0]["generated_text"].split()) == expected[0]


@pytest.fixture(scope="module")
def adapter(saved, tmp_path_factory):
    """A folder with LoRA matrices that change what the saved model says."""
    tuned = get_peft_model(AutoModelForImageTextToText.from_pretrained(saved), LORA).eval()
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(0))
    folder = tmp_path_factory.mktemp("adapter")
    tuned.save_pretrained(folder)
    return folder


def test_adapters_are_loaded(saved, adapter):
    inputs = inputs_for(AutoProcessor.from_pretrained(saved))
    model = AutoModelForImageTextToText.from_pretrained(saved).eval()
    plain = model(**inputs).logits
    model.load_adapter(str(adapter))
    adapted = PeftModel.from_pretrained(AutoModelForImageTextToText.from_pretrained(saved), adapter).eval()
    torch.testing.assert_close(model(**inputs).logits, adapted(**inputs).logits, **CLOSE)
    assert not torch.allclose(model(**inputs).logits, plain, atol=1e-3)
    with adapted.disable_adapter():
        torch.testing.assert_close(adapted(**inputs).logits, plain, **CLOSE)


@pytest.mark.skipif(
    Version(peft.__version__) < Version(MIN_PEFT_VERSION),
    reason=f"Transformers {transformers.__version__} switches adapters with PEFT {MIN_PEFT_VERSION} or newer only",
)
def test_adapters_are_switched_off_and_on(saved, adapter):
    inputs = inputs_for(AutoProcessor.from_pretrained(saved))
    model = AutoModelForImageTextToText.from_pretrained(saved).eval()
    plain = model(**inputs).logits
    model.load_adapter(str(adapter))
    adapted = model(**inputs).logits
    model.disable_adapters()
    torch.testing.assert_close(model(**inputs).logits, plain, **CLOSE)
    model.enable_adapters()
    torch.testing.assert_close(model(**inputs).logits, adapted, **CLOSE)


class Eyes(nn.Module):
    """Images in, visual tokens and change map out: the graph that has no loop."""

    def __init__(self, model: SSGPAForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        features = self.model.get_image_features(pixel_values, return_dict=True)
        return features.pooler_output, features.evidence.change_map


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_visual_graph_can_be_exported(variant):
    eyes = Eyes(awake(variant)[0]).eval()
    with torch.no_grad():
        program = torch.export.export(eyes, (random_pixels(3),), dynamic_shapes=({0: torch.export.Dim("pairs")},))
        for count in (1, 4):
            for found, expected in zip(
                program.module()(random_pixels(count)), eyes(random_pixels(count)), strict=True
            ):
                torch.testing.assert_close(found, expected, **CLOSE)


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, ("onnxscript", "onnxruntime"))), reason="needs onnxscript and onnxruntime")
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_visual_graph_runs_in_onnx(variant, tmp_path):
    import onnxruntime

    eyes = Eyes(awake(variant)[0]).eval()
    path = tmp_path / "eyes.onnx"
    with torch.no_grad():
        torch.onnx.export(
            eyes,
            (random_pixels(3),),
            path,
            dynamo=True,
            input_names=["pixel_values"],
            output_names=["visual_tokens", "change_map"],
            dynamic_shapes=({0: torch.export.Dim("pairs")},),
        )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for count in (1, 4):
            found = session.run(None, {"pixel_values": random_pixels(count).numpy()})
            for value, expected in zip(found, eyes(random_pixels(count)), strict=True):
                torch.testing.assert_close(torch.from_numpy(value), expected, atol=1e-3, rtol=1e-3)


def test_what_vllm_asks_of_a_model_and_what_it_cannot_split(loaded):
    """Its Transformers backend reads these names; a pair, though, is one row of pixels under two placeholders."""
    model, processor = loaded
    config = model.config
    assert type(model)._supports_attention_backend
    assert model.base_model_prefix == "model"
    assert config.get_text_config() is config.text_config
    assert config.image_token_id == processor.image_token_id
    inputs = inputs_for(processor, 1)
    counted = processor._get_num_multimodal_tokens(image_sizes=[(40, 30), (40, 30)])
    placeholders = (inputs["input_ids"] == config.image_token_id).sum().item()
    assert sum(counted["num_image_tokens"]) == placeholders
    assert sum(counted["num_image_patches"]) == 2
    assert len(inputs["pixel_values"]) == 1


@pytest.mark.skipif(find_spec("fastapi") is None, reason="needs the serving packages of Transformers")
def test_transformers_serve_knows_its_own_models_only(loaded):
    """If this fails, the server has learned about registered classes, and docs/ecosystem.md can say so."""
    from transformers.cli.serving.model_manager import ModelManager

    with pytest.raises(ValueError, match="Unknown modality for: SSGPAForConditionalGeneration"):
        ModelManager.get_model_modality(*loaded)
