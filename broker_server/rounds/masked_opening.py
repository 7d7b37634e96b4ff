"""Sums of a round under masks are opened: deltas come from the spool, answers are at hand, one circle at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from broker_server.rounds.masked_state import MaskedState
from broker_server.rules import masking
from broker_server.rules.masked_sums import opened
from broker_server.rules.opened_sums import OpenedBlock, OpenedSums, opened_blocks
from broker_server.state.ledger import Ledger
from broker_server.state.rows import DeltaRow
from broker_server.state.spool import Spool
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.messages import decode
from edge_runtime.wire.secure.members import Attendance, Circle
from edge_runtime.wire.secure.ring import Words


@dataclass(frozen=True)
class Opening:
    """What came of it.

    Args:
        sums: of the blocks of circles that could be opened.
        circles: what became of each, for people.
        classes: class sums, float64; None: nobody was asked for them, they could not be opened, or a device lied.
        givers: places of those whose class sums were opened.
    """

    sums: OpenedSums
    circles: Sequence[Mapping[str, Any]]
    classes: ClassSums | None = None
    givers: Sequence[int] = ()

    def keep_classes(self, ledger: Ledger, state: MaskedState, wall: float) -> None:
        """Keep class sums, and whose they are, who is not asked again; in the caller's transaction."""
        if self.givers:
            ledger.keep_class_sums(state.row.round, self.classes, sorted(state.names(self.givers)), wall)


def open_sums(
    state: MaskedState, attendance: Attendance, rows: Sequence[DeltaRow], spool: Spool, shape: BankShape,
    *, goes_on: Callable[[], None] = lambda: None,
) -> Opening:  # fmt: skip
    """Open what can be.

    Args:
        state: of the round.
        attendance: whose deltas are summed.
        rows: of these deltas.
        spool: has their bodies.
        shape: of the bank.
        goes_on: called again and again; what it raises ends this.

    Raises:
        BodyError: when one is damaged or gone.
    """
    members = state.listed
    totals = _totals(state, masking.to_open(members, attendance), rows, spool, shape, goes_on=goes_on)
    blocks: dict[ExpertId, OpenedBlock] = {}
    told, classes, givers = [], None, list[int]()
    for number in sorted(members.circles):
        circle = members.circles[number]
        survivors = attendance.stayed(circle)
        stayed, asked = len(survivors), state.terms.of_classes(number)
        why = "" if number in totals else f"{stayed} of {len(circle.places)} are left, {circle.least} are needed"
        if not why:
            try:
                words = opened(totals[number], members, number, attendance, state.answers, goes_on=goes_on)
                integers = circle.ring.signed(words)
                if asked is not None:
                    givers = survivors  # their sum is seen now, whatever it is worth
                    classes = asked.sums(integers, shape, stayed)
                else:
                    blocks |= opened_blocks(number, integers, state.terms, shape, stayed)
            except SecureError as error:
                why = str(error)
        told.append(_told(circle, state, stayed, why))
    return Opening(OpenedSums(dict(sorted(blocks.items()))), told, classes, givers)


def _totals(
    state: MaskedState, circles: Sequence[Circle], rows: Sequence[DeltaRow], spool: Spool, shape: BankShape,
    *, goes_on: Callable[[], None],
) -> dict[int, Words]:  # fmt: skip
    """Return the sums of masked values of circles, by number; one delta at a time is in memory."""
    totals: dict[int, Words] = {
        circle.number: np.zeros(state.terms.size(circle.number, shape), circle.ring.word) for circle in circles
    }
    for row in rows:
        goes_on()
        for said in decode(pb.Delta, spool.read(row.digest)).masked:
            if said.number in totals:
                total = totals[said.number]
                np.add(total, state.listed.circles[said.number].ring.unpack(said.words, total.size), out=total)
    return totals


def _told(circle: Circle, state: MaskedState, stayed: int, why: str) -> dict[str, Any]:
    """Return what became of a circle, for people."""
    blocks = [[block.layer, block.index] for block in state.terms.circles[circle.number]]
    dealt = sum(place in state.dealt for place in circle.places)
    return {
        "circle": circle.number, "blocks": blocks, "members": len(circle.places), "dealt": dealt, "survivors": stayed,
        "opened": not why, "why": why,
    }  # fmt: skip
