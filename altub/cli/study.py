"""`python -m altub study`: a grid of trainings, their table and their figures."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from altub.cli.options import STOPPED, Data, Json
from altub.cli.signals import StopOnSignals
from altub.errors import ConfigError
from altub.training.schedule import VARIANTS

if TYPE_CHECKING:
    from altub.evaluation.study import StudyResults, Summary

__all__ = ["register"]

SOME_FAILED = 1


def register(app: typer.Typer) -> None:
    """Adds the command to the command line."""
    app.command()(study)


def study(
    study_dir: Annotated[Path, typer.Option(help="Folder of runs, tables and figures; an unfinished study continues.")],
    data: Data = "sample",
    categories: Annotated[str, typer.Option(help="Categories with commas.")] = "",
    flows: Annotated[str, typer.Option(help="fastflow, cflow, or both with a comma.")] = "fastflow",
    base_updates: Annotated[
        str,
        typer.Option(help=f"Any of off,gradient,{','.join(VARIANTS)},moments; settings go behind: moments:interval=2."),
    ] = "off,gradient,moments",
    seeds: Annotated[str, typer.Option(help="Whole numbers with commas.")] = "0,1,2",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for all runs: epochs=10, flow.norm=layer, base.lr=0.01."),
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE,VALUE: a setting that is crossed with all else: flow.norm=position,whiten."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trainings at a time; default: one per device.")] = None,
    devices: Annotated[str, typer.Option(help="auto, cpu, or GPUs such as cuda:0,cuda:1.")] = "auto",
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing: tables and figures of the existing runs.")
    ] = False,
    rescore: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE,VALUE: train nothing, score the finished runs under other read-outs."),
    ] = None,
    forget_cache: Annotated[
        bool, typer.Option("--forget-cache", help="Delete what --rescore has kept beside the runs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """What training gives, and how stable it is: categories x flows x base updates x --vary x seeds, as a table, CSV,
    JSON and figures.

    The same command again continues what is unfinished; another grid in the same folder extends it. Exit code 1 if a
    run failed, 130 if it was stopped (Ctrl+C: every run saves its state).
    """
    from altub.cli.progress import StudyBar
    from altub.evaluation.study import StudyGrid, collect_results, parse_settings, parse_varied, plan_runs, run_study

    if forget_cache:
        from altub.evaluation.study.rescored import forget_caches

        print(f"Deleted the kept energies of {forget_caches(study_dir)} runs.", file=sys.stderr)
        if not rescore:
            return
    if rescore:
        _rescore(study_dir, rescore, _words(categories), _words(devices), as_json)
        return
    if report:
        _report(collect_results(study_dir), study_dir, as_json)
        return
    if not categories.strip():
        raise ConfigError("Name what to study: --categories NAME,NAME (see `python -m altub categories`).")
    grid = StudyGrid(
        data=data,
        categories=_words(categories),
        flows=_words(flows) or ["fastflow"],
        base_updates=_words(base_updates),
        seeds=[_seed(word) for word in _words(seeds)],
        settings=parse_settings(settings or ()),
        axes=parse_varied(vary or ()),
    )
    planned = plan_runs(grid, study_dir)
    places = _words(devices) or ["auto"]
    _check_devices(places)
    with StopOnSignals("SIGINT", "SIGTERM", "SIGHUP") as stopping, StudyBar(len(planned)) as bar:
        ended = run_study(planned, jobs=jobs, devices=places, should_stop=stopping.asked, on_progress=bar.update)
    if not ended:
        again = f"python -m altub study {shlex.join(_without_report(sys.argv[2:]))}"
        print(f"Stopped; every run has saved its state. Resume: {again}", file=sys.stderr)
        raise typer.Exit(STOPPED)
    _report(collect_results(study_dir), study_dir, as_json)
    unfinished = [entry for entry in planned if not entry.is_done()]
    for entry in unfinished:
        status = entry.run.status
        print(f"{entry.name} {status.state}: {status.message}", file=sys.stderr)
    if unfinished:
        raise typer.Exit(SOME_FAILED)


def _rescore(study_dir: Path, pairs: list[str], categories: list[str], places: list[str], as_json: bool) -> None:
    from altub.cli.progress import CountBar
    from altub.evaluation.study.rescored import markdown, parse_readouts, rescore_study, write_rescored

    axes = parse_readouts(pairs)
    with CountBar("runs scored") as bar:
        found = rescore_study(
            study_dir, axes, categories=categories, device=(places or ["auto"])[0], on_progress=bar.update
        )
    written = write_rescored(found, study_dir)
    for note in found.notes:
        print(f"Note: {note}", file=sys.stderr)
    print(json.dumps(found.as_json()) if as_json else markdown(found))
    if not as_json:
        print(f"{study_dir}: {', '.join(path.name for path in written)}")
    if found.notes:
        raise typer.Exit(SOME_FAILED)


def _report(results: StudyResults, study_dir: Path, as_json: bool) -> None:
    from altub.evaluation.study.figures import write_figures
    from altub.evaluation.study.results import as_json as to_json
    from altub.evaluation.study.results import write_results

    written = write_results(results, study_dir) + write_figures(results, study_dir)
    for note in results.notes:
        print(f"Note: {note}", file=sys.stderr)
    if as_json:
        print(json.dumps(to_json(results)))
        return
    print(result_table(results))
    figures = sum(path.suffix == ".png" for path in written)
    print(f"\n{study_dir}: results.csv, summary.csv, results.json, {figures} figures (png and svg)")


def result_table(results: StudyResults) -> str:
    """The summaries as aligned text: means, and below them the spreads."""
    if not results.summaries:
        return "No run has finished yet."
    from altub.metrics import MAIN_METRICS, METRICS

    shown = (*MAIN_METRICS, "aupimo")
    labels = [METRICS[name].label for name in shown]
    head = ["category", "flow", *results.axes, "base update"]
    first = [[*head, "seeds", *labels, "NLL held out", "|mu|", "|sigma-1|"]]
    second = [[*head, "best-last", "over epochs", "x plain", "over seeds", "x plain"]]
    for summary in results.summaries:
        name = [summary.category, summary.flow, *summary.variant.values(), summary.update]
        cells = [_mean_std(summary, metric) for metric in shown]
        rest = [_number(value) for value in (summary.held_out, summary.drift_mean, summary.drift_std)]
        first.append([*name, str(len(summary.seeds)), *cells, *rest])
        pixel = summary.metrics.get("pixel_auroc") or summary.metrics.get("image_auroc")
        if pixel is not None:
            values = [_number(pixel.mean_gap), _number(pixel.mean_spread), _number(pixel.ratio_spread, 2)]
            second.append([*name, *values, _number(pixel.std_last), _number(pixel.ratio_std, 2)])
    return (
        "Last epoch, mean ± standard deviation over seeds\n"
        + _aligned(first)
        + "\n\nStability of the pixel AUROC (of the image AUROC where there are no masks): standard deviation over the "
        "last third\nof the epochs and over the seeds, and as a fraction of the plain flow's\n" + _aligned(second)
    )


def _mean_std(summary: Summary, metric: str) -> str:
    found = summary.metrics.get(metric)
    if found is None:
        return "-"
    return _number(found.mean_last) + (f" ± {found.std_last:.4f}" if found.std_last is not None else "")


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _seed(word: str) -> int:
    if not word.isdigit():
        raise ConfigError(f"Seeds are whole numbers with commas, such as 0,1,2, not {word!r}.")
    return int(word)


def _check_devices(places: list[str]) -> None:
    """A wrong device is refused before anything is trained."""
    if any(place not in ("auto", "cpu") for place in places):  # importing torch takes seconds
        from altub.device import choose_device

        for place in places:
            choose_device(place)


def _without_report(arguments: list[str]) -> list[str]:
    return [argument for argument in arguments if argument != "--report"]
