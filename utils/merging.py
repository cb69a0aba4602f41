# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""Make a whole model of one that was loaded over its base."""

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from transformers import PreTrainedModel


def merge_adapter(model: PreTrainedModel) -> PreTrainedModel:
    """Add LoRA's matrices to the weights that they stand beside, and put what was trained in full in its place.

    Args:
        model (`PreTrainedModel`): As `load_system` gives it for a checkpoint over a base; it is changed.

    Returns:
        `PreTrainedModel`: The same model, which is saved and published whole from now on.

    Raises:
        ValueError: It has no adapter, or one over weights in 4 or 8 bit, which cannot take it up exactly, or merging
            makes weights that are not finite.
    """
    if not getattr(model, "_hf_peft_config_loaded", False):
        raise ValueError("The model has no adapter: it is whole already.")
    if getattr(model, "is_quantized", False):
        raise ValueError("Weights in 4 or 8 bit cannot take up an adapter exactly: load the base unquantized.")
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            model.set_submodule(name, module.get_base_layer())
        elif isinstance(module, ModulesToSaveWrapper):
            model.set_submodule(name, module.modules_to_save[module.active_adapters[0]])
    model._hf_peft_config_loaded = False
    del model.peft_config
    return model


__all__ = ["merge_adapter"]
