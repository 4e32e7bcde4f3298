"""Which user of this machine is at the other end of a connection over loopback.

Linux knows of every TCP socket which user opened it, and tells everybody. A proxy that strangers come through runs as a
user of its own (www-data, nginx, caddy), and so do other people at the same machine, so that this tells them from the
owner whatever their requests look like. Other systems do not tell everybody.

Source: sock_diag(7), the kernel's socket monitoring over netlink.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import os
import socket
import struct

from altub import settings

__all__ = ["can_tell_users", "is_owner", "user_of_peer"]

ROOT = 0  # may do everything anyway, and relays ports into containers and WSL
REPLY_TIMEOUT = 1  # seconds
# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, NLMSG_ERROR = 4, 20, 1, 2
MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
REQUEST = struct.Struct("=BBBxI")  # family, protocol, extensions; states
SOCKET = struct.Struct("=2s2s16s16sI8s")  # port, peer's port, address, peer's address; interface, cookie
ANSWER = struct.Struct("=4x2s2s32x12x12xII")  # of a socket: port, peer's port; user, inode
ANY_STATE, ANY_COOKIE = 0xFFFFFFFF, b"\xff" * 8


def user_of_peer(peer: tuple[str, int], server: tuple[str, int]) -> int | None:
    """Number of the user whose process holds the peer's end of a connection on this machine.

    Args:
        peer, server: address and port of the two ends, both IPv4 or both IPv6.

    Returns:
        None where no process holds it (any more).

    Raises:
        OSError: the system does not tell.
    """
    addresses = [ipaddress.ip_address(host) for host, _ in (peer, server)]
    family = socket.AF_INET6 if addresses[0].version == 6 else socket.AF_INET
    ports = [struct.pack("!H", port) for _, port in (peer, server)]
    wanted = SOCKET.pack(*ports, *(address.packed for address in addresses), 0, ANY_COOKIE)
    asked = REQUEST.pack(family, socket.IPPROTO_TCP, 0, ANY_STATE) + wanted
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(REPLY_TIMEOUT)
        kernel.sendto(MESSAGE.pack(MESSAGE.size + len(asked), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + asked, (0, 0))
        reply = kernel.recv(4096)
    kind = MESSAGE.unpack_from(reply)[1]
    if kind == NLMSG_ERROR:
        code = -struct.unpack_from("=i", reply, MESSAGE.size)[0]
        if code == errno.ENOENT:
            return None
        raise OSError(code, os.strerror(code))
    *found, user, inode = ANSWER.unpack_from(reply, MESSAGE.size)
    # The kernel may answer with the listener on that port, which has no peer. A socket without an inode belongs to no
    # process any more, and the kernel names root for it.
    return user if found == ports and inode else None


def is_owner(user: int | None) -> bool:
    """Is this the user who runs this process (with sudo: who called it), or root?"""
    return user is not None and user in (ROOT, os.geteuid(), settings.sudo_user() if os.geteuid() == ROOT else None)


@functools.cache
def can_tell_users() -> bool:
    """Does `user_of_peer` work here? Tried with a connection to this process itself."""
    if not hasattr(socket, "AF_NETLINK"):
        return False
    try:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            return user_of_peer(client.getsockname(), server.getsockname()) == os.geteuid()
    except OSError:
        return False
