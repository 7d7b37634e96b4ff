"""benchmarks.fleet measures a real gateway: its deltas are deltas, its lies are refused, what it counts is right."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from pathlib import Path

import pytest

from benchmarks.fleet import kept, page
from benchmarks.fleet.__main__ import loads, main, parse
from benchmarks.fleet.bodies import Bodies, Body, Lie
from benchmarks.fleet.driver import busy_rate, percentiles
from benchmarks.fleet.packaged import shape_for
from broker_server.rules.admission import DeltaContext, Identity, admit
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Assembler
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.messages import decode, encode, refs

SHAPE = shape_for(100)
PLAN = pb.Plan(
    device="light-00000", round=1, base_version=0, version_digest=b"v" * 32, train=refs(SHAPE.ids()[:2]), steps=10,
    learning_rate=0.004, deadline_s=60.0, codec=pb.INT8,
)  # fmt: skip
DIGEST = sha256(encode(PLAN))


def assembled(body: Body) -> bytes:
    """Return a body as its chunks make it."""
    assembler, bytes_ = Assembler(), None
    for index in range(body.count):
        bytes_ = assembler.add("light-00000", decode(pb.Chunk, body.chunk(index)))
    assert bytes_ is not None
    return bytes_


def admitted(body: Body) -> float:
    """Return the examples of a delta that admission takes."""
    delta = decode(pb.Delta, assembled(body))
    plan = PLAN if delta.plan_digest == DIGEST else None
    context = DeltaContext(Identity(PLAN.device, joined=True), plan, None, 0, 2, SHAPE, {})
    return admit(delta, body.digest, context).contribution.examples


def test_a_light_devices_delta_is_admitted_and_as_large_as_it_says() -> None:
    """Its pieces, one behind the other, are one message; another number makes another body of the same plan."""
    bodies = Bodies(SHAPE, 1)
    first, second = bodies.delta(PLAN, DIGEST, 1), bodies.delta(PLAN, DIGEST, 2)
    assert admitted(first) == 100
    assert len(assembled(first)) == first.size
    assert first.digest != second.digest


@pytest.mark.parametrize(
    ("lie", "code"), [(Lie.DIGEST, pb.DIGEST_MISMATCH), (Lie.VALUES, pb.NOT_FINITE), (Lie.PLAN, pb.UNKNOWN_PLAN)]
)
def test_a_lie_is_refused_for_what_it_is(lie: Lie, code: pb.Code) -> None:
    """Each lie costs the gateway another of its checks."""
    with pytest.raises(WireError) as refused:
        admitted(Bodies(SHAPE, 1).delta(PLAN, DIGEST, 1, lie))
    assert refused.value.code == code


@pytest.mark.parametrize("delta_kb", [100, 820])
def test_a_plans_delta_has_the_size_that_was_asked_for(delta_kb: int) -> None:
    """Two int8 experts in each of six layers, within 3 per cent."""
    shape = shape_for(delta_kb)
    assert 2 * 6 * shape.expert_size * (1 + 4 / 64) == pytest.approx(1000 * delta_kb, rel=0.03)


def test_the_rate_is_that_of_the_middle_of_each_round() -> None:
    """Two rounds of 20 deltas, one a second and two a second: 17 intervals of each count, whatever lies between."""
    slow = [(1, 100.0 + place) for place in range(20)]
    fast = [(2, 900.0 + place / 2) for place in range(20)]
    assert busy_rate([*fast, *slow]) == pytest.approx(2 * 17 / (17 + 8.5))
    assert busy_rate([]) == 0.0


def test_percentiles_are_milliseconds() -> None:
    """Of 1 to 101 seconds the middle is 51, and the last but one of a hundred steps 100."""
    assert percentiles([float(second) for second in range(1, 102)]) == {"p50": 51e3, "p99": 100e3, "most": 101e3}


def test_what_the_state_lacks_or_has_twice_is_found(tmp_path: Path) -> None:
    """Of four digests one is missing, one is in two versions, one waits, and one nobody was told of."""
    ledger = sqlite3.connect(tmp_path / "ledger.sqlite3")
    ledger.execute("CREATE TABLE deltas (digest BLOB, version INTEGER)")
    ledger.execute("CREATE TABLE versions (version INTEGER)")
    ledger.execute("INSERT INTO versions VALUES (2)")
    ledger.executemany("INSERT INTO deltas VALUES (?, ?)", [(b"a", 1), (b"b", None), (b"c", 2)])
    ledger.commit()
    ledger.close()
    (tmp_path / "versions").mkdir()
    for number in (1, 2):
        (tmp_path / "versions" / f"{number:08d}").write_text(json.dumps({"deltas": [{"digest": b"a".hex()}]}))
    state = kept.look(tmp_path, [b"a", b"b", b"d"])
    assert dataclasses.asdict(state) == {
        "accepted": 3, "lost": 1, "twice": 1, "merged": 2, "waiting": 1, "untold": 1, "versions": 2,
    }  # fmt: skip
    assert not state.right


def test_the_table_has_each_load_before_and_after() -> None:
    """Five loads through two brokers; only this checkout's gateway is offered bodies."""
    here = Path(__file__).parent.parent.parent
    runs = loads(parse(["--table", "--gateway-tree", str(here)]))
    assert [(run.tree is None, run.offers) for run in runs] == [(False, False), (True, True)] * 10
    assert {(run.broker, run.delta_kb, run.devices) for run in runs[::2]} == {
        (run.broker, run.delta_kb, run.devices) for run in runs[1::2]
    }
    assert [run.tree for run in loads(parse(["--table"]))] == [None] * 10


def test_a_small_fleet_loses_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four devices past capacity misbehave three times in ten; each accepted delta counts once all the same."""
    options = ["--devices", "4", "--seconds", "1", "--delta-kb", "20", "--unruly", "30", "--fetch", "50", "--json"]
    assert main([*options, "--past-capacity", "--out", str(tmp_path / "fleet")]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["joined"] == 4
    assert figures["accepted"] > 0
    assert figures["kept"]["right"]
    assert figures["blocks_asked"] == 2 * (6 * 9 + 2)
    assert figures["unanswered"] == 0
    kept_line = {"command": "c", "date": "d", "machine": "m", "commit": "x"} | figures
    before = kept_line | {"before": True, "join_s": 12.0, "kept": {**figures["kept"], "lost": 3}}
    row = next(line for line in page.section([before, kept_line]).splitlines() if line.startswith("| embedded"))
    assert row.startswith(f"| embedded, 20 kB, 4 devices, past capacity | 12.0 → {figures['join_s']:.1f} |")
    assert row.endswith("| 3, 0 → 0, 0 |")
