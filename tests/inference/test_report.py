"""A batch as one HTML file."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.inference.calibration import Calibration
from altub.inference.export_files import MAP_FORMATS, OVERLAY_FORMATS
from altub.inference.exports import PredictionWriter
from altub.inference.folder import predict_to_folder
from altub.inference.prediction import Prediction
from altub.inference.report import SIDE, ReportWriter
from tests.inference.test_exports import StubDetector, make_image, make_prediction, read_csv

CALIBRATION = Calibration(scores=np.linspace(-0.9, -0.5, 19), colour_low=-0.9, colour_high=0.1)


def prediction(score: float, reasons: tuple[str, ...] = ()) -> Prediction:
    values = np.linspace(-1, 0, 600, dtype=np.float32).reshape(20, 30)
    return Prediction(values, values[None], score, 0.25, reasons=reasons)


class Tags(HTMLParser):
    """Tags of a page with their attributes; fails on what is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_a_report_is_one_file_sorted_by_anomaly_that_runs_nothing(tmp_path: Path) -> None:
    path, threshold = tmp_path / "report.html", CALIBRATION.threshold()
    evil = "<img src=x onerror=alert(1)>.png"
    with ReportWriter(path, "bottle <b>", CALIBRATION, threshold) as report:
        for name, score in (("good.png", -0.8), ("worst.png", 3.0), (evil, 0.5)):
            one = prediction(score)
            report.add(name, make_image(), one, one.at(threshold))
        one = prediction(0.9, ("It is <grey>.",))
        report.add("grey.png", make_image(900, 1800), one, one.at(threshold))
        one = prediction(float(CALIBRATION.scores[-1]))
        report.add("edge.png", make_image(), one, one.at(threshold))
        report.add_error("notes.txt", "notes.txt is <not> an image.")
    text = path.read_text(encoding="utf-8")
    tags = Tags(text).found
    assert [attributes["alt"] for tag, attributes in tags if tag == "img"] == [
        f"{name}, heatmap" for name in ("worst.png", "grey.png", evil, "edge.png", "good.png")
    ]
    pictures = [attributes["src"] for tag, attributes in tags if tag == "img"]
    sizes = [Image.open(io.BytesIO(base64.b64decode(one.partition(",")[2]))).size for one in pictures]
    assert sizes == [(30, 20), (SIDE, SIDE // 2), *[(30, 20)] * 3]
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags}
    assert not any(name.startswith("on") or "http:" in (value or "") for _, one in tags for name, value in one.items())
    assert "default-src 'none'" in text and "bottle &lt;b&gt;" in text and "It is &lt;grey&gt;." in text
    assert "notes.txt is &lt;not&gt; an image." in text and "At most 5 % of good images" in text
    counts = re.findall(r"<li[^>]*><b>(\d+)</b>([\w ]+)</li>", text)
    assert {word: int(count) for count, word in counts} == {
        "images": 6,
        "not comparable": 1,
        "defects": 2,
        "borderline": 1,
        "good": 1,
        "not read": 1,
    }
    assert f"anomaly score {CALIBRATION.anomaly_score(3.0):.2f}" in text and "break-inside: avoid" in text


def test_a_report_that_fails_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        ReportWriter(tmp_path / "report.html", "m", CALIBRATION, CALIBRATION.threshold()),
    ):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overlays", OVERLAY_FORMATS)
@pytest.mark.parametrize("maps", MAP_FORMATS)
def test_files_are_written_in_the_chosen_formats(tmp_path: Path, overlays: str, maps: str) -> None:
    one, threshold = make_prediction(), CALIBRATION.threshold()
    with PredictionWriter(tmp_path, CALIBRATION, threshold, overlays=overlays, maps=maps, masks=False) as writer:
        writer.add("part.bmp", make_image(), one)
    (row,) = read_csv(tmp_path / "predictions.csv")
    assert (row["overlay"], row["map"], row["mask"]) == (
        f"overlays/part.{OVERLAY_FORMATS[overlays]}" if overlays != "none" else "",
        f"maps/part.{MAP_FORMATS[maps]}" if maps != "none" else "",
        "",
    )
    if overlays != "none":
        with Image.open(tmp_path / row["overlay"]) as shown:
            assert (shown.format, shown.size) == (overlays.upper(), (30, 20))
    if maps != "none":
        values = np.asarray(Image.open(tmp_path / row["map"]))
        unit = CALIBRATION.pixel_unit.of(one.anomaly_map)
        if maps == "png":
            assert values.dtype == np.uint16 and values.max() == round(1000 * float(unit.max()))
            np.testing.assert_allclose(values / 1000, np.clip(unit, 0, None), atol=0.0006)
        else:
            assert np.array_equal(values, one.anomaly_map)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        {"predictions.csv", *(part for part in ("overlays", "maps") if (tmp_path / part).exists())}
    )


def test_a_folder_may_have_a_report(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"x")
    make_image().save(tmp_path / "a.png")
    images = [tmp_path / "a.png", tmp_path / "broken.png"]
    predict_to_folder(StubDetector(), images, tmp_path / "out", overlays="none", maps="none", report="model 7")
    text = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert text.count("<figure") == 1 and "model 7" in text and "broken.png" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.html", "predictions.csv", "masks"}
