"""Rows of the ledger, as everything else knows them: an accepted delta, a round, a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from broker_server.rules.site_sums import SUMMED
from edge_runtime.wire.experts import ExpertId

LEFT_OUT: Final = -1
"""Version of an accepted delta whose device was revoked before the merge: it is part of none."""


@dataclass(frozen=True)
class DeltaRow:
    """An accepted delta.

    Args:
        norms: largest by kind of block; of a site's sum, which has no single update, SUMMED: how many deltas it has.
        version: that it is part of; None while it waits in the spool; LEFT_OUT: of none.
    """

    device: str
    round: int
    digest: bytes
    bytes: int
    examples: int
    loss_first: float
    loss_last: float
    step_ms: float
    norms: Mapping[str, float]
    blocks: tuple[ExpertId, ...]
    version: int | None = None

    @property
    def summed(self) -> bool:
        """Whether it is the sum of a site."""
        return SUMMED in self.norms


@dataclass(frozen=True)
class TrustRow:
    """How far a device is trusted (``rules/agreement.py``).

    Args:
        device: its name.
        trust: below 0: its updates point away from the others'.
        left_out_since: first version of those, up to its last, that its deltas were not merged into; None: they were.
    """

    device: str
    trust: float
    left_out_since: int | None = None


@dataclass(frozen=True)
class RoundRow:
    """Args: opened, closed: seconds since 1970; closed None while it runs."""

    round: int
    base_version: int
    opened: float
    closed: float | None
    version: int | None
    extensions: int


@dataclass(frozen=True)
class VersionRow:
    """A version.

    Args:
        payload: pb.Version as published.
        balance: JSON of the top-k statistics after it.
        residuals: see residuals.py.
        server: JSON, what it notes of its merge (``rules/server_rules.py``); "": nothing.
    """

    version: int
    parent: int | None
    digest: bytes
    round: int
    contributors: int
    reason: str
    created: float
    payload: bytes
    balance: str | None
    residuals: bytes = b""
    server: str = ""
