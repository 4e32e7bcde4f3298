"""AltUB as a Hugging Face Space: its files, their upload, and what differs when the page runs in one.

contents   which files a Space consists of, and its starting model
upload     uploads them to the Hub
server     a running Space: its limits, its visitors and its notices
"""

from __future__ import annotations
