"""Pieces of HTML of the Inspect tab."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from altub.inference.batch import Source, Unreadable
from altub.inference.calibration import Calibration
from altub.inference.threshold import HeldOut, Labels, Threshold
from altub.ui.inspect import views
from altub.ui.inspect.histogram import number, score_histogram_html
from altub.ui.inspect.inspection import (
    threshold_at,
)
from altub.ui.inspect.review import review_value


def test_p_values_in_words():
    first = views.p_value_in_words(1 / 8, 7)
    assert first == "More anomalous than all 7 reference images; expected of at most 1 good part in 8."
    assert "all 20 reference images" in views.p_value_in_words(1 / 21, 20)
    assert "the only reference image" in views.p_value_in_words(1 / 2, 1)
    assert "1 good part in 20" in views.p_value_in_words(0.05, 99)
    assert "3 good parts in 10" in views.p_value_in_words(0.3, 20)
    assert "Nearly all good" in views.p_value_in_words(1.0, 20)


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.05, "5 %"), (0.001, "0.1 %"), (0.123456, "12.3 %"), (0, "0 %"), (1e-6, "< 0.01 %"), (1, "100 %")],
)
def test_percent(share, text):
    assert views.percent(share) == text


def test_names_of_files_are_escaped(batch):
    evil = Source(Path("x.png"), "<img src=x onerror=alert(1)>.png")
    item = replace(batch.item(1), source=evil)
    threshold = threshold_at(batch, 0)
    assert "<img src=x" not in views.verdict_card(batch, item, threshold)
    assert "<img src=x" not in views.problems([Unreadable(1, evil, f"{evil.name} is no image.")])


def test_the_histogram_marks_image_and_threshold():
    scores = np.linspace(-0.5, -0.3, 20)
    good = score_histogram_html(scores, -0.4, -0.31)
    bad = score_histogram_html(scores, -0.1, -0.31)
    far = score_histogram_html(scores, 50.0, -0.31)
    assert 'class="mark image good"' in good and 'class="mark image defect"' in bad
    assert "this image −0.4" in good and "threshold −0.31" in good
    assert "→" in far and "→" not in bad
    for one in (np.array([-0.4]), np.full(5, -0.4)):
        assert "threshold" in score_histogram_html(one, -0.4, -0.4)


def test_numbers_have_a_real_minus_sign():
    assert [number(value) for value in (-0.12345, 0.0, -0.0, 2.0, 1234.5)] == ["−0.123", "0", "0", "2", "1234"]


def test_the_warning_of_a_rate_that_cannot_be_promised_is_shown():
    calibration = Calibration(scores=np.arange(5.0), colour_low=0.0, colour_high=1.0)
    assert 'class="warning"' in views.threshold_note(calibration.threshold(0.01), calibration)
    note = views.threshold_note(calibration.threshold(1 / 6), calibration)
    assert "At most 16.7 %" in note and "5 % needs at least 19" in note, "what n does not allow stands where it ends"
    assert 'class="warning"' not in views.threshold_note(calibration.threshold(0.5), calibration)


def test_numbers_of_score_and_colours_are_in_units_of_good_parts(batch):
    unit, pixel = batch.calibration.score_unit, batch.calibration.pixel_unit
    threshold, item = threshold_at(batch, 0), batch.item(1)
    assert f">{number(unit.of(item.score))}<" in views.verdict_card(batch, item, threshold)
    assert "Threshold <b>1</b>" in views.threshold_note(threshold, batch.calibration)
    assert "threshold 1<" in views.legend(batch.calibration, threshold.pixel_value, "inferno")
    assert "threshold 0.5<" in views.legend(batch.calibration, pixel.raw(0.5), "inferno")
    assert "left:25.00%" in views.legend(batch.calibration, pixel.raw(0.5), "inferno"), "the colours end at 2"
    rows = review_value(batch, threshold, 2)["rows"]
    assert [row["score"] for row in rows] == [round(unit.of(one.score), 4) for one in batch.inspected]


def test_the_score_is_explained_as_what_it_is(batch):
    """Not the highest value of the map, unless the model is an older one."""
    assert batch.score_share == 0.01
    assert "highest 1 % of the pixels" in views.verdict_card(batch, batch.item(1), threshold_at(batch, 0))
    assert views.score_meaning(0.0).startswith("Highest value")


def test_counts_are_in_the_plural_where_they_are(batch):
    assert "<b>8</b> images" in views.batch_summary(batch)
    assert "<b>1</b> image<" in views.batch_summary(replace(batch, items=batch.items[:1]))
    odd = [Unreadable(number, Source(Path("x"), "x"), "x is empty.") for number in (1, 2)]
    assert "1 file skipped" in views.problems(odd[:1]) and "2 files skipped" in views.problems(odd)
    assert "1 earlier image is pending" in views.stopped(1, 2, 1)


def test_a_verdict_is_explained_where_its_word_does_not_say_it_all(batch):
    """Borderline, marked by the peak, not comparable: each in a sentence and with a colour of its own."""
    item, held_out = batch.item(1), HeldOut(19, 0.05, 0.05)
    just_below = Threshold(item.score, 1e6, held_out, (item.score - 1, item.score))
    card = views.verdict_card(batch, item, just_below)
    assert 'class="verdict borderline"' in card and "Just below the threshold" in card and ">0 %<" in card
    just_above = Threshold(item.score - 1e-3, 1e6, held_out, (item.score - 1, item.score))
    card = views.verdict_card(batch, item, just_above)
    assert "Just above the threshold" in card and "region that made the score" in card and ">0 %<" not in card
    odd = replace(item, reasons=("It is <grey>.",))
    card = views.verdict_card(batch, odd, just_below)
    assert "Not comparable" in card and "It is &lt;grey&gt;." in card
    row = review_value(replace(batch, items=(odd, *batch.items[1:])), just_below, 1)["rows"][0]
    assert (row["kind"], row["word"], row["error"]) == ("not comparable", "Not comparable", "It is <grey>.")


def test_the_list_has_a_row_for_every_image_with_its_kind(batch):
    """Unreadable ones too; thumbnails are files of the batch."""
    scores = sorted(item.score for item in batch.inspected)
    value = review_value(batch, Threshold.fixed(scores[-2], 0), 3)
    assert value["shown"] == 3 and [row["number"] for row in value["rows"]] == list(range(1, 9))
    assert [row["kind"] for row in value["rows"]].count("defect") == 1
    assert [row["kind"] for row in review_value(batch, Threshold.fixed(-9, 0), 0)["rows"]] == ["defect"] * 8
    for row, item in zip(value["rows"], batch.inspected, strict=True):
        file = Path(row["thumb"].removeprefix("gradio_api/file="))
        assert file.parent == batch.folder and max(Image.open(file).size) <= 88
        assert row["name"] == item.source.name
    odd = Unreadable(9, Source(Path("x"), "x"), "x is empty.")
    row = review_value(replace(batch, items=(*batch.items, odd)), Threshold.fixed(0, 0), 0)["rows"][-1]
    assert (row["kind"], row["score"], row["error"]) == ("unreadable", None, "x is empty.")


@pytest.mark.parametrize(
    ("threshold", "words"),
    [
        (Threshold.fixed(0.5, 0.5), "Set by hand"),
        (Threshold(0.5, 0.5, Labels(30, 9, "recall", 0.9, 0.95)), "30 good and 9 defective labels"),
        (Threshold(0.5, 0.5, HeldOut(19, 0.05, 0.05)), "At most 5 % of good images"),
    ],
)
def test_the_note_says_where_a_threshold_comes_from(threshold, words):
    calibration = Calibration(scores=np.arange(3.0), colour_low=0.0, colour_high=1.0)
    note = views.threshold_note(threshold, calibration)
    assert words in note and "<b>−0.5</b>" in note and 'class="warning"' not in note
