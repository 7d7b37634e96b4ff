"""What may be expected of a device, from the plans that it answered and those that it left without an answer. Pure.

A round waits to its deadline for devices that are *expected*, and for the others a bounded time. Who leaves plans
without an answer is planned for again after a pause that doubles: a name that never answers costs ever less, and a
phone that was asleep is never shut out for good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from broker_server.config_tables import RoundRules

PAUSE_LIMIT_S = 3600.0
DEBT_LIMIT = 16


@dataclass(frozen=True)
class Standing:
    """One device's.

    Args:
        proven: it answered a plan once.
        missed: plans in a row that it left without an answer.
        misses: such plans in all.
        owed: plans that it has to answer before a round waits for it to the deadline again.
        again_at: monotonic seconds; it is not planned for before.
    """

    proven: bool = False
    missed: int = 0
    misses: int = 0
    owed: int = 0
    again_at: float = 0.0

    def expected(self, *, certified: bool) -> bool:
        """Return whether a round waits for it to its deadline.

        Args:
            certified: its name is proven by a certificate, which is as good as an answer.
        """
        return (self.proven or certified) and not self.owed

    def rests(self, now: float) -> bool:
        """Return whether it is left out for now: no plan, no place in the quorum."""
        return now < self.again_at


NEWCOMER = Standing()


def answered(standing: Standing) -> Standing:
    """Return the standing after a delta that its plan asked for, in time or late."""
    return replace(standing, proven=True, missed=0, owed=max(0, standing.owed - 1), again_at=0.0)


def missed(standing: Standing, now: float, rules: RoundRules) -> Standing:
    """Return the standing after a round that closed, or was extended, while the device was here and silent.

    The n-th miss in all costs n answers (``DEBT_LIMIT`` at most), so that answering every other plan does not make
    every other round wait. From ``rules.missed_plans`` misses in a row on it rests for ``rules.deadline_s``, then twice
    as long, up to an hour.
    """
    row, misses = standing.missed + 1, standing.misses + 1
    pause = 0.0
    if rules.missed_plans and row >= rules.missed_plans:
        pause = min(PAUSE_LIMIT_S, rules.deadline_s * 2.0 ** min(row - rules.missed_plans, 30))
    owed = min(DEBT_LIMIT, misses)
    return replace(standing, missed=row, misses=misses, owed=owed, again_at=now + pause if pause else 0.0)
