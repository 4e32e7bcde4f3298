"""The products of the built-in sample, each drawn from random numbers and nothing else."""

from __future__ import annotations
