"""Names of a package that are loaded when first used.

torch, timm and gradio take seconds to import, and `altub --help` needs none of them. Some of their own modules import
what takes as long again, for a function that is hardly ever called: `rewritten` has it imported when it is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

__all__ = ["LoadedBy", "lazy_exports", "rewritten"]

_LIST = threading.Lock()  # held while `sys.meta_path` is replaced


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


class LoadedBy(MetaPathFinder):
    """Finds one module where Python finds it, and has it loaded by another loader; once, after `install`.

    Args:
        module: its full name.
        loader: called as `SourceFileLoader` is. What is no source file is loaded as usual.
    """

    def __init__(self, module: str, loader: Callable[[str, str], SourceFileLoader]) -> None:
        self.module, self.loader = module, loader

    # The list is replaced, not changed: another thread that goes through it would miss a finder.

    def install(self) -> None:
        with _LIST:
            sys.meta_path = [self, *sys.meta_path]

    def remove(self) -> None:
        """Does nothing where the module was found."""
        with _LIST:
            sys.meta_path = [finder for finder in sys.meta_path if finder is not self]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.module:
            return None
        self.remove()
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = self.loader(fullname, spec.loader.path)
        return spec


@contextmanager
def rewritten(module: str, line: str, instead: str) -> Iterator[None]:
    """Within it, a module of another package is imported as if one line of its source were another.

    Nothing changes for a module that has been imported before, or that has no such line.
    """

    class Loader(SourceFileLoader):
        def get_code(self, fullname: str) -> CodeType:
            """Compiled anew: what Python keeps compiled is the module as it is."""
            source = self.get_data(self.path)
            return self.source_to_code(source.replace(f"{line}\n".encode(), f"{instead}\n".encode()), self.path)

    finder = LoadedBy(module, Loader)
    finder.install()
    try:
        yield
    finally:
        finder.remove()
