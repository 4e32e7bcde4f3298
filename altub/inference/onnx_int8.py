"""The convolutions of an exported graph in 8-bit integers, the rest in float32.

Weights have a scale per output channel, activations one per tensor, from their smallest and largest value on training
images (static quantisation; Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018, https://arxiv.org/abs/1712.05877).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from altub.errors import ConfigError
from altub.inference.onnx_graph import NEEDS, quiet
from altub.inference.onnx_record import INPUT

if TYPE_CHECKING:
    from onnx import ModelProto

__all__ = ["BACKBONE", "FLOW", "convolutions", "quantised"]

#: Parts of the graph whose convolutions can become integers. Norm, couplings, energy, map and score stay in float32.
BACKBONE, FLOW = "detector.backbone", "detector.pyramid.heads"
SCOPES = "pkg.torch.onnx.name_scopes"  # where torch's exporter writes the module of a node


def convolutions(graph: ModelProto, parts: Sequence[str]) -> list[str]:
    """The names of a float32 graph's convolutions in these parts that have weights of their own, over several channels.

    Convolutions of each channel by itself stay in float32: with a few products a value there is little to gain.
    """
    inputs = {tensor.name: tensor.dims[1] for tensor in graph.graph.initializer if len(tensor.dims) == 4}
    return [
        node.name
        for node in graph.graph.node
        if node.op_type == "Conv"
        and inputs.get(node.input[1], 1) > 1
        and any(f"'{part}" in _scopes(node) for part in parts)
    ]


def quantised(
    source: Path, images: Iterable[np.ndarray], parts: Sequence[str] = (BACKBONE, FLOW)
) -> tuple[ModelProto, list[str]]:
    """The graph in a file of `export_onnx` with the convolutions of these parts in int8, and their names.

    Weights take 7 of the 8 bits: CPUs without instructions for sums of 8-bit products (VNNI) would saturate on 8, and
    give other scores than the ones that the thresholds were calibrated on. A ReLU behind a convolution becomes the
    range of its integers, so that none is spent on values below 0.

    Args:
        images: inputs of the graph, (N, 3, S, S) float32 in [0, 1], made of training images.

    Raises:
        ConfigError: packages are missing, or there is no such convolution.
    """
    try:
        import onnx
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    except ImportError as error:
        raise ConfigError(f"{NEEDS}, and onnxruntime.") from error
    graph = onnx.load(source)
    names = convolutions(graph, parts)
    if not names:
        raise ConfigError("This model has no convolution that could be in int8: export it in float32.")
    with tempfile.TemporaryDirectory() as folder, quiet():
        written = Path(folder) / "int8.onnx"
        quantize_static(
            source,
            written,
            _reader(iter(images)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Relu"],
            nodes_to_quantize=[*names, *_activations(graph, names)],
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(written), names


def _activations(graph: ModelProto, names: Sequence[str]) -> list[str]:
    """The ReLUs right behind these convolutions."""
    outputs = {output for node in graph.graph.node if node.name in set(names) for output in node.output}
    return [node.name for node in graph.graph.node if node.op_type == "Relu" and node.input[0] in outputs]


def _scopes(node: object) -> str:
    return next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")


def _reader(images: Iterator[np.ndarray]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(images, None)
            return None if batch is None else {INPUT: batch}

    return Reader()
