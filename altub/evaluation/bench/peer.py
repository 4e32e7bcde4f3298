"""The other side of a comparison: anomalib's FastFlow, trained or scoring, run by a Python that has anomalib.

A script that needs nothing of AltUB. The model, its loss and its optimiser are anomalib's (`FastflowModel`,
`FastflowLoss`, Adam 1e-3, weight decay 1e-5, batches of 32 in random order); the loop is the plain one. Two things make
it faster than anomalib is in use: images are decoded once and kept, and Lightning is not there.

It is told what to train by one line of JSON on stdin, and prints lines of JSON like `altub.evaluation.bench.trainer`:

    {"train": [path, ...], "test": [[path, mask path or null], ...], "image_size": 128, "epochs": 8, "threads": 2,
     "backbone": "resnet18", "weights": path of a safetensors file, "seed": 0}

Or what to score, whereupon it waits for orders (`altub.evaluation.bench.scoring_peer`). Its flow then has random
weights, which cost the same as trained ones; it runs in inference mode, as under Lightning, and decodes in as many
threads as it computes in:

    {"files": [path, ...], "image_size": 256, "threads": 2, "backbone": "resnet18", "weights": path}
"""

from __future__ import annotations

import io
import json
import sys
import time
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

__all__: list[str] = []


def _say(**values: Any) -> None:
    print(json.dumps({**values, "cpu_seconds": time.process_time()}), flush=True)


def _pixels(file: Any, side: int) -> np.ndarray:
    """(side, side, 3) of a path or an open file."""
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def _images(paths: list[str], side: int) -> torch.Tensor:
    """(N, 3, side, side), normalised."""
    return _normalised([_pixels(path, side) for path in paths])


def _normalised(found: list[np.ndarray]) -> torch.Tensor:
    pixels = torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float().div_(255)
    return (pixels - torch.tensor(_MEAN)[:, None, None]) / torch.tensor(_STD)[:, None, None]


def _masks(paths: list[str | None], side: int) -> np.ndarray:
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
    library = import_module("anomalib.models.image.fastflow.torch_model")
    side = job["image_size"]
    model = library.FastflowModel((side, side), job["backbone"], pre_trained=False)
    have, need = load_file(job["weights"]), model.feature_extractor.state_dict()
    kept = {name: have.get(name, value) for name, value in need.items()}
    missing = [name for name in need if name not in have and not name.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"{job['weights']} has no {missing[0]}")
    model.feature_extractor.load_state_dict(kept)
    return model


def _serve(job: dict[str, Any]) -> None:
    """Scores as many files as a line asks for, and says how long that took."""
    side, model = job["image_size"], _model(job).eval()
    files = [Path(path).read_bytes() for path in job["files"]]
    with ThreadPoolExecutor(job["threads"]) as pool, torch.inference_mode():
        _say(kind="ready")
        for line in sys.stdin:
            count = json.loads(line)["images"]
            began, cpu_began = time.perf_counter(), time.process_time()
            pixels = list(pool.map(lambda content: _pixels(io.BytesIO(content), side), files[:count]))
            found = model(_normalised(pixels))
            scores, maps = found.pred_score.tolist(), found.anomaly_map.reshape(count, side, side).numpy()
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
            _say(kind="scored", images=len(scores), pixels=maps.size, seconds=seconds, cpu=cpu)


def _main() -> None:
    loss_of = import_module("anomalib.models.image.fastflow.loss").FastflowLoss()
    _say(kind="imported")
    job = json.loads(sys.stdin.readline())
    torch.set_num_threads(job["threads"])
    torch.manual_seed(job.get("seed", 0))
    if "files" in job:
        _serve(job)
        return
    side, model = job["image_size"], _model(job)
    optimizer = torch.optim.Adam(model.parameters(), lr=_LR, weight_decay=_WEIGHT_DECAY)
    trained = _images(job["train"], side)
    began = time.perf_counter()
    tested, masks = _images([path for path, _ in job["test"]], side), _masks([mask for _, mask in job["test"]], side)
    evaluating = time.perf_counter() - began
    for epoch in range(1, job["epochs"] + 1):
        model.train()
        for batch in torch.randperm(len(trained)).split(_BATCH):
            loss = loss_of(*model(trained[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        began = time.perf_counter()
        model.eval()
        with torch.no_grad():
            maps = torch.cat([model(part).anomaly_map.reshape(-1, side, side) for part in tested.split(_BATCH)])
        auroc = _auroc(maps.numpy(), masks)
        evaluating += time.perf_counter() - began
        _say(kind="epoch", epoch=epoch, pixel_auroc=auroc, evaluating=evaluating)


if __name__ == "__main__":
    _main()
