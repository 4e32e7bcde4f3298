"""The endpoints `next` and `label`, by which programs take images from the queue and give verdicts.

`/next` returns the next unlabelled image, leased to `who` for five minutes (its file, and a report with the SHA-256
that names it), and `/label` stores a verdict on it:

    file, report = client.predict("ann", "latest", "nearest", "", api_name="/next")
    client.predict(report["image"], "defect", "ann", "scratch", handle_file("mask.png"), report["showing"],
                   api_name="/label")
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from altub.errors import LabelError
from altub.files import explain_full_disk
from altub.labels import Queue
from altub.ui.errors import show_errors
from altub.ui.label.choice import Choice, Model, count_labelled, load_model
from altub.ui.label.items import event_json
from altub.ui.offers import LATEST, find_model
from altub.ui.server.temporary import LABEL_FOLDER
from altub.ui.services import Services

__all__ = ["LabelEndpoints", "build"]

CONCURRENCY = 8  # requests at a time


class LabelEndpoints:
    """The two functions over one page's label store."""

    def __init__(self, services: Services) -> None:
        self.services = services

    @show_errors("No image")
    def next(self, who: str, run: str, order: str, source: str, request: gr.Request) -> tuple[str | None, dict]:
        """The next image of the queue; None and what is left where there is none.

        Args:
            who: name of the person; of a page with a login, its name counts.
            run: id of the run whose scores give the order, "latest", or empty: no model.
            order: nearest, anomalous, newest, diverse or random.
            source: only images from there; empty: all.
        """
        store = self.services.labels
        model = self._model(run)
        choice = Choice(run or "", order=order or "nearest", source=source or None)
        wanted = choice.possible_order(model)
        if order and order != wanted:
            raise LabelError(
                f"The order {order!r} is not possible: use nearest or anomalous with a run, or another one."
            )
        queue = Queue(
            store,
            request.username or who,
            model=model.sha256 if model else None,
            order=wanted,
            threshold=model.threshold.value if model else None,
            source=choice.source,
        )
        showing = queue.next()
        labelled, images = count_labelled(store, choice.source)
        report: dict[str, Any] = {"left": images - labelled}
        if showing is None:
            return None, report | {"image": None}
        image = store.images.get(showing.image)
        report |= {
            "image": image.sha256,
            "name": image.name,
            "source": image.source,
            "width": image.width,
            "height": image.height,
            "showing": showing.id,
            "reason": showing.reason,
            "probability": showing.probability,
            "candidates": showing.candidates,
        }
        proposal = store.proposals.get(image.sha256, model.sha256) if model else None
        if proposal is not None:
            is_defect = model.threshold.is_exceeded_by(proposal.score)
            report |= {
                "proposal": proposal.id,
                "score": proposal.score,
                "p_value": model.calibration.p_value(proposal.score),
                "verdict": "defect" if is_defect else "good",
            }
        return str(self._copy(image.sha256, image.suffix)), report

    @show_errors("Not labelled")
    def label(
        self,
        image: str,
        verdict: str,
        who: str,
        defect_type: str,
        mask: str | None,
        showing: float | None,
        note: str,
        request: gr.Request,
    ) -> dict[str, Any]:
        """Stores a verdict and returns the label.

        Args:
            image: SHA-256.
            verdict: good, defect or unsure.
            who: see `next`.
            defect_type: of a defect.
            mask: an image of the same size, in which every value but 0 means defect; of a defect only.
            showing: of the report of `next`, so that the probability of the choice is known.
            note: free text.
        """
        store = self.services.labels
        label = store.labels.add(
            image or "",
            request.username or who or "",
            verdict,
            defect_type=defect_type or None,
            mask=Path(mask).read_bytes() if mask else None,
            note=note or "",
            showing=None if showing is None else int(showing),
        )
        return event_json(label) | {"image": label.image, "showing": label.showing}

    def _model(self, run: str) -> Model | None:
        if not run:
            return None
        return load_model(self.services.models, find_model(LATEST).id if run == LATEST else run)

    def _copy(self, sha256: str, suffix: str) -> Path:
        """The original bytes where the page serves files from."""
        path = Path(get_upload_folder()) / LABEL_FOLDER / f"{sha256}-original{suffix}"
        if not path.is_file():
            with explain_full_disk(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.services.labels.objects.path(sha256), path)
        return path


def build(services: Services) -> None:
    """Adds the endpoints; call it once inside `with gr.Blocks()`, outside the tabs."""
    on = LabelEndpoints(services)
    together: dict[str, Any] = {"concurrency_limit": CONCURRENCY, "concurrency_id": "label"}
    with gr.Column(visible=False):
        who = gr.Textbox(label="who")
        gr.Button().click(
            on.next,
            [who, gr.Textbox(LATEST, label="run"), gr.Textbox("", label="order"), gr.Textbox("", label="source")],
            [gr.File(label="file"), gr.JSON(label="report")],
            api_name="next",
            api_description="The next unlabelled image of the queue, leased for five minutes, and why it was chosen.",
            **together,
        )
        inputs = [
            gr.Textbox(label="image"),
            gr.Textbox(label="verdict"),
            who,
            gr.Textbox("", label="defect_type"),
            gr.File(label="mask"),
            gr.Number(value=None, label="showing"),
            gr.Textbox("", label="note"),
        ]
        gr.Button().click(
            on.label,
            inputs,
            gr.JSON(label="label"),
            api_name="label",
            api_description="Stores a verdict (good, defect or unsure) on an image that is named by its SHA-256.",
            **together,
        )
