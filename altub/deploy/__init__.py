"""AltUB as a Hugging Face Space: what it is made of, how it gets there, and what differs when the page runs in one.

contents   which files a Space consists of, and its starting model
upload     their way to the Hub
server     a running Space: its limits, its visitors and what it tells them
"""

from __future__ import annotations
