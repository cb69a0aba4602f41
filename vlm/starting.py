# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Start from a plain VLM: its weights with SSGPA's parts, its own chat template, tokenizer and values of pixels."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from jinja2 import TemplateError
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, PreTrainedTokenizerBase, ProcessorMixin
from transformers.image_processing_base import ImageProcessingMixin
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from ..processing_ssgpa import SSGPAProcessor
from ..system_config_ssgpa import ChangeCaptioningConfigMixin
from .configuration_ssgpa_vlm import SSGPAVLMConfig
from .modeling_ssgpa_vlm import SSGPAForVLM
from .ports_ssgpa_vlm import port_of


INSTRUCTION = (
    "The two images show one scene, first before and then after. Say in one short sentence what changed between them, "
    'or say "nothing has changed".'
)
# What a family's image processor says of the values of pixels.
PIXELS = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "resample", "do_convert_rgb")


def is_plain_vlm(path: str, **source: Any) -> bool:
    """Whether a folder or id holds a VLM that can be wrapped, and no system of this package.

    Args:
        path (`str`): Folder, or id on the Hub.
        **source (`Any`, *optional*): For `from_pretrained`, such as `revision`.

    Raises:
        ValueError: It is neither a system nor a VLM of a known family; the error lists these.
    """
    try:
        config = AutoConfig.from_pretrained(path, **{**source, "trust_remote_code": False})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # Whatever is wrong with it, the one who loads it as a system tells.
        return False
    if isinstance(config, ChangeCaptioningConfigMixin):
        return False
    port_of(config)
    return True


def load_vlm(
    path: str,
    instruction: str | None = None,
    fields: Mapping[str, Any] | None = None,
    model_class: type[SSGPAForVLM] = SSGPAForVLM,
    **source: Any,
) -> tuple[SSGPAForVLM, SSGPAProcessor]:
    """Load a plain VLM as a system.

    Args:
        path (`str`): Folder, or id on the Hub.
        instruction (`str`, *optional*): What it is asked; by default `INSTRUCTION`.
        fields (`dict[str, Any]`, *optional*): Fields of [`SSGPAVLMConfig`].
        model_class (`type`, *optional*, defaults to `SSGPAForVLM`): That class or a variant of it.
        **source (`Any`, *optional*): `revision`, `dtype`, `attn_implementation`, `local_files_only`.

    Returns:
        `tuple[SSGPAForVLM, SSGPAProcessor]`: The model in evaluation mode, and its processor.

    Raises:
        ValueError: The VLM's files tell too little, or do not fit; the error says what.
    """
    model = model_class.from_vlm(path, **source, **(fields or {}))
    processor = processor_for_vlm(model.config, path, instruction, **_origin(source))
    # Captions are no matter of chance, whatever chats with the VLM are.
    model.generation_config.update(do_sample=False, temperature=None, top_p=None, top_k=None, min_p=None)
    ends = model.generation_config.eos_token_id
    ends = [ends] if isinstance(ends, int) else list(ends or [])
    if processor.tokenizer.eos_token_id not in ends:
        # Captions are learned with this end.
        model.generation_config.eos_token_id = [*ends, processor.tokenizer.eos_token_id]
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return model, processor


def processor_for_vlm(
    config: SSGPAVLMConfig,
    path: str | None = None,
    instruction: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    chat_template: str | None = None,
    **source: Any,
) -> SSGPAProcessor:
    """The processor of a VLM as a system: whole images at one size, and the VLM's own chat template.

    Args:
        config (`SSGPAVLMConfig`): Of the model.
        path (`str`, *optional*): Folder or id of the VLM; by default the one that the configuration names.
        instruction (`str`, *optional*): What is asked of both images; by default `INSTRUCTION`.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): By default the VLM's.
        chat_template (`str`, *optional*): By default the VLM's.
        **source (`Any`, *optional*): `revision`, `local_files_only`.

    Returns:
        `SSGPAProcessor`: With images of `config.image_size`, resized with the VLM's own filter and normalized by its
        own mean and deviation.

    Raises:
        ValueError: The VLM has no chat template, or its files tell no pixel values, or prompt and tokens do not agree.
    """
    path = path or config.vlm_name_or_path
    source = source or ({"revision": config.vlm_revision} if config.vlm_revision else {})
    if path is None:
        raise ValueError("The configuration names no VLM: give its folder or id as `path`.")
    if tokenizer is None:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False, **source)
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token or tokenizer.eos_token
    token = tokenizer.convert_ids_to_tokens(config.image_token_id)
    if token is None:
        raise ValueError(f"{path}: the tokenizer has no token {config.image_token_id}, which stands for images.")
    template = chat_template or chat_template_of(path, tokenizer, **source)
    port = config.port
    if port.placeholder is not None and template is not None:
        template = template.replace(port.placeholder, token)
    height, width = config.image_size
    processor = SSGPAProcessor(
        CLIPImageProcessorPil(
            size={"height": height, "width": width}, do_center_crop=False, **pixel_options(path, **source)
        ),
        tokenizer,
        chat_template=template,
        image_seq_length=config.image_seq_length,
        prompt=_prompt(config, tokenizer, template, token, INSTRUCTION if instruction is None else instruction, path),
        image_token=token,
        image_text=port.text_of_image(config.vlm_config, (height, width), token),
    )
    found = processor.prompt_ids().count(config.image_token_id)
    if found != 2 * config.image_seq_length:
        raise ValueError(
            f"{path}: the prompt holds {found} tokens of images, and two images have {2 * config.image_seq_length}."
        )
    return processor


def _prompt(
    config: SSGPAVLMConfig,
    tokenizer: PreTrainedTokenizerBase,
    template: str | None,
    token: str,
    instruction: str,
    path: str,
) -> str:
    """The prompt with a placeholder an image, without the start token that the tokenizer itself puts in front."""
    if template is None:
        if config.port.prompt is None:
            raise ValueError(f"{path} has no chat template: it is no model that follows instructions; give one.")
        # The prompt says itself where the start token stands.
        tokenizer.add_bos_token = False
        return config.port.prompt.format(image=token, start=tokenizer.bos_token or "", instruction=instruction)
    content = [{"type": "image"}, {"type": "image"}, {"type": "text", "text": instruction}]
    if token in instruction:
        raise ValueError(f"`instruction` holds {token}, which stands for an image.")
    try:
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
        )
    except TemplateError as error:
        raise ValueError(f"{path}: its chat template cannot be filled with two images: {error}") from error
    if prompt.count(token) != 2:
        raise ValueError(
            f"{path}: the chat template writes {token} {prompt.count(token)} time(s) for two images: {prompt!r:.300}"
        )
    start = tokenizer.bos_token
    adds_start = start is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return prompt.removeprefix(start) if adds_start else prompt


def chat_template_of(path: str, tokenizer: PreTrainedTokenizerBase, **source: Any) -> str | None:
    """The chat template of a VLM, its processor's before its tokenizer's.

    Args:
        path (`str`): Folder or id.
        tokenizer (`PreTrainedTokenizerBase`): The VLM's.
        **source (`Any`, *optional*): `revision`, `local_files_only`.

    Returns:
        `str`: None where there is none.
    """
    found = None
    with suppress(OSError):
        found = ProcessorMixin.get_processor_dict(path, **source)[0].get("chat_template")
    found = found or tokenizer.chat_template
    return found.get("default") if isinstance(found, Mapping) else found


def pixel_options(path: str, **source: Any) -> dict[str, Any]:
    """How a VLM's own image processor makes values of pixels.

    Args:
        path (`str`): Folder or id.
        **source (`Any`, *optional*): `revision`, `local_files_only`.

    Returns:
        `dict[str, Any]`: Arguments of an image processor.

    Raises:
        ValueError: The files do not tell mean and deviation.
    """
    told = dict(ImageProcessingMixin.get_image_processor_dict(path, **source)[0])
    if not told.keys() >= set(PIXELS):
        # What files leave out is in the class; some classes cannot be built without torchvision.
        with suppress(ImportError, OSError, ValueError):
            own = AutoImageProcessor.from_pretrained(path, backend="pil", trust_remote_code=False, **source)
            told = {**{name: getattr(own, name, None) for name in PIXELS}, **told}
    found = {name: told[name] for name in PIXELS if told.get(name) is not None}
    if found.get("do_normalize", True) and not found.keys() >= {"image_mean", "image_std"}:
        raise ValueError(f"{path}: its image processor's files tell no `image_mean` and `image_std`.")
    return {"resample": Image.Resampling.BICUBIC, **found}


def _origin(source: Mapping[str, Any]) -> dict[str, Any]:
    return {name: source[name] for name in ("revision", "local_files_only") if source.get(name)}


__all__ = ["INSTRUCTION", "chat_template_of", "is_plain_vlm", "load_vlm", "pixel_options", "processor_for_vlm"]
