"""What is known of a training before it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from altub.backbones import create_backbone
from altub.backbones.sketch import sketch_backbone
from altub.data import load_category
from altub.training.config import make_config
from altub.training.preflight import examine
from tests.conftest import REPOSITORY, write_category

pytestmark = pytest.mark.usefixtures("quick_processes")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    write_category(root / "lid", good=3)
    return root


@pytest.mark.parametrize(
    ("settings", "setting", "words"),
    [
        ({"image_size": 100}, "image_size", "multiples of 16"),
        ({"stages": (1, 9)}, "stages", "has the stages"),
        ({"backbone": "resnet_18"}, "backbone", "Did you mean"),
        ({"backbone": "resnet18.tv_in1k", "image_size": 100}, "backbone", "not available: put resnet18.tv_in1k"),
        ({"device": "cuda:77"}, "device", "GPU"),
    ],
)
def test_what_is_wrong_is_named_with_its_setting(data_folder: Path, monkeypatch, settings, setting, words) -> None:
    monkeypatch.setattr("altub.training.preflight.weights_available", _available)
    config = make_config(data=str(data_folder), category="weave", **{"backbone": "filter-bank", **settings})
    found = examine(config, load_category(config.data, config.category))
    assert [problem.setting for problem in found.problems] == [setting] and words in found.problems[0].text
    assert found.outlook is None


def _available(name: str) -> str | None:
    """As on a machine without network or weights."""
    from altub.backbones.timm import timm_config

    if name == "filter-bank":
        return "none"
    timm_config(name)
    return None


def test_too_few_images_are_a_problem_of_the_images(few: Path) -> None:
    config = make_config(data=str(few), category="lid", backbone="filter-bank", image_size=100)
    found = examine(config, load_category(few, "lid"))
    assert [problem.setting for problem in found.problems] == ["category", "image_size"]
    assert "3 good images are too few" in found.problems[0].text


def test_more_work_takes_longer_and_more_memory(data_folder: Path) -> None:
    category = load_category(data_folder, "weave")

    def outlook(**settings):
        config = make_config(data=str(data_folder), category="weave", backbone="filter-bank", **settings)
        found = examine(config, category)
        assert not found.problems
        return found.outlook

    plain = outlook(epochs=5, image_size=128)
    assert outlook(epochs=50, image_size=128).seconds > plain.seconds > 5
    assert outlook(epochs=5, image_size=256).seconds > plain.seconds
    assert outlook(epochs=5, image_size=256).memory > plain.memory > 1e8
    assert outlook(epochs=5, image_size=128, flow={"kind": "cflow"}).seconds > 5


@pytest.mark.parametrize("name", ["resnet18", "deit_tiny_patch16_224"])
def test_a_sketch_has_the_shapes_of_the_network_and_no_memory(name: str) -> None:
    size = 224
    sketch, real = sketch_backbone(name, None, size), create_backbone(name, pretrained=False, image_size=size)
    assert all(parameter.is_meta for parameter in sketch.parameters())
    for attribute in ("channels", "strides", "stages", "image_size_multiple", "fixed_image_size", "has_final_norm"):
        assert getattr(sketch, attribute) == getattr(real, attribute)
    shapes = [x.shape for x in sketch(torch.zeros(1, 3, size, size, device="meta"))]
    assert shapes == [x.shape for x in real(torch.zeros(1, 3, size, size))]


def test_the_first_look_of_a_process_works() -> None:
    """Modules that compute when they are imported must not be imported on the meta device."""
    program = (
        "from altub.data import Category\n"
        "from altub.training.config import make_config\n"
        "from altub.training.preflight import examine\n"
        "config = make_config(category='lid', backbone='filter-bank', flow={'kind': 'cflow'})\n"
        "print(len(examine(config, Category.from_images('lid', [b''] * 20)).problems))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "0", done.stderr[-2000:]
