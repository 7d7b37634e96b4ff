"""By which names and addresses other machines may reach this one."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from edge_runtime.wire.broker_url import HOST

LOCAL: Final = ("localhost", "127.0.0.1")
# Addresses for documentation (RFC 5737, RFC 3849): nothing is sent, the system only says which way it would go.
_ELSEWHERE: Final = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))


def hosts_here() -> list[str]:
    """Return this machine's addresses towards other machines, then its names; each once, loopback left out."""
    hosts: list[str] = []
    for family, target in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((target, 9))
            hosts.append(sock.getsockname()[0])
    names = [socket.gethostname(), socket.getfqdn()]
    usable = [host for host in (*hosts, *names) if HOST.fullmatch(host) and host not in LOCAL and host != "::1"]
    return list(dict.fromkeys(usable))
