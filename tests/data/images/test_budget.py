"""Room for decoded pixels: large pictures wait for each other, the others do not wait for them."""

from __future__ import annotations

import threading
import time

import pytest

from altub.data.images.budget import PixelBudget
from altub.data.images.formats import LARGE_PIXELS
from altub.errors import ImageError

LARGE, SMALL = 80_000_000, 1_000_000


class Holder(threading.Thread):
    """Holds room until it is told to leave."""

    def __init__(self, budget: PixelBudget, pixels: int) -> None:
        super().__init__(daemon=True)
        self.budget, self.pixels = budget, pixels
        self.holds, self.leave = threading.Event(), threading.Event()
        self.error: ImageError | None = None
        self.start()

    def run(self) -> None:
        try:
            with self.budget.hold(self.pixels):
                self.holds.set()
                self.leave.wait(10)
        except ImageError as error:
            self.error = error

    def end(self) -> None:
        self.leave.set()
        self.join(10)


def test_large_ones_one_after_the_other_and_small_ones_meanwhile() -> None:
    budget = PixelBudget()
    first = Holder(budget, LARGE)
    assert first.holds.wait(5)
    second, small = Holder(budget, LARGE), Holder(budget, SMALL)
    assert small.holds.wait(5) and not second.holds.wait(0.1)
    first.end()
    assert second.holds.wait(5)
    for holder in (second, small):
        holder.end()


def test_as_many_as_there_is_room_for() -> None:
    budget = PixelBudget(pixels=100)
    holders = [Holder(budget, 40) for _ in range(3)]
    time.sleep(0.1)
    assert sorted(holder.holds.is_set() for holder in holders) == [False, True, True]
    for holder in holders:
        holder.leave.set()
    for holder in holders:
        holder.join(5)
        assert holder.holds.is_set()


def test_one_that_is_larger_than_all_room_is_let_in_alone() -> None:
    budget = PixelBudget(pixels=100)
    with budget.hold(1000):
        assert not Holder(budget, 1).holds.wait(0.1)


def test_too_many_that_wait_are_refused_and_so_is_one_that_waits_too_long() -> None:
    budget = PixelBudget(waiting=1, patience=0.3)
    first = Holder(budget, LARGE)
    assert first.holds.wait(5)
    second = Holder(budget, LARGE)
    time.sleep(0.05)
    third = Holder(budget, LARGE)
    third.join(0.2)
    assert "try again in a minute" in str(third.error), "at once"
    second.join(5)
    assert "try again in a minute" in str(second.error), "after its patience"
    first.end()


def test_a_thread_does_not_wait_for_itself() -> None:
    budget = PixelBudget(pixels=100, patience=0.1)
    with budget.hold(100), budget.hold(LARGE_PIXELS + 1):
        pass
    with budget.hold(100):
        pass


def test_room_is_given_back_after_an_error() -> None:
    budget = PixelBudget(pixels=100, patience=0.1)
    with pytest.raises(KeyError), budget.hold(100):
        raise KeyError
    with budget.hold(100):
        pass
