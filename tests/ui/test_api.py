"""The public API of the page, called over HTTP as its users do."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

from altub.inference.detector import AnomalyDetector
from altub.inference.model_files import read_config
from altub.inference.threshold import Threshold
from altub.plots import overlay
from altub.runs.run import Run
from altub.ui.app import build_app


@pytest.fixture(scope="module")
def client(trained_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of the page, which knows the trained run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALTUB_RUNS", str(trained_run.path.parent))
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        demo = build_app()
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, show_error=False)
        try:
            client = Client(url, verbose=False, download_files=str(tmp_path_factory.mktemp("downloads")))
            client.demo = demo
            yield client
        finally:
            demo.close()


@pytest.fixture(scope="module")
def defective(data_folder: Path) -> Path:
    return data_folder / "weave" / "test" / "blot" / "000.png"


def test_nothing_but_five_endpoints_is_public(client):
    endpoints = client.view_api(return_format="dict")
    assert set(endpoints["named_endpoints"]) == {"/runs", "/inspect", "/predict", "/next", "/label"}
    assert endpoints["unnamed_endpoints"] == {}
    about = endpoints["named_endpoints"]["/predict"]
    assert [field["label"] for field in about["returns"]] == ["overlay", "anomaly_map", "score", "p_value", "verdict"]
    assert [field["parameter_name"] for field in about["parameters"]] == ["image", "run", "category"]
    about = endpoints["named_endpoints"]["/inspect"]
    assert [field["label"] for field in about["returns"]] == ["overlay", "anomaly_map", "report"]


def test_runs_lists_what_predict_takes(client, trained_run):
    (run,) = client.predict(api_name="/runs")
    assert set(run) == {"id", "category", "backbone", "state", "epoch", "epochs", "created", "metrics"}
    assert (run["id"], run["category"], run["state"], run["epoch"]) == (trained_run.id, "weave", "finished", 4)
    assert 0 <= run["metrics"]["pixel_auroc"] <= 1


@pytest.mark.parametrize("arguments", [("latest",), ("{id}",), (), ("latest", "weave")])
def test_predict_says_what_the_detector_says(client, trained_run, defective, arguments):
    arguments = [argument.format(id=trained_run.id) for argument in arguments]
    shown, anomaly_map, score, p_value, verdict = client.predict(
        handle_file(defective), *arguments, api_name="/predict"
    )
    detector = AnomalyDetector.load(trained_run.model_dir)
    expected, threshold = detector.predict(defective), detector.threshold
    assert score == pytest.approx(expected.score, abs=1e-6) and p_value == expected.p_value
    assert verdict == "defect" and expected.at(threshold).is_anomalous
    values = np.asarray(Image.open(anomaly_map))
    assert values.dtype == np.float32 and values.shape == expected.anomaly_map.shape
    np.testing.assert_allclose(values, expected.anomaly_map, atol=1e-6)
    calibration = detector.calibration
    drawn = overlay(
        Image.open(defective),
        values,  # a contour moves where rounding moves the map by 1e-7
        calibration.colour_low,
        calibration.colour_high,
        threshold=expected.at(threshold).pixel_value,
    )
    with Image.open(shown) as image:
        assert image.format == "PNG" and image.size == (64, 64)
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - np.asarray(drawn)).max() <= 1


def test_inspect_names_score_threshold_and_model(client, trained_run, defective):
    overlay_file, anomaly_map, report = client.predict(handle_file(defective), "latest", "weave", api_name="/inspect")
    *files, score, p_value, verdict = client.predict(handle_file(defective), api_name="/predict")
    for one, other in zip((overlay_file, anomaly_map), files, strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()
    assert (report["score"], report["p_value"], report["verdict"]) == (score, p_value, verdict)
    detector = AnomalyDetector.load(trained_run.model_dir)
    assert Threshold.from_dict(report["threshold"]) == detector.threshold
    calibration = detector.calibration
    assert report["anomaly_score"] == calibration.anomaly_score(score) > report["threshold"]["anomaly_value"] == 1
    assert report["threshold"]["anomaly_pixel_value"] == calibration.pixel_unit.of(detector.threshold.pixel_value)
    assert "held-out" in report["threshold"]["promise"] and report["threshold"]["origin"]["kind"] == "held-out"
    assert report["score_name"].startswith("Mean of the highest 1 %")
    assert report["score_unit"] == "log(1 + ranges of good images)"
    assert 0 < report["marked_area"] < 1
    assert report["kind"] == detector.predict(defective).at(detector.threshold).kind and report["reasons"] == []
    model = report["model"]
    assert (model["run"], model["category"], model["backbone"]) == (trained_run.id, "weave", "filter-bank")
    assert model["epoch"] == 4 and model["weights_sha256"] == read_config(trained_run.model_dir).weights_sha256


@pytest.mark.parametrize(("run", "words"), [("latest", "no finished training for lid"), ("{id}", "not for lid")])
def test_another_category_is_refused(client, trained_run, defective, run, words):
    with pytest.raises(Exception, match=words):
        client.predict(handle_file(defective), run.format(id=trained_run.id), "lid", api_name="/inspect")


def test_results_have_the_size_of_the_image(client, defective, tmp_path):
    large = tmp_path / "large.png"
    Image.open(defective).resize((300, 170)).save(large)
    shown, anomaly_map, *_ = client.predict(handle_file(large), api_name="/predict")
    assert Image.open(shown).size == Image.open(anomaly_map).size == (300, 170)


@pytest.mark.parametrize("run", ["missing", "../..", "/etc", "a\nb"])
def test_a_run_that_is_not_there_is_said_to_be_missing(client, defective, run):
    with pytest.raises(Exception, match=r"no run with that id") as caught:
        client.predict(handle_file(defective), run, api_name="/predict")
    assert str(Path.home()) not in str(caught.value) and "runs/" not in str(caught.value)


def test_what_is_no_image_is_refused_by_name(client, tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(Exception, match=r"notes\.txt is not an image"):
        client.predict(handle_file(tmp_path / "notes.txt"), api_name="/predict")


def test_too_many_pixels_are_refused(client, defective, monkeypatch):
    monkeypatch.setenv("ALTUB_MAX_PIXELS", "1000")
    with pytest.raises(Exception, match=r"64 x 64 pixels, more than the 1,000 allowed"):
        client.predict(handle_file(defective), api_name="/predict")


def call(client: Client, handler: str, data: list[Any]) -> dict[str, Any]:
    """The last message that the queue sends for a handler called by its number, as anybody can."""
    number = next(number for number, block in client.demo.fns.items() if getattr(block.fn, "__name__", "") == handler)
    address, session = f"{client.src}gradio_api/queue", secrets.token_hex(5)
    join = {"data": data, "fn_index": number, "session_hash": session, "event_data": {"number": 1, "index": 0}}
    httpx.post(f"{address}/join", json=join).raise_for_status()
    with httpx.stream("GET", f"{address}/data", params={"session_hash": session}, timeout=60) as stream:
        for line in stream.iter_lines():
            message = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if message.get("msg") == "process_completed":
                return message
    raise AssertionError("the queue never answered")


LOOK = [0.5, "inferno", True]


def test_a_file_of_the_server_is_never_read(client, trained_run, defective):
    """A path that was not uploaded is refused, by the public endpoint and by the private handler for files."""
    file = {"path": str(defective), "meta": {"_type": "gradio.FileData"}}
    for answer in (
        call(client, "predict", [file, trained_run.id, ""]),
        call(client, "inspect", [file, trained_run.id, ""]),
        call(client, "inspect_files", [[file], ["part.png"], trained_run.id, None, 7, *LOOK]),
    ):
        assert not answer["success"]
        assert "verdict" not in json.dumps(answer) and "defect" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("handler", "data"),
    [
        ("relabel", [None, None, 3, *LOOK]),
        ("relabel", [None, None, 99, *LOOK]),
        ("show", [None, None, 3, *LOOK]),
        ("pick", [None, 3, *LOOK]),
        ("follow_run", ["../..", None, 3, *LOOK]),
        ("inspect_again", ["../..", None, 3, *LOOK]),
        ("inspect_example", ["/etc", None, 3, *LOOK]),
        ("write_csv", [None, 3]),
        ("write_zip", [None, 3, "jpeg", "png", True, 0.5, "jet", True]),
        ("write_report", [None, 3, 0.5, "inferno", True]),
        ("choose_run", ["../../etc", None]),
        ("open_kept", ["/etc", *LOOK]),
        ("remember", ["/etc", ["/etc", None, 3]]),
        ("restore", [["/etc"], "../..", *LOOK]),
    ],
)
def test_private_handlers_called_by_number_give_nothing_away(client, handler, data):
    answer = call(client, handler, data)
    if not answer["success"]:
        assert "Traceback" not in json.dumps(answer) and "site-packages" not in json.dumps(answer)
    assert "/etc" not in json.dumps(answer["output"].get("data", []))
    assert client.predict(api_name="/runs")  # the server goes on
