"""The variants of a step that are timed beside each other learn the same."""

from __future__ import annotations

import pytest
import torch

from altub.evaluation import step_time
from altub.evaluation.step_time import VARIANTS, convolution_flops, matmul_rate, measure_steps
from altub.training.config import make_config


def test_all_variants_have_the_same_loss() -> None:
    found = measure_steps(2, images=4, shapes=((8, 8, 8), (12, 4, 4)))
    assert list(found) == list(VARIANTS)
    (_, wanted), *others = found.values()
    assert len(wanted) == 3
    for name, (seconds, losses) in zip(list(found)[1:], others, strict=True):
        assert len(seconds) == 2
        assert losses == pytest.approx(wanted, rel=1e-2 if "bf16" in name else 1e-5), name


def test_operations_are_those_of_the_subnets_convolutions() -> None:
    config = make_config(category="any").flow
    once = convolution_flops(1, ((8, 4, 4),))
    # Two convolutions a subnet, from half of the channels through the hidden ones to scale and shift of the other half.
    hidden = int(4 * config.hidden_ratio)
    sizes = [1 if step % 2 else 9 for step in range(config.steps)]  # kernels 3x3 and 1x1 in turn
    assert once == 3 * sum(2 * 16 * size * (4 * hidden + hidden * 8) for size in sizes)
    assert convolution_flops(5, ((8, 4, 4),)) == 5 * once and matmul_rate("fp32", repeats=1) > 1e6


def test_the_rate_is_measured_in_the_precision_and_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU whose fp32 convolutions run in TF32, so does the product; what was set before is set again."""
    monkeypatch.setattr(step_time, "MATRIX", 8)
    monkeypatch.setattr(step_time, "uses_tf32", lambda device: True)
    waited: list[str] = []
    monkeypatch.setattr(step_time, "synchronise", lambda device: waited.append(torch.get_float32_matmul_precision()))
    kinds: list[torch.dtype] = []
    multiply = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: kinds.append(a.dtype) or multiply(a, b))
    before = torch.get_float32_matmul_precision()
    for precision, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        kinds.clear()
        assert matmul_rate(precision, repeats=2) > 0 and kinds == [kind] * 3, "the first is not measured"
    assert set(waited) == {"high"} and len(waited) == 2 * 2 * 3 and torch.get_float32_matmul_precision() == before
