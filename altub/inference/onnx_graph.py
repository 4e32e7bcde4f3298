"""A detector as one graph of tensors, and that graph as an ONNX file.

The graph holds backbone, norm, flow, base, map and score. Where the code computes with something that a graph cannot
hold (gradients written by hand, work in slices that fit a cache, constants kept per map size) it takes plain operations
while it is traced.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from altub.errors import ConfigError
from altub.inference.onnx_record import INPUT, MAPS, OPSET, SCORES

if TYPE_CHECKING:
    from onnx import ModelProto

    from altub.inference.detector import AnomalyDetector

__all__ = ["NEEDS", "ScoringGraph", "onnx_graph", "quiet"]

LARGEST_BATCH = 4096  # images; the exporter wants a bound
NEEDS = "ONNX export needs two packages: pip install onnx onnxscript"


class ScoringGraph(nn.Module):
    """What an export computes: images (N, 3, S, S), float32 in [0, 1], to maps (N, S, S) and scores (N,).

    S is the model's input size; maps and scores are those of `AnomalyDetector.predict`.
    """

    def __init__(self, detector: AnomalyDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        detector, size = self.detector, self.detector.config.image_size
        maps, scales = detector.maps_from_features(detector.backbone(images), (size, size))
        return maps, detector.image_scores(scales)


def onnx_graph(detector: AnomalyDetector) -> ModelProto:
    """The detector's graph in ONNX (`OPSET`), float32, for any number of images at its input size.

    Raises:
        ConfigError: the exporter's packages are missing, or the detector computes something that ONNX does not know.
    """
    try:
        import onnx  # noqa: F401 - without it torch fails with another message
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{NEEDS}.") from error
    size = detector.config.image_size
    graph = ScoringGraph(detector).cpu().eval()
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph,
                (torch.rand(2, 3, size, size),),
                input_names=[INPUT],
                output_names=[MAPS, SCORES],
                dynamic_shapes=({0: batch},),
                opset_version=OPSET,
                dynamo=True,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[-1][:300]
        raise ConfigError(
            f"This model cannot be exported to ONNX: {reason} A backbone or flow of your own must be made of "
            "operations that torch.onnx knows."
        ) from error
    return program.model_proto


@contextmanager
def quiet() -> Iterator[None]:
    """Exporter and quantiser print their steps, warn of their own internals, and log what they do not need."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
