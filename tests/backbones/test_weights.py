"""Weights from a file: strictly, or not at all, and known by their hash."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from altub.backbones import create_backbone, weights_available
from altub.errors import WeightsError
from tests.backbones.conftest import SMALL, timm_tensors

SHARED = Path(os.environ.get("ALTUB_TEST_SHARED", Path(__file__).parents[3] / "shared"))


def test_complete_file_loads_and_partial_file_gives_the_same_hash(folder, complete):
    path = folder / f"{SMALL}.safetensors"
    save_file(complete, path)
    full = create_backbone(SMALL)
    assert (full.weights.source, full.weights.location) == ("file", path.name)
    for key, value in full.network.model.state_dict().items():
        assert torch.equal(value, complete[key]), key

    partial = {k: v for k, v in complete.items() if not k.startswith(("layer4", "fc")) and "num_batches" not in k}
    save_file(partial, path)
    again = create_backbone(SMALL)
    assert again.weights.sha256 == full.weights.sha256
    images = torch.rand(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(full(images), again(images), strict=True))
    assert str(folder) not in json.dumps(full.describe())


def test_hash_tells_weights_apart(folder, complete):
    path = folder / f"{SMALL}.safetensors"
    save_file(complete, path)
    first = create_backbone(SMALL).weights.sha256
    changed = dict(complete)
    changed["layer3.1.bn2.running_var"] = complete["layer3.1.bn2.running_var"] * (1 + 1e-6)
    save_file(changed, path)
    assert create_backbone(SMALL).weights.sha256 != first
    with pytest.raises(WeightsError, match=first[:12]):
        create_backbone(SMALL, expected_sha256=first)
    save_file(complete, path)
    assert create_backbone(SMALL, expected_sha256=first).weights.sha256 == first


@pytest.mark.parametrize("key", ["conv1.weight", "layer2.0.downsample.1.running_var", "layer3.1.bn2.bias"])
def test_one_missing_tensor_fails_with_its_name(folder, complete, key):
    save_file({k: v for k, v in complete.items() if k != key}, folder / f"{SMALL}.safetensors")
    with pytest.raises(WeightsError, match=key):
        create_backbone(SMALL)


def test_stage_beyond_a_partial_file_never_stays_random(folder, complete):
    save_file({k: v for k, v in complete.items() if not k.startswith("layer3")}, folder / f"{SMALL}.safetensors")
    assert create_backbone(SMALL, (1, 2)).channels == (64, 128)
    with pytest.raises(WeightsError, match=r"layer3\.0\.conv1\.weight"):
        create_backbone(SMALL, (1, 2, 3))


def test_wrong_shape_and_not_finite_fail_with_the_name(folder, complete):
    path = folder / f"{SMALL}.safetensors"
    save_file(complete | {"layer1.0.conv1.weight": torch.zeros(64, 32, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv1\.weight has shape"):
        create_backbone(SMALL)
    save_file(complete | {"layer1.0.conv1.weight": torch.full((64, 64, 3, 3), float("nan"))}, path)
    with pytest.raises(WeightsError, match=r"layer1\.0\.conv1\.weight holds values"):
        create_backbone(SMALL)


def test_half_precision_storage_becomes_float32(folder, complete):
    save_file(
        {k: v.half() if v.is_floating_point() else v for k, v in complete.items()}, folder / f"{SMALL}.safetensors"
    )
    state = create_backbone(SMALL).network.model.state_dict()
    assert state["layer1.0.conv1.weight"].dtype == torch.float32
    assert torch.equal(state["layer1.0.conv1.weight"], complete["layer1.0.conv1.weight"].half().float())


@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_damaged_file_is_said_plainly(folder, complete, damage):
    path = folder / f"{SMALL}.safetensors"
    save_file(complete, path)
    content = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "text": b"<html>not found</html>"}[damage])
    with pytest.raises(WeightsError, match=rf"{SMALL}\.safetensors is damaged"):
        create_backbone(SMALL)


def test_transformer_needs_its_blocks_and_norm_only(folder):
    name = "deit_tiny_distilled_patch16_224"
    tensors = timm_tensors(name)
    cut = tuple(f"blocks.{i}." for i in range(3, 12))
    kept = {k: v for k, v in tensors.items() if not k.startswith((*cut, "head"))}
    save_file(kept, folder / f"{name}.safetensors")
    backbone = create_backbone(name, (2,))
    assert all(torch.equal(v, tensors[k]) for k, v in backbone.network.model.state_dict().items())
    assert torch.isfinite(backbone(torch.rand(1, 3, 224, 224))[0]).all()
    del kept["norm.weight"]
    save_file(kept, folder / f"{name}.safetensors")
    with pytest.raises(WeightsError, match=r"norm\.weight"):
        create_backbone(name, (2,))


def test_untagged_name_finds_its_default_tag_but_not_the_reverse(folder, complete):
    save_file(complete, folder / "resnet18.a1_in1k.safetensors")
    assert weights_available("resnet18") == "file"
    assert create_backbone("resnet18").weights.location == "resnet18.a1_in1k.safetensors"
    (folder / "resnet18.a1_in1k.safetensors").rename(folder / "resnet18.safetensors")
    assert weights_available(SMALL) is None
    with pytest.raises(WeightsError, match=r"resnet18\.tv_in1k\.safetensors is not in"):
        create_backbone(SMALL)


@pytest.mark.parametrize(("name", "sum_of_channels"), [(SMALL, 448), ("mobilenetv2_100", 152)])
def test_real_weights_load(monkeypatch, name, sum_of_channels):
    path = SHARED / "weights" / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is missing: set ALTUB_TEST_SHARED to the folder with the real weights")
    monkeypatch.setenv("ALTUB_WEIGHTS", str(path.parent))
    backbone = create_backbone(name)
    file = load_file(path)
    for key, value in backbone.network.model.state_dict().items():
        assert torch.equal(value, file[key].to(value.dtype)), key
    features = backbone(torch.rand(1, 3, 64, 64))
    assert sum(f.shape[1] for f in features) == sum_of_channels
    assert all(torch.isfinite(f).all() for f in features)
