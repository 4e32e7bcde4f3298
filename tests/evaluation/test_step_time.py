"""The variants of a step that are timed beside each other learn the same."""

from __future__ import annotations

import pytest

from altub.evaluation.step_time import VARIANTS, measure_steps


def test_all_variants_have_the_same_loss() -> None:
    found = measure_steps(2, images=4, shapes=((8, 8, 8), (12, 4, 4)))
    assert list(found) == list(VARIANTS)
    (_, wanted), *others = found.values()
    assert len(wanted) == 3
    for name, (seconds, losses) in zip(list(found)[1:], others, strict=True):
        assert len(seconds) == 2
        assert losses == pytest.approx(wanted, rel=1e-2 if "bf16" in name else 1e-5), name
