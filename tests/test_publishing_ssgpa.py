# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Publishing changes nothing that another thread could see: no class, no configuration."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest

from ssgpa import SSGPAForConditionalGeneration, SSGPAProcessor
from ssgpa.publishing_ssgpa import publish, save_repository

from .tiny_systems import tiny_ssgpa


SECONDS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("saved")
    for part in tiny_ssgpa(vision="resnet"):
        part.save_pretrained(found)
    return found


@pytest.fixture
def system(folder):
    return SSGPAForConditionalGeneration.from_pretrained(folder), SSGPAProcessor.from_pretrained(folder)


def is_plain(folder):
    """Whether a folder was saved without code, and says so."""
    told = [(folder / name).read_text("utf-8") for name in ("config.json", "processor_config.json")]
    return not list(folder.glob("*.py")) and not any(word in text for text in told for word in ("auto_map", "custom_"))


def is_repository(folder):
    config = json.loads((folder / "config.json").read_text("utf-8"))
    processor = json.loads((folder / "processor_config.json").read_text("utf-8"))
    names = {"AutoConfig", "AutoModel", "AutoModelForImageTextToText"}
    mapped = {*config["auto_map"].values(), *processor["auto_map"].values(), "pipeline_ssgpa.any"}
    return (
        set(config["auto_map"]) == names
        and "change-captioning" in config["custom_pipelines"]
        and set(processor["auto_map"]) == {"AutoProcessor"}
        and all((folder / f"{name.partition('.')[0]}.py").is_file() for name in mapped)
    )


def pausing(method, reached, go_on):
    """A method that waits after its work, as a slow disk would let it."""

    def saved(*args, **kwargs):
        result = method(*args, **kwargs)
        reached.set()
        assert go_on.wait(SECONDS)
        return result

    return saved


@pytest.mark.parametrize("part", [0, 1])
def test_saving_while_another_thread_publishes(folder, system, tmp_path, part):
    """Paused amid the saving of the model or of the processor, while this thread saves the same and another system."""
    others = SSGPAForConditionalGeneration.from_pretrained(folder), SSGPAProcessor.from_pretrained(folder)
    reached, go_on = threading.Event(), threading.Event()
    slow = system[part]
    slow.save_pretrained = pausing(slow.save_pretrained, reached, go_on)
    with ThreadPoolExecutor(1) as pool:
        publishing = pool.submit(save_repository, *system, tmp_path / "repository")
        try:
            assert reached.wait(SECONDS)
            for name, parts in (("same", system), ("other", others)):
                for found in parts:
                    type(found).save_pretrained(found, tmp_path / name)
        finally:
            go_on.set()
        publishing.result(SECONDS)
    assert is_plain(tmp_path / "same")
    assert is_plain(tmp_path / "other")
    assert is_repository(tmp_path / "repository")


def test_many_threads_at_once(system, tmp_path):
    def save(number):
        for part in system:
            part.save_pretrained(tmp_path / f"plain-{number}")

    with ThreadPoolExecutor(4) as pool:
        published = [pool.submit(save_repository, *system, tmp_path / f"repository-{n}") for n in range(8)]
        saved = [pool.submit(save, number) for number in range(8)]
        for job in published + saved:
            job.result(SECONDS)
    assert all(is_repository(tmp_path / f"repository-{number}") for number in range(8))
    assert all(is_plain(tmp_path / f"plain-{number}") for number in range(8))


def test_nothing_is_changed(system, tmp_path):
    model, processor = system
    classes = [type(model), type(model.config), type(processor), type(processor.image_processor)]
    before = deepcopy((model.config.to_dict(), sorted(vars(model.config)), processor.to_dict()))
    of_classes = [dict(vars(cls)) for cls in classes]
    tokenizer = dict(processor.tokenizer.init_kwargs)
    save_repository(model, processor, tmp_path)
    assert (model.config.to_dict(), sorted(vars(model.config)), processor.to_dict()) == before
    assert [dict(vars(cls)) for cls in classes] == of_classes
    assert {**processor.tokenizer.init_kwargs, "processor_class": None} == {**tokenizer, "processor_class": None}
    assert not hasattr(processor.image_processor, "auto_map")


def test_what_has_no_configuration_of_its_own(system, tmp_path):
    """An adapter over a base: its file is left as it is, and the code lies beside it."""
    model, processor = system
    model.save_pretrained = lambda folder, **_: (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    save_repository(model, processor, tmp_path)
    assert (tmp_path / "adapter_config.json").read_text("utf-8") == "{}"
    assert (tmp_path / "modeling_ssgpa.py").is_file()
    assert not (tmp_path / "config.json").exists()


def test_an_adapter_over_a_folder_is_not_published(system, tmp_path):
    """Its base would be a path of this machine."""
    model, processor = system
    told = json.dumps({"base_model_name_or_path": str(tmp_path)})
    model.save_pretrained = lambda folder, **_: (folder / "adapter_config.json").write_text(told, encoding="utf-8")
    with pytest.raises(ValueError, match="publish that base first"):
        save_repository(model, processor, tmp_path)


def test_nothing_to_publish_is_refused():
    with pytest.raises(ValueError, match="pass a model, a processor or both"):
        publish(None, "org/name")
