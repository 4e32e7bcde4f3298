"""The command `adapt`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from altub.inference.versions import list_versions, restore_version
from altub.labels import LabelStore
from altub.runs.run import Run
from tests.line.parts import STRONG, parts, write_parts


@pytest.fixture
def today(tmp_path: Path) -> Path:
    """A folder of good parts in another light."""
    return write_parts(tmp_path / "today", parts(12, 4, shift=STRONG), digits=3)


def test_a_model_is_adapted_to_a_folder_or_to_good_labels(
    altub, line_run: Run, today: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ("--data", line_run.config.data, "--category", "weave")
    out = tmp_path / "new"
    ended = altub("adapt", "--model", line_run.model_dir, "--good", today, "--out", out, *data, "--json")
    assert ended.code == 0, ended
    told = json.loads(ended.out)
    assert told["images"] == 12 and told["rejected_before"] == 12 and told["model"] == str(out)
    assert set(told["metrics"]) == {"before", "after"} and told["metrics"]["before"]["image_auroc"] == 1

    # Without --out it is a version of the model itself, and the one before can be put back.
    model = shutil.copytree(line_run.model_dir, tmp_path / "model")
    monkeypatch.setenv("ALTUB_DB", str(tmp_path / "labels.db"))
    store = LabelStore()
    for path in sorted(today.iterdir()):
        image = store.images.add(path, source="line 1")
        store.labels.add(image.sha256, "ann", "good")
    ended = altub("adapt", "--model", model, "--labels", "line 1", "--most", 9)
    assert ended.code == 0 and "9 of 9 good images above the threshold" in ended.out, ended
    assert f"model: {model}, version 2" in ended.out
    assert [version.kind for version in list_versions(model)] == ["trained", "adapted"]
    restore_version(model, 1)
    assert (model / "model.safetensors").read_bytes() == (line_run.model_dir / "model.safetensors").read_bytes()


def test_the_flow_is_trained_where_it_is_asked_for(altub, line_run: Run, today: Path, tmp_path: Path) -> None:
    ended = altub("adapt", "--model", line_run.model_dir, "--good", today, "--out", tmp_path / "new", "--way", "flow")
    assert ended.code == 0 and "takes up to 9 times as long as the base" in ended.err, ended
    assert "After (flow)" in ended.out and "The weights of the flow moved by" in ended.out


def test_what_cannot_be_adapted_to_is_refused(altub, line_run: Run, today: Path, tmp_path: Path) -> None:
    out = tmp_path / "new"
    start = ("adapt", "--model", line_run.model_dir, "--out", out)
    altub(*start).assert_refused("either --good FOLDER or --labels SOURCE")
    altub(*start, "--good", today, "--most", 7).assert_refused("7 images are too few")
    altub(*start, "--good", today, "--way", "flows").assert_refused("no way 'flows'. Choose one of base, norm-full")
    altub(*start, "--good", today, "--data", "sample").assert_refused("both --data and --category")
    for index, image in enumerate(parts(2, 6, shift=STRONG, blot=True)):
        image.save(today / f"x{index}.png")
    altub(*start, "--good", today).assert_refused("2 of 14 images are far more anomalous than the others: x")
    assert not out.exists()
    assert altub(*start, "--good", today, "--force").code == 0 and out.exists()
