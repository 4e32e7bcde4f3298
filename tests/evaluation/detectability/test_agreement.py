"""Agreement of synthetic and real defects: what is compared with what."""

from __future__ import annotations

import math

import pytest

from altub.evaluation.detectability.agreement import Agreement, rank_correlation
from altub.evaluation.detectability.record import Detectability, RealDefect, Trial


def test_ranks_count_and_nothing_to_rank_is_no_number() -> None:
    assert rank_correlation([0.1, 0.2, 0.9], [1, 5, 6]) == pytest.approx(1.0)
    assert rank_correlation([0.1, 0.2, 0.9], [6, 5, 1]) == pytest.approx(-1.0)
    assert math.isnan(rank_correlation([0.1, 0.2], [1, 2]))
    assert math.isnan(rank_correlation([0.5, 0.5, 0.5], [1, 2, 3]))


def test_shares_auroc_and_kinds_come_from_the_record() -> None:
    sizes = [2, 3, 4, 6, 8, 12, 16, 24] * 6
    trials = [
        Trial(kind="spot", contrast=0.25, area=size**2, image=k, hit=size > 5, by_chance=False, score=size)
        for k, size in enumerate(sizes)
    ]
    real = [
        RealDefect(defect=name, area=size**2, hit=hit, score=score)
        for name, size, hit, score in [
            ("small", 2, False, 0.0),
            ("small", 2, False, 3.0),
            ("medium", 6, True, 3.0),
            ("medium", 5, False, 2.0),
            ("large", 20, True, 9.0),
        ]
    ]
    result = Detectability(
        category="part",
        threshold={},
        promise="",
        good_scores=[0.0, 1.0],
        false_alarms=0,
        trials=trials,
        real=real,
    )
    found = Agreement.of(result)
    assert found.synthetic == pytest.approx(5 / 8) and found.real == pytest.approx(2 / 5)
    assert found.auroc == pytest.approx((1 * 0.5 + 0 + 8) / 10)  # the least of them equals a good one
    assert found.over_kinds == pytest.approx(1.0)
    assert math.isnan(Agreement.of(result.model_copy(update={"real": []})).real)
