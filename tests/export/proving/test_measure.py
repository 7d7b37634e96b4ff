"""How long a step takes: what else kept the machine busy, several calls after one another, and how it is told."""

from __future__ import annotations

import pytest

from edge_runtime.wire.manifest import Cost, Tier
from export.proving.measure import Timing, other_cores
from export.report.report import measured_line


@pytest.mark.parametrize(
    ("busy", "own", "wall", "cores"),
    [(6.0, 4.0, 4.0, 0.5), (4.0, 4.0, 2.0, 0.0), (3.9, 4.0, 2.0, 0.0), (1.0, 0.0, 0.0, 0.0)],
    ids=["half a core", "alone", "clocks that tick apart", "no time"],
)
def test_other_work_is_what_processors_did_beside_the_measured_process(
    busy: float, own: float, wall: float, cores: float
) -> None:
    """6 s of work in 4 s, 4 of them its own: others kept (6 - 4) / 4 cores busy."""
    assert other_cores(busy, own, wall) == cores


def test_a_step_in_micro_batches_takes_its_calls_and_the_optimizer() -> None:
    """Four calls of 10 ms and one of 3; the busier of the two measurements counts."""
    one = Timing(10.0, 9.0, 12.0, 2, 0.1).then(Timing(3.0, 2.0, 5.0, 2, 0.4), times=4)
    assert one == Timing(43.0, 38.0, 53.0, 2, 0.4)


def _tier(other_cores: float) -> Tier:
    timing = {"median_ms": 81.0, "least_ms": 79.5, "most_ms": 84.25, "threads": 2.0, "other_cores": other_cores}
    cost = Cost(100.0, 81.0, 1.0, 1, 1)
    return Tier("train_m1_f1_s8_r2_b2", 1, 1, 8, 2, 2, 2, cost, cost, timing=timing)


def test_a_measured_time_comes_with_its_spread() -> None:
    """Median, fastest, slowest and the threads."""
    line = "measured here: a step of train_m1_f1_s8_r2_b2 81.0 ms (median; 79.5 to 84.2), alone, 2 threads"
    assert measured_line(_tier(0.1)) == line


def test_a_time_of_a_busy_machine_is_doubted() -> None:
    """Whoever reads it learns why a device, or a second build, may be faster."""
    assert measured_line(_tier(1.5)).endswith(
        "; other work kept 1.5 cores busy meanwhile: build again on a quiet machine"
    )
