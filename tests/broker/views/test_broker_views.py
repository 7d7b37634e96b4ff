"""Views of a state: what they say of a small history whose every number is known."""

from __future__ import annotations

import os
import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.state.gateway_facts import GatewayFacts
from broker_server.state.ledger import NAME
from broker_server.views.devices import read_devices
from broker_server.views.disk import disk
from broker_server.views.reading import reading
from broker_server.views.rounds import read_rounds
from broker_server.views.status import read_status
from broker_server.views.versions import read_versions
from broker_server.views.wording import ago, duration, size

BANK = sum(4 * tiny.SHAPE.size(block) for block in tiny.SHAPE.ids())


@pytest.fixture
def gateway(tmp_path: Path) -> Any:
    """Return a gateway in whose first round a and b had deltas accepted and c's was refused; a second is open."""
    gateway = Gateway(tmp_path / "state", tiny.make_package(tmp_path / "package"), rounds=3)
    gateway.hello("a", "b", "c")
    gateway.tick()
    gateway.train("a")
    gateway.train("c", value=float("nan"))
    gateway.train("b")
    gateway.tick()
    gateway.tick()
    gateway.train("a")
    gateway.reception.write_traffic(20.0)
    yield gateway
    gateway.close()


def test_status_says_what_the_gateway_knows(gateway: Gateway, tmp_path: Path) -> None:
    """Version 1 of round 1; in round 2 a has answered and b is waited for; one refusal, counted for good."""
    store = gateway.store
    GatewayFacts(5.0, "mqtt://127.0.0.1:1883", 2, 3).keep(store.ledger)
    store.ledger.keep_evaluation(1, "held.csv", (0.75, 0.5, 4), 8.0)
    store.ledger.keep_evaluation(0, "held.csv", (0.25, 0.25, 4), 9.0)
    os.utime(tmp_path / "state" / "lock", (30.0, 30.0))
    with reading(tmp_path / "state") as ledger:
        status = read_status(ledger, 40.0)
        assert (status.gateway, status.version, status.devices, status.here) == ("running", 1, 3, 3)
        assert read_status(ledger, 90.0).gateway == "stuck"
    assert status.evaluation is not None
    assert (status.evaluation.version, status.evaluation.figure, status.evaluation.value) == (1, "accuracy", 0.75)
    assert status.verdicts == {"ACCEPTED": 3, "NOT_FINITE": 1}
    assert (status.accepted, status.refusals) == (3, {"NOT_FINITE": 1})
    assert (status.round.number, status.round.open, status.round.answered) == (2, True, ("a",))
    assert set(status.round.awaited) == set(status.round.planned) - {"a"}
    plain = status.plain()
    assert (plain["alive"], plain["started"]) == ("1970-01-01T00:00:30Z", "1970-01-01T00:00:05Z")
    assert plain["bytes_up"] == sum(row["bytes_up"] for row in store.ledger.devices()) > 0


def test_status_of_a_stopped_gateway(gateway: Gateway, tmp_path: Path) -> None:
    """Nobody is here any more, whatever the ledger's rows say; what was counted stays."""
    gateway.close()
    with reading(tmp_path / "state") as ledger:
        status = read_status(ledger, 40.0)
    assert (status.gateway, status.works, status.here, status.accepted) == ("stopped", False, 0, 3)


def test_rounds_say_what_came_of_them(gateway: Gateway, tmp_path: Path) -> None:
    """Two of three deltas, then one so far; the reason is the journal's, which may be damaged or gone."""
    rows = gateway.store.ledger.deltas(1)
    with reading(tmp_path / "state") as ledger:
        rounds = read_rounds(ledger)
        first, second = rounds.rows
        assert (rounds.total, first.number, first.planned, first.accepted, first.version) == (2, 1, 3, 2, 1)
        assert first.plain()["bytes_deltas"] == sum(row.bytes for row in rows)
        assert first.reason in ("all in", "expected in", "deadline")
        assert (second.accepted, second.version, second.closed_at, second.reason) == (1, None, None, "")
        assert second.seconds(second.opened_at + 7.0) == 7.0
        assert [row.number for row in read_rounds(ledger, 1).rows] == [2]
        journal = tmp_path / "state" / "journal.jsonl"
        journal.write_bytes(b'{"round": 1\n\xff\n[]\n{"round": "x"}\n')
        assert [row.reason for row in read_rounds(ledger).rows] == ["", ""]
        journal.unlink()
        assert read_rounds(ledger).rows[0].accepted == 2


def test_devices_say_who_they_are_and_what_became_of_their_deltas(gateway: Gateway, tmp_path: Path) -> None:
    """By name; the table is of those seen last, and its total of all."""
    gateway.store.ledger.revoke("c", revoked=True)
    with reading(tmp_path / "state") as ledger:
        devices = read_devices(ledger)
        a, b, c = devices.rows
        assert [(one.name, one.state, one.accepted, one.refusals) for one in (a, b, c)] == [
            ("a", "here", 2, {}), ("b", "here", 1, {}), ("c", "revoked", 0, {"NOT_FINITE": 1}),
        ]  # fmt: skip
        assert (a.profile, a.step_ms, a.blocks_trained) == ("tiny", 3.0, 6)
        assert a.bytes_up > b.bytes_up > 0
        assert [one.name for one in read_devices(ledger, names=["c", "zed"]).rows] == ["c"]
        few = read_devices(ledger, newest=2)
        assert (few.total, len(few.rows)) == (3, 2)


def test_versions_say_how_much_a_device_fetches(gateway: Gateway, tmp_path: Path) -> None:
    """The first has no parent; the merge changed what was trained, and less than the whole bank."""
    with reading(tmp_path / "state") as ledger:
        versions = read_versions(ledger)
        initial, merge = versions.rows
        assert (versions.total, versions.bank_bytes, versions.figure) == (2, BANK, "accuracy")
        assert (initial.parent, initial.changed_bytes, initial.reason) == (None, None, "initial")
        assert (merge.parent, merge.reason, merge.contributors, merge.round) == (0, "merge", 2, 1)
        before, after = (gateway.store.lineage.load(number)[1].digests() for number in (0, 1))
        changed = [block for block in before if before[block] != after[block]]
        assert merge.changed_blocks == len(changed) > 0
        assert merge.changed_bytes == sum(4 * tiny.SHAPE.size(block) for block in changed) < BANK
        assert read_versions(ledger, 1).rows == (merge,)


def test_a_ledger_of_an_older_gateway_is_read_as_it_is(gateway: Gateway, tmp_path: Path) -> None:
    """Schema 2 counts neither limits nor verdicts: nothing is told of them, and all else is."""
    gateway.close()
    database = sqlite3.connect(tmp_path / "state" / NAME)
    database.executescript(
        "DROP TABLE verdict_counts; DROP TABLE limit_hits; ALTER TABLE versions DROP COLUMN residuals; "
        "ALTER TABLE versions DROP COLUMN server; "
        "UPDATE meta SET value = '2' WHERE key = 'schema'"
    )
    database.close()
    with reading(tmp_path / "state") as ledger:
        status = read_status(ledger, 40.0)
        assert (status.version, status.verdicts, status.limits, status.facts) == (1, {}, {}, None)
        assert [row.accepted for row in read_devices(ledger).rows] == [0, 0, 0]


def test_what_was_decided_before_is_counted_at_the_upgrade(gateway: Gateway, tmp_path: Path) -> None:
    """Schema 3 kept the last verdicts: they are where counting begins."""
    gateway.close()
    database = sqlite3.connect(tmp_path / "state" / NAME)
    database.executescript(
        "DROP TABLE verdict_counts; ALTER TABLE versions DROP COLUMN residuals; "
        "ALTER TABLE versions DROP COLUMN server; "
        "UPDATE meta SET value = '3' WHERE key = 'schema'"
    )
    database.close()
    Gateway(tmp_path / "state", gateway.package).close()
    with reading(tmp_path / "state") as ledger:
        assert ledger.verdicts() == {"ACCEPTED": 3, "NOT_FINITE": 1}


def test_a_forgotten_name_keeps_its_refusals_in_the_total(gateway: Gateway, tmp_path: Path) -> None:
    """A total that went down would look like a counter that was set to nought."""
    ledger = gateway.store.ledger
    ledger.leave()
    assert ledger.forget_idle(0) == (["c"], 0)
    with reading(tmp_path / "state") as readings:
        assert readings.verdicts("c") == {}
        assert readings.verdicts() == {"ACCEPTED": 3, "NOT_FINITE": 1}


def test_disk_counts_what_files_take(tmp_path: Path) -> None:
    """A file of one byte takes a block; a link counts as itself, not as what it leads to."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_bytes(b"x" * 100_000)
    (tmp_path / "link").symlink_to("/")
    used = disk(tmp_path)
    assert 100_000 <= used.used < 120_000
    assert used.free > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (size(999), "999 B"), (size(3_900_000), "3.9 MB"), (size(158_600_000_000), "158.6 GB"),
        (duration(12.4), "12 s"), (duration(119), "119 s"), (duration(120), "2 min"), (duration(7_200), "2 h"),
        (duration(172_800), "2 d"), (duration(-3), "0 s"), (ago(88.0, 100.0), "12 s ago"), (ago(0.0, 100.0), "never"),
    ],
)  # fmt: skip
def test_words_for_people(text: str, expected: str) -> None:
    """Sizes in steps of 10^3, times in their largest unit."""
    assert text == expected


@pytest.mark.usefixtures("gateway")
def test_no_view_reads_a_history_to_its_end(tmp_path: Path) -> None:
    """SQLite's own plan of every statement: what grows with time is searched by an index, or read from its end."""
    statements: set[str] = set()
    with reading(tmp_path / "state") as ledger:
        ledger._db.set_trace_callback(statements.add)
        read_status(ledger, 40.0)
        read_rounds(ledger)
        read_devices(ledger)
        read_versions(ledger)
        ledger._db.set_trace_callback(None)
        statements -= {"SELECT COUNT(*) AS number FROM " + table for table in ("rounds", "versions", "devices")}  # noqa: S608
        plans = {one: [row["detail"] for row in ledger._db.execute(f"EXPLAIN QUERY PLAN {one}")] for one in statements}
        slow = "SELECT COUNT(*) FROM deltas WHERE bytes > 3"  # the test can fail
        plans[slow] = [row["detail"] for row in ledger._db.execute(f"EXPLAIN QUERY PLAN {slow}")]
    assert len(plans) > 20
    grows = re.compile(r"SCAN (deltas|plans|verdicts|trained|evaluations|text_evaluations|rounds|versions)\b")
    scanned = {one: plan for one, plan in plans.items() if any(map(grows.match, plan))}
    whole = {one for one, plan in scanned.items() if " LIMIT " not in one or "USE TEMP B-TREE FOR ORDER BY" in plan}
    assert whole == {slow}
