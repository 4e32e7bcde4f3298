"""Handlers of the Inspect tab without a browser."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from altub.errors import ConfigError
from altub.inference.batch import Source
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector
from altub.inference.marked_area import MarkedAreas
from altub.inference.table import VALUE_COLUMNS
from altub.inference.threshold import Threshold
from altub.ui.inspect.histogram import number
from altub.ui.inspect.inspection import (
    add_to_batch,
    choice_at,
    choices_of,
    default_position,
    same_position,
)
from altub.ui.offers import find_model


def test_moving_the_threshold_relabels_the_table_without_the_model(batch, sessions, forward_passes, handlers):
    scores = np.sort([item.score for item in batch.inspected])
    assert len(set(scores)) == 8
    calibration = Calibration(scores, colour_low=-1, colour_high=0)  # whose peaks are the scores
    known = dict(zip(scores.astype(np.float32).tolist(), np.linspace(0.7, 0.0, 8).tolist(), strict=True))
    items = [replace(item, areas=MarkedAreas(-9.0, 9.0, known)) for item in batch.inspected]
    batch = replace(batch, calibration=calibration, items=tuple(items))
    sessions.put("me", batch)

    strict = handlers.relabel("me", 1, 0, 0.5, "inferno", True)
    loose = handlers.relabel("me", 1, 3, 0.5, "inferno", True)
    assert forward_passes == []
    *_, table, _, note = loose
    table = table["rows"]
    assert sum(row["kind"] == "defect" for row in strict[7]["rows"]) == 0
    assert {row["number"] for row in table if row["kind"] == "defect"} == {
        item.number for item in items if item.score > scores[5]
    }
    borderline = {item.number for item in items if scores[3] < item.score <= scores[5]}
    assert {row["number"] for row in table if row["kind"] == "borderline"} == borderline
    assert {row["area"] for row in table} == {30.0} and {row["area"] for row in strict[7]["rows"]} == {0.0}
    assert loose[0] != strict[0] and loose[4] != strict[4]  # the card and the histogram follow
    assert number(calibration.anomaly_score(scores[4])) in note and 'class="warning"' in strict[9]


def test_looks_and_rows_do_not_run_the_model_either(batch, forward_passes, handlers):
    one = handlers.show("me", 1, 0, 0.2, "viridis", False)
    other = handlers.show("me", 1, 0, 0.2, "inferno", False)
    assert one[2]["colours"] != other[2]["colours"] and one[2]["map"] == other[2]["map"]
    number_, *picture = handlers.pick(SimpleNamespace(number=3), "me", 0, 0.2, "viridis", False)
    assert number_ == 3 and batch.item(3).source.name in picture[0]
    assert forward_passes == []


def test_exports_of_the_page(batch, tmp_path, services, handlers):
    (tmp_path / "=1+1.txt").write_text("x")
    batch, _ = add_to_batch(services, "me", batch.run_id, [Source(tmp_path / "=1+1.txt", "=1+1.txt")])
    position = 1  # 40 %
    csv_text = Path(handlers.write_csv("me", position)).read_text(encoding="utf-8")
    lines = csv_text.splitlines()
    assert tuple(lines[0].split(",")) == VALUE_COLUMNS
    of_0_1_0 = "image,score,p_value,is_anomalous,threshold,pixel_threshold,anomalous_area,error"
    assert set(of_0_1_0.split(",")) <= set(VALUE_COLUMNS)
    assert len(lines) == 1 + len(batch.items) and lines[-1].startswith("'=1+1.txt,,,")
    look, quiet = (0.5, "cividis", True), {"progress": lambda *args, **kwargs: None}
    for overlays, maps, masks in (("jpeg", "png", False), ("none", "none", False), ("jpeg", "none", True)):
        path = handlers.write_zip("me", position, overlays, maps, masks, *look, **quiet)
        with zipfile.ZipFile(path) as archive:
            found = {name.split("/")[0] for name in archive.namelist()}
        chosen = {"overlays": overlays != "none", "maps": maps != "none", "masks": masks}
        assert found == {"predictions.csv", *(name for name, wanted in chosen.items() if wanted)}
    for odd in (("gif", "png", True), ("jpeg", "../x", True), (None, "png", True)):
        with pytest.raises(gr.Error, match="cannot be written as"):
            handlers.write_zip("me", position, *odd, *look, **quiet)
    report = Path(handlers.write_report("me", position, *look, **quiet))
    text = report.read_text(encoding="utf-8")
    assert text.count("<figure") == len(batch.inspected) and "=1+1.txt" in text and batch.title in text
    path = handlers.write_zip("me", position, "webp", "tiff", True, *look, **quiet)
    assert not report.exists(), "the earlier export is gone"
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert len(names) == 3 * len(batch.inspected) + 1 and "predictions.csv" in names
    assert not list(batch.folder.glob("export-*/predictions.csv"))  # the earlier export is gone


@pytest.mark.parametrize("position", [-1, 0.5, 99, float("nan"), "5", None])
def test_positions_that_the_slider_does_not_have(batch, position, handlers):
    with pytest.raises(ConfigError):
        choice_at(batch, position)
    with pytest.raises(gr.Error, match="false-alarm"):
        handlers.relabel("me", 1, position, 0.5, "inferno", True)


def test_handlers_refuse_in_words(batch, runs_folder, handlers):
    with pytest.raises(gr.Error, match="colour map"):
        handlers.show("me", 1, 0, 0.5, "jet", True)
    with pytest.raises(gr.Error, match="opacity"):
        handlers.show("me", 1, 0, float("nan"), "inferno", True)
    with pytest.raises(gr.Error, match="drop the images again"):
        handlers.show("nobody", 1, 0, 0.5, "inferno", True)
    for run_id in (None, "", "../..", "missing"):
        with pytest.raises(gr.Error):
            handlers.inspect_again(run_id, "me", 0, 0.5, "inferno", True, progress=lambda *a, **k: None)
    for index in (-1, 99, None, (0, 1)):
        with pytest.raises(gr.Error, match="example"):
            handlers.inspect_example(SimpleNamespace(index=index), batch.run_id, "me", 0, progress=lambda *a, **k: None)


def test_results_that_were_cleaned_away_are_said_to_be(batch, handlers):
    shutil.rmtree(batch.folder)
    with pytest.raises(gr.Error, match="no longer kept"):
        handlers.show("me", 1, 0, 0.5, "inferno", True)


def test_a_threshold_of_the_model_s_own_has_its_place_on_the_slider(batch, sessions, handlers):
    """Between the rates, by its value; it is where the slider starts."""
    scores = batch.calibration.scores
    assert [choice.rate for choice in choices_of(batch)] == [1 / 5, 2 / 5] and default_position(batch) == 0
    same = replace(batch, own_threshold=batch.calibration.threshold(0.4))
    assert choices_of(same) == choices_of(batch) and default_position(same) == 1
    own = Threshold.fixed((scores[-1] + scores[-2]) / 2, 0.0)
    batch = replace(batch, own_threshold=own)
    sessions.put("me", batch)
    assert [choice.rate for choice in choices_of(batch)] == [1 / 5, None, 2 / 5] and default_position(batch) == 1
    *_, slider, note = handlers.relabel("me", 1, 1, 0.5, "inferno", True)
    assert slider.label == "Model's own threshold" and "Set by hand" in note
    assert same_position(batch, None) == 1 and same_position(batch, 0.4) == 2 and same_position(batch, 0.01) == 0


def test_clear_forgets_everything(batch, sessions, handlers):
    handlers.clear("me", batch.run_id)
    assert sessions.get("me") is None and not batch.folder.exists()


def test_the_list_of_runs_is_sent_only_when_it_has_changed(runs_folder, sessions, handlers):
    dropdown, seen, no_model, no_image, left, stale = handlers.refresh(None, None, "")
    assert dropdown.value == next(runs_folder.iterdir()).name and stale == ""
    assert (no_model.visible, no_image.visible, left.visible) == (False, True, True)
    again = handlers.refresh(dropdown.value, seen, "")
    assert all(update == gr.skip() for update in again[:5])
    shutil.rmtree(next(runs_folder.iterdir()))
    dropdown, _, no_model, no_image, left, _ = handlers.refresh(dropdown.value, seen, "")
    assert dropdown.value is None and no_model.visible and not no_image.visible and not left.visible
    assert handlers.refresh(None, None, "")[2].visible  # a page that opens on an empty folder is told so


def test_a_model_that_learned_on_makes_the_batch_stale(batch, runs_folder, handlers):
    assert handlers.refresh(batch.run_id, None, "me")[-1] == ""
    folder = find_model(batch.run_id).model_dir
    detector = AnomalyDetector.load(folder, "cpu")
    detector.pyramid.bases[0].mean.data += 1
    detector.save(folder)
    assert "inspect all again" in handlers.refresh(batch.run_id, None, "me")[-1]


def test_inspected_images_go_to_the_label_store_once(batch, services, handlers, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ALTUB_DB", str(tmp_path / "labels.db"))
    said: list[str] = []
    monkeypatch.setattr(gr, "Info", said.append)
    handlers.send_to_label("me", progress=lambda *_, **__: None)
    assert len(services.labels.images) == 8 and list(services.labels.images.sources()) == [f"Inspect: {batch.title}"]
    handlers.send_to_label("me", progress=lambda *_, **__: None)
    assert len(services.labels.images) == 8 and said == ["8 images added.", "0 images added. 8 were there already."]
    with pytest.raises(gr.Error, match="no longer kept"):
        handlers.send_to_label("nobody")
    monkeypatch.setattr("altub.ui.inspect.handlers.uploads_are_shared", lambda: False)
    with pytest.raises(gr.Error, match="Labels are off"):
        handlers.send_to_label("me")
