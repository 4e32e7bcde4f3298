"""Features are the same wherever they are kept, and keep within their budget."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from altub.backbones import Backbone, create_backbone
from altub.data import load_category, read_image, to_tensor
from altub.errors import DiskFullError, ImageError
from altub.training import features
from altub.training.features import EXTRACTION_BATCH, FeatureStore, load_images
from tests.conftest import SIDE

CPU = torch.device("cpu")
PLENTY = 1 << 40


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return create_backbone("filter-bank", image_size=SIDE)


@pytest.fixture(scope="module")
def samples(data_folder: Path) -> list:
    category = load_category(data_folder, "weave")
    return [*category.train, *category.test]


def make_store(backbone: Backbone, samples: list, spill: Path, budget: int = PLENTY, **options) -> FeatureStore:
    return FeatureStore(backbone, samples, SIDE, device=CPU, budget=budget, spill=spill, **options)


def filled(*arguments, **options) -> FeatureStore:
    store = make_store(*arguments, **options)
    for _ in store.fill():
        pass
    return store


def test_images_are_decoded_in_order(samples: list) -> None:
    images = load_images(samples[:5], SIDE)
    assert images.shape == (5, 3, SIDE, SIDE) and images.dtype == torch.float32
    for image, sample in zip(images, samples, strict=False):
        assert torch.equal(image, to_tensor(read_image(sample.path), SIDE))


def test_memory_disk_and_recomputation_agree(
    backbone: Backbone, samples: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = filled(backbone, samples, tmp_path / "a")
    disk = filled(backbone, samples, tmp_path / "b", budget=0)
    monkeypatch.setattr(features, "DISK_RESERVE", PLENTY << 20)
    anew = filled(backbone, samples, tmp_path / "c", budget=0)
    assert [store.mode for store in (memory, disk, anew)] == ["memory", "disk", "recompute"]
    rows = [7, 0, 19, 0, 3]
    with torch.no_grad():
        expected = backbone(load_images([samples[i] for i in rows], SIDE))
    for store in (memory, disk, anew):
        batch = store.batch(rows)
        assert [level.shape for level in batch] == [(5, *shape) for shape in store.shapes]
        for level, wanted in zip(batch, expected, strict=True):
            torch.testing.assert_close(level, wanted, rtol=1e-5, atol=1e-6)
    for kept, spilled in zip(memory.batch(rows), disk.batch(rows), strict=True):
        assert torch.equal(kept, spilled)


@pytest.mark.parametrize("budget", [PLENTY, 0])
def test_what_comes_out_is_not_what_is_kept(backbone: Backbone, samples: list, tmp_path: Path, budget: int) -> None:
    store = filled(backbone, samples[:4], tmp_path / "a", budget=budget)
    first = store.batch([1])
    first[0].add_(5)
    assert not torch.equal(store.batch([1])[0], first[0]), "a caller that changes its batch changes nothing else"


def test_the_budget_is_kept_to_the_byte(backbone: Backbone, samples: list, tmp_path: Path) -> None:
    store = make_store(backbone, samples, tmp_path / "a")
    assert store.bytes == 4 * len(samples) * sum(c * h * w for c, h, w in store.shapes)
    assert make_store(backbone, samples, tmp_path / "a", budget=store.bytes).mode == "memory"
    assert make_store(backbone, samples, tmp_path / "a", budget=store.bytes - 1).mode == "disk"
    assert make_store(backbone, samples, tmp_path / "a", budget=-1).mode == "disk"


def test_the_spill_is_as_large_as_said_and_removed(backbone: Backbone, samples: list, tmp_path: Path) -> None:
    store = filled(backbone, samples, tmp_path / "cache" / "training", budget=0)
    assert sum(file.stat().st_size for file in store.spill.iterdir()) == store.bytes
    store.close()
    assert not store.spill.exists() and (tmp_path / "cache").is_dir()
    store.close()


def test_what_a_killed_process_left_is_replaced(backbone: Backbone, samples: list, tmp_path: Path) -> None:
    spill = tmp_path / "a"
    spill.mkdir()
    (spill / "0.f32").write_bytes(b"\x01" * 10_000_000)
    store = filled(backbone, samples[:3], spill, budget=0)
    assert torch.equal(store.batch([2])[0], filled(backbone, samples[:3], tmp_path / "b").batch([2])[0])
    memory = filled(backbone, samples[:3], spill)
    memory.close()
    assert not spill.exists(), "also where there is room in memory by now"


def test_a_full_disk_is_said(
    backbone: Backbone, samples: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullFile:
        def __enter__(self):
            return self

        def __exit__(self, *_: object) -> None: ...

        def write(self, _: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real_open = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *a, **k: FullFile() if path.suffix == ".f32" else real_open(path, *a, **k)
    )
    store = make_store(backbone, samples, tmp_path / "a", budget=0)
    with pytest.raises(DiskFullError, match="Free some space"):
        list(store.fill())
    store.close()
    assert not (tmp_path / "a").exists()


def test_progress_is_told(backbone: Backbone, samples: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for budget in (PLENTY, 0):
        store = make_store(backbone, samples, tmp_path / "a", budget=budget)
        assert list(store.fill()) == [EXTRACTION_BATCH, len(samples)]
        store.close()


def test_batches_cover_all_images_in_order(backbone: Backbone, samples: list, tmp_path: Path) -> None:
    store = filled(backbone, samples, tmp_path / "a")
    batches = list(store.batches(6))
    assert [index for indices, _ in batches for index in indices] == list(range(len(samples)))
    assert [len(levels[0]) for _, levels in batches] == [6, 6, 6, 2]
    assert torch.equal(torch.cat([levels[1] for _, levels in batches]), store.batch(range(len(samples)))[1])


def test_no_images_are_no_features(backbone: Backbone, tmp_path: Path) -> None:
    store = filled(backbone, [], tmp_path / "a", budget=0)
    assert len(store) == 0 and list(store.batches(4)) == []
    store.close()


def test_augmented_images_are_never_kept(backbone: Backbone, samples: list, tmp_path: Path) -> None:
    seen = []

    def augment(images: torch.Tensor, epoch: int, indices: Sequence[int]) -> torch.Tensor:
        seen.append(list(indices))
        return images.flip(-1) if epoch % 2 else images

    store = filled(backbone, samples, tmp_path / "a", augment=augment)
    assert store.mode == "recompute"
    with torch.no_grad():
        turned = backbone(load_images(samples[:2], SIDE).flip(-1))[0]
    torch.testing.assert_close(store.batch([0, 1], epoch=1)[0], turned)
    assert not torch.allclose(store.batch([0, 1], epoch=2)[0], turned)
    assert seen == [[0, 1], [0, 1]]


def test_a_file_that_is_no_image_is_named(backbone: Backbone, samples: list, tmp_path: Path) -> None:
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"no image")
    store = make_store(backbone, [samples[0], type(samples[0])(bad, "good")], tmp_path / "a")
    with pytest.raises(ImageError, match=r"broken\.png"):
        list(store.fill())


@pytest.mark.parametrize("budget", [PLENTY, 0])
def test_half_the_room_costs_eleven_bits(backbone: Backbone, samples: list, tmp_path: Path, budget: int) -> None:
    whole = filled(backbone, samples[:5], tmp_path / "a")
    half = filled(backbone, samples[:5], tmp_path / "b", budget=budget, kept_as="fp16")
    assert half.mode == ("memory" if budget else "disk") and 2 * half.bytes == whole.bytes
    if not budget:
        assert sum(file.stat().st_size for file in half.spill.iterdir()) == half.bytes
    for rounded, exact in zip(half.batch([4, 1]), whole.batch([4, 1]), strict=True):
        assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
        torch.testing.assert_close(rounded, exact, rtol=2**-11, atol=1e-6)


def test_what_half_precision_has_no_number_for_stays_finite(samples: list, tmp_path: Path) -> None:
    bright = Backbone.from_module(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), _Times(1e9)), SIDE)
    store = filled(bright, samples[:3], tmp_path / "a", kept_as="fp16")
    (values,) = store.batch([0, 1, 2])
    assert torch.isfinite(values).all() and values.abs().max() == torch.finfo(torch.float16).max


class _Times(torch.nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def test_a_device_finds_the_next_images_decoded(
    backbone: Backbone, samples: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a GPU, its features computed on the CPU: batch n + 1 is loaded before batch n has its features."""
    monkeypatch.setattr(features, "EXTRACTION_BATCH", 4)
    store, order, both = make_store(backbone, samples, tmp_path / "a"), [], threading.Barrier(2, timeout=30)
    wanted = filled(backbone, samples, tmp_path / "b").batch(range(len(samples)))

    def load(start: int) -> tuple[int, torch.Tensor]:
        if start == 4:
            both.wait()  # hangs where loading waits for the first batch's features
        order.append(start)
        return type(store)._piece(store, start)

    def extract(images: torch.Tensor) -> list[torch.Tensor]:
        if len(order) == 1:
            both.wait()
        return type(store)._extract(store, images)

    store.device = torch.device("meta")  # any that is no CPU; its tensors stay where they are
    store._piece, store._extract = load, extract
    monkeypatch.setattr(type(store), "_extract", lambda self, images: self.backbone(images))
    found = [torch.cat(level) for level in zip(*(maps for _, _, maps in store._all_features()), strict=True)]
    assert order == list(range(0, len(samples), 4))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)
