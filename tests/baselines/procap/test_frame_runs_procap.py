# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""ProCap's shipped runs up to its first stage, each by its own command: image tokenizer, base, scores, stage 1."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ssgpa.baselines.procap import ProCapForConditionalGeneration, ProCapForImageReconstruction, ProCapForPreTraining
from ssgpa.baselines.procap.frame_store import SCORES, FrameFolder, ScoreTable
from ssgpa.baselines.procap.interpolation import cross_fade
from ssgpa.data.prepared import load_prepared
from ssgpa.training.arguments import parse_arguments
from ssgpa.utils.loading import load_system

from ...examples.runs import ROOT, logged, options_of, prepare_set
from ...scripts import load_script
from ..clip4idc.test_runs_clip4idc import write_clip
from .test_vq_training_procap import tiny


CONFIGS = ROOT / "examples" / "configs"
SETS = {"clevr": "clevr_change", "spot": "spot_the_diff", "ier": "image_editing_request"}
SHARED = {"tokenizer", "procedures"}
SMALL = {"max_steps": 2, "per_device_train_batch_size": 4, "logging_steps": 1, "use_cpu": True, "bf16": False}
SMALL |= {"dataloader_num_workers": 0, "disable_tqdm": True, "save_strategy": "no"}
# A few values of the specification, which the YAML files must keep.
PUBLISHED = {"learning_rate": 1e-4, "warmup_steps": 5000, "max_steps": 200_000, "per_device_train_batch_size": 8}
PUBLISHED |= {"weight_decay": 0.0, "max_grad_norm": 1.0, "seed": 42, "save_steps": 5000}
PUBLISHED_TOKENIZER = {"learning_rate": 8e-6, "adam_beta1": 0.5, "adam_beta2": 0.9, "per_device_train_batch_size": 8}
EPOCHS = {"clevr": 35, "spot": 42, "ier": 50}


def write_vqgan(path):
    """A VQGAN in the format of taming-transformers, of random weights, with what is left behind."""
    weights = {}
    for name, value in tiny().state_dict().items():
        if name != "idle_steps":
            name = name.replace("model.vision_tower.tokenizer.", "").replace("pixel_decoder.", "decoder.")
            weights[name] = value.clone()
    weights["loss.discriminator.main.0.weight"] = torch.zeros(2)
    torch.save({"state_dict": weights, "epoch": 1}, path)


def run(name, folder, **changes):
    values = {"output_dir": folder, **SMALL, **changes}
    assert load_script("train").main([str(CONFIGS / f"{name}.yaml"), *options_of(values)]) == 0


def frames_option(folder):
    return json.dumps({"class": "ssgpa.baselines.procap.keyframes.ProcedureFrames", "folder": str(folder)})


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("procap")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
        patch.chdir(ROOT)
        texts = []
        for name in (*SETS.values(), "small_prepared_8x8"):
            data = load_prepared(prepare_set(name, folder))
            texts += [text for row in data["train"]["captions"] for text in row]
        write_clip(folder / "clip", texts)
        write_vqgan(folder / "vqgan.ckpt")
        words = ["--clip", str(folder / "clip"), "--output_dir", str(folder / "clip4idc")]
        assert load_script("make_base").main(words) == 0
        yield folder


@pytest.fixture(scope="module")
def tokenizers(workshop):
    """Runs the training of an image tokenizer once; its best folder."""

    def make(name):
        folder = workshop / f"{name}_tokenizer"
        if folder.exists():
            return folder / "best"
        if name not in SETS:
            run(f"procap/{name}_tokenizer", folder, data_dir=workshop / "small_prepared_8x8")
            return folder / "best"
        data, base = workshop / SETS[name], workshop / f"{name}_tokenizer_base"
        words = ["--vqgan", str(workshop / "vqgan.ckpt"), "--data", str(data), "--output_dir", str(base)]
        assert load_script("make_procap_base").main([*words, "--image_size", "32"]) == 0
        run(f"procap/{name}_tokenizer", folder, data_dir=data, model_name_or_path=base)
        return folder / "best"

    return make


@pytest.fixture(scope="module")
def bases(workshop, tokenizers):
    """What stage 1 starts from, made once."""

    def make(name):
        if name not in SETS:
            return tokenizers(name)
        folder = workshop / f"{name}_base"
        if not folder.exists():
            words = ["--clip", str(workshop / "clip"), "--image_tokenizer", str(tokenizers(name))]
            words += ["--data", str(workshop / SETS[name]), "--output_dir", str(folder)]
            words += ["--layers", "4"] if name == "spot" else []
            assert load_script("make_procap_base").main(words) == 0
        return folder

    return make


@pytest.fixture(scope="module")
def scored(workshop, bases):
    """Scores of a training split, made once; the folder."""

    def make(name):
        folder = workshop / f"{name}_frames"
        if not folder.exists():
            data, finder = workshop / SETS.get(name, "small_prepared_8x8"), workshop / f"{name}_retrieval"
            own = {} if name not in SETS else {"model_name_or_path": workshop / "clip4idc"}
            run(f"clip4idc/{name}_retrieval", finder, data_dir=data, **own)
            words = ["--data", str(data), "--processor", str(bases(name)), "--retrieval", str(finder / "best")]
            assert load_script("make_procap_frames").main([*words, "--output_dir", str(folder)]) == 0
        return folder

    return make


def test_every_shipped_run_is_run_here():
    shipped = {path.stem for path in (CONFIGS / "procap").glob("*.yaml")}
    names = {f"{name}_{kind}" for name in (*SETS, "clevr_tiny") for kind in SHARED}
    assert {name for name in shipped if name.endswith(tuple(SHARED))} - SHARED == names


@pytest.mark.parametrize("name", SETS)
def test_runs_have_the_published_settings(name):
    for kind, wanted in (("procedures", PUBLISHED), ("tokenizer", PUBLISHED_TOKENIZER)):
        path = str(CONFIGS / "procap" / f"{name}_{kind}.yaml")
        _, data, options = parse_arguments([path, "--use_cpu", "true"])
        assert {key: getattr(options, key) for key in wanted} == pytest.approx(wanted)
        assert data.data_dir == f"prepared/{SETS[name]}"
        assert options.lr_scheduler_type == ("constant" if kind == "tokenizer" else "constant_with_warmup")
    assert options.num_train_epochs == EPOCHS[name]


@pytest.mark.parametrize("name", ["clevr", "clevr_tiny"])
def test_an_image_tokenizer_is_trained(name, tokenizers, workshop):
    folder = tokenizers(name)
    losses = {part: logged(folder.parent, f"loss_parts/{part}") for part in ("reconstruction", "codebook")}
    assert all(list(values) == [1, 2] for values in losses.values())
    assert list(logged(folder.parent, "used_codes")) == [1, 2]
    model, processor = load_system(str(folder), model_class=ProCapForImageReconstruction)
    assert processor.image_processor.size.height == model.config.vq_config.resolution
    if name == "clevr":
        # All of it learns, starting from the VQGAN.
        before = torch.load(workshop / "vqgan.ckpt")["state_dict"]
        after = model.get_vision_encoder().inner.state_dict()
        steps = {part: (after[part] - before[part]).abs().max().item() for part in after}
        assert 0 < max(steps.values()) < 1e-3
        assert (model.pixel_decoder.conv_in.weight - before["decoder.conv_in.weight"]).abs().max() > 0


@pytest.mark.parametrize("name", ["clevr", pytest.param("spot", marks=pytest.mark.slow)])
def test_a_base_of_stage_1_has_clip_and_the_trained_image_tokenizer(name, bases, tokenizers, workshop):
    model, processor, missing = load_partial(bases(name))
    trained, _ = load_system(str(tokenizers(name)), model_class=ProCapForImageReconstruction)
    theirs = trained.get_vision_encoder().state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in model.get_vision_encoder().state_dict().items())
    layers = model.model.encoder.transformer.layers
    assert len(layers) == (4 if name == "spot" else 12)
    clip = load_file(workshop / "clip" / "model.safetensors")
    wanted = clip["vision_model.encoder.layers.3.mlp.fc1.weight"]
    assert torch.equal(layers[3].mlp.fc1.weight, wanted)
    assert len(processor.tokenizer) == model.config.vocab_size
    assert not missing


def load_partial(folder):
    from ssgpa.utils.loading import load_partial_system

    return load_partial_system(str(folder), model_class=ProCapForPreTraining)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--clip", "clip"], "--vqgan alone"),
        (["--vqgan", "no/such", "--image_tokenizer", "x", "--clip", "y"], "--vqgan alone"),
        (["--image_tokenizer", "x"], "--vqgan alone"),
        (["--vqgan", "no/such.ckpt"], "no/such.ckpt"),
    ],
)
def test_a_base_of_too_little_or_too_much_is_refused(words, named, workshop, tmp_path, capsys):
    words = [*words, "--data", str(workshop / "clevr_change"), "--output_dir", str(tmp_path / "base")]
    assert load_script("make_procap_base").main(words) == 2
    assert named in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_scores_are_cosines_of_clip4idc(scored, workshop):
    from PIL import Image

    from ssgpa.baselines.clip4idc import CLIP4IDCForPairTextRetrieval
    from ssgpa.baselines.procap.frame_store import digest_of_pair
    from ssgpa.data.decoding import resize_image, undecoded

    folder = scored("clevr")
    rows = undecoded(load_prepared(workshop / "clevr_change")["train"])
    table = ScoreTable(folder / SCORES, 7)
    assert list(table.rows) == rows["pair_id"]
    # Straight from the model, one caption and one pair at a time.
    model, processor = load_system(
        str(workshop / "clevr_retrieval" / "best"), model_class=CLIP4IDCForPairTextRetrieval
    )
    _, own, _ = load_partial(workshop / "clevr_base")
    row = rows[1]
    before, after = (resize_image(row[side], side, own) for side in ("before", "after"))
    found = table.read(row["pair_id"], digest_of_pair(before, after))
    first, last = (torch.tensor(image).float() / 255 for image in (before, after))
    frame = (cross_fade(first, last, 7)[4] * 255).round().to(torch.uint8).numpy()
    images = [Image.fromarray(image.transpose(1, 2, 0)) for image in (before, frame, after)]
    for side, pair in enumerate((images[:2], images[1:])):
        inputs = processor(images=[pair], return_tensors="pt")
        scores = []
        for text in row["captions"]:
            ids = torch.tensor([[*processor.prompt_ids(), *processor.caption_ids([text])[0]]])
            with torch.no_grad():
                out = model(ids, inputs["pixel_values"])
            scores.append((out.text_embeds @ out.pair_embeds.T).item())
        assert found[side, 4] == pytest.approx(np.mean(scores), abs=1e-5)


def test_scores_go_on_where_they_were_cut_off(scored, bases, workshop, tmp_path, capsys):
    whole = (scored("clevr") / SCORES).read_bytes()
    lines = whole.splitlines(keepends=True)
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "frames.json").write_bytes((scored("clevr") / "frames.json").read_bytes())
    (folder / SCORES).write_bytes(b"".join(lines[:4]) + lines[4][:30])
    words = ["--data", str(workshop / "clevr_change"), "--processor", str(bases("clevr"))]
    words += ["--retrieval", str(workshop / "clevr_retrieval" / "best"), "--output_dir", str(folder)]
    assert load_script("make_procap_frames").main(words) == 0
    assert f"the scores of {len(lines) - 4}" in capsys.readouterr().out
    again = [json.loads(line) for line in (folder / SCORES).read_text("utf-8").splitlines()]
    for one, other in zip(again[1:], map(json.loads, lines[1:]), strict=True):
        assert one["pair_id"] == other["pair_id"]
        np.testing.assert_allclose(one["before"], other["before"], atol=1e-6)
    # Of another model, of another data set, or of another interpolator they are refused.
    other = ["--retrieval", str(workshop / "clip4idc")]
    assert load_script("make_procap_frames").main([*words, *other]) == 2
    assert "different: retrieval" in capsys.readouterr().err
    assert load_script("make_procap_frames").main([*words, "--inner_frames", "3"]) == 2
    assert "different: count" in capsys.readouterr().err


class Dimmed:
    """A learned interpolator, as far as a run knows: frames of its own."""

    fingerprint = "weights-1"
    calls = 0
    fails_at = None

    def __call__(self, before, after, count):
        Dimmed.calls += 1
        if Dimmed.calls == self.fails_at:
            raise RuntimeError("out of memory")
        return (before + after) / 4


def test_frames_of_a_learned_interpolator_are_stored_and_trained_on(bases, workshop, tmp_path, capsys):
    data, folder = workshop / "clevr_change", tmp_path / "frames"
    words = ["--data", str(data), "--processor", str(bases("clevr")), "--output_dir", str(folder)]
    words += ["--interpolator", f"{__name__}.Dimmed"]
    Dimmed.calls, Dimmed.fails_at = 0, 30
    assert load_script("make_procap_frames").main(words) == 2
    assert "out of memory" in capsys.readouterr().err
    stored = len(list(folder.rglob("*.safetensors")))
    # Seven frames take seven calls.
    assert stored == 4
    Dimmed.fails_at = None
    assert load_script("make_procap_frames").main(words) == 0
    rows = load_prepared(data)["train"]
    assert f"the frames of {len(rows) - stored} pairs" in capsys.readouterr().out
    assert FrameFolder(folder).settings["interpolator"] == f"{__name__}.Dimmed weights-1"
    assert not FrameFolder(folder).missing(rows["pair_id"])
    changes = {"data_dir": data, "model_name_or_path": bases("clevr"), "frames": frames_option(folder)}
    run("procap/clevr_procedures", tmp_path / "run", **changes)
    assert list(logged(tmp_path / "run")) == [1, 2]
    # A pair without frames, and frames of other data under the same name, are refused.
    FrameFolder(folder).path(rows["pair_id"][0]).unlink()
    script = load_script("train")
    values = {**SMALL, **changes, "output_dir": tmp_path / "other"}
    path = str(CONFIGS / "procap" / "clevr_procedures.yaml")
    assert script.main([path, *options_of(values)]) == 2
    assert "lacks the frames of 1 pairs" in capsys.readouterr().err
    FrameFolder(folder).write(rows["pair_id"][0], "of other images", np.zeros((7, 3, 32, 32), np.uint8))
    assert script.main([path, *options_of(values | {"max_steps": 20})]) == 2
    assert "made of other images of pair" in capsys.readouterr().err


def test_there_must_be_something_to_make(bases, workshop, tmp_path, capsys):
    words = ["--data", str(workshop / "clevr_change"), "--processor", str(bases("clevr"))]
    words += ["--output_dir", str(tmp_path / "frames")]
    assert load_script("make_procap_frames").main(words) == 2
    assert "nothing to make" in capsys.readouterr().err
    assert not (tmp_path / "frames").exists()
    assert load_script("make_procap_frames").main([*words, "--store", "--inner_frames", "2"]) == 0
    assert FrameFolder(tmp_path / "frames").count == 2


@pytest.mark.parametrize(
    "name", ["clevr", "clevr_tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in ("spot", "ier"))]
)
def test_stage_1_runs_on_scored_frames(name, bases, scored, workshop):
    folder = workshop / f"{name}_procedures"
    data = workshop / SETS.get(name, "small_prepared_8x8")
    changes = {"data_dir": data, "model_name_or_path": bases(name), "frames": frames_option(scored(name))}
    run(f"procap/{name}_procedures", folder, **changes)
    for part in ("msm", "align", "csy"):
        assert list(logged(folder, f"loss_parts/{part}")) == [1, 2]
    before, _, _ = load_partial(bases(name))
    after, _ = load_system(str(folder / "best"), model_class=ProCapForPreTraining)
    theirs = before.get_vision_encoder().state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in after.get_vision_encoder().state_dict().items())
    assert not torch.equal(after.msm_head.linear.weight, before.msm_head.linear.weight)
    # What stage 2 starts from.
    model, report = ProCapForConditionalGeneration.from_pretrained(folder / "best", output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not [key for key in report["missing_keys"] if key.startswith("model.encoder")]
    assert torch.equal(model.model.encoder.mask_embedding, after.model.encoder.mask_embedding)


def test_the_small_second_stage_runs_with_auxiliary_targets_and_cached_features(bases, scored, workshop):
    data, first = workshop / "small_prepared_8x8", workshop / "clevr_tiny_procedures"
    if not first.exists():
        changes = {"data_dir": data, "model_name_or_path": bases("clevr_tiny")}
        run("procap/clevr_tiny_procedures", first, frames=frames_option(scored("clevr_tiny")), **changes)
    folder, cache = workshop / "clevr_tiny", workshop / "features"
    changes = {"data_dir": data, "model_name_or_path": first / "best", "feature_cache": cache, "eval_strategy": "no"}
    run("procap/clevr_tiny", folder, **changes, load_best_model_at_end=False)
    for part in ("caption", "aux_attributes", "aux_changed", "aux_type"):
        assert list(logged(folder, f"loss_parts/{part}")) == [1, 2]
    assert list(cache.rglob("*.safetensors"))
    assert type(load_system(str(folder / "best"))[0]) is ProCapForConditionalGeneration
