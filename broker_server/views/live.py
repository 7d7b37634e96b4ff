"""What only the running gateway knows, looked at once a second by the thread that decides and replaced as one value.

Whoever shows it takes the last value as it is: nobody waits for anybody, and a value that grows old says that the
deciding thread is busy or stuck.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from broker_server.rounds.conductor import Conductor
from broker_server.rounds.roster import Roster
from broker_server.rules.round import State
from broker_server.rules.standing import Standing

LOOK_S: Final = 1.0
"""How often it is looked at."""
_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True)
class Load:
    """What waits in the gateway.

    Args:
        inbox_events, inbox_bytes: for the deciding thread.
        offers_waiting: bodies that were offered and are not granted yet.
        granted_bytes: of bodies that were granted and are not complete.
        partial_bytes: of pieces that are kept until their body is complete.
        evaluating: versions that are to be measured.
        broker_up: the gateway is connected to its broker.
        disk_refuses: the last write failed.
    """

    inbox_events: int = 0
    inbox_bytes: int = 0
    offers_waiting: int = 0
    granted_bytes: int = 0
    partial_bytes: int = 0
    evaluating: int = 0
    broker_up: bool = False
    disk_refuses: bool = False


@dataclass(frozen=True)
class LiveRound:
    """The round that was opened last.

    Args:
        number: from 1; 0: there was none yet.
        planned, answered, refused: names of devices with a plan, with an accepted delta, with a refused one.
        left: of those planned, who said bye or whose plan was taken back.
        open_s: seconds since it opened; deadline_s: until its deadline, below 0 after it. Both 0 unless it is open.
        extensions: times it waited once more.
    """

    number: int = 0
    planned: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    open_s: float = 0.0
    deadline_s: float = 0.0
    extensions: int = 0


@dataclass(frozen=True)
class Live:
    """A gateway at one moment.

    Args:
        at: seconds since 1970; started: of the gateway, likewise.
        state: "gathering", "open", "merging" (while a version is measured before it is served) or "finished".
        round: the last.
        version: the newest that devices get.
        here: names of the devices that said hello and not bye.
        rests_s: of those left out for now because they gave no answer, the seconds that are left.
        standings: of every device that a plan was made for since the start.
        bytes_up, bytes_down: of messages from and to devices since the start.
        load: what waits.
        resident_bytes: memory of the process; 0 where the system does not tell.
        held: the version that waits to be measured before devices get it; None: there is none.
        buffer: deltas that are merged as soon as they came, 0 in rounds; buffered: of them, those that did.
    """

    at: float
    started: float
    state: str
    round: LiveRound
    version: int
    here: frozenset[str]
    bytes_up: int
    bytes_down: int
    load: Load
    resident_bytes: int
    rests_s: Mapping[str, float] = field(default_factory=dict)
    standings: Mapping[str, Standing] = field(default_factory=dict)
    held: int | None = None
    buffer: int = 0
    buffered: int = 0

    def standing(self, device: str) -> str:
        """Return what may be expected of a device, in a few words."""
        standing = self.standings.get(device)
        if device in self.rests_s:
            return "rests"
        if standing is None:
            return "new"
        if standing.owed:
            return "owes answers"
        return "answers" if standing.proven else "new"

    def plain(self) -> dict[str, Any]:
        """Return it for JSON, with counts in place of names."""
        counts = {name: len(getattr(self.round, name)) for name in ("planned", "answered", "refused", "left")}
        return {
            "at": self.at,
            "started": self.started,
            "state": self.state,
            "round": {"number": self.round.number, "extensions": self.round.extensions, **counts},
            "open_s": round(self.round.open_s, 1),
            "deadline_s": round(self.round.deadline_s, 1),
            "version": self.version,
            "held": self.held,
            "buffer": self.buffer,
            "buffered": self.buffered,
            "here": len(self.here),
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
            **vars(self.load),
            "resident_bytes": self.resident_bytes,
        }


def look(conductor: Conductor, roster: Roster, load: Load, times: tuple[float, float], started: float) -> Live:
    """Look at the gateway, from the thread that decides.

    Args:
        conductor: of the rounds.
        roster: of the devices.
        load: what waits.
        times: monotonic seconds, seconds since 1970.
        started: seconds since 1970.
    """
    now, wall = times
    up, down = roster.totals
    standings = roster.standings()
    return Live(
        at=wall,
        started=started,
        state=conductor.state.value,
        round=_round(conductor, roster, now),
        version=conductor.row.version,
        here=roster.here(),
        bytes_up=up,
        bytes_down=down,
        load=load,
        resident_bytes=resident_bytes(),
        rests_s={name: one.again_at - now for name, one in standings.items() if one.rests(now)},
        standings=standings,
        held=conductor.held.version if conductor.held is not None else None,
        buffer=conductor.buffer[1],
        buffered=conductor.buffer[0],
    )


def _round(conductor: Conductor, roster: Roster, now: float) -> LiveRound:
    status, opened = conductor.status, conductor.state is State.OPEN
    planned = frozenset(status.plans)
    return LiveRound(
        number=status.number,
        planned=planned,
        answered=frozenset(status.answered),
        refused=frozenset(status.refused),
        left=(roster.gone(planned) | planned & status.void) - status.answered,
        open_s=now - status.opened_at if opened else 0.0,
        deadline_s=status.deadline_at - now if opened else 0.0,
        extensions=status.extensions,
    )


def resident_bytes() -> int:
    """Return the memory of this process that is in use, in bytes; 0 where Linux does not tell."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
