"""ROUND: the last round that was opened and its plans, outside of the ledger, as devices have them.

A plan is named by its digest, so a round can only go on with the plans that went out. The file is written before that,
and a start puts the round back into a ledger that does not know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker_server.errors import StateError
from broker_server.state.files import seal, unseal, write_durably

NAME: Final = "ROUND"


@dataclass(frozen=True)
class OpenRound:
    """Args: round: its number; base_version: of its plans; opened: seconds since 1970; plans: payloads by device."""

    round: int
    base_version: int
    opened: float
    extensions: int
    plans: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        """Put it in place of the round before.

        Raises:
            StorageError: when the disk refuses.
        """
        plans = {device: payload.hex() for device, payload in self.plans.items()}
        write_durably(folder / NAME, seal({**self.__dict__, "plans": plans}))

    @classmethod
    def read(cls, folder: Path) -> OpenRound | None:
        """Return what a state directory's ROUND says; None when there is none, or it is damaged."""
        path = folder / NAME
        try:
            tree = unseal(path.read_bytes(), path)
            plans = {device: bytes.fromhex(payload) for device, payload in tree.pop("plans").items()}
            return cls(**tree, plans=plans)
        except (OSError, StateError, KeyError, ValueError, TypeError, AttributeError):
            return None
