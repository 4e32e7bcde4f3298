"""A day on the Label tab in a real browser: thirty images labelled by keyboard, masks compared pixel by pixel, a
threshold from the labels, their export, and a training on them."""

from __future__ import annotations

import io
import re
import shutil
import statistics
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from altub.inference.model_files import read_config
from altub.labels import LabelStore
from altub.runs.run import Run, list_runs
from altub.training.data_record import DataRecord
from altub.ui.label.items import mask_runs
from tests.conftest import write_category
from tests.ui.conftest import open_tab, playwright_api

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

DESK = "document.querySelector('.label-desk')"
EACH = 15  # images of either kind


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Fifteen good and fifteen defective images, named by what they are."""
    folder = tmp_path_factory.mktemp("parts")
    category = write_category(folder / "weave", good=1, tested=EACH, seed=7)
    images = []
    for kind in ("good", "blot"):
        for path in sorted((category / "test" / kind).iterdir()):
            images.append(folder / f"{kind}-{path.name}")
            shutil.copy(path, images[-1])
    return images


def name_of(page: playwright_api.Page) -> str:
    return page.evaluate(f"{DESK}.altub.session.current?.name ?? ''")


def wait_for_other(page: playwright_api.Page, name: str) -> None:
    page.wait_for_function(f"name => {DESK}.altub.session.current?.name !== name", arg=name)


def press(page: playwright_api.Page, key: str) -> None:
    """A key that goes on to another image."""
    name = name_of(page)
    page.keyboard.press(key)
    wait_for_other(page, name)


def view_of(page: playwright_api.Page) -> dict[str, float]:
    """Where the image's corner lies on the page, and the size of its pixels there."""
    return page.evaluate(
        f"(() => {{ const {{stage}} = {DESK}.altub, box = stage.box.getBoundingClientRect(); return "
        "{scale: stage.scale, x: box.left + stage.offset[0], y: box.top + stage.offset[1]}; })()"
    )


def drag(page: playwright_api.Page, points: list[tuple[float, float]]) -> None:
    """Draws through points of the image."""
    view = view_of(page)
    places = [(view["x"] + x * view["scale"], view["y"] + y * view["scale"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place)
    page.mouse.up()


def drawn_runs(page: playwright_api.Page) -> list[int]:
    return page.evaluate(f"{DESK}.altub.stage.painted.mask.runs()")


def capsule(size: tuple[int, int], start: tuple[int, int], end: tuple[int, int], brush: int) -> np.ndarray:
    """The pixels whose centres lie within half a brush of the line between the centres of two pixels."""
    y, x = np.mgrid[: size[1], : size[0]].astype(float)
    a, b = np.array(start, float), np.array(end, float)
    along = np.clip(((x - a[0]) * (b - a)[0] + (y - a[1]) * (b - a)[1]) / ((b - a) @ (b - a)), 0, 1)
    return np.hypot(x - a[0] - along * (b - a)[0], y - a[1] - along * (b - a)[1]) <= brush / 2


def wait_until(answer) -> None:
    """For what the server stores behind the page's back."""
    until = time.monotonic() + 120
    while not answer():
        assert time.monotonic() < until, "it was not stored"
        time.sleep(0.05)


def test_a_day_at_the_desk(visit, server, trained_run: Run, thirty: list[Path], capsys) -> None:
    if not (server.runs / trained_run.id).exists():
        shutil.copytree(trained_run.path, server.runs / trained_run.id)
    visitor = visit(1440)
    page = visitor.open()
    page.set_default_timeout(60_000)  # much is stored, scored and decoded on two cores
    open_tab(page, "Label")
    page.fill(".label-desk .who input", "Ann")
    page.keyboard.press("Enter")
    page.wait_for_selector(".label-desk .veil h3:text('No images yet')")
    page.set_input_files("#label-files input[type=file]", thirty)
    page.wait_for_function(f"{DESK}.dataset.state === 'ready'")
    store = LabelStore(server.data / "labels.db")
    wait_until(
        lambda: len(store.images) == 30 and not store.proposals.missing(next(iter(store.proposals.models()), ""))
    )

    # Keys mean nothing while a text field has the focus; a new type grows the list.
    first = name_of(page)
    page.keyboard.press("t")
    page.keyboard.type("blot 1")
    assert name_of(page) == first
    page.keyboard.press("Enter")
    assert page.get_attribute("[data-part=types] button", "aria-pressed") == "true"

    painted = accepted = undone = ""
    masks: dict[str, np.ndarray] = {}
    seen, began = set(), time.monotonic()
    while (name := name_of(page)) and len(seen) < 30:
        seen.add(name)
        if name.startswith("blot") and not painted:
            painted = name
            page.keyboard.press("b")
            page.evaluate(f"{DESK}.altub.tools.resize(9)")
            drag(page, [(20.5, 30.5), (44.5, 40.5)])
            masks[name] = capsule((64, 64), (20, 30), (44, 40), 9)
            assert drawn_runs(page) == mask_runs(masks[name])
            drag(page, [(4.5, 60.5), (10.5, 60.5)])
            page.keyboard.press("Control+z")  # the second stroke alone
            assert drawn_runs(page) == mask_runs(masks[name])
            page.keyboard.press("1")  # a mask is not lost by a slip of the finger
            assert name_of(page) == name and "mask is painted" in page.inner_text("[data-part=hint]")
            page.keyboard.press("v")
            press(page, "2")
        elif name.startswith("blot") and not accepted and page.evaluate(f"{DESK}.altub.stage.proposed.mask?.count"):
            accepted = name
            runs = page.evaluate(f"{DESK}.altub.session.current.proposal.runs")
            flat = np.zeros(64 * 64, bool)
            for start, length in zip(runs[::2], runs[1::2], strict=True):
                flat[start : start + length] = True
            masks[name] = flat.reshape(64, 64)
            press(page, "Enter")
        else:
            press(page, "2" if name.startswith("blot") else "1")
            if not undone and painted:
                undone = name
                page.keyboard.press("u")
                page.wait_for_function(f"name => {DESK}.altub.session.current?.name === name", arg=name)
                press(page, "2" if name.startswith("blot") else "1")
    page.wait_for_selector(".label-desk .veil h3:text('All labelled')")
    pace = 60 * len(seen) / (time.monotonic() - began)
    page.wait_for_function("document.querySelector('[data-part=saved]').innerText === 'Saved'")

    # What was stored is what was drawn and pressed.
    labels = {store.images.get(image).name: label for image, label in store.labels.all().items()}
    assert set(labels) == {path.name for path in thirty} and painted and accepted and undone
    for name, label in labels.items():
        assert label.verdict == ("defect" if name.startswith("blot") else "good") and label.who == "Ann"
        assert label.defect_type == ("blot 1" if name.startswith("blot") else None)
        assert label.showing is not None
        mask = store.labels.mask(label)
        assert (mask is None) == (name not in masks)
        if mask is not None:
            assert (mask == masks[name]).all()
    assert store.labels.counts()["events"] == 32  # one was taken back and given again

    times = page.evaluate("performance.getEntriesByName('altub-label-next').map((one) => one.duration)")
    with capsys.disabled():
        median = statistics.median(times)
        print(f"\nverdict to next picture: median {median:.0f} ms of {len(times)}; {pace:.0f} images a minute")
    threshold_from_a_target(page, server.runs / trained_run.id / "model")
    good_labels_join_the_calibration(page, server.runs / trained_run.id / "model")
    export_to_mvtec_layout(page, masks)
    scores_that_come_later(page, store, thirty[0].with_name("later.png"))
    train_on_the_labels(page, server)
    assert visitor.complaints == [] and visitor.outside == []


def threshold_from_a_target(page: playwright_api.Page, model: Path) -> None:
    """A promise that 15 labels of either kind can give becomes the model's own threshold."""
    assert read_config(model).threshold is None
    page.locator("#label-goal-kind").get_by_text("Recall at least").click()
    for field, percent in (("recall", "75"), ("confidence", "80")):
        page.fill(f"#label-{field} input[type=number]", percent)
        page.keyboard.press("Enter")
    expect(page.locator("#label-insight-view")).to_contain_text("75 %")
    expect(page.locator("#label-use-threshold")).to_be_enabled()
    page.click("#label-use-threshold")
    wait_until(lambda: read_config(model).threshold is not None)
    expect(page.locator("#label-versions")).to_be_visible()


def good_labels_join_the_calibration(page: playwright_api.Page, model: Path) -> None:
    """By the keyboard, and as a version that stands above the one of the threshold."""
    line, button = page.locator("#label-extension"), page.get_by_role("button", name="Extend calibration")
    expect(line).to_contain_text(f"4 held-out and {EACH} randomly drawn good images: smallest p-value 0.2 → 0.05.")
    threshold = read_config(model).threshold
    button.focus()
    page.keyboard.press("Enter")
    wait_until(lambda: read_config(model).version.kind == "calibration")
    expect(line).to_contain_text(f"Nothing changes: the {EACH} good labels")
    expect(button).to_be_disabled()
    assert read_config(model).threshold == threshold, "one from labels stays"
    assert len(read_config(model).calibration["joined"]["scores"]) == EACH
    expect(page.locator("#label-versions input")).to_have_value(re.compile(r"^3 .*in use.*joined 4 held-out"))


def scores_that_come_later(page: playwright_api.Page, store: LabelStore, path: Path) -> None:
    """An image that has no score yet: the panel says so no longer when it has been scored, without another label."""
    Image.new("RGB", (64, 64), (99, 101, 103)).save(path)
    page.set_input_files("#label-files input[type=file]", [path])
    page.wait_for_function(f"{DESK}.altub?.session.current?.name === '{path.name}'")
    wait_until(lambda: not store.proposals.missing(next(iter(store.proposals.models()))))
    expect(page.locator("#label-scoring")).not_to_contain_text("Scoring")
    expect(page.locator("#label-insight-view")).not_to_contain_text("no score yet")


def export_to_mvtec_layout(page: playwright_api.Page, masks: dict[str, np.ndarray]) -> None:
    """The downloaded archive holds every image at its place, and masks as they were drawn."""
    with page.expect_download() as download:
        page.click("#label-download")
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
        defective = [name for name in names if "/blot 1/" in f"/{name}" and "_mask" not in name]
        assert len(defective) == EACH and len([name for name in names if "/good/" in f"/{name}"]) == EACH
        for name, mask in masks.items():
            (place,) = [one for one in names if one.endswith(f"{Path(name).stem}_mask.png")]
            assert ((np.asarray(Image.open(io.BytesIO(archive.read(place)))) > 0) == mask).all()


def train_on_the_labels(page: playwright_api.Page, server) -> None:
    """One click writes the set and opens Train with it; the training ends with a model of these images."""
    before = {run.id for run in list_runs(server.runs)}
    page.click("#label-train")
    expect(page.locator("#train-start")).to_be_visible()
    expect(page.locator("#train-preview .thumbnails img").first).to_be_visible()
    page.fill("#train-image-size input", "64")
    page.fill("#train-epochs input", "1")
    page.keyboard.press("Tab")
    page.click("#train-start")
    wait_until(lambda: any(run.id not in before for run in list_runs(server.runs)))
    (run,) = [run for run in list_runs(server.runs) if run.id not in before]
    page.wait_for_url(re.compile(f"run={run.id}"))
    expect(page.locator("#run-status .pill")).to_have_text("Finished", timeout=240_000)
    record = DataRecord.model_validate_json(run.data_file.read_bytes())
    # Good are 12 images of the first training and 15 labelled ones; a fifth is tested on, and so are the defects.
    tested = sum(image.part == "test" for image in record.images)
    assert (len(record.images), tested) == (12 + 2 * EACH, 5 + EACH)


def test_a_mask_of_24_million_pixels_and_a_finger(visit, server, trained_run: Run, tmp_path: Path, capsys) -> None:
    """Drawn by touch as well as by mouse on a 6000 x 4000 picture, stored as it was drawn."""
    if not (server.runs / trained_run.id).exists():
        shutil.copytree(trained_run.path, server.runs / trained_run.id)
    wide = np.random.default_rng(5).integers(90, 110, (4000, 6000, 1), dtype=np.uint8).repeat(3, axis=2)
    Image.fromarray(wide).save(tmp_path / "wide.jpg", quality=60)
    visitor = visit(1440)
    page = visitor.open()
    page.set_default_timeout(60_000)
    open_tab(page, "Label")
    page.fill(".label-desk .who input", "Eve")
    page.keyboard.press("Enter")
    page.locator(".label-desk .veil h3", has_text=re.compile("No images yet|All labelled")).wait_for()
    page.set_input_files("#label-files input[type=file]", [tmp_path / "wide.jpg"])
    page.wait_for_function(f"{DESK}.altub?.session.current?.name === 'wide.jpg' && {DESK}.dataset.state === 'ready'")
    page.evaluate(
        "window.tasks = []; new PerformanceObserver((list) => tasks.push(...list.getEntries().map((one) => "
        "one.duration))).observe({type: 'longtask'})"
    )
    page.keyboard.press("t")
    page.keyboard.type("scratch")
    page.keyboard.press("Enter")
    page.keyboard.press("b")
    page.evaluate(f"{DESK}.altub.tools.resize(41)")
    drag(page, [(1000.5, 500.5), (5000.5, 3300.5)])
    # A browser of a phone tells of a finger by touches, which become the same pointer events.
    touches = page.context.new_cdp_session(page)
    view = view_of(page)
    for kind, at in (("touchStart", (300, 3500)), ("touchMove", (900, 3500)), ("touchEnd", None)):
        place = [] if at is None else [{"x": view["x"] + at[0] * view["scale"], "y": view["y"] + at[1] * view["scale"]}]
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": place})
    page.wait_for_function(f"{DESK}.altub.stage.painted.mask.done.length === 2")
    drawn = np.zeros(24_000_000, bool)
    runs = drawn_runs(page)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        drawn[start : start + length] = True
    drawn = drawn.reshape(4000, 6000)
    assert drawn[500, 1000] and drawn[3300, 5000] and drawn[3495:3505, 600].all()
    assert not drawn[:400].any() and drawn[:, :250].sum() == 0

    page.evaluate(f"{DESK}.altub.tools.use('fill')")  # all that is left, taken back
    drag(page, [(5500.5, 300.5), (5500.5, 300.5)])
    page.wait_for_function(f"{DESK}.altub.stage.painted.mask.count === 24000000")
    page.keyboard.press("Control+z")
    assert drawn_runs(page) == runs
    page.evaluate(f"{DESK}.altub.tools.use('move')")
    page.keyboard.press("2")
    store = LabelStore(server.data / "labels.db")
    (image,) = [one.sha256 for one in store.images.all() if one.name == "wide.jpg"]
    wait_until(lambda: image in store.labels.all())
    assert (store.labels.mask(store.labels.all()[image]) == drawn).all()
    with capsys.disabled():
        print(f"\nlongest pause of the page: {max(page.evaluate('tasks'), default=0):.0f} ms")
    assert visitor.complaints == [] and visitor.outside == []
