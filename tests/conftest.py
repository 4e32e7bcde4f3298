"""A small category on disk and a trained run, shared by the tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from altub.settings import wait_passively

wait_passively()  # before torch: tests share their cores with browsers and trainings
os.environ["ALTUB_PRECISION"] = "fp32"  # here and in processes that tests start: the same numbers on every machine

os.fsync = lambda file: None  # no test pulls the plug, and a training waits for the disk some dozens of times
os.environ["ALTUB_STANDBY"] = "0"  # pages of tests keep no process ready, but for those that test it

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402

from altub.runs.run import Run  # noqa: E402
from altub.training.config import TrainingConfig, make_config  # noqa: E402
from tests.quick_python import QuickPython, quick_popen  # noqa: E402

pytest_plugins = ["tests.hub.loopback"]  # the Hub on loopback, for the tests of several rooms

REPOSITORY = Path(__file__).resolve().parent.parent
SIDE = 64  # pixels: the filter bank's levels are then 16, 8 and 4 wide

# One thread a process where pytest-xdist runs several.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))


def _weave(rng: np.random.Generator) -> np.ndarray:
    """A striped texture with a random phase and a little noise, uint8 (SIDE, SIDE, 3)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    phase = rng.uniform(0, 2 * np.pi, 2)
    grey = 128 + 40 * np.sin(0.8 * x + phase[0]) + 30 * np.sin(0.8 * y + phase[1]) + rng.normal(0, 4, x.shape)
    return np.clip(np.stack([grey, grey * 0.9, grey * 0.8], -1), 0, 255).astype(np.uint8)


def write_category(folder: Path, *, good: int = 12, tested: int = 4, masks: bool = True, seed: int = 0) -> Path:
    """An MVTec AD category: `good` images to train on, `tested` good and as many with a bright blot to test on."""
    rng = np.random.default_rng(seed)
    for name in ("train/good", "test/good", "test/blot", *(["ground_truth/blot"] if masks else [])):
        (folder / name).mkdir(parents=True)
    for index in range(good):
        Image.fromarray(_weave(rng)).save(folder / f"train/good/{index:03d}.png")
    for index in range(tested):
        Image.fromarray(_weave(rng)).save(folder / f"test/good/{index:03d}.png")
        image, mask = _weave(rng), np.zeros((SIDE, SIDE), np.uint8)
        top, left = rng.integers(8, SIDE - 24, 2)
        image[top : top + 14, left : left + 14] = (250, 240, 120)
        mask[top : top + 14, left : left + 14] = 255
        Image.fromarray(image).save(folder / f"test/blot/{index:03d}.png")
        if masks:
            Image.fromarray(mask).save(folder / f"ground_truth/blot/{index:03d}_mask.png")
    return folder


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the one category `weave`."""
    root = tmp_path_factory.mktemp("data")
    write_category(root / "weave")
    return root


def draw_sample(root: Path, categories: dict[str, tuple[str, ...]], *, train: int, good: int, each: int) -> Path:
    """The built-in sample with these defects, and so many images to train on, good and defective ones to test on.

    All of it takes a minute to draw; what uses the sample takes this one for it.
    """
    from altub.data import sample

    with pytest.MonkeyPatch.context() as patch:
        for name, count in {"_TRAIN_GOOD": train, "_TEST_GOOD": good, "_TEST_EACH_DEFECT": each}.items():
            patch.setattr(sample, name, count)
        patch.setattr(sample, "SAMPLE_CATEGORIES", categories)
        return sample.make_sample(root)


@pytest.fixture(scope="session")
def tiny_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from altub.data import SAMPLE_CATEGORIES

    two = {name: defects[:2] for name, defects in SAMPLE_CATEGORIES.items()}
    return draw_sample(tmp_path_factory.mktemp("drawn") / "sample", two, train=12, good=1, each=1)


@pytest.fixture(scope="session")
def small_config(data_folder: Path) -> TrainingConfig:
    """A training that takes about a second: two coupling steps at 64 px, 4 epochs of 3 steps."""
    return make_config(
        data=str(data_folder),
        category="weave",
        backbone="filter-bank",
        image_size=SIDE,
        epochs=4,
        batch_size=3,
        flow={"steps": 2, "hidden_ratio": 0.5, "norm": "layer"},  # likelihoods that do not saturate
        lr=1e-3,
        base={"interval": 2, "on_top": False},
        device="cpu",
        precision="fp32",
        feature_format="fp32",
    )


@pytest.fixture(scope="session")
def trained_run(small_config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of `small_config`; read only."""
    from altub.training.loop import train

    run = Run.create(tmp_path_factory.mktemp("runs") / "weave-run", small_config)
    for _ in train(run):
        pass
    return run


@pytest.fixture(scope="session")
def line_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run with the default norm, which can follow a line, and 19 held-out images; read only."""
    from altub.training.loop import train

    root = tmp_path_factory.mktemp("line-data")
    write_category(root / "weave", good=60)
    config = make_config(
        data=str(root),
        category="weave",
        backbone="filter-bank",
        image_size=SIDE,
        epochs=1,
        flow={"steps": 2, "hidden_ratio": 0.5, "position_rank": 4},
        device="cpu",
    )
    run = Run.create(tmp_path_factory.mktemp("runs") / "line-run", config)
    for _ in train(run):
        pass
    return run


@pytest.fixture(scope="session")
def quick_python() -> Iterator[QuickPython]:
    python = QuickPython()
    yield python
    python.close()


@pytest.fixture(scope="module")
def quick_processes(quick_python: QuickPython) -> Iterator[None]:
    """Python processes that the tests of a module start begin with torch and the like imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", quick_popen(quick_python))
        yield


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Real images and weights for development; tests that need them skip where they are missing."""
    folder = Path(os.environ.get("ALTUB_TEST_SHARED") or REPOSITORY.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no development data in {folder} (set ALTUB_TEST_SHARED)")
    return folder
