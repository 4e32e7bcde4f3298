"""Which user is at the other end of a connection, from the system's list of sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from altub.ui.server.locality import LocalGate
from altub.ui.server.peers import can_tell_users, is_owner, user_of_peer

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lists the sockets of all users")


@linux
def test_the_user_of_each_end() -> None:
    assert can_tell_users()
    own = os.geteuid()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert user_of_peer(client.getsockname(), server.getsockname()) == own
        # Nobody's: the listener is no peer, and another port is no connection.
        assert user_of_peer(server.getsockname(), ("127.0.0.1", 9)) is None
        assert user_of_peer(client.getsockname(), ("127.0.0.1", 9)) is None
        with socket.socket(socket.AF_INET6) as mapped:
            mapped.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
            assert user_of_peer(("127.0.0.1", mapped.getsockname()[1]), server.getsockname()) == own


@linux
def test_a_socket_that_no_process_holds_any_more_is_not_roots() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        peer = client.getsockname()
        client.close()  # the server has not yet: the kernel keeps the other end, and calls it root's
        assert user_of_peer(peer, server.getsockname()) is None


def test_the_owner_is_the_user_of_the_process_root_or_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("SUDO_UID", "33")  # counts only for root: everybody may set it
    assert [is_owner(user) for user in (1000, 0, 33, None)] == [True, True, False, False]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert [is_owner(user) for user in (1000, 0, 33)] == [False, True, True]


def scope_of(client: tuple[str, int] | None, server: tuple[str, int] | None) -> dict[str, object]:
    return {"type": "http", "http_version": "1.1", "headers": [], "client": client, "server": server}


@linux
def test_a_program_of_another_user_is_not_the_owners() -> None:
    other = {} if os.geteuid() else {"user": 65534}
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        address = server.getsockname()
        with socket.create_connection(address) as own:
            assert LocalGate.why_refused(scope_of(own.getsockname(), address)) is None
            server.accept()[0].close()
        if not other:
            pytest.skip("only root can start a program of another user")
        code = f"import socket; s = socket.create_connection({address!r}); s.recv(1)"
        with subprocess.Popen(["python3", "-c", code], **other, cwd="/") as program:
            connection, peer = server.accept()
            try:
                assert user_of_peer(peer, address) == 65534
                assert "another user" in LocalGate.why_refused(scope_of(peer, address))
            finally:
                connection.close()
                program.wait(10)


def test_a_request_of_unknown_origin_is_refused_where_users_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("altub.ui.server.locality.can_tell_users", lambda: True)
    for server in (None, ("/run/altub.socket", None)):
        assert LocalGate.why_refused(scope_of(("127.0.0.1", 1), server)) is not None
    monkeypatch.setattr("altub.ui.server.locality.can_tell_users", lambda: False)
    assert LocalGate.why_refused(scope_of(("127.0.0.1", 1), ("127.0.0.1", 2))) is None
