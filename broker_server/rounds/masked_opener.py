"""Sums that take long are opened beside the thread that decides, which stays there for devices and the watchdog.

Of a thousand devices of which three hundred left it takes most of a minute: each that left has a mask with each of its
hundreds of neighbours. What is opened depends on what is on the disk alone, so a kill costs the time and nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from broker_server.rounds.masked_opening import Opening, open_sums
from broker_server.rounds.masked_state import MaskedState
from broker_server.rules import masking
from broker_server.rules.masked_sums import masks_of
from broker_server.state.rows import DeltaRow
from broker_server.state.spool import Spool
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.secure.members import Attendance

AT_ONCE: Final = 1 << 25
"""Values of masks that the deciding thread takes off by itself: a tenth of a second."""


class _StoppedError(Exception):
    """Nobody waits for the sums any more."""


@dataclass
class _Work:
    """Sums that are being opened. Args: state: of their round; opening, error: what came of it."""

    state: MaskedState
    stopping: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread = field(init=False)
    opening: Opening | None = None
    error: BaseException | None = None


class Opener:
    """Opens the sums of one round at a time. Args: spool: has the deltas; shape: of the bank."""

    def __init__(self, spool: Spool, shape: BankShape) -> None:
        self._spool, self._shape = spool, shape
        self._work: _Work | None = None

    def at_work(self, state: MaskedState) -> bool:
        """Return whether sums of a round are being opened here, or were."""
        return self._work is not None and self._work.state is state

    def opening(self, state: MaskedState, attendance: Attendance, rows: Sequence[DeltaRow]) -> Opening | None:
        """Open what can be; None: that has begun, so ask again. What took long is kept until ``stop``.

        Args:
            state: of the round.
            attendance: whose deltas are summed.
            rows: of these deltas.

        Raises:
            BodyError: when one is damaged or gone.
        """
        if not self.at_work(state):
            if _values(state, attendance, self._shape) <= AT_ONCE:
                return open_sums(state, attendance, rows, self._spool, self._shape)
            self.stop()
            self._begin(state, attendance, rows)
        work = self._work
        if work is None or work.thread.is_alive():
            return None
        if work.error is not None:
            self.stop()
            raise work.error
        return work.opening

    def stop(self) -> None:
        """Give up what is under way, and wait until it has ended: within a mask or a delta."""
        if self._work is not None:
            self._work.stopping.set()
            self._work.thread.join()
        self._work = None

    def _begin(self, state: MaskedState, attendance: Attendance, rows: Sequence[DeltaRow]) -> None:
        work = self._work = _Work(state)
        # Answers go on coming while this works.
        as_now = replace(state, answers=dict(state.answers))

        def goes_on() -> None:
            if work.stopping.is_set():
                raise _StoppedError

        def run() -> None:
            try:
                work.opening = open_sums(as_now, attendance, rows, self._spool, self._shape, goes_on=goes_on)
            except BaseException as error:  # noqa: BLE001 - raised where somebody waits for it
                work.error = error

        work.thread = threading.Thread(target=run, name="masks", daemon=True)
        work.thread.start()


def _values(state: MaskedState, attendance: Attendance, shape: BankShape) -> int:
    """Return how many values of masks are left in all sums of a round, at most."""
    members = state.listed
    return sum(
        masks_of(members, circle.number, attendance) * state.terms.size(circle.number, shape)
        for circle in masking.to_open(members, attendance)
    )
