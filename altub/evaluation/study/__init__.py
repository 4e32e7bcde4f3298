"""Studies: a grid of trainings over categories, flows, base updates, settings and seeds, and what came out of it."""

from altub.evaluation.study.grid import PlannedRun, StudyGrid, parse_settings, parse_varied, plan_runs
from altub.evaluation.study.results import RunResult, StudyResults, Summary, collect_results, write_results
from altub.evaluation.study.running import Progress, run_study

__all__ = [
    "PlannedRun",
    "Progress",
    "RunResult",
    "StudyGrid",
    "StudyResults",
    "Summary",
    "collect_results",
    "parse_settings",
    "parse_varied",
    "plan_runs",
    "run_study",
    "write_results",
]
