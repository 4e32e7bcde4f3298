"""A batch as one HTML file: model, threshold with its promise, summary, and every picture with its verdict.

The file needs nothing beside it and runs no script: pictures are inlined, and what files are called is text. Printed
(or saved as PDF by the browser), no picture is cut by the end of a page. Pictures are kept on disk until the end, as
the most anomalous come first.
"""

from __future__ import annotations

import base64
import io
import tempfile
import time
from html import escape
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from PIL import Image

from altub.files import explain_full_disk, printable, replacing
from altub.inference.drawing import draw_verdict
from altub.inference.prediction import KINDS, Kind
from altub.plots import BORDERLINE, COLOUR_MAPS, DEFECT, GOOD, NOT_COMPARABLE

if TYPE_CHECKING:
    from altub.inference.calibration import Calibration
    from altub.inference.prediction import Prediction, Verdict
    from altub.inference.threshold import Threshold

__all__ = ["ReportWriter"]

SIDE = 460  # longest side of a picture, in pixels
QUALITY = 82
COLOURS: dict[Kind, str] = {
    "good": GOOD,
    "borderline": BORDERLINE,
    "defect": DEFECT,
    "not comparable": NOT_COMPARABLE,
}
WORDS = {"good": "good", "borderline": "borderline", "defect": "defects", "not comparable": "not comparable"}

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 32px; max-width: 1180px; font: 14px/1.45 system-ui, sans-serif; color: #1f2937; }
h1 { margin: 0 0 4px; font-size: 24px; }
p { margin: 4px 0; }
.quiet { color: #5b6472; }
.summary { display: flex; flex-wrap: wrap; gap: 10px; margin: 18px 0; padding: 0; list-style: none; }
.summary li { padding: 8px 16px; border: 1px solid #d5d9df; border-left: 6px solid var(--kind, #9ca3af);
  border-radius: 6px; }
.summary b { display: block; font-size: 22px; line-height: 1.2; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 16px; }
figure { margin: 0; border: 1px solid #d5d9df; border-top: 5px solid var(--kind); border-radius: 6px; overflow: hidden;
  break-inside: avoid; }
figure img { display: block; width: 100%; height: 230px; object-fit: contain; background: #f3f4f6; }
figcaption { padding: 8px 12px; }
figcaption b { display: block; overflow-wrap: anywhere; }
.numbers { font-variant-numeric: tabular-nums; }
.unread { border-collapse: collapse; margin-top: 18px; }
.unread td { padding: 4px 12px 4px 0; vertical-align: top; overflow-wrap: anywhere; }
@media print { body { padding: 0; max-width: none; } .pictures { grid-template-columns: repeat(3, 1fr); gap: 10px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
@page { margin: 14mm; }
"""


class ReportWriter:
    """Writes the report when it is closed; use it in a `with` block. After an error nothing is written.

    Args:
        path: of the HTML file; its folder must be there.
        model: what made the predictions, for people.
        calibration, threshold: as in `altub.inference.exports.PredictionWriter`.
        look: `opacity`, `colour_map` and `contour` of `altub.plots.overlay`.

    Raises:
        DiskFullError: there is no room.
    """

    def __init__(
        self,
        path: str | Path,
        model: str,
        calibration: Calibration,
        threshold: Threshold,
        *,
        opacity: float = 0.5,
        colour_map: str = COLOUR_MAPS[0],
        contour: bool = True,
    ) -> None:
        self.path, self.model, self.calibration, self.threshold = Path(path), model, calibration, threshold
        self._look: dict[str, Any] = {"opacity": opacity, "colour_map": colour_map, "contour": contour}
        self._figures: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the report
        self._places: list[tuple[float, int, int]] = []  # -score, start and length in the file
        self._errors: list[tuple[str, str]] = []
        self.counts: dict[Kind, int] = dict.fromkeys(KINDS, 0)

    def add(self, name: str, image: Image.Image, prediction: Prediction, verdict: Verdict) -> None:
        """One image (RGB), scaled down or not; its size is the prediction's."""
        shown = image.copy()
        shown.thumbnail((SIDE, SIDE), reducing_gap=2)
        drawn = draw_verdict(shown, prediction, verdict, self.calibration, **self._look)
        buffer = io.BytesIO()
        drawn.save(buffer, "JPEG", quality=QUALITY)
        remarks = "".join(f"<br>{escape(reason)}" for reason in verdict.reasons)
        value, (width, height) = self.calibration.anomaly_score(prediction.score), prediction.image_size
        text = (
            f'<figure style="--kind:{COLOURS[verdict.kind]}"><img alt="{escape(printable(name))}, heatmap" '
            f'src="data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"><figcaption>'
            f'<b>{escape(printable(name))}</b><span class="numbers">{verdict.kind.capitalize()}, '
            f"anomaly score {value:.2f}</span>{remarks}<br>"
            f'<span class="quiet numbers">p = {prediction.p_value:.3g}, {100 * verdict.marked_area:.2f} % marked, '
            f"{width} × {height}</span></figcaption></figure>\n"
        ).encode()
        with explain_full_disk(self.path):
            self._places.append((-value, self._figures.tell(), len(text)))
            self._figures.write(text)
        self.counts[verdict.kind] += 1

    def add_error(self, name: str, error: str) -> None:
        """An image that could not be read."""
        self._errors.append((name, error))

    def close(self) -> None:
        """Writes the file."""
        with explain_full_disk(self.path), replacing(self.path) as file:
            file.write(self._head().encode())
            for _, start, length in sorted(self._places):
                self._figures.seek(start)
                file.write(self._figures.read(length))
            file.write(self._tail().encode())

    def _head(self) -> str:
        threshold, value = self.threshold, self.calibration.anomaly_score(self.threshold.value)
        counts = "".join(
            f'<li style="--kind:{COLOURS[kind]}"><b>{count}</b>{WORDS[kind]}</li>'
            for kind, count in sorted(self.counts.items(), key=lambda pair: -list(KINDS).index(pair[0]))
            if count or kind in ("good", "defect")
        )
        if self._errors:
            counts += f"<li><b>{len(self._errors)}</b>not read</li>"
        warning = f"<p>{escape(threshold.warning)}</p>" if threshold.warning else ""
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
            f"<title>Inspection report: {escape(self.model)}</title><style>{_STYLE}</style></head><body>\n"
            f"<h1>Inspection report</h1><p>Model: {escape(self.model)}</p>"
            f"<p>Threshold: anomaly score {value:.3f}. {escape(threshold.origin.promise)}</p>{warning}"
            f'<p class="quiet">{time.strftime("%d %B %Y, %H:%M")}. Anomaly score: 0 is a typical good part, 1 the most '
            "unusual good part known. The most anomalous images come first.</p>"
            f'<ul class="summary"><li><b>{len(self._places) + len(self._errors)}</b>images</li>{counts}</ul>\n'
            '<div class="pictures">\n'
        )

    def _tail(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(printable(name))}</td><td>{escape(printable(error))}</td></tr>"
            for name, error in self._errors
        )
        unread = f'<h2>Not read</h2><table class="unread">{rows}</table>' if rows else ""
        return f"</div>{unread}</body></html>\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._figures:
            if kind is None:
                self.close()
