"""Time spans in words, the same on every tab. Pure."""

from __future__ import annotations

__all__ = ["duration"]


def duration(seconds: float) -> str:
    """A time span in the two largest units that matter."""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
