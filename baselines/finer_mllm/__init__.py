# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""FINER-MLLM: LoRA in tower and Q-Former, constraints on their attention, and captions retrieved for the pair."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from ...processing_ssgpa import SSGPAProcessor
from .configuration_finer_mllm import FinerMLLMConfig
from .modeling_finer_mllm import FinerMLLMForConditionalGeneration, FinerMLLMModel, FinerMLLMPreTrainedModel


AutoConfig.register("finer_mllm", FinerMLLMConfig, exist_ok=True)
AutoModel.register(FinerMLLMConfig, FinerMLLMModel, exist_ok=True)
AutoModelForImageTextToText.register(FinerMLLMConfig, FinerMLLMForConditionalGeneration, exist_ok=True)
AutoProcessor.register(FinerMLLMConfig, SSGPAProcessor, exist_ok=True)

__all__ = [
    "FinerMLLMConfig",
    "FinerMLLMForConditionalGeneration",
    "FinerMLLMModel",
    "FinerMLLMPreTrainedModel",
]
