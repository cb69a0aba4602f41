# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""SCORER: self-supervised cross-view representation reconstruction, with cross-modal backward reasoning."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from ...processing_ssgpa import SSGPAProcessor
from .configuration_scorer import SCORERConfig
from .modeling_scorer import SCORERForConditionalGeneration, SCORERModel, SCORERPreTrainedModel


AutoConfig.register("scorer", SCORERConfig, exist_ok=True)
AutoModel.register(SCORERConfig, SCORERModel, exist_ok=True)
AutoModelForImageTextToText.register(SCORERConfig, SCORERForConditionalGeneration, exist_ok=True)
AutoProcessor.register(SCORERConfig, SSGPAProcessor, exist_ok=True)

__all__ = ["SCORERConfig", "SCORERForConditionalGeneration", "SCORERModel", "SCORERPreTrainedModel"]
