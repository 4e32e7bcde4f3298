"""A feature pyramid without weights: Gabor energies and local colour statistics on a Gaussian pyramid.

A quadrature pair of Gabor filters answers to an oriented texture of one wavelength, whatever its phase; the energy of
the pair is the classic texture descriptor (Jain and Farrokhnia, "Unsupervised texture segmentation using Gabor
filters", 1991, https://doi.org/10.1016/0031-3203(91)90143-S). It is divided by the local contrast, as in models of
early vision (Heeger, "Normalization of cell responses in cat striate cortex", 1992), so that these channels tell the
kind of a texture; how strong it is tell the deviations of luminance and of two opponent colours beside it, and their
means tell the colour itself.

Level k works on the image reduced by 2^k and samples every fourth pixel of it, so that wavelengths grow with the
stride 4, 8, 16. All kernels have even size and sit on the middle of a cell of 4 x 4 pixels; borders reflect with the
outermost pixel repeated. So a mirrored image gives mirrored features, and the border is a texture like the rest.
Everything is computed from fixed numbers: no file, no random state.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from altub.backbones.pyramid import Backbone, check_stages
from altub.backbones.registry import FILTER_BANK
from altub.backbones.weights import WeightsInfo

__all__ = ["FilterBank", "create_filter_bank"]

VERSION = 1  # part of the hash: raise it whenever the same input gives other features
LEVELS = 3
CELL = 4  # a level samples its image every so many pixels
WAVELENGTHS = (4.0, 6.0, 9.0)  # pixels of the level's own image
ORIENTATIONS = 8  # over half a turn
BANDWIDTH = 0.6  # standard deviation of a filter's envelope, in wavelengths ...
WIDEST = 4.5  # ... and at most so many pixels
KERNEL = 20  # pixels, an odd number of cells
WINDOW = 3.0  # standard deviation in pixels of the window of the local statistics
CONTRAST_FLOOR = 0.025  # local contrast (0..1, six grey levels) below which a texture counts as weak
VARIANCE_FLOOR = 1e-6  # a quarter of a grey level squared: rounding, not texture
OFFSET = 0.004  # keeps the slope of the square root finite
# To a spread of very roughly 1 on photographs of products; colours differ less than brightness.
SCALE_ENERGY, SCALE_LUMINANCE, SCALE_COLOUR, SCALE_DEVIATION = 10.0, 4.0, 16.0, 10.0


class FilterBank(nn.Module):
    """Texture and colour features at strides 4, 8 and 16.

    Maps images ``(N, 3, H, W)`` in [0, 1], sides multiples of 16, to three tensors ``(N, 30, H/s, W/s)``. Channels:
    Gabor energies, wavelength by wavelength, in each orientation 0, 22.5, ... degrees (the direction in which the
    grating varies, counter-clockwise from the x axis); then the means of luminance, red-green and blue-yellow; then
    their deviations.
    """

    strides = (4, 8, 16)
    channels = (len(WAVELENGTHS) * ORIENTATIONS + 6,) * LEVELS

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gabor", _by_cells(_gabor_pairs()), persistent=False)
        self.register_buffer("reduce", torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8, persistent=False)
        self.register_buffer("window", _gaussian(WINDOW, KERNEL), persistent=False)

    def definition_sha256(self) -> str:
        """Hash of the filters and the constants: two banks with the same hash give the same features."""
        constants = (
            *(CONTRAST_FLOOR, VARIANCE_FLOOR, OFFSET),
            *(SCALE_ENERGY, SCALE_LUMINANCE, SCALE_COLOUR, SCALE_DEVIATION),
        )
        digest = hashlib.sha256(f"filter-bank {VERSION} {LEVELS} {CELL} {constants}".encode())
        for buffer in (self.gabor, self.reduce, self.window):
            # Rounded: the last bits of exp and cos differ between processors.
            digest.update(torch.round(buffer.detach().cpu().double() * 1e5).to(torch.int64).numpy().tobytes())
        return digest.hexdigest()

    def forward(self, images: Tensor) -> list[Tensor]:
        # Squares of small amplitudes vanish in half precision.
        with torch.autocast(images.device.type, enabled=False):
            planes = _opponent(images.float())
            features = []
            for level in range(LEVELS):
                if level:
                    planes = _filter(planes, self.reduce, stride=2)
                features.append(self._level(planes))
            return features

    def _level(self, planes: Tensor) -> Tensor:
        mean, square = _filter(torch.cat([planes, planes.square()], dim=1), self.window, CELL).chunk(2, dim=1)
        deviation = (square - mean.square() - VARIANCE_FLOOR).clamp_min(0).sqrt()
        cells = F.pixel_unshuffle(_reflect(planes[:, :1], (KERNEL - CELL) // 2), CELL)
        even, odd = F.conv2d(cells, self.gabor).chunk(2, dim=1)
        energy = (even.square() + odd.square()).sqrt() / (deviation[:, :1] + CONTRAST_FLOOR)
        return torch.cat(
            [
                _compress(energy) * SCALE_ENERGY,
                mean[:, :1] * SCALE_LUMINANCE,
                mean[:, 1:] * SCALE_COLOUR,
                _compress(deviation) * SCALE_DEVIATION,
            ],
            dim=1,
        )


class _SelectedLevels(nn.Module):
    def __init__(self, bank: FilterBank, stages: Sequence[int]) -> None:
        super().__init__()
        self.bank = bank
        self.stages = tuple(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = self.bank(images)
        return [levels[stage - 1] for stage in self.stages]


def create_filter_bank(stages: Sequence[int] | None) -> Backbone:
    """The filter bank as a backbone; it counts like a network: stage 1 has stride 4."""
    bank = FilterBank()
    chosen = check_stages(FILTER_BANK, (1, 2, 3) if stages is None else stages, first=1, last=3)
    return Backbone(
        _SelectedLevels(bank, chosen),
        name=FILTER_BANK,
        stages=chosen,
        channels=[bank.channels[stage - 1] for stage in chosen],
        strides=[bank.strides[stage - 1] for stage in chosen],
        weights=WeightsInfo("none", bank.definition_sha256(), FILTER_BANK),
        image_size_multiple=16,
    )


def _opponent(images: Tensor) -> Tensor:
    """Luminance (Rec. 601), red-green and blue-yellow."""
    red, green, blue = images.unbind(1)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luminance, red - green, blue - (red + green) / 2], dim=1)


def _compress(values: Tensor) -> Tensor:
    """Square root that starts at zero with a finite slope."""
    return (values + OFFSET).sqrt() - math.sqrt(OFFSET)


def _gaussian(sigma: float, size: int) -> Tensor:
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    return (kernel / kernel.sum()).float()


def _gabor_pairs() -> Tensor:
    """Even filters, then odd ones: ``(2 * wavelengths * orientations, KERNEL, KERNEL)``.

    An even filter sums to zero, so that brightness alone excites nothing. Scaled to answer with 1 to a grating of its
    own wavelength and orientation with amplitude 1.
    """
    axis = torch.arange(KERNEL, dtype=torch.float64) - (KERNEL - 1) / 2
    y, x = torch.meshgrid(-axis, axis, indexing="ij")  # y upwards: angles count counter-clockwise
    even, odd = [], []
    for wavelength in WAVELENGTHS:
        envelope = torch.exp(-0.5 * (x**2 + y**2) / min(BANDWIDTH * wavelength, WIDEST) ** 2)
        for k in range(ORIENTATIONS):
            angle = math.pi * k / ORIENTATIONS
            phase = 2 * math.pi / wavelength * (x * math.cos(angle) + y * math.sin(angle))
            cosine, sine = envelope * phase.cos(), envelope * phase.sin()
            cosine = cosine - envelope * (cosine.sum() / envelope.sum())
            even.append(cosine / (cosine * phase.cos()).sum())
            odd.append(sine / (sine * phase.sin()).sum())
    return torch.stack(even + odd).float()


def _by_cells(kernels: Tensor) -> Tensor:
    """Kernels ``(K, S, S)`` for an image whose cells lie in channels: ``(K, CELL^2, S / CELL, S / CELL)``.

    A strided convolution of one plane is slow on CPUs; the same sum over ``pixel_unshuffle`` is not.
    """
    return F.pixel_unshuffle(kernels[:, None], CELL)


def _reflect(planes: Tensor, radius: int) -> Tensor:
    """Pad by reflection with the outermost pixel repeated; the radius may exceed the image."""
    for dim in (-2, -1):
        size = planes.shape[dim]
        position = torch.arange(-radius, size + radius, device=planes.device).remainder(2 * size)
        planes = planes.index_select(dim, torch.minimum(position, 2 * size - 1 - position))
    return planes


def _filter(planes: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """Each plane filtered by a separable kernel of even size, sampled at the middle of every ``stride`` pixels."""
    channels, size = planes.shape[1], kernel.numel()
    planes = _reflect(planes, (size - stride) // 2)
    row, column = kernel.expand(channels, 1, 1, size), kernel.view(size, 1).expand(channels, 1, size, 1)
    planes = F.conv2d(planes, row, stride=(1, stride), groups=channels)
    return F.conv2d(planes, column, stride=(stride, 1), groups=channels)
