"""What other parts of a gateway may know of its rounds."""

from __future__ import annotations

from collections.abc import Sequence

from broker_server.config import GatewayConfig
from broker_server.rounds.buffered import Buffered
from broker_server.rounds.gating import Gate
from broker_server.rounds.masked_rounds import MaskedRounds
from broker_server.rounds.merging import Merging
from broker_server.rounds.round_status import RoundStatus
from broker_server.state.rows import VersionRow
from broker_server.state.store import Store
from edge_runtime.wire.bank import Bank


class RoundViews:
    """Where rounds and versions are. ``masks``: what goes under masks."""

    masks: MaskedRounds
    _config: GatewayConfig
    _store: Store
    _merging: Merging
    _gate: Gate
    _buffered: Buffered | None
    _round: RoundStatus

    @property
    def row(self) -> VersionRow:
        """The newest version that devices get."""
        return self._gate.before or self._merging.row

    @property
    def held(self) -> VersionRow | None:
        """The version that waits for its decision, before devices get it."""
        return self._gate.waiting

    @property
    def compared(self) -> Sequence[int]:
        """The version that waits for its decision, and those that it is compared with."""
        return self._gate.compared()

    @property
    def newest(self) -> VersionRow:
        """The newest version, whether or not it waits."""
        return self._merging.row

    @property
    def bank(self) -> Bank:
        """The newest version's bank, whether or not it waits."""
        return self._merging.bank

    @property
    def round(self) -> int:
        """Number of the last round that was opened."""
        return self._round.number

    @property
    def buffer(self) -> tuple[int, int]:
        """How many deltas wait to be merged, and how many are as soon as they came; both 0 in rounds."""
        return (self._store.ledger.buffered(), self._config.round.buffer) if self._buffered is not None else (0, 0)

    @property
    def done(self) -> int:
        """What ``rounds`` of the settings counts: rounds that were opened and did not fail, or merges of the buffer."""
        return self.round - self.masks.failed if self._buffered is None else self._buffered.merges

    @property
    def status(self) -> RoundStatus:
        """The last round that was opened, for the thread that decides: it changes."""
        return self._round

    def age(self, base_version: int) -> int:
        """Return how many merges the bank is ahead of a version."""
        return self._merging.age(base_version)
