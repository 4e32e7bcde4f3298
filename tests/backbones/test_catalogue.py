"""Which backbones there are here: the folder, the cache, the Hub and the fall-back, and plain words where none is."""

from __future__ import annotations

import socket

import pytest
import torch
from safetensors.torch import save_file

from altub.backbones import (
    AUTO_BACKBONE,
    BACKBONE_PRESETS,
    FILTER_BANK,
    create_backbone,
    resolve_auto,
    weights,
    weights_available,
)
from altub.errors import WeightsError
from tests.backbones.conftest import SMALL, Hub, use_endpoint


def test_no_weights_says_what_was_tried_and_the_ways_out(folder):
    with pytest.raises(WeightsError) as caught:
        create_backbone(SMALL)
    message = str(caught.value)
    for words in (
        str(folder),
        "cache",
        "cannot be reached",
        "Go online once",
        "ALTUB_WEIGHTS",
        "--backbone filter-bank",
    ):
        assert words in message
    assert weights_available(SMALL) is None


def test_offline_mode_asks_no_network(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(weights, "_head", lambda url: pytest.fail(f"asked {url}"))
    assert weights_available(SMALL) is None
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        create_backbone(SMALL)


def test_silent_hub_is_given_up(monkeypatch):
    monkeypatch.setattr(weights, "PROBE_SECONDS", 0.3)
    with socket.socket() as deaf:  # accepts connections and never answers
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        use_endpoint(monkeypatch, f"http://127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(WeightsError, match="cannot be reached"):
            create_backbone(SMALL)


def test_probe_is_asked_once_per_process(monkeypatch):
    asked = []
    monkeypatch.setattr(weights, "_head", lambda url: asked.append(url) or "ConnectError")
    assert [weights_available(SMALL), weights_available(SMALL), weights_available("mobilenetv2_100")] == [None] * 3
    assert len(asked) == 1


def test_hub_then_cache(hub, complete, monkeypatch):
    assert weights_available(SMALL) == "hub"
    assert resolve_auto()[0] == AUTO_BACKBONE
    first = create_backbone("auto")
    assert (first.name, first.weights.source, first.weights.location) == (SMALL, "hub", "timm/resnet18.tv_in1k")
    assert torch.equal(first.network.model.state_dict()["conv1.weight"], complete["conv1.weight"])
    monkeypatch.setattr(weights, "_head", lambda url: pytest.fail(f"asked {url}"))
    assert weights_available(SMALL) == "cache"
    second = create_backbone(SMALL)
    assert (second.weights.source, second.weights.sha256) == ("cache", first.weights.sha256)


def test_expected_hash_passes_over_other_weights(hub, folder, complete):
    wanted = create_backbone(SMALL).weights.sha256
    save_file(complete | {"conv1.weight": complete["conv1.weight"] * 2}, folder / f"{SMALL}.safetensors")
    assert create_backbone(SMALL).weights.source == "file"
    chosen = create_backbone(SMALL, expected_sha256=wanted)
    assert (chosen.weights.source, chosen.weights.sha256) == ("cache", wanted)


def test_hub_that_lacks_the_model_says_so(hub):
    with pytest.raises(WeightsError, match="answered 404"):
        create_backbone("mobilenetv2_100")


def test_download_that_fails_is_an_error_by_name_and_a_fallback_by_auto(hub, monkeypatch, caplog):
    monkeypatch.setattr(Hub, "break_off", True)
    with pytest.raises(WeightsError, match=r"download of timm/resnet18\.tv_in1k failed"):
        create_backbone(SMALL)
    weights._reach.clear()
    assert create_backbone("auto").name == FILTER_BANK
    assert "filter bank is used instead" in caplog.text
    assert resolve_auto()[0] == FILTER_BANK


def test_auto_without_weights_is_the_filter_bank():
    name, sentence = resolve_auto()
    assert name == FILTER_BANK
    assert "No pretrained weights" in sentence
    backbone = create_backbone("auto")
    assert (backbone.name, backbone.weights.source) == (FILTER_BANK, "none")


def test_auto_takes_the_folder_and_does_not_hide_a_damaged_file(folder, complete):
    path = folder / f"{AUTO_BACKBONE}.safetensors"
    save_file(complete, path)
    assert resolve_auto()[0] == AUTO_BACKBONE
    assert create_backbone("auto").weights.source == "file"
    path.write_bytes(b"broken")
    with pytest.raises(WeightsError, match="damaged"):
        create_backbone("auto")


def test_presets_agree_with_timm():
    import timm

    for preset in BACKBONE_PRESETS.values():
        if preset.name == FILTER_BANK:
            continue
        config = timm.models.get_pretrained_cfg(preset.name)
        assert preset.hub_id == config.hf_hub_id
        assert preset.fixed_image_size is config.fixed_input_size
        assert not preset.fixed_image_size or preset.image_size == config.input_size[-1]


def test_filter_bank_with_another_definition_is_refused():
    sha256 = create_backbone(FILTER_BANK).weights.sha256
    assert create_backbone(FILTER_BANK, expected_sha256=sha256).weights.sha256 == sha256
    with pytest.raises(WeightsError, match="filter-bank"):
        create_backbone(FILTER_BANK, expected_sha256="0" * 64)
