"""timm's models and the filter bank as backbones: frozen, the right features, sizes and stages that are checked."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from altub.backbones import FILTER_BANK, create_backbone
from altub.errors import ConfigError
from tests.backbones.conftest import SMALL


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
