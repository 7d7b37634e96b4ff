"""What the last start of a gateway was told, kept in the ledger, so that commands beside it need no settings file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from broker_server.state.ledger import Ledger
from broker_server.state.settings_table import GATEWAY


@dataclass(frozen=True)
class GatewayFacts:
    """What it was told.

    Args:
        started: seconds since 1970.
        url: where devices connect.
        quorum, rounds: as [round] and ``rounds`` say.
        page: its address; "": there is none.
        buffer: as [round] says; 0: it works in rounds.
        secure: whether deltas are summed under masks.
        private: whether [privacy] is on.
        signed: whether devices have to sign their keys for masks.
    """

    started: float
    url: str
    quorum: int
    rounds: int
    page: str = ""
    buffer: int = 0
    secure: bool = False
    private: bool = False
    signed: bool = False

    def keep(self, ledger: Ledger) -> None:
        """Put them into the ledger.

        Raises:
            StorageError: when the disk refuses.
        """
        ledger.put(GATEWAY, json.dumps(asdict(self)))

    @classmethod
    def read(cls, ledger: Ledger) -> Self | None:
        """Return them; None before a gateway wrote any, or when a gateway of another release wrote others."""
        try:
            tree = json.loads(ledger.get(GATEWAY) or "null")
            return None if tree is None else cls(**tree)
        except (ValueError, TypeError):
            return None
