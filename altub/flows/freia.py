"""What flows are built of in FrEIA, imported without SciPy's statistics.

FrEIA imports `scipy.stats` for one function, which draws the rotation of its own `AllInOneBlock`. That takes half as
long as importing torch, in every process that loads a model, and nothing here calls it: it is imported when somebody
does. Where FrEIA has been imported before, or another version has no such line, nothing is different.
"""

from __future__ import annotations

from typing import Any

from altub.lazy import rewritten

__all__ = ["InvertibleModule", "SequenceINN"]


class _WhenUsed:
    """Stands for `scipy.stats.special_ortho_group`."""

    def __getattr__(self, name: str) -> Any:
        from scipy import stats  # this is what takes long

        return getattr(stats.special_ortho_group, name)


special_ortho_group = _WhenUsed()

with rewritten(
    "FrEIA.modules.all_in_one_block",
    "from scipy.stats import special_ortho_group",
    f"from {__name__} import special_ortho_group",
):
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import InvertibleModule
