"""The Adapt card: images of today from three places, what is doubtful, kept as a version or discarded."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest

from altub.inference.versions import list_versions
from altub.training.adaptation import WAYS
from altub.ui.line.adapt_card import (
    ALL_SOURCES,
    AUTOMATIC,
    FOLDER,
    LABELS,
    UPLOAD,
    WAY_TITLES,
    AdaptHandlers,
    _shown_on,
)
from altub.ui.line.drift_card import EVERYTHING, DriftHandlers
from tests.line.parts import STRONG, parts, write_parts
from tests.ui.line.conftest import Line


@pytest.fixture
def today(tmp_path: Path) -> Path:
    """16 good parts in a stronger light."""
    return write_parts(tmp_path / "today", parts(16, 4, shift=STRONG), digits=2)


def handlers(line: Line, **rights: bool) -> AdaptHandlers:
    return AdaptHandlers(line.services, **{"may_change": True, "is_local": True, **rights})


def test_todays_images_become_a_version_that_the_drift_watch_starts_with(line: Line, today: Path) -> None:
    on, files = handlers(line), [str(path) for path in sorted(today.iterdir())]
    (today / "notes.png").write_text("no image")
    names = [f"part {index}.png" for index in range(16)] + ["notes.png"]
    token, report, decide, keep, sure = on.adapt(
        [*files, str(today / "notes.png")], names, UPLOAD, "", None, "line-run", ""
    )
    assert "16 of 16" in report and "1 skipped" in report and "notes.png is not an image" in report
    assert "Features before the flow" in report and "drift-strip" in report and "Did not move" in report
    assert decide.visible and keep.interactive and not sure.visible
    assert list_versions(line.run.model_dir) == [], "nothing changes before it is kept"

    shown = on.keep(token, False)
    assert "Version 2 is in use" in shown[1] and not shown[2].visible
    assert [version.kind for version in list_versions(line.run.model_dir)] == ["trained", "adapted"]
    model = line.services.models.get(line.run.model_dir)
    assert model.weights_sha256 != line.model
    new = parts(20, 9, shift=STRONG)
    value = model.detector.threshold.value
    assert sum(one.score > value for one in model.detector.predict_many(new)) <= 6, "all of them were before"
    state = DriftHandlers(line.services, may_change=True, is_local=True).look("line-run", EVERYTHING, [])[0]
    assert "No image has been inspected by this version" in state
    with pytest.raises(gr.Error, match="no longer kept"):
        on.keep(token, False)


def test_images_of_a_folder_and_of_labels(line: Line, today: Path) -> None:
    on = handlers(line)
    assert "16 of 16" in on.adapt(None, [], FOLDER, str(today), None, "line-run", "")[1]
    with pytest.raises(gr.Error, match="No image is labelled good"):
        on.adapt(None, [], LABELS, "", ALL_SOURCES, "line-run", "")
    store = line.services.labels
    for index, path in enumerate(sorted(today.iterdir())):
        image = store.images.add(path, source="line 3")
        store.labels.add(image.sha256, "ann", "good" if index < 9 else "defect")
    *_, labels = on.choose(LABELS)
    assert [name for _, name in labels.choices] == [ALL_SOURCES, "line 3"]
    token, report, *_ = on.adapt(None, [], LABELS, "", "line 3", "line-run", "")
    assert "9 of 9" in report
    assert "Discarded" in on.discard(token)[1] and list_versions(line.run.model_dir) == []


def test_what_follows_is_a_choice(line: Line, today: Path) -> None:
    on = handlers(line)
    assert set(WAY_TITLES) == {AUTOMATIC, *WAYS}
    report = on.adapt(None, [], FOLDER, str(today), None, "line-run", "", "flow")[1]
    assert "<h4>Flow</h4>" in report and "Adapted by flow" in report
    assert "<h4>Flow</h4>" not in on.adapt(None, [], FOLDER, str(today), None, "line-run", "", "norm-full")[1]
    for unknown in ("none", None, ["flow"]):
        with pytest.raises(gr.Error, match="Choose what follows"):
            on.adapt(None, [], FOLDER, str(today), None, "line-run", "", unknown)


def test_the_time_left_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    show = _shown_on(lambda share, desc: told.append((share, desc)))
    for second, done in ((0, 10), (10, 20), (20, 30), (180, 190)):
        monkeypatch.setattr("altub.ui.line.adapt_card.time.monotonic", lambda second=second: second)
        show(done, 190)
    assert told[0] == (10 / 190, "Adapting") and told[-1] == (1, "Adapting")
    assert told[1][1] == "Adapting, about 2 min 50 s left" and told[2][1] == "Adapting, about 2 min 40 s left"


def test_images_that_do_not_look_good_are_named_and_kept_only_on_purpose(line: Line, tmp_path: Path) -> None:
    on, files = handlers(line), []
    for index, image in enumerate([*parts(14, 4), *parts(2, 5, blot=True)]):
        files.append(str(tmp_path / f"{index}.png"))
        image.save(files[-1])
    names = [f"{index}.png" for index in range(14)] + ["left <b>.png", "right.png"]
    token, report, _, keep, sure = on.adapt(files, names, UPLOAD, "", None, "line-run", "")
    assert "do not look like good parts" in report and "2 of 16 images are far more anomalous" in report
    assert "left &lt;b&gt;.png" in report and "<b>.png" not in report
    assert not keep.interactive and sure.visible
    with pytest.raises(gr.Error, match="do not look like good parts"):
        on.keep(token, False)
    assert on.allow(token, True).interactive
    assert "Version 2" in on.keep(token, True)[1]


def test_what_cannot_be_adapted_is_one_sentence(line: Line, today: Path) -> None:
    on, files = handlers(line), [str(path) for path in sorted(today.iterdir())]
    local, guest = handlers(line, is_local=False), handlers(line, may_change=False)
    for answer, arguments, words in (
        (on.adapt, (None, [], UPLOAD, "", None, "line-run", ""), "no images yet"),
        (on.adapt, (files[:7], [], UPLOAD, "", None, "line-run", ""), "7 images are too few"),
        (on.adapt, (files, [], UPLOAD, "", None, "../x", ""), "no run with that id"),
        (on.adapt, (files, [], "?", "", None, "line-run", ""), "Say where"),
        (on.adapt, (None, [], FOLDER, str(today / "nothing"), None, "line-run", ""), "is not a folder"),
        (local.adapt, (None, [], FOLDER, str(today), None, "line-run", ""), "served to its own machine"),
        (guest.adapt, (files, [], UPLOAD, "", None, "line-run", ""), "Only the owner"),
        (guest.keep, ("token", True), "Only the owner"),
    ):
        with pytest.raises(gr.Error, match=words):
            answer(*arguments)


def test_a_model_that_changed_meanwhile_is_not_replaced(line: Line, today: Path) -> None:
    on = handlers(line)
    first, *_ = on.adapt(None, [], FOLDER, str(today), None, "line-run", "")
    second, *_ = on.adapt(None, [], FOLDER, str(today), None, "line-run", "")
    on.keep(first, False)
    with pytest.raises(gr.Error, match="was changed since"):
        on.keep(second, False)
