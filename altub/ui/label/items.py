"""A stored image as the canvas shows it: its picture, the heatmap, the proposed mask, the labels.

Masks go to the page as runs of their set pixels, row by row: start, length, start, length, ... They are exact, small,
and read in a moment at any size.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image

from altub.data import opened
from altub.files import explain_full_disk, replacing
from altub.inference.threshold import Threshold
from altub.labels.records import Label, StoredImage
from altub.labels.store import LabelStore
from altub.plots import heat_layer
from altub.plots.enlarge import enlarged_strips
from altub.ui.html.pictures import data_uri
from altub.ui.label.choice import Model
from altub.ui.server.temporary import LABEL_FOLDER

__all__ = ["PICTURE_SIDE", "describe_item", "event_json", "label_json", "mask_runs", "picture_file", "proposal_json"]

PICTURE_SIDE = 4096  # longest side, in pixels, of a picture that is sent; masks are always of the image's own size
JPEG = {"quality": 92, "subsampling": 0}
KEPT_RUNS = 64  # proposals


def describe_item(store: LabelStore, model: Model | None, image: str, who: str) -> dict[str, Any]:
    """All that the canvas needs of an image, as JSON.

    Raises:
        LabelError: there is no such image, or a file of it is damaged.
        ImageError: it cannot be decoded any more.
    """
    known, label = store.images.get(image), store.labels.of(image)
    holder = store.leases.holder(image)
    return {
        "image": known.sha256,
        "name": known.name,
        "source": known.source,
        "width": known.width,
        "height": known.height,
        "picture": _address(picture_file(store, known)),
        "proposal": proposal_json(store, model, known),
        "label": None if label is None else label_json(store, label),
        "history": [event_json(one) for one in store.labels.history(image)],
        "holder": holder if holder not in (None, who) else None,
    }


def picture_file(store: LabelStore, image: StoredImage) -> Path:
    """A JPEG for the browser, whatever the format of the original; made once."""
    folder = Path(get_upload_folder()) / LABEL_FOLDER
    path = folder / f"{image.sha256}.jpg"
    if path.is_file():
        return path
    with explain_full_disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with opened(store.objects.path(image.sha256)) as photo:
        scale = PICTURE_SIDE / max(photo.size)
        if scale < 1:
            size = max(1, round(photo.width * scale)), max(1, round(photo.height * scale))
            photo = photo.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
        with replacing(path) as file:
            photo.save(file, "JPEG", **JPEG)
    return path


def proposal_json(store: LabelStore, model: Model | None, image: StoredImage) -> dict[str, Any] | None:
    """What the model says of an image, with the heatmap and the mask that it proposes; None where it was not asked."""
    proposal = None if model is None else store.proposals.get(image.sha256, model.sha256)
    if proposal is None:
        return None
    anomaly_map = store.proposals.map(proposal)
    calibration = model.calibration
    runs = _proposed_runs(_Map(proposal.map_sha256, anomaly_map), image.size, model.threshold)
    return {
        "id": proposal.id,
        "score": proposal.score,
        "threshold": model.threshold.value,
        "p_value": calibration.p_value(proposal.score),  # by the present calibration, which may be a newer one
        "verdict": "defect" if model.threshold.is_exceeded_by(proposal.score) else "good",
        "heat": data_uri(heat_layer(anomaly_map, *calibration.colour_range)),
        "runs": runs,
    }


def label_json(store: LabelStore, label: Label) -> dict[str, Any]:
    """A label with its mask."""
    mask = store.labels.mask(label)
    return event_json(label) | {"runs": None if mask is None else mask_runs(mask)}


def mask_runs(mask: np.ndarray) -> list[int]:
    """The runs of a bool mask (H, W): start, length, start, length, ...

    Example:
        >>> mask_runs(np.array([[0, 1, 1], [1, 0, 0]], dtype=bool))
        [1, 3]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask.ravel(), [False]])))
    runs = edges.reshape(-1, 2)
    runs[:, 1] -= runs[:, 0]
    return runs.ravel().tolist()


class _Map:
    """A map that is compared by its SHA-256, as the key of a cache."""

    def __init__(self, sha256: str, values: np.ndarray) -> None:
        self.sha256, self.values = sha256, values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Map) and other.sha256 == self.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


@lru_cache(maxsize=KEPT_RUNS)
def _proposed_runs(anomaly_map: _Map, size: tuple[int, int], threshold: Threshold) -> list[int]:
    """The runs of the pixels above the threshold, a strip of rows at a time."""
    width, height = size
    mask = np.empty((height, width), bool)
    for top, strip in enlarged_strips(anomaly_map.values, size):
        mask[top : top + len(strip)] = threshold.mask(strip)
    return mask_runs(mask)


def event_json(label: Label) -> dict[str, Any]:
    """A label without its mask."""
    return {
        "event": label.event,
        "who": label.who,
        "verdict": label.verdict,
        "type": label.defect_type,
        "note": label.note,
        "at": label.at,
    }


def _address(path: Path) -> str:
    """Below the page's own address. The file's name is the hash of its content: who knows it has the image already."""
    return f"gradio_api/file={quote(str(path))}"
