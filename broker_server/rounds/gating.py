"""The gate: a merged version is measured, and served or not, before any device hears of it.

The version is in the ledger, whole and with its deltas, and so is the word that it waits (HELD). A kill at any moment
leaves a version that waits: the next start has it measured again, and decides alike. Then either the decision is
written and the version announced, or the bank before it comes as the next version; the decision is written first.
"""

from __future__ import annotations

from broker_server.evaluation.onnx_model import Figures
from broker_server.evaluation.worker import Evaluated
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rules.gate import Decision, judge, unmeasured
from broker_server.state.rows import VersionRow
from broker_server.state.version_tables import GATE

DETAIL: int = 200
"""Characters of a failure that are kept."""


class Gate:
    """Args: parts: shared parts of the gateway."""

    def __init__(self, parts: GatewayParts) -> None:
        self._rules, self._ledger = parts.config.gate, parts.store.ledger
        self._waiting: VersionRow | None = None
        self.before: VersionRow | None = None
        """What devices have while a version waits."""
        self._result: Evaluated | None = None

    @property
    def holds(self) -> bool:
        """Whether merged versions wait for a decision."""
        return self._rules.hold

    @property
    def waiting(self) -> VersionRow | None:
        """The version that waits for its decision."""
        return self._waiting

    def hold(self, row: VersionRow | None) -> None:
        """Let a version wait; None: it was decided on."""
        self._waiting, self._result = row, None
        self.before = self._parent(row)

    def measured(self, result: Evaluated) -> None:
        """Take a result; one of another version is not waited for."""
        if self._waiting is not None and result.version == self._waiting.version:
            self._result = result

    def decision(self) -> Decision | None:
        """Return what follows from the result, or what was decided before a kill; None while it is not there."""
        row, result = self._waiting, self._result
        if row is None:
            return None
        decided = self._ledger.decision(row.version) if result is None else None
        if result is None or decided is not None:
            return decided
        margin = self._rules.margin
        if result.figures is None:
            return unmeasured(row.version, result.failure[:DETAIL], margin)
        if isinstance(result.figures, Figures):
            known, figure, value = self._ledger.accuracies(result.data), "accuracy", result.figures.accuracy
        else:
            known, figure, value = self._ledger.losses(result.data), "loss", result.figures.loss
        references = {number: known[number] for number in self.references() if number in known}
        return judge(row.version, figure, value, references, margin)

    def compared(self) -> list[int]:
        """Return the version that waits, and those that it is compared with; none when none waits."""
        return [] if self._waiting is None else [self._waiting.version, *self.references()]

    def references(self) -> list[int]:
        """Return the versions that the one which waits is compared with, newest first.

        Those served before it, as many as the settings say, and none before a new head or a rollback.
        """
        numbers: list[int] = []
        at = self._parent(self._waiting)
        while at is not None and len(numbers) < self._rules.versions:
            if at.reason != GATE:  # it has the bank of its parent
                numbers.append(at.version)
                if at.reason != "merge":
                    break
            at = self._parent(at)
        return numbers

    def _parent(self, row: VersionRow | None) -> VersionRow | None:
        return self._ledger.version(row.parent) if row is not None and row.parent is not None else None
