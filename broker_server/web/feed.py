"""What the page and /metrics show, read once for all who look: the ledger is asked at most every ``FRESH_S`` seconds.

``live`` comes from the thread that decides and costs nothing; ``figures`` reads the state directory beside it, on the
thread of whoever asks first, and everybody else gets the same values.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from broker_server.config import GatewayConfig
from broker_server.errors import BrokerError
from broker_server.state.settings_table import ROLLBACK
from broker_server.views.coverage import Coverage, read_coverage
from broker_server.views.devices import Devices, read_devices
from broker_server.views.live import Live
from broker_server.views.reading import reading
from broker_server.views.rounds import Rounds, read_rounds
from broker_server.views.status import Status, read_status
from broker_server.views.versions import Versions, read_versions
from broker_server.web.tally import Tally

FRESH_S: Final = 4.0
SOON_S: Final = 0.5
VERSIONS: Final = 120
ROUNDS: Final = 60
"""The newest that charts and tables show."""


@dataclass(frozen=True)
class Figures:
    """What the state directory holds. Args: rollback: version that the operator wants back; "": none."""

    status: Status
    versions: Versions
    rounds: Rounds
    coverage: Coverage
    rollback: str


@dataclass
class Feed:
    """The one source of what is shown.

    Args:
        config: of the gateway.
        live: returns the last look at the gateway, None before the first.
        tally: counts since the start.
    """

    config: GatewayConfig
    live: Callable[[], Live | None]
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._figures: Figures | None = None
        self._read_at = -FRESH_S

    def figures(self) -> Figures:
        """Return what the state directory holds; reads it when the last reading is too old.

        Raises:
            StateError: when it cannot be read.
        """
        with self._lock:
            if self._figures is None or time.monotonic() - self._read_at >= self._fresh_s(self._figures):
                self._figures = self._read(self._figures)
                self._read_at = time.monotonic()
            return self._figures

    def _fresh_s(self, figures: Figures) -> float:
        """Return how long figures are shown; those of an older version than the live one are soon read again."""
        live = self.live()
        return FRESH_S if live is None or live.version == figures.status.version else SOON_S

    def forget(self) -> None:
        """Read again at the next look, after something was changed."""
        with self._lock:
            self._read_at = -FRESH_S

    def devices(self, newest: int, names: tuple[str, ...] = ()) -> Devices:
        """Return devices, those seen last or these. Args: as ``read_devices``.

        Raises:
            StateError: when the ledger cannot be read.
        """
        with reading(self.config.state) as ledger:
            return read_devices(ledger, newest, names)

    def _read(self, before: Figures | None) -> Figures:
        with reading(self.config.state) as ledger:
            status, rollback = read_status(ledger, time.time()), ledger.get(ROLLBACK) or ""
            if before is not None and _same(before.status, status):
                return replace(before, status=status, rollback=rollback)
            versions, rounds = read_versions(ledger, VERSIONS), read_rounds(ledger, ROUNDS)
            return Figures(status, versions, rounds, read_coverage(ledger), rollback)


def _same(one: Status, other: Status) -> bool:
    """Return whether nothing but traffic and greetings came in between."""
    return (one.version, one.held, one.gate, one.evaluation, one.round, one.verdicts) == (
        other.version, other.held, other.gate, other.evaluation, other.round, other.verdicts,
    )  # fmt: skip


def figures_or_none(feed: Feed) -> Figures | None:
    """Return the figures, or None while they cannot be read."""
    try:
        return feed.figures()
    except BrokerError:
        return None
