"""Studies: the grid, its runs as processes, tables and figures."""

from __future__ import annotations

import csv
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from altub.errors import AltUBError, ConfigError, RunError
from altub.evaluation.study import StudyGrid, collect_results, parse_settings, plan_runs, run_study, write_results
from altub.evaluation.study.figures import write_figures
from altub.evaluation.study.results import NO_FLOW
from altub.runs.run import Run
from altub.training.config import make_config

pytestmark = pytest.mark.usefixtures("quick_processes")

SMALL = {"backbone": "filter-bank", "image_size": 64, "epochs": 3, "batch_size": 6, "flow": {"steps": 2}}


def grid(data: Path, **choices: Any) -> StudyGrid:
    given = {"categories": ["weave"], "base_updates": ["off", "moments:interval=3"], "seeds": [0], "settings": SMALL}
    return StudyGrid(data=str(data), **{**given, **choices})


def test_the_grid_and_its_names(data_folder: Path, tmp_path: Path) -> None:
    planned = plan_runs(grid(data_folder, seeds=[0, 1], base_updates=["off", "B", "moments:interval=3"]), tmp_path)
    assert [entry.name for entry in planned] == [
        f"weave-fastflow-{update}-seed{seed}"
        for seed in (0, 1)
        for update in ("off", "public-fastflow", "moments-interval-3")
    ]
    moments = planned[2].config
    assert (moments.base.base_update, moments.base.interval, moments.epochs, moments.flow.steps) == ("moments", 3, 3, 2)
    assert list(tmp_path.iterdir()) == [], "planning writes nothing"


def test_two_words_for_one_update_are_one_run(data_folder: Path, tmp_path: Path) -> None:
    planned = plan_runs(
        grid(data_folder, base_updates=["gradient", "B:interval_unit=epoch:interval=2:on_top=true"]), tmp_path
    )
    assert [entry.name for entry in planned] == ["weave-fastflow-gradient-seed0"]


def test_settings_of_all_runs_leave_the_plain_flow_plain(data_folder: Path, tmp_path: Path) -> None:
    settings = {**SMALL, "base": {"interval": 4}}
    off, moments, own = plan_runs(
        grid(data_folder, settings=settings, base_updates=["off", "moments", "moments:interval=3"]), tmp_path
    )
    assert "off" in off.name and (moments.config.base.interval, own.config.base.interval) == (4, 3)


@pytest.mark.parametrize(
    ("choices", "word"),
    [
        ({"base_updates": ["Z"]}, "base update"),
        ({"base_updates": ["moments:speed=2"]}, "not understood"),
        ({"flows": ["nosuchflow"]}, "no flow"),
        ({"categories": ["nothing"]}, "nothing"),
        ({"seeds": []}, "seed"),
        ({"settings": {"epoch": 3}}, "epoch"),
    ],
)
def test_slips_are_said_before_anything_is_trained(
    choices: dict[str, Any], word: str, data_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(AltUBError, match=word):
        plan_runs(grid(data_folder, **choices), tmp_path)


def test_former_names_of_variants_are_understood_and_their_runs_found(data_folder: Path, tmp_path: Path) -> None:
    """A study of an earlier version goes on in the folders that it has."""
    (tmp_path / "runs/weave-fastflow-A-interval-3-seed0").mkdir(parents=True)
    former, current, strict = plan_runs(
        grid(data_folder, base_updates=["A:interval=3", "author-tabular", "C"]), tmp_path
    )
    assert former.name == "weave-fastflow-A-interval-3-seed0" and former.config.base.optimizer == "sgd"
    assert (current.name, strict.name) == ("weave-fastflow-author-tabular-seed0", "weave-fastflow-strict-seed0")


def test_settings_from_the_command_line() -> None:
    pairs = ["epochs=10", "flow.norm=layer", "base.lr=none", "stages=1,2", "lr=1e-3", "augment=hflip,vflip"]
    assert parse_settings(pairs) == {
        "epochs": 10,
        "flow": {"norm": "layer"},
        "base": {"lr": "auto"},
        "stages": (1, 2),
        "lr": 1e-3,
        "augment": ("hflip", "vflip"),
    }
    assert make_config(category="c", **parse_settings(pairs)).base.lr is None
    for slip in ("epochs", "seed=3", "base=3", "=3", "base.base_update=off", "x.y=1"):
        with pytest.raises(ConfigError):
            parse_settings([slip])


def test_a_study_trains_goes_on_extends_and_reports(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    first = plan_runs(grid(data_folder), tmp_path)

    # Stopped in the middle: nobody trains on, and the same study goes on.
    stop = threading.Event()

    def stop_early(progress: Any) -> None:
        if any(status.epoch >= 1 for _, status in progress.active) or progress.ended:
            stop.set()

    ended = run_study(first, should_stop=stop.is_set, on_progress=stop_early)
    assert not ended and not any(entry.run.is_alive() for entry in first)
    seen: list[Any] = []
    assert run_study(first, on_progress=seen.append)
    assert all(entry.is_done() for entry in first) and seen[-1].finished == 2
    trained = (first[0].run.path / "events.jsonl").stat().st_mtime_ns

    # Another grid extends it; what is done stays as it is; a run that fails does not end it.
    more = plan_runs(grid(data_folder, seeds=[0, 1]), tmp_path)
    (tmp_path / "runs" / more[3].name).mkdir()
    (tmp_path / "runs" / more[3].name / "events.jsonl").mkdir()  # no event can be written
    assert run_study(more)
    assert (first[0].run.path / "events.jsonl").stat().st_mtime_ns == trained
    assert [entry.is_done() for entry in more] == [True, True, True, False]

    # The report needs the run directories alone.
    results = collect_results(tmp_path)
    assert [run.run for run in results.failed] == [more[3].name] and results.failed[0].message
    assert any("finished seeds" in note for note in results.notes)
    start, off, moments = results.summaries
    assert (off.update, off.seeds, moments.update, moments.seeds) == ("off", [0, 1], "moments:interval=3", [0])
    lasts = [entry.run.last_and_best()[0].test.pixel_auroc for entry in (more[0], more[2])]
    assert off.metrics["pixel_auroc"].mean_last == pytest.approx(sum(lasts) / 2)
    assert off.metrics["pixel_auroc"].std_last == pytest.approx(abs(lasts[0] - lasts[1]) / 2**0.5)
    assert off.metrics["pixel_auroc"].ratio_std == 1 and off.drift_mean == 0 and moments.drift_mean > 0

    # Epoch 0 is a row of its own and the curves' first point; the ends of the curves are those of trained epochs.
    zero = more[0].run.events(start=True)[0].test
    assert (start.update, start.seeds, start.metrics["pixel_auroc"].mean_gap) == (NO_FLOW, [0, 1], None)
    assert results.runs[0].start["pixel_auroc"] == zero.pixel_auroc and results.runs[0].stats["aupro"].best_epoch > 0
    assert results.curves["weave", "fastflow", "", "off", "aupro"][0][0] == (0, zero.aupro)

    write_results(results, tmp_path)
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert [row["seed"] for row in rows] == ["0", "1", "0", "1"] and float(rows[0]["pixel_auroc_last"]) == lasts[0]
    assert len(json.loads((tmp_path / "results.json").read_text())["runs"]) == 4
    figures = {path.name for path in write_figures(results, tmp_path)}
    assert {"figure-weave-fastflow-pixel_auroc.png", "figure-weave-fastflow-drift.svg"} <= figures
    with Image.open(tmp_path / "figure-weave-fastflow-drift.png") as picture:
        assert picture.width > 2000

    with pytest.raises(RunError, match="another batch_size"):
        plan_runs(grid(data_folder, settings={**SMALL, "batch_size": 2}), tmp_path)


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no runs"):
        collect_results(tmp_path)
    assert not Run(tmp_path).is_alive()
