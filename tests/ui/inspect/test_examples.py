"""Test images that are offered for a try."""

from __future__ import annotations

from dataclasses import replace

from altub.data import load_category
from altub.ui.inspect.examples import SHOWN, choose_examples, examples_of


def test_examples_show_every_defect_and_some_good(trained_run, data_folder):
    examples = examples_of(trained_run)
    assert {example.caption.split("/")[0] for example in examples} == {"blot", "good"}
    assert all(max(example.thumbnail.size) <= 160 for example in examples)
    category = load_category(data_folder, "weave")
    many = replace(category, test=category.test * 10)
    chosen = choose_examples(many)
    assert len(chosen) == SHOWN and sum(not sample.is_defective for sample in chosen) >= 3
    good_alone = replace(category, test=tuple(sample for sample in category.test if not sample.is_defective))
    assert choose_examples(good_alone) == list(good_alone.test)
    assert choose_examples(replace(category, test=())) == []


def test_examples_say_their_defect_and_name(trained_run):
    assert {"blot/000.png", "good/000.png"} <= {example.caption for example in examples_of(trained_run)}
