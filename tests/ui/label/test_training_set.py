"""From labels to the form of Train, without a browser."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from altub.ui.label.desk import LabelDesk
from altub.ui.label.handlers import LabelHandlers
from altub.ui.services import Services
from altub.ui.train.data_handlers import DataHandlers
from altub.ui.train.data_source import OWN, find_category
from altub.ui.train.form_memory import place_of

FIELDS = ("weave-run", "unlabelled", "anomalous", "line 3", "")


@pytest.fixture
def on(services: Services, desk: LabelDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabelHandlers:
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    for image in services.labels.images.all():
        verdict = "defect" if image.name.startswith("blot") else "good"
        services.labels.labels.add(image.sha256, "Ann", verdict)
    return LabelHandlers(services, desk, is_local=True)


def test_labels_become_the_images_of_the_next_training(on: LabelHandlers, services: Services, trained_run) -> None:
    value = {"token": on.desk.enter("Ann")}
    name = on.make_set(True, 0, value, *FIELDS)
    source, category, view, *_ = DataHandlers(services, is_local=True).choose_set(name)
    assert source == OWN and category["value"] in [choice for _, choice in category["choices"]]
    # 12 good images of the training and 4 labelled ones, a fifth of them to test on, with the 4 labelled defects.
    loaded = find_category(OWN, category["value"]).load()
    assert (len(loaded.train), len(loaded.test)) == (13, 3 + 4) and "13 for training" in view
    choice = find_category(OWN, category["value"])
    config = trained_run.config.model_copy(update={"data": choice.data, "category": choice.category})
    assert place_of(config, False) == (OWN, "", category["value"])

    alone = on.make_set(False, 0, value, *FIELDS)
    assert len(find_category(OWN, f"labelled:{alone}").load().train) == 3


def test_nobody_without_a_name_and_nothing_without_its_images(on: LabelHandlers, trained_run) -> None:
    with pytest.raises(gr.Error, match="restarted"):
        on.make_set(True, 0, {}, *FIELDS)
    run = on.services.watch.root / "weave-run" / "config.json"
    run.write_text(run.read_text().replace(trained_run.config.data, "/nowhere"))
    with pytest.raises(gr.Error, match="not on this machine"):
        on.make_set(True, 0, {"token": on.desk.enter("Ann")}, *FIELDS)
