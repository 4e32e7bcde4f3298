"""What can be known of a training before it starts: what is wrong with it, and roughly what it takes.

The network is only sketched (PyTorch's meta device): its shapes and its arithmetic are known without its weights, in
milliseconds and without memory.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from altub.backbones import resolve_auto, weights_available
from altub.data import Category
from altub.data.images.reading import image_dimensions
from altub.data.splits import split_held_out
from altub.errors import AltUBError, ConfigError, ImageError
from altub.flows.config import FlowConfig
from altub.flows.registry import get_flow
from altub.settings import feature_memory_bytes
from altub.training.config import TrainingConfig

if TYPE_CHECKING:
    import torch

__all__ = ["Outlook", "Preflight", "Problem", "examine"]

BACKWARD = 3  # times the arithmetic of a forward pass that an update takes
EFFICIENCY = 0.35  # of the speed of a plain convolution that a training is taken to reach: an assumption
STARTING = 12.0  # seconds until a process has imported and read everything
PROGRAM_BYTES = 700 << 20  # that a training process takes beside its tensors
VALUE_BYTES = 4
COPIES = 4  # of a trained weight: itself, its gradient, Adam's two moments
KEPT_PER_STEP = 6  # activations of a map's size that each coupling step keeps for the backward pass
KEPT_IN_ALL = 10  # where they are computed again, of the one step that is being worked on


@dataclass(frozen=True)
class Problem:
    """setting: dotted name of the setting that is wrong; "category" stands for the images. text: a sentence."""

    setting: str
    text: str


@dataclass(frozen=True)
class Outlook:
    """A rough estimate. seconds: on this machine while it does nothing else. memory: bytes."""

    seconds: float
    memory: int


@dataclass(frozen=True)
class Preflight:
    """problems: empty where the training can start. outlook: None where there are problems."""

    problems: tuple[Problem, ...]
    outlook: Outlook | None = None


@dataclass(frozen=True)
class _Cost:
    """Of one image. forward: floating-point operations. values: of all feature maps."""

    backbone: int
    flow: int
    values: int
    weights: int
    frozen: int


def examine(config: TrainingConfig, category: Category) -> Preflight:
    """Looks at the images, the device, the backbone and the flow, each as far as it can be known now.

    Example:
        >>> from altub.data import Category
        >>> few = Category.from_images("lid", [bytes(9)] * 3)
        >>> found = examine(TrainingConfig(category="lid", backbone="filter-bank"), few)
        >>> found.problems[0].setting, found.problems[0].text[:30]
        ('category', '3 good images are too few: at ')
    """
    from altub.backbones.sketch import sketch_backbone
    from altub.device import choose_device
    from altub.inference.framing import Framing

    problems = []
    try:
        split_held_out(category.train, config.held_out, config.seed)
    except AltUBError as error:
        problems.append(Problem("category", str(error)))
    try:
        device = choose_device(config.device)
    except ConfigError as error:
        problems.append(Problem("device", str(error)))
    side = Framing.of(config).side
    name = resolve_auto()[0] if config.backbone == "auto" else config.backbone
    try:
        if weights_available(name) is None:
            raise ConfigError(
                f"The weights of {name} are not available: put {name}.safetensors into the folder of ALTUB_WEIGHTS, "
                "connect to the Hugging Face Hub, or choose another backbone."
            )
    except ConfigError as error:
        return Preflight((*problems, Problem("backbone", str(error))))
    try:
        network = sketch_backbone(name, config.stages, side)
    except ConfigError as error:
        return Preflight((*problems, Problem("stages", str(error))))
    try:
        network.check_image_size(side, side)
    except ConfigError as error:
        problems.append(Problem("tile" if config.tile else "image_size", str(error)))
    if problems:
        return Preflight(tuple(problems))
    cost = _cost(name, config.stages, side, config.flow.model_dump_json())
    return Preflight((), _outlook(config, category, cost, device))


@lru_cache(maxsize=32)
def _cost(name: str, stages: tuple[int, ...] | None, image_size: int, flow_json: str) -> _Cost:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from altub.backbones.sketch import sketch_backbone
    from altub.device import shapes_alone
    from altub.flows import FlowPyramid

    flow = FlowConfig.model_validate_json(flow_json)  # as text it can be looked up
    network = sketch_backbone(name, stages, image_size)
    device = next(iter(network.buffers())).device
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        features = network(torch.zeros(1, 3, image_size, image_size, device=device))
    if network.has_final_norm:
        flow = flow.model_copy(update={"norm": "none"})
    get_flow(flow.kind).head_class()  # its module is imported outside of the meta device
    with shapes_alone():
        pyramid = FlowPyramid(flow, [tuple(x.shape[1:]) for x in features])
        with torch.no_grad(), FlopCounterMode(display=False) as learned:
            pyramid.latents([torch.zeros(x.shape) for x in features])
    return _Cost(
        backbone=counted.get_total_flops(),
        flow=learned.get_total_flops(),
        values=sum(x.numel() for x in features),
        weights=sum(parameter.numel() for parameter in pyramid.parameters()),
        frozen=sum(parameter.numel() for parameter in network.parameters()),
    )


def _outlook(config: TrainingConfig, category: Category, cost: _Cost, device: torch.device) -> Outlook:
    trained, tested = len(category.train), len(category.test) + round(config.held_out * len(category.train))
    tiles = _tiles(config, category)
    trained, tested = trained * tiles, tested * tiles
    passes = config.epochs if config.augment else 1  # of the backbone: features are cached
    work = cost.backbone * (trained * passes + tested)
    evaluations = -(-config.epochs // config.evaluate_every)
    work += cost.flow * (BACKWARD * trained * config.epochs + tested * evaluations)
    value_bytes = VALUE_BYTES // 2 if config.feature_format == "fp16" else VALUE_BYTES
    cached = min(cost.values * value_bytes * (trained + tested), feature_memory_bytes())
    recomputes = config.recompute and get_flow(config.flow.kind).head_class().recomputes
    kept = KEPT_IN_ALL if recomputes else config.flow.steps * KEPT_PER_STEP
    activations = cost.values * VALUE_BYTES * kept * min(config.batch_size, trained)
    weights = VALUE_BYTES * (COPIES * cost.weights + cost.frozen)
    return Outlook(
        seconds=STARTING + work / (EFFICIENCY * _speed(device.type)),
        memory=PROGRAM_BYTES + weights + cached + activations,
    )


def _tiles(config: TrainingConfig, category: Category) -> int:
    """Windows of an image, taken from the first one."""
    from altub.inference.framing import Framing

    framing = Framing.of(config)
    try:
        return len(framing.frame(image_dimensions(category.train[0].source)))
    except ImageError:  # the training will say so
        return 1


@lru_cache(maxsize=4)
def _speed(device: str) -> float:
    """Floating-point operations of a plain convolution in a second; measured once."""
    import torch
    import torch.nn.functional as F

    image, kernel = torch.zeros(4, 64, 32, 32, device=device), torch.zeros(64, 64, 3, 3, device=device)
    operations = 2 * image.numel() * 64 * 9
    times = []
    for _ in range(6):
        began = time.perf_counter()
        float(F.conv2d(image, kernel, padding=1)[0, 0, 0, 0])  # waits for a GPU
        times.append(time.perf_counter() - began)
    return operations / min(times)
