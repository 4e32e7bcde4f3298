"""Scores images with an exported model, without torch: onnxruntime, Pillow, NumPy and pydantic are all it takes.

    pip install --no-deps altub && pip install onnxruntime pillow numpy pydantic
    python -m altub.runtime bottle.onnx images/ --output scores.csv

`altub export` writes the model; it holds its own thresholds.
"""

from __future__ import annotations

from altub.runtime.detector import OnnxDetector

__all__ = ["OnnxDetector"]
