"""Tables and verdicts: the figures that a reader sees, computed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks.federation import tables, verdicts
from benchmarks.federation.figures import Cell, Curve, Run

SKEWED, EVEN = Cell("trec", "dirichlet:0.1", 2), Cell("trec", "iid", 2)


def run(arm: str, test: Sequence[float], cell: Cell = SKEWED, seed: int = 0, wall_s: float = 1.0) -> Run:
    """Return a run whose rounds take 2 MB a device and as many seconds as asked."""
    rounds = len(test) - 1
    curve = Curve(tuple(test), tuple(test), (1e6,) * rounds, (3e6,) * rounds, (6.0,) * rounds, (wall_s,) * rounds)
    return Run("grid", cell, arm, seed, curve, own=(0.5, 0.7), trained=((1.0, 3.0),))


RUNS = [
    *(run("ours", (0.5, 0.85, last), seed=seed) for seed, last in ((0, 0.80), (1, 0.90), (2, 0.85))),
    *(run("hetlora", (0.5, 0.6, last), seed=seed) for seed, last in ((0, 0.79), (1, 0.86), (2, 0.81))),
    *(run("adapter_dense", (0.5, 0.7, 0.8), seed=seed, wall_s=5.0) for seed in (0, 1, 2)),
    run("ours", (0.5, 0.9, 0.93), EVEN),
    run("hetlora", (0.5, 0.9, 0.94), EVEN),
]


def line(table: str, start: str) -> list[str]:
    """Return the cells of the row that begins with a word."""
    row = next(row for row in table.splitlines() if row.startswith(f"| {start} |"))
    return [each.strip() for each in row.strip("|").split("|")]


def test_the_last_accuracy_stands_with_its_deviation_and_the_best_beside_it() -> None:
    """80, 90 and 85 are 85 ± 5; the best rounds 85, 90 and 85 have a mean of 86.7; one seed is said to be one."""
    assert line(tables.quality(RUNS), "ours") == ["ours", "85.0 ± 5.0 (86.7)", "93.0, one seed (93.0)"]
    assert line(tables.quality(RUNS), "adapter_dense")[2] == "-"


def test_differences_are_of_pairs_and_the_worst_cell_is_named() -> None:
    """+1, +4 and +4 points are +3.0 ± 1.7; in the even cell -1; the mean of both cells +1."""
    assert line(tables.differences(RUNS), "hetlora") == [
        "hetlora",
        "+3.0 ± 1.7",
        "-1.0, one seed",
        "+3.0",
        "+1.0",
        "-1.0",
    ]


def test_costs_are_to_what_the_dense_adapter_reaches() -> None:
    """Ours is above 0.8 after the first of its rounds of a second; dense takes ten seconds for its two."""
    cells = line(tables.costs(RUNS), "ours")
    assert cells[1:7] == ["3 of 3", "1.0", "2.0", "6.0", "1.0", "0.10"]
    assert line(tables.costs(RUNS), "hetlora")[1:4] == ["2 of 3", "2.0", "4.0"]


def test_clients_and_their_experts() -> None:
    """Mean, worst decile and worst client of 50 and 70; trainings of 1 and 3 vary by a half."""
    assert line(tables.clients(RUNS), "ours")[1:] == ["60.0", "50.0", "50.0", "0.50", "0.0", "4"]


def test_ways_to_be_personal_stand_one_below_the_other() -> None:
    """Accuracy on a client's own labels, and what the same models are worth on all."""
    one = Run("personal", SKEWED, "ours", 0, RUNS[0].curve, personal={"prior": (0.9, 0.8)}, everybody={"prior": 0.5})
    assert tables.personal([one]).splitlines()[2].split("|")[3:7] == [
        " prior ", " 85.0, one seed ", " 80.0, one seed ", " 50.0, one seed ",
    ]  # fmt: skip


def test_verdicts_say_what_was_reached_and_what_was_not() -> None:
    """A tenth of the wall clock and +3 points are reached; a cell that is behind by a point is not."""
    wall, nearly, level, margin, behind = verdicts.of_time(RUNS)
    assert (wall.reached, wall.seen) == (True, "0.10 in the mean; 3 of 3 runs got there")
    assert (nearly.reached, nearly.claim) == (
        True,
        wall.claim.replace("adapter_dense", "adapter_dense less 0.5 points"),
    )
    assert (level.reached, level.seen) == (
        True,
        "+5.00 points at 0.20 of its wall clock, 1.00 of its device-seconds",
    )
    assert (margin.reached, margin.seen) == (
        True,
        "+3.00 points over hetlora (adapter_dense, which ignores all limits: -2.00 points)",
    )
    assert (behind.reached, behind.seen) == (False, "-1.00 points to hetlora (trec, iid, 2 clients)")
    assert line(verdicts.shown([behind]), behind.claim)[3] == "**no**"
    with pytest.raises(ValueError, match="no runs of adapter_dense"):
        verdicts.of_time([one for one in RUNS if one.arm != "adapter_dense"])


def test_a_rival_of_some_cells_is_not_compared_over_all() -> None:
    """It would be the nearest, in the one cell that it ran in."""
    partial = [*RUNS, run("flora", (0.5, 0.93, 0.93), EVEN)]
    assert "flora" not in verdicts.shown(verdicts.of_time(partial))


def test_equal_bytes_have_a_limit_of_their_own() -> None:
    """-1 point is beyond -0.3 at equal bytes."""
    runs = [run("ours", (0.5, 0.80)), run("adapter_dense", (0.5, 0.81))]
    assert [one.reached for one in verdicts.of_bytes(runs)] == [False]


def test_attacks_are_held_against_the_same_cell_without_liars() -> None:
    """Robust merging loses a point of 80, merging without it forty; a cell without a clean run says nothing."""
    flipped = Cell("trec", "dirichlet:0.1", 2, "drop 0.1, 0.2 lie by -1")
    calm = Cell("trec", "dirichlet:0.1", 2, "drop 0.1")
    runs = [run("ours", (0.5, 0.80), calm), run("robust", (0.5, 0.79), flipped), run("ours", (0.5, 0.40), flipped)]
    runs.append(run("robust", (0.5, 0.1), Cell("sst2", "iid", 2, "0.2 lie by -1")))
    assert [(one.claim, one.reached) for one in verdicts.of_attacks(runs)] == [
        ("robust, 0.2 lie by -1, against ours without liars", True),
        ("ours, 0.2 lie by -1, against ours without liars", False),
    ]
