"""Who is at the machine that the page runs on, and what others are not given."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import httpx
import pytest
from PIL import Image

from altub.errors import ConfigError
from altub.ui.app import build_app
from altub.ui.launch import ServerOptions, launch, make_options
from altub.ui.server.locality import is_local_request
from tests.ui.test_api import call


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GRADIO_SERVER_NAME", "ALTUB_AUTH", "ALTUB_AUTH_FILE", "ALTUB_ALLOWED_HOSTS", "SYSTEM", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "127.3.4.5"])
def test_requests_of_this_machine_are_local(peer: str) -> None:
    assert is_local_request(peer, ["host", "origin", "x-gradio-user"])


@pytest.mark.parametrize("peer", ["192.168.1.9", "2001:db8::1", "", "example.org", None])
def test_requests_of_other_machines_are_not(peer: str | None) -> None:
    assert not is_local_request(peer, ["host"])


@pytest.mark.parametrize(
    "header",
    [
        "X-Forwarded-For",
        "x-forwarded-host",
        "X-Forwarded-Proto",
        "X-Forwarded-Anything",
        "Forwarded",
        "X-Real-IP",
        "Via",
    ],
)
def test_forwarded_requests_are_not(header: str) -> None:
    assert not is_local_request("127.0.0.1", ["host", header])


def test_the_protocol_of_proxies_is_not_local() -> None:
    assert not is_local_request("127.0.0.1", ["host"], http_version="1.0")


# Options.


def test_a_public_name_makes_the_page_one_that_others_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALTUB_ALLOWED_HOSTS", "localhost, qa.example.org")
    with pytest.raises(ConfigError, match="ALTUB_ALLOWED_HOSTS"):
        make_options()
    assert not make_options(auth="qa:secret").is_local
    monkeypatch.setenv("ALTUB_ALLOWED_HOSTS", "localhost,127.0.0.1")
    assert make_options().is_local


@pytest.mark.parametrize("given", [{}, {"host": "0.0.0.0"}, {"share": True}])
def test_no_auth_opens_the_page_but_gives_no_rights_of_the_owner(given: dict[str, object]) -> None:
    options = make_options(**given, no_auth=True)
    assert options.auth is None and not options.is_local


def test_no_auth_contradicts_a_login() -> None:
    with pytest.raises(ConfigError, match="--no-auth"):
        make_options(auth="qa:secret", no_auth=True)


def test_the_login_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "login").write_text("qa:a:b\n")
    assert make_options(auth_file=tmp_path / "login").auth.check("qa", "a:b")
    monkeypatch.setenv("ALTUB_AUTH_FILE", str(tmp_path / "login"))
    assert make_options(host="0.0.0.0").auth.check("qa", "a:b")
    with pytest.raises(ConfigError, match="twice"):
        make_options(auth="qa:x", auth_file=tmp_path / "login")
    monkeypatch.setenv("ALTUB_AUTH_FILE", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="ALTUB_AUTH_FILE"):
        make_options()


# The real server.


class Page:
    """A served page, with what `tests.ui.test_api.call` wants to know of it."""

    said = ""  # on stderr

    def __init__(self, options: ServerOptions) -> None:
        self.demo = build_app(options)
        self.src = launch(self.demo, options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of good images outside the data root."""
    root = tmp_path_factory.mktemp("served")
    for number in range(9):
        path = root / "secret" / "parts" / "good" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number, 0, 0)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALTUB_DATA", str(root / "data"))
        patch.setenv("ALTUB_RUNS", str(root / "runs"))
        yield root / "secret"


@pytest.fixture(scope="module")
def local(folder: Path) -> Iterator[Page]:
    page = Page(ServerOptions())
    yield page
    page.demo.close()


@pytest.fixture(scope="module")
def reached_by_name(folder: Path) -> Iterator[Page]:
    """The page of `proxied`; what it says at its start is in `said`."""
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()) as said:
        patch.setenv("ALTUB_ALLOWED_HOSTS", "qa.example.org")
        page = Page(make_options(no_auth=True))
    page.said = said.getvalue()
    yield page
    page.demo.close()


@pytest.fixture
def proxied(reached_by_name: Page, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setenv("ALTUB_ALLOWED_HOSTS", "qa.example.org")
    return reached_by_name


def test_a_local_page_answers_nothing_that_was_forwarded(local: Page) -> None:
    assert httpx.get(local.src).status_code == 200
    for header in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"):
        for path in ("", "config", "gradio_api/info"):
            answer = httpx.get(local.src + path, headers={header: "203.0.113.9"})
            assert answer.status_code == 403 and "ALTUB_ALLOWED_HOSTS" in answer.text
        joined = httpx.post(f"{local.src}gradio_api/queue/join", json={"data": []}, headers={header: "203.0.113.9"})
        assert joined.status_code == 403


def test_the_owner_names_folders(local: Page, folder: Path) -> None:
    answer = call(local, "choose_folder", [str(folder)])
    assert answer["success"] and "folder:parts" in str(answer["output"])


def test_a_proxied_page_shows_no_folder_to_whoever_calls_a_handler_by_its_number(proxied: Page, folder: Path) -> None:
    named = call(proxied, "choose_folder", [str(folder)])
    assert not named["success"] and "only while the page is served to its own machine" in str(named)
    assert "base64" not in str(call(proxied, "draw", ["own", "folder:parts", str(folder)]))


def test_an_open_page_says_what_that_opens(proxied: Page) -> None:
    assert "open without a login" in proxied.said


def test_a_proxied_page_uses_no_token_of_its_owner(proxied: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[object] = []
    monkeypatch.setenv("HF_TOKEN", "hf_owner")
    monkeypatch.setattr("altub.ui.models.handlers.find_models", lambda token: tokens.append(token))
    call(proxied, "start_listing", [None])
    assert tokens == [False]
