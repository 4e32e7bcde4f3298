"""predictions.csv: one row an image."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from altub.files import printable
from altub.inference.prediction import Verdict

if TYPE_CHECKING:
    from altub.inference.calibration import Calibration

__all__ = [
    "COLUMNS",
    "PICTURE_COLUMNS",
    "VALUE_COLUMNS",
    "Row",
    "as_cell",
    "cell_text",
    "csv_lines",
    "error_row",
    "table_to_csv",
    "verdict_row",
]

#: Columns of predictions.csv. `verdict` is the verdict's kind, and `reason` says why an image is not comparable;
#: `anomaly_score`, `anomaly_threshold` and `anomaly_pixel_threshold` are `score`, `threshold` and `pixel_threshold` in
#: the model's units (`altub.inference.units`);
#: `anomalous_area` is the share of pixels above `marked_above`, which is `pixel_threshold` or, where a defect has no
#: pixel above that, lower (`Verdict.pixel_value`); `overlay`, `map` and `mask` are paths within the folder; `error`
#: says why an image has no prediction, and is empty elsewhere.
COLUMNS = (
    "image",
    "verdict",
    "reason",
    "anomaly_score",
    "anomaly_threshold",
    "anomaly_pixel_threshold",
    "score",
    "p_value",
    "is_anomalous",
    "threshold",
    "pixel_threshold",
    "marked_above",
    "anomalous_area",
    "overlay",
    "map",
    "mask",
    "error",
)
PICTURE_COLUMNS = ("overlay", "map", "mask")
VALUE_COLUMNS = tuple(column for column in COLUMNS if column not in PICTURE_COLUMNS)

Row = dict[str, Any]

# A spreadsheet runs a cell that begins with one of these as a formula, and image names come from strangers. Where it
# separates columns by semicolons or tabs, as in many countries, a cell of its begins in the middle of one of ours.
_FORMULA = r"""["'\s]*[=+\-@＝＋－＠]"""
_FORMULA_INSIDE, _FORMULA_FIRST = re.compile(rf"([;\t\r\n])(?={_FORMULA})"), re.compile(rf"'*[\t\r\n]|{_FORMULA}")
_ESCAPED_INSIDE = re.compile(rf"([;\t\r\n])'(?={_FORMULA})")


def verdict_row(image_name: str, score: float, p_value: float, verdict: Verdict, calibration: Calibration) -> Row:
    """The row of an image with a prediction, without the pictures' paths."""
    threshold = verdict.threshold
    return dict.fromkeys(COLUMNS) | {
        "image": image_name,
        "verdict": verdict.kind,
        "reason": "; ".join(verdict.reasons) or None,
        "anomaly_score": calibration.anomaly_score(score),
        "anomaly_threshold": calibration.anomaly_score(threshold.value),
        "anomaly_pixel_threshold": float(calibration.pixel_unit.of(threshold.pixel_value)),
        "score": score,
        "p_value": p_value,
        "is_anomalous": verdict.is_anomalous,
        "threshold": threshold.value,
        "pixel_threshold": threshold.pixel_value,
        "marked_above": verdict.pixel_value,
        "anomalous_area": verdict.marked_area,
    }


def error_row(image_name: str, error: str) -> Row:
    """The row of an image without a prediction."""
    return dict.fromkeys(COLUMNS) | {"image": image_name, "error": error}


def table_to_csv(rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> str:
    """Rows as CSV: numbers in full precision, true/false, empty cells for None, no cell that a spreadsheet runs."""
    return "".join(csv_lines(rows, columns))


def csv_lines(rows: Iterable[Row], columns: Sequence[str] = COLUMNS) -> Iterator[str]:
    """`table_to_csv` line by line."""
    line = io.StringIO(newline="")
    table = csv.writer(line, lineterminator="\n")
    for cells in chain([columns], ([as_cell(row[column]) for column in columns] for row in rows)):
        table.writerow(cells)
        yield line.getvalue()
        line.seek(0)
        line.truncate()


def cell_text(cell: str) -> str:
    """The text that `table_to_csv` made a cell of: without the quotes that keep spreadsheets from running it."""
    if cell[:1] == "'" and _FORMULA_FIRST.match(cell[1:]):
        cell = cell[1:]
    return _ESCAPED_INSIDE.sub(r"\1", cell)


def as_cell(value: Any) -> str:
    """A value as `table_to_csv` writes it."""
    if value is None:
        return ""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, str):
        value = _FORMULA_INSIDE.sub(r"\1'", printable(value))
        return f"'{value}" if _FORMULA_FIRST.match(value) else value
    return repr(float(value))
