"""Settings of the gate: the table [gate] of a configuration."""

from __future__ import annotations

from dataclasses import dataclass

from broker_server.errors import UsageError


@dataclass(frozen=True)
class Gate:
    """Which merged versions devices get.

    Args:
        hold: measure each merged version on the texts of ``evaluate`` before devices get it; one that is worse than
            ``margin`` allows is not served: devices go on from the version before it, and its deltas count for nothing.
        margin: by how much a version may be worse: accuracy (0.01 is one point), or for a language model the mean loss
            of a token.
        versions: a version is compared with the best of so many that were served before it, so that small falls do not
            add up; a new head or a rollback begins this anew.
    """

    hold: bool = False
    margin: float = 0.01
    versions: int = 5

    def __post_init__(self) -> None:
        if self.margin < 0:
            raise UsageError(f"gate.margin {self.margin}, expected 0 or more")
        if self.versions < 1:
            raise UsageError(f"gate.versions {self.versions}, expected 1 or more")
