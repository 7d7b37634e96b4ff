"""Who may see the page and act on it: host names, tokens, sessions, how often a wrong token is looked at. No I/O."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import secrets
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

SESSION_S: Final = 12 * 3600.0
SESSIONS: Final = 256
"""At a time; the oldest goes for the next."""
WRONG_TOKENS: Final = 10
"""From one network within ``WINDOW_S``; none of it is looked at for the rest of that time, the right one neither."""
WINDOW_S: Final = 60.0
NETWORKS: Final = 4096
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]{2,45})\]|([A-Za-z0-9.-]{1,253}))(?::[0-9]{1,5})?")
_NETWORK_6: Final = 64


def names_this(host: str, names: Collection[str]) -> bool:
    """Return whether a Host header names this page.

    A page elsewhere whose name was made to lead here (DNS rebinding) sends that name. An address cannot be made to lead
    elsewhere, so every address is one of ours.

    Args:
        host: the header, with or without a port.
        names: in lower case; localhost is always one.
    """
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = (match[1] or match[2]).lower()
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def same(one: str, other: str) -> bool:
    """Return whether two secrets are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(_digest(one), _digest(other))


def network(address: str) -> str:
    """Return what of an address one person has: all of IPv4, the /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped) if mapped else str(ipaddress.ip_network((parsed, _NETWORK_6), strict=False))
    return str(parsed)


class Attempts:
    """Counts wrong tokens by network."""

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, client: str, now: float) -> float:
        """Return how long no token of a network is looked at; 0: now. Args: now: monotonic seconds."""
        times, since = self._wrong.get(client, (0, now))
        return max(0.0, since + WINDOW_S - now) if times >= WRONG_TOKENS else 0.0

    def wrong(self, client: str, now: float) -> None:
        """Count a wrong token."""
        times, since = self._wrong.get(client, (0, now))
        self._wrong[client] = (times + 1, since) if now < since + WINDOW_S else (1, now)
        self._wrong.move_to_end(client)
        if len(self._wrong) > NETWORKS:
            self._wrong.popitem(last=False)


@dataclass(frozen=True)
class Session:
    """Somebody who may act. Args: csrf: what each form of theirs carries; ends: monotonic seconds."""

    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    ends: float = float("inf")


class Sessions:
    """Who is logged in, by the digest of what their cookie holds; gone with the process."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, now: float) -> str:
        """Return the cookie of a new session. Args: now: monotonic seconds."""
        cookie = secrets.token_urlsafe(32)
        self._sessions[_digest(cookie)] = Session(ends=now + SESSION_S)
        if len(self._sessions) > SESSIONS:
            self._sessions.popitem(last=False)
        return cookie

    def of(self, cookie: str, now: float) -> Session | None:
        """Return the session that a cookie belongs to, unless it has ended."""
        session = self._sessions.get(_digest(cookie))
        return session if session is not None and now < session.ends else None

    def end(self, cookie: str) -> None:
        """End a session."""
        self._sessions.pop(_digest(cookie), None)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
