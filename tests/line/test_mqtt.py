"""Messages to an MQTT broker: the real client against a small broker on loopback, and what stands without the extra."""

from __future__ import annotations

import json
import socketserver
import struct
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from altub.errors import ConfigError
from altub.line import delivery, mqtt
from altub.line.journal import Journal
from altub.line.mqtt import Broker, Mqtt, parse_address
from altub.line.watch import FolderWatch
from altub.runs.run import Run
from tests.line.parts import parts, write_parts


class SmallBroker(socketserver.ThreadingTCPServer):
    """MQTT 3.1.1 as far as a publisher needs it: CONNECT, PUBLISH with quality of service 1, PINGREQ, DISCONNECT.

    Attributes:
        got: (topic, body) of what arrived.
        logins: (user, password) of each connection.
        refuse: answers connections with "not authorised".
        deaf: messages that are dropped with their connection, without an answer.
    """

    daemon_threads = allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.got: list[tuple[str, bytes]] = []
        self.logins: list[tuple[str, str]] = []
        self.refuse, self.deaf = False, 0
        self.address = f"127.0.0.1:{self.server_address[1]}/line 3/altub"


class _Session(socketserver.StreamRequestHandler):
    server: SmallBroker

    def handle(self) -> None:
        while head := self.rfile.read(1):
            body = self.rfile.read(self._length())
            kind = head[0] >> 4
            if kind == 1:
                self._connect(body)
            elif kind == 3 and not self._publish(head[0], body):
                return
            elif kind == 12:
                self.wfile.write(b"\xd0\x00")
            elif kind == 14:
                return

    def _length(self) -> int:
        length, shift = 0, 0
        while True:
            (byte,) = self.rfile.read(1)
            length |= (byte & 127) << shift
            if byte < 128:
                return length
            shift += 7

    def _connect(self, body: bytes) -> None:
        (size,) = struct.unpack(">H", body[:2])
        flags, rest, texts = body[2 + size + 1], body[2 + size + 4 :], []
        while rest:
            (size,) = struct.unpack(">H", rest[:2])
            texts.append(rest[2 : 2 + size].decode())
            rest = rest[2 + size :]
        user = texts[1] if flags & 128 else ""
        self.server.logins.append((user, texts[2] if flags & 64 else ""))
        self.wfile.write(b"\x20\x02\x00" + (b"\x05" if self.server.refuse else b"\x00"))

    def _publish(self, head: int, body: bytes) -> bool:
        assert (head >> 1) & 3 == 1, "quality of service 1"
        if self.server.deaf:
            self.server.deaf -= 1
            return False
        (size,) = struct.unpack(">H", body[:2])
        number, message = body[2 + size : 4 + size], body[4 + size :]
        self.server.got.append((body[2 : 2 + size].decode(), message))
        self.wfile.write(b"\x40\x02" + number)
        return True


@pytest.fixture
def broker() -> Iterator[SmallBroker]:
    pytest.importorskip("paho.mqtt.client", reason="the extra mqtt is not installed")
    server = SmallBroker()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(delivery, "IDLE", 0.01)
    monkeypatch.setattr(delivery, "LONGEST_WAIT", 0.02)
    monkeypatch.setattr(mqtt, "TIMEOUT", 2.0)
    return Journal(tmp_path / "journal.db")


def deliver(journal: Journal, address: str, *login: str, patience: float = 20) -> int:
    way = Mqtt(journal, address, *login)
    way.start()
    return way.close(patience=patience)


def test_messages_arrive_in_order_also_after_lost_connections(journal: Journal, broker: SmallBroker) -> None:
    for number in range(3):
        journal.post({"number": number}, ["mqtt"])
    broker.deaf = 2
    assert deliver(journal, broker.address, "line", "a secret") == 0
    assert [json.loads(body)["number"] for _, body in broker.got] == [0, 1, 2]
    assert {topic for topic, _ in broker.got} == {"line 3/altub"}
    assert len(broker.logins) == 3 and set(broker.logins) == {("line", "a secret")}


def test_messages_wait_for_a_broker_that_is_not_there_or_refuses(journal: Journal, broker: SmallBroker) -> None:
    journal.post({"number": 0}, ["mqtt", "webhook"])
    assert deliver(journal, "127.0.0.1:9/x", patience=0.3) == 1
    broker.refuse = True
    assert deliver(journal, broker.address, patience=0.3) == 1 and broker.got == []
    broker.refuse = False
    assert deliver(journal, broker.address) == 0 and len(broker.got) == 1
    assert journal.waiting("webhook") == 1 and journal.waiting() == 1, "each receiver has messages of its own"


def test_a_watched_folder_tells_a_broker(broker: SmallBroker, line_run: Run, tmp_path: Path) -> None:
    place = write_parts(tmp_path / "in", parts(2, 1))
    settings = {"settle": 0, "device": "cpu", "overlays": False, "mqtt": (broker.address, "", "")}
    with FolderWatch(place, line_run.model_dir, tmp_path / "out", **settings) as watch:
        watch.run(once=True)
    told = [json.loads(body) for _, body in broker.got]
    assert [(one["event"], one["id"], one["image"]) for one in told] == [
        ("inspection", 1, "0.png"),
        ("inspection", 2, "1.png"),
    ]
    assert broker.logins == [("", "")]


def test_without_the_extra_it_says_what_to_install(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    with pytest.raises(ConfigError, match=r'pip install "altub\[mqtt\]"'):
        Mqtt(journal, "broker/line")


def test_addresses() -> None:
    assert parse_address("mqtts://broker.example.org/a/b") == Broker("broker.example.org", 8883, "a/b", True)
    assert parse_address("[::1]:1884/x") == Broker("::1", 1884, "x", False)
    for wrong in (
        "broker",
        "broker/",
        "/topic",
        "http://broker/x",
        "broker:0/x",
        "broker:x/y",
        "broker/a/#",
        "b/+/c",
        "[/",
    ):
        with pytest.raises(ConfigError, match="HOST/TOPIC"):
            parse_address(wrong)
    with pytest.raises(ConfigError, match="ALTUB_MQTT_USER"):
        parse_address("mqtt://ann:secret@broker/x")


def test_a_journal_of_an_earlier_version_gets_its_channels(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.post({"number": 0})
    with journal.write() as connection:
        for statement in ("DROP INDEX outbox_channel", "ALTER TABLE outbox DROP COLUMN channel"):
            connection.execute(statement)
        connection.execute("PRAGMA user_version = 1")
    journal.close()
    again = Journal(tmp_path / "journal.db")
    assert again.waiting("webhook") == 1 and again.waiting("mqtt") == 0 and again.name == journal.name
