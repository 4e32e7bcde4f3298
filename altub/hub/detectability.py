"""The smallest defects that a model finds, on its card."""

from __future__ import annotations

from pathlib import Path

from altub.errors import ModelError
from altub.evaluation.detectability.examples import EXAMPLES_FILE
from altub.evaluation.detectability.record import RESULT_FILE, Detectability
from altub.evaluation.detectability.report import CHART_FILE, EXAMPLES_TEXT, FOLDER, SYNTHETIC

__all__ = ["detectability_pictures", "detectability_section", "read_detectability"]


def read_detectability(model_dir: Path, weights_sha256: str) -> Detectability | None:
    """What was measured on exactly these weights, as `python -m altub detectability` left it; None otherwise."""
    if not (model_dir / FOLDER / RESULT_FILE).is_file():
        return None
    try:
        found = Detectability.read(model_dir / FOLDER)
    except ModelError:  # a card can do without
        return None
    return found if found.weights_sha256 == weights_sha256 and found.trials else None


def detectability_section(found: Detectability) -> str:
    """The part of the card, Markdown."""
    rows = []
    for contrast in found.contrasts:
        for kind in (None, *found.kinds):
            curve = found.curve(contrast, kind)
            sizes = (curve.size_at(0.5), curve.size_at(0.9), curve.bound_at(0.9))
            words = " | ".join(found.size_words(size, curve) for size in sizes)
            rows.append(f"| {contrast:g} | {kind or 'all'} | {int(curve.hits.sum())} of {len(curve.hits)} | {words} |")
    return f"""
## Smallest defects it finds

Synthetic defects on {len(found.good_scores)} good images that were not in training. {found.promise} Sizes are diameters
of the disk of the same area; of defects as large as a90/95, 90 % are found, with 95 % confidence. {SYNTHETIC}

| contrast | defects | found | a50 | a90 | a90/95 |
|---|---|---|---|---|---|
""" + "".join(f"{row}\n" for row in rows)


def detectability_pictures(model_dir: Path, include_examples: bool) -> dict[str, tuple[str, bytes]]:
    """File name -> (what it shows, PNG): the chart and, only with `include_examples`, images with drawn defects."""
    names = {CHART_FILE: "Probability of detection over the size of a synthetic defect, with its 95 % band."}
    if include_examples:
        names[EXAMPLES_FILE] = EXAMPLES_TEXT
    files = {name: (text, model_dir / FOLDER / name) for name, text in names.items()}
    return {name: (text, path.read_bytes()) for name, (text, path) in files.items() if path.is_file()}
