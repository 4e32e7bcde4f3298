"""Results of a watched folder to an MQTT broker, by the extra `mqtt` (paho-mqtt).

    altub watch FOLDER ... --mqtt broker.example.org/line3/altub
    altub watch FOLDER ... --mqtt mqtts://broker.example.org:8883/line3/altub

Each message is JSON, as a webhook gets it, with quality of service 1: it counts as delivered when the broker says so,
and may arrive twice. User and password come from `ALTUB_MQTT_USER` and `ALTUB_MQTT_PASSWORD` alone.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from altub.errors import ConfigError
from altub.line.delivery import Delivery
from altub.line.journal import Journal

__all__ = ["Broker", "Mqtt", "parse_address"]

PORT, TLS_PORT = 1883, 8883
TIMEOUT = 10.0  # seconds for a connection, and for the broker's word that it has a message
KEEP_ALIVE = 30  # seconds
LONGEST_TOPIC = 1000  # bytes; the protocol allows 65,535
MISSING = 'MQTT needs the extra: pip install "altub[mqtt]".'


@dataclass(frozen=True)
class Broker:
    """Where messages go."""

    host: str
    port: int
    topic: str
    has_tls: bool


def parse_address(text: str) -> Broker:
    """HOST/TOPIC, HOST:PORT/TOPIC, with mqtt:// or, for TLS, mqtts:// before it.

    Raises:
        ConfigError: it is none of these, or has a password in it.

    Example:
        >>> parse_address("broker/line3/altub")
        Broker(host='broker', port=1883, topic='line3/altub', has_tls=False)
    """
    address = text if re.match(r"[a-z]+://", text) else f"mqtt://{text}"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    else:
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "The broker's address has a password in it, which logs would show: set ALTUB_MQTT_USER and "
                "ALTUB_MQTT_PASSWORD instead."
            )
    topic = address.partition("://")[2].partition("/")[2]
    usable = host and port != 0 and parts.scheme in ("mqtt", "mqtts")
    if not usable or not topic or len(topic.encode()) > LONGEST_TOPIC or re.search(r"[+#\0]", topic):
        raise ConfigError(
            f"{text!r} is no broker and topic: give HOST/TOPIC, such as broker.example.org/line3/altub; a topic has no "
            "+ and no #."
        )
    has_tls = parts.scheme == "mqtts"
    return Broker(host, port or (TLS_PORT if has_tls else PORT), topic, has_tls)


class Mqtt(Delivery):
    """Delivers the outbox of a journal to a broker.

    Args:
        journal: whose outbox.
        address: as of `parse_address`.
        user, password: of the broker; empty: none.
        tell: called with sentences on what the broker refuses.

    Raises:
        ConfigError: the address is not possible, a user is missing, or the extra is not installed.
    """

    def __init__(
        self,
        journal: Journal,
        address: str,
        user: str = "",
        password: str = "",
        tell: Callable[[str], None] = lambda text: None,
    ) -> None:
        super().__init__(journal, "mqtt", tell)
        self.broker = parse_address(address)
        if password and not user:
            raise ConfigError("ALTUB_MQTT_PASSWORD needs ALTUB_MQTT_USER.")
        self._login = user, password
        self._paho = _library()
        self._client: Any = None
        self._answered = threading.Event()
        self._refusal = ""

    def send(self, body: bytes) -> tuple[str | None, bool]:
        try:
            if self._client is None:
                self._connect()
            answer = self._client.publish(self.broker.topic, body, qos=1)
            answer.wait_for_publish(TIMEOUT)
            if not answer.is_published():
                raise OSError("the broker does not confirm the message")
        except (OSError, ValueError, RuntimeError) as error:  # the last two: paho's words for a lost connection
            self.disconnect()  # nothing of it is sent behind our back
            return str(error), False
        return None, False

    def disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, ValueError, RuntimeError):
                client.disconnect()
            client.loop_stop()

    def _connect(self) -> None:
        """
        Raises:
            OSError: there is no broker, or it does not let us in.
        """
        client = self._paho.Client(self._paho.CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        client.connect_timeout = TIMEOUT
        user, password = self._login
        if user:
            client.username_pw_set(user, password or None)
        if self.broker.has_tls:
            client.tls_set()
        client.on_connect = self._on_connect
        self._answered.clear()
        client.connect(self.broker.host, self.broker.port, keepalive=KEEP_ALIVE)
        client.loop_start()
        self._client = client
        if not self._answered.wait(TIMEOUT):
            raise OSError("the broker does not answer")
        if self._refusal:
            raise OSError(f"the broker refuses the connection: {self._refusal}")

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._refusal = str(reason) if reason.is_failure else ""
        self._answered.set()


def _library() -> ModuleType:
    """
    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module("paho.mqtt.client")
    except ImportError as error:
        raise ConfigError(MISSING) from error
