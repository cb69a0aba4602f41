# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""ProCap: the procedure between two images, imagined, and a caption of it."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from ...processing_ssgpa import SSGPAProcessor
from .configuration_procap import ProCapConfig
from .modeling_procap import (
    ProCapForConditionalGeneration,
    ProCapForPreTraining,
    ProCapModel,
    ProCapPreTrainedModel,
    ProCapProcedureModel,
)
from .vq_procap import ProCapVQTokenizer
from .vq_training_procap import ProCapForImageReconstruction


AutoConfig.register("procap", ProCapConfig, exist_ok=True)
AutoModel.register(ProCapConfig, ProCapModel, exist_ok=True)
AutoModelForImageTextToText.register(ProCapConfig, ProCapForConditionalGeneration, exist_ok=True)
AutoProcessor.register(ProCapConfig, SSGPAProcessor, exist_ok=True)

__all__ = [
    "ProCapConfig",
    "ProCapForConditionalGeneration",
    "ProCapForImageReconstruction",
    "ProCapForPreTraining",
    "ProCapModel",
    "ProCapPreTrainedModel",
    "ProCapProcedureModel",
    "ProCapVQTokenizer",
]
