"""What flows are built of in FrEIA, imported without SciPy's statistics.

FrEIA imports `scipy.stats` for one function, which draws the rotation of its own `AllInOneBlock`. That takes half as
long as importing torch, in every process that loads a model, and nothing here calls it: it is imported when somebody
does. Where FrEIA has been imported before, or another version has no such line, nothing is different.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any

from altub.imports import LoadedBy

__all__ = ["InvertibleModule", "SequenceINN"]

_MODULE = "FrEIA.modules.all_in_one_block"
_IMPORT = b"from scipy.stats import special_ortho_group\n"


class _WhenUsed:
    """Stands for `scipy.stats.special_ortho_group`."""

    def __getattr__(self, name: str) -> Any:
        from scipy import stats  # this is what takes long

        return getattr(stats.special_ortho_group, name)


special_ortho_group = _WhenUsed()


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """Compiled anew: what Python keeps compiled is the module as it is."""
        source = self.get_data(self.path)
        return self.source_to_code(
            source.replace(_IMPORT, f"from {__name__} import special_ortho_group\n".encode()), self.path
        )


_finder = LoadedBy(_MODULE, _Loader)
sys.meta_path.insert(0, _finder)
try:
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import InvertibleModule
finally:
    with suppress(ValueError):  # it was needed, and is gone
        sys.meta_path.remove(_finder)
