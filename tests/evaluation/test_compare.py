"""Runs beside each other: curves, how they end, names, groups; and the Compare tab's HTML."""

from __future__ import annotations

import base64
import csv
import io
import re
import statistics
from typing import Any

import pytest

from altub.evaluation.compare import (
    curve_stats,
    differing_settings,
    drift,
    group_by_settings,
    labels,
    mean_and_band,
    update_name,
)
from altub.metrics import Metrics
from altub.training.config import TrainingConfig, make_config
from altub.training.records import BaseDrift, EpochRecord, Quantiles, curve
from altub.training.schedule import VARIANTS, BaseSchedule
from altub.ui.compare.views import DASHES, MOST_LINES, Entry, chart, compare, csv_link, settings_table, stats_table


def event(epoch: int, value: float | None, nll: float = 1.0) -> EpochRecord:
    base = [
        BaseDrift(mean=around(0.1 * epoch), std=around(0.0)),
        BaseDrift(mean=around(0.3 * epoch), std=around(0.2)),
    ]
    test = None if value is None else Metrics(pixel_auroc=value, image_auroc=None)
    return EpochRecord(epoch=epoch, held_out=nll, test=test, base=base)


def around(median: float) -> Quantiles:
    return Quantiles(q05=median - 2, q25=median - 1, q50=median, q75=median + 1, q95=median + 2)


def config(**settings: Any) -> TrainingConfig:
    return make_config(**{"category": "weave", "data": "/secret/place/mvtec", **settings})


def entry(name: str, values: list[float], **settings: Any) -> Entry:
    events = [event(epoch, value, 2.0 - value) for epoch, value in enumerate(values, 1)]
    return Entry(name, config(**settings), events, "finished", f"{len(values)} of {len(values)}")


def test_a_curve_leaves_out_what_was_not_measured() -> None:
    events = [event(1, 0.5), event(2, None), event(3, 0.7), EpochRecord(epoch=4, test=Metrics())]
    assert curve(events, "pixel_auroc") == [(1, 0.5), (3, 0.7)]
    assert curve(events, "image_auroc") == []
    assert curve(events, "held_out") == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert drift(events[:1], "mean") == [(1, pytest.approx(0.2))] and drift(events[:1], "std") == [(1, 0.1)]


def test_how_a_curve_ended() -> None:
    points = [(k, value) for k, value in enumerate([0.5, 0.9, 0.95, 0.8, 0.7, 0.84], 1)]
    stats = curve_stats(points, "pixel_auroc")
    assert (stats.last, stats.last_epoch, stats.best, stats.best_epoch) == (0.84, 6, 0.95, 3)
    assert stats.gap == pytest.approx(0.11)
    assert stats.spread == pytest.approx(statistics.stdev([0.7, 0.84])), "epochs 5 and 6 of 6"
    loss = curve_stats(points, "held_out")
    assert (loss.best, loss.best_epoch) == (0.5, 1) and loss.gap == pytest.approx(0.34)
    assert curve_stats([], "aupro") is None and curve_stats([(1, 0.5)], "aupro").spread is None
    assert curve_stats([(0, 0.99), *points], "pixel_auroc") == stats, "epoch 0 is before any training"


def test_mean_and_band_at_common_epochs() -> None:
    rows = mean_and_band([[(1, 0.2), (2, 0.4), (3, 0.9)], [(1, 0.4), (2, 0.8)], []])
    assert rows == [(1, pytest.approx(0.3), 0.2, 0.4), (2, pytest.approx(0.6), 0.4, 0.8)]
    assert mean_and_band([[]]) == []


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_keep_their_names(name: str) -> None:
    assert update_name(BaseSchedule(**VARIANTS[name])) == name


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "gradient"),
        ({"base_update": "off", "lr": 0.3, "joint": False}, "off"),
        ({"base_update": "moments", "lr": 0.3}, "moments"),
        ({"base_update": "moments", "interval": 3}, "moments:interval=3"),
        ({**VARIANTS["public-fastflow"], "interval": 3}, "public-fastflow:interval=3"),
        ({**VARIANTS["public-fastflow"], "interval_unit": "epoch", "interval": 2, "on_top": True}, "gradient"),
    ],
)
def test_names_of_updates(settings: dict[str, Any], name: str) -> None:
    assert update_name(BaseSchedule(**settings)) == name


def test_only_what_means_something_differs() -> None:
    off, other = config(base={"base_update": "off"}), config(base={"base_update": "off", "lr": 0.1, "interval": 9})
    assert differing_settings([off, other]) == {}
    moments = config(base={"base_update": "moments"}, seed=3)
    differing = differing_settings([off, moments])
    assert differing["seed"] == ["0", "3"] and differing["base.interval"] == ["-", "2"]
    assert "base.lr" not in differing and "epochs" not in differing


def test_folders_are_told_by_name_alone_and_apart() -> None:
    differing = differing_settings([config(), config(data="/other/mvtec"), config()])
    assert differing == {"data": ["mvtec", "mvtec (2)", "mvtec"]}


def test_groups_are_the_same_but_for_seed_and_device() -> None:
    configs = [config(seed=0), config(seed=1, device="cpu"), config(seed=0, epochs=3), config(seed=2)]
    assert group_by_settings(configs) == [[0, 1, 3], [2]]


def test_labels_tell_runs_apart() -> None:
    configs = [config(seed=s, base={"base_update": u}) for s in (0, 1) for u in ("off", "moments")]
    assert labels(configs, list("abcd")) == ["off · seed 0", "moments · seed 0", "off · seed 1", "moments · seed 1"]
    assert labels([config(), config()], ["x-1a", "x-2b"]) == ["gradient · 1a", "gradient · 2b"]
    assert labels([config(), config(category="lid")], ["x", "y"]) == ["weave", "lid"]
    assert labels([config(base={"base_update": "moments"})], ["x"]) == ["weave"]


# The tab.


def test_every_run_has_a_line_of_its_own_dash_and_number() -> None:
    compared = compare([entry(f"r-{k}", [0.5, 0.6 + k / 100], seed=k) for k in range(8)], False)
    html = chart(compared, "pixel_auroc")
    assert len(re.findall(r"<polyline", html)) == 8
    assert len({item.dash for item in compared}) == len({item.colour for item in compared}) == len(DASHES) == 8
    assert [item.number for item in compared] == list(range(1, 9))
    ninth = compare([entry(f"r-{k}", [0.5, 0.6], seed=k) for k in range(9)], False)[8]
    assert (ninth.colour, ninth.dash) not in {(item.colour, item.dash) for item in compared}
    assert "--cmp-1)" not in ninth.colour, "the style sheet would call it 1"


def test_seeds_together_are_one_line_and_a_band() -> None:
    entries = [
        entry("a", [0.5, 0.6, 0.7], seed=0),
        entry("b", [0.7, 0.8, 0.9], seed=1),
        entry("c", [0.1, 0.2], epochs=9),
    ]
    compared = compare(entries, True)
    assert [len(item.members) for item in compared] == [2, 1]
    html = chart(compared, "pixel_auroc")
    assert html.count("<polyline") == 2 and html.count("<polygon") == 1 and "lowest to highest" in html
    table = stats_table(compared, "pixel_auroc")
    assert "<td>0.8000</td>" in table and f"<td>{statistics.stdev([0.7, 0.9]):.4f}</td>" in table
    assert "seed" not in settings_table(compared) and "epochs" in settings_table(compared)


def test_no_path_of_the_server_and_no_markup_gets_out() -> None:
    entries = [entry("a", [0.5, 0.6]), entry("b", [0.5, 0.6], category="<b>x</b>", data="/secret/other")]
    compared = compare(entries, False)
    html = chart(compared, "pixel_auroc") + stats_table(compared, "pixel_auroc") + settings_table(compared)
    assert "/secret" not in html and "<b>x" not in html and "&lt;b&gt;x" in html


def test_empty_states_say_why() -> None:
    assert "after an epoch" in chart(compare([entry("a", [])], False), "aupro")
    assert "no labelled test images" in chart(compare([entry("a", [0.5])], False), "aupro")
    assert "two runs" in settings_table(compare([entry("a", [0.5])], False))
    assert "same settings" in settings_table(compare([entry("a", [0.5]), entry("b", [0.6])], False))


def test_the_download_holds_the_numbers_and_runs_nothing() -> None:
    link = csv_link([entry("a", [0.5, 0.7, 0.6], seed=7), entry("b", [0.5], category="=cmd()")])
    text = base64.b64decode(re.search(r"base64,([^\"]+)", link)[1]).decode()
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["run"], first["seed"], first["pixel_auroc_best_epoch"]) == ("a", "7", "2")
    assert float(first["pixel_auroc_last"]) == 0.6 and first["aupro_last"] == ""
    assert second["category"] == "'=cmd()" and "/secret" not in text


def test_lines_that_are_not_drawn_are_said() -> None:
    entries = [entry(f"run-{seed}", [0.5, 0.6], seed=seed) for seed in range(MOST_LINES + 2)]
    html = chart(compare(entries, False), "pixel_auroc")
    assert html.count("<polyline") == MOST_LINES
    assert f"draws the first {MOST_LINES} of {MOST_LINES + 2} lines" in html
    assert "draws the first" not in chart(compare(entries[:MOST_LINES], False), "pixel_auroc")
    assert "draws the first" not in chart(compare(entries, True), "pixel_auroc"), "together they are one line"
