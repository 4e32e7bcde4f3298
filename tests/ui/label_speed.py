"""How fast the Label tab answers with many images, as a table: `python -m tests.ui.label_speed [--images 5000]`.

A store is filled with small images, what a model says of each, and labels of four in ten; then everything that the page
asks its server for is asked and timed, in the process of the server (what the network and the browser add is in
`python -m tests.ui.page_speed`). Times depend on the machine and on what else it does: compare numbers of one run.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from altub.inference.model_cache import ModelCache
from altub.labels.queue import ORDERS
from altub.runs.run import Run
from altub.training.config import make_config
from altub.training.loop import train
from altub.ui.label.choice import ALL_SOURCES, load_model
from altub.ui.label.desk import LabelDesk
from altub.ui.label.insight import Goal, insight_html
from altub.ui.services import Services
from tests.conftest import write_category

SIDE, REPEATS, TARGET = 64, 20, 300  # pixels; answers; milliseconds
LABELLED = 0.4  # share of the images
GOALS = (
    ("of the model's own", ("own", 95, 5, 0, 90)),
    ("by a promised recall", ("recall", 90, 5, 0, 90)),
    ("by promised false alarms", ("false-alarm-rate", 90, 10, 0, 90)),
    ("of least cost", ("cost", 95, 5, 7, 90)),
)


def fill(services: Services, run: Run, count: int) -> None:
    """Images, proposals and labels; one image in ten is defective."""
    random = np.random.default_rng(0)
    model = load_model(services.models, run.id)
    store, low = services.labels, np.zeros((16, 16), np.float32)
    for index in range(count):
        file = io.BytesIO()
        Image.fromarray(random.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(file, "PNG")
        image = store.images.add(file.getvalue(), name=f"part-{index:05d}.png", source="line 3")
        defective = index % 10 == 0
        score = model.threshold.value + float(random.normal(0.5 if defective else -1.0, 0.5))
        p_value = float(random.uniform(0.01, 0.06) if defective else random.uniform())
        store.proposals.add(image.sha256, model.sha256, score, p_value, low + score)
        if random.uniform() < LABELLED:
            store.labels.add(image.sha256, "Ann", "defect" if defective else "good")


def timed(function: Callable[[], Any]) -> list[float]:
    """Milliseconds of each repeat; the first one, which fills caches, among them."""
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        found.append(1000 * (time.perf_counter() - began))
    return found


def measure(services: Services, run: Run) -> dict[str, list[float]]:
    """What the page asks for -> milliseconds of each repeat."""
    desk, ben = LabelDesk(services), {}
    functions = {function.__name__: function for function in desk.functions()}
    token = desk.enter("Ben")

    def ask(name: str, show: str = "unlabelled", order: str = "nearest", **request: Any) -> dict[str, Any]:
        view = {"run": run.id, "show": show, "order": order, "source": ALL_SOURCES, "type": ""}
        answer = functions[name]({"token": token, "view": view, **request})
        assert "error" not in answer, answer
        return answer

    def verdict() -> None:
        item = ask("next_image", have=[])["item"]
        ben["image"], ben["showing"] = item["image"], item["showing"]

    def label() -> None:
        began = time.perf_counter()
        ask("save_label", image=ben["image"], verdict="good", showing=ben["showing"])
        saved.append(1000 * (time.perf_counter() - began))

    times: dict[str, list[float]] = {}
    saved: list[float] = []
    for order in ORDERS:
        found = []
        for _ in range(REPEATS):
            began = time.perf_counter()
            item = ask("next_image", order=order, have=[])["item"]
            found.append(1000 * (time.perf_counter() - began))
            ben.update(image=item["image"], showing=item["showing"])
            label()  # the next draw is of another image
        times[f"next image, order “{order}”"] = found
    times["a verdict, on the disk"] = saved
    times["a verdict taken back"] = timed(lambda: ask("undo_label"))
    for show in ("good", "defect", "disagreement", "all"):
        times[f"list “{show}”"] = timed(lambda show=show: ask("list_images", show=show, offset=0))
    times["list “all”, its end"] = timed(
        lambda: ask("list_images", show="all", offset=len(services.labels.images) - 20)
    )
    image = services.labels.images.all()[0].sha256
    times["an image of a list"] = timed(lambda: ask("open_image", image=image))
    model = load_model(services.models, run.id)
    for name, goal in GOALS:
        view = timed(lambda goal=goal: insight_html(services.labels, model, None, Goal.of(*goal)))
        times[f"what the labels say, threshold {name}"] = view
    return times


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description="Times of the Label tab's answers.")
    parser.add_argument("--images", type=int, default=5000)
    images = parser.parse_args().images
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, place in (("ALTUB_DATA", "data"), ("ALTUB_RUNS", "runs"), ("ALTUB_DB", "labels.db")):
            os.environ[name] = str(root / place)
        os.environ["GRADIO_TEMP_DIR"] = str(root / "temporary")
        write_category(root / "data" / "weave", good=12, tested=4)
        config = make_config(
            data=str(root / "data"), category="weave", backbone="filter-bank", image_size=64, epochs=1, device="cpu"
        )
        run = Run.create(root / "runs" / "weave", config)
        for _ in train(run):
            pass
        services = Services(models=ModelCache(device="cpu"))
        began = time.perf_counter()
        fill(services, run, images)
        print(f"{images} images stored, scored and partly labelled in {time.perf_counter() - began:.0f} s\n")
        print(
            f"| {images} images: answer of the server | median | slowest of {REPEATS} | target |\n|---|---:|---:|---:|"
        )
        for what, found in measure(services, run).items():
            print(f"| {what} | {statistics.median(found):.0f} ms | {max(found):.0f} ms | {TARGET} ms |", flush=True)


if __name__ == "__main__":
    main()
