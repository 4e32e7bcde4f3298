"""The time left of a training counts down."""

from __future__ import annotations

from altub.training.time_left import TimeLeft


def told(steps: int, epochs: int, step: float, evaluation: float) -> list[tuple[float, float]]:
    """(what is said, what is true) after every step and epoch of a training with this pace."""
    now, left, found = 100.0, TimeLeft(0, steps * epochs, 100.0), []
    end = now + epochs * (steps * step + evaluation)
    for epoch in range(epochs):
        for done in range(1, steps + 1):
            now += step
            found.append((left.step(epoch * steps + done, now), end - now))
        now += evaluation
        found.append((left.epoch((epoch + 1) * steps, now), end - now))
    return found


def test_after_the_first_epoch_it_is_right_and_never_rises() -> None:
    steps, epochs = 10, 6
    pairs = told(steps, epochs, step=0.5, evaluation=8.0)[steps:]
    said = [one for one, _ in pairs]
    assert all(abs(one - true) < 1e-6 for one, true in pairs)
    assert said == sorted(said, reverse=True) and said[-1] == 0.0


def test_a_slower_machine_is_noticed_bit_by_bit() -> None:
    left, now = TimeLeft(0, 40, 0.0), 0.0
    said = []
    for epoch in range(1, 5):
        now += 10.0 if epoch < 3 else 20.0
        said.append(left.epoch(10 * epoch, now))
    assert said == [30.0, 20.0, 14.0, 0.0]  # 10 s an epoch, then 10 + 0.4 x (20 - 10)


def test_nothing_is_known_before_the_first_step() -> None:
    assert TimeLeft(5, 20, 3.0).step(5, 4.0) == 0.0
