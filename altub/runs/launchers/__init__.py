"""How a training is started, resumed and stopped: as a process, on Hugging Face Jobs, on ZeroGPU."""

from __future__ import annotations
