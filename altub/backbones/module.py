"""Any module that maps images to feature maps, wrapped as a backbone: its channels and strides are found by a trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from altub.backbones.pyramid import Backbone, check_stages
from altub.backbones.weights import WeightsInfo, hash_tensors
from altub.errors import ConfigError

__all__ = ["wrap_module"]

FEWEST_CHANNELS = 2  # a coupling step needs two halves


def wrap_module(
    module: nn.Module,
    name: str,
    *,
    stages: Sequence[int] | None = None,
    image_size: int = 256,
    image_size_multiple: int = 1,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    has_final_norm: bool = False,
) -> Backbone:
    """`module` itself, not a copy, as a frozen backbone; arguments and errors as `Backbone.from_module`."""
    module = module.cpu().float().eval()
    outputs = _try_out(module, name, image_size, mean, std)
    chosen = check_stages(name, range(len(outputs)) if stages is None else stages, first=0, last=len(outputs) - 1)
    state = {key: value for key, value in module.state_dict().items() if isinstance(value, Tensor)}
    strides = [max(round(image_size / outputs[stage].shape[-1]), 1) for stage in chosen]
    return Backbone(
        _ModuleFeatures(module, chosen),
        name=name,
        stages=chosen,
        channels=[outputs[stage].shape[1] for stage in chosen],
        strides=strides,
        weights=WeightsInfo("module", hash_tensors(state), name),
        mean=mean,
        std=std,
        image_size_multiple=image_size_multiple,
        has_final_norm=has_final_norm,
    )


class _ModuleFeatures(nn.Module):
    """The chosen outputs of a module, as a list."""

    def __init__(self, module: nn.Module, stages: Sequence[int]) -> None:
        super().__init__()
        self.module = module
        self.stages = list(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        outputs = _as_list(self.module(images))
        return [outputs[stage] for stage in self.stages]


def _as_list(output: object) -> list:
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        return list(output.values())
    return list(output) if isinstance(output, list | tuple) else [output]


@torch.no_grad()
def _try_out(
    module: nn.Module, name: str, image_size: int, mean: Sequence[float], std: Sequence[float]
) -> list[Tensor]:
    """What the module makes of two images of this size."""
    images = torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    images = (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    try:
        outputs = _as_list(module(images))
    except Exception as error:  # a module of the user's own may fail in any way: it is told what was tried
        raise ConfigError(
            f"The backbone {name} fails on images (2, 3, {image_size}, {image_size}): {type(error).__name__}: {error}. "
            "Give the image size that it takes, as image_size."
        ) from error
    for index, maps in enumerate(outputs):
        if not isinstance(maps, Tensor) or maps.dim() != 4 or len(maps) != 2 or not maps.is_floating_point():
            shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise ConfigError(
                f"The backbone {name} must give maps (N, C, h, w), one or a list of them: its output {index} for two "
                f"images is {shape}."
            )
        if maps.shape[1] < FEWEST_CHANNELS:
            raise ConfigError(f"Output {index} of the backbone {name} has 1 channel: a flow needs at least 2.")
        if not torch.isfinite(maps).all():
            raise ConfigError(f"Output {index} of the backbone {name} is not finite: check its weights.")
    if not outputs:
        raise ConfigError(f"The backbone {name} gives no maps.")
    return outputs
