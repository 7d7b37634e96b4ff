"""Buffered asynchronous merging as a table of values: when the buffer is merged, and who gets a plan. Pure.

FedBuff (Nguyen et al., arXiv 2106.06639, algorithm 1): the gateway merges as soon as K deltas came, whoever sent them,
and a device that answered trains on at once, from the newest version. Nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from broker_server.config_tables import RoundRules
from broker_server.rules.round import Event
from edge_runtime.wire.experts import ExpertId


@dataclass(frozen=True)
class NewestPlan:
    """The newest plan of a device.

    Args:
        round: of the plan: plans that go out together have one number.
        base_version: that it is to be trained from.
        at: monotonic seconds, when it went out; of a plan before a start, when that was.
        blocks: that it trains.
    """

    round: int
    base_version: int
    at: float
    blocks: tuple[ExpertId, ...]


@dataclass(frozen=True)
class Buffer:
    """What a merge is decided on. Args: waiting: accepted deltas; open_s: since the last; asked: for a rollback."""

    waiting: int
    open_s: float
    asked: bool = False


def may_merge(buffer: Buffer, rules: RoundRules) -> Event | None:
    """Return why the buffer should be merged now, or None to wait.

    It is when it has ``rules.buffer`` deltas; after ``rules.deadline_s`` with a quorum of them, so that devices that
    left do not hold up the others; and before a rollback, whose version is the one that is gone back from.
    """
    if buffer.waiting >= rules.buffer:
        return Event.FULL
    overdue = buffer.open_s >= rules.deadline_s and buffer.waiting >= min(rules.quorum, rules.buffer)
    return Event.DEADLINE if buffer.waiting and (overdue or buffer.asked) else None


def overdue(newest: Mapping[str, NewestPlan], devices: Iterable[str], now: float, rules: RoundRules) -> frozenset[str]:
    """Return those of ``devices`` whose plan is older than ``rules.deadline_s``. Args: now: monotonic seconds."""
    return frozenset(device for device in devices if now - newest[device].at >= rules.deadline_s)


def idle(
    ready: Iterable[str], newest: Mapping[str, NewestPlan], done: Collection[str], ages: Mapping[int, int], limit: int
) -> list[str]:
    """Return the devices that get a plan now, by name.

    Args:
        ready: that may be planned for.
        newest: the newest plan of each.
        done: whose newest plan was answered, refused, taken back or left without an answer.
        ages: of each base version in ``newest``, how many merges it is behind.
        limit: merges that a base may be behind; a plan beyond it would be trained in vain.
    """
    return sorted(
        device
        for device in ready
        if device not in newest or device in done or ages[newest[device].base_version] > limit
    )
