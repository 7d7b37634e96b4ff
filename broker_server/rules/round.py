"""One round as a table, without I/O or clock: quorum, deadline, coverage and late arrivals come in as values.

GATHERING  devices say hello; nobody trains.
OPEN       plans are out.
MERGING    the deltas of the round are folded into a new version.
FINISHED   all planned rounds are done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker_server.config import RoundRules
from broker_server.errors import RoundError


class State(StrEnum):
    """Where the gateway stands."""

    GATHERING = "gathering"
    OPEN = "open"
    MERGING = "merging"
    FINISHED = "finished"


class Event(StrEnum):
    """What happened to the round."""

    QUORUM = "quorum"  # enough devices are ready: plan for all that are
    DELTA = "delta"  # one was accepted
    ALL_IN = "all in"  # every planned device answered or left, and enough answered
    DEADLINE = "deadline"  # passed, and enough answered
    SHORT = "short"  # passed, or nobody trains, and too few answered: wait once more, plan for newcomers
    MERGED = "merged"
    LAST = "last"  # merged, and no further round is planned


NEXT: Final = {
    (State.GATHERING, Event.QUORUM): State.OPEN,
    (State.GATHERING, Event.DELTA): State.GATHERING,  # late, from the round before; folded into the next one
    (State.OPEN, Event.DELTA): State.OPEN,
    (State.OPEN, Event.ALL_IN): State.MERGING,
    (State.OPEN, Event.DEADLINE): State.MERGING,
    (State.OPEN, Event.SHORT): State.OPEN,
    (State.MERGING, Event.MERGED): State.GATHERING,
    (State.MERGING, Event.LAST): State.FINISHED,
}


def step(state: State, event: Event) -> State:
    """Return the next state.

    Raises:
        RoundError: when the event has no place in this state; nothing changes.
    """
    try:
        return NEXT[state, event]
    except KeyError:
        msg = f"event {event.value!r} came while the round is {state.value}"
        raise RoundError(msg) from None


@dataclass(frozen=True)
class Present:
    """A device that is here.

    Args:
        hello_at: seconds on the gateway's clock.
        complete: whether the class statistics of its present data came, or it has none to give.
    """

    hello_at: float
    complete: bool


@dataclass(frozen=True)
class Gathering:
    """What a start is decided on. Args: present: by device; now: seconds on the clock of ``hello_at``."""

    present: dict[str, Present]
    now: float


@dataclass(frozen=True)
class Opened:
    """What a close is decided on.

    Args:
        planned: devices with a plan.
        answered: of them, those whose delta was accepted.
        left: of them, those that said bye since, or whose plan was taken back.
        deadline_at: on the clock of ``now``.
        ready_again: of those whose plan was taken back, the ones that another plan can be made for now.
    """

    planned: frozenset[str]
    answered: frozenset[str]
    left: frozenset[str]
    deadline_at: float
    now: float
    ready_again: frozenset[str] = frozenset()


def ready(present: Mapping[str, Present]) -> frozenset[str]:
    """Return the devices that may be planned for: a head without the sums of a device's labels trains it wrong."""
    return frozenset(name for name, device in present.items() if device.complete)


def may_start(gathering: Gathering, rules: RoundRules) -> Event | None:
    """Return QUORUM when a round should start: enough are ready, nobody is just arriving or has grace left."""
    if len(ready(gathering.present)) < rules.quorum:
        return None
    devices = gathering.present.values()
    arriving = gathering.now - max(device.hello_at for device in devices) < rules.join_wait_s
    waited_for = any(not one.complete and gathering.now - one.hello_at < rules.grace_s for one in devices)
    return None if arriving or waited_for else Event.QUORUM


def may_close(opened: Opened, rules: RoundRules) -> Event | None:
    """Return why an open round should go on to its next step, or None to wait."""
    enough = len(opened.answered) >= min(rules.quorum, len(opened.planned))
    idle = opened.planned <= opened.answered | opened.left
    if enough and idle:
        return Event.ALL_IN
    if opened.now < opened.deadline_at and not (idle and opened.ready_again):
        return None
    return Event.DEADLINE if enough else Event.SHORT
