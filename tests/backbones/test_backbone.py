"""Backbones: strict weights, frozen, the right features, and plain words where there are no weights."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from altub.backbones import weights
from altub.backbones.backbone import (
    AUTO_BACKBONE,
    BACKBONE_PRESETS,
    FILTER_BANK,
    create_backbone,
    resolve_auto,
    weights_available,
)
from altub.errors import ConfigError, WeightsError

SMALL = "resnet18.tv_in1k"
SHARED = Path(os.environ.get("ALTUB_TEST_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No weights folder, an empty cache, and a Hub that refuses connections."""
    from huggingface_hub import constants, file_download

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.delenv("ALTUB_WEIGHTS", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    use_endpoint(monkeypatch, f"http://127.0.0.1:{port}")
    monkeypatch.setattr(file_download, "HF_HUB_OFFLINE", False, raising=False)
    monkeypatch.setattr(weights, "_reach", {})


def use_endpoint(monkeypatch, url: str) -> None:
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)


def timm_tensors(name: str, seed: int = 7) -> dict[str, Tensor]:
    """A complete state of the timm model, batch statistics unlike those of a fresh one."""
    import timm

    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.data.uniform_(0.5, 1.5)
    return {key: value.contiguous().clone() for key, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def complete() -> dict[str, Tensor]:
    return timm_tensors(SMALL)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    path = tmp_path / "weights"
    path.mkdir()
    monkeypatch.setenv("ALTUB_WEIGHTS", str(path))
    return path


# ------------------------------------------------------------------------------------------------ features


@pytest.mark.parametrize(
    ("name", "size", "stages", "channels", "strides", "final_norm"),
    [
        ("resnet18.tv_in1k", 64, (1, 2, 3), (64, 128, 256), (4, 8, 16), False),
        ("mobilenetv2_100", 64, (1, 2, 3), (24, 32, 96), (4, 8, 16), False),
        ("convnext_atto", 64, (1, 2, 3), (80, 160, 320), (8, 16, 32), False),
        ("deit_tiny_distilled_patch16_224", 224, (7,), (192,), (16,), True),
        ("cait_xxs24_224", 224, (15,), (192,), (16,), True),
        (FILTER_BANK, 64, (1, 2, 3), None, (4, 8, 16), False),
    ],
)
def test_shapes_strides_and_description(name, size, stages, channels, strides, final_norm):
    backbone = create_backbone(name, pretrained=False, image_size=size)
    features = backbone(torch.rand(2, 3, size, size))
    assert backbone.stages == stages
    assert backbone.strides == strides
    assert channels is None or backbone.channels == channels
    assert [tuple(f.shape) for f in features] == [
        (2, c, size // s, size // s) for c, s in zip(backbone.channels, strides, strict=True)
    ]
    assert backbone.has_final_norm is final_norm
    assert backbone.fixed_image_size == (224 if final_norm else None)
    described = json.loads(json.dumps(backbone.describe()))
    assert described["name"] == name
    assert described["stages"] == list(stages)
    assert described["weights"]["sha256"] == backbone.weights.sha256
    assert described["weights"]["source"] == ("none" if name == FILTER_BANK else "random")


@pytest.mark.parametrize("name", ["resnet18.tv_in1k", "mobilenetv2_100", "convnext_atto"])
def test_features_are_those_of_timm_features_only(name):
    import timm

    backbone = create_backbone(name, (0, 2), pretrained=False)
    reference = timm.create_model(name, pretrained=False, features_only=True, out_indices=(0, 2)).eval()
    state = backbone.network.model.state_dict()
    if name == "convnext_atto":  # timm flattens its sequential containers here
        state = {key.replace("stem.", "stem_").replace("stages.", "stages_"): value for key, value in state.items()}
    assert not reference.load_state_dict(state, strict=False).unexpected_keys
    images = torch.rand(1, 3, 64, 96)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = reference((images - mean) / std)
    for ours, theirs in zip(backbone(images), expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("name", "tokens"), [("deit_tiny_distilled_patch16_224", 2), ("cait_xxs24_224", 0)])
def test_transformer_stage_is_blocks_then_norm_without_class_tokens(name, tokens):
    import timm

    torch.manual_seed(5)
    backbone = create_backbone(name, (3,), pretrained=False)
    torch.manual_seed(5)
    model = timm.create_model(name, pretrained=False).eval()
    # Norms that do something: a fresh LayerNorm's affine part is the identity.
    for norm in (model.norm, backbone.network.model.norm):
        norm.weight.data = torch.linspace(0.5, 1.5, 192)
        norm.bias.data = torch.linspace(-1, 1, 192)
    images = torch.rand(1, 3, 224, 224)
    x = model.patch_embed((images - backbone.normalise_mean) / backbone.normalise_std)
    x = model._pos_embed(x) if tokens else model.pos_drop(x + model.pos_embed)
    for block in model.blocks[:4]:
        x = block(x)
    expected = model.norm(x)[:, tokens:].transpose(1, 2).reshape(1, 192, 14, 14)
    (features,) = backbone(images)
    torch.testing.assert_close(features, expected)
    assert len(backbone.network.model.blocks) == 4  # the rest costs neither memory nor time
    assert not any("token_only" in key or key.startswith("network.model.head") for key in backbone.state_dict())


@pytest.mark.parametrize("name", [SMALL, FILTER_BANK])
def test_stays_frozen_and_in_eval_mode(name):
    backbone = create_backbone(name, pretrained=False)
    nn.Sequential(backbone).train()
    assert backbone.train() is backbone
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    first, second = backbone(torch.ones(2, 3, 64, 64) * 0.3), backbone(torch.ones(2, 3, 64, 64) * 0.3)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert not first[0].requires_grad


def test_images_are_normalised_inside():
    backbone = create_backbone(SMALL, pretrained=False)
    seen = []
    backbone.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    backbone(torch.full((1, 3, 32, 32), 0.5))
    expected = (0.5 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(seen[0][0, :, 0, 0], expected)


def test_random_weights_follow_the_seed():
    hashes = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        hashes.append(create_backbone(SMALL, (1,), pretrained=False).weights.sha256)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [(SMALL, (64, 72), "multiples of 16"), ("deit_tiny_distilled_patch16_224", (256, 256), "224 x 224")],
)
def test_wrong_image_size_is_said_plainly(name, size, words):
    backbone = create_backbone(name, pretrained=False)
    with pytest.raises(ConfigError, match=words):
        backbone(torch.rand(1, 3, *size))


@pytest.mark.parametrize("stages", [(), (2, 1), (1, 1), (-1,), (3, 5)])
def test_impossible_stages_are_refused(stages):
    with pytest.raises(ConfigError, match="stages 0 to 4"):
        create_backbone(SMALL, stages, pretrained=False)


def test_impossible_image_size_and_name_are_refused():
    with pytest.raises(ConfigError, match="multiples of 16"):
        create_backbone(FILTER_BANK, image_size=100)
    with pytest.raises(ConfigError, match=r"resnet18\.tv_in1k"):
        create_backbone("resnet18.tv_in1")


# ------------------------------------------------------------------------------------------------- weights


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


# ----------------------------------------------------------------------------------------------------- hub


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


class _Hub(http.server.BaseHTTPRequestHandler):
    """The two endpoints that a download uses."""

    content = b""
    break_off = False

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        if self.path != "/timm/resnet18.tv_in1k/resolve/main/model.safetensors":
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if body and self.break_off:
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", '"abc"')
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        if body:
            self.wfile.write(self.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch, tmp_path, complete):
    save_file(complete, tmp_path / "model.safetensors")
    monkeypatch.setattr(_Hub, "content", (tmp_path / "model.safetensors").read_bytes())
    monkeypatch.setattr(_Hub, "break_off", False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    use_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()


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
    monkeypatch.setattr(_Hub, "break_off", True)
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
