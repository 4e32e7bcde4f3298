"""Studies over further settings: names, groups and what is one run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from altub.errors import ConfigError
from altub.evaluation.study import StudyGrid, collect_results, parse_varied, plan_runs, write_results
from altub.evaluation.study.figures import write_figures
from altub.evaluation.study.results import NO_FLOW
from altub.runs.run import Run
from altub.training.loop import train

SMALL = {"backbone": "filter-bank", "image_size": 64, "epochs": 2, "batch_size": 6, "flow": {"steps": 1}}
NORMS = {"flow.norm": ["layer", "channel"]}


def grid(data: Path, **choices: Any) -> StudyGrid:
    given = {"categories": ["weave"], "base_updates": ["off", "moments"], "seeds": [0], "settings": SMALL}
    return StudyGrid(data=str(data), **{**given, **choices})


def names(data: Path, folder: Path, **choices: Any) -> list[str]:
    return [entry.name.removeprefix("weave-") for entry in plan_runs(grid(data, **choices), folder)]


def test_axes_from_the_command_line() -> None:
    axes = parse_varied(["stages=1+2,1+2+3", "flow.norm=layer, layer,none", "lr=auto,0.01"])
    assert axes == {"stages": [(1, 2), (1, 2, 3)], "flow.norm": ["layer", "none"], "lr": ["auto", 0.01]}
    assert list(axes) == ["stages", "flow.norm", "lr"], "in the order of the settings"
    for slip in ("flow.norm", "flow.norm=", "seed=1,2", "flow.kind=cflow", "nothing=1", "flow.options=1", "flow=1"):
        with pytest.raises(ConfigError):
            parse_varied([slip])


def test_axes_are_in_the_names_and_what_changes_nothing_is_one_run(data_folder: Path, tmp_path: Path) -> None:
    assert names(data_folder, tmp_path, axes={**NORMS, "epochs": [1]}, base_updates=["off"], settings={}) == [
        "fastflow-off-norm-layer-epochs-1-seed0",
        "fastflow-off-norm-channel-epochs-1-seed0",
    ]
    assert names(data_folder, tmp_path, axes={"base.interval": [1, 3]}) == [
        "fastflow-off-seed0",
        "fastflow-moments-interval-1-seed0",
        "fastflow-moments-interval-3-seed0",
    ], "settings of the base are in the name of its update, and the plain flow has none"
    both = names(data_folder, tmp_path, axes={"flow.position_code": [0, 4]}, flows=["fastflow", "cflow"])
    assert sum("cflow" in name for name in both) == sum("position-code-4" in name for name in both) == 2
    assert not any("cflow" in name and "code" in name for name in both), "it reads no position code"
    weighted = {"flow.norm": ["position", "channel"], "flow.position_weight": [0.25, 0.5]}
    assert len(names(data_folder, tmp_path, axes=weighted, base_updates=["off"])) == 3
    with pytest.raises(ConfigError, match=r"flow\.steps"):
        plan_runs(grid(data_folder, axes={"flow.steps": [1, 2]}), tmp_path)


def test_results_are_grouped_by_what_varies(data_folder: Path, tmp_path: Path) -> None:
    """Also beside runs of a study that varied nothing, which keep their names and stay done."""
    old = plan_runs(grid(data_folder, settings={**SMALL, "flow": {"steps": 1, "norm": "layer"}}), tmp_path)[0]
    planned = plan_runs(grid(data_folder, axes={"flow.norm": ["channel"]}), tmp_path)
    for entry in (old, *planned):
        for _ in train(Run.create(entry.run.path, entry.config)):
            pass
    assert all(entry.is_done() for entry in plan_runs(grid(data_folder, axes={"flow.norm": ["channel"]}), tmp_path))

    results = collect_results(tmp_path)
    assert results.axes == ["flow.norm"]
    assert [(one.variant["flow.norm"], one.update) for one in results.summaries] == [
        ("channel", NO_FLOW),
        ("channel", "off"),
        ("channel", "moments"),
        ("layer", NO_FLOW),
        ("layer", "off"),
    ]
    assert results.summaries[2].metrics["aupro"].ratio_std is None and len(results.notes) == 0
    write_results(results, tmp_path)
    assert "flow.norm" in (tmp_path / "summary.csv").read_text().splitlines()[0].split(",")
    assert json.loads((tmp_path / "results.json").read_text())["runs"][-1]["flow.norm"] == "layer"
    figures = {path.name: path for path in write_figures(results, tmp_path)}
    with Image.open(figures["figure-weave-fastflow-pixel_auroc.png"]) as picture:
        assert picture.width > 2 * picture.height, "a panel for each norm"
