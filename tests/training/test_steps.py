"""One step of the alternation: pieces of a batch add up to the whole, and each turn moves only what it should."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from altub.device import Workers
from altub.flows import FlowPyramid
from altub.flows.head import microbatch_size
from altub.training.config import make_config
from altub.training.steps import Alternation

SHAPES = [(6, 16, 16), (8, 4, 4)]
IMAGES = 40  # more than one piece on every scale


@pytest.fixture
def workers():
    made = Workers(torch.device("cpu"))
    yield made
    made.close()


def alternation(workers: Workers, **base) -> Alternation:
    config = make_config(category="any", epochs=4, lr=1e-2, base={"base_update": "gradient", **base})
    torch.manual_seed(3)
    pyramid = FlowPyramid(config.flow.model_copy(update={"norm": "layer-affine", "steps": 3}), SHAPES)
    with torch.no_grad():
        for base_of_scale in pyramid.bases:
            base_of_scale.mean.normal_()
            base_of_scale.log_std.normal_(std=0.3)
    return Alternation(config, pyramid, nullcontext, workers)


def batch() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(IMAGES, *shape, generator=generator) for shape in SHAPES]


@pytest.mark.parametrize("turn", ["flow", "base"])
def test_pieces_give_the_gradient_of_the_whole_batch(workers, turn):
    ours = alternation(workers)
    whole = ours.pyramid
    moved = list(whole.flow_parameters() if turn == "flow" else whole.base_parameters())
    features = batch()
    assert all(microbatch_size(maps) < IMAGES for maps in features)
    nll = [values.mean() for values in whole.nll(whole.normalise(features))]
    wanted = torch.autograd.grad(sum(nll), [p for p in moved if p.requires_grad])

    losses = ours.enqueue(features, turn, 1, 1, 0.0).tolist()

    assert losses == pytest.approx([value.item() for value in nll], rel=1e-5)
    got = [p.grad for p in moved if p.requires_grad]
    if turn == "base":  # the step clips what it is given: by one factor for all
        scale = min(100.0 / torch.stack([g.norm() for g in wanted]).norm().item(), 1.0)
        wanted = [g * scale for g in wanted]
    for ours_grad, grad in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours_grad, grad, rtol=1e-3, atol=1e-4 * float(grad.abs().max()))


@pytest.mark.parametrize("turn", ["flow", "base"])
def test_a_turn_leaves_the_other_side_alone(workers, turn):
    ours = alternation(workers, joint=False)
    before = {name: value.clone() for name, value in ours.pyramid.state_dict().items()}
    ours.enqueue(batch(), turn, 1, 1, 0.0)
    moved = {name.split(".")[0] for name, value in ours.pyramid.state_dict().items() if not value.equal(before[name])}
    assert moved == ({"norms", "heads"} if turn == "flow" else {"bases"})


def test_the_number_of_cores_does_not_show_in_the_weights():
    def weights(threads: int) -> dict[str, torch.Tensor]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        workers = Workers(torch.device("cpu"))
        try:
            ours = alternation(workers)
            for step, turn in enumerate(("flow", "flow", "base", "flow"), 1):
                ours.enqueue(batch(), turn, 1, step, 0.1 * step)
            return ours.pyramid.state_dict()
        finally:
            workers.close()
            torch.set_num_threads(before)

    one, three = weights(1), weights(3)
    assert all(three[name].equal(value) for name, value in one.items())


def test_a_piece_holds_fewer_of_the_large_maps():
    def pieces(*shape: int) -> int:
        return microbatch_size(torch.empty(1, *shape).expand(64, *shape))

    assert (pieces(64, 64, 64), pieces(128, 32, 32), pieces(256, 16, 16)) == (8, 16, 16)
    assert pieces(256, 128, 128) == 8  # never so few that a core idles in small matrices
    assert microbatch_size(torch.empty(64, 8, 4, 4, device="meta")) == 64  # no CPU: all at once
