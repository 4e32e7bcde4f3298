"""Images in, detector out: a training for a program, without a page or a data set on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from altub.backbones import Backbone
from altub.data import Category, ImageSource, Sample, list_categories
from altub.errors import DataError
from altub.inference.detector import AnomalyDetector
from altub.runs.run import Run
from altub.training.config import TrainingConfig, make_config
from altub.training.loop import train

if TYPE_CHECKING:
    from altub.training.recorder import TrainingEvent

__all__ = ["fit_detector"]


def fit_detector(
    good_images: Category | str | Path | Iterable[Sample | ImageSource],
    *,
    test_images: Iterable[Sample] = (),
    backbone: str | nn.Module = "auto",
    flow: str | dict[str, Any] = "fastflow",
    name: str = "part",
    run_dir: str | Path | None = None,
    on_event: Callable[[TrainingEvent], None] = lambda event: None,
    **settings: Any,
) -> AnomalyDetector:
    """Trains a detector on good images and returns it, calibrated on those that it held out.

    Args:
        good_images: a `Category`, a folder of good images, or any images: paths, encoded bytes, Pillow images, arrays
            (H, W[, C]) or `Sample`s. At least 8.
        test_images: samples, good and defective, for the metrics in `detector.info`.
        backbone: a name, "auto", or a module of your own: images (N, 3, H, W) in [0, 1] to one or several maps
            (N, C, h, w). It is frozen and hashed by its weights.
        flow: "fastflow", "cflow", a registered name, or a dict of flow settings.
        name: of the product, where `good_images` does not bring one.
        run_dir: keeps the run there, to be watched or resumed; default a temporary directory.
        on_event: called after every step and epoch.
        settings: any other setting of a training, such as epochs=10, image_size=256 or base={"interval": 2}.

    Raises:
        ConfigError: a setting is wrong.
        DataError, ImageError: too few images, or one that cannot be read.
        RunError: `run_dir` holds a run already.

    Example:
        >>> import numpy as np
        >>> noise = np.random.default_rng(0)
        >>> parts = [noise.normal(120, 9, (64, 64, 3)).clip(0, 255).astype(np.uint8) for _ in range(12)]
        >>> detector = fit_detector(parts, backbone="filter-bank", epochs=1, image_size=64, flow={"steps": 2})
        >>> parts[0][20:40, 20:40] = 255
        >>> detector.predict(parts[0]).at(detector.calibration.threshold(0.2)).is_anomalous
        True
    """
    category = _as_category(good_images, name, test_images)
    module = None
    if isinstance(backbone, nn.Module):
        size = settings.get("image_size") or TrainingConfig.model_fields["image_size"].default
        module = Backbone.from_module(backbone, image_size=size)
    config = make_config(
        data=category.layout if category.root == Path() else str(category.root),
        category=category.name,
        backbone=module.name if module is not None else backbone,
        flow={"kind": flow} if isinstance(flow, str) else flow,
        **settings,
    )
    with ExitStack() as stack:
        if run_dir is None:
            run_dir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="altub-fit-"))) / "run"
        run = Run.create(run_dir, config)
        for event in train(run, category=category, backbone=module):
            on_event(event)
        return AnomalyDetector.load(run.model_dir, device=config.device, backbone=module)


def _as_category(
    images: Category | str | Path | Iterable[Sample | ImageSource], name: str, test: Iterable[Sample]
) -> Category:
    if isinstance(images, Category):
        return images
    if isinstance(images, str | Path):
        found = list_categories(images)
        if len(found) > 1:
            names = ", ".join(category.name for category in found)
            raise DataError(f"{images} holds several categories: load one of them with load_category ({names}).")
        return found[0]
    return Category.from_images(name, images, test)
