# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""BLIP2IDC: BLIP-2 reads both images as one, the earlier above the later, and LoRA adapts it to changes."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from ...processing_ssgpa import SSGPAProcessor
from .configuration_blip2idc import BLIP2IDCConfig
from .modeling_blip2idc import BLIP2IDCForConditionalGeneration, BLIP2IDCModel, BLIP2IDCPreTrainedModel


AutoConfig.register("blip2idc", BLIP2IDCConfig, exist_ok=True)
AutoModel.register(BLIP2IDCConfig, BLIP2IDCModel, exist_ok=True)
AutoModelForImageTextToText.register(BLIP2IDCConfig, BLIP2IDCForConditionalGeneration, exist_ok=True)
AutoProcessor.register(BLIP2IDCConfig, SSGPAProcessor, exist_ok=True)

__all__ = ["BLIP2IDCConfig", "BLIP2IDCForConditionalGeneration", "BLIP2IDCModel", "BLIP2IDCPreTrainedModel"]
