"""From the records of epochs to the charts of the Train tab."""

from __future__ import annotations

from altub.metrics import Metrics
from altub.runs.run import Run
from altub.ui.train.curves import base_epochs, drift_charts, loss_chart, metric_chart, metric_tiles
from tests.ui.train.conftest import event, polylines


def test_base_turns_are_shaded() -> None:
    events = [event(k, "base" if k % 5 == 0 else "flow") for k in range(1, 13)]
    assert base_epochs(events) == [5, 10]
    assert loss_chart(events).count("<rect") == 2


def test_an_epoch_of_moments_has_no_training_loss() -> None:
    events = [event(1), event(2), event(3, "base", loss=None), event(4), event(5)]
    training, _, held_out = polylines(loss_chart(events))
    assert (len(training), len(held_out)) == (2, 5)


def test_metrics_without_masks() -> None:
    test = Metrics(image_auroc=0.9)
    html = metric_chart([event(1, test=test), event(2, test=test)])
    assert "Image AUROC" in html and "Pixel AUROC" not in html
    assert "needs masks" in metric_tiles([event(2, test=test)])


def test_no_labelled_images() -> None:
    assert "No labelled test images" in metric_chart([event(1), event(2)])
    assert metric_tiles([event(1)]) == ""


def test_best_is_called_what_it_is() -> None:
    last = Metrics(image_auroc=0.8, pixel_auroc=0.7, aupro=0.6, f1_max=0.5)
    before = last.model_copy(update={"pixel_auroc": 0.75, "image_auroc": 0.7})
    html = metric_tiles([event(4, test=before), event(9, test=last)])
    assert "<b>0.700</b><small>best 0.750, epoch 4</small>" in html
    assert "<b>0.800</b><small>best 0.800, epoch 9</small>" in html  # each metric's own best is never below its last
    assert "chosen on the test set" in html


def test_drift_begins_at_the_standard_normal() -> None:
    html = drift_charts([event(1), event(2)], 1, "gradient")
    lines = polylines(html)
    assert len(lines) == 2
    assert all(len(line) == 3 and line[0][1] > line[1][1] for line in lines)


def test_drift_of_a_base_that_is_off() -> None:
    assert "base update is off" in drift_charts([event(1)], 0, "off")


def test_drift_of_a_head_that_is_not_there() -> None:
    assert polylines(drift_charts([event(1), event(2)], 7, "gradient")) == []


def test_charts_of_a_real_run(trained_run: Run) -> None:
    events = trained_run.events()
    assert [len(line) for line in polylines(loss_chart(events))] == [4, 4]
    assert len(polylines(metric_chart(events))) == 3
    assert [len(line) for line in polylines(drift_charts(events, 0, "gradient"))] == [5, 5]
    assert "<b>" in metric_tiles(events)
