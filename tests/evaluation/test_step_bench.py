"""The bench of steps and epochs, small: all sides for real, but for the peer's library, which FrEIA stands in for.

What is timed is not asserted; that all sides compute the same is.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from altub.errors import ConfigError, RunError
from altub.evaluation.bench.side import PEER_SCRIPT, peer_side
from altub.evaluation.bench.steps import StepBench
from altub.evaluation.step_time import convolution_flops
from tests.conftest import SIDE

pytestmark = pytest.mark.usefixtures("quick_processes")

IMAGES, BATCH = 4, 3  # of which the second batch is not full
SHAPES = ((64, 16, 16), (128, 8, 8), (256, 4, 4))  # of resnet18 at 64 px

# What the peer's script wants of anomalib, by FrEIA and timm, as anomalib builds it.
STAND_IN = f"""
import runpy, sys, types
import timm, torch
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from torch import nn

def subnet_conv_func(kernel, ratio):
    def build(inputs, outputs):
        return nn.Sequential(
            nn.Conv2d(inputs, int(inputs * ratio), kernel, padding="same"), nn.ReLU(),
            nn.Conv2d(int(inputs * ratio), outputs, kernel, padding="same"),
        )
    return build

class FastflowModel(nn.Module):
    def __init__(self, input_size, backbone, pre_trained):
        super().__init__()
        assert backbone == "resnet18" and not pre_trained
        self.feature_extractor = timm.create_model(backbone, features_only=True, out_indices=[1, 2, 3])
        self.feature_extractor.requires_grad_(False)
        info, self.norms, self.fast_flow_blocks = self.feature_extractor.feature_info, nn.ModuleList(), nn.ModuleList()
        self.side = input_size[0]
        for channels, scale in zip(info.channels(), info.reduction()):
            side = self.side // scale
            self.norms.append(nn.LayerNorm([channels, side, side]))
            nodes = SequenceINN(channels, side, side)
            for step in range(8):
                subnet = subnet_conv_func(1 if step % 2 else 3, 1.0)
                nodes.append(AllInOneBlock, subnet_constructor=subnet, affine_clamping=2.0, permute_soft=False)
            self.fast_flow_blocks.append(nodes)

    def forward(self, images):
        self.feature_extractor.eval()
        parts = zip(self.norms, self.fast_flow_blocks, self.feature_extractor(images))
        hidden, log_det = zip(*(block(norm(features)) for norm, block, features in parts))
        if self.training:
            return hidden, log_det
        sizes = {{"size": (self.side, self.side), "mode": "bilinear"}}
        maps = [nn.functional.interpolate(z.square().mean(1, keepdim=True), **sizes) for z in hidden]
        anomaly_map = sum(maps)
        return types.SimpleNamespace(anomaly_map=anomaly_map, pred_score=anomaly_map.amax((-2, -1)))

class FastflowLoss:
    def __call__(self, hidden, log_det):
        return sum((0.5 * z.square().sum((1, 2, 3)) - j).mean() for z, j in zip(hidden, log_det))

library = types.ModuleType("anomalib.models.image.fastflow.torch_model")
library.FastflowModel, library.AllInOneBlock, library.subnet_conv_func = FastflowModel, AllInOneBlock, subnet_conv_func
loss = types.ModuleType("anomalib.models.image.fastflow.loss")
loss.FastflowLoss = FastflowLoss
for name in ("anomalib", "anomalib.models", "anomalib.models.image", "anomalib.models.image.fastflow"):
    sys.modules[name] = types.ModuleType(name)
sys.modules |= {{library.__name__: library, loss.__name__: loss}}
print("a library prints what it likes")
runpy.run_path({str(PEER_SCRIPT)!r}, run_name="__main__")
"""


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A script that is the peer's, on a stand-in for anomalib."""
    path = tmp_path_factory.mktemp("peer") / "stand_in.py"
    path.write_text(STAND_IN)
    return path


@pytest.fixture(scope="module")
def found(stand_in: Path) -> dict[str, Any]:
    """What a small bench of all sides finds."""
    small = {"images": IMAGES, "batch": BATCH, "image_size": SIDE, "steps": {"tiny": (2, ((8, 4), (6, 3)))}}
    bench = StepBench(
        repeats=1, threads=1, device="cpu", **small, peer_python=Path(sys.executable), peer_script=stand_in
    )
    return bench.run()


def test_all_sides_compute_the_same(found: dict[str, Any]) -> None:
    json.dumps(found, allow_nan=False)
    epoch = found["epoch"]
    for name in ("ours", "published", "peer"):
        assert len(epoch[name]["losses"]) == 2, "steps of an epoch"
    assert 0 <= epoch["loss_difference"]["published"] < 1e-5
    assert 0 <= epoch["loss_difference"]["peer"] < 1e-5
    (block,) = found["steps"]
    shapes = [(row["channels"], row["side"], row["kernel"]) for row in block["rows"]]
    assert shapes == [(8, 4, 3), (8, 4, 1), (6, 3, 3), (6, 3, 1)] and block["images"] == 2
    for row in block["rows"]:
        assert 0 <= row["loss_difference"]["published"] < 1e-5 and 0 <= row["loss_difference"]["peer"] < 1e-5


def test_ratios_shares_and_rates_are_those_of_the_numbers_beside_them(found: dict[str, Any]) -> None:
    assert (found["device"], found["device_name"], found["tf32"]) == ("cpu", "CPU, 1 threads", False)
    epoch, rates = found["epoch"], found["epoch"]["matmul_rates"]
    flow = IMAGES * convolution_flops(1, SHAPES)
    assert epoch["ours"]["flops"] == epoch["ours_default"]["flops"] == flow
    assert epoch["published"]["flops"] == epoch["peer"]["flops"] > flow, "the backbone is in their loop"
    for name in ("ours", "ours_default", "published", "peer"):
        side = epoch[name]
        assert side["images_per_second"] == IMAGES / side["seconds"]
        assert side["roofline_share"] == side["flops"] / rates[side["precision"]] / side["cpu_seconds"]
        assert side["peak_memory_mib"] > 100
    assert epoch["ours"]["caching_seconds"] > 0 == epoch["published"]["caching_seconds"]
    for ours in ("ours", "ours_default"):
        for theirs in ("published", "peer"):
            ratios = epoch["ratios"][ours][theirs]
            assert ratios["seconds"] == epoch[theirs]["seconds"] / epoch[ours]["seconds"]
            assert ratios["cpu_seconds"] == epoch[theirs]["cpu_seconds"] / epoch[ours]["cpu_seconds"]
            long = epoch[ours]["seconds"] + epoch[ours]["caching_seconds"] / 30
            assert ratios["with_caching"] == pytest.approx(epoch[theirs]["seconds"] / long)
    (block,) = found["steps"]
    for theirs in ("published", "peer"):
        total = sum(row[theirs]["seconds"] for row in block["rows"])
        assert block["all"][theirs]["seconds"] == pytest.approx(total)
        expected = total / sum(row["ours"]["seconds"] for row in block["rows"])
        assert block["all"]["ratios"][theirs]["seconds"] == pytest.approx(expected)


def test_a_peer_that_cannot_run_ends_the_bench_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be started"):
        StepBench(images=1, image_size=SIDE, peer_python=tmp_path / "nowhere").run()
    with pytest.raises(ConfigError, match="There is no device 'gpu'"):
        StepBench(device="gpu").run()
    if "anomalib" in sys.modules:
        pytest.skip("anomalib is installed here")
    with pytest.raises(RunError, match="The peer failed: ModuleNotFoundError: No module named 'anomalib'"):
        StepBench(images=1, image_size=SIDE, peer_python=Path(sys.executable)).run()


def test_the_peers_script_trains_to_equal_quality_and_scores(stand_in: Path, data_folder: Path, tmp_path: Path) -> None:
    """The two other jobs of the script that the bench of steps gives the third."""
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "resnet18.safetensors")
    good = sorted(map(str, (data_folder / "weave/test/good").iterdir()))[:2]
    bad = sorted(map(str, (data_folder / "weave/test/blot").iterdir()))[:2]
    masks = sorted(map(str, (data_folder / "weave/ground_truth/blot").iterdir()))[:2]
    job = {"image_size": SIDE, "threads": 1, "device": "cpu", "backbone": "resnet18"}
    job["weights"] = str(tmp_path / "resnet18.safetensors")
    tested = [*zip(bad, masks, strict=True), *((path, None) for path in good)]
    training = job | {"train": good, "test": tested, "epochs": 2, "seed": 0}
    with peer_side(Path(sys.executable), stand_in, training, 1) as side:
        kinds = [told["kind"] for told in side.answers() if told["kind"] != "epoch" or 0 <= told["pixel_auroc"] <= 1]
    assert kinds == ["imported", "about", "epoch", "epoch"]
    with peer_side(Path(sys.executable), stand_in, job | {"files": good}, 1) as side:
        flops = side.ready().about["flops"]
        told = side.ask("scored", images=2)
    assert told["images"] == 2 and told["pixels"] == 2 * SIDE * SIDE and told["cpu_seconds"] > 0 and told["seconds"] > 0
    assert flops > convolution_flops(1, SHAPES) // 3, "the backbone on top of the flows, once"
