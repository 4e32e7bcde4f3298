"""What takes long at the start of the page without any use, left out.

Whenever a component's class is made, Gradio reads its source again, renders a stub for type checkers from a template
and compares it with the one that lies beside the source: 80 times, at every import. It then renders the docstring of
each event, and looks at the same constructors again whenever a component is made or described (seen in Gradio 6.31 with
cProfile). Here no stubs and docstrings are made, and each constructor's signature is kept with it.

Nothing else changes. Where Gradio has been imported before, or another version has no such function, it stays as it is.
"""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import SourceFileLoader
from types import ModuleType

from altub.lazy import LoadedBy

__all__ = ["collection_paused", "import_gradio_quickly"]

_MODULE = "gradio.component_meta"  # in which classes of components are made


@contextmanager
def collection_paused() -> Iterator[None]:
    """No garbage is collected meanwhile: what is made while a program starts mostly stays."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def import_gradio_quickly() -> None:
    """From now on Gradio is imported without them; does nothing where that was done already."""
    waiting = any(isinstance(finder, LoadedBy) and finder.module == _MODULE for finder in sys.meta_path)
    if _MODULE not in sys.modules and not waiting:
        LoadedBy(_MODULE, _Loader).install()


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if hasattr(module, "create_or_modify_pyi"):
            module.create_or_modify_pyi = _keep_signature
        if hasattr(listener := getattr(module, "EventListener", None), "set_doc"):
            listener.set_doc = lambda self, component: None


def _keep_signature(component: type, _name: str, _events: Sequence[object]) -> None:
    """In place of its stub. `inspect` asks a function for this attribute first."""
    constructor = inspect.unwrap(component.__init__)
    with suppress(AttributeError):  # of object itself
        constructor.__signature__ = inspect.signature(constructor)
