"""The Label tab: people's verdicts and masks, what they say of a model, and thresholds from them."""

from __future__ import annotations
