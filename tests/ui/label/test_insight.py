"""What the labels say, thresholds from them, the handlers of the tab and the endpoints, without a browser."""

from __future__ import annotations

import re
import threading
import zipfile
from html import unescape
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from altub.errors import AltUBError, ConfigError, DataError
from altub.inference.model_files import read_config
from altub.inference.versions import list_versions
from altub.labels import confusion, label_curves
from altub.labels.curves import Band
from altub.labels.sample import Evidence, LabelSample
from altub.ui.label import sources
from altub.ui.label.api import LabelEndpoints
from altub.ui.label.charts import curve_chart, score_chart
from altub.ui.label.choice import ALL_SOURCES, Choice, load_model
from altub.ui.label.desk import LabelDesk
from altub.ui.label.export import write_archive
from altub.ui.label.handlers import LabelHandlers
from altub.ui.label.insight import Goal, _point, insight_html
from altub.ui.label.insight_panel import InsightPanel
from altub.ui.label.items import proposal_json
from altub.ui.services import Services
from altub.ui.to_label import add_images
from tests.labels.conftest import picture

FIELDS = ("weave-run", "unlabelled", "nearest", ALL_SOURCES, "")
OWN = ("own", 95, 5, 7, 90)


@pytest.fixture
def labelled(services: Services) -> Services:
    """Every image of the store labelled by what it is."""
    for image in services.labels.images.all():
        kind = image.name.partition("-")[0]
        services.labels.labels.add(image.sha256, "Ann", "good" if kind == "good" else "defect")
    return services


def numbers(html: str) -> list[int]:
    """The four counts of the confusion matrix: found, missed, false alarms, passed."""
    return [int(count) for count in re.findall(r'<td class="(?:right|wrong)">(\d+)</td>', html)]


def test_what_is_missing_is_said(services: Services) -> None:
    model = load_model(services.models, "weave-run")
    assert "Choose a model" in insight_html(services.labels, None, None, Goal("own", 0.9, 0.9))[0]
    assert "at least one good" in insight_html(services.labels, model, None, Goal("own", 0.9, 0.9))[0]


def test_counts_and_thresholds_follow_the_labels(labelled: Services) -> None:
    model, store = load_model(labelled.models, "weave-run"), labelled.labels
    html, usable = insight_html(store, model, None, Goal("own", 0.9, 0.9))
    assert sum(numbers(html)) == 8 and not usable and html.count("<svg") == 3
    # The weave's blots are plain: half of recall can be promised, with 4 of 4 found at 90 % not more than that.
    html, usable = insight_html(store, model, None, Goal("recall", 0.5, 0.9))
    assert usable and "at least 50 % of defective images" in html and numbers(html)[1] == 0
    html, usable = insight_html(store, model, None, Goal("recall", 0.95, 0.9))
    assert not usable and "45 are needed" in html
    html, usable = insight_html(store, model, None, Goal("cost", 20, 0))
    assert usable and "20 false alarms" in html
    html, _ = insight_html(store, model, "another line", Goal("own", 0.9, 0.9))
    assert "at least one good" in html


@pytest.mark.parametrize("value", [0.0, 1.0, 1.5, 2.0, 3.0, 9.0])
def test_the_point_on_the_curves_is_the_thresholds(value: float) -> None:
    scores, defective = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([False, False, True, False, True])
    nothing = Evidence((), np.zeros(0), np.zeros(0), np.zeros(0, int), np.zeros(0), False)
    sample = LabelSample(tuple("abcde"), scores, defective, np.array([1.0, 2, 1, 1, 3]), nothing, 5, 0)
    found = confusion(sample, value)
    assert _point(label_curves(sample), value)[:2] == pytest.approx((found.false_alarm_rate, found.recall))


def test_mistakes_are_pictures_that_open(labelled: Services) -> None:
    store = labelled.labels
    image = next(image for image in store.images.all() if image.name.startswith("blot"))
    store.labels.add(image.sha256, "Bob", "good")
    html, _ = insight_html(store, load_model(labelled.models, "weave-run"), None, Goal("own", 0.9, 0.9))
    assert "False alarms" in html and f'data-image="{image.sha256}"' in html and "data:image/webp" in html


@pytest.mark.parametrize(
    "values", [("all", 95, 5, 7, 90), ("recall", None, 5, 7, 90), ("cost", 95, 5, 99, 90), ("cost", 95, 5, True, 90)]
)
def test_goals_that_are_none(values: tuple) -> None:
    with pytest.raises(ConfigError):
        Goal.of(*values)


def test_charts_hold_extremes() -> None:
    one = np.array([3.0])
    assert "3" in score_chart(one, one, [("<b>", 3.0)]) and "&lt;b&gt;" in score_chart(one, one, [("<b>", 3.0)])
    band = Band(np.array([0.0, 1.0]), np.array([0.0, 0.6]), np.array([0.4, 1.0]))
    drawn = curve_chart("ROC", "area 1", "false alarms", "recall", np.array([0.0, 0.0]), band, (0.0, 1.0))
    assert drawn.count("<circle") == 1 and "nan" not in drawn


def boxes(svg: str) -> tuple[list[tuple[float, float, float, float]], list[tuple[float, float]]]:
    """Of the names in a chart of scores (left, top, right, bottom), each at least as wide as it is drawn, and of its
    thresholds (x, top)."""
    names = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(start|end)" class="name">([^<]+)<', svg)
    found = []
    for x, y, side, name in names:
        width = 6.5 * len(unescape(name))  # of letters of 11 px
        left = float(x) - (width if side == "end" else 0)
        found.append((left, float(y) - 10, left + width, float(y) + 3))
    lines = re.findall(r'class="threshold" x1="([\d.]+)" x2="[\d.]+" y1="([\d.]+)"', svg)
    return found, [(float(x), float(top)) for x, top in lines]


@pytest.mark.parametrize("low", [0.0, 0.1, 0.45, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("step", [0.0, 0.002, 0.05, 0.2, 0.24, 0.3, 1.0])
@pytest.mark.parametrize("swapped", [False, True])
def test_names_of_thresholds_never_overlap(low: float, step: float, swapped: bool) -> None:
    values = [low, min(low + step, 1.0)]
    lines = list(zip(("new", "model's own"), values[::-1] if swapped else values, strict=True))
    names, drawn = boxes(score_chart(np.array([0.0, 0.4]), np.array([0.6, 1.0]), lines))
    assert len(names) == len(drawn) == 2
    (a, b) = names
    assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (a, b)
    for left, _, right, bottom in names:
        assert left >= 42 and right <= 340 - 12 + 1e-6
        assert not any(left < x < right and top < bottom for x, top in drawn), "a line strikes a name through"


def test_a_threshold_becomes_the_models_own_and_the_old_one_comes_back(labelled: Services) -> None:
    desk = LabelDesk(labelled)
    with gr.Blocks():
        panel = InsightPanel(labelled, desk)
    value = {"token": desk.enter("Ann")}
    model = load_model(labelled.models, "weave-run")
    panel.use_threshold(value, *FIELDS, "recall", 50, 5, 7, 90)
    changed = load_model(labelled.models, "weave-run")
    assert changed.threshold.origin.kind == "labels" and changed.threshold.value != model.threshold.value
    version = read_config(model.run.model_dir).version
    assert (version.number, version.author) == (2, "Ann") and "50 %" in version.note
    panel.restore_version("1", value, *FIELDS, *OWN)
    assert load_model(labelled.models, "weave-run").threshold == model.threshold
    assert [one.number for one in list_versions(model.run.model_dir)] == [1, 2]
    for wrong in ("9", "x", None):
        with pytest.raises(gr.Error):
            panel.restore_version(wrong, value, *FIELDS, *OWN)
    with pytest.raises(gr.Error, match="restarted"):
        panel.use_threshold({"token": "guess"}, *FIELDS, "recall", 50, 5, 7, 90)


def test_who_comes_in(services: Services) -> None:
    desk = LabelDesk(services)
    on = LabelHandlers(services, desk, is_local=False)
    value = on.enter(SimpleNamespace(name="  Ann  B "), SimpleNamespace(username=None), None, *FIELDS[1:])[0]
    assert desk.who(value["token"]) == "Ann B" and value["view"]["run"] == "weave-run" and not value["login"]
    value = on.enter(SimpleNamespace(name="Eve"), SimpleNamespace(username="qa"), "", *FIELDS[1:])[0]
    assert desk.who(value["token"]) == "qa" and value["login"] and value["view"]["run"] == ""
    value = on.enter(SimpleNamespace(name="x" * 99), SimpleNamespace(username=None), None, *FIELDS[1:])[0]
    assert value["token"] == "" and "characters" in value["problem"]
    assert on.enter(SimpleNamespace(name=""), SimpleNamespace(username=None), None, *FIELDS[1:])[0]["token"] == ""
    # A list has other orders than the queue.
    token = {"token": desk.enter("Ann")}
    assert on.choose(token, "", "good", "nearest", ALL_SOURCES, "")[0]["view"]["order"] == "nearest"
    assert on.choose(token, "", "good", "random", ALL_SOURCES, "")[0]["view"]["order"] == "newest"
    assert Choice.of(on.choose(token, "", "unlabelled", "nearest", "", "")[0]["view"]).possible_order(None) == "diverse"


def test_images_come_from_folders_and_categories(services: Services, data_folder: Path, tmp_path: Path) -> None:
    found = sources.folder_images(str(data_folder / "weave" / "train"), may_name_folders=True)
    assert len(found) == 12 and found[0][1] == "good/000.png"
    (tmp_path / "broken.png").write_bytes(b"no image")
    added = add_images(services.labels, [*found[:3], found[0], (tmp_path / "broken.png", "b.png")], "x", print)
    assert (added.new, added.known, len(added.refused)) == (3, 1, 1) and "1 skipped" in added.summary
    for folder, local in ((str(data_folder), False), ("", True), (str(tmp_path / "none"), True)):
        with pytest.raises(AltUBError):
            sources.folder_images(folder, may_name_folders=local)
    assert ("weave", "weave-run") in sources.category_choices()
    name, images = sources.test_images("weave-run")
    assert name == "weave" and len(images) == 8
    for value in ("", "../x", "sample:none"):
        with pytest.raises(DataError):
            sources.test_images(value)


def test_labels_leave_as_an_archive(services: Services, labelled: Services) -> None:
    path, count, _ = write_archive(services.labels, "mvtec", None, lambda done, of: None)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    assert count == 8 and len([name for name in names if "/good/" in name]) == 4
    with pytest.raises(DataError):
        write_archive(services.labels, "../x", None, lambda done, of: None)


def test_programs_take_images_and_label_them(services: Services) -> None:
    on, request = LabelEndpoints(services), SimpleNamespace(username=None)
    file, report = on.next("robot", "weave-run", "anomalous", "", request)
    assert services.labels.objects.path(report["image"]).read_bytes() == Path(file).read_bytes()
    assert report["left"] == 8 and report["verdict"] in ("good", "defect")
    label = on.label(report["image"], "defect", "robot", "dent", None, report["showing"], "", request)
    assert (label["who"], label["type"], label["showing"]) == ("robot", "dent", report["showing"])
    with pytest.raises(gr.Error, match="name"):
        on.label(report["image"], "good", "", "", None, None, "", request)
    with pytest.raises(gr.Error, match="not possible"):
        on.next("robot", "", "nearest", "", request)
    for _ in range(7):
        on.next("robot", "", "", "", request)
    assert on.next("robot", "", "", "", request) == (None, {"left": 7, "image": None})


def test_good_labels_join_the_calibration_and_leave_again(services: Services) -> None:
    desk = LabelDesk(services)
    with gr.Blocks():
        panel = InsightPanel(services, desk)
    value, store = {"token": desk.enter("Ann")}, services.labels
    goal = (*FIELDS, *OWN)
    *_, line, button = panel.look(value, *goal)
    assert "No image is labelled good" in line and button.visible and not button.interactive
    with pytest.raises(gr.Error, match="No image is labelled good"):
        panel.extend_calibration(value, *goal)
    for image in store.images.all():
        good = image.name.startswith("good")
        store.labels.add(image.sha256, "Ann", "good" if good else "defect")
    model = load_model(services.models, "weave-run")
    *_, line, button = panel.look(value, *goal)
    assert "4 held-out and 4 randomly drawn good images: smallest p-value 0.2 → 0.11." in line and button.interactive

    image = next(image for image in store.images.all() if image.name.startswith("good"))
    before = proposal_json(store, model, image)["p_value"]
    *_, line, button = panel.extend_calibration(value, *goal)
    assert "Nothing changes: the 4 good labels" in line and not button.interactive
    changed = load_model(services.models, "weave-run")
    assert changed.calibration.scores.size == 8 and changed.threshold.origin.n == 8 and changed.sha256 == model.sha256
    version = read_config(model.run.model_dir).version
    assert (version.number, version.author, version.kind) == (2, "Ann", "calibration")
    # What the page says of an image follows the new calibration, without scoring it again.
    after = proposal_json(store, changed, image)
    assert after["p_value"] == changed.calibration.p_value(after["score"]) != before
    panel.restore_version("1", value, *goal)
    assert load_model(services.models, "weave-run").calibration == model.calibration
    with pytest.raises(gr.Error, match="restarted"):
        panel.extend_calibration({"token": "guess"}, *goal)
    with pytest.raises(gr.Error, match="Choose a model"):
        panel.extend_calibration(value, "", *goal[1:])
    assert panel.look(value, "", *goal[1:])[4] == "" and not panel.look(value, "", *goal[1:])[5].visible


def test_the_panel_looks_again_when_scoring_has_ended(services: Services) -> None:
    on = LabelHandlers(services, LabelDesk(services), is_local=False)
    services.labels.images.add(picture(1))
    hold = threading.Event()
    services.scorer.task.start(lambda report, should_stop: str(hold.wait(60)))
    _, timer, again = on.look("weave-run")
    assert timer.active and "value" not in again, "nothing new while it goes on"
    hold.set()
    services.scorer.task.wait(60)
    ends = [on.look("weave-run") for _ in range(2)]
    assert not ends[0][1].active and ends[0][2] != ends[1][2]
