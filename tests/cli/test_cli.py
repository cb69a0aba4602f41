# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""The command: one sentence on stdout and exit code 0, or one line on stderr and exit code 2."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import pipeline

import ssgpa
import ssgpa_command
from ssgpa.cli import commands as cli

from ..tiny_systems import TINY_SYSTEMS


pytestmark = pytest.mark.usefixtures("restored_logging")
FAST = ["--num-beams", "2", "--max-new-tokens", "5"]


@pytest.fixture(scope="module", params=list(TINY_SYSTEMS))
def any_model(request, tmp_path_factory):
    return save_system(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_system("ssgpa", tmp_path_factory.mktemp("model"))


def save_system(name, folder):
    model, processor = TINY_SYSTEMS[name]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two images of unlike sizes in the working directory."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name, shape in (("before.png", (40, 60, 3)), ("after.png", (30, 50, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(name)
    return ["before.png", "after.png"]


def files_here():
    return sorted(path.name for path in Path().iterdir())


def run(capsys, *arguments):
    """Exit code, stdout and stderr."""
    try:
        code = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments):
    """The one line of a refusal."""
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def test_prints_the_caption_of_the_pipeline(any_model, pair, capsys):
    expected = pipeline("change-captioning", model=str(any_model), device="cpu")(tuple(pair), num_beams=5)
    capsys.readouterr()
    code, out, _ = run(capsys, "caption", *pair, "--model", any_model)
    assert (code, out) == (0, expected[0]["generated_text"] + "\n")
    code, out, _ = run(capsys, "caption", *pair, "--model", any_model, "--json")
    printed = json.loads(out)
    assert printed["caption"] == expected[0]["generated_text"]
    assert (printed["before"], printed["after"]) == tuple(pair)
    assert printed["model"] == str(any_model)


def test_options_reach_generate(model, pair, capsys):
    pipe = pipeline("change-captioning", model=str(model), device="cpu")
    captions = set()
    for beams, tokens in (("1", "12"), ("4", "12"), ("4", "3")):
        expected = pipe(tuple(pair), num_beams=int(beams), max_new_tokens=int(tokens))[0]["generated_text"]
        capsys.readouterr()
        options = ("--num-beams", beams, "--max-new-tokens", tokens)
        assert run(capsys, "caption", *pair, "--model", model, *options)[1] == expected + "\n"
        captions.add(expected)
    assert len(captions) > 1


def test_options_may_stand_between_the_images(model, pair, capsys):
    expected = run(capsys, "caption", *pair, "--model", model, *FAST)
    assert run(capsys, "caption", pair[0], *FAST, pair[1], "--model", model)[:2] == expected[:2]


def test_writes_the_drawings(model, pair, capsys):
    names = {"change_map": "a.png", "change_map_before": "b.png", "overlay": "c.png", "overlay_before": "d.PNG"}
    options = [word for name, file in names.items() for word in (f"--{name.replace('_', '-')}", file)]
    code, out, _ = run(capsys, "caption", *pair, "--model", model, "--json", *options)
    assert code == 0
    printed = json.loads(out)
    assert printed["files"] == names
    result = pipeline("change-captioning", model=str(model), device="cpu")(tuple(pair), return_change_map=True)[0]
    for name, file in names.items():
        np.testing.assert_array_equal(np.asarray(Image.open(file)), np.asarray(result[name]))
    assert Image.open("a.png").size == (50, 30)
    assert printed["scores"]["change_after"] == np.asarray(result["change_map"]).max() / 255
    assert printed["scores"]["change_before"] == np.asarray(result["change_map_before"]).max() / 255
    assert files_here() == sorted([*pair, *names.values()])


def test_existing_files_are_kept_unless_told(model, pair, capsys):
    Path("map.png").write_bytes(b"mine")
    line = refused(capsys, "caption", *pair, "--model", model, "--change-map", "map.png")
    assert line == "ssgpa: error: map.png: exists; pass --overwrite to replace it.\n"
    assert Path("map.png").read_bytes() == b"mine"
    assert run(capsys, "caption", *pair, "--model", model, *FAST, "--change-map", "map.png", "--overwrite")[0] == 0
    assert Image.open("map.png").size == (50, 30)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--change-map", "none/map.png"], "none/map.png: there is no folder none"),
        (["--change-map", "map.jpg"], "map.jpg: the file is written as PNG"),
        (["--change-map", "before.png", "--overwrite"], "before.png: is an input or another output"),
        (["--change-map", "m.png", "--overlay", "./m.png"], "m.png: is an input or another output"),
        (["--change-map", "folder.png", "--overwrite"], "folder.png: is a folder"),
        (["--num-beams", "0"], "'0' is not a whole number"),
        (["--max-new-tokens", "many"], "'many' is not a whole number"),
        (["--revision", "abc"], "a revision belongs to an id on the Hub"),
        (["third.png"], "two images are needed, BEFORE and AFTER; 3 were given"),
        (["--beams", "3"], "--beams"),
    ],
)
def test_bad_options_take_one_line(model, pair, capsys, words, message):
    Path("folder.png").mkdir()
    assert message in refused(capsys, "caption", *pair, "--model", model, *words)
    assert files_here() == sorted([*pair, "folder.png"])


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_folder_without_permission(model, pair, capsys):
    Path("closed").mkdir(mode=0o500)
    line = refused(capsys, "caption", *pair, "--model", model, *FAST, "--change-map", "closed/map.png")
    assert "closed/map.png: cannot be written" in line


def test_a_failed_write_leaves_nothing(model, pair, capsys, monkeypatch):
    def fill(image, file, *_, **__):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    Path("map.png").write_bytes(b"mine")
    monkeypatch.setattr(Image.Image, "save", fill)
    line = refused(capsys, "caption", *pair, "--model", model, *FAST, "--change-map", "map.png", "--overwrite")
    assert line == "ssgpa: error: map.png: cannot be written (No space left on device).\n"
    assert Path("map.png").read_bytes() == b"mine"
    assert files_here() == sorted([*pair, "map.png"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["describe"], "invalid choice: 'describe'"),
        (["caption"], "the following arguments are required: BEFORE, AFTER"),
        (["caption", "before.png"], "the following arguments are required: AFTER"),
    ],
)
def test_bad_commands_take_one_line(capsys, words, message):
    assert message in refused(capsys, *words)


def truncated_jpeg(path):
    pixels = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


BAD_IMAGES = {
    "missing": lambda path: None,
    "text": lambda path: path.write_text("not an image", encoding="utf-8"),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": truncated_jpeg,
    "one pixel": lambda path: Image.new("RGB", (1, 1)).save(path, format="PNG"),
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize("kind", list(BAD_IMAGES))
def test_bad_images_are_named(model, pair, capsys, kind, position):
    BAD_IMAGES[kind](Path("bad.png"))
    words = list(pair)
    words[position] = "bad.png"
    assert refused(capsys, "caption", *words, "--model", model).startswith("ssgpa: error: bad.png: ")


def poison_a_weight(folder):
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


BAD_MODELS = {
    "no folder": (shutil.rmtree, "there is no such folder"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors"),
    "broken config": (lambda folder: (folder / "config.json").write_text("{", encoding="utf-8"), "config.json"),
}


@pytest.mark.parametrize("kind", list(BAD_MODELS))
def test_bad_models_are_named(model, pair, capsys, kind):
    break_it, message = BAD_MODELS[kind]
    shutil.copytree(model, "broken")
    break_it(Path("broken"))
    folder = Path("broken").resolve()
    line = refused(capsys, "caption", *pair, "--model", folder, "--change-map", "map.png")
    assert line.startswith(f"ssgpa: error: model {folder}: ")
    assert message in line
    assert len(line) < 500
    assert not Path("map.png").exists()


def test_weights_that_are_no_numbers_are_refused(model, pair, capsys):
    shutil.copytree(model, "broken")
    poison_a_weight(Path("broken"))
    assert "scores are not finite" in refused(capsys, "caption", *pair, "--model", "./broken")


def test_a_wrong_id_is_refused_without_a_request(pair, capsys):
    assert "an id on the Hub looks like owner/name" in refused(capsys, "caption", *pair, "--model", "nobody")
    assert "model a/b c: " in refused(capsys, "caption", *pair, "--model", "a/b c")


def test_the_installed_command_is_quiet(model, pair):
    """A process of its own: libraries write past `capsys`."""
    command = [sys.executable, "-c", "import sys; from ssgpa.cli import main; sys.exit(main())"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    options = {"capture_output": True, "text": True, "env": environment, "check": False, "stdin": subprocess.DEVNULL}
    done = subprocess.run([*command, "caption", *pair, "--model", str(model), *FAST, "--json"], **options)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["caption"]
    failed = subprocess.run([*command, "caption", "before.png", "gone.png", "--model", str(model)], **options)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == "ssgpa: error: gone.png: no such file.\n"


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, f"ssgpa {ssgpa.__version__}\n")


@pytest.mark.skipif(not cli.EMBEDDED.is_dir(), reason="this copy holds no embedded checkpoint")
def test_without_a_model_the_embedded_one_speaks(pair, capsys):
    code, out, _ = run(capsys, "caption", *pair, "--json")
    assert code == 0
    assert json.loads(out)["model"] == "ssgpa-clevr-tiny"


@pytest.mark.parametrize(
    ("words", "code"),
    [(["--help"], 0), (["caption", "--help"], 0), (["--version"], 0), (["caption"], 2), (["caption", "--color"], 2)],
)
def test_what_needs_no_model_is_answered_without_torch(words, code):
    """The command starts in a module of its own, since `import ssgpa` registers every system with Transformers."""
    script = (
        'import atexit, sys; atexit.register(lambda: sys.stderr.write(f"{sys.modules.keys() & '
        "{'torch', 'transformers', 'ssgpa', 'numpy', 'PIL'}}\"))\n"
        "from ssgpa_command import main; main(sys.argv[1:])"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.endswith("set()")) == (code, True), done.stderr


def test_both_ways_into_the_command_are_one(capsys, pair, model):
    assert cli.main(["caption", *pair, "--model", str(model), *FAST]) == 0
    said = capsys.readouterr().out
    assert ssgpa_command.main(["caption", *pair, "--model", str(model), *FAST]) == 0
    assert capsys.readouterr().out == said
    assert entry_points(group="console_scripts", name="ssgpa")["ssgpa"].value == "ssgpa_command:main"


@pytest.mark.parametrize("words", [["--value-range", "-1,5"], ["--value-range=-1,5"], ["--nodata", "-9999"]])
def test_negative_numbers_are_values_of_their_option(words):
    options = ssgpa_command.parse_arguments(["caption", "before.tif", "after.tif", *words])
    assert (options.value_range, options.nodata) in {((-1.0, 5.0), None), (None, -9999.0)}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["caption", "--pairs", "nope.csv", "--output", "x.jsonl"], "nope.csv: no such file or directory.\n"),
        (["caption", "--pairs", ".", "--output", "x.jsonl"], ".: is a directory.\n"),
        (["caption", ".", "after.png"], ".: cannot be read as an image (it is a folder).\n"),
        (["score", "nope.jsonl", "--references", "nope.json"], "no such file or directory.\n"),
    ],
)
def test_what_is_no_file_is_told_in_words(capsys, pair, words, told):
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("ssgpa: error: ")
    assert err.endswith(told)
    assert "Errno" not in err
