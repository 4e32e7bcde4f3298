"""From the energies of a model's scales to its maps and scores, and what held-out good images say of both."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from altub.errors import ModelError
from altub.flows import FlowPyramid
from altub.flows.pyramid import nll_of
from altub.inference.calibration import Calibration
from altub.inference.config import DetectorConfig
from altub.inference.framing import Frame, Framing
from altub.inference.masked import inspected_positions, lowest_outside, positions_of
from altub.inference.regions import kept_pixels
from altub.inference.smoothing import gaussian_blur

__all__ = ["MapReader"]


class MapReader(nn.Module):
    """Reads maps and scores out of energies, as a configuration says.

    Args:
        config: of the model.
        pyramid: its flows; gives what the energies are measured by.
    """

    def __init__(self, config: DetectorConfig, pyramid: FlowPyramid) -> None:
        super().__init__()
        self.config, self.pyramid = config, pyramid
        if config.hides_outside:
            pyramid.limit_to(inspected_positions(config.regions, config.image_size, pyramid.shapes))

    @torch.no_grad()
    def maps_from_energies(self, energies: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The anomaly map (N, H, W) at `size` and its scales (N, scales, H, W), from the energies (N, h, w) of every
        scale, taken at the config's `log_det_weight`."""
        return self._read(self.pyramid.scale_maps_of(energies, size, self.config.map_kind))

    @torch.no_grad()
    def maps_of_tiles(self, energies: Iterable[Sequence[Tensor]], frame: Frame) -> tuple[Tensor, Tensor]:
        """The map (h, w) and the scales (scales, h, w) of one image, from the energies of its windows in order.

        Args:
            energies: per scale (n, h, w), of some windows at a time.
        """
        size = (frame.side // frame.shrink,) * 2
        joined = frame.joined(self.pyramid.scale_maps_of(some, size, self.config.map_kind) for some in energies)
        maps, scales = self._read(joined[None], frame.shrink)
        return maps[0], scales[0]

    def _read(self, scales: Tensor, shrink: int = 1) -> tuple[Tensor, Tensor]:
        """Map and scales of scale maps (N, scales, H, W), which have a pixel for `shrink` of the canvas."""
        config, sigma = self.config, self.config.smoothing / shrink
        inside = self.inspected((scales.shape[2], scales.shape[3]))
        scales = lowest_outside(scales, inside)
        anomaly_map = self._joined(scales)
        if sigma > 0:
            anomaly_map = gaussian_blur(anomaly_map, sigma)
        if config.map_kind == "mixture":
            anomaly_map = nll_of(anomaly_map)
        return lowest_outside(anomaly_map, inside)[:, 0], scales

    def inspected(self, size: tuple[int, int]) -> np.ndarray | None:
        """Where the model looks in maps of this size, bool (H, W); None: everywhere.

        Raises:
            ConfigError: its regions leave nothing.
        """
        return kept_pixels(self.config.regions, *size) if self.config.regions else None

    # What held-out good images say. Where the model does not look, they say nothing.

    def calibrate_scales(self, energies: Sequence[Tensor], frames: Sequence[Frame] = ()) -> None:
        """Takes from the energies (N, h, w) of every scale what maps and scores are measured by.

        frames: of the images, where the energies are those of their windows in order.
        """
        if self.config.regions:
            whole = Framing(self.config.image_size).frame((1, 1))  # of every image that is squashed
            windows = torch.cat([self._inspected_windows(frame) for frame in frames or [whole]])
            cells = [positions_of(windows, maps.shape[1:]) for maps in energies]
            cells = [one.expand(len(maps), -1, -1).to(maps.device) for one, maps in zip(cells, energies, strict=True)]
            energies = [maps[one][None, None] for maps, one in zip(energies, cells, strict=True)]
        self.pyramid.calibrate(energies)

    def _inspected_windows(self, frame: Frame) -> Tensor:
        """Where the model looks in the windows of a frame: (n, 1, side, side) of 0 and 1."""
        width, height = frame.size
        pixels = torch.tensor(kept_pixels(self.config.regions, height, width)).float()
        pixels = F.pad(pixels, (0, max(frame.side - width, 0), 0, max(frame.side - height, 0)))
        return torch.stack([pixels[None, y : y + frame.side, x : x + frame.side] for x, y in frame.corners])

    def fit_calibration(self, scores: np.ndarray, maps: np.ndarray, peaks: np.ndarray | None = None) -> Calibration:
        """From scores (N,), maps (N, H, W) and their largest values (N,)."""
        inside = self.inspected((maps.shape[1], maps.shape[2]))
        peaks = maps.max(axis=(1, 2)) if peaks is None else peaks
        return Calibration.fit(scores, maps if inside is None else maps[:, inside], peaks=peaks)

    @property
    def needs_energies(self) -> bool:
        """Are maps or scores measured by the energies of held-out good images (`FlowPyramid.calibrate`)?"""
        return self.config.score_kind == "range" or any(head.needs_calibration for head in self.pyramid.heads)

    def _joined(self, scales: Tensor) -> Tensor:
        """The scales (N, scales, H, W) as one map (N, 1, H, W), before smoothing."""
        if self.config.map_kind == "mixture":
            return self.pyramid.mean_likelihood(scales)
        return scales.mean(dim=1, keepdim=True)

    def image_scores(self, scales: Tensor) -> Tensor:
        """Scores (N,) of scale maps (N, scales, H, W): the mean of the highest share of pixels, before smoothing.

        A share keeps apart what a maximum does not: likelihood maps end at 0, and strong defects all reach it. The
        pixels are those of the map, or log(1 + r) of the mean r of the scales in units of their range on good images.
        """
        if self.config.score_kind == "range":
            ranges = self.pyramid.in_range(scales, self.config.map_kind).mean(dim=1)
            values = ranges.clamp_min(0).log1p()  # a flow may send a strong defect millions of ranges away
        elif self.config.map_kind == "mixture":
            values = nll_of(self._joined(scales))
        else:
            values = scales.mean(dim=1)
        flat = values.flatten(1)
        inside = self.inspected((scales.shape[2], scales.shape[3]))
        pixels = flat.shape[1] if inside is None else int(np.count_nonzero(inside))
        highest = max(round(self.config.score_share * pixels), 1)
        return flat.topk(highest, dim=1).values.mean(dim=1)

    def score(self, scale_maps: Tensor) -> float:
        """The score of one image's scale maps (scales, H, W).

        Raises:
            ModelError: it is not finite.
        """
        score = float(self.image_scores(scale_maps[None]))
        if not math.isfinite(score):
            raise ModelError("The model gives no finite score for this image: it is damaged; train or fetch it again.")
        return score
