# Copyright 2026 The ssgpa authors. All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Whole repositories for the Hub: weights, code, processor, pipeline and card, in one commit."""

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import copyfile
from sys import modules
from typing import Any

from huggingface_hub import CommitInfo, HfApi, ModelCard
from transformers import AutoProcessor
from transformers.utils import ADAPTER_CONFIG_NAME, CONFIG_NAME, PROCESSOR_NAME, logging

from .pipeline_ssgpa import ChangeCaptioningPipeline
from .trust_ssgpa import trust_of


logger = logging.get_logger(__name__)

CARD = "README.md"
PIPELINES = {
    "change-captioning": {
        "impl": f"pipeline_ssgpa.{ChangeCaptioningPipeline.__name__}",
        "pt": ["AutoModelForImageTextToText"],
        "type": "multimodal",
    }
}
# Renders a card where none is given, of (model, repo_id, tags). The template of cards belongs to the package, which
# sets this; what runs as a repository's own code has none.
default_card: Callable[[Any, str, list[str]], Any] | None = None
# An import of a module of the package: of the same folder, of one above, or by the package's name.
IMPORT = re.compile(r"^(?P<indent> *)from (?P<dots>\.+|ssgpa\.)(?P<name>[\w.]*) import ", re.MULTILINE)
# What a push leaves out, an earlier one may have left: shards of another size.
WEIGHTS = ["*.safetensors", "*.safetensors.index.json"]


def save_repository(
    model: Any | None, processor: Any | None, folder: str | Path, max_shard_size: int | str = "50GB"
) -> None:
    """Save a system with its code, so that the folder loads where this package is not installed.

    Model and processor are saved as always; what makes a repository of the folder is added to its files. Neither a
    class nor a configuration is changed, so that other threads may save or publish meanwhile.

    Args:
        model (`SSGPAPreTrainedModel`, *optional*): The model.
        processor (`SSGPAProcessor`, *optional*): Its processor.
        folder (`str` or `Path`): Where to; made where it is missing.
        max_shard_size (`int` or `str`): Of one file of weights.

    Raises:
        ValueError: The model is no system, or an adapter over a folder of this machine, which nobody else has.
    """
    folder = Path(folder)
    if model is not None:
        if not hasattr(type(model), "auto_classes"):
            raise ValueError(
                f"A {type(model).__name__} is no system of this package: merge an adapter, unwrap the model, or "
                "derive its class from `ChangeCaptioningModelMixin`."
            )
        if getattr(model, "_hf_peft_config_loaded", False) and model.config.fields_over_base():
            raise ValueError(
                "This is an adapter over a model whose repository has no code of this package: merge it first "
                "(examples/merge_checkpoint.py), and publish the whole model."
            )
        model.save_pretrained(folder, max_shard_size=max_shard_size)
        # Only where it was made for these weights.
        if trust := trust_of(model):
            trust.save(folder)
        classes = {"AutoConfig": type(model.config), "AutoModelForImageTextToText": type(model)}
        auto_map = {name: _copy_code(cls, folder) for name, cls in classes.items()}
        # A variant in a module of its own inherits the names of classes that lie where they are told.
        owner = next(cls for cls in type(model).__mro__ if "auto_classes" in vars(cls))
        module = modules[owner.__module__]
        auto_map |= {name: _copy_code(getattr(module, other), folder) for name, other in owner.auto_classes.items()}
        adapter = folder / ADAPTER_CONFIG_NAME
        told = json.loads(adapter.read_text(encoding="utf-8")) if adapter.is_file() else {}
        base = told.get("base_model_name_or_path")
        if base and Path(base).is_dir():
            raise ValueError(
                f"This is an adapter over the folder {base}, which nobody else has: publish that base first, and load "
                "the adapter over its id on the Hub."
            )
        # An adapter is saved without the configuration, which is its base's.
        if (folder / CONFIG_NAME).is_file():
            _add_fields(
                folder / CONFIG_NAME, auto_map=auto_map, custom_pipelines=PIPELINES, **_own_paths(folder / CONFIG_NAME)
            )
    if processor is not None:
        processor.save_pretrained(folder)
        _add_fields(folder / PROCESSOR_NAME, auto_map={"AutoProcessor": _copy_code(type(processor), folder)})


def _copy_code(cls: type, folder: Path) -> str:
    """Copy the module of a class and all that it imports of its package; returns the class's name there.

    Loaders of a repository's code know one folder. What a system in a folder of its own imports from above comes to
    lie beside it, and the imports say so.
    """
    module = Path(modules[cls.__module__].__file__)
    waiting, copied = [module], {}
    while waiting:
        path = waiting.pop()
        if copied.setdefault(path.name, path) != path:
            raise ValueError(f"{path} and {copied[path.name]} have one name, and a repository has one folder.")
        text = path.read_text(encoding="utf-8")
        found = set()
        for match in IMPORT.finditer(text):
            above = Path(__file__).parent if match["dots"] == "ssgpa." else path.parents[len(match["dots"]) - 1]
            file = above.joinpath(*match["name"].split(".")).with_suffix(".py").resolve()
            if not match["name"] or not file.is_file():
                raise ValueError(
                    f"{path}: `{match[0].strip()}` is no module that could lie beside it in a repository."
                )
            found.add(file)
        waiting += sorted(found - set(copied.values()) - set(waiting))
        (folder / path.name).write_text(
            IMPORT.sub(lambda match: f"{match['indent']}from .{match['name'].rpartition('.')[2]} import ", text),
            encoding="utf-8",
        )
    return f"{module.stem}.{cls.__name__}"


def _own_paths(path: Path) -> dict[str, None]:
    """Fields of a JSON file that name something on this machine, which is nobody else's business."""
    content = json.loads(path.read_text(encoding="utf-8"))
    texts = {name: value for name, value in content.items() if isinstance(value, str)}
    return {name: None for name, value in texts.items() if Path(value).is_absolute() and Path(value).exists()}


def _add_fields(path: Path, **fields: Any) -> None:
    """Set fields of a JSON file that `save_pretrained` wrote, in its layout."""
    content = json.loads(path.read_text(encoding="utf-8")) | fields
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def publish(
    model: Any | None,
    repo_id: str,
    processor: Any | None = None,
    card: Any | None = None,
    files: Mapping[str, str | Path] | None = None,
    *,
    commit_message: str | None = None,
    commit_description: str | None = None,
    private: bool | None = None,
    token: bool | str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    max_shard_size: int | str = "50GB",
    tags: list[str] | None = None,
) -> CommitInfo:
    """Upload a system in one commit; an upload that was cut off shows nothing, and the next one goes on from it.

    Args:
        model (`SSGPAPreTrainedModel`, *optional*): The model; without one, the processor goes alone, without a card.
        repo_id (`str`): `owner/name`; made where it is missing.
        processor (`SSGPAProcessor`, *optional*): By default the one where the model was loaded from.
        card (`ModelCard` or `str`, *optional*): By default the one in the repository, or else a plain one.
        files (`dict[str, Path]`, *optional*): More files, by their name in the repository.
        commit_message (`str`, *optional*): Of the commit.
        commit_description (`str`, *optional*): Of the commit.
        private (`bool`, *optional*): Of a repository that is made.
        token (`bool` or `str`, *optional*): For the Hub.
        revision (`str`, *optional*): Branch, made where it is missing.
        create_pr (`bool`, *optional*, defaults to `False`): Propose the commit only.
        max_shard_size (`int` or `str`, *optional*, defaults to `"50GB"`): Of one file of weights.
        tags (`list[str]`, *optional*): More tags of a plain card.

    Returns:
        `CommitInfo`: The commit.

    Raises:
        ValueError: There is neither model nor processor, or the Hub finds the card's front matter wrong.
    """
    if model is None and processor is None:
        raise ValueError("There is nothing to publish: pass a model, a processor or both.")
    api = HfApi(token=token)
    processor = processor if processor is not None else _find_processor(model)
    with tempfile.TemporaryDirectory() as folder:
        save_repository(model, processor, folder, max_shard_size)
        for name, path in (files or {}).items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(path, target)
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None and not revision.startswith("refs/pr/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        if card is None and model is not None and not api.file_exists(repo_id, CARD, revision=revision):
            # Code that came with a repository asks the package, where that is imported too.
            render = default_card or getattr(modules.get("ssgpa.publishing_ssgpa"), "default_card", None)
            card = render and render(model, repo_id, list(tags or []))
        if card is not None:
            ModelCard(str(card)).validate(repo_type="model")
            Path(folder, CARD).write_text(str(card), encoding="utf-8")
        parts = "processor" if model is None else "model, processor, pipeline"
        return api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message or f"Upload {parts} and code",
            commit_description=commit_description,
            create_pr=create_pr,
            delete_patterns=None if model is None else WEIGHTS,
        )


def _find_processor(model: Any) -> Any | None:
    if model.name_or_path:
        try:
            return AutoProcessor.from_pretrained(model.name_or_path, trust_remote_code=False)
        except (OSError, ValueError):
            logger.debug(f"{model.name_or_path} has no processor.")
    logger.warning(
        "No processor is uploaded, and without one the repository cannot be used: pass `processor=`, or call "
        "`processor.push_to_hub` too."
    )
    return None


__all__ = ["publish", "save_repository"]
