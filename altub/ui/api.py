"""The public API of the page: two endpoints for programs, called with `gradio_client`.

    from gradio_client import Client, handle_file

    client = Client("http://127.0.0.1:7860")
    client.predict(api_name="/runs")
    overlay, anomaly_map, score, p_value, verdict = client.predict(
        handle_file("part.png"), "latest", api_name="/predict"
    )

`/runs` lists what can be used as `run`. `/predict` returns

* overlay: path of a PNG, the image at its own size with the heatmap over it and a line around the defects; one of
  more than 25 million pixels is scaled down to 8 million,
* anomaly_map: path of a float32 TIFF of the same size as the overlay, higher is more anomalous,
* score: mean of the highest 1 % of the map before smoothing,
* p_value: estimated share of good images that score at least as high,
* verdict: "defect" or "good", at the model's own threshold (the default false-alarm rate).

Nothing else of the page is meant for programs.
"""

from __future__ import annotations

import secrets
import shutil
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
from altub.ui.offers import LATEST, find_model, list_offers
from altub.ui.server.temporary import API_FOLDER

__all__ = ["build", "predict_image", "runs"]

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


def predict_image(models: ModelCache, image: str | None, run: str) -> tuple[str, str, float, float, str]:
    """Finds defects in one image.

    Args:
        models: the loaded models.
        image: a file; Gradio has checked that it was uploaded.
        run: id of a run, or "latest" for the newest one that has a model.

    Returns:
        Overlay (PNG), anomaly map (float32 TIFF), score, p-value and verdict ("defect" or "good").

    Raises:
        AltUBError: there is no such run, or the file is not an image.
    """
    if not image:
        raise ImageError("There is no image: give one file.")
    detector = models.get(find_model(run or LATEST).model_dir).detector
    folder = Path(get_upload_folder()) / API_FOLDER / secrets.token_urlsafe(16)
    writer = PredictionWriter(
        folder, detector.require_calibration(), detector.threshold, reduce_large=True, masks=False
    )
    try:
        with opened(image, pixel_range=detector.config.pixel_range) as photo:
            prediction = detector.predict(photo)
            row = writer.add(Path(image).name, photo, prediction)
    except BaseException:  # nobody is told of these files
        shutil.rmtree(folder, ignore_errors=True)
        raise
    verdict = "defect" if row["is_anomalous"] else "good"
    return (
        str(writer.folder / row["overlay"]),
        str(writer.folder / row["map"]),
        prediction.score,
        prediction.p_value,
        verdict,
    )


def build(models: ModelCache) -> None:
    """Adds the public endpoints; call it once inside `with gr.Blocks()`, outside the tabs."""

    @show_errors("Prediction failed")
    def predict(image: str | None, run: str) -> tuple[str, str, float, float, str]:
        return predict_image(models, image, run)

    gr.api(runs, api_name="runs", concurrency_limit=None)
    # Components, not `gr.api`: they refuse files that were not uploaded, and know how to hand out files.
    with gr.Column(visible=False):
        image = gr.File(label="image")
        run = gr.Textbox(LATEST, label="run")
        outputs = [
            gr.Image(label="overlay", type="filepath"),
            gr.File(label="anomaly_map"),
            gr.Number(label="score"),
            gr.Number(label="p_value"),
            gr.Textbox(label="verdict"),
        ]
        gr.Button().click(
            predict,
            [image, run],
            outputs,
            api_name="predict",
            api_description="Finds defects in one image: overlay (PNG), anomaly map (float32 TIFF), score, p-value and "
            f'verdict ("defect" or "good" at a false-alarm rate of {DEFAULT_FALSE_ALARM_RATE:.0%}).',
            # Not few: one that waits for room to decode (`altub.data.images.budget`) must not keep the others waiting.
            concurrency_limit=CONCURRENCY,
        )
