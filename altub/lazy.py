"""Names of a package that are loaded when first used.

torch, timm and gradio take seconds to import, and `altub --help` needs none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of `package`, whose names live in the modules that `homes` gives.

    Args:
        package: its `__name__`.
        homes: name -> module, relative to the package (".detector") or absolute ("altub.runs").
    """

    def __getattr__(name: str) -> Any:  # noqa: N807 - PEP 562's name
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name], package), name)
        setattr(sys.modules[package], name, value)  # asked for once
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *homes})

    return __getattr__, __dir__
