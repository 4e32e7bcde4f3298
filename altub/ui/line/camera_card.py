"""The camera of the Line tab: a picture of the browser's camera gets the same verdict as a dropped one.

One shot is inspected like any image and logged. Continuous pictures are inspected about once a second and not logged:
pictures of one part that lies still are no stream that a drift watch could judge.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.data_classes import ImageData

from altub.data import opened
from altub.errors import RunError
from altub.inference.model_cache import LoadedModel, read_model_config
from altub.inference.prediction import Prediction, Verdict
from altub.line.recorder import CAMERA, inspection_of
from altub.line.statistics import measure
from altub.ui.errors import show_errors
from altub.ui.line.camera_views import SHOWN_VERDICTS, camera_html
from altub.ui.line.drift_card import QUIET, DriftCard
from altub.ui.offers import find_model
from altub.ui.services import Services

__all__ = ["CameraHandlers", "build_camera", "frame_bytes"]

EVERY = 1.0  # seconds between two continuous pictures
AT_ONCE = 2  # cameras that are inspected continuously at the same time; further ones wait
WIDTH = 960  # wished, in pixels; models look at less
ONE, MANY = "one", "many"
EMPTY = '<p class="hint">The verdict appears here.</p>'
ABOUT = (
    "Uses the camera of the machine that the browser runs on; browsers allow it on this machine itself and over HTTPS. "
    "One shot is logged, continuous pictures are not."
)


def frame_bytes(payload: ImageData | None) -> bytes | None:
    """A continuous picture, which arrives inside of the request: nothing goes to the disk, no path is followed."""
    head, _, text = ((payload.url if payload is not None else None) or "").partition(",")
    if not head.startswith("data:image/"):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:  # no base64
        return None


class CameraHandlers:
    """The card's handlers; each validates its arguments."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._busy = threading.Semaphore(AT_ONCE)

    def choose(self, kind: Any) -> list[Any]:
        """The camera of a kind of pictures."""
        return [gr.Image(visible=kind == ONE, value=None), gr.Image(visible=kind == MANY, value=None)]

    @show_errors("Not inspected", fields={"run": "line-run"})
    def shoot(self, picture: str | None, run_id: Any, last: Any) -> list[Any]:
        """One picture: a file that Gradio has checked to be an upload."""
        if picture is None:  # the shot was cleared
            return [gr.skip(), gr.skip()]
        return self._inspect(picture, run_id, last, is_logged=True)

    @show_errors("Not inspected", fields={"run": "line-run"})
    def stream(self, picture: bytes | None, run_id: Any, last: Any) -> list[Any]:
        """One of many; left out while enough others are being inspected."""
        if not picture or not self._busy.acquire(blocking=False):
            return [gr.skip(), gr.skip()]
        try:
            return self._inspect(picture, run_id, last, is_logged=False)
        finally:
            self._busy.release()

    def _inspect(self, picture: str | bytes, run_id: Any, last: Any, *, is_logged: bool) -> list[Any]:
        if not isinstance(run_id, str) or not run_id:
            raise RunError("Choose a model.").at("run")
        run = find_model(run_id)
        model = self.services.models.get(run.model_dir)
        with opened(picture, pixel_range=model.detector.config.pixel_range) as photo:
            prediction = model.detector.predict(photo)
            verdict = prediction.verdict(model.detector.threshold)
            if is_logged:
                statistics = measure(photo, prediction.model_map).to_dict()
                self._log(Path(picture), run.model_dir, model, prediction, verdict, statistics)
            before = [kind for kind in last if isinstance(kind, str)] if isinstance(last, list) else []
            shown = [*before, verdict.kind][-SHOWN_VERDICTS:]
            return [camera_html(photo, prediction, verdict, model.detector, shown), shown]

    def _log(
        self,
        picture: Path,
        folder: Path,
        model: LoadedModel,
        prediction: Prediction,
        verdict: Verdict,
        statistics: dict[str, float],
    ) -> None:
        version = read_model_config(folder).version
        inspection = inspection_of(
            CAMERA,
            time.strftime("shot %Y-%m-%d %H:%M:%S"),
            prediction.score,
            prediction.p_value,
            verdict,
            sha256=hashlib.sha256(picture.read_bytes()).hexdigest(),
            model=model.weights_sha256,
            version=None if version is None else version.number,
            statistics=statistics,
        )
        self.services.recorder.add([inspection])


def build_camera(services: Services, drift: DriftCard) -> None:
    """Lays the card out and connects it."""
    on, last = CameraHandlers(services), gr.State([])
    # Not mirrored: a part is not a face. No image mode: the file is decoded within our own limits.
    options: dict[str, Any] = {
        "sources": ["webcam"],
        "type": "filepath",
        "image_mode": None,
        "height": 320,
        "elem_classes": "framed",
        "webcam_options": gr.WebcamOptions(mirror=False, constraints={"video": {"width": {"ideal": WIDTH}}}),
    }
    with gr.Column(elem_id="line-camera", elem_classes="altub-card"):
        gr.HTML(f'<h3>Camera</h3><p class="hint">{ABOUT}</p>')
        kinds = [("One shot", ONE), ("Continuous", MANY)]
        kind = gr.Radio(kinds, value=ONE, label="Pictures", elem_id="line-camera-kind")
        with gr.Row(elem_id="line-camera-row", equal_height=False):
            with gr.Column(min_width=280):
                one = gr.Image(label="Camera", elem_id="line-camera-one", **options)
                many = gr.Image(
                    label="Camera, continuous", streaming=True, visible=False, elem_id="line-camera-many", **options
                )
                # Not a subclass: Gradio writes a file beside the module of every subclass of a component.
                many.preprocess = frame_bytes
            shown = gr.HTML(EMPTY, min_height=200, elem_id="line-camera-shown")
    kind.input(on.choose, kind, [one, many], **QUIET)
    outputs = [shown, last]
    one.input(on.shoot, [one, drift.run, last], outputs, show_progress_on=shown, api_visibility="private")
    many.stream(
        on.stream,
        [many, drift.run, last],
        outputs,
        stream_every=EVERY,
        time_limit=None,
        concurrency_limit=AT_ONCE,
        concurrency_id="camera",
        show_progress="hidden",
        api_visibility="private",
    )
