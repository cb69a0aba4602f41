# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SSGPA's adapter and alignment inside any modern VLM."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from ..processing_ssgpa import SSGPAProcessor
from .configuration_ssgpa_vlm import SSGPAVLMConfig
from .modeling_ssgpa_vlm import SSGPAForVLM, SSGPAVLMPreTrainedModel
from .starting import load_vlm, processor_for_vlm


AutoConfig.register("ssgpa_vlm", SSGPAVLMConfig, exist_ok=True)
AutoModelForImageTextToText.register(SSGPAVLMConfig, SSGPAForVLM, exist_ok=True)
AutoProcessor.register(SSGPAVLMConfig, SSGPAProcessor, exist_ok=True)

__all__ = ["SSGPAForVLM", "SSGPAVLMConfig", "SSGPAVLMPreTrainedModel", "load_vlm", "processor_for_vlm"]
