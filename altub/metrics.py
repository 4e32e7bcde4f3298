"""The metrics of a test set: their values, their names for people, and what they mean. No computation.

`altub.evaluation.metrics` computes them. They stand here because everything else names or stores them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

__all__ = ["HELD_OUT", "MAIN_METRICS", "METRICS", "Metric", "Metrics"]


class Metrics(BaseModel):
    """Results on one test set, each in [0, 1]; None where the test set does not allow the number.

    Image metrics need good and defective images; pixel metrics need a mask with at least one defective pixel.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    image_auroc: float | None = None
    pixel_auroc: float | None = None
    aupro: float | None = None
    aupimo: float | None = None  # None too in records of 0.1.0
    f1_max: float | None = None  # of pixels
    image_f1_max: float | None = None

    def value(self, name: str) -> float | None:
        """The metric of this name; KeyError where there is no such metric."""
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)

    def as_dict(self) -> dict[str, float | None]:
        """All of them by name, in the order of `METRICS`."""
        return {name: self.value(name) for name in type(self).model_fields}

    def measured(self) -> dict[str, float]:
        """Those that have a value."""
        return {name: value for name, value in self.as_dict().items() if value is not None}


@dataclass(frozen=True)
class Metric:
    """How a number is called and read.

    label: within a sentence. meaning: one sentence. needs_masks: of the defects, beside labelled images.
    higher_is_better: False for a loss.
    """

    label: str
    meaning: str
    needs_masks: bool = False
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        """The label as a heading."""
        return self.label[0].upper() + self.label[1:]


#: Of a test set, by the field of `Metrics`.
METRICS: dict[str, Metric] = {
    "image_auroc": Metric("image AUROC", "How well the scores tell defective images from good ones; 1 is perfect."),
    "pixel_auroc": Metric(
        "pixel AUROC", "How well the maps tell defective pixels from good ones; 1 is perfect.", needs_masks=True
    ),
    "aupro": Metric(
        "AUPRO",
        "Overlap with each defect, small ones counting as much as large ones, up to 30 % false alarms.",
        needs_masks=True,
    ),
    "aupimo": Metric(
        "AUPIMO",
        "Share of each defect found while at most 1 in 100,000 to 1 in 10,000 pixels of good images are marked.",
        needs_masks=True,
    ),
    "f1_max": Metric(
        "pixel F1-max", "Best balance of found and falsely marked pixels over all thresholds.", needs_masks=True
    ),
    "image_f1_max": Metric("image F1-max", "Best balance of found and falsely rejected images over all thresholds."),
}

#: Those that a short table or a figure shows.
MAIN_METRICS = ("image_auroc", "pixel_auroc", "aupro")

#: The loss of good images that are never trained on.
HELD_OUT = Metric(
    "held-out NLL",
    "Negative log-likelihood of held-out good images in nats per dimension; lower is better.",
    higher_is_better=False,
)
