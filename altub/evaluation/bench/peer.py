"""The other side of a comparison: anomalib's FastFlow, training or scoring, run by a Python that has anomalib.

A script that needs nothing of AltUB. The model, its loss and its optimiser are anomalib's (`FastflowModel`,
`FastflowLoss`, Adam 1e-3, weight decay 1e-5, batches of 32); the loop is the plain one, without Lightning, which only
makes it faster. Images are decoded by Pillow.

It is told what to do by one line of JSON on stdin (`altub.evaluation.bench.side`). Everywhere:

    {"image_size": 256, "threads": 2, "device": "cpu", "backbone": "resnet18", "weights": path of a safetensors file}

* "train": [path, ...], "test": [[path, mask path or null], ...], "epochs": 8, "seed": 0: trains to equal quality on
  images in random order that are decoded once and kept, and tells of every epoch.
* "files": [path, ...]: waits for orders to score so many of them. Its flow has random weights, which cost the same as
  trained ones; it runs in inference mode, as under Lightning, and decodes in as many threads as it computes in.
* "images": [path, ...], "batch": 32, "flow": path of the initial weights of its flows: waits for orders of an epoch,
  which decodes the images, in as many threads, and runs the backbone in every step; or of a coupling step, whose
  weights are in a file.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in anomalib
_BATCH, _LR, _WEIGHT_DECAY = 32, 1e-3, 1e-5  # anomalib's
_STEPS_A_TURN = 3  # measured, after one that is not: as of ours

__all__: list[str] = []


def _say(**values: Any) -> None:
    print(json.dumps({"cpu_seconds": time.process_time(), **values}), flush=True)


def _synchronise(device: str) -> None:
    """Waits until a GPU has done what it was asked for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()


def _timed(work: Callable[[], Any], device: str) -> tuple[Any, dict[str, float]]:
    """What `work` returns, and its seconds and CPU seconds."""
    _synchronise(device)
    began, cpu_began = time.perf_counter(), time.process_time()
    result = work()
    _synchronise(device)
    return result, {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - cpu_began}


def _peak_memory(device: str) -> float:
    """MiB so far: of a CUDA GPU's tensors, or resident."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / (1 << 20)
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _pixels(file: Any, side: int) -> np.ndarray:
    """(side, side, 3) of a path or an open file."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def _images(paths: Iterable[str], side: int) -> torch.Tensor:
    """(N, 3, side, side), normalised."""
    return _normalised([_pixels(path, side) for path in paths])


def _normalised(found: list[np.ndarray]) -> torch.Tensor:
    pixels = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float().div_(255)
    return (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]


def _masks(paths: Sequence[str | None], side: int) -> np.ndarray:
    """(N, side, side) bool, True on the defect; all False for a good image."""
    masks = np.zeros((len(paths), side, side), bool)
    for mask, path in zip(masks, paths, strict=True):
        if path is not None:
            with Image.open(path) as image:
                mask[:] = np.asarray(image.convert("L").resize((side, side), Image.Resampling.NEAREST)) > 0
    return masks


def _auroc(values: np.ndarray, positive: np.ndarray) -> float:
    """Mann-Whitney, ties at half weight."""
    high, low = values[positive], np.sort(values[~positive])
    below = np.searchsorted(low, high, "left").astype(np.float64)
    return float((below + np.searchsorted(low, high, "right")).mean() / 2 / len(low))


def _model(job: dict[str, Any]) -> Any:
    """On its device."""
    library = import_module("anomalib.models.image.fastflow.torch_model")
    side = job["image_size"]
    model = library.FastflowModel((side, side), job["backbone"], pre_trained=False)
    have, need = load_file(job["weights"]), model.feature_extractor.state_dict()
    kept = {name: have.get(name, value) for name, value in need.items()}
    missing = [name for name in need if name not in have and not name.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"{job['weights']} has no {missing[0]}")
    model.feature_extractor.load_state_dict(kept)
    return model.to(job["device"])


def _optimizer(model: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=_LR, weight_decay=_WEIGHT_DECAY)


def _flops(model: Any, job: dict[str, Any], training: bool) -> int:
    """Operations of an image's convolutions, two for each multiplication with addition; in training those of the flows
    three times: their gradients take twice as much."""
    counted = 0

    def counting(times: int) -> Callable[..., None]:
        def count(layer: torch.nn.Conv2d, _given: Any, made: torch.Tensor) -> None:
            nonlocal counted
            counted += times * 2 * made.numel() * layer.weight[0].numel()

        return count

    hooks = []
    for network, times in ((model.feature_extractor, 1), (model.fast_flow_blocks, 3 if training else 1)):
        found = (layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
        hooks += [layer.register_forward_hook(counting(times)) for layer in found]
    with torch.no_grad():
        model(torch.zeros(1, 3, job["image_size"], job["image_size"], device=job["device"]))
    for hook in hooks:
        hook.remove()
    return counted


def _score(job: dict[str, Any]) -> None:
    """Scores as many files as a line asks for, and says how long that took."""
    side, device, model = job["image_size"], job["device"], _model(job).eval()
    files = [Path(path).read_bytes() for path in job["files"]]
    with ThreadPoolExecutor(job["threads"]) as pool, torch.inference_mode():

        def scored(count: int) -> tuple[list[float], np.ndarray]:
            pixels = list(pool.map(lambda content: _pixels(io.BytesIO(content), side), files[:count]))
            found = model(_normalised(pixels).to(device))
            return found.pred_score.tolist(), found.anomaly_map.reshape(count, side, side).cpu().numpy()

        _say(kind="ready", flops=_flops(model, job, training=False))
        for line in sys.stdin:
            count = json.loads(line)["images"]
            (scores, maps), taken = _timed(lambda count=count: scored(count), device)
            _say(kind="scored", images=len(scores), pixels=maps.size, **taken)


def _train(job: dict[str, Any], loss_of: Any) -> None:
    """Tells of every epoch."""
    side, device, model = job["image_size"], job["device"], _model(job)
    _say(kind="about", flops=_flops(model, job, training=True), train_images=len(job["train"]))
    optimizer = _optimizer(model)
    trained = _images(job["train"], side)
    paths, masked = zip(*job["test"], strict=True)
    (tested, masks), evaluating = _timed(lambda: (_images(paths, side), _masks(masked, side)), device)

    def evaluate() -> float:
        model.eval()
        with torch.no_grad():
            parts = [model(part.to(device)).anomaly_map.reshape(-1, side, side).cpu() for part in tested.split(_BATCH)]
        return _auroc(torch.cat(parts).numpy(), masks)

    for epoch in range(1, job["epochs"] + 1):
        model.train()
        for batch in torch.randperm(len(trained)).split(_BATCH):
            loss = loss_of(*model(trained[batch].to(device)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        auroc, taken = _timed(evaluate, device)
        evaluating = {name: value + taken[name] for name, value in evaluating.items()}
        spent = {"evaluating": evaluating["seconds"], "evaluating_cpu": evaluating["cpu_seconds"]}
        _say(kind="epoch", epoch=epoch, pixel_auroc=auroc, **spent)


class _Bench:
    """An epoch in anomalib's loop, and its coupling block."""

    def __init__(self, job: dict[str, Any], loss_of: Any) -> None:
        self.job, self.device, self.loss_of = job, job["device"], loss_of
        self.model = _model(job)
        self.model.fast_flow_blocks.load_state_dict(load_file(job["flow"]))
        self.model.train()
        self.optimizer = _optimizer(self.model)
        self.pool = ThreadPoolExecutor(job["threads"])

    def epoch(self) -> list[float]:
        losses, side, size = [], self.job["image_size"], self.job["batch"]
        for start in range(0, len(self.job["images"]), size):
            paths = self.job["images"][start : start + size]
            images = _normalised(list(self.pool.map(lambda path: _pixels(path, side), paths)))
            loss = self.loss_of(*self.model(images.to(self.device)))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def coupling(self, order: dict[str, Any]) -> Callable[[], float]:
        """A step of a block, forward and backward to its input and parameters; what it returns is its loss."""
        flow = import_module("anomalib.models.image.fastflow.torch_model")
        channels, side = order["channels"], order["side"]
        subnet = flow.subnet_conv_func(order["kernel"], 1.0)
        options = {"subnet_constructor": subnet, "affine_clamping": 2.0, "permute_soft": False}
        block = flow.AllInOneBlock([(channels, side, side)], **options)
        block.load_state_dict(load_file(order["weights"]))
        block.to(self.device)
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(order["images"], channels, side, side, generator=generator).to(self.device).requires_grad_()
        trained = [x, *(parameter for parameter in block.parameters() if parameter.requires_grad)]
        with torch.no_grad():
            (y,), log_det = block((x,))
            loss = (0.5 * y.square().flatten(1).sum(1) - log_det).mean().item()

        def step() -> float:
            (y,), log_det = block((x,))
            torch.autograd.grad([y, log_det], trained, [y.detach(), -torch.ones_like(log_det)])
            return loss

        return step

    def serve(self) -> None:
        _say(kind="ready", flops=_flops(self.model, self.job, training=True), precision="fp32", caching_seconds=0.0)
        asked, step = {}, None
        for line in sys.stdin:
            order = json.loads(line)
            if order["order"] == "epoch":
                if self.device.startswith("cuda"):
                    torch.cuda.reset_peak_memory_stats(self.device)
                losses, taken = _timed(self.epoch, self.device)
                _say(kind="done", losses=losses, peak_memory=_peak_memory(self.device), **taken)
                continue
            if order != asked:
                asked, step = order, self.coupling(order)
            step()
            losses, taken = _timed(lambda step=step: [step() for _ in range(_STEPS_A_TURN)], self.device)
            _say(kind="done", loss=losses[0], **{name: value / _STEPS_A_TURN for name, value in taken.items()})


def _main() -> None:
    loss_of = import_module("anomalib.models.image.fastflow.loss").FastflowLoss()
    _say(kind="imported")
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job.get("seed", 0))
    if "files" in job:
        _score(job)
    elif "train" in job:
        _train(job, loss_of)
    else:
        _Bench(job, loss_of).serve()


if __name__ == "__main__":
    _main()
