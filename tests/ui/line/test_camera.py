"""The camera: a shot is inspected and logged like a dropped image, continuous pictures are bounded and not logged."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import gradio as gr
import pytest
from gradio.data_classes import ImageData

from altub.ui.line.camera_card import MANY, CameraHandlers, frame_bytes
from tests.line.parts import parts
from tests.ui.line.conftest import Line


def picture() -> bytes:
    file = io.BytesIO()
    parts(1, 3)[0].save(file, "PNG")
    return file.getvalue()


def test_a_shot_gets_what_the_model_says_and_is_logged(line: Line, tmp_path: Path) -> None:
    on, shot = CameraHandlers(line.services), tmp_path / "shot.png"
    parts(1, 3, blot=True)[0].save(shot)
    html, last = on.shoot(str(shot), "line-run", [])
    detector = line.services.models.get(line.run.model_dir).detector
    verdict = detector.predict(shot).verdict(detector.threshold)
    assert last == [verdict.kind] and verdict.kind != "good" and "data:image/webp" in html
    ((_, one),) = line.services.recorder.log.of_model(line.model)
    assert one.source == "camera" and one.verdict == verdict.kind and one.statistics["brightness"] > 50
    assert on.shoot(None, "line-run", last) == [gr.skip(), gr.skip()]
    one_shot, many = on.choose(MANY)
    assert not one_shot.visible and many.visible


def test_continuous_pictures_are_not_logged_and_left_out_while_others_are_inspected(line: Line) -> None:
    on, last = CameraHandlers(line.services), ["defect"] * 24
    _, last = on.stream(picture(), "line-run", last)
    assert len(last) == 24 and last[-1] in ("good", "borderline")
    assert line.services.recorder.log.of_model(line.model) == []
    while on._busy.acquire(blocking=False):
        pass
    assert on.stream(picture(), "line-run", last) == [gr.skip(), gr.skip()]


def test_what_is_no_picture_is_one_sentence(line: Line) -> None:
    on = CameraHandlers(line.services)
    with pytest.raises(gr.Error, match="not an image"):
        on.stream(b"hello", "line-run", [])
    with pytest.raises(gr.Error, match="Choose a model"):
        on.stream(picture(), None, [])
    with pytest.raises(gr.Error, match="no run with that id"):
        on.stream(picture(), "../line-run", [])


def test_frames_arrive_as_bytes_and_never_as_a_path() -> None:
    address = "data:image/png;base64," + base64.b64encode(picture()).decode()
    assert frame_bytes(ImageData(url=address)) == picture()
    for payload in (
        None,
        ImageData(path="/etc/passwd"),
        ImageData(url="data:text/plain,x"),
        ImageData(url=address[:40]),
    ):
        assert frame_bytes(payload) is None
