"""What runs have to say beside each other: curves, how calm they end, and which settings tell them apart.

Pure functions from epoch records and settings to numbers and names; `altub.evaluation.study` makes tables and figures
of them, the page's Compare tab charts.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from altub.metrics import HELD_OUT, METRICS, Metric
from altub.training.config import TrainingConfig
from altub.training.records import Curve, EpochRecord
from altub.training.schedule import VARIANTS, BaseSchedule

__all__ = [
    "COMPARED",
    "CurveStats",
    "curve_stats",
    "differing_settings",
    "drift",
    "effective_settings",
    "group_by_settings",
    "labels",
    "mean_and_band",
    "sample_std",
    "update_name",
]

#: What runs are compared by, by the name that `EpochRecord.value` takes.
COMPARED: dict[str, Metric] = {
    **{name: METRICS[name] for name in ("image_auroc", "pixel_auroc", "aupro", "aupimo", "f1_max")},
    "held_out": HELD_OUT,
}

# Where a run was computed changes nothing in what it is.
_PLACE = ("device",)


# Curves.


def drift(records: Sequence[EpochRecord], what: Literal["mean", "std"]) -> Curve:
    """(epoch, distance of the base from N(0, I)): the median channel's |mu| ("mean") or |sigma - 1| ("std"), averaged
    over the feature scales."""
    points = []
    for record in records:
        medians = [(head.mean if what == "mean" else head.std).q50 for head in record.base or ()]
        if medians:
            points.append((record.epoch, statistics.fmean(medians)))
    return points


@dataclass(frozen=True)
class CurveStats:
    """How one curve ended. Epoch 0, before any training, does not count.

    best: chosen on the test set (the lowest for the loss). gap: from the best to the last, never negative.
    spread: sample standard deviation over the last third of the epochs; None with fewer than two values in it.
    """

    last: float
    last_epoch: int
    best: float
    best_epoch: int
    gap: float
    spread: float | None


def curve_stats(points: Curve, metric: str) -> CurveStats | None:
    """The end of a curve; None where it has no point after epoch 0."""
    points = [point for point in points if point[0] > 0]
    if not points:
        return None
    last_epoch, last = points[-1]
    best_of = max if COMPARED[metric].higher_is_better else min
    best_epoch, best = best_of(points, key=lambda point: point[1])
    late = [value for epoch, value in points if 3 * epoch > 2 * last_epoch]
    return CurveStats(last, last_epoch, best, best_epoch, abs(best - last), sample_std(late))


def sample_std(values: Sequence[float]) -> float | None:
    """Standard deviation with n - 1 in the denominator; None with fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def mean_and_band(curves: Sequence[Curve]) -> list[tuple[int, float, float, float]]:
    """(epoch, mean, lowest, highest) at the epochs that all curves have a value for; empty ones do not count."""
    tables = [dict(points) for points in curves if points]
    if not tables:
        return []
    common = sorted(set.intersection(*(set(table) for table in tables)))
    columns = [(epoch, [table[epoch] for table in tables]) for epoch in common]
    return [(epoch, statistics.fmean(values), min(values), max(values)) for epoch, values in columns]


# Settings.


def update_name(schedule: BaseSchedule) -> str:
    """The base's update in a word: "off", "moments", "gradient" (the default schedule), a name of `VARIANTS`, or the
    nearest of these with what differs behind it, as "moments:interval=2"."""
    wanted = _relevant(schedule)
    named = {"gradient": BaseSchedule()} | {name: BaseSchedule(**variant) for name, variant in VARIANTS.items()}
    named |= {"moments": BaseSchedule(base_update="moments"), "off": BaseSchedule(base_update="off")}
    differences = {}
    for name, candidate in named.items():
        if candidate.base_update == schedule.base_update:
            theirs = _relevant(candidate)
            differences[name] = {key: value for key, value in wanted.items() if theirs.get(key, _MISSING) != value}
    name = min(differences, key=lambda name: len(differences[name]))
    return ":".join([name, *(f"{key}={_plain(value)}" for key, value in differences[name].items())])


_MISSING = object()


def _relevant(schedule: BaseSchedule) -> dict[str, Any]:
    """Without the settings that mean nothing for this kind of update."""
    settings = schedule.model_dump()
    if schedule.base_update == "off":
        return {"base_update": "off"}
    if schedule.base_update == "moments":
        return {key: settings[key] for key in ("base_update", "interval", "interval_unit", "on_top", "warmup")}
    if schedule.lr is not None:
        del settings["lr_factor"]
    return settings


def effective_settings(config: TrainingConfig) -> dict[str, Any]:
    """All settings that mean something in this training, nested ones with a dot ("flow.norm")."""
    flat: dict[str, Any] = {}
    for key, value in config.model_dump().items():
        if key == "base":
            value = _relevant(config.base)
        if isinstance(value, dict):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        else:
            flat[key] = value
    return flat


def differing_settings(configs: Sequence[TrainingConfig]) -> dict[str, list[str]]:
    """For every setting that is not the same in all of `configs`, its value in each, in words.

    "-" stands for a setting that means nothing in that training. Of a data folder only the name is told.
    """
    tables = [effective_settings(config) for config in configs]
    keys = dict.fromkeys(key for table in tables for key in table)
    differing = {}
    for key in keys:
        values = [table.get(key, _MISSING) for table in tables]
        if any(value != values[0] for value in values):
            differing[key] = _words_for(key, values)
    return differing


def _words_for(key: str, values: Sequence[Any]) -> list[str]:
    if key != "data":
        return ["-" if value is _MISSING else _plain(value, key) for value in values]
    names: dict[str, str] = {}  # two folders of one name must not look alike
    for value in values:
        name = PurePath(str(value)).name
        taken = sum(PurePath(other).name == name for other in names)
        names.setdefault(str(value), f"{name} ({taken + 1})" if taken else name)
    return [names[str(value)] for value in values]


def _plain(value: Any, key: str = "") -> str:
    if value is None:
        return "by the flow's" if key == "base.lr" else "auto" if key else "none"
    if isinstance(value, bool):
        return "yes" if value and key else "no" if key else str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def group_by_settings(configs: Sequence[TrainingConfig]) -> list[list[int]]:
    """Indices of configs that are the same except for the seed (and the device), in order of appearance."""
    groups: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        settings = effective_settings(config)
        for key in ("seed", *_PLACE):
            settings.pop(key, None)
        groups.setdefault(repr(settings), []).append(index)
    return list(groups.values())


def labels(configs: Sequence[TrainingConfig], ids: Sequence[str], *, without: Sequence[str] = ()) -> list[str]:
    """A short name for each training that tells it from the others: category, update and seed where they differ, then
    other settings that do, and the end of its id where nothing else does. One alone has its category's name.

    Args:
        without: settings that are not to be named, such as the seed of runs taken together.
    """
    differing = differing_settings(configs)
    for name in (*_PLACE, *without):
        differing.pop(name, None)
    named = {key: differing.pop(key, None) for key in ("category", "flow.kind", "seed")}
    based = [key for key in differing if key.startswith("base.")]
    for key in based:
        del differing[key]
    parts: list[list[str]] = []
    for index, config in enumerate(configs):
        words = [named["category"][index]] if named["category"] else []
        words += [named["flow.kind"][index]] if named["flow.kind"] else []
        if len(configs) == 1:  # nothing to tell it from: what it is of
            words += [config.category]
        elif based or not named["category"]:
            words += [update_name(config.base)]
        words += [f"{key.rpartition('.')[2].replace('_', ' ')} {values[index]}" for key, values in differing.items()][
            :3
        ]
        words += [f"seed {named['seed'][index]}"] if named["seed"] else []
        parts.append(words)
    texts = [" · ".join(words) for words in parts]
    return [
        f"{text} · {run_id.rsplit('-', 1)[-1]}" if texts.count(text) > 1 else text
        for text, run_id in zip(texts, ids, strict=True)
    ]
