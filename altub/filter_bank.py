"""A feature pyramid without weights: Gabor energies and local colour statistics on a Gaussian pyramid.

A quadrature pair of Gabor filters answers to an oriented texture of one wavelength, whatever its phase; its energy is
the classic texture descriptor (Jain and Farrokhnia, "Unsupervised texture segmentation using Gabor filters", 1991).
Beside it stand mean and deviation of luminance and of two opponent colours in the same neighbourhood.

Level k of the bank works on the image reduced by 2^k and gives features at stride 4 * 2^k, so that wavelengths grow
with the stride. Everything is computed from fixed numbers: no file, no random state.
"""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["FilterBank"]

VERSION = 1  # part of the hash: raise it whenever the same input gives other features
LEVELS = 3
WAVELENGTHS = (4.0, 6.0, 9.0)  # pixels of the level's own image
ORIENTATIONS = 8  # over half a turn
NOISE_FLOOR = 0.02  # amplitudes (0..1) below this are compressed to nearly nothing


class FilterBank(nn.Module):
    """Texture and colour features at strides 4, 8 and 16.

    Maps images ``(N, 3, H, W)`` in [0, 1], sides multiples of 16, to three tensors ``(N, 30, H/s, W/s)``. Channels:
    Gabor amplitudes, wavelength by wavelength, in each orientation 0, 22.5, ... degrees (the direction in which the
    grating varies, counter-clockwise from the x axis); then mean of
    luminance, red-green, blue-yellow; then their deviations.
    """

    strides = (4, 8, 16)
    channels = (len(WAVELENGTHS) * ORIENTATIONS + 6,) * LEVELS

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gabor", _gabor_pairs(), persistent=False)
        self.register_buffer("blur", _gaussian(1.0), persistent=False)
        self.register_buffer("window", _gaussian(2.0), persistent=False)

    def definition_sha256(self) -> str:
        """Hash of the filters and the version: two banks with the same hash give the same features."""
        digest = hashlib.sha256(f"filter-bank {VERSION} {LEVELS} {NOISE_FLOOR}".encode())
        for buffer in (self.gabor, self.blur, self.window):
            # Rounded: the last bit of exp and cos differs between processors.
            digest.update(torch.round(buffer.detach().cpu().double() * 1e5).to(torch.int64).numpy().tobytes())
        return digest.hexdigest()

    def forward(self, images: Tensor) -> list[Tensor]:
        # Squares of small amplitudes vanish in half precision.
        with torch.autocast(images.device.type, enabled=False):
            planes = _opponent(images.float())
            features = []
            for level in range(LEVELS):
                if level:
                    planes = _separable(planes, self.blur, stride=2)
                features.append(self._level(planes))
            return features

    def _level(self, planes: Tensor) -> Tensor:
        amplitude = self._amplitude(planes[:, :1])
        mean = _separable(planes, self.window, stride=2)
        detail = planes - _separable(planes, self.window)
        deviation = _separable(detail.square(), self.window, stride=2)
        amplitude = torch.log1p(_pool(amplitude) / NOISE_FLOOR)
        deviation = torch.log1p(_pool(deviation).clamp_min(0).sqrt() / NOISE_FLOOR)
        return torch.cat([amplitude, _pool(mean) * 4, deviation], dim=1)

    def _amplitude(self, luminance: Tensor) -> Tensor:
        size = self.gabor.shape[-1]
        answer = F.conv2d(_reflect(luminance, size // 2), self.gabor, stride=2)
        even, odd = answer.chunk(2, dim=1)
        return (even.square() + odd.square()).sqrt()


def _opponent(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(1)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luminance, red - green, blue - (red + green) / 2], dim=1)


def _gaussian(sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    return (kernel / kernel.sum()).float()


def _gabor_pairs() -> Tensor:
    """Even filters, then odd ones: ``(2 * wavelengths * orientations, 1, size, size)``.

    An even filter sums to zero, so that brightness alone excites nothing. Scaled to answer with 1 to a grating of
    its own wavelength and orientation with amplitude 1.
    """
    radius = math.ceil(2.0 * 0.45 * max(WAVELENGTHS))
    axis = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(-axis, axis, indexing="ij")  # y upwards: angles count counter-clockwise
    even, odd = [], []
    for wavelength in WAVELENGTHS:
        envelope = torch.exp(-0.5 * (x**2 + y**2) / (0.45 * wavelength) ** 2)
        for k in range(ORIENTATIONS):
            angle = math.pi * k / ORIENTATIONS
            phase = 2 * math.pi / wavelength * (x * math.cos(angle) + y * math.sin(angle))
            cosine, sine = envelope * phase.cos(), envelope * phase.sin()
            cosine = cosine - envelope * (cosine.sum() / envelope.sum())
            even.append(cosine / (cosine * phase.cos()).sum())
            odd.append(sine / (sine * phase.sin()).sum())
    return torch.stack(even + odd)[:, None].float()


def _reflect(planes: Tensor, radius: int) -> Tensor:
    """Pad by reflection at the outermost pixel; the radius may exceed the image."""
    for dim in (-2, -1):
        size = planes.shape[dim]
        period = max(2 * (size - 1), 1)
        position = torch.arange(-radius, size + radius, device=planes.device).remainder(period)
        planes = planes.index_select(dim, torch.minimum(position, (period - position).remainder(period + size)))
    return planes


def _separable(planes: Tensor, kernel: Tensor, stride: int = 1) -> Tensor:
    channels, size = planes.shape[1], kernel.numel()
    planes = _reflect(planes, size // 2)
    planes = F.conv2d(
        planes, kernel.view(1, 1, 1, size).expand(channels, 1, 1, size), stride=(1, stride), groups=channels
    )
    return F.conv2d(
        planes, kernel.view(1, 1, size, 1).expand(channels, 1, size, 1), stride=(stride, 1), groups=channels
    )


def _pool(planes: Tensor) -> Tensor:
    return F.avg_pool2d(planes, 2)
