"""Good images that people labelled join a model's calibration, which makes its p-values finer.

A conformal p-value needs held-out images that are exchangeable with a new good image. Labelled good images are, where
they were drawn at random (`Evidence`); those that the queue chose for being odd are not, and stay out until a draw
meets them. Where only a share of the production came into the store, an image stands for 1 / inclusion others. Such
weights are made equal by thinning: an image is kept with probability (smallest inclusion) / inclusion, by the random
number that it got when it was added, so that the same images are kept every time. The ones kept are a plain random
sample again, and the p-values exact; weighted p-values would need the unknown inclusion of the new image.

Every extension starts from the held-out images alone (`Calibration.held_out`) and takes all labels that are there by
then: no label counts twice, and one that was taken back is left out. A saved model keeps the scores of the joined
images in its config.json and its weights as they were, so that scores in a label store, which are kept by the SHA-256
of the weights, stay valid; p-values follow from a score and the calibration of the moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from altub.errors import LabelError
from altub.inference.calibration import Calibration
from altub.inference.config import ModelVersion
from altub.inference.threshold import HeldOut, Threshold
from altub.inference.versions import is_adapted, save_calibration
from altub.labels.queue import scope_of
from altub.labels.sample import Evidence, LabelSample, read_sample
from altub.labels.store import LabelStore
from altub.labels.training_data import TrainingImages, training_images

__all__ = ["Extension", "extend_calibration", "extended_calibration", "extension_of", "read_extension"]

MOST_JOINED = 10_000  # images; a config.json of a model with more could not be pulled from the Hub
_GOOD = """SELECT count(*) AS n, count(p.id) AS scored FROM images AS i
    JOIN standing AS e ON e.id = (SELECT max(s.id) FROM standing AS s WHERE s.image = i.id)
    LEFT JOIN proposals AS p ON p.image = i.id AND p.model = :model
    WHERE e.verdict = 'good' AND (:scope = '*' OR i.source = :scope)"""


@dataclass(frozen=True)
class Extension:
    """What it changes that labelled good images join a model's calibration.

    Attributes:
        before, after: the calibrations.
        own_before, own_after: the model's own threshold; None: the calibration's at the default false-alarm rate.
        good_labels: number of good labels of the scope.
        unscored: number of those without a score of this model, which stay out.
        knows_training: the images that the model was trained on are known, and were left out.
        weights_sha256: of the model.
    """

    before: Calibration
    after: Calibration
    own_before: Threshold | None
    own_after: Threshold | None
    good_labels: int
    unscored: int
    knows_training: bool
    weights_sha256: str

    @property
    def n_held_out(self) -> int:
        return self.after.held_out.scores.size

    @property
    def n_joined(self) -> int:
        """Number of labelled images in `after`."""
        return self.after.scores.size - self.n_held_out

    @property
    def n_before(self) -> int:
        """Number of labelled images in `before`."""
        return self.before.scores.size - self.n_held_out

    @property
    def smallest_p_values(self) -> tuple[float, float]:
        """That a score can have, before and after."""
        return 1 / (self.before.scores.size + 1), 1 / (self.after.scores.size + 1)

    @property
    def thresholds(self) -> tuple[Threshold, Threshold]:
        """In use before and after."""
        return self.own_before or self.before.threshold(), self.own_after or self.after.threshold()

    @property
    def note(self) -> str:
        """Kept with the version."""
        joined = f"{self.n_joined} labelled good image{'s' if self.n_joined > 1 else ''}"
        earlier = f" ({self.n_before} before)" if self.n_before else ""
        return f"{joined} joined {self.n_held_out} held-out ones{earlier}."


def extended_calibration(
    calibration: Calibration, evidence: Evidence, store: LabelStore, *, used: Iterable[str] = ()
) -> tuple[Calibration, int]:
    """The calibration of the held-out images with the randomly drawn good labels added, and how many these are.

    Images that joined the given calibration before are not counted again: they are added anew or, where their label was
    taken back, left out.

    Args:
        evidence: of `read_sample`, for the model that the calibration belongs to.
        used: SHA-256 of images that the model was trained on, whose scores are too low, and of its held-out images,
            which are in the calibration already.

    The colours of the maps and the unit of scores stay as they were.
    """
    known, kept = set(used), []
    lightest = float(evidence.weights.max()) if evidence.weights.size else 1.0
    for place, image in enumerate(evidence.images):
        if evidence.labels[place] != 0 or image in known:
            continue
        weight = evidence.weights[place]
        if weight == lightest or store.images.get(image).ticket * lightest < weight:
            kept.append(place)
    kept = kept[:MOST_JOINED]  # the first of a random sequence are a random sample too
    return calibration.extended_by(evidence.scores[kept], evidence.peaks[kept]), len(kept)


def extension_of(
    folder: str | Path,
    calibration: Calibration,
    own_threshold: Threshold | None,
    weights_sha256: str,
    store: LabelStore,
    sample: LabelSample,
    source: str | None,
    seen: TrainingImages | None,
) -> Extension:
    """What it would change that the labels of a sample join the calibration of a model; nothing is saved.

    A threshold of the model that came from held-out images is set anew, for the rate that it was asked for; one from
    labels or by hand stays.

    Args:
        folder: of the saved model.
        calibration, own_threshold, weights_sha256: the model's.
        sample: of `read_sample`, without the images that the model was trained on.
        source: that the sample was read for.
        seen: of `training_images`.

    Raises:
        LabelError: no label can join, or none that is not in the calibration already; it says why.
    """
    if is_adapted(folder):
        raise LabelError(
            "This model was adapted to images of which it keeps no record, so labelled ones might count twice. "
            "Restore the version before its adaptation."
        )
    row = store.db.row(_GOOD, {"model": weights_sha256, "scope": scope_of(source)})
    good, scored = row["n"], row["scored"]
    if good and not scored:
        raise LabelError(
            f"None of the {good} good labels has a score of this version of the model: score the images first "
            "(`altub labels score`; the Label tab does it in the background)."
        )
    used = seen.trained | seen.held_out if seen else frozenset()
    extended, joined = extended_calibration(calibration, sample.evidence, store, used=used)
    if not joined:
        raise LabelError(_nothing_joins(sample, good, used))
    if extended == calibration:
        raise LabelError(
            f"Nothing changes: the {joined} good labels that were drawn at random are in the calibration already. "
            "Label more images first."
        )
    is_promised = own_threshold is not None and isinstance(own_threshold.origin, HeldOut)
    return Extension(
        before=calibration,
        after=extended,
        own_before=own_threshold,
        own_after=extended.at_rate_of(own_threshold) if is_promised else own_threshold,
        good_labels=good,
        unscored=good - scored,
        knows_training=seen is not None,
        weights_sha256=weights_sha256,
    )


def read_extension(folder: str | Path, store: LabelStore, source: str | None = None) -> Extension:
    """What it would change that the labels of a source's images, or of all, join the calibration of a saved model.

    Raises:
        LabelError: see `extension_of`.
        ModelError: there is no calibrated model in `folder`, or the record of its training is damaged.
    """
    from altub.inference.storage import read_calibration  # deferred: imports torch

    calibration, own_threshold, sha256 = read_calibration(Path(folder))
    seen = training_images(folder)
    sample = read_sample(store, sha256, source, exclude=seen.trained if seen else ())
    return extension_of(folder, calibration, own_threshold, sha256, store, sample, source, seen)


def extend_calibration(
    folder: str | Path, store: LabelStore, source: str | None = None, *, author: str = ""
) -> tuple[Extension, ModelVersion]:
    """Lets the labels of a source's images, or of all, join the calibration of a saved model, as a new version.

    Raises:
        LabelError, ModelError: as from `read_extension`.
        DiskFullError: no room; the model that was there still is in use.
    """
    found = read_extension(folder, store, source)
    version = save_calibration(
        folder, found.after, found.own_after, found.note, weights_sha256=found.weights_sha256, author=author
    )
    return found, version


def _nothing_joins(sample: LabelSample, good: int, used: frozenset[str]) -> str:
    if not good:
        return "No image is labelled good yet, so none can join the calibration. Label images first."
    evidence = sample.evidence
    drawn = [image for image, label in zip(evidence.images, evidence.labels, strict=True) if label == 0]
    known = sum(image in used for image in drawn)
    held_out = f", but {known} of these are held-out images of the training" if known else ""
    trained = f" ({sample.excluded} images of the model's training are left out)" if sample.excluded else ""
    return (
        f"No label can join the calibration: {good} images are labelled good, {len(drawn)} of them were drawn at "
        f"random{held_out}{trained}. Label images in the order “random”, or all images."
    )
