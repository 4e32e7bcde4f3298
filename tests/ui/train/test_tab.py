"""The Train tab without a browser: charts, uploads, sources, settings, and what is told about a run."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from altub.errors import AltUBError, ConfigError, DataError
from altub.metrics import Metrics
from altub.runs.run import Run
from altub.training.config import PRESETS, TrainingConfig, make_config
from altub.training.records import BaseDrift, EpochPhase, EpochRecord, Quantiles
from altub.training.schedule import VARIANTS
from altub.ui.background import BackgroundTask
from altub.ui.html.charts import Area, Line, empty_chart, line_chart, nice_ticks, thin_out
from altub.ui.train import settings_form
from altub.ui.train.curves import base_epochs, drift_charts, loss_chart, metric_chart, metric_tiles
from altub.ui.train.data_source import MVTEC, OWN, SAMPLE, category_choices, find_category, preview
from altub.ui.train.heatmaps import example_cards, kept_epochs
from altub.ui.train.settings_form import BASE, FIELDS, config_from, schedule_strip, values_of
from altub.ui.train.status import duration, status_card
from altub.ui.train.uploads import list_uploads, safe_name, store_upload, upload_folder
from altub.ui.watch import RunWatch, describe_view
from tests.conftest import write_category


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ALTUB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def event(epoch: int, phase: EpochPhase = "flow", loss: float | None = 1.0, test: Metrics | None = None) -> EpochRecord:
    quantiles = Quantiles(q05=0.01, q25=0.02, q50=0.03, q75=0.04, q95=0.05)
    return EpochRecord(
        epoch=epoch,
        phase=phase,
        loss=loss,
        held_out=1.25,
        base=[BaseDrift(mean=quantiles, std=quantiles)] * 2,
        test=test,
        images_per_second=12.0,
    )


def polylines(html: str) -> list[list[tuple[float, float]]]:
    found = re.findall(r'<polyline points="([^"]*)"', html)
    return [[tuple(map(float, point.split(","))) for point in points.split()] for points in found]


# Charts.


def test_a_line_falls_where_values_fall() -> None:
    (line,) = polylines(line_chart("t", [Line("a", "red", [(1, 3.0), (2, 2.0), (3, 1.0)])]))
    xs, ys = zip(*line, strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys)  # SVG counts downwards
    assert all(0 <= y <= 1000 for y in ys)


def test_a_missing_value_leaves_a_gap() -> None:
    html = line_chart("t", [Line("a", "red", [(1, 1.0), (2, 2.0), (3, None), (4, 3.0), (5, 4.0)])])
    assert [len(line) for line in polylines(html)] == [2, 2]


def test_not_a_number_is_no_point() -> None:
    html = line_chart("t", [Line("a", "red", [(1, 1.0), (2, float("nan")), (3, float("inf"))])])
    assert polylines(html) == []
    assert "nan" not in html and "inf" not in html


def test_a_chart_without_values_says_so() -> None:
    html = line_chart("Losses", [Line("a", "red", [(1, None)])])
    assert "first epoch" in html
    assert "<svg" not in html


def test_the_legend_shows_the_latest_value() -> None:
    html = line_chart("t", [Line("a", "red", [(1, 9.0), (2, 1.2345), (3, None)])], digits=2)
    assert "<b>1.23</b>" in html.split("plot")[0]


def test_names_cannot_bring_markup() -> None:
    evil = "<img src=x onerror=alert(1)>"
    html = line_chart(evil, [Line(evil, "red", [(1, 1.0), (2, 2.0)])], note=evil, span_name=evil, spans=[1])
    assert evil not in html
    assert evil not in empty_chart(evil, evil)


def test_an_area_lies_between_its_values() -> None:
    html = line_chart(
        "t", [Line("m", "red", [(1, 2.0), (2, 2.0)])], areas=[Area("q", "red", [(1, 1.0, 3.0), (2, 1.0, 3.0)])]
    )
    (line,) = polylines(html)
    corners = [tuple(map(float, p.split(","))) for p in re.search(r'<polygon points="([^"]*)"', html)[1].split()]
    assert max(y for _, y in corners) > line[0][1] > min(y for _, y in corners)


def test_a_robust_axis_lets_the_first_epochs_run_out_of_the_picture() -> None:
    points = [(1, 100.0), *((k, 1.0 - k / 100) for k in range(2, 40))]
    plain, robust = (polylines(line_chart("t", [Line("a", "red", points)], robust=r))[0] for r in (False, True))
    spread = [max(y for _, y in line[5:]) - min(y for _, y in line[5:]) for line in (plain, robust)]
    assert spread[1] > 20 * spread[0]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 0.4), (0.9701, 0.9772), (120, 9000)])
def test_ticks_are_few_ascending_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert ticks == sorted(set(ticks))
    assert low <= ticks[0] and ticks[-1] <= high


def test_thinning_keeps_both_ends() -> None:
    points = [(k, float(k)) for k in range(5003)]
    kept = thin_out(points, 400)
    assert len(kept) <= 401
    assert kept[0] == points[0] and kept[-1] == points[-1]
    assert thin_out(points[:5], 400) == points[:5]


# Curves.


def test_base_turns_are_shaded() -> None:
    events = [event(k, "base" if k % 5 == 0 else "flow") for k in range(1, 13)]
    assert base_epochs(events) == [5, 10]
    assert loss_chart(events).count("<rect") == 2


def test_an_epoch_of_moments_has_no_training_loss() -> None:
    events = [event(1), event(2), event(3, "base", loss=None), event(4), event(5)]
    training, _, held_out = polylines(loss_chart(events))
    assert (len(training), len(held_out)) == (2, 5)


def test_metrics_without_masks() -> None:
    test = Metrics(image_auroc=0.9)
    html = metric_chart([event(1, test=test), event(2, test=test)])
    assert "Image AUROC" in html and "Pixel AUROC" not in html
    assert "needs masks" in metric_tiles(event(2, test=test), event(2, test=test))


def test_no_labelled_images() -> None:
    assert "No labelled test images" in metric_chart([event(1), event(2)])
    assert metric_tiles(None, None) == ""


def test_best_is_called_what_it_is() -> None:
    last = Metrics(image_auroc=0.8, pixel_auroc=0.7, aupro=0.6, f1_max=0.5)
    html = metric_tiles(event(9, test=last), event(4, test=last.model_copy(update={"pixel_auroc": 0.75})))
    assert "<b>0.700</b><small>best 0.750, epoch 4</small>" in html
    assert "chosen on the test set" in html


def test_drift_begins_at_the_standard_normal() -> None:
    html = drift_charts([event(1), event(2)], 1, "gradient")
    lines = polylines(html)
    assert len(lines) == 2
    assert all(len(line) == 3 and line[0][1] > line[1][1] for line in lines)


def test_drift_of_a_base_that_is_off() -> None:
    assert "its update is off" in drift_charts([event(1)], 0, "off")


def test_drift_of_a_head_that_is_not_there() -> None:
    assert polylines(drift_charts([event(1), event(2)], 7, "gradient")) == []


# Settings.


@pytest.mark.parametrize("preset", PRESETS)
def test_the_form_gives_back_what_a_preset_says(preset: str) -> None:
    config = make_config(preset, data="d", category="c")
    assert config_from("d", "c", preset, *values_of(config).values()) == config


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_form_gives_back_every_variant(variant: str) -> None:
    values = values_of(make_config("quick-look", category="c"))
    for name in BASE:
        value = VARIANTS[variant][name]
        values[f"base.{name}"] = settings_form.AUTO_LR if value is None else value
    config = config_from("d", "c", "quick-look", *values.values())
    for name in BASE:
        assert getattr(config.base, name) == VARIANTS[variant][name]


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("image_size", 8, "image_size"),
        ("epochs", 0, "epochs"),
        ("batch_size", -1, "batch_size"),
        ("stages", "3,1", "ascending"),
        ("stages", "one", "stages"),
        ("device", "tpu", "device"),
        ("held_out", 0.9, "held_out"),
        ("base.interval", 0, "interval"),
        ("base.base_update", "magic", "base_update"),
        ("augment", ["shear"], "augment"),
    ],
)
def test_a_wrong_field_is_named_in_a_sentence(field: str, value: Any, word: str) -> None:
    values = values_of(make_config("quick-look", category="c")) | {field: value}
    with pytest.raises(ConfigError, match=word):
        config_from("d", "c", "quick-look", *values.values())


def test_an_empty_field_means_the_presets_value() -> None:
    empty = values_of(make_config("fastflow-resnet18", category="c")) | {"epochs": None, "backbone": " "}
    config = config_from("d", "c", "fastflow-resnet18", *empty.values())
    assert (config.epochs, config.backbone) == (500, "resnet18.tv_in1k")


def test_too_few_fields_are_refused() -> None:
    with pytest.raises(ConfigError, match="reload"):
        config_from("d", "c", "quick-look", 1)


def test_fields_of_the_other_flow_are_left_out() -> None:
    """What was typed for FastFlow must not stop a CFLOW training, nor the other way round."""
    values = values_of(make_config("quick-look", category="x"))
    values.update({"flow.kind": "fastflow", "flow.loss": "logsigmoid", "flow.permutation": "soft"})
    assert config_from("d", "c", "quick-look", *values.values()).flow.loss == "nll"
    values.update({"flow.kind": "cflow", "flow.fibres": 512})
    flow = config_from("d", "c", "quick-look", *values.values()).flow
    assert (flow.kind, flow.loss, flow.permutation, flow.fibres) == ("cflow", "logsigmoid", "soft", 512)
    assert (flow.hidden_ratio, flow.clamp) == (2.0, 1.9), "the architecture is CFLOW's, not the preset's"


def test_the_picture_of_the_alternation() -> None:
    strict = make_config(category="c", epochs=10, base={"interval": 5, "joint": False})
    kinds = re.findall(r'<i class="([a-z ]+)"', schedule_strip(strict))
    assert kinds == ["flow"] * 4 + ["base"] + ["flow"] * 4 + ["base"]
    warm = make_config(category="c", epochs=6, base={"interval": 5, "warmup": 2})
    kinds = re.findall(r'<i class="([a-z ]+)"', schedule_strip(warm))
    assert kinds == ["flow", "flow", "flow joint", "flow joint", "base", "flow joint"]
    assert "N(0, I)" in schedule_strip(make_config(category="c", base={"base_update": "off"}))
    assert "no base epoch" in schedule_strip(make_config(category="c", epochs=3))


def test_fields_cover_every_setting_of_the_schedule() -> None:
    names = {name.removeprefix("base.") for name in FIELDS if name.startswith("base.")}
    assert names == set(TrainingConfig(category="c").base.model_dump()) - {"lr_factor"}


# Uploads.


def picture(path: Path, value: int = 128) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), value, np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", ["../../etc", "..", ".hidden", "a/b", "a\\b", "/abs", "x" * 300, "nul\0l", "Füße 3"])
def test_no_name_leads_out_of_the_uploads(name: str, data: Path, tmp_path: Path) -> None:
    safe = safe_name(name)
    assert not re.search(r"[/\\.\0]", safe) and len(safe) <= 40
    if safe:
        stored = store_upload(name, [picture(tmp_path / "a.png")])
        assert upload_folder(stored.name).parent == data / "uploads"


@pytest.mark.parametrize("name", ["", "...", "/", "__"])
def test_a_name_must_have_something_in_it(name: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name"):
        store_upload(name, [picture(tmp_path / "a.png")])


def test_originals_are_kept_byte_by_byte(data: Path, tmp_path: Path) -> None:
    good = [picture(tmp_path / f"{k}.png", k) for k in range(3)]
    store_upload("lids", good, [picture(tmp_path / "bad one.PNG", 200)])
    stored = sorted((data / "uploads/lids/good").iterdir())
    assert [path.read_bytes() for path in stored] == [path.read_bytes() for path in good]
    assert [path.name for path in (data / "uploads/lids/defect").iterdir()] == ["bad-one.png"]
    category = find_category(OWN, "upload:lids").load()
    assert len(category.defective) == 1


def test_what_is_no_image_is_named_and_the_rest_is_kept(data: Path, tmp_path: Path) -> None:
    text, pretender = tmp_path / "notes.txt", tmp_path / "broken.png"
    text.write_text("hello")
    pretender.write_bytes(b"not a png")
    stored = store_upload("lids", [text, picture(tmp_path / "a.png"), pretender])
    assert stored.good == 1
    assert "notes.txt" in stored.summary and "broken.png" in stored.summary


def test_only_rubbish_stores_nothing(data: Path, tmp_path: Path) -> None:
    pretender = tmp_path / "broken.png"
    pretender.write_bytes(b"not a png")
    with pytest.raises(DataError, match=r"broken\.png"):
        store_upload("lids", [pretender])
    assert list_uploads() == []


def test_adding_to_a_set_keeps_names_apart_and_counts_doubles(data: Path, tmp_path: Path) -> None:
    store_upload("lids", [picture(tmp_path / "one/a.png", 1)])
    stored = store_upload("lids", [picture(tmp_path / "two/a.png", 2), picture(tmp_path / "three/a.png", 1)])
    assert (stored.good, stored.known) == (1, 1)
    assert sorted(path.name for path in (data / "uploads/lids/good").iterdir()) == ["a-2.png", "a.png"]


def test_a_file_name_cannot_hide_or_escape(data: Path, tmp_path: Path) -> None:
    store_upload("lids", [picture(tmp_path / "..hidden;rm -rf.png")])
    (path,) = (data / "uploads/lids/good").iterdir()
    assert re.fullmatch(r"[\w\-]+\.png", path.name)


def test_a_full_disk_leaves_nothing_half(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(AltUBError, match="full"):
        store_upload("lids", [picture(tmp_path / "a.png")])
    assert list((data / "uploads/lids/good").iterdir()) == []


# Sources.


def test_mvtec_is_found_in_both_places(data: Path) -> None:
    assert category_choices(MVTEC) == []
    write_category(data / "mvtec/screw")
    write_category(data / "bottle")
    assert [value for _, value in category_choices(MVTEC)] == ["bottle", "screw"]
    assert find_category(MVTEC, "screw").data == str(data / "mvtec")
    assert find_category(MVTEC, "bottle").data == str(data)


def test_folders_are_named_only_where_that_is_allowed(data: Path, tmp_path: Path) -> None:
    write_category(tmp_path / "parts/weave")
    folder = str(tmp_path / "parts")
    assert category_choices(OWN, folder, True) == [("weave", "folder:weave")]
    choice = find_category(OWN, "folder:weave", folder, True)
    assert (choice.data, choice.category) == (folder, "weave")
    with pytest.raises(ConfigError, match="own machine"):
        category_choices(OWN, folder, False)
    with pytest.raises(ConfigError, match="own machine"):
        find_category(OWN, "folder:weave", folder, False)


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (SAMPLE, "../bottle"),
        (SAMPLE, None),
        (MVTEC, "uploads"),
        (OWN, "upload:../.."),
        (OWN, 3),
        ("?", "x"),
        (OWN, ["upload:a"]),
    ],
)
def test_what_is_not_offered_is_refused(source: str, value: Any, data: Path) -> None:
    with pytest.raises(AltUBError):
        find_category(source, value, "", True)


def test_preview_counts_and_survives_a_broken_file(data: Path) -> None:
    folder = write_category(data / "bottle", good=9, tested=3)
    (folder / "train/good/000.png").write_bytes(b"broken")
    html = preview(find_category(MVTEC, "bottle").load())
    assert "9 to learn from" in html and "3 to test on, with 3 more good ones" in html
    assert html.count("cannot be read") == 1
    assert html.count("data:image/webp") == 8
    assert str(data) not in html


# Runs.


def test_watch_reads_again_only_what_changed(small_config: TrainingConfig, tmp_path: Path) -> None:
    watch, run = RunWatch(tmp_path), Run.create(tmp_path / "weave-1", small_config)
    assert watch.view("weave-1").state == "queued"
    assert watch.events(run) == []
    run.append_event(event(1))
    first = watch.events(run)
    assert [row.epoch for row in first] == [1]
    assert watch.events(run) is first
    run.append_event(event(2))
    assert [row.epoch for row in watch.events(run)] == [1, 2]


def test_watch_notices_a_dead_trainer(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "weave-1", small_config)
    status = run.read_status()
    status.state, status.pid = "running", 2**22 + 1
    run.write_status(status)
    assert RunWatch(tmp_path).view("weave-1").state == "interrupted"


@pytest.mark.parametrize("run_id", ["..", "../x", "/etc", "", None, "nobody"])
def test_no_run_of_this_id(run_id: str | None, tmp_path: Path) -> None:
    assert RunWatch(tmp_path).view(run_id) is None


def test_which_run_is_shown_first(small_config: TrainingConfig, tmp_path: Path) -> None:
    watch = RunWatch(tmp_path)
    assert watch.choose(None) is None
    for name, state, created in (("old", "finished", 1), ("new", "stopped", 2)):
        run = Run.create(tmp_path / name, small_config)
        status = run.read_status()
        status.state, status.created = state, created
        run.write_status(status)
    watch.forget()
    assert watch.choose(None) == "new"
    assert watch.choose("old") == "old"
    Run.create(tmp_path / "active", small_config)
    watch.forget()
    assert watch.choose("old") == "active"
    assert describe_view(watch.view("active")).startswith("weave · ")


def test_status_card_tells_what_went_wrong_without_markup(small_config: TrainingConfig, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "weave-1", small_config)
    status = run.read_status()
    status.state, status.message, status.notes = "failed", "The disk is full <b>.", ["A & B"]
    run.write_status(status)
    html = status_card(RunWatch(tmp_path).view("weave-1"))
    assert "The disk is full &lt;b&gt;." in html and "A &amp; B" in html
    assert "0 of 4" in html


def test_the_queue_is_told(small_config: TrainingConfig, tmp_path: Path) -> None:
    first = Run.create(tmp_path / "first", small_config)
    with first.lock():
        status = first.read_status()
        status.state, status.pid = "running", os.getpid()
        first.write_status(status)
        Run.create(tmp_path / "second", small_config)
        view = RunWatch(tmp_path).view("second")
        assert view.position == 1
        assert "next in the queue" in status_card(view)


def test_heatmaps_of_a_real_run(trained_run: Run) -> None:
    epochs = kept_epochs(trained_run)
    assert epochs[-1] == 4
    alone, compared = example_cards(trained_run, None), example_cards(trained_run, epochs[0])
    assert "epoch 4" in alone and f"epoch {epochs[0]}<" not in alone
    assert f"epoch {epochs[0]}<" in compared
    assert compared.count("data:image/webp") > alone.count("data:image/webp") > 0
    assert "cannot be read" not in compared
    assert str(trained_run.path) not in compared


def test_heatmaps_before_the_first_epoch(small_config: TrainingConfig, tmp_path: Path) -> None:
    assert "after the first epoch" in example_cards(Run.create(tmp_path / "r", small_config), None)


def test_charts_of_a_real_run(trained_run: Run) -> None:
    events = trained_run.events()
    assert [len(line) for line in polylines(loss_chart(events))] == [4, 4]
    assert len(polylines(metric_chart(events))) == 3
    assert [len(line) for line in polylines(drift_charts(events, 0, "gradient"))] == [5, 5]
    assert "<b>" in metric_tiles(*trained_run.last_and_best())


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 s"), (59.4, "59 s"), (61, "1 min 01 s"), (1800, "30 min"), (7300, "2 h 01 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


# Background work.


def test_one_task_at_a_time_with_its_progress() -> None:
    task, gate = BackgroundTask("Test"), threading.Event()

    def work(report: Any, should_stop: Any) -> str:
        report(0.25, "a quarter")
        gate.wait(10)
        return "all of it"

    assert task.start(work)
    assert not task.start(work)
    while task.fraction is None:
        time.sleep(0.001)
    assert "25" in task.version and task.is_running
    gate.set()
    task.wait(10)
    assert (task.state, task.text) == ("done", "all of it")


def test_a_task_fails_in_words() -> None:
    def known(report: Any, should_stop: Any) -> str:
        raise DataError("The source is dead.")

    def bug(report: Any, should_stop: Any) -> str:
        raise KeyError("secret detail")

    task = BackgroundTask("The download")
    task.start(known)
    task.wait(10)
    assert (task.state, task.text) == ("failed", "The source is dead.")
    task.start(bug)
    task.wait(10)
    assert task.state == "failed" and "secret" not in task.text


def test_a_task_can_be_asked_to_stop() -> None:
    def work(report: Any, should_stop: Any) -> str:
        while not should_stop():
            time.sleep(0.001)
        raise DataError("Stopped.")

    task = BackgroundTask("The download")
    task.start(work)
    task.stop()
    task.wait(10)
    assert task.text == "Stopped."
