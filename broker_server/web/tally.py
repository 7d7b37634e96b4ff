"""Counts what happens from the start of the gateway on, for /metrics: told by events, a few additions each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

SECONDS: Final = (1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
"""Upper ends of the buckets of how long rounds took."""
REASONS: Final = 40
"""Different ones that are counted apart, of connections that were refused and of limits; the others are "other"."""
_BODIES: Final = ("hello", "statistics", "delta")


@dataclass
class Tally:
    """Watches events; only ``take`` writes, and only on the thread that decides. Counters in a name's terms.

    Args:
        verdicts: final answers by kind and code; refused: connections by reason; limits: reached, by limit.
        versions: by reason; buckets: rounds by the first of SECONDS they fit in, len(SECONDS) for longer ones.
        round_s: seconds of all rounds together; deltas_bytes: of all deltas that were accepted.
        not_served: versions that the gate kept from devices.
        distrusted: accepted deltas that were not merged, as updates of their devices point away from the others'.
    """

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    limits: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    round_s: float = 0.0
    deltas_bytes: int = 0
    not_served: int = 0
    distrusted: int = 0

    def __call__(self, event: dict[str, Any]) -> None:
        """Take an event."""
        kind = str(event["event"])
        if kind in _BODIES:
            code = str(event.get("code") or "ACCEPTED")
            self.verdicts[kind, code] += 1
            self.deltas_bytes += int(event.get("bytes", 0)) if (kind, code) == ("delta", "ACCEPTED") else 0
        elif kind in ("refused", "limit"):
            _count(self.refused if kind == "refused" else self.limits, str(event["reason"]), int(event["times"]))
        elif kind == "limited":
            _count(self.limits, str(event["limit"]), 1)
        elif kind == "distrusted":
            self.distrusted += 1
        elif kind == "not_served":
            self.not_served += 1
        elif kind == "version":
            self.versions[str(event["reason"])] += 1
            if "seconds" in event:
                self._round(float(event["seconds"]))

    def _round(self, seconds: float) -> None:
        self.round_s += seconds
        self.buckets[next((place for place, end in enumerate(SECONDS) if seconds <= end), len(SECONDS))] += 1


def _count(counter: Counter[str], reason: str, times: int) -> None:
    known = reason in counter or len(counter) < REASONS
    counter[reason if known else "other"] += times
