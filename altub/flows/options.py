"""Names of the choices within a flow; free of torch, so that settings can be checked without loading it."""

from typing import Literal

__all__ = ["PAPERS", "FlowKind", "FlowLoss", "Kernels", "Norm", "Permutation"]

FlowKind = Literal["fastflow", "cflow"]
FlowLoss = Literal["nll", "logsigmoid"]
Kernels = Literal["3x3", "3x3/1x1"]
Norm = Literal["layer", "layer-affine", "channel", "whiten", "none"]
Permutation = Literal["hard", "soft"]

PAPERS = {"fastflow": ("FastFlow", "2111.07677"), "cflow": ("CFLOW-AD", "2107.12571")}  # name and arXiv number
