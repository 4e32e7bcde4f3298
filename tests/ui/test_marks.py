"""What a page shows, however the answers that draw it arrive."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from altub.ui import marks
from altub.ui.marks import Sent, Updates


class Page:
    """A page and the looks of its server."""

    def __init__(self) -> None:
        self.marks: dict[str, Sent] = {}
        self.shown: dict[str, Any] = {}
        self.arrived = 0

    def ask(self, now: dict[str, Any]) -> Updates:
        updates = Updates(self.marks, self.arrived)
        for part, value in now.items():
            updates.put(part, value, lambda value=value: value)
        self.marks = updates.marks
        return updates

    def draw(self, answer: Updates) -> None:
        self.shown |= answer.updates
        self.arrived = answer.number


def test_what_is_shown_is_not_sent_again() -> None:
    page = Page()
    page.draw(page.ask({"a": 1, "b": 1}))
    answer = page.ask({"a": 1, "b": 2})
    assert answer.updates == {"b": 2}
    page.draw(answer)
    assert page.ask({"a": 1, "b": 2}).updates == {}


@pytest.mark.parametrize("order", [*itertools.permutations(range(3)), (0, 2), (1,), (2, 0)])
def test_the_next_look_makes_good_what_order_and_loss_did(order: tuple[int, ...]) -> None:
    page = Page()
    page.draw(page.ask({"state": "queued", "line": 0, "still": 0}))
    # Asked for at once: the page has drawn none of them when the last one is computed.
    states = [
        {"state": "running", "line": 1, "still": 0},
        {"state": "stopped", "line": 1, "still": 0},
        {"state": "queued", "line": 2, "still": 0},
    ]
    answers = [page.ask(state) for state in states]
    for place in order:
        page.draw(answers[place])
    last = {"state": "queued", "line": 2, "still": 0}
    page.draw(page.ask(last))
    assert page.shown == last
    assert page.ask(last).updates == {} and "still" not in answers[-1].updates


def test_a_server_that_is_started_anew_draws_everything() -> None:
    before = Page()
    before.draw(before.ask({"a": 1}))
    anew = Updates({}, before.arrived)
    anew.put("a", 1, lambda: 1)
    lost = Updates(anew.marks, before.arrived)  # that answer never came
    lost.put("a", 1, lambda: 1)
    assert anew.updates == lost.updates == {"a": 1}


@pytest.mark.parametrize("arrived", [None, "no number", [1], -1])
def test_a_page_that_says_nonsense_gets_everything(arrived: object) -> None:
    page = Page()
    page.draw(page.ask({"a": 1}))
    page.arrived = arrived
    assert page.ask({"a": 1}).updates == {"a": 1}


def test_what_is_drawn_calmly_waits_but_for_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(marks.time, "monotonic", lambda: now)
    page = Page()

    def draw(choice: int, state: int, patience: float = 2.0) -> bool:
        answer = Updates(page.marks, page.arrived)
        answer.put_calmly("map", choice, state, lambda: "drawn", patience=patience)
        page.marks, page.arrived = answer.marks, answer.number
        return answer.updates == {"map": "drawn"}

    assert draw(1, 1) and not draw(1, 2)
    assert draw(2, 2) and not draw(2, 3)
    now += 2.0
    assert draw(2, 3) and draw(2, 4, patience=0.0) and not draw(2, 4, patience=0.0)
