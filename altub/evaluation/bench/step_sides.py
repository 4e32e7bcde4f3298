"""The sides of our own process of the step and epoch bench: ours, ours as it trains by default, and the published loop.

Each is told what it is by one line of JSON, and then answers orders (`altub.evaluation.bench.steps`): an epoch, a
coupling step, or the rate of a large matrix product.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import FrEIA.framework as Ff
import torch
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn

from altub.backbones import Backbone, create_backbone
from altub.backbones.folding import speed_up
from altub.data import Sample
from altub.device import Workers, autocast, keep_freed_memory, one_ahead
from altub.evaluation.bench.clock import forget_peak, peak_memory, timed
from altub.evaluation.step_time import convolution_flops, counted_convolutions, matmul_rate
from altub.flows import AffineCoupling, FlowPyramid
from altub.flows.config import FlowConfig, Norm
from altub.flows.fastflow import convolution_subnet
from altub.flows.head import microbatch_size
from altub.training.config import make_config
from altub.training.features import FeatureStore, feature_shapes, load_images
from altub.training.precision import choose_precision
from altub.training.steps import Alternation

__all__ = ["as_freia", "coupling", "energies", "random_backbone", "same_input", "same_pyramid"]

STEPS_A_TURN = 3  # measured, after one that is not
CONSTANT = 0.5 * math.log(2 * math.pi)  # of a Gaussian's -log density, a dimension: the published loss leaves it out


def random_backbone(image_size: int) -> Backbone:
    """resnet18, the same in every process; random weights cost what pretrained ones do."""
    torch.manual_seed(1)
    return create_backbone("resnet18.tv_in1k", (1, 2, 3), pretrained=False, image_size=image_size)


def same_pyramid(shapes: list[tuple[int, int, int]], norm: Norm = "layer-affine") -> FlowPyramid:
    """The same initial flow in every process."""
    torch.manual_seed(0)
    return FlowPyramid(FlowConfig(norm=norm), shapes)


def coupling(channels: int, side: int, kernel: int) -> AffineCoupling:
    """A block, the same in every process."""
    torch.manual_seed(0)
    return AffineCoupling([(channels, side, side)], subnet_constructor=convolution_subnet(kernel, 1.0))


def same_input(images: int, channels: int, side: int) -> Tensor:
    """A batch for a block, (N, C, side, side), the same in every process, also in the peer's."""
    return torch.randn(images, channels, side, side, generator=torch.Generator().manual_seed(0))


def as_freia(ours: AffineCoupling, side: int) -> AllInOneBlock:
    """FrEIA's block with our weights; the peer's has the same names."""
    channels, kernel = sum(ours.split), ours.subnet[0].kernel_size[0]
    block = AllInOneBlock([(channels, side, side)], subnet_constructor=convolution_subnet(kernel, 1.0))
    block.subnet.load_state_dict(ours.subnet.state_dict())
    with torch.no_grad():
        block.global_scale.copy_(ours.global_scale)
        block.global_offset.copy_(ours.global_offset)
        block.w_perm.zero_()
        block.w_perm[torch.arange(channels), ours.permutation] = 1
        block.w_perm_inv.copy_(block.w_perm.transpose(0, 1))
    return block


def energies(y: Tensor, log_det: Tensor) -> Tensor:
    """1/2 |y|^2 - log_det of every image (N,): what the published loss is the mean of."""
    return 0.5 * y.square().flatten(1).sum(1) - log_det


def _gradients(block: nn.Module, x: Tensor) -> list[Tensor]:
    """Of the sum over the batch of `energies`, to the input and all parameters."""
    x = x.detach().requires_grad_()
    (y,), log_det = block((x,))
    trained = [parameter for parameter in block.parameters() if parameter.requires_grad]
    return list(torch.autograd.grad([y, log_det], [x, *trained], [y.detach(), -torch.ones_like(log_det)]))


class _Side(Protocol):
    """What answers orders.

    Attributes:
        flops: operations of the convolutions that it computes for an image of an epoch.
        caching_seconds: that it took before its first epoch.
    """

    precision: str
    flops: int
    caching_seconds: float

    def coupling(self, channels: int, side: int, kernel: int) -> nn.Module: ...

    def gradients(self, block: nn.Module, x: Tensor) -> list[Tensor]: ...

    def epoch(self) -> list[float]:
        """Losses of its steps, mean of `energies` over the batch, summed over the scales."""
        ...


class _Published:
    """FastFlow as its public re-implementation trains it: images, backbone, norm and flow in every step."""

    precision, caching_seconds = "fp32", 0.0

    def __init__(self, job: dict[str, Any], device: torch.device) -> None:
        self.samples, self.batch, self.image_size = _samples(job), job["batch"], job["image_size"]
        self.device, self.backbone = device, random_backbone(self.image_size).to(device)
        pyramid = same_pyramid(feature_shapes(self.backbone, self.image_size, device))
        self.flops = convolution_flops(1, tuple(pyramid.shapes)) + _backbone_flops(self.backbone, self.image_size)
        self.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in pyramid.shapes).to(device)
        self.flows = nn.ModuleList()
        for head, (channels, side, _) in zip(pyramid.heads, pyramid.shapes, strict=True):
            flow = Ff.SequenceINN(channels, side, side)
            flow.module_list.extend(as_freia(block, side) for block in head.flow)
            flow.conditions = [None] * len(flow.module_list)
            self.flows.append(flow.to(device))
        parameters = [*self.norms.parameters(), *self.flows.parameters()]
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=1e-3, weight_decay=1e-5)

    def coupling(self, channels: int, side: int, kernel: int) -> nn.Module:
        return as_freia(coupling(channels, side, kernel), side)

    def gradients(self, block: nn.Module, x: Tensor) -> list[Tensor]:
        return _gradients(block, x)

    def epoch(self) -> list[float]:
        losses = []
        for start in range(0, len(self.samples), self.batch):
            with torch.no_grad():
                images = load_images(self.samples[start : start + self.batch], self.image_size)
                features = self.backbone(images.to(self.device))
            loss = 0
            for norm, flow, x in zip(self.norms, self.flows, features, strict=True):
                loss = loss + energies(*flow(norm(x))).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses


class _Ours:
    """Cached features, our coupling, pieces of a batch side by side.

    Args:
        by_default: as a training with the default settings: features that have passed their norm, the precision of
            "auto", and the quick form of the backbone. Else the published mathematics.
    """

    def __init__(self, job: dict[str, Any], device: torch.device, by_default: bool) -> None:
        backbone = random_backbone(job["image_size"]).to(device)
        if by_default:
            speed_up(backbone, job["image_size"])
        shapes = feature_shapes(backbone, job["image_size"], device)
        pyramid = same_pyramid(shapes, "none" if by_default else "layer-affine").to(device)
        self.flops = convolution_flops(1, tuple(shapes))
        self.precision = choose_precision("auto", device) if by_default else "fp32"
        self.workers, self.batch, self.device = Workers(device), job["batch"], device
        self.alternation = Alternation(
            make_config(
                category="bench", batch_size=self.batch, lr=1e-3, weight_decay=1e-5, base={"base_update": "off"}
            ),
            pyramid,
            partial(autocast, device, self.precision) if by_default else nullcontext,
            self.workers,
        )
        self.store = FeatureStore(
            backbone,
            _samples(job),
            job["image_size"],
            device=device,
            budget=1 << 40,
            spill=Path(job["folder"]) / "spill",
            workers=self.workers if by_default else None,
        )
        _, taken = timed(lambda: list(self.store.fill()), device)
        self.caching_seconds = taken.seconds
        self.constant = CONSTANT * sum(math.prod(shape) for shape in shapes)

    def coupling(self, channels: int, side: int, kernel: int) -> nn.Module:
        return coupling(channels, side, kernel)

    def gradients(self, block: nn.Module, x: Tensor) -> list[Tensor]:
        size = min(microbatch_size(x), -(-len(x) // self.workers.count))  # every core has a piece
        pieces = self.workers.map(lambda part: _gradients(block, part), x.split(size))
        # As in training, where a piece goes through all blocks by itself, its own gradient goes on in that piece;
        # only the parameters' gradients meet.
        inputs, *parameters = zip(*pieces, strict=True)
        return [*inputs, *(torch.stack(grads).sum(0) for grads in parameters)]

    def epoch(self) -> list[float]:
        starts = range(0, len(self.store), self.batch)
        batches = (self.store.batch(range(start, min(start + self.batch, len(self.store)))) for start in starts)
        if self.device.type != "cpu":  # as in training, where a GPU is not waited for within an epoch
            batches = one_ahead(batches)
        found = [self.alternation.enqueue(features, "flow", 1, 1, 0.0) for features in batches]
        return [float(losses.sum()) - self.constant for losses in found]


KINDS: dict[str, Callable[[dict[str, Any], torch.device], _Side]] = {
    "ours": partial(_Ours, by_default=False),
    "ours_default": partial(_Ours, by_default=True),
    "published": _Published,
}


def _samples(job: dict[str, Any]) -> list[Sample]:
    return [Sample(Path(path), "good") for path in job["images"]]


def _backbone_flops(backbone: Backbone, image_size: int) -> int:
    blank = torch.zeros(1, 3, image_size, image_size, device=backbone.normalise_mean.device)
    return counted_convolutions(backbone, lambda: backbone(blank))


class _Steps:
    """The coupling step that was last asked for, on its device."""

    def __init__(self, side: _Side, device: torch.device) -> None:
        self.side, self.device = side, device
        self.asked: dict[str, Any] = {}

    def measure(self, order: dict[str, Any]) -> dict[str, Any]:
        if order != self.asked:
            self.asked, shape = order, (order["channels"], order["side"])
            self.block = self.side.coupling(*shape, order["kernel"]).to(self.device)
            self.x = same_input(order["images"], *shape).to(self.device)
            with torch.no_grad():
                (y,), log_det = self.block((self.x,))
                self.loss = energies(y, log_det).mean().item()
        # The other side has just had the cores and the caches: as little like training as can be.
        self.side.gradients(self.block, self.x)
        _, taken = timed(lambda: [self.side.gradients(self.block, self.x) for _ in range(STEPS_A_TURN)], self.device)
        per_step = {name: value / STEPS_A_TURN for name, value in vars(taken).items()}
        return {**per_step, "loss": self.loss}


def _say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def _serve() -> None:
    """What runs in a side's process."""
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    device = torch.device(job["device"])
    if job["side"] != "published":
        keep_freed_memory()
    side = KINDS[job["side"]](job, device)
    about = {"precision": side.precision, "flops": side.flops, "caching_seconds": side.caching_seconds}
    _say(kind="ready", **about)
    steps = _Steps(side, device)
    for line in sys.stdin:
        order = json.loads(line)
        if order["order"] == "epoch":
            forget_peak(device)
            losses, taken = timed(side.epoch, device)
            _say(kind="done", losses=losses, peak_memory=peak_memory(device), **vars(taken))
        elif order["order"] == "rate":
            _say(kind="done", rate=matmul_rate(order["precision"], device=device))
        else:
            _say(kind="done", **steps.measure(order))


if __name__ == "__main__":
    _serve()
