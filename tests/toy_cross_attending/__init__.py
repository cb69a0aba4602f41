# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A toy system whose decoder attends to both images."""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

from ssgpa import SSGPAProcessor

from .configuration_toy_cross_attending import ToyCrossAttendingConfig
from .modeling_toy_cross_attending import ToyCrossAttendingForConditionalGeneration, ToyCrossAttendingModel


AutoConfig.register("toy_cross_attending", ToyCrossAttendingConfig, exist_ok=True)
AutoModel.register(ToyCrossAttendingConfig, ToyCrossAttendingModel, exist_ok=True)
AutoModelForImageTextToText.register(ToyCrossAttendingConfig, ToyCrossAttendingForConditionalGeneration, exist_ok=True)
AutoProcessor.register(ToyCrossAttendingConfig, SSGPAProcessor, exist_ok=True)
