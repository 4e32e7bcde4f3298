"""What flows are built of in FrEIA, imported without SciPy's statistics.

FrEIA imports `scipy.stats` for one function, which draws the rotation of its own `AllInOneBlock`. That takes half as
long as importing torch, in every process that loads a model, and nothing here calls it: it is imported when somebody
does. Where FrEIA has been imported before, or another version has no such line, nothing is different.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

__all__ = ["InvertibleModule", "SequenceINN"]

_MODULE = "FrEIA.modules.all_in_one_block"
_IMPORT = b"from scipy.stats import special_ortho_group\n"


class _WhenUsed:
    """Stands for `scipy.stats.special_ortho_group`."""

    def __getattr__(self, name: str) -> Any:
        from scipy import stats  # this is what takes long

        return getattr(stats.special_ortho_group, name)


special_ortho_group = _WhenUsed()


class _Finder(MetaPathFinder):
    """Finds that one module."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Compiled anew: what Python keeps compiled is the module as it is."""
        source = self.get_data(self.path)
        return self.source_to_code(
            source.replace(_IMPORT, f"from {__name__} import special_ortho_group\n".encode()), self.path
        )


_finder = _Finder()
sys.meta_path.insert(0, _finder)
try:
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import InvertibleModule
finally:
    sys.meta_path.remove(_finder)
