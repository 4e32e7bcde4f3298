"""Every preset is the published configuration: its size, and one training step on features of its shapes."""

from __future__ import annotations

import pytest
import torch

from altub.device import Workers, autocast
from altub.flows import FlowPyramid
from altub.training.config import PRESETS, make_config
from altub.training.steps import Alternation

# (channels of the scales, height and width in the test or the published ones where a norm is bound to them, and the
# trainable parameters without norm and base)
PUBLISHED = {
    "fastflow-resnet18": ([(64, 64, 64), (128, 32, 32), (256, 16, 16)], 4_657_408),
    "fastflow-wrn50": ([(256, 8, 8), (512, 4, 4), (1024, 2, 2)], 41_337_856),
    "fastflow-deit": ([(768, 24, 24)], 7_074_500),
    "fastflow-cait": ([(768, 28, 28)], 7_074_500),
    "cflow-resnet18": ([(128, 8, 8), (256, 4, 4), (512, 2, 2)], 8_620_032),
    "cflow-wrn50": ([(512, 8, 8), (1024, 4, 4), (2048, 2, 2)], 81_647_616),
}


def test_every_published_preset_is_tested() -> None:
    assert set(PUBLISHED) == set(PRESETS) - {"quick-look"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_preset_has_the_published_size_and_trains_a_step(name: str) -> None:
    shapes, expected = PUBLISHED[name]
    config = make_config(name, category="x")
    if config.flow.permutation == "soft":  # drawing them takes longer than all else here
        config = make_config(name, category="x", flow={"permutation": "hard"})
    torch.manual_seed(0)
    pyramid = FlowPyramid(config.flow, shapes)
    assert sum(parameter.numel() for parameter in pyramid.heads.parameters()) == expected
    device = torch.device("cpu")
    workers = Workers(device)
    try:
        alternation = Alternation(config, pyramid, lambda: autocast(device, "fp32"), workers)
        before = [head.state_dict()["flow.module_list.0.global_offset"].clone() for head in pyramid.heads]
        features = [torch.randn(2, *shape) for shape in shapes]
        losses = alternation.enqueue(features, "flow", 1, 1, 0.0).tolist()
    finally:
        workers.close()
    assert len(losses) == len(shapes) and all(0 < loss < float("inf") for loss in losses)
    for head, start in zip(pyramid.heads, before, strict=True):
        assert not torch.equal(head.state_dict()["flow.module_list.0.global_offset"], start)
    assert config.base.base_update == "gradient", "as published with AltUB"


@pytest.mark.parametrize("name", ["cflow-resnet18", "cflow-wrn50"])
def test_cflow_is_trained_as_published(name: str) -> None:
    config = make_config(name, category="x")
    assert (config.epochs, config.lr, config.weight_decay) == (200, 2e-4, 0.0)
    assert (config.flow.loss, config.flow.permutation, config.flow.fibres) == ("logsigmoid", "soft", 256)
    pyramid = FlowPyramid(make_config(category="x", flow={"kind": "cflow", "steps": 1}).flow, [(4, 2, 2)])
    workers = Workers(torch.device("cpu"))
    alternation = Alternation(config, pyramid, lambda: autocast(torch.device("cpu"), "fp32"), workers)
    workers.close()
    rates = []
    for progress in (0.0, 16 / 200, 0.5, 1.0):
        alternation.set_rates(progress)
        rates.append(alternation.lr_now)
    assert rates[0] == pytest.approx(2e-5) and rates[3] == pytest.approx(2e-7)
    assert rates[1] == pytest.approx(2e-7 + (2e-4 - 2e-7) * 0.98429, rel=1e-4)
    assert rates[2] == pytest.approx((2e-4 + 2e-7) / 2)
