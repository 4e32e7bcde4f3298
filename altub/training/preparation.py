"""What a training needs before its first step: device, data, frozen backbone, cached features, flow and detector."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch

from altub.backbones import Backbone, create_backbone, resolve_auto
from altub.backbones.catalogue import usual_flow_lr
from altub.backbones.folding import speed_up
from altub.data import MEMORY, Category, load_category
from altub.data.augment import augmentation
from altub.data.images.reading import image_dimensions
from altub.device import Workers, autocast, choose_device, describe_device
from altub.errors import ConfigError, DataError
from altub.evaluation.evaluate import TestSet
from altub.evaluation.examples import ExampleMaps
from altub.flows import FlowPyramid
from altub.flows.registry import get_flow
from altub.inference.comparability import Comparability
from altub.inference.config import DetectorConfig
from altub.inference.detector import AnomalyDetector
from altub.inference.framing import Framing
from altub.inference.masked import inspected_positions
from altub.inference.regions import kept_pixels
from altub.settings import feature_memory_bytes
from altub.training.compiled import check_compilation
from altub.training.config import TrainingConfig
from altub.training.data_record import Split, split_data
from altub.training.distributed import ALONE, Group
from altub.training.features import FeatureStore, feature_shapes
from altub.training.precision import choose_precision
from altub.training.push import KnownDefects

if TYPE_CHECKING:
    from altub.runs.run import Run
    from altub.training.status import Status

__all__ = ["Prepared", "fit_norms", "fold_norms", "prepare"]

BATCH = 32  # images at a time where the norms are fitted: small ones make the products of a position slow
FLOAT_BYTES = 4
REGIONS_NOTE = (
    "The flow learns from whole images, regions count in maps and scores alone: images are augmented, cut into tiles "
    "or keep their aspect ratio, or the flow knows no single positions."
)
RECOMPUTE_NOTE = "Activations are stored all the same: this kind of flow cannot compute them again."


@dataclass(frozen=True)
class Prepared:
    """Ready for the first step. `config` is complete: every "auto" in it has become what it meant on this machine.

    Attributes:
        trained, held_out, tested: features of the training, held-out and test images.
        known: defects to learn from; None: no epoch does.
        test: what the test images are, to be compared with their maps. None, as `examples`, in a process that does not
            evaluate.
    """

    config: TrainingConfig
    device: torch.device
    precision: Literal["fp32", "bf16"]
    workers: Workers
    category: Category
    trained: FeatureStore
    held_out: FeatureStore
    tested: FeatureStore
    known: KnownDefects | None
    test: TestSet | None
    examples: ExampleMaps | None
    pyramid: FlowPyramid
    detector: AnomalyDetector

    def autocast(self) -> AbstractContextManager:
        """The context of a forward pass."""
        return autocast(self.device, self.precision)


def prepare(
    run: Run,
    status: Status,
    stack: ExitStack,
    *,
    category: Category | None = None,
    backbone: Backbone | None = None,
    group: Group = ALONE,
) -> Iterator[str]:
    """Yields what it is doing, in words, and returns a `Prepared`, the same for the same run every time.

    Args:
        status: gets the device, the backbone and notes.
        stack: closes what was opened.
        category, backbone: in place of those that the run's settings name.
        group: the processes that share the training images. The first one alone has held-out and test images.

    Raises:
        AltUBError: data, backbone or device are not available.
    """
    with group.main_first():
        config = run.config
    device = choose_device(config.device)
    if device.type == "cuda" and group.size > 1:
        device = torch.device("cuda", group.local_rank)
    workers = Workers(device)
    stack.callback(workers.close)
    yield "reading the data"
    category = category or load_category(config.data, config.category)
    yield "loading the backbone"
    with group.main_first():
        config = _resolve(run, run.config, status, category, backbone, device)
    precision = config.precision
    status.device = f"{describe_device(device)}, {precision}"
    check_compilation(config, device, group.size)
    framing = Framing.of(config)
    is_ours = backbone is None
    if backbone is None:
        backbone = create_backbone(config.backbone, config.stages, image_size=framing.side)
    backbone = backbone.to(device)
    backbone.check_image_size(framing.side, framing.side)
    hides = _can_hide(config, framing)
    limits = [REGIONS_NOTE] if config.regions and not hides else []
    if config.recompute and not get_flow(config.flow.kind).head_class().recomputes:
        limits.append(RECOMPUTE_NOTE)
    status.notes += [note for note in limits if note not in status.notes]
    if is_ours:  # one that the caller handed over stays as it is
        speed_up(backbone, framing.side)
    if hides:
        backbone = backbone.looking_at(partial(kept_pixels, config.regions))
    status.backbone = backbone.name
    status.notes += [note for note in category.notes if note not in status.notes]

    if group.size > 1 and (config.push_epochs or config.cross_folds):
        raise ConfigError(
            "Several processes train neither on known defects nor in folds: set push_epochs and "
            "cross_folds to 0, or train with one."
        )
    with group.main_first():
        begun = run.checkpoint_file.exists() or not group.is_main  # the others read what the first one recorded
        split = split_data(
            run.data_file,
            run.id,
            category,
            config.held_out,
            config.seed,
            begun=begun,
            learns_defects=config.push_epochs > 0,
        )
    if config.push_epochs and not split.known:
        raise DataError(
            f"{category.name} has no known defects to learn from: put some with masks into train/<defect> and "
            "ground_truth_train/<defect>, or set their epochs to 0."
        )
    if group.size > len(split.trained):
        raise DataError(f"{len(split.trained)} training images are too few for {group.size} processes.")
    if not group.is_main:
        split = split.model_copy(update={"held_out": [], "tested": []})
    notes = [split.note] if split.note else []
    if split.pixel_range is not None:
        notes += split.pixel_range.notes
    status.notes += [note for note in notes if note not in status.notes]
    shapes = feature_shapes(backbone, framing.side, device)
    with group.main_first():
        config = _resolve_format(run, config, shapes, split)
    stores: list[FeatureStore] = []
    named = {"training": split.trained, "held-out": split.held_out, "test": split.tested, "known": split.known}
    for what, samples in named.items():
        if what == "known" and not samples:
            continue
        store = FeatureStore(
            backbone,
            samples,
            framing,
            device=device,
            budget=feature_memory_bytes() - sum(other.bytes for other in stores if other.mode == "memory"),
            spill=run.path / "cache" / (what if group.is_main else f"{what}-{group.rank}"),
            augment=augmentation(config.augment, config.seed) if what == "training" and config.augment else None,
            workers=workers,
            pixel_range=split.pixel_range,
            describes=what in ("training", "held-out") and group.is_main,
            share=group.share if what == "training" else (0, 1),
            # Thresholds come from the held-out images, whose features are those of any image that is scored.
            kept_as="fp32" if what == "held-out" else config.feature_format,
        )
        stack.callback(store.close)
        stores.append(store)
        for done in store.fill():
            yield f"features of {what} {'tiles' if config.tile else 'images'}, {done} of {len(store)}"
        for done in store.describe():
            yield f"looking at {what} images, {done} of {store.image_count}"
    trained, held_out, tested, *others = stores
    known = None
    if others:
        size = (config.image_size, config.image_size)
        known = KnownDefects(others[0], [sample.read_mask(size) for sample in split.known], config.seed)

    # An image that was turned by a quarter has another shape, and is still one of these.
    turned = ("aspect",) if "rot90" in config.augment else ()
    comparability = None
    if group.is_main:
        pictures = trained.pictures + held_out.pictures
        regions = config.regions if hides else ()
        comparability = Comparability.fit(pictures, framing.side, without=turned, regions=regions)
    torch.manual_seed(config.seed)
    flow = config.flow
    if backbone.has_final_norm and flow.norm != "none":
        flow = flow.model_copy(update={"norm": "none"})  # transformers bring their own, frozen
    pyramid = FlowPyramid(flow, trained.shapes)
    pyramid.to(device)
    if hides:
        pyramid.limit_to(inspected_positions(config.regions, framing.side, pyramid.shapes))
    pyramid.recompute_activations(config.recompute)
    yield from fit_norms(pyramid, trained, workers, group)
    group.from_main(pyramid.state_dict().values())
    detector_config = DetectorConfig(
        backbone=backbone.name,
        stages=backbone.stages,
        backbone_sha256=backbone.weights.sha256,
        image_size=config.image_size,
        tile=config.tile,
        overlap=config.overlap if config.tile else 0,
        aspect=config.aspect,
        shapes=trained.shapes,
        flow=flow,
        map_kind=config.map_kind,
        score_kind=config.score_kind,
        log_det_weight=config.log_det_weight,
        smoothing=config.smoothing,
        score_share=config.score_share,
        pixel_range=split.pixel_range,
        regions=config.regions,
        hides_outside=hides,
    )
    return Prepared(
        config=config,
        device=device,
        precision=precision,
        workers=workers,
        category=category,
        trained=trained,
        held_out=held_out,
        tested=tested,
        known=known,
        test=TestSet(split.tested, framing.map_side) if group.is_main else None,
        examples=ExampleMaps(run.examples_dir, split.tested or split.held_out) if group.is_main else None,
        pyramid=pyramid,
        detector=AnomalyDetector(detector_config, backbone, pyramid, comparability=comparability),
    )


def _can_hide(config: TrainingConfig, framing: Framing) -> bool:
    """Are there regions, does a place of the image stay where it is, and does the flow train by position?"""
    takes_regions = get_flow(config.flow.kind).head_class().takes_regions
    return bool(config.regions) and framing.is_plain and not config.augment and takes_regions


def _resolve(
    run: Run,
    config: TrainingConfig,
    status: Status,
    category: Category,
    backbone: Backbone | None,
    device: torch.device,
) -> TrainingConfig:
    """Writes down what "auto" came to mean, so that a resumed run goes on with it whatever is available by then."""
    found: dict[str, object] = {}
    if category.layout == MEMORY:
        found |= {"data": MEMORY, "category": category.name}
    if backbone is not None:
        found |= {"backbone": backbone.name, "stages": backbone.stages}
    elif config.backbone == "auto":
        found["backbone"], why = resolve_auto()
        status.notes.append(why)
    if config.lr is None:
        name = str(found.get("backbone", config.backbone))
        found["lr"] = usual_flow_lr(name) or get_flow(config.flow.kind).usual_lr
    if config.precision == "auto":
        # Runs of versions that did not write it down trained in fp32 on every CPU.
        begun_before = device.type == "cpu" and run.checkpoint_file.exists()
        found["precision"] = "fp32" if begun_before else choose_precision("auto", device)
    return _written_down(run, config, found)


def _resolve_format(
    run: Run, config: TrainingConfig, shapes: Sequence[tuple[int, int, int]], split: Split
) -> TrainingConfig:
    """Likewise the format of the kept features: half the memory where the whole has no room in it."""
    if config.feature_format != "auto":
        return config
    samples = [*split.trained, *split.held_out, *split.tested, *split.known]
    framing = Framing.of(config)
    windows = 1 if framing.is_plain else len(framing.frame(image_dimensions(samples[0].source)))
    needed = FLOAT_BYTES * sum(map(math.prod, shapes)) * len(samples) * windows
    halved = needed > feature_memory_bytes() >= needed / 2
    return _written_down(run, config, {"feature_format": "fp16" if halved else "fp32"})


def _written_down(run: Run, config: TrainingConfig, found: Mapping[str, object]) -> TrainingConfig:
    changed = {name: value for name, value in found.items() if getattr(config, name) != value}
    if changed:
        config = config.model_copy(update=changed)
        run.replace_config(config)
    return config


def fit_norms(pyramid: FlowPyramid, trained: FeatureStore, workers: Workers, group: Group = ALONE) -> Iterator[str]:
    """Shows the training features to the norms that are fitted to them, as often as one asks for."""
    fits = {scale: norm.start_fit() for scale, norm in enumerate(pyramid.norms) if norm.needs_fit}
    while fits:
        for indices, features in trained.batches(BATCH):
            looks = [partial(fit.observe, features[scale]) for scale, fit in fits.items()]
            list(workers.map(lambda look: look(), looks))  # the scales share nothing: side by side
            yield f"fitting the norms, image {indices[-1] + 1} of {len(trained)}"
        if group.size > 1:
            for fit in fits.values():
                fit.merge(group.add)
        fits = {scale: fit for scale, fit in fits.items() if not fit.end_pass()}


def fold_norms(parts: Prepared) -> Iterator[str]:
    """Applies the norms to the features that are kept, once instead of in every step, where a training changes neither.

    To be called when the norms are what they will be: a checkpoint brings its own.
    """
    if parts.detector.config.flow.norm == "none":
        return
    if parts.config.cross_folds:  # each fold fits norms of its own to the features as they are
        return
    stores = [parts.held_out, parts.tested]
    stepped = [parts.trained] if parts.known is None else [parts.trained, parts.known.store]
    if all(store.mode != "recompute" for store in stepped):  # a step's features all pass the same norms
        stores += stepped
    count = sum(len(store.own) for store in stores)
    before = 0
    for store in stores:
        for done in store.fold(list(parts.pyramid.norms)):
            yield f"normalising the features, {before + done} of {count}"
        before += len(store.own)
