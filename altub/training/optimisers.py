"""PyTorch's optimisers without its compiler.

An optimiser imports `torch._dynamo` when it is made and in every step, to say which of its methods the compiler must
leave alone. That takes as long as importing torch, at the start of every training, and nothing here compiles an
optimiser: its methods are taken as they are beneath that.
"""

from __future__ import annotations

import inspect
from functools import cache

import torch
from torch.optim import Optimizer

__all__ = ["uncompiled"]

METHODS = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")


@cache
def uncompiled(kind: type[Optimizer]) -> type[Optimizer]:
    """The same optimiser, bit for bit, outside of functions that are compiled.

    Args:
        kind: one of `torch.optim` whose `step` takes no gradient of itself (`differentiable=False`).
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in METHODS}
    return type(kind.__name__, (kind,), {**methods, "step": torch.no_grad()(inspect.unwrap(kind.step))})
