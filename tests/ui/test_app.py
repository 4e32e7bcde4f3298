"""The page's server: who may reach it, what it refuses, what it lets out."""

from __future__ import annotations

import runpy
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from altub.errors import ConfigError
from altub.ui.app import build_app
from altub.ui.launch import ServerOptions, launch, make_options
from altub.ui.security import is_loopback, why_refused

REPOSITORY = Path(__file__).resolve().parents[2]
LOCAL = ("localhost", "127.0.0.1", "::1")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GRADIO_SERVER_NAME",
        "GRADIO_SERVER_PORT",
        "ALTUB_AUTH",
        "ALTUB_AUTH_FILE",
        "ALTUB_ALLOWED_HOSTS",
        "SYSTEM",
        "SPACE_HOST",
    ):
        monkeypatch.delenv(name, raising=False)


# Host and Origin.


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:7860", "127.0.0.1:80", "LOCALHOST:7860", "[::1]:7860", "[::1]"]
)
def test_a_page_on_loopback_goes_by_its_names(host: str) -> None:
    assert why_refused([host], [], LOCAL) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:7860",
        "127.0.0.1.evil.example",
        "192.168.1.7:7860",
        "localhost@evil.example",
        "localhost:port",
        "localhost/evil",
        "",
    ],
)
def test_other_hosts_are_refused(host: str) -> None:
    assert why_refused([host], [], LOCAL) is not None


def test_host_must_be_there_once() -> None:
    assert why_refused([], [], LOCAL) is not None
    assert why_refused(["localhost", "evil.example"], [], LOCAL) is not None
    assert why_refused(["localhost"], ["http://localhost", "http://evil.example"], LOCAL) is not None


@pytest.mark.parametrize("origin", ["http://localhost:7860", "https://localhost:7860"])
def test_the_page_itself_is_a_good_origin(origin: str) -> None:
    assert why_refused(["localhost:7860"], [origin], LOCAL) is None


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:3000", "http://localhost", "file://localhost:7860", "x", ""],
)
def test_other_origins_are_refused(origin: str) -> None:
    assert why_refused(["localhost:7860"], [origin], LOCAL) is not None


def test_beyond_loopback_addresses_pass_and_unknown_names_do_not() -> None:
    assert why_refused(["192.168.1.7:7860"], [], LOCAL, any_address=True) is None
    assert why_refused(["192.168.1.7:7860"], ["http://192.168.1.7:7860"], LOCAL, any_address=True) is None
    assert why_refused(["192.168.1.7:7860"], ["http://192.168.1.9:7860"], LOCAL, any_address=True) is not None
    assert why_refused(["rebound.example:7860"], [], LOCAL, any_address=True) is not None


def test_a_listed_name_may_sit_behind_a_proxy() -> None:
    hosts = (*LOCAL, "qa.example.org")
    assert why_refused(["qa.example.org"], ["https://qa.example.org"], hosts) is None
    assert why_refused(["127.0.0.1:7860"], ["https://qa.example.org"], hosts) is None


def test_a_wildcard_covers_what_is_below_it_only() -> None:
    assert why_refused(["abc.gradio.live"], [], ("*.gradio.live",)) is None
    assert why_refused(["evilgradio.live"], [], ("*.gradio.live",)) is not None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((name, True) for name in ("127.0.0.1", "127.8.9.1", "localhost", "::1", "[::1]")),
        *((name, False) for name in ("0.0.0.0", "::", "192.168.0.2", "example.org", "")),
    ],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


# Options.


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.2", "::", "factory.example"])
def test_beyond_loopback_the_page_wants_a_login(host: str) -> None:
    with pytest.raises(ConfigError, match="--auth"):
        make_options(host=host)
    assert make_options(host=host, auth="qa:secret").auth.check("qa", "secret")


def test_sharing_wants_a_login() -> None:
    with pytest.raises(ConfigError, match="--auth"):
        make_options(share=True)
    options = make_options(share=True, auth="qa:secret")
    assert options.share
    assert "*.gradio.live" in options.guard()["hosts"]
    assert not options.is_local


def test_options_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    monkeypatch.setenv("GRADIO_SERVER_PORT", "8123")
    monkeypatch.setenv("ALTUB_AUTH", "qa:a:b")
    monkeypatch.setenv("ALTUB_ALLOWED_HOSTS", "Line1.example, line2.example")
    options = make_options()
    assert (options.host, options.port) == ("0.0.0.0", 8123) and options.auth.check("qa", "a:b")
    assert {"line1.example", "line2.example"} <= set(options.guard()["hosts"])
    assert options.guard()["any_address"]


def test_a_space_needs_no_login_and_goes_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_HOST", "Owner-altub.hf.space")
    options = make_options(host="0.0.0.0")
    assert "owner-altub.hf.space" in options.guard()["hosts"]
    assert not options.is_local


def test_the_default_is_this_machine_alone() -> None:
    options = make_options()
    assert options.is_local
    assert options.guard() == {"hosts": LOCAL, "any_address": False, "origins": ()}


@pytest.mark.parametrize("auth", ["nobody", ":secret", "qa:"])
def test_half_a_login_is_refused_without_showing_it(auth: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_options(auth=auth)
    assert auth not in str(error.value)


def test_port_out_of_range() -> None:
    with pytest.raises(ConfigError, match="65535"):
        make_options(port=70000)


# The real server.


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("served")
    patch.setenv("ALTUB_DATA", str(folder / "data"))
    patch.setenv("ALTUB_RUNS", str(folder / "runs"))
    demo = build_app()
    with pytest.MonkeyPatch.context() as busy:  # the machine: Gradio's own look at the page takes too long
        busy.setattr("gradio.networking.url_ok", lambda url: False)
        url = launch(demo, ServerOptions())
    yield url
    demo.close()
    patch.undo()


def test_the_page_answers_to_itself(served: str) -> None:
    answer = httpx.get(served)
    assert answer.status_code == 200
    assert "AltUB" in answer.text


def test_a_rebound_name_is_turned_away(served: str) -> None:
    answer = httpx.get(served, headers={"Host": "evil.example"})
    assert answer.status_code == 403
    assert "ALTUB_ALLOWED_HOSTS" in answer.text


def test_uploads_from_other_sites_are_turned_away(served: str) -> None:
    files = {"files": ("a.png", b"not stored", "image/png")}
    foreign = httpx.post(f"{served}gradio_api/upload", files=files, headers={"Origin": "http://evil.example"})
    assert foreign.status_code == 403
    own = httpx.post(f"{served}gradio_api/upload", files=files, headers={"Origin": served.rstrip("/")})
    assert own.status_code == 200


def test_calls_from_other_sites_are_turned_away(served: str) -> None:
    headers = {"Origin": "http://localhost:3000"}
    answer = httpx.post(f"{served}gradio_api/queue/join", json={"fn_index": 0, "data": []}, headers=headers)
    assert answer.status_code == 403


def test_only_the_public_api_is_listed(served: str) -> None:
    listed = httpx.get(f"{served}gradio_api/info").json()
    assert set(listed["named_endpoints"]) == {"/inspect", "/label", "/next", "/predict", "/runs"}
    assert listed["unnamed_endpoints"] == {}


def test_nobody_watches_visitors(served: str) -> None:
    assert httpx.get(f"{served}monitoring/summary").status_code in (403, 404)
    config = httpx.get(f"{served}config").json()
    assert config.get("analytics_enabled") is not True
    assert "google" not in httpx.get(served).text.lower()


def test_uploads_have_a_limit(served: str) -> None:
    big = {"files": ("a.png", b"0" * (51 << 20), "image/png")}
    assert httpx.post(f"{served}gradio_api/upload", files=big, timeout=60).status_code == 413


def test_large_bodies_are_refused_before_they_are_parsed(served: str) -> None:
    large = b'{"fn_index": 0, "data": ["' + b"0" * (3 << 20) + b'"]}'
    for path in ("gradio_api/queue/join", "gradio_api/call/runs", "login"):
        answer = httpx.post(f"{served}{path}", content=large, headers={"Content-Type": "application/json"}, timeout=60)
        assert answer.status_code == 413 and "2,097,152 bytes" in answer.text


# The command line.


@pytest.fixture
def app(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[str, str]]:
    """`python app.py ...` within this process, as far as its exit with code 2: what it printed, errors apart."""
    for name in ("DATA", "RUNS"):
        monkeypatch.setenv(f"ALTUB_{name}", str(tmp_path / name))

    def run(*arguments: str) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(REPOSITORY / "app.py"), run_name="__main__")
        assert end.value.code == 2
        return capsys.readouterr()

    return run


def test_refusal_is_one_sentence_and_exit_code_2(app: Callable[..., tuple[str, str]]) -> None:
    out, err = app("--host", "0.0.0.0")
    assert "--auth" in err and err.count("\n") == 1
    assert "Traceback" not in out + err


def test_a_port_in_use_is_one_sentence_and_the_password_stays_out_of_it(app: Callable[..., tuple[str, str]]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        out, err = app("--port", str(port), "--auth", "qa:very-secret")
    assert f"port {port}" in err
    assert "Traceback" not in out + err
    assert "very-secret" not in out + err
