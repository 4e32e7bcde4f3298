"""The login of the page: kept as a hash, and a brake on wrong ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from altub.errors import ConfigError
from altub.ui.app import build_app
from altub.ui.launch import launch, make_options
from altub.ui.server.logins import GLOBAL, PER_PEER, Credentials, LoginBrake, Waits


def test_credentials_keep_no_password() -> None:
    credentials = Credentials.parse("qa:very:secret")
    assert credentials.check("qa", "very:secret")
    wrong = [
        ("qa", "very"),
        ("QA", "very:secret"),
        ("qa:very", "secret"),
        ("", ""),
        ("qa", "very:secret\0"),
        ("qa", "\ud800"),
    ]
    assert not any(credentials.check(*login) for login in wrong)
    assert "secret" not in repr(credentials) + str(vars(credentials))
    assert vars(Credentials.parse("qa:very:secret")) != vars(credentials)  # salted


@pytest.mark.parametrize("text", ["", "qa", "qa:", ":secret", ":"])
def test_half_a_login_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match="user:password"):
        Credentials.parse(text)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def brake(clock: Clock) -> LoginBrake:
    return LoginBrake(None, Waits(3, 1, 100), Waits(10, 1, 8), clock)


def test_waits_double_up_to_a_longest(brake: LoginBrake, clock: Clock) -> None:
    assert [brake.begin("a") for _ in range(3)] == [0, 0, 0]
    waits = []
    for _ in range(9):
        waits.append(brake.begin("a"))
        clock.now += waits[-1]
        assert brake.begin("a") == 0
    assert waits == [1, 2, 4, 8, 16, 32, 64, 100, 100]


def test_one_address_does_not_delay_another(brake: LoginBrake) -> None:
    for _ in range(3):
        brake.begin("a")
    assert brake.begin("a") > 0 and brake.begin("b") == 0


def test_many_addresses_are_delayed_together_but_not_those_that_logged_in(brake: LoginBrake, clock: Clock) -> None:
    assert brake.begin("owner") == 0
    brake.succeed("owner")
    allowed = 0
    for number in range(1000):
        allowed += brake.begin(f"bot {number}") == 0
        clock.now += 0.1
    assert allowed < 30  # of 1000 in 100 seconds
    assert brake.begin("owner") == 0


def test_a_right_login_and_time_forget_wrong_ones(brake: LoginBrake, clock: Clock) -> None:
    for _ in range(2):
        brake.begin("a")
    assert brake.begin("a") == 0
    brake.succeed("a")
    for _ in range(3):
        assert brake.begin("a") == 0
    assert brake.begin("a") > 0
    clock.now += 3601
    assert brake.begin("a") == 0


def test_the_real_waits() -> None:
    assert [PER_PEER.after(wrong) for wrong in (3, 4, 5, 13, 14, 100)] == [0, 1, 2, 512, 900, 900]
    assert [GLOBAL.after(wrong) for wrong in (19, 20, 1000)] == [0, 0.5, 10]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        folder: Path = tmp_path_factory.mktemp("served")
        patch.setenv("ALTUB_DATA", str(folder / "data"))
        patch.setenv("ALTUB_RUNS", str(folder / "runs"))
        options = make_options(auth="qa:secret")
        demo = build_app(options)
        yield launch(demo, options)
        demo.close()


def login(served: str, password: str, **more: str) -> httpx.Response:
    return httpx.post(f"{served}login", data={"username": "qa", "password": password} | more, timeout=30)


def test_a_hundred_wrong_logins_take_longer_than_the_page_lasts(served: str) -> None:
    assert login(served, "secret").status_code == 200
    assert httpx.get(f"{served}gradio_api/info").status_code == 401
    began = time.monotonic()
    answers = [login(served, f"wrong {number}") for number in range(100)]
    lasted = time.monotonic() - began
    tried = sum(answer.status_code == 400 for answer in answers)
    assert tried <= 5 + lasted
    assert answers[-1].status_code == 429 and "try again in" in answers[-1].text
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert login(served, "secret").status_code == 429  # the right one waits too, so that nothing is learnt
