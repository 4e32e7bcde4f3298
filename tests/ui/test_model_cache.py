"""The models that the page offers, and those that it keeps loaded."""

from __future__ import annotations

import shutil
import threading

import pytest

from altub.errors import ModelError, RunError
from altub.inference.detector import AnomalyDetector
from altub.inference.model_cache import ModelCache
from altub.runs.run import Run
from altub.ui.offers import find_model, list_offers


def test_the_cache_loads_again_only_when_the_weights_have_changed(runs_folder, monkeypatch):
    loads = []
    true_load = AnomalyDetector.load
    monkeypatch.setattr(
        AnomalyDetector, "load", lambda *place, **more: loads.append(place) or true_load(*place, **more)
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
    ids = [next(runs_folder.iterdir()).name]
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
        AnomalyDetector, "load", lambda *place, **more: loads.append(place) or true_load(*place, **more)
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
    assert set(offer.metrics.measured()) >= {"image_auroc", "pixel_auroc"}
    assert "weave" in offer.label and "filter-bank" in offer.label and "AUROC" in offer.label
    with pytest.raises(RunError, match="first epoch"):
        find_model("empty-run")
    assert find_model("latest").id == offer.id


def test_latest_is_finished_and_of_the_category(runs_folder):
    (old,) = list_offers()
    newer = Run(shutil.copytree(runs_folder / old.id, runs_folder / "newer"))
    with newer.changing_status() as status:
        status.created += 1000
    assert find_model("latest").id == "newer"
    with newer.changing_status() as status:
        status.state = "stopped"
    assert find_model("latest").id == old.id and find_model("newer").id == "newer"
    assert find_model("latest", category="weave").id == old.id
    with pytest.raises(RunError, match="no finished training for lid"):
        find_model("latest", category="lid")
    with pytest.raises(RunError, match="for weave, not for lid"):
        find_model("newer", category="lid")


def test_a_damaged_model_does_not_hide_the_others(runs_folder):
    shutil.copytree(runs_folder / next(runs_folder.iterdir()).name, runs_folder / "damaged")
    (runs_folder / "damaged/model/config.json").write_text("{")
    assert [offer.id for offer in list_offers()] == [
        path.name for path in runs_folder.iterdir() if path.name != "damaged"
    ]
    with pytest.raises(ModelError, match="damaged"):
        ModelCache(device="cpu").get(runs_folder / "damaged/model")
