"""timm, imported without PyTorch's compiler.

timm imports `torch._dynamo` in two ways: by torchvision, for one function that an operator of object detection asks,
and by telling it which methods of one of its vision transformers must not be compiled. That takes as long as importing
torch, in every process that loads a backbone. Here the function imports it when it is asked, and the methods are told
of once it is there. Where timm and torchvision have been imported before, or have no such lines, nothing is different.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from altub.lazy import rewritten

__all__ = ["import_timm"]


@functools.cache
def import_timm() -> ModuleType:
    """timm. It takes half a second, so it is imported where a model of it is made."""
    asked = rewritten(
        "torchvision.ops.roi_align",
        "from torch._dynamo.utils import is_compile_supported",
        f"from {__name__} import is_compile_supported",
    )
    told = rewritten(
        "timm.layers.typing",
        'disable_compiler = getattr(getattr(torch, "compiler", None), "disable", None) or nullwrap',
        f"from {__name__} import disable_compiler",
    )
    with asked, told:
        import timm
        import timm.data

    return timm


def is_compile_supported(device_type: str) -> bool:
    """Stands for torch._dynamo's."""
    from torch._dynamo import utils

    return utils.is_compile_supported(device_type)


def disable_compiler(function: Callable[..., Any]) -> Callable[..., Any]:
    """Stands for `torch.compiler.disable`: before the compiler is imported nothing is compiled."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" in sys.modules:
            import torch

            return torch.compiler.disable(function)(*args, **kwargs)
        return function(*args, **kwargs)

    return call
