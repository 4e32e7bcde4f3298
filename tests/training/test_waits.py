"""A step never waits for its device: nothing is read from it, and nothing is sent that it has to wait for.

Tensors on PyTorch's "meta" device have shapes and no values: who reads one fails, and what goes there or comes from
there is seen by a dispatch mode. So a GPU's path runs here without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from altub.device import Workers
from altub.flows import FlowPyramid
from altub.training.config import make_config
from altub.training.push import Push
from altub.training.steps import Alternation

SHAPES = [(6, 8, 8), (8, 4, 4)]
IMAGES = 5
ELSEWHERE = torch.device("meta")


class _Copies(TorchDispatchMode):
    """Notes the copies over the border between the program's memory and the device that are waited for."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        places = {x.device for x in [*args, result] if isinstance(x, torch.Tensor)}
        if len(places) > 1 and "copy" in function.__name__ and not (kwargs or {}).get("non_blocking", False):
            self.found.append(function.__name__)
        return result


@contextmanager
def crossings() -> Iterator[list[str]]:
    """What was waited for in the block."""
    found: list[str] = []

    def noted(make):  # a number of the program's, made a tensor on the device, is a copy that no mode sees
        @wraps(make)
        def making(*args, **kwargs):
            result = make(*args, **kwargs)
            if result.device == ELSEWHERE:
                found.append(make.__name__)
            return result

        return making

    with pytest.MonkeyPatch.context() as patch, _Copies(found):
        for owner, name in ((torch, "tensor"), (torch, "as_tensor"), (torch.Tensor, "new_tensor")):
            patch.setattr(owner, name, noted(getattr(owner, name)))
        yield found


@pytest.fixture
def elsewhere() -> Iterator[Workers]:
    workers = Workers(ELSEWHERE)
    yield workers
    workers.close()


def test_the_border_is_watched() -> None:
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.zeros(2, device=ELSEWHERE).sum().item()
    with pytest.raises((NotImplementedError, RuntimeError)):
        bool(torch.zeros((), device=ELSEWHERE).isfinite())
    with crossings() as watched:
        torch.arange(3).to(ELSEWHERE, non_blocking=True)
        assert watched == []
        torch.arange(3).to(ELSEWHERE)
        assert len(watched) == 1
        torch.zeros(2, device=ELSEWHERE).new_tensor(3.0)
        assert len(watched) == 2


@pytest.mark.parametrize(
    ("kind", "optimizer", "regions"),
    [("fastflow", "adam", False), ("fastflow", "sgd", True), ("cflow", "adam", False), ("cflow", "sgd", False)],
)
def test_no_step_waits_for_the_device(elsewhere: Workers, kind: str, optimizer: str, regions: bool) -> None:
    config = make_config(
        category="any",
        lr=1e-3,
        base={"base_update": "gradient", "joint": True, "optimizer": optimizer},
        flow={"kind": kind, "steps": 2},
    )
    pyramid = FlowPyramid(config.flow, SHAPES)
    if regions:
        pyramid.limit_to([torch.ones(shape[1:], dtype=torch.bool).tril() for shape in SHAPES])
    steps = Alternation(config, pyramid.to(ELSEWHERE), nullcontext, elsewhere)
    features = [torch.randn(IMAGES, *shape, device=ELSEWHERE) for shape in SHAPES]
    defects = [torch.ones(IMAGES, *shape[1:], dtype=torch.bool, device=ELSEWHERE) for shape in SHAPES]
    push = None if regions else Push(features, defects, weight=1.0)
    with crossings() as watched:
        for number, phase in enumerate(("flow", "base", "flow"), 1):
            losses = steps.enqueue(features, phase, 1, number, 0.0, push)
    assert losses.shape == (len(SHAPES),)
    assert losses.device == ELSEWHERE
    assert watched == []


def test_a_wait_would_be_noticed(elsewhere: Workers) -> None:
    pyramid = FlowPyramid(make_config(category="any").flow, SHAPES).to(ELSEWHERE)
    steps = Alternation(make_config(category="any", lr=1e-3), pyramid, nullcontext, elsewhere)
    features = [torch.randn(IMAGES, *shape, device=ELSEWHERE) for shape in SHAPES]
    with pytest.raises((NotImplementedError, RuntimeError)):
        steps.enqueue(features, "flow", 1, 1, 0.0).tolist()
