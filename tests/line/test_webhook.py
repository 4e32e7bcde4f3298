"""Messages to a webhook: signed, in order, again and again until they arrive, and to nobody else."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from altub.errors import ConfigError
from altub.line import delivery as module
from altub.line.journal import Journal
from altub.line.webhook import Webhook, check_url


class Receiver(ThreadingHTTPServer):
    """Keeps (headers, body) of what arrives; answers with the next of `answers`, then with 200."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/in"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        code = self.server.answers.pop(0) if self.server.answers else 200
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(code)
        if 300 <= code < 400:
            self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(module, "IDLE", 0.01)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.02)
    return Journal(tmp_path / "journal.db")


def deliver(journal: Journal, url: str, told: list[str] | None = None) -> int:
    hook = Webhook(journal, url, "secret", (told if told is not None else []).append)
    hook.start()
    return hook.close(patience=20)


def test_messages_arrive_signed_and_in_order_whatever_the_receiver_does(journal: Journal, receiver: Receiver) -> None:
    for number in range(3):
        journal.post({"number": number})
    receiver.answers = [503, 429, 500]
    assert deliver(journal, receiver.url) == 0
    numbers = [json.loads(body)["number"] for _, body in receiver.got]
    assert numbers == [0, 0, 0, 0, 1, 2]
    headers, body = receiver.got[-1]
    at, given = (part.partition("=")[2] for part in headers["x-altub-signature"].split(","))
    wanted = hmac.new(b"secret", f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(given, wanted) and abs(time.time() - int(at)) < 60
    assert json.loads(body)["journal"] == journal.name


def test_a_refused_message_is_kept_and_the_next_ones_go_on(journal: Journal, receiver: Receiver) -> None:
    journal.post({"number": 0})
    journal.post({"number": 1})
    journal.post({"number": 2})
    receiver.answers, told = [400, 302], []
    assert deliver(journal, receiver.url, told) == 0
    assert [json.loads(body)["number"] for _, body in receiver.got] == [0, 1, 2], "no redirect is followed"
    assert len(told) == 2 and "HTTP 400" in told[0] and "HTTP 302" in told[1]


def test_messages_wait_for_a_receiver_that_is_not_there(journal: Journal) -> None:
    journal.post({"number": 0})
    hook = Webhook(journal, "http://127.0.0.1:9/", "secret")
    hook.start()
    assert hook.close(patience=0.2) == 1 and journal.waiting() == 1


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "file:///etc/passwd", "host/path", "http://", "http://u:p@host/", "http://[", "https://h:0/"],
)
def test_only_http_addresses_without_a_password(url: str, journal: Journal) -> None:
    with pytest.raises(ConfigError, match="webhook"):
        check_url(url)
    with pytest.raises(ConfigError):
        Webhook(journal, url, "secret")
    with pytest.raises(ConfigError, match="ALTUB_WEBHOOK_SECRET"):
        Webhook(journal, "https://host/x", "")
