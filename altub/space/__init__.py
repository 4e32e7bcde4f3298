"""AltUB as a Hugging Face Space: what it is made of, how it gets there, and what differs when the page runs in one.

contents   which files a Space consists of, and its starting model
deploy     their way to the Hub
host       the start of the page in a Space
notices    what visitors are told
limits     what a Space's owner allows: queue, time, epochs, image size
visitors   who began a training, since nobody else may stop it
zero       ZeroGPU, where a GPU is lent for the length of a call
"""

from __future__ import annotations
