"""What every backbone is: a frozen network from images to a pyramid of feature maps.

A backbone maps images ``(N, 3, H, W)`` in [0, 1] to a list of ``(N, C_k, H/stride_k, W/stride_k)``. It is never
trained: no parameter asks for a gradient and it stays in eval mode. It knows its own input normalisation and the exact
weights it runs on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from altub.backbones.weights import WeightsInfo
from altub.errors import ConfigError, WeightsError

__all__ = ["Backbone", "check_stages"]


class Backbone(nn.Module):
    """A frozen network from images to feature maps; build one with
    :func:`altub.backbones.create_backbone`, or from a module of your own with :meth:`from_module`.

    Attributes:
        name: of timm, "filter-bank", or a registered one.
        stages: indices that the features come from; of a module of your own, which of its outputs.
        channels, strides: of each feature map.
        weights: which weights it runs on.
        image_size_multiple: both sides of an image must be multiples of this.
        fixed_image_size: the one side length a transformer takes; None where any multiple will do.
        has_final_norm: features have passed the network's own final norm, so that a flow needs none in front.
        inside: pixels that it sees, see `looking_at`; None: all.
    """

    normalise_mean: Tensor
    normalise_std: Tensor

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        stages: Sequence[int],
        channels: Sequence[int],
        strides: Sequence[int],
        weights: WeightsInfo,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        image_size_multiple: int | None = None,
        fixed_image_size: int | None = None,
        has_final_norm: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.name = name
        self.stages = tuple(stages)
        self.channels = tuple(channels)
        self.strides = tuple(strides)
        self.weights = weights
        self.image_size_multiple = image_size_multiple or max(self.strides)
        self.fixed_image_size = fixed_image_size
        self.has_final_norm = has_final_norm
        self.inside: Callable[[int, int], np.ndarray] | None = None
        self.register_buffer("normalise_mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("normalise_std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def from_module(
        cls,
        module: nn.Module,
        name: str | None = None,
        *,
        stages: Sequence[int] | None = None,
        image_size: int = 256,
        image_size_multiple: int = 1,
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        has_final_norm: bool = False,
    ) -> Backbone:
        """A backbone from a module of your own: a frozen copy in eval mode, known by the hash of its weights.

        Args:
            module: images (N, 3, H, W) in [0, 1] to one map (N, C, h, w), or several in a list, tuple or dict. A
                `Backbone` is returned as it is.
            name: what configurations and saved models call it; default the name of its class. A model is loaded again
                where the same name is registered (:func:`altub.backbones.register_backbone`) or the module is given.
            stages: which of its outputs to take, by index; default all.
            image_size: side in pixels of the image that it is tried with, to find channels and strides.
            image_size_multiple: both sides of an image must be multiples of this, where the module needs it.
            mean, std: per channel, with which images are normalised first; default not at all.
            has_final_norm: whether the features are normalised already, so that a flow needs no norm in front.

        Raises:
            ConfigError: the module fails, or gives something else than maps.

        Example:
            >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU())
            >>> backbone = Backbone.from_module(net, "tiny", image_size=64)
            >>> backbone.channels, backbone.strides
            ((8,), (4,))
        """
        if isinstance(module, cls):
            return module
        from altub.backbones.module import wrap_module

        return wrap_module(
            copy.deepcopy(module),  # yours may go on training: its weights must not move under the hash
            name or type(module).__name__,
            stages=stages,
            image_size=image_size,
            image_size_multiple=image_size_multiple,
            mean=mean,
            std=std,
            has_final_norm=has_final_norm,
        )

    def train(self, mode: bool = True) -> Backbone:
        """Stays in eval mode: batch statistics of a frozen network must not move."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features of images ``(N, 3, H, W)``, float in [0, 1]: a list of ``(N, C_k, H/stride_k, W/stride_k)``.

        Raises:
            ConfigError: the images have a size that the backbone does not take.
        """
        self.check_image_size(*images.shape[-2:])
        normalised = (images - self.normalise_mean) / self.normalise_std
        if self.inside is not None:
            seen = torch.tensor(self.inside(*images.shape[-2:]), device=images.device)
            normalised = normalised.masked_fill(~seen, 0.0)
        return self.network(normalised)

    def looking_at(self, inside: Callable[[int, int], np.ndarray]) -> Backbone:
        """A backbone on the same network that sees a part of every image; the rest is as plain as padding to it.

        Args:
            inside: gives the pixels that it sees of images of a height and width, bool (H, W).
        """
        limited = copy.copy(self)
        limited._modules, limited._buffers = dict(self._modules), dict(self._buffers)
        limited.inside = inside
        return limited

    def check_image_size(self, height: int, width: int) -> None:
        """Raise ConfigError for a size (pixels) that the backbone does not take."""
        fixed, multiple = self.fixed_image_size, self.image_size_multiple
        if fixed is not None and (height, width) != (fixed, fixed):
            raise ConfigError(f"{self.name} takes images of {fixed} x {fixed} pixels, not {width} x {height}.")
        if height < multiple or width < multiple or height % multiple or width % multiple:
            raise ConfigError(
                f"{self.name} takes images whose sides are multiples of {multiple} pixels, not {width} x {height}."
            )

    def check_weights(self, expected_sha256: str) -> None:
        """Raise WeightsError where the weights are not those with this hash."""
        if self.weights.sha256 != expected_sha256:
            raise WeightsError(
                f"The model was trained on {self.name} with hash {expected_sha256[:12]}, but this one has "
                f"{self.weights.sha256[:12]}: its scores would mean nothing. Use the backbone with the weights it was "
                "trained on, or train it again."
            )

    def describe(self) -> dict:
        """What a saved model must know to get the same features again; JSON-able."""
        return {
            "name": self.name,
            "stages": list(self.stages),
            "channels": list(self.channels),
            "strides": list(self.strides),
            "weights": {
                "source": self.weights.source,
                "sha256": self.weights.sha256,
                "location": self.weights.location,
            },
        }

    def extra_repr(self) -> str:
        return f"{self.name}, stages={self.stages}, channels={self.channels}, strides={self.strides}"


def check_stages(name: str, stages: Sequence[int], *, first: int, last: int) -> tuple[int, ...]:
    """The stages as a tuple.

    Raises:
        ConfigError: none, not increasing, or not between `first` and `last`.
    """
    chosen = tuple(int(stage) for stage in stages)
    if not chosen or list(chosen) != sorted(set(chosen)) or chosen[0] < first or chosen[-1] > last:
        raise ConfigError(
            f"{name} has the stages {first} to {last}: choose one or more of them in increasing order, "
            f"not {', '.join(map(str, chosen)) or 'none'}."
        )
    return chosen
