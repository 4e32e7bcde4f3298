"""The public API of the page: three endpoints for programs, called with `gradio_client`.

    from gradio_client import Client, handle_file

    client = Client("http://127.0.0.1:7860")
    client.predict(api_name="/runs")
    overlay, anomaly_map, report = client.predict(
        handle_file("part.png"), "latest", "bottle", api_name="/inspect"
    )

`/runs` lists what can be used as `run`; "latest" is the newest finished run of this machine, of the category if one is
given. `/inspect` returns

* overlay: path of a PNG, the image at its own size with the heatmap over it and a line around the defects; one of
  more than 25 million pixels is scaled down to 8 million,
* anomaly_map: path of a float32 TIFF of the same size as the overlay, higher is more anomalous,
* report: verdict ("defect" or "good"), kind (the same, or "borderline" or "not comparable", with its reasons),
  anomaly_score (0: as a typical good part, 1: as the most unusual one known), the raw score with score_name and
  score_unit, p_value (estimated share of good images that score at least as high), marked_area (share of pixels that
  are outlined), threshold (anomaly_value and anomaly_pixel_value in units of anomaly scores and pixels, the raw value
  and pixel_value, origin, band, promise, warning) and model (run, category, backbone, epoch, weights_sha256,
  compares_images).

`/predict` takes the same and returns, as in version 0.1.0, overlay, anomaly_map, score, p_value and verdict.

Nothing else of the page is meant for programs.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from altub.data import opened
from altub.errors import ImageError
from altub.inference.exports import PredictionWriter
from altub.inference.model_cache import ModelCache
from altub.inference.threshold import DEFAULT_FALSE_ALARM_RATE
from altub.ui.errors import show_errors
from altub.ui.inspect.views import score_meaning
from altub.ui.offers import LATEST, find_model, list_offers
from altub.ui.server.temporary import API_FOLDER

__all__ = ["Answer", "build", "inspect_image", "runs"]

CONCURRENCY = 20  # requests at a time, of the forty threads that Gradio has


def runs() -> list[dict[str, Any]]:
    """Runs with a model, newest first: id (for /predict), category, backbone, state, epoch, epochs, created, metrics.

    metrics are those of the test set after `epoch`, empty where it has none; created is in seconds since 1970.
    """
    return [
        {
            "id": offer.id,
            "category": offer.category,
            "backbone": offer.backbone,
            "state": offer.state,
            "epoch": offer.epoch,
            "epochs": offer.epochs,
            "created": offer.created,
            "metrics": offer.metrics.measured(),
        }
        for offer in list_offers()
    ]


@dataclass(frozen=True)
class Answer:
    """What the page says about one image: paths of a PNG and of a float32 TIFF, and the report described above."""

    overlay: str
    anomaly_map: str
    report: dict[str, Any]


def inspect_image(models: ModelCache, image: str | None, run: str, category: str = "") -> Answer:
    """Finds defects in one image.

    Args:
        models: the loaded models.
        image: a file; Gradio has checked that it was uploaded.
        run: id of a run, or "latest" for the newest one that is finished.
        category: that the model must be for; empty takes any.

    Raises:
        AltUBError: there is no such run, or the file is not an image.
    """
    if not image:
        raise ImageError("There is no image: give one file.")
    chosen = find_model(run or LATEST, category=category or "")
    loaded = models.get(chosen.model_dir)
    detector = loaded.detector
    threshold = detector.threshold
    folder = Path(get_upload_folder()) / API_FOLDER / secrets.token_urlsafe(16)
    writer = PredictionWriter(folder, detector.require_calibration(), threshold, reduce_large=True, masks=False)
    try:
        with opened(image, pixel_range=detector.config.pixel_range) as photo:
            prediction = detector.predict(photo)
            row = writer.add(Path(image).name, photo, prediction)
    except BaseException:  # nobody is told of these files
        shutil.rmtree(folder, ignore_errors=True)
        raise
    report = {
        "verdict": "defect" if row["is_anomalous"] else "good",
        "kind": row["verdict"],
        "reasons": list(prediction.reasons),
        "anomaly_score": row["anomaly_score"],
        "score": prediction.score,
        "score_name": score_meaning(detector.config.score_share),
        "score_unit": detector.config.score_unit,
        "p_value": prediction.p_value,
        "marked_area": float(row["anomalous_area"]),
        "threshold": {
            "anomaly_value": row["anomaly_threshold"],
            "anomaly_pixel_value": row["anomaly_pixel_threshold"],
            **threshold.to_dict(),
            "promise": threshold.origin.promise,
            "warning": threshold.warning,
        },
        "model": {
            "run": chosen.id,
            "category": detector.info.category,
            "backbone": detector.config.backbone,
            "epoch": detector.info.epoch,
            "weights_sha256": loaded.weights_sha256,
            "compares_images": detector.comparability is not None,
        },
    }
    return Answer(str(writer.folder / row["overlay"]), str(writer.folder / row["map"]), report)


def build(models: ModelCache) -> None:
    """Adds the public endpoints; call it once inside `with gr.Blocks()`, outside the tabs."""

    @show_errors("Inspection failed")
    def inspect(image: str | None, run: str, category: str) -> tuple[str, str, dict[str, Any]]:
        answer = inspect_image(models, image, run, category)
        return answer.overlay, answer.anomaly_map, answer.report

    @show_errors("Prediction failed")
    def predict(image: str | None, run: str, category: str) -> tuple[str, str, float, float, str]:
        answer = inspect_image(models, image, run, category)
        said = answer.report
        return answer.overlay, answer.anomaly_map, said["score"], said["p_value"], said["verdict"]

    gr.api(runs, api_name="runs", concurrency_limit=None)
    # Components, not `gr.api`: they refuse files that were not uploaded, and know how to hand out files.
    with gr.Column(visible=False):
        inputs = [gr.File(label="image"), gr.Textbox(LATEST, label="run"), gr.Textbox("", label="category")]
        files = [gr.Image(label="overlay", type="filepath"), gr.File(label="anomaly_map")]
        numbers = [gr.Number(label="score"), gr.Number(label="p_value"), gr.Textbox(label="verdict")]
        # Not few at a time: one that waits for room to decode (`altub.data.images.budget`) must not keep the others
        # waiting.
        together: dict[str, Any] = {"concurrency_limit": CONCURRENCY, "concurrency_id": "inspect"}
        gr.Button().click(
            inspect,
            inputs,
            [*files, gr.JSON(label="report")],
            api_name="inspect",
            api_description="Finds defects in one image: overlay (PNG), anomaly map (float32 TIFF), and a report with "
            "the verdict, the score, the threshold with its origin, and the model.",
            **together,
        )
        gr.Button().click(
            predict,
            inputs,
            [*files, *numbers],
            api_name="predict",
            api_description="Finds defects in one image: overlay (PNG), anomaly map (float32 TIFF), score, p-value and "
            f'verdict ("defect" or "good" at a false-alarm rate of {DEFAULT_FALSE_ALARM_RATE:.0%}).',
            **together,
        )
