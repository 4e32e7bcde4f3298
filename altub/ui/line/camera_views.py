"""A picture of the camera with its verdict, as HTML. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from altub.inference.drawing import draw_verdict
from altub.inference.prediction import Prediction, Verdict
from altub.ui.html.pictures import data_uri
from altub.ui.html.verdicts import VERDICTS, number, p_value_in_words, percent, remarks

if TYPE_CHECKING:
    from altub.inference.detector import AnomalyDetector

__all__ = ["SHOWN_VERDICTS", "camera_html"]

SIDE = 640  # longest side of the picture, in pixels
SHOWN_VERDICTS = 24  # of the last pictures


def camera_html(
    photo: Image.Image, prediction: Prediction, verdict: Verdict, detector: AnomalyDetector, last: Sequence[str]
) -> str:
    """Heatmap, verdict and numbers.

    Args:
        last: kinds of the last verdicts, this one at the end.
    """
    calibration = detector.require_calibration()
    shown = photo.convert("RGB")
    shown.thumbnail((SIDE, SIDE))
    drawn = draw_verdict(shown, prediction, verdict, calibration)
    kind, word = VERDICTS[verdict.kind]
    boxes = "".join(
        f"<div><dt>{name}</dt><dd>{escape(value)}</dd></div>"
        for name, value in (
            ("Anomaly score", number(calibration.anomaly_score(prediction.score))),
            ("p-value", f"{prediction.p_value:.3g}"),
            ("Marked area", percent(verdict.marked_area)),
        )
    )
    dots = "".join(f'<i class="{VERDICTS[one][0]}" title="{VERDICTS[one][1]}"></i>' for one in last if one in VERDICTS)
    return (
        f'<div class="shot"><img src="{data_uri(drawn)}" alt="Heatmap of the picture">'
        f'<div><span class="chip {kind}">{word}</span>'
        f"<p>{p_value_in_words(prediction.p_value, calibration.scores.size)}</p>{remarks(verdict)}"
        f'<dl>{boxes}</dl><div class="last-verdicts" role="img" aria-label="The last {len(last)} verdicts">{dots}</div>'
        "</div></div>"
    )
