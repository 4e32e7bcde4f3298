"""A module of another package, loaded in a way of our own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

__all__ = ["LoadedBy"]


class LoadedBy(MetaPathFinder):
    """Finds one module where Python finds it, and has it loaded by another loader; once. Belongs into `sys.meta_path`.

    Args:
        module: its full name.
        loader: called as `SourceFileLoader` is. What is no source file is loaded as usual.
    """

    def __init__(self, module: str, loader: type[SourceFileLoader]) -> None:
        self.module, self.loader = module, loader

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = self.loader(fullname, spec.loader.path)
        return spec
