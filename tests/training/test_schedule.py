"""The alternation in all its variants."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from altub.errors import ConfigError
from altub.training.config import make_config
from altub.training.fields import find_setting
from altub.training.schedule import VARIANTS, BaseSchedule


def base_epochs(schedule: BaseSchedule, epochs: int) -> list[int]:
    return [epoch for epoch in range(1, epochs + 1) if "base" in schedule.epoch_turns(epoch)]


def test_author_tabular_warms_up_for_20_epochs_then_takes_every_fifth() -> None:
    schedule = BaseSchedule(**VARIANTS["author-tabular"])
    assert base_epochs(schedule, 40) == [25, 30, 35, 40]
    assert not schedule.base_joins_flow(20, 999) and schedule.base_joins_flow(21, 999)
    assert schedule.lr is None and schedule.lr_factor == 5 and schedule.optimizer == "sgd"


def test_author_tabular_keeps_the_rate_that_follows_the_flow() -> None:
    assert make_config(category="x", base=VARIANTS["author-tabular"]).base.lr is None


def test_public_fastflow_counts_steps() -> None:
    schedule = BaseSchedule(**VARIANTS["public-fastflow"])
    assert base_epochs(schedule, 20) == []
    assert [step for step in range(1, 16) if schedule.step_turns(step) == ("base",)] == [5, 10, 15]
    assert schedule.base_joins_flow(1, 1)


def test_strict_is_strict() -> None:
    schedule = BaseSchedule(**VARIANTS["strict"])
    assert base_epochs(schedule, 12) == [5, 10]
    assert not schedule.base_joins_flow(7, 7)


def test_off_is_the_plain_flow() -> None:
    schedule = BaseSchedule(base_update="off")
    assert base_epochs(schedule, 20) == [] and not schedule.base_joins_flow(9, 9)
    assert schedule.step_turns(5) == ("flow",)


def test_on_top_the_flow_learns_in_every_epoch() -> None:
    schedule = BaseSchedule(interval=2, on_top=True)
    assert [schedule.epoch_turns(epoch) for epoch in (1, 2, 3, 4)] == [("flow",), ("flow", "base")] * 2
    by_step = BaseSchedule(interval=2, interval_unit="step", on_top=True)
    assert by_step.epoch_turns(2) == ("flow",)
    assert [by_step.step_turns(step) for step in (1, 2)] == [("flow",), ("flow", "base")]


def test_first_base_epoch_is_the_first_one() -> None:
    for interval in (1, 2, 5, 7):
        for warmup in (0, 1, 4, 5, 20):
            schedule = BaseSchedule(interval=interval, warmup=warmup)
            assert schedule.first_base_epoch == base_epochs(schedule, 60)[0]


def test_moments_by_step_is_refused() -> None:
    with pytest.raises(ValidationError, match="interval counts epochs"):
        BaseSchedule(base_update="moments", interval_unit="step")


def test_a_preset_can_be_overridden_in_part() -> None:
    config = make_config("fastflow-resnet18", category="x", base={"interval": 3}, flow={"norm": None}, epochs=7)
    assert (config.base.interval, config.base.lr, config.flow.norm, config.epochs) == (3, 0.05, "layer-affine", 7)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs"),
        ({"stages": (3, 1)}, "ascending"),
        ({"base": {"base_update": "sometimes"}}, "base.base_update"),
        ({"device": "abacus"}, "device is auto, cpu"),
        ({"nonsense": 1}, "nonsense"),
        ({"base": {"base_update": "moments", "interval_unit": "step"}}, "whole training set"),
    ],
)
def test_a_bad_setting_is_named_in_one_sentence(settings, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as problem:
        make_config(category="x", **settings)
    assert "\n" not in str(problem.value)


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="fastflow-wrn50"):
        make_config("fastflow-abacus", category="x")


def test_a_base_that_never_moves_is_noted() -> None:
    assert (
        "first would be epoch 5"
        in make_config(category="x", epochs=3, base={"interval": 5, "base_update": "gradient"}).notes[0]
    )
    assert make_config(category="x", epochs=5, base={"interval": 5, "base_update": "gradient"}).notes == []


def test_stages_from_text() -> None:
    assert find_setting("stages").parse("1,2,3") == (1, 2, 3) and find_setting("stages").parse("  ") is None
    with pytest.raises(ConfigError, match="whole numbers"):
        find_setting("stages").parse("1,b")
