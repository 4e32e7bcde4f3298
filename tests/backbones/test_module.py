"""A module of one's own as a backbone: what is found out about it, and what it is told where it is none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from altub.backbones import Backbone
from altub.errors import ConfigError, WeightsError
from tests.backbones.own import OwnNetwork


class Gives(nn.Module):
    """Whatever it is asked to."""

    def __init__(self, output) -> None:
        super().__init__()
        self.output = output

    def forward(self, images):
        return self.output(images)


def test_channels_and_strides_are_found_and_the_features_are_the_modules() -> None:
    module = OwnNetwork()
    backbone = Backbone.from_module(module, "mine", image_size=64)
    assert (backbone.name, backbone.stages, backbone.channels, backbone.strides) == ("mine", (0, 1), (6, 10), (4, 8))
    assert backbone.image_size_multiple == 1 and backbone.fixed_image_size is None
    assert (backbone.weights.source, backbone.weights.location) == ("module", "mine")
    images = torch.rand(2, 3, 32, 48)
    for ours, theirs in zip(backbone(images), module.eval()(images), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert Backbone.from_module(module).name == "OwnNetwork"
    assert Backbone.from_module(backbone) is backbone


def test_it_is_a_frozen_copy_and_the_module_stays_as_it_is() -> None:
    module = OwnNetwork().train()
    backbone = Backbone.from_module(module, image_size=64)
    assert module.training and all(parameter.requires_grad for parameter in module.parameters())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(part.training for part in backbone.train().modules())
    before = backbone(torch.ones(1, 3, 64, 64))[1]
    with torch.no_grad():
        module.stem[0].weight.add_(1.0)  # goes on training
    assert torch.equal(backbone(torch.ones(1, 3, 64, 64))[1], before)


def test_the_hash_is_that_of_the_weights() -> None:
    first, again, other = (Backbone.from_module(OwnNetwork(seed), image_size=64) for seed in (0, 0, 1))
    assert first.weights.sha256 == again.weights.sha256 != other.weights.sha256
    first.check_weights(again.weights.sha256)
    with pytest.raises(WeightsError, match=other.weights.sha256[:12]):
        first.check_weights(other.weights.sha256)


def test_one_map_a_dictionary_of_maps_and_a_choice_of_them() -> None:
    pool = nn.AvgPool2d(4)
    assert Backbone.from_module(Gives(pool), image_size=32).strides == (4,)
    named = Backbone.from_module(Gives(lambda x: {"a": x, "b": pool(x)}), image_size=32)
    assert named.strides == (1, 4) and len(named(torch.rand(1, 3, 8, 8))) == 2
    chosen = Backbone.from_module(OwnNetwork(), stages=(1,), image_size=64)
    strict = Backbone.from_module(OwnNetwork(), image_size=64, image_size_multiple=8)
    with pytest.raises(ConfigError, match="multiples of 8"):
        strict(torch.rand(1, 3, 60, 64))
    assert (chosen.stages, chosen.channels, chosen.strides) == ((1,), (10,), (8,))
    with pytest.raises(ConfigError, match="stages 0 to 1"):
        Backbone.from_module(OwnNetwork(), stages=(2,), image_size=64)


def test_images_are_normalised_first_where_that_is_asked_for() -> None:
    backbone = Backbone.from_module(nn.Identity(), image_size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    torch.testing.assert_close(backbone(torch.ones(1, 3, 8, 8))[0], torch.full((1, 3, 8, 8), 2.0))


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (lambda x: x.flatten(1), r"must give maps.*\(2, 768\)"),
        (lambda x: [x, None], "output 1 for two images is NoneType"),
        (lambda x: x[:1], r"\(1, 3, 16, 16\)"),
        (lambda x: x[:, :1], "1 channel"),
        (lambda x: x / 0, "not finite"),
        (lambda x: [], "no maps"),
        (lambda x: x.reshape(2, 3, 5, 5), "fails on images.*RuntimeError.*image_size"),
    ],
)
def test_what_is_no_backbone_is_told_why(output, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Backbone.from_module(Gives(output), image_size=16)
