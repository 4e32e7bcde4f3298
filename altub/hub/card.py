"""The model card: what the model is, how good, how to use it; for people, and as front matter for the Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping

from altub.data.download import MVTEC_LICENCE, MVTEC_PAGE
from altub.errors import ConfigError
from altub.flows.registry import get_flow
from altub.inference.config import DetectorConfig
from altub.inference.info import ImageCounts, ModelInfo
from altub.metrics import METRICS
from altub.training.config import TrainingConfig

__all__ = ["LICENCES", "check_licence", "make_card"]

#: Identifiers that the Hub takes, and what they are called.
LICENCES = {
    "apache-2.0": "Apache 2.0",
    "mit": "MIT",
    "bsd-3-clause": "BSD 3-clause",
    "gpl-3.0": "GPL 3.0",
    "cc0-1.0": "CC0 1.0",
    "cc-by-4.0": "CC BY 4.0",
    "cc-by-sa-4.0": "CC BY-SA 4.0",
    "cc-by-nc-4.0": "CC BY-NC 4.0 (no commercial use)",
    "cc-by-nc-sa-4.0": "CC BY-NC-SA 4.0 (no commercial use)",
    "openrail": "OpenRAIL",
    "other": "another one, named on the card",
}

#: The Hub's name for the kind of a metric.
_HUB_TYPES = {
    "image_auroc": "roc_auc",
    "pixel_auroc": "roc_auc",
    "aupro": "aupro",
    "aupimo": "aupimo",
    "f1_max": "f1",
    "image_f1_max": "f1",
}

_DATA = {
    "sample": "AltUB's built-in sample (drawn by a program, not photographed)",
    "mvtec-ad": f"[MVTec AD]({MVTEC_PAGE}), licence {MVTEC_LICENCE}",
    "own": "images of its author's, which are not published",
}


def check_licence(licence: str | None) -> str | None:
    """The licence's identifier; None where none is given.

    Raises:
        ConfigError: the Hub does not know it.
    """
    if not licence:
        return None
    if licence not in LICENCES:
        raise ConfigError(f"There is no licence {licence!r} to choose here: take one of {', '.join(LICENCES)}.")
    return licence


def make_card(
    info: ModelInfo,
    detector: DetectorConfig,
    repo: str,
    licence: str | None,
    pictures: Mapping[str, str],
    section: str = "",
    joined: int = 0,
) -> str:
    """README.md of a repo.

    Args:
        info: of the pushed model; says what kind of data it was.
        pictures: file in the repo -> what it shows, in the order of the card.
        section: a further one, Markdown, before what it was trained on.
        joined: number of labelled good images that joined the calibration.
    """
    from huggingface_hub import EvalResult, ModelCardData

    kind = detector.flow.kind
    flow = get_flow(kind)
    link = f", [arXiv:{flow.paper.arxiv}]({flow.paper.url})" if flow.paper else ""
    category = _plain(info.category)
    data = info.data if info.data in _DATA else "own"
    measured = info.measured
    results = [
        EvalResult(
            task_type="image-segmentation",
            task_name="Anomaly detection",
            dataset_type=data if data != "own" else "private",
            dataset_name=f"{ {'sample': 'AltUB sample', 'mvtec-ad': 'MVTec AD'}.get(data, 'own images') }, {category}",
            dataset_split="test",
            metric_type=_HUB_TYPES[metric],
            metric_name=METRICS[metric].label,
            metric_value=round(value, 4),
        )
        for metric, value in measured.items()
    ]
    front = ModelCardData(
        license=licence,
        library_name="altub",
        pipeline_tag="image-segmentation",
        tags=["anomaly-detection", "altub", kind, "normalizing-flow"],
        model_name=repo.partition("/")[2],
        eval_results=results or None,
    )
    return f"""---
{front.to_yaml()}
---

# AltUB detector for {category}

Finds defects in pictures of **{category}** and marks where they are. It is a normalizing flow
({flow.title}{link}) on a learnable base distribution
(AltUB, [arXiv:2210.14913](https://arxiv.org/abs/2210.14913)), trained on pictures of good parts only.

```python
from altub import AnomalyDetector

detector = AnomalyDetector.from_pretrained("{repo}")
prediction = detector.predict("part.png")  # .anomaly_map, .score, .p_value
verdict = prediction.at(detector.threshold)  # .is_anomalous, .mask, .marked_area
```

In a terminal: `python -m altub pull {repo} --run-dir runs/{repo.partition("/")[2]}`; the page (`python -m altub ui`)
then offers it under Inspect.

## How good it is
{_results(measured)}
A score counts as a defect when it lies above the threshold for the share of false alarms that is asked for (5 % unless
said otherwise). Thresholds and p-values come from {_held_out(info, joined)} that were never trained on; they hold for
pictures taken in the same way as those.
{section}
## What it was trained on

{_DATA[data][0].upper() + _DATA[data][1:]}; category {category}{_counts(info)}.

| setting | value |
|---|---|
{_settings(detector, info)}
{_pictures(pictures)}"""


def _results(measured: Mapping[str, float]) -> str:
    if not measured:
        return "\nThere was no test set, so nothing was measured.\n"
    rows = "\n".join(f"| {METRICS[name].label} | {value:.4f} |" for name, value in measured.items())
    return f"\nOn the category's test set, after the last epoch:\n\n| metric | value |\n|---|---|\n{rows}\n"


def _held_out(info: ModelInfo, joined: int) -> str:
    count = info.images and info.images.held_out
    held_out = f"{count} good images" if count else "good images"
    return f"{held_out} and {joined} that people labelled good," if joined else held_out


def _counts(info: ModelInfo) -> str:
    images = info.images or ImageCounts()
    counts = {"good images to train on": images.trained, "held out": images.held_out, "to test on": images.test}
    parts = [f"{count} {text}" for text, count in counts.items() if count]
    return f" ({', '.join(parts)})" if parts else ""


def _settings(detector: DetectorConfig, info: ModelInfo) -> str:
    training = TrainingConfig.of_model(info)
    rows = {
        "backbone (frozen)": f"`{detector.backbone}`, stages {', '.join(map(str, detector.stages))}",
        "image size": f"{detector.image_size} px",
        "flow": f"{detector.flow.steps} steps, norm {detector.flow.norm}",
        "epochs": info.epoch,
        "update of the base": training.base.base_update if training else "not specified",
        "seed": training.seed if training else "not specified",
    }
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


def _pictures(pictures: Mapping[str, str]) -> str:
    return "".join(f"\n![{text}]({name})\n\n{text}\n" for name, text in pictures.items())


def _plain(text: str) -> str:
    """A name without what means something to Markdown or YAML."""
    return re.sub(r"[^\w .,+-]", " ", text).strip() or "unnamed"
