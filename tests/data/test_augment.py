"""Augmentation follows from the seed, the epoch and the image's index, and from nothing else."""

from __future__ import annotations

import pytest
import torch

from altub.data.augment import augmentation

IMAGES = torch.rand(8, 3, 5, 5, generator=torch.Generator().manual_seed(0))
ALL = ("hflip", "vflip", "rot90")


def test_an_image_is_turned_the_same_way_in_every_batch() -> None:
    augment = augmentation(ALL, seed=2**62)
    together = augment(IMAGES, 3, range(8))
    assert torch.equal(augment(IMAGES[[5, 2]], 3, [5, 2]), together[[5, 2]])
    assert torch.equal(augmentation(ALL, seed=2**62)(IMAGES, 3, range(8)), together)
    changed = IMAGES.clone()
    changed[0] += 1e-3
    assert torch.equal(augment(changed, 3, range(8))[1:], together[1:]), "another image's pixels have no part in it"


@pytest.mark.parametrize("other", [{"epoch": 2}, {"seed": 1}, {"indices": range(8, 16)}])
def test_seed_epoch_and_index_each_matter(other: dict) -> None:
    def turned(seed: int = 0, epoch: int = 1, indices: range = range(8)) -> torch.Tensor:
        return augmentation(ALL, seed)(IMAGES, epoch, indices)

    assert not torch.equal(turned(**other), turned())


@pytest.mark.parametrize(
    ("kind", "results"),
    [
        ("hflip", [lambda x: x, lambda x: x.flip(-1)]),
        ("vflip", [lambda x: x, lambda x: x.flip(-2)]),
        ("rot90", [lambda x, k=k: torch.rot90(x, k, (-2, -1)) for k in range(4)]),
    ],
)
def test_each_kind_gives_all_of_its_results_about_equally_often(kind: str, results: list) -> None:
    image = IMAGES[0]
    draws = 400
    turned = augmentation([kind], 0)(image.expand(draws, -1, -1, -1), 1, range(draws))
    counts = [sum(torch.equal(one, result(image)) for one in turned) for result in results]
    assert sum(counts) == draws and min(counts) > 0.8 * draws / len(results)


def test_no_kind_leaves_the_images_as_they_are() -> None:
    assert torch.equal(augmentation([], 0)(IMAGES, 1, range(8)), IMAGES)
