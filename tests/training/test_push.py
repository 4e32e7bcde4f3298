"""Known defects: where they are, how they are pushed, and that none of them is tested on."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from altub.data import load_category
from altub.device import Workers
from altub.errors import DataError
from altub.flows import FlowPyramid
from altub.runs.run import Run
from altub.training.config import TrainingConfig
from altub.training.loop import train
from altub.training.push import BOUNDARY, KnownDefects, Push, _covered
from altub.training.steps import Alternation
from tests.conftest import write_category
from tests.training.runs import assert_same_weights, run_through, variant


@pytest.fixture(scope="module")
def known_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`weave` with two of its defects moved to where a training may learn from them; one of them is tested too."""
    root = tmp_path_factory.mktemp("known")
    weave = write_category(root / "weave", tested=6)
    for folder in ("train/blot", "ground_truth_train/blot"):
        (weave / folder).mkdir(parents=True)
    for number in (0, 1):
        copy = shutil.copy if number else shutil.move
        copy(weave / f"test/blot/00{number}.png", weave / f"train/blot/00{number}.png")
        copy(weave / f"ground_truth/blot/00{number}_mask.png", weave / f"ground_truth_train/blot/00{number}_mask.png")
    shutil.copy(weave / "test/blot/002.png", weave / "train/blot/no-mask.png")
    return root


def pushing(config: TrainingConfig, data: Path, **settings) -> TrainingConfig:
    return variant(config, **{"data": str(data), "push_epochs": 2, "push_weight": 1.0, **settings})


def test_known_defects_have_masks_and_are_none_of_the_test_images(known_data: Path) -> None:
    category = load_category(known_data, "weave")
    assert [sample.path.name for sample in category.known] == ["000.png", "001.png"]
    assert all(sample.has_mask and sample.defect == "blot" for sample in category.known)
    assert len(category.train) == 12 and len(category.defective) == 5


def test_they_are_never_tested_on(small_config: TrainingConfig, known_data: Path, tmp_path: Path) -> None:
    run = run_through(tmp_path / "r", pushing(small_config, known_data, epochs=1))
    record = json.loads(run.data_file.read_text())["images"]
    parts = {part: [entry for entry in record if entry["part"] == part] for part in ("known", "test")}
    assert len(parts["known"]) == 2 and len(parts["test"]) == 6 + 4, "one of five defects is a known one"
    assert not {entry["sha256"] for entry in parts["known"]} & {entry["sha256"] for entry in parts["test"]}


def test_the_energies_of_known_defects_rise_beyond_those_of_good_parts(small_config: TrainingConfig) -> None:
    torch.manual_seed(0)
    shape = (6, 4, 4)
    good = torch.randn(64, *shape)
    defects = torch.randn(8, *shape)
    where = torch.zeros(8, 4, 4, dtype=torch.bool)
    where[:, 1:3, 1:3] = True
    defects[:, :2, 1:3, 1:3] = 0.7  # nothing that a likelihood would call rare
    push = Push([defects], [where], weight=1.0)

    def distance(pushed: Push | None) -> float:
        """How far the positions of the defects lie beyond the boundary, in its distance from the median."""
        torch.manual_seed(1)
        config = variant(small_config, lr=0.01, base={"base_update": "off"}, flow={"steps": 4, "norm": "none"})
        pyramid, workers = FlowPyramid(config.flow, [shape]), Workers(torch.device("cpu"))
        updates = Alternation(config, pyramid, nullcontext, workers)
        for step in range(40):
            updates.enqueue([good], "flow", 1, step + 1, 0.0, pushed)
        workers.close()
        of_good, of_defects = (pyramid.energy_maps([maps])[0] for maps in (good, defects))
        middle, boundary = np.quantile(of_good.numpy(), (0.5, BOUNDARY))
        return float((of_defects[where].numpy().mean() - middle) / (boundary - middle))

    without, pushed = distance(None), distance(push)
    assert pushed > 1.3 and pushed > without + 0.5, (without, pushed)


def test_a_resumed_training_is_the_undisturbed_one(small_config: TrainingConfig, known_data: Path, tmp_path) -> None:
    config = pushing(small_config, known_data, base={"interval": 2, "on_top": True})
    whole = run_through(tmp_path / "whole", config)
    asked = iter(range(10**6))
    parted = Run.create(tmp_path / "parted", config)
    for _ in train(parted, should_stop=lambda: next(asked) > 25):
        pass
    assert parted.status.state == "stopped" and parted.status.epoch >= 1
    for _ in train(parted):
        pass
    assert parted.status.notes == whole.status.notes, "a test image that is a known one did not come later"
    assert_same_weights(whole, parted)


def test_without_any_it_is_said_before_training(small_config: TrainingConfig, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="train/<defect>"):
        run_through(tmp_path / "r", variant(small_config, push_epochs=1))


def test_positions_are_those_that_a_defect_covers() -> None:
    pixels = torch.zeros(3, 1, 8, 8)
    pixels[0, 0, :4, :4] = 1  # one position of 2 x 2 in whole
    pixels[1, 0, 3:5, 3:5] = 1  # a little of all four: the most counts, so that none is lost
    found = _covered(pixels, (2, 2))
    assert found[0].tolist() == [[True, False], [False, False]]
    assert found[1].all() and not found[2].any()


def test_every_known_defect_has_its_turn(trained_run) -> None:
    class Store:
        shapes, device = [(1, 2, 2)], torch.device("cpu")

        def __len__(self) -> int:
            return 11

        def batch(self, images):
            return [torch.tensor(images, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)]

    known = KnownDefects(Store(), [np.ones((4, 4), bool)] * 11, seed=3)
    order = [int(value) for step in range(11) for value in known.push(step, 1.0).features[0][:, 0, 0, 0]]
    assert all(sorted(order[k : k + 11]) == list(range(11)) for k in range(0, 88, 11)), "8 at a time, 11 in a turn"
    again = KnownDefects(Store(), [np.ones((4, 4), bool)] * 11, seed=3)
    assert torch.equal(again.push(5, 1.0).features[0], known.push(5, 1.0).features[0])
