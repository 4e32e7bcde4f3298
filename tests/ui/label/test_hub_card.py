"""Labels pushed from the page, to a small Hub on loopback, without a browser."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from huggingface_hub import constants

from altub.ui.label.choice import ALL_SOURCES
from altub.ui.label.desk import LabelDesk
from altub.ui.label.hub_card import HubCard
from altub.ui.services import Services
from tests.hub.loopback import ANNA, LoopbackHub

FIELDS = ("weave-run", "unlabelled", "nearest", ALL_SOURCES, "")


@pytest.fixture
def online(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> LoopbackHub:
    """This process is Anna's, and the loopback Hub is the one that it knows."""
    for name, value in (("ENDPOINT", hub.url), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setenv("HF_TOKEN", ANNA)
    return hub


@pytest.fixture
def card(services: Services, desk: LabelDesk) -> HubCard:
    with gr.Blocks():
        return HubCard(services, desk)


def test_labels_are_pushed_in_a_thread(online: LoopbackHub, card: HubCard, services: Services) -> None:
    value = {"token": card.desk.enter("Ann")}
    for image in services.labels.images.all():
        kind = image.name.partition("-")[0]
        services.labels.labels.add(image.sha256, "Ann", "good" if kind == "good" else "defect")
    _, timer = card.push(value, "anna/from-page", "mit", False, *FIELDS)
    assert timer.active
    card.task.wait(120)
    shown, timer = card.look()
    assert card.task.state == "done" and not timer.active, card.task.text
    assert "8 labelled images in anna/from-page (private)" in shown
    assert f'href="{online.url}/datasets/anna/from-page"' in shown
    assert online.state()["repos"]["datasets/anna/from-page"]["private"]
    card.push(value, "anna/from-page", "mit", False, *FIELDS)
    card.task.wait(120)
    assert "is up to date already" in card.look()[0]


def test_what_is_wrong_is_said(online: LoopbackHub, card: HubCard, monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"token": card.desk.enter("Ann")}
    assert card.look()[0] == ""
    for arguments, words in (
        (({"token": "guess"}, "anna/x", "", False), "restarted"),
        ((value, "x", "", False), "not the name of a repo"),
        ((value, None, "", False), "not the name of a repo"),
        ((value, "anna/x", "mine", False), "no licence"),
    ):
        with pytest.raises(gr.Error, match=words):
            card.push(*arguments, *FIELDS)
    card.push(value, "anna/x", "", False, *FIELDS)
    card.task.wait(120)
    assert card.task.state == "failed" and "There are no labels to export" in card.look()[0]
    assert "datasets/anna/x" not in online.state()["repos"]
