"""The run directory, the queue of trainings, and the launchers that start them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from altub.lazy import lazy_exports

if TYPE_CHECKING:
    from altub.runs.run import Run, Status, list_runs, new_run_id

__all__ = ["Run", "Status", "list_runs", "new_run_id"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Run": ".run",
        "Status": ".run",
        "list_runs": ".run",
        "new_run_id": ".run",
    },
)
