"""The Inspect tab without a browser: batches, thresholds, the cache of models, sessions, pieces of HTML."""

from __future__ import annotations

import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from altub.data import load_category
from altub.errors import ConfigError, DataError, ModelError, RunError
from altub.inference.calibration import Calibration
from altub.inference.detector import AnomalyDetector
from altub.runs.run import Run
from altub.ui import model_cache as models_module
from altub.ui.inspect import handlers, views
from altub.ui.inspect.batch import SCREEN_SIDE, Batch, Inspected, Source, Unreadable, for_screen, inspect_images
from altub.ui.inspect.dropped import dropped_sources, shown_name, told_apart
from altub.ui.inspect.examples import SHOWN, choose_examples, examples_of
from altub.ui.inspect.histogram import number, score_histogram_html
from altub.ui.inspect.inspection import (
    DEFAULT_RATE,
    RATES,
    Look,
    add_to_batch,
    neighbour,
    overlay_file,
    rate_at,
    threshold_at,
)
from altub.ui.inspect.sessions import MAX_BATCH, SessionStore
from altub.ui.model_cache import ModelCache, find_model, list_offers


@pytest.fixture
def runs_folder(trained_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs folder of the page, with a copy of the trained run in it."""
    root = tmp_path / "runs"
    shutil.copytree(trained_run.path, root / trained_run.id)
    monkeypatch.setenv("ALTUB_RUNS", str(root))
    return root


@pytest.fixture
def sessions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SessionStore:
    store = SessionStore(tmp_path / "sessions")
    monkeypatch.setattr("altub.ui.inspect.inspection.SESSIONS", store)
    monkeypatch.setattr(handlers, "SESSIONS", store)
    return store


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> ModelCache:
    cache = ModelCache(device="cpu")
    monkeypatch.setattr("altub.ui.inspect.inspection.MODELS", cache)
    return cache


@pytest.fixture
def sources(data_folder: Path) -> list[Source]:
    test = load_category(data_folder, "weave").test
    return [Source(sample.path, f"{sample.defect}/{sample.path.name}") for sample in test]


@pytest.fixture
def batch(runs_folder: Path, sessions: SessionStore, cache: ModelCache, sources: list[Source]) -> Batch:
    """All test images, inspected in the session "me"."""
    return add_to_batch("me", runs_folder_id(runs_folder), sources)[0]


@pytest.fixture
def forward_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one at every pass of the model over some images."""
    passes: list[int] = []
    true_pass = AnomalyDetector.raw_maps

    def counted(self, images, image_size=None):
        passes.append(len(images))
        return true_pass(self, images, image_size)

    monkeypatch.setattr(AnomalyDetector, "raw_maps", counted)
    return passes


def runs_folder_id(root: Path) -> str:
    return next(root.iterdir()).name


# Batches.


def test_a_batch_says_bit_for_bit_what_the_detector_predicts(batch, runs_folder, sources, tmp_path):
    large = tmp_path / "large.png"
    Image.open(sources[0].path).resize((150, 90)).save(large)
    batch, _ = add_to_batch("me", batch.run_id, [Source(large, "large.png")])
    detector = AnomalyDetector.load(find_model(batch.run_id).model_dir, "cpu")
    for position, rate in ((DEFAULT_RATE, 0.05), (len(RATES) - 1, 0.5)):
        threshold = threshold_at(batch, position)
        first = next(detector.predict_many([source.path for source in sources], false_alarm_rate=rate))
        last = detector.predict(large, false_alarm_rate=rate)
        for item, expected in ((batch.item(1), first), (batch.item(len(batch.items)), last)):
            found = batch.prediction(item, threshold)
            assert np.array_equal(found.anomaly_map, expected.anomaly_map)
            assert np.array_equal(found.scale_maps, expected.scale_maps)
            assert (found.score, found.p_value, found.threshold, found.is_anomalous) == (
                expected.score,
                expected.p_value,
                expected.threshold,
                expected.is_anomalous,
            )
            verdict = batch.verdict(item, threshold)
            assert verdict.is_anomalous == expected.is_anomalous
            assert verdict.anomalous_area == pytest.approx(expected.mask.mean(), abs=1e-12)
    assert batch.prediction(batch.item(len(batch.items)), threshold).anomaly_map.shape == (90, 150)


def test_moving_the_threshold_relabels_the_table_without_the_model(batch, sessions, forward_passes):
    scores = np.sort([item.score for item in batch.inspected])
    assert len(set(scores)) == 8
    items = [replace(item, areas=np.linspace(0.7, 0.0, 8)) for item in batch.inspected]
    batch = replace(batch, calibration=Calibration(scores, colour_low=-1, colour_high=0), items=tuple(items))
    sessions.put("me", batch)

    strict = handlers.relabel("me", 1, RATES.index(0.001), 0.5, "inferno", True)
    loose = handlers.relabel("me", 1, RATES.index(0.5), 0.5, "inferno", True)
    assert forward_passes == []
    *_, table, _, note = loose
    assert sum("Defect" in row[2] for row in strict[6]) == 0
    assert {row[0] for row in table if "Defect" in row[2]} == {item.number for item in items if item.score > scores[4]}
    assert {row[5] for row in table} == {30.0} and {row[5] for row in strict[6]} == {0.0}
    assert loose[0] != strict[0] and loose[3] != strict[3]  # the card and the histogram follow
    assert number(scores[4]) in note and 'class="warning"' in strict[8]


def test_looks_and_rows_do_not_run_the_model_either(batch, forward_passes):
    one = handlers.show("me", 1, DEFAULT_RATE, 0.2, "viridis", False)
    other = handlers.show("me", 1, DEFAULT_RATE, 0.9, "viridis", False)
    assert Path(one[1][1]).read_bytes() != Path(other[1][1]).read_bytes()
    number_, *picture = handlers.select_row(
        SimpleNamespace(row_value=["3", "x"]), "me", 1, DEFAULT_RATE, 0.2, "viridis", False
    )
    assert number_ == 3 and batch.item(3).source.name in picture[0]
    assert forward_passes == []


def test_files_that_are_no_images_are_named_and_the_others_done(batch, tmp_path, sources):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty.png").touch()
    odd = [Source(tmp_path / name, name) for name in ("notes.txt", "empty.png")]
    grown, new = add_to_batch("me", batch.run_id, [odd[0], sources[0], odd[1]])
    assert [type(item) for item in new] == [Unreadable, Inspected, Unreadable]
    assert [item.number for item in grown.items] == list(range(1, len(sources) + 4))
    text = views.problems([item for item in new if isinstance(item, Unreadable)])
    assert "notes.txt is not an image" in text and "empty.png is empty" in text
    with pytest.raises(RunError, match=r"notes\.txt"):
        grown.item(len(sources) + 1)


def test_many_images_go_through_in_order_with_progress(batch, cache, runs_folder, sources, tmp_path):
    detector = cache.get(find_model(batch.run_id).model_dir).detector
    seen = []
    items = inspect_images(
        detector, sources * 3, batch.folder, first_number=100, progress=lambda done, of: seen.append((done, of))
    )
    assert [item.source for item in items] == sources * 3
    assert seen[0] == (0, 24) and seen[-1] == (24, 24) and seen == sorted(seen)
    first = {item.source: item.score for item in batch.inspected}
    assert all(item.score == pytest.approx(first[item.source], abs=1e-5) for item in items)


def test_another_model_means_the_whole_batch_again_in_a_new_folder(batch, runs_folder, sessions, forward_passes):
    again, new = add_to_batch("me", batch.run_id, [batch.sources[0]])
    assert (sum(forward_passes), len(new)) == (1, 1)  # the same model: only the new one
    other = runs_folder / "other-run"
    shutil.copytree(runs_folder / batch.run_id, other)
    forward_passes.clear()
    moved, new = add_to_batch("me", "other-run", [batch.sources[1]])
    assert sum(forward_passes) == len(moved.items) == len(again.items) + 1
    assert len(new) == 1 and moved.run_id == "other-run"
    assert not batch.folder.exists() and moved.folder.exists()


def test_a_batch_has_an_end(batch):
    with pytest.raises(DataError, match=str(MAX_BATCH)):
        add_to_batch("me", batch.run_id, [batch.sources[0]] * MAX_BATCH)


def test_a_failure_leaves_no_folder_behind(runs_folder, sessions, cache, sources, monkeypatch):
    def broken(self, images, image_size=None):
        raise ModelError("no finite score")

    monkeypatch.setattr(AnomalyDetector, "raw_maps", broken)
    with pytest.raises(ModelError):
        add_to_batch("me", runs_folder_id(runs_folder), sources)
    assert list(sessions.root.iterdir()) == [] and sessions.get("me") is None


def test_exports_of_the_page(batch, tmp_path):
    (tmp_path / "=1+1.txt").write_text("x")
    batch, _ = add_to_batch("me", batch.run_id, [Source(tmp_path / "=1+1.txt", "=1+1.txt")])
    position = RATES.index(0.5)
    csv_text = Path(handlers.write_csv("me", position)).read_text(encoding="utf-8")
    lines = csv_text.splitlines()
    assert lines[0] == "image,score,p_value,is_anomalous,threshold,pixel_threshold,anomalous_area,error"
    assert len(lines) == 1 + len(batch.items) and lines[-1].startswith("'=1+1.txt,,,")
    path = handlers.write_zip("me", position, 0.5, "cividis", True, progress=lambda *args, **kwargs: None)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert len(names) == 3 * len(batch.inspected) + 1 and "predictions.csv" in names
    assert not list(batch.folder.glob("export-*/predictions.csv"))  # the earlier export is gone


def test_large_images_are_shown_small():
    assert for_screen(Image.new("RGB", (5000, 2000))).size == (SCREEN_SIDE, round(2000 * SCREEN_SIDE / 5000))
    small = Image.new("RGB", (90, 40))
    assert for_screen(small) is small


def test_overlays_are_drawn_once_and_do_not_pile_up(batch, monkeypatch):
    monkeypatch.setattr("altub.ui.inspect.inspection.OVERLAYS_KEPT", 6)
    threshold = threshold_at(batch, DEFAULT_RATE)
    path = overlay_file(batch, batch.item(1), threshold, Look(opacity=0.01))
    before = path.stat().st_mtime_ns
    assert overlay_file(batch, batch.item(1), threshold, Look(opacity=0.01)) == path
    assert path.stat().st_mtime_ns == before
    for step in range(2, 30):
        overlay_file(batch, batch.item(1), threshold, Look(opacity=step / 100))
    assert len(list(batch.folder.glob("overlay-*"))) <= 6


# Handlers check what they get.


@pytest.mark.parametrize("position", [-1, 0.5, len(RATES), float("nan"), "5", None])
def test_positions_that_the_slider_does_not_have(batch, position):
    with pytest.raises(ConfigError):
        rate_at(position)
    with pytest.raises(gr.Error, match="false-alarm"):
        handlers.relabel("me", 1, position, 0.5, "inferno", True)


def test_handlers_refuse_in_words(batch, runs_folder):
    with pytest.raises(gr.Error, match="colour map"):
        handlers.show("me", 1, DEFAULT_RATE, 0.5, "jet", True)
    with pytest.raises(gr.Error, match="opacity"):
        handlers.show("me", 1, DEFAULT_RATE, float("nan"), "inferno", True)
    with pytest.raises(gr.Error, match="drop the images again"):
        handlers.show("nobody", 1, DEFAULT_RATE, 0.5, "inferno", True)
    for row in (["x"], [], None, [99]):
        with pytest.raises(gr.Error):
            handlers.select_row(SimpleNamespace(row_value=row), "me", 1, DEFAULT_RATE, 0.5, "inferno", True)
    for run_id in (None, "", "../..", "missing"):
        with pytest.raises(gr.Error):
            handlers.inspect_again(run_id, "me", DEFAULT_RATE, 0.5, "inferno", True, progress=lambda *a, **k: None)
    for index in (-1, 99, None, (0, 1)):
        with pytest.raises(gr.Error, match="example"):
            handlers.inspect_example(
                SimpleNamespace(index=index), batch.run_id, "me", DEFAULT_RATE, progress=lambda *a, **k: None
            )


def test_results_that_were_cleaned_away_are_said_to_be(batch):
    shutil.rmtree(batch.folder)
    with pytest.raises(gr.Error, match="no longer kept"):
        handlers.show("me", 1, DEFAULT_RATE, 0.5, "inferno", True)


def test_clear_forgets_everything(batch, sessions):
    handlers.clear("me", batch.run_id)
    assert sessions.get("me") is None and not batch.folder.exists()


# Models.


def test_the_cache_loads_again_only_when_the_weights_have_changed(runs_folder, monkeypatch):
    loads = []
    true_load = AnomalyDetector.load
    monkeypatch.setattr(
        models_module.AnomalyDetector, "load", lambda folder, device: loads.append(folder) or true_load(folder, device)
    )
    cache, folder = ModelCache(device="cpu"), find_model("latest").model_dir
    first = cache.get(folder)
    assert cache.get(folder) is first and len(loads) == 1
    config = (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(config)  # touched, same weights
    assert cache.get(folder) is first and len(loads) == 1

    changed = true_load(folder, "cpu")
    changed.pyramid.bases[0].mean.data += 1
    changed.save(folder)
    second = cache.get(folder)
    assert second is not first and len(loads) == 2
    assert second.weights_sha256 != first.weights_sha256


def test_the_cache_keeps_the_last_few(runs_folder):
    ids = [runs_folder_id(runs_folder)]
    for k in range(3):
        shutil.copytree(runs_folder / ids[0], runs_folder / f"copy-{k}")
        ids.append(f"copy-{k}")
    cache = ModelCache(size=3, device="cpu")
    kept = [cache.get(runs_folder / name / "model") for name in ids]
    assert [
        cache.get(runs_folder / name / "model") is model for name, model in zip(ids[1:], kept[1:], strict=True)
    ] == [True] * 3
    assert cache.get(runs_folder / ids[0] / "model") is not kept[0]


def test_many_threads_load_a_model_once(runs_folder, monkeypatch):
    loads = []
    true_load = AnomalyDetector.load
    monkeypatch.setattr(
        models_module.AnomalyDetector, "load", lambda folder, device: loads.append(1) or true_load(folder, device)
    )
    cache, folder, found = ModelCache(device="cpu"), find_model("latest").model_dir, []
    threads = [threading.Thread(target=lambda: found.append(cache.get(folder))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1 and len(found) == 8 and len(set(map(id, found))) == 1


def test_offers_tell_about_runs_with_a_model_only(runs_folder, small_config):
    Run.create(runs_folder / "empty-run", small_config)
    (offer,) = list_offers()
    assert (offer.category, offer.backbone, offer.epoch, offer.state) == ("weave", "filter-bank", 4, "finished")
    assert set(offer.metrics) >= {"image_auroc", "pixel_auroc"}
    assert "weave" in offer.label and "filter-bank" in offer.label and "AUROC" in offer.label
    with pytest.raises(RunError, match="first epoch"):
        find_model("empty-run")
    assert find_model("latest").id == offer.id


def test_a_damaged_model_does_not_hide_the_others(runs_folder):
    shutil.copytree(runs_folder / runs_folder_id(runs_folder), runs_folder / "damaged")
    (runs_folder / "damaged/model/config.json").write_text("{")
    assert [offer.id for offer in list_offers()] == [
        path.name for path in runs_folder.iterdir() if path.name != "damaged"
    ]
    with pytest.raises(ModelError, match="damaged"):
        ModelCache(device="cpu").get(runs_folder / "damaged/model")


def test_the_list_of_runs_is_sent_only_when_it_has_changed(runs_folder, sessions):
    dropdown, seen, no_model, no_image, left, stale = handlers.refresh(None, None, "")
    assert dropdown.value == runs_folder_id(runs_folder) and stale == ""
    assert (no_model.visible, no_image.visible, left.visible) == (False, True, True)
    again = handlers.refresh(dropdown.value, seen, "")
    assert all(update == gr.skip() for update in again[:5])
    shutil.rmtree(next(runs_folder.iterdir()))
    dropdown, _, no_model, no_image, left, _ = handlers.refresh(dropdown.value, seen, "")
    assert dropdown.value is None and no_model.visible and not no_image.visible and not left.visible
    assert handlers.refresh(None, None, "")[2].visible  # a page that opens on an empty folder is told so


def test_a_model_that_learned_on_makes_the_batch_stale(batch, runs_folder):
    assert handlers.refresh(batch.run_id, None, "me")[-1] == ""
    folder = find_model(batch.run_id).model_dir
    detector = AnomalyDetector.load(folder, "cpu")
    detector.pyramid.bases[0].mean.data += 1
    detector.save(folder)
    assert "inspect all again" in handlers.refresh(batch.run_id, None, "me")[-1]


# Sessions.


def test_sessions_are_bounded_and_clean_up(tmp_path, batch):
    store = SessionStore(tmp_path / "store", max_images=2 * len(batch.items))
    ids = [store.new() for _ in range(3)]
    assert len(set(ids)) == 3 and all(store.knows(session) and store.get(session) is None for session in ids)
    for session in ids:
        store.put(session, replace(batch, folder=store.new_folder()))
    assert [store.get(session) is not None for session in ids] == [False, True, True]
    assert len(list(store.root.iterdir())) == 2
    store.discard(ids[1])
    assert len(list(store.root.iterdir())) == 1
    assert store.get(None) is None and store.get(["x"]) is None
    with pytest.raises(RunError):
        store.require(ids[0])


# Examples.


def test_examples_show_every_defect_and_some_good(trained_run, data_folder):
    examples = examples_of(trained_run)
    assert {example.caption.split("/")[0] for example in examples} == {"blot", "good"}
    assert all(max(example.thumbnail.size) <= 160 for example in examples)
    category = load_category(data_folder, "weave")
    many = replace(category, test=category.test * 10)
    chosen = choose_examples(many)
    assert len(chosen) == SHOWN and sum(not sample.is_defective for sample in chosen) >= 3
    good_alone = replace(category, test=tuple(sample for sample in category.test if not sample.is_defective))
    assert choose_examples(good_alone) == list(good_alone.test)
    assert choose_examples(replace(category, test=())) == []


# Pieces of HTML.


def test_p_values_in_words():
    assert "None of the 20 held-out" in views.p_value_in_words(1 / 21, 20)
    assert "1 of 20 good" in views.p_value_in_words(0.05, 99)
    assert "3 of 10" in views.p_value_in_words(0.3, 20)
    assert "Nearly every" in views.p_value_in_words(1.0, 20)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.05, "5 %"), (0.001, "0.1 %"), (0.123456, "12.3 %"), (0, "0 %"), (1e-6, "< 0.01 %"), (1, "100 %")],
)
def test_percent(share, text):
    assert views.percent(share) == text


def test_names_of_files_are_escaped(batch):
    evil = Source(Path("x.png"), "<img src=x onerror=alert(1)>.png")
    item = replace(batch.item(1), source=evil)
    threshold = threshold_at(batch, DEFAULT_RATE)
    assert "<img src=x" not in views.verdict_card(batch, item, threshold)
    assert "<img src=x" not in views.problems([Unreadable(1, evil, f"{evil.name} is no image.")])


def test_the_histogram_marks_image_and_threshold():
    scores = np.linspace(-0.5, -0.3, 20)
    good = score_histogram_html(scores, -0.4, -0.31)
    bad = score_histogram_html(scores, -0.1, -0.31)
    far = score_histogram_html(scores, 50.0, -0.31)
    assert 'class="mark image good"' in good and 'class="mark image defect"' in bad
    assert "this image −0.4" in good and "threshold −0.31" in good
    assert "→" in far and "→" not in bad
    for one in (np.array([-0.4]), np.full(5, -0.4)):
        assert "threshold" in score_histogram_html(one, -0.4, -0.4)


def test_numbers_have_a_real_minus_sign():
    assert [number(value) for value in (-0.12345, 0.0, -0.0, 2.0, 1234.5)] == ["−0.123", "0", "0", "2", "1234"]


def test_the_warning_of_a_rate_that_cannot_be_promised_is_shown():
    calibration = Calibration(scores=np.arange(5.0), colour_low=0.0, colour_high=1.0)
    assert 'class="warning"' in views.threshold_note(calibration.threshold(0.01), 5)
    assert 'class="warning"' not in views.threshold_note(calibration.threshold(0.5), 5)


# Stepping and stopping.


def test_steps_go_round_and_pass_over_what_could_not_be_read(batch, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    batch, _ = add_to_batch("me", batch.run_id, [Source(tmp_path / "notes.txt", "notes.txt"), batch.sources[0]])
    last = len(batch.items)
    assert neighbour(batch, last - 2, 1) == last and neighbour(batch, last, -1) == last - 2
    assert neighbour(batch, last, 1) == 1 and neighbour(batch, 1, -1) == last
    assert neighbour(replace(batch, items=()), 1, 1) == 0
    number_, card, *_ = handlers.step(1, "me", 1, DEFAULT_RATE, 0.5, "inferno", True)
    assert number_ == 2 and batch.item(2).source.name in card
    with pytest.raises(gr.Error, match="drop the images again"):
        handlers.step(1, "nobody", 1, DEFAULT_RATE, 0.5, "inferno", True)


def test_a_stopped_batch_keeps_what_is_done(runs_folder, sessions, cache, sources, monkeypatch):
    monkeypatch.setattr("altub.ui.inspect.batch.CHUNK_IMAGES", 2)

    def progress(share: tuple[int, int], **_) -> None:
        if share[0] == 4:
            handlers.stop(session)

    session, button = handlers.begin("")
    assert button.visible
    run_id, files = runs_folder_id(runs_folder), [str(source.path) for source in sources]
    names = [source.name for source in sources]
    shown = handlers.inspect_files(files, names, run_id, session, DEFAULT_RATE, 0.5, "inferno", True, progress=progress)
    assert len(sessions.get(session).items) == 4 and "Stopped after 4 of 8 images" in shown[2]
    quiet = lambda *_, **__: None  # noqa: E731
    more = handlers.inspect_files(
        files[:2], names[:2], run_id, session, DEFAULT_RATE, 0.5, "inferno", True, progress=quiet
    )
    assert len(sessions.get(session).items) == 6 and more[2] == ""  # a new batch is not stopped by the old wish
    handlers.stop("nobody")

    # A click between the button's appearance and the first image counts; one after the end does not.
    handlers.stop(session)
    handlers.begin(session)
    handlers.stop(session)
    early = handlers.inspect_files(files, names, run_id, session, DEFAULT_RATE, 0.5, "inferno", True, progress=quiet)
    assert len(sessions.get(session).items) == 8 and "Stopped after 2 of 8 images" in early[2]
    handlers.stop(session)
    handlers.begin(session)
    handlers.inspect_files(files, names, run_id, session, DEFAULT_RATE, 0.5, "inferno", True, progress=quiet)
    assert len(sessions.get(session).items) == 16


def test_inspecting_all_again_and_stopping_keeps_what_was_there(batch, runs_folder, sessions, monkeypatch):
    monkeypatch.setattr("altub.ui.inspect.batch.CHUNK_IMAGES", 2)
    look = (DEFAULT_RATE, 0.5, "inferno", True)

    def progress(share: tuple[int, int], **_) -> None:
        if share[0] == 4:
            handlers.stop("me")

    shutil.copytree(runs_folder / batch.run_id, runs_folder / "other-run")
    shown = handlers.inspect_again("other-run", "me", *look, progress=progress)
    stopped = sessions.get("me")
    assert stopped.run_id == "other-run" and stopped.sources == batch.sources
    assert [item.number for item in stopped.items] == list(range(1, 9)) and len(stopped.inspected) == 4
    assert "Stopped after 4 of 8 images" in shown[2] and "4 from before wait" in shown[2]
    assert [row[2] for row in shown[12]].count('<span class="chip plain">Waiting</span>') == 4
    assert "4 waiting" in shown[11] and "not read" not in shown[11]
    assert "inspect all again" in stopped.rows(threshold_at(stopped, DEFAULT_RATE))[-1]["error"]

    # The same model again: everything, also what waits.
    handlers.inspect_again("other-run", "me", *look, progress=lambda *_, **__: None)
    assert len(sessions.get("me").inspected) == 8 and sessions.get("me").sources == batch.sources


def test_an_example_of_one_visitor_is_not_in_the_batch_of_another(runs_folder, sessions, cache):
    click, quiet = SimpleNamespace(index=0), lambda *_, **__: None
    look = (DEFAULT_RATE, 0.5, "inferno", True)
    first, second = (
        handlers.inspect_example(click, runs_folder_id(runs_folder), "", *look, progress=quiet)[0] for _ in range(2)
    )
    assert first and second and first != second
    assert [len(sessions.get(session).items) for session in (first, second)] == [1, 1]
    assert sessions.get("") is None


def test_files_keep_the_names_that_they_have_at_the_visitors():
    stored = ["/tmp/a/Teil 1.png"] * 5
    names = ["Teil #1: lid.png", "", "C:\\parts\\<b>.png", "\u202e/\n", 7]
    found = dropped_sources(stored, names)
    assert [source.name for source in found] == [
        "Teil #1: lid.png",
        "Teil 1.png",
        "<b>.png",
        "Teil 1.png",
        "Teil 1.png",
    ]
    assert {source.path for source in found} == {Path(stored[0])}
    for odd in (None, "x", names[:2], {"0": "a"}):
        assert [source.name for source in dropped_sources(stored, odd)] == ["Teil 1.png"] * 5
    assert shown_name("x" * 500 + ".tiff") == "x" * 114 + "….tiff"


def test_equal_names_are_told_apart(batch, sources):
    assert [source.name for source in told_apart([Source(Path(), "a.png")] * 3, ["b.png", "a (2).png"])] == [
        "a.png",
        "a (3).png",
        "a (4).png",
    ]
    assert [
        source.name for source in told_apart([Source(Path(), name) for name in (".", ".", "good/1", "good/1")])
    ] == [
        ".",
        ". (2)",
        "good/1",
        "good/1 (2)",
    ]
    grown, new = add_to_batch("me", batch.run_id, sources[:2])
    assert [item.source.name for item in new] == ["blot/000 (2).png", "blot/001 (2).png"]
    assert len({source.name for source in grown.sources}) == len(grown.items)


def test_examples_say_their_defect_and_name(trained_run):
    assert {"blot/000.png", "good/000.png"} <= {example.caption for example in examples_of(trained_run)}
