"""What a round under masks costs the budget of [privacy]: counted once, before anybody can open its sums."""

from __future__ import annotations

from broker_server.rounds.masked_state import MaskedState
from broker_server.rounds.privacy_budget import PrivacyBudget
from broker_server.rules.mask_noise import promised
from broker_server.state.ledger import Ledger
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.secure.members import Attendance


class MaskedBudget:
    """What releases cost.

    Args:
        budget: of [privacy]; None: it is off.
        colluding: as [secure] says.
        shape: of the bank.
        ledger: has the rounds.
    """

    def __init__(self, budget: PrivacyBudget | None, colluding: float, shape: BankShape, ledger: Ledger) -> None:
        self._budget, self._colluding = budget, colluding
        self._shape, self._ledger = shape, ledger

    def allows(self, state: MaskedState) -> bool:
        """Return whether a round may be summed at all: with [privacy] on, its plans have to ask for noise."""
        return self._budget is None or state.terms.private

    def promised(self, state: MaskedState) -> float:
        """Return the noise multiplier of a round: what settings want, where its plans are no worse."""
        promise = promised(state.terms, len(state.plans), self._colluding, self._shape)
        wanted = self._budget.privacy.noise if self._budget is not None else promise
        return min(wanted, promise)

    def charged(self, state: MaskedState, attendance: Attendance) -> bool:
        """Count the round's release; return whether the budget has room for it. Counted already, it has.

        Raises:
            StorageError: when the disk refuses; nothing was counted.
        """
        if self._budget is None:
            return True
        if state.terms.classes is not None:  # they have no noise
            return False
        noise, key = self.promised(state), state.listed.context
        if not self._budget.room_for(noise, key):
            return False
        values = sum(self._shape.size(block) for blocks in state.terms.circles.values() for block in blocks)
        self._budget.count_masked(noise, key, values, len(attendance.survivors))
        return True

    def counted(self, number: int) -> bool:
        """Return whether a round that is not closed yet is counted. Args: number: of it."""
        row = self._ledger.masks(number)
        members = row.members if row is not None else None
        return self._budget is not None and members is not None and self._budget.counted(sha256(members))
