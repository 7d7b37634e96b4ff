"""One round as a table, without I/O or clock: quorum, deadline, coverage and late arrivals come in as values.

GATHERING  devices say hello; nobody trains.
OPEN       plans are out.
MERGING    the deltas of the round are folded into a new version; with a gate, until it is decided on.
FINISHED   all planned rounds are done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from broker_server.config_tables import RoundRules
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
    EXPECTED_IN = "expected in"  # the same of those that are expected, and the others had their time
    DEADLINE = "deadline"  # passed, and enough answered
    SHORT = "short"  # passed, or nobody trains, and too few answered: wait once more, plan for newcomers
    FAILED = "failed"  # under masks: too few keys, shares, deltas or answers for any sum
    SPENT = "spent"  # likewise, and [privacy] has no room for another round: what was counted stays so
    FULL = "buffer full"  # so many deltas came that they are merged, whoever is at work
    MERGED = "merged"
    ON = "goes on"  # merged, and the buffer fills again
    LAST = "last"  # merged, and no further round is planned


NEXT: Final = {
    (State.GATHERING, Event.QUORUM): State.OPEN,
    (State.GATHERING, Event.DELTA): State.GATHERING,  # late, from the round before; folded into the next one
    (State.OPEN, Event.DELTA): State.OPEN,
    (State.OPEN, Event.ALL_IN): State.MERGING,
    (State.OPEN, Event.EXPECTED_IN): State.MERGING,
    (State.OPEN, Event.DEADLINE): State.MERGING,
    (State.OPEN, Event.SHORT): State.OPEN,
    (State.OPEN, Event.FULL): State.MERGING,
    (State.OPEN, Event.FAILED): State.GATHERING,
    (State.OPEN, Event.SPENT): State.FINISHED,
    (State.MERGING, Event.DELTA): State.MERGING,  # late, while the version is measured; folded into the next one
    (State.MERGING, Event.MERGED): State.GATHERING,
    (State.MERGING, Event.ON): State.OPEN,
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
        arrived_at: seconds on the gateway's clock, when it came; saying Hello again does not change it.
        ready_at: when it was first here with the class statistics of its present data; None while they are missing.
        rests: it left too many plans without an answer, or does not know masks where rounds go under them, and is not
            planned for now.
    """

    arrived_at: float
    ready_at: float | None
    rests: bool = False


@dataclass(frozen=True)
class Gathering:
    """What a start is decided on. Args: present: by device; now: seconds on the clock of ``arrived_at``."""

    present: Mapping[str, Present]
    now: float


@dataclass(frozen=True)
class Opened:
    """What a close is decided on.

    Args:
        planned: devices with a plan.
        answered: of them, those whose delta was accepted.
        left: of them, those that said bye since or rest, whose plan was taken back, or whose delta was refused.
        deadline_at: on the clock of ``now``.
        can_join: devices that another plan of this round can be made for now: newcomers, and those of whose plan was
            taken back.
        expected: of those planned, the ones that are waited for to the deadline; none: all are.
        expected_at: when the last of them answered, at the opening before that.
    """

    planned: frozenset[str]
    answered: frozenset[str]
    left: frozenset[str]
    deadline_at: float
    now: float
    can_join: frozenset[str] = frozenset()
    expected: frozenset[str] = frozenset()
    expected_at: float = 0.0


def ready(present: Mapping[str, Present]) -> frozenset[str]:
    """Return the devices that may be planned for: a head without the sums of a device's labels trains it wrong."""
    return frozenset(name for name, one in present.items() if one.ready_at is not None and not one.rests)


def may_start(gathering: Gathering, rules: RoundRules) -> Event | None:
    """Return QUORUM when a round should start.

    Both waits count from the moment that the quorum of those ready now was complete, and nobody can move that moment by
    arriving later: ``join_wait_s`` for whoever starts with them, ``grace_s`` for class statistics that are on their
    way. So a round waits once, after the quorum came together, and those who are late take part in the next one.
    """
    devices = gathering.present.values()
    times = sorted(one.ready_at for one in devices if one.ready_at is not None and not one.rests)
    if len(times) < rules.quorum:
        return None
    waited = gathering.now - times[rules.quorum - 1]
    promised = any(one.ready_at is None and gathering.now - one.arrived_at < rules.grace_s for one in devices)
    wait = max(rules.join_wait_s, rules.grace_s if promised else 0.0)
    return None if waited < wait else Event.QUORUM


def may_close(opened: Opened, rules: RoundRules) -> Event | None:
    """Return why an open round should go on to its next step, or None to wait."""
    enough = len(opened.answered) >= min(rules.quorum, len(opened.planned))
    awaited = opened.planned - opened.answered - opened.left
    if enough and not awaited:
        return Event.ALL_IN
    others_had_time = opened.now >= opened.expected_at + rules.newcomer_wait_s
    if enough and opened.expected and not awaited & opened.expected and others_had_time:
        return Event.EXPECTED_IN
    nobody_trains = not awaited and bool(opened.can_join)
    if opened.now < opened.deadline_at and not nobody_trains:
        return None
    return Event.DEADLINE if enough else Event.SHORT
