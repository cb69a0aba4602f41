# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A toy system that reads one concatenated image."""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from ssgpa import SSGPAProcessor

from .configuration_toy_concatenating import ToyConcatenatingConfig
from .modeling_toy_concatenating import ToyConcatenatingForConditionalGeneration


AutoConfig.register("toy_concatenating", ToyConcatenatingConfig, exist_ok=True)
AutoModelForImageTextToText.register(ToyConcatenatingConfig, ToyConcatenatingForConditionalGeneration, exist_ok=True)
AutoProcessor.register(ToyConcatenatingConfig, SSGPAProcessor, exist_ok=True)
