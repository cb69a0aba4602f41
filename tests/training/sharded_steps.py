# Copyright 2026 The ssgpa authors. All rights reserved.
# Licensed under the Apache License, Version 2.0.
"""A process of two: a tiny system's gradients where FSDP2 shares its parameters out, beside those of the whole one."""

import sys

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from ..ssgpa_cases import inputs_for, tiny_model, wake


def gradients_of(model, inputs):
    """The loss, and the gradient of every parameter that has one."""
    loss = model(**inputs).loss
    loss.backward()
    found = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    return loss.detach(), found


def main():
    """Fails where losses or gradients differ."""
    distributed.init_process_group("gloo")
    torch.manual_seed(0)
    # Negatives and warps are drawn.
    model, processor = tiny_model("instructblip-qformer", contrast_weight=0.0, warp_weight=0.0)
    wake(model).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    inputs = inputs_for(processor, captions=True)
    loss, wanted = gradients_of(model, inputs)
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    for part in (*model.model.language_model.layers, model.model.alignment, model):
        fully_shard(part, mesh=mesh)
    assert all(value.to_local().numel() < value.numel() for value in model.parameters() if len(value) > 1)
    sharded_loss, found = gradients_of(model, inputs)
    torch.testing.assert_close(sharded_loss, loss, atol=1e-5, rtol=0)
    assert set(found) == set(wanted)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient.full_tensor(), wanted[name], atol=1e-5, rtol=1e-4, msg=name)
    distributed.destroy_process_group()
    sys.stdout.write(f"{len(found)} gradients agree\n")


if __name__ == "__main__":
    main()
