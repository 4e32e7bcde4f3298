"""What the canvas asks of the server, without a browser: images, verdicts, other people, and bad requests."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.inference.prediction import Prediction
from altub.labels.masks import encode_mask
from altub.ui.label.desk import LabelDesk
from altub.ui.label.items import mask_runs
from altub.ui.services import Services


def pixels(runs: list[int], size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) of runs."""
    mask = np.zeros(size[0] * size[1], bool)
    for start, length in zip(runs[::2], runs[1::2], strict=True):
        mask[start : start + length] = True
    return mask.reshape(size[::-1])


def test_runs_are_exact() -> None:
    rng = np.random.default_rng(0)
    for mask in (*(rng.random((7, 5)) < share for share in (0, 0.3, 0.7, 1)), np.eye(1, dtype=bool)):
        assert (pixels(mask_runs(mask), mask.shape[::-1]) == mask).all()


def test_an_image_comes_with_all_that_is_shown(ask, services: Services) -> None:
    reply = ask("next_image", have=[])
    item = reply["item"]
    json.dumps(reply)  # it is sent as JSON
    assert (reply["images"], reply["labelled"]) == (8, 0) and item["label"] is None and item["history"] == []
    assert (item["width"], item["height"], item["source"]) == (64, 64, "line 3")
    picture = Path(item["picture"].removeprefix("gradio_api/file="))
    assert Image.open(picture).size == (64, 64) and str(services.labels.path.parent) in str(picture)
    # The proposed mask is the one that the detector's own verdict has, up to the stored map's rounding.
    model = services.models.get(next(Path(services.watch.root).iterdir()) / "model")
    store = services.labels
    proposal = store.proposals.get(item["image"], model.weights_sha256)
    own = Prediction(store.proposals.map(proposal), np.zeros((1, 4, 4)), proposal.score, 0.5, (64, 64))
    verdict = own.at(model.detector.threshold)
    assert (pixels(item["proposal"]["runs"], (64, 64)) == verdict.mask).all()
    assert item["proposal"]["verdict"] == ("defect" if verdict.is_anomalous else "good")


def test_images_come_once_with_their_reason_and_again_after_a_reload(ask, desk: LabelDesk, services: Services) -> None:
    first = ask("next_image", have=[])["item"]
    second = ask("next_image", have=[first["image"]])["item"]
    assert first["image"] != second["image"] and {first["reason"], second["reason"]} <= {"anomalous", "random"}
    # A page that was loaded again has nothing: it gets what was leased to its person, in the same order.
    assert ask("next_image", have=[])["item"]["showing"] == first["showing"]
    other = desk.enter("Bob")
    seen = set()
    for _ in range(6):
        item = ask("next_image", have=list(seen), token=other)["item"]
        seen.add(item["image"])
    assert not seen & {first["image"], second["image"]}  # what Ann looks at is not given to Bob
    assert ask("next_image", have=list(seen), token=other)["item"] is None
    assert ask("open_image", image=first["image"], token=other)["item"]["holder"] == "Ann"
    assert ask("renew", images=[first["image"]], token=other)["lost"] == [first["image"]]
    assert ask("renew", images=[first["image"]])["lost"] == []


def test_a_verdict_is_stored_with_what_was_seen_and_taken_back(ask, services: Services) -> None:
    item = ask("next_image", have=[])["item"]
    mask = np.zeros((64, 64), bool)
    mask[3:9, 5:50] = True
    request = {"image": item["image"], "showing": item["showing"], "proposal": item["proposal"]["id"]}
    text = base64.b64encode(encode_mask(mask)).decode()
    reply = ask("save_label", verdict="defect", type=" big  dent", mask=text, note="left side", **request)
    assert reply["labelled"] == 1 and reply["types"] == [{"name": "big dent", "count": 1}]
    label = services.labels.labels.of(item["image"])
    assert (label.who, label.verdict, label.defect_type, label.note) == ("Ann", "defect", "big dent", "left side")
    assert (label.showing, label.proposal) == (item["showing"], item["proposal"]["id"])
    assert (services.labels.labels.mask(label) == mask).all()

    again = ask("open_image", image=item["image"])["item"]
    assert (pixels(again["label"]["runs"], (64, 64)) == mask).all() and len(again["history"]) == 1
    taken = ask("undo_label")
    assert taken["item"]["image"] == item["image"] and taken["item"]["label"] is None
    assert (pixels(taken["taken"]["runs"], (64, 64)) == mask).all() and taken["labelled"] == 0
    assert "no label of yours" in ask("undo_label")["error"]


def test_a_large_mask_is_an_upload_and_no_other_file_is_read(ask, services: Services, tmp_path: Path) -> None:
    item = ask("next_image", have=[])["item"]
    folder = tmp_path / "temporary" / "abc"
    folder.mkdir(parents=True, exist_ok=True)
    inside, outside = folder / "mask.png", tmp_path / "secret.png"
    for path in (inside, outside):
        path.write_bytes(encode_mask(np.eye(64, dtype=bool)))
    for name in (outside, folder / ".." / ".." / "secret.png", folder, folder / "none.png"):
        assert "did not arrive" in ask("save_label", image=item["image"], verdict="defect", upload=str(name))["error"]
    assert services.labels.labels.counts()["events"] == 0
    ask("save_label", image=item["image"], verdict="defect", upload=str(inside))
    assert (services.labels.labels.mask(services.labels.labels.of(item["image"])) == np.eye(64, dtype=bool)).all()


def test_lists_and_disagreements(ask, services: Services) -> None:
    everything = ask("list_images", view={"show": "all", "order": "oldest"}, offset=0)
    assert everything["list"] == [image.sha256 for image in services.labels.images.all()]
    page = ask("list_images", view={"show": "all", "order": "anomalous"}, offset=0)
    odd = ask("open_image", image=services.labels.images.all()[0].sha256)["item"]
    verdict = "good" if odd["proposal"]["verdict"] == "defect" else "defect"
    ask("save_label", image=odd["image"], verdict=verdict)
    assert ask("list_images", view={"show": "disagreement", "order": "newest"})["total"] == 1
    assert ask("list_images", view={"show": verdict, "order": "labelled"})["total"] == 1
    assert page["total"] == 8


@pytest.mark.parametrize(
    ("name", "request_", "words"),
    [
        ("open_image", {"image": "../../etc/passwd"}, "no such image"),
        ("open_image", {"image": 7}, "reload it"),
        ("save_label", {"image": "0" * 64, "verdict": "good"}, "no such image"),
        ("save_label", {"verdict": "perhaps"}, "is no verdict"),
        ("save_label", {"verdict": "defect", "mask": "%%"}, "damaged on the way"),
        ("save_label", {"verdict": "defect", "mask": base64.b64encode(b"no picture").decode()}, "cannot be read"),
        ("save_label", {"verdict": "defect", "type": "<b>x</b>"}, "cannot be a defect type"),
        ("save_label", {"verdict": "good", "showing": 10**6}, "reload the page"),
        ("next_image", {"view": {"run": "../x"}}, "no run"),
        ("list_images", {"view": {"show": 3}}, "reload it"),
    ],
)
def test_bad_requests_get_a_sentence_and_store_nothing(ask, services: Services, name, request_, words) -> None:
    image = services.labels.images.all()[0].sha256
    reply = ask(name, **({"image": image} | request_))
    assert words in reply["error"] and str(services.labels.path.parent) not in reply["error"]
    assert services.labels.labels.counts()["events"] == 0


def test_who_has_no_session_gets_nothing(ask, desk: LabelDesk) -> None:
    for token in ("", "guess", None, 3, ["x"]):
        assert ask("next_image", token=token) == {"error": ask("renew", token="")["error"], "expired": True}
    assert all(function("no object")["error"] for function in desk.functions())
    with pytest.raises(Exception, match="name"):
        desk.enter("  ")
