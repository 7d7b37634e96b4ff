"""What came of injected faults, counted by place and kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Injection:
    """One injected fault and what was left after it.

    Args:
        lost: accepted deltas that no version holds.
        double: deltas that count more than once.
        identical: whether the last version has the bytes of the undisturbed run, devices are trusted as there, and no
            release with noise is lost.
        refused: a start was refused by name, and a backup went in the damaged state's place.
        recover_ms: from the start after the fault until the gateway or device works again; None when it went on itself.
        wrong: what went wrong; empty when nothing did.
    """

    lost: int = 0
    double: int = 0
    identical: bool = True
    refused: bool = False
    recover_ms: float | None = None
    wrong: str = ""


@dataclass
class Tally:
    """Injections of one kind at one place. Args: where, fault: for people; whole: whether real processes took part."""

    where: str
    fault: str
    process: str
    injections: list[Injection] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """Return what docs/reliability.md shows."""
        times = [one.recover_ms for one in self.injections if one.recover_ms is not None]
        return {
            "where": self.where,
            "fault": self.fault,
            "process": self.process,
            "injected": len(self.injections),
            "lost": sum(one.lost for one in self.injections),
            "double": sum(one.double for one in self.injections),
            "identical": sum(one.identical for one in self.injections),
            "refused": sum(one.refused for one in self.injections),
            "recover_ms": round(median(times), 1) if times else None,
            "wrong": sorted({one.wrong for one in self.injections if one.wrong})[:3],
        }


def compared(undisturbed: dict[str, Any], last: dict[str, Any], accepted: Sequence[tuple[str, int]]) -> Injection:
    """Compare an outcome with the undisturbed one; of rounds whose rows went the bytes tell.

    Args:
        undisturbed: outcome of the run without faults.
        last: outcome of this one.
        accepted: what devices were told is accepted.
    """
    pruned = last.get("pruned", 0)
    folded = [tuple(one) for one in last["folded"]]
    trained = undisturbed["trained"]
    return Injection(
        lost=len({one for one in accepted if one[1] >= pruned} - {*folded}),
        double=sum(max(0, times - trained.get(device, 0)) for device, times in last["trained"].items()),
        identical=last["digest"] == undisturbed["digest"]
        and last.get("trust") == undisturbed.get("trust")
        and last.get("released", 0) >= undisturbed.get("released", 0),
    )
