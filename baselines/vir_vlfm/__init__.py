# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""VIR-VLFM: viewpoint integration and registration with a vision language foundation model."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from ...processing_ssgpa import SSGPAProcessor
from .configuration_vir_vlfm import VIRVLFMConfig
from .modeling_vir_vlfm import VIRVLFMForConditionalGeneration, VIRVLFMModel, VIRVLFMPreTrainedModel


AutoConfig.register("vir_vlfm", VIRVLFMConfig, exist_ok=True)
AutoModel.register(VIRVLFMConfig, VIRVLFMModel, exist_ok=True)
AutoModelForImageTextToText.register(VIRVLFMConfig, VIRVLFMForConditionalGeneration, exist_ok=True)
AutoProcessor.register(VIRVLFMConfig, SSGPAProcessor, exist_ok=True)

__all__ = ["VIRVLFMConfig", "VIRVLFMForConditionalGeneration", "VIRVLFMModel", "VIRVLFMPreTrainedModel"]
