"""`python -m altub.runtime MODEL.onnx IMAGES... [--output scores.csv] [--masks FOLDER]`: verdicts without torch.

Exit codes: 0 done, 2 bad input (one sentence on stderr).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from altub.errors import AltUBError, ImageError
from altub.files import write_atomically
from altub.inference.exports import UniqueNames, collect_images
from altub.inference.table import VALUE_COLUMNS, Row, error_row, table_to_csv, verdict_row
from altub.runtime.detector import OnnxDetector

BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m altub.runtime", description="Verdicts of an exported model.")
    parser.add_argument("model", type=Path, help="an ONNX file of `altub export`")
    parser.add_argument("images", type=Path, nargs="+", help="images, or folders of them")
    parser.add_argument("--output", type=Path, help="a CSV file for the verdicts; default: JSON lines on stdout")
    parser.add_argument("--masks", type=Path, help="folder for masks (PNG, 255 where a defect is)")
    parser.add_argument("--false-alarm-rate", type=float, help="default: the model's own threshold")
    parser.add_argument("--threads", type=int, default=0, help="of the CPU; default: one a core")
    chosen = parser.parse_args(arguments)
    try:
        rows = list(_rows(chosen))
    except AltUBError as error:
        print(f"Error: {error}", file=sys.stderr)
        return BAD_INPUT
    if chosen.output:
        write_atomically(chosen.output, table_to_csv(rows, VALUE_COLUMNS).encode())
    return BAD_INPUT if all(row["error"] for row in rows) else 0


def _rows(chosen: argparse.Namespace) -> Iterator[Row]:
    detector = OnnxDetector.load(chosen.model, threads=chosen.threads)
    rate = chosen.false_alarm_rate
    threshold = detector.threshold if rate is None else detector.calibration.threshold(rate)
    if detector.record.quantised is not None:
        print(f"Note: {detector.record.quantised}", file=sys.stderr)
    if threshold.warning:
        print(f"Note: {threshold.warning}", file=sys.stderr)
    images = collect_images(chosen.images, skip=chosen.masks)
    names = UniqueNames()
    if chosen.masks:
        chosen.masks.mkdir(parents=True, exist_ok=True)
    for path, found in zip(images, detector.predict_many(images), strict=True):
        if isinstance(found, ImageError):
            row = error_row(str(path), str(found))
            print(f"Skipped: {found}", file=sys.stderr)
        else:
            verdict = found.at(threshold) if chosen.masks else found.verdict(threshold)
            row = verdict_row(str(path), found.score, found.p_value, verdict, detector.calibration)
            if chosen.masks:
                Image.fromarray(verdict.mask).save(chosen.masks / f"{names(path.name)}_mask.png")
        if not chosen.output:
            print(json.dumps({column: row[column] for column in VALUE_COLUMNS}))
        yield row


if __name__ == "__main__":
    sys.exit(main())
