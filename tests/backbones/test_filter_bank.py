"""The filter bank answers to what it says it answers to, the same way everywhere in the image."""

from __future__ import annotations

import math

import pytest
import torch

from altub.backbones import filter_bank
from altub.backbones.filter_bank import LEVELS, ORIENTATIONS, WAVELENGTHS, FilterBank

GABORS = len(WAVELENGTHS) * ORIENTATIONS


@pytest.fixture(scope="module")
def bank() -> FilterBank:
    return FilterBank().eval()


def grating(wavelength: float, degrees: float, size: int = 128, contrast: float = 0.2) -> torch.Tensor:
    """Grey image whose brightness varies along a direction counted counter-clockwise from the x axis."""
    axis = torch.arange(size, dtype=torch.float64)
    y, x = torch.meshgrid(-axis, axis, indexing="ij")
    angle = math.radians(degrees)
    wave = torch.sin(2 * math.pi / wavelength * (x * math.cos(angle) + y * math.sin(angle)) + 0.7)
    return (0.5 + contrast * wave).float().expand(1, 3, size, size)


def inner(features: torch.Tensor) -> torch.Tensor:
    """Mean of each channel ``(C,)`` away from the border."""
    margin = features.shape[-1] // 4
    return features[0, :, margin:-margin, margin:-margin].mean((1, 2))


@pytest.mark.parametrize("size", [(16, 16), (48, 32), (256, 256)])
def test_shapes_and_even_channels(bank, size):
    features = bank(torch.rand(2, 3, *size))
    assert len(features) == len(bank.strides) == len(bank.channels) == LEVELS
    for f, channels, stride in zip(features, bank.channels, bank.strides, strict=True):
        assert f.shape == (2, channels, size[0] // stride, size[1] // stride)
        assert f.dtype == torch.float32
        assert torch.isfinite(f).all()
        assert channels % 2 == 0
        assert 24 <= channels <= 48


@pytest.mark.parametrize("level", range(LEVELS))
@pytest.mark.parametrize("band", range(len(WAVELENGTHS)))
@pytest.mark.parametrize("orientation", range(ORIENTATIONS))
def test_a_grating_excites_its_own_channel_most(bank, level, band, orientation):
    wavelength = WAVELENGTHS[band] * 2**level
    image = grating(wavelength, 180 * orientation / ORIENTATIONS, size=64 * 2**level)
    answers = inner(bank(image)[level])[:GABORS]
    assert int(answers.argmax()) == band * ORIENTATIONS + orientation


def test_energy_does_not_depend_on_the_phase(bank):
    """A quadrature pair: the energy of a fine grating is flat, though its brightness is not."""
    energy = bank(grating(6.0, 45.0))[0][0, ORIENTATIONS + 2, 8:-8, 8:-8]
    assert float(energy.std() / energy.mean()) < 0.02


def test_energy_tells_the_kind_of_a_texture_and_deviation_its_strength(bank):
    weak, strong = (inner(bank(grating(6.0, 0.0, contrast=c))[0]) for c in (0.2, 0.4))
    assert float(strong[ORIENTATIONS] / weak[ORIENTATIONS]) < 1.1
    assert float(strong[GABORS + 3] / weak[GABORS + 3]) > 1.3


@pytest.mark.parametrize("colour", [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (0.9, 0.2, 0.4)])
def test_constant_images_have_no_energy_and_their_own_mean(bank, colour):
    red, green, blue = colour
    image = torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    mean = torch.tensor([0.299 * red + 0.587 * green + 0.114 * blue, red - green, blue - (red + green) / 2])
    scale = torch.tensor([filter_bank.SCALE_LUMINANCE, filter_bank.SCALE_COLOUR, filter_bank.SCALE_COLOUR])
    for f in bank(image):
        assert float(f[:, :GABORS].abs().max()) < 1e-3
        assert float(f[:, GABORS + 3 :].abs().max()) < 1e-6
        expected = (mean * scale).view(1, 3, 1, 1).expand_as(f[:, GABORS : GABORS + 3])
        torch.testing.assert_close(f[:, GABORS : GABORS + 3], expected, rtol=1e-5, atol=2e-5)


def test_colour_texture_without_luminance_is_seen(bank):
    """Red and green stripes of one luminance: the deviation of red-green rises, that of luminance hardly."""
    stripes = (grating(8.0, 0.0) - 0.5)[:, :1]
    image = torch.cat([0.5 + stripes * 0.587, 0.5 - stripes * 0.299, torch.full_like(stripes, 0.5)], 1)
    luminance, red_green, _ = inner(bank(image)[0])[GABORS + 3 :]
    assert red_green > 0.5
    assert abs(float(luminance)) < 1e-2


def test_a_shift_by_the_stride_shifts_the_features(bank):
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    moved = image.roll((16, 32), dims=(2, 3))
    for f, g, stride in zip(bank(image), bank(moved), bank.strides, strict=True):
        margin = 96 // stride
        expected = f.roll((16 // stride, 32 // stride), dims=(2, 3))
        torch.testing.assert_close(
            g[..., margin:-margin, margin:-margin], expected[..., margin:-margin, margin:-margin], rtol=1e-4, atol=1e-4
        )


def test_a_mirrored_image_gives_mirrored_features(bank):
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    # Mirroring left and right turns an orientation k into -k.
    swap = [b * ORIENTATIONS + (-k) % ORIENTATIONS for b in range(len(WAVELENGTHS)) for k in range(ORIENTATIONS)]
    swap += range(GABORS, GABORS + 6)
    for f, g in zip(bank(image), bank(image.flip(3)), strict=True):
        torch.testing.assert_close(g, f.flip(3)[:, swap], rtol=1e-4, atol=1e-4)


def test_the_border_is_no_anomaly(bank):
    """Over many noise images the outermost ring has the statistics of the inside, within a fraction of the spread."""
    images = torch.rand(24, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    for f in bank(images):
        edge = torch.cat([f[:, :, 0], f[:, :, -1], f[:, :, :, 0], f[:, :, :, -1]], dim=2)
        inside = f[:, :, 2:-2, 2:-2]
        distance = (edge.mean((0, 2)) - inside.mean((0, 2, 3))).abs() / inside.std((0, 2, 3))
        assert float(distance.max()) < 0.75


def test_repeats_to_the_bit_and_does_not_mix_images(bank):
    images = torch.rand(3, 3, 64, 64)
    first = bank(images)
    assert all(torch.equal(a, b) for a, b in zip(first, FilterBank()(images), strict=True))
    changed = images.clone()
    changed[1:] = 0
    alone = bank(changed)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, alone, strict=True))


def test_autocast_does_not_change_the_features(bank):
    images = torch.rand(1, 3, 32, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = bank(images)
    assert all(torch.equal(a, b) for a, b in zip(bank(images), cast, strict=True))


def test_hash_is_stable_and_tells_definitions_apart(monkeypatch):
    first = FilterBank().definition_sha256()
    assert FilterBank().definition_sha256() == first
    assert FilterBank().double().definition_sha256() == first
    others = []
    for name, value in [
        ("VERSION", 99),
        ("WINDOW", 2.0),
        ("CONTRAST_FLOOR", 0.5),
        ("WAVELENGTHS", (4.0, 6.0, 9.1)),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(filter_bank, name, value)
            others.append(FilterBank().definition_sha256())
    assert len({first, *others}) == 5
