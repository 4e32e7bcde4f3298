"""The saved model of a finished run, scored again with other read-outs and without training.

A read-out is how a map and a score are made of the energies of a model's scales: settings such as `map_kind` and
`score_kind`. What a training with another read-out would have measured is the same model's energies read out in that
way, so a single training answers for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from pydantic import ValidationError

from altub.data import load_category
from altub.device import Workers, choose_device
from altub.errors import ConfigError, ModelError, RunError, validation_problem
from altub.evaluation.energy_cache import PARTS, READOUTS, Energies, EnergyCache
from altub.evaluation.evaluate import TestSet
from altub.flows import FlowPyramid
from altub.inference.config import DetectorConfig
from altub.inference.detector import AnomalyDetector
from altub.inference.framing_settings import require_plain
from altub.metrics import Metrics
from altub.settings import feature_memory_bytes
from altub.training.calibration import BATCH
from altub.training.data_record import Split, split_data
from altub.training.features import FeatureStore

if TYPE_CHECKING:
    from altub.runs.run import Run

__all__ = ["Rescored", "rescore"]


@dataclass(frozen=True)
class Rescored:
    """What one read-out gives. epoch: of the model; 0 is before any training."""

    readout: dict[str, Any]
    epoch: int
    metrics: Metrics


def rescore(
    run: Run, readouts: Sequence[Mapping[str, Any]], *, epoch_0: bool = False, device: str = "auto"
) -> list[Rescored]:
    """Metrics on the run's test images under each read-out; the scales are measured by its held-out images again.

    Equal to what a training with that read-out gives at its last epoch (or at epoch 0), on the same kind of machine.
    The energies that this needs are kept beside the run (`altub.evaluation.energy_cache`), so that further read-outs
    take neither backbone nor flow.

    Args:
        readouts: settings to change, such as {"map_kind": "nll", "score_kind": "map"}; what is not named stays as it
            was trained.
        epoch_0: score the flow as it was before its first step in place of the saved model.

    Raises:
        ConfigError: a read-out is unknown or out of range.
        RunError: the run has no test images, or its images are gone or changed.
        ModelError: there is no model, or its scores are not finite.

    Example: `rescore(Run.open("runs/bottle"), [{"map_kind": kind} for kind in ("mixture", "nll")])`.
    """
    place = choose_device(device)
    split = _split(run)
    if not split.tested:
        raise RunError(f"Run {run.id} has no test images: there is nothing to score.")
    detector = AnomalyDetector.load(run.model_dir, str(place))
    require_plain(detector.config, "scored again with other read-outs")
    epoch = detector.info.epoch or run.status.epoch
    configs = [_changed(detector.config, readout) for readout in readouts]
    cache = EnergyCache(run, "start" if epoch_0 else "model", place.type)
    if epoch_0:
        epoch, detector = 0, _before_training(detector, run.config.seed)
    if missing := cache.missing(dict.fromkeys(config.log_det_weight for config in configs)):
        cache.add(_compute(run, detector, split, missing))
    test = TestSet(split.tested, detector.config.image_size)
    found = []
    with closing(Workers(place)) as workers:
        for readout, config in zip(readouts, configs, strict=True):
            reader = AnomalyDetector(config, detector.backbone, detector.pyramid)
            maps, scores = _read_out(reader, cache.energies(config.log_det_weight), workers)
            found.append(Rescored(dict(readout), epoch, test.evaluate(maps, scores)))
    return found


def _split(run: Run) -> Split:
    config = run.config
    category = load_category(config.data, config.category)
    return split_data(run.data_file, run.id, category, config.held_out, config.seed, begun=True)


def _changed(config: DetectorConfig, readout: Mapping[str, Any]) -> DetectorConfig:
    unknown = sorted(set(readout) - set(READOUTS))
    if unknown:
        raise ConfigError(f"{unknown[0]} is no read-out: choose among {', '.join(READOUTS)}.")
    try:
        return DetectorConfig.model_validate({**config.model_dump(), **readout})
    except ValidationError as error:
        raise ConfigError(f"{validation_problem(error, show_input=True)}.") from error


def _before_training(detector: AnomalyDetector, seed: int) -> AnomalyDetector:
    """The detector as its training began: heads drawn from the seed, and the constants that norms took from the images,
    which training does not change."""
    torch.manual_seed(seed)
    pyramid = FlowPyramid(detector.config.flow, detector.config.shapes)
    for fresh, fitted in zip(pyramid.norms, detector.pyramid.norms, strict=True):
        fresh.load_state_dict(dict(fitted.named_buffers()), strict=False)  # what is trained stays as it was drawn
    return AnomalyDetector(detector.config, detector.backbone, pyramid.to(detector.device)).eval().requires_grad_(False)


def _compute(run: Run, detector: AnomalyDetector, split: Split, weights: Sequence[float]) -> dict[float, Energies]:
    """The energies of held-out and test images at each weight, in batches as a training evaluates them."""
    found: dict[float, Energies] = {weight: {} for weight in weights}
    with closing(Workers(detector.device)) as workers:
        for part, samples in zip(PARTS, (split.held_out, split.tested), strict=True):
            store = FeatureStore(
                detector.backbone,
                samples,
                detector.config.image_size,
                device=detector.device,
                budget=feature_memory_bytes(),
                spill=run.path / "cache" / "rescoring",
                workers=workers,
                pixel_range=split.pixel_range,
            )

            def energies(features: list[torch.Tensor]) -> list[list[np.ndarray]]:
                normalised = detector.pyramid.normalise(features)
                return [
                    [energy.float().cpu().numpy() for energy in detector.pyramid.energy_maps(normalised, weight)]
                    for weight in weights
                ]

            with closing(store):
                for _ in store.fill():
                    pass
                pieces = list(workers.map(energies, (features for _, features in store.batches(BATCH))))
            for k, weight in enumerate(weights):
                scales = zip(*(piece[k] for piece in pieces), strict=True)
                found[weight][part] = [np.concatenate(maps) for maps in scales]
    return found


def _read_out(reader: AnomalyDetector, energies: Energies, workers: Workers) -> tuple[np.ndarray, np.ndarray]:
    """Maps (N, S, S) and scores (N,) of the test images, in the units that held-out images give."""
    held_out, tested = ([torch.from_numpy(maps).to(reader.device) for maps in energies[part]] for part in PARTS)
    if reader.needs_energies:
        reader.calibrate_scales(held_out)
    size = (reader.config.image_size, reader.config.image_size)

    def piece(batch: Sequence[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
        anomaly_map, scales = reader.maps_from_energies(batch, size)
        return anomaly_map.float().cpu().numpy(), reader.image_scores(scales.float()).cpu().numpy()

    pieces = list(workers.map(piece, zip(*(maps.split(BATCH) for maps in tested), strict=True)))
    maps, scores = (np.concatenate(values) for values in zip(*pieces, strict=True))
    if not np.isfinite(scores).all():
        raise ModelError("The model gives no finite scores under this read-out: choose another one.")
    return maps, scores
