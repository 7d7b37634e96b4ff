"""What a gateway needs by the number of devices is computed from unit costs; each has its command beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import record
from benchmarks.fleet.__main__ import main
from benchmarks.fleet.costs import connections, measuring, page, units
from benchmarks.fleet.costs.sizing import HEADROOM, Sizing, gateways, loads, needs, shards
from benchmarks.fleet.simulated.assumed import Assumed

NAMES = (
    "hello_ms", "want_ms", "wants", "delta_ms", "serving_ms", "looking_ms", "version_bytes", "version_mb", "plan_us",
    "look_us", "coverage_us", "member_bytes", "tls_bytes", "tls_ms", "known_bytes", "rows_bytes", "sums_bytes",
    "sums_us", "group_ms", "down_us", "up_us", "delta_bytes", "start_mib", "fold_gb_s", "fold_threads",
)  # fmt: skip
ONE = Sizing(
    rounds_a_day=24, share=0.1, labels=2, keep_versions=10, deadline_s=100.0, restart_s=50.0,
    fleet=Assumed(here_least=0.25, here_most=0.5, session_s=3600.0),
    cores=4, memory_gb=8.0, disk_gb=10.0, line_mbit=80.0, files=2000,
)  # fmt: skip
WHERE = {"command": "python -m it", "date": "2026-11-29", "machine": "one", "commit": "abc"}


def costs(**values: float) -> dict[str, float]:
    """Return unit costs of nothing but these; folding is fast."""
    return {**dict.fromkeys(NAMES, 0.0), "fold_gb_s": 1000.0, "fold_threads": 1.0, **values}


def test_what_one_gateway_needs_is_computed_by_hand() -> None:
    """A thousand devices, 500 connected, 100 in a round every hour; 500 of 1,000 sessions begin in an hour."""
    # 2 requests each of those that hear of a version and of those that come: 2 x (500 + 500) x 1.8 ms in 3,600 s
    assert needs(1000, costs(wants=2.0, want_ms=1.8), ONE).deciding == pytest.approx(0.001)
    assert needs(1000, costs(delta_ms=36.0), ONE).deciding == pytest.approx(0.001)
    assert needs(1000, costs(hello_ms=7.2), ONE).deciding == pytest.approx(0.001)
    assert needs(1000, costs(looking_ms=4.0), ONE).deciding == pytest.approx(0.002)
    assert needs(1000, costs(sums_us=180.0), ONE).deciding == pytest.approx(1e-4)
    assert needs(1000, costs(tls_ms=72.0), ONE).broker == pytest.approx(0.01)
    assert needs(1000, costs(tls_ms=72.0), ONE).restart_s == pytest.approx(36.0)
    one = needs(1000, costs(delta_bytes=1e6, version_bytes=1e6, down_us=720.0, fold_gb_s=0.1, fold_threads=2), ONE)
    assert (one.connected, one.cohort) == (500, 100)
    assert one.up_mbit == pytest.approx(8.0)  # 100 MB in 100 s
    assert one.down_mbit == pytest.approx(500 * 8 / 3600)
    assert one.broker == pytest.approx(500 * 720e-6 / 3600)
    assert one.folding_s == pytest.approx(2.0)
    assert one.spool_gb == pytest.approx(0.2)
    assert one.sending_s == pytest.approx(10.0)  # 500 MB at 50 MB/s
    assert needs(1000, costs(known_bytes=1e6, sums_bytes=1e5, rows_bytes=1e5), ONE).ledger_gb == pytest.approx(1.3)
    assert needs(1000, costs(member_bytes=1e6, tls_bytes=2e6, sums_bytes=1e6), ONE).memory_gb == pytest.approx(
        4.2, abs=0.01
    )
    assert needs(1000, costs(version_mb=100.0), ONE).versions_gb == pytest.approx(1.0)
    assert needs(1000, costs(group_ms=1600.0), ONE).syncs == pytest.approx(0.1)


def test_the_part_that_is_loaded_most_breaks_first_and_decides_how_many_gateways() -> None:
    """Of 2,000 open files a thousand devices take 500; 10,000 take 5,000, which four gateways can hold at 70 %."""
    cost = costs(delta_bytes=1e5)
    load = loads(needs(1000, cost, ONE), ONE)
    assert load["open files"] == 0.25
    assert max(load, key=lambda part: load[part]) == "open files"
    assert gateways(1000, cost, ONE) == 1
    count = gateways(10_000, cost, ONE)
    assert count == 4
    assert (
        loads(needs(2500, cost, ONE), ONE)["open files"] <= HEADROOM < loads(needs(3334, cost, ONE), ONE)["open files"]
    )
    # What does not grow with devices cannot be shared out: it ends at one device each.
    assert gateways(10, costs(version_mb=1e6), ONE) == 10


def test_shards_fold_in_a_tenth_of_the_deadline() -> None:
    """25 core seconds and 10 s for them: three shards, each with a third of the bytes."""
    count, each = shards(needs(1000, costs(delta_bytes=1e6, fold_gb_s=0.004), ONE), ONE)
    assert count == 3
    assert (each.folding_s, each.spool_gb, each.mbit) == pytest.approx((25 / 3, 0.2 / 3, 8 / 3))


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.00234, "0.0023"), (1.26, "1.3"), (42.4, "42"), (1234.5, "1,234"), (0.1, "0.10")]
)
def test_numbers_have_two_digits_that_count(value: float, text: str) -> None:
    """And all of those before the point."""
    assert page.number(value) == text


def test_unit_costs_are_measured_and_stand_in_the_table_with_their_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's line and those of the other benchmarks make the table; without one of them there is none."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    for module in (measuring, connections):  # fresh processes make memory exact, which is not looked at here
        monkeypatch.setattr(module, "apart", lambda work, *args: work(*args))
    options = ["--devices", "50", "--connections", "5", "--delta-kb", "20", "--out", str(tmp_path / "run")]
    assert main(["--unit-costs", *options, "--json", "--record"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["delta_bytes"] == pytest.approx(20_000, rel=0.15)
    assert min(told["known_bytes"], told["trained_us"], told["group_of_16_ms"], told["tls_connect_ms"]) > 0
    (line,) = record.read(units.NAME)
    assert line["command"].startswith("python -m benchmarks.fleet --unit-costs --devices 50")
    records: dict[str, Any] = {
        units.NAME: [line], units.SIMULATED: [simulated(10), simulated(1000), simulated(100)],
        "broker": [WHERE | {"profile": False, "down_us_per_mb": 700, "up_us_per_mb": 600}],
        "fleet": [
            WHERE | {"broker": "embedded", "delta_kb": 100, "devices": 1000, "before": before, "delta_bytes": 1e5,
                     "memory_mib": {"start": 99.0}}
            for before in (False, True)
        ],
        "fold": [WHERE | {"topk": False, "fold_gb_s": 0.7, "threads": 2}],
    }  # fmt: skip
    text = page.section(records)
    rows = text.splitlines()
    assert "| a Hello, and its Bye | 3.0 ms of the thread that decides | `python -m it 1000`" in text
    assert sum("`python -m " in row for row in rows) == len(NAMES)
    assert sum(row.startswith("| **breaks first** |") for row in rows) == 1
    assert set(units.read(records)) == set(NAMES)
    for missing in records:
        assert page.section({name: lines for name, lines in records.items() if name != missing}) == ""


def simulated(devices: int) -> dict[str, Any]:
    """Return a line of a simulated fleet in which 10 Hellos took 20 ms, 10 Byes 10 ms."""
    return WHERE | {
        "command": f"python -m it {devices}", "devices": devices, "sessions": 10, "rounds_done": 2,
        "by_round": [{"here": 5}, {"here": 5}], "verdicts": {"ACCEPTED": 4},
        "gateway": {
            "cpu_s_by": {"hello": 0.02, "bye": 0.01, "want": 0.1, "offer": 0.1, "delta": 0.1, "decide": 0.1,
                         "reception": 0.1, "look": 0.1},
            "times": {"hello": 10, "want": 20, "look": 10},
            "version_bytes": {"message": 1000, "updates": 2000}, "folders_mb": {"blobs": 2.0},
        },
    }  # fmt: skip
