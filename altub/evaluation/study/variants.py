"""Which settings beside the base's tell the runs of a study apart, read from the runs themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from altub.evaluation.compare import differing_settings
from altub.evaluation.study.axes import AUTOMATIC
from altub.training.config import TrainingConfig

__all__ = ["find_variants", "value_order", "variant_words", "with_variant"]

_NAMED_OTHERWISE = ("category", "flow.kind", "seed", "device")


def find_variants(configs: Sequence[TrainingConfig], begun: Sequence[bool]) -> list[dict[str, str]]:
    """For each run the settings that the study varies, by their dotted names, with its value in words.

    A setting is varied where begun runs of one category and flow differ in it, the base's own left out. One that only
    followed from others, as a learning rate that suits the backbone, is not.
    """
    groups: dict[tuple[str, str], list[TrainingConfig]] = {}
    for config, is_begun in zip(configs, begun, strict=True):
        if is_begun:
            groups.setdefault((config.category, config.flow.kind), []).append(config)
    varied = {key for group in groups.values() for key in differing_settings(group)}
    words = differing_settings(configs)
    found = {
        key: values
        for key, values in words.items()
        if key in varied and key not in _NAMED_OTHERWISE and not key.startswith("base.")
    }
    for key in AUTOMATIC:
        if key in found and _follows(key, found, configs):
            del found[key]
    return [{key: values[k] for key, values in found.items()} for k in range(len(configs))]


def _follows(key: str, found: Mapping[str, Sequence[str]], configs: Sequence[TrainingConfig]) -> bool:
    """Do the other varied settings say already what this one is?"""
    others = [values for name, values in found.items() if name != key]
    seen: dict[tuple[str, ...], set[str]] = {}
    for k, config in enumerate(configs):
        place = (config.category, config.flow.kind, *(values[k] for values in others))
        seen.setdefault(place, set()).add(found[key][k])
    return bool(others) and all(len(values - {"auto"}) <= 1 for values in seen.values())


def variant_words(variant: Mapping[str, str]) -> str:
    """ "norm position, coupling affine"; empty where nothing is varied."""
    return ", ".join(f"{name.rpartition('.')[2].replace('_', ' ')} {value}" for name, value in variant.items())


def with_variant(row: dict[str, Any], variant: Mapping[str, str]) -> dict[str, Any]:
    """A flat row with the varied settings behind its update; what the row has already stays as it is."""
    new: dict[str, Any] = {}
    for key, value in row.items():
        new[key] = value
        if key == "update":
            new |= {name: text for name, text in variant.items() if name not in row}
    return new


def value_order(text: str) -> tuple[int, float, str]:
    """Sorts values in words: numbers by size, then everything else."""
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
