"""Unit costs of the real ledger, spool, roster and planner, measured apart. Axes: N devices, one delta each."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.fleet import usage
from benchmarks.fleet.bodies import EXAMPLES, Bodies
from benchmarks.fleet.load import NAME
from benchmarks.fleet.packaged import SLOTS, make_package, shape_for
from broker_server.rounds.roster import Roster
from broker_server.rules import round as rules
from broker_server.rules.planner import Budget, Coverage, RoundRequest, plan_round
from broker_server.state.ledger import NAME as LEDGER
from broker_server.state.rows import DeltaRow
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import encode, ids, refs

TOGETHER: Final = 1000
"""Hellos in a transaction: those of a second."""
GROUP: Final = 16
"""Deltas that are decided together, as at some hundreds a second."""
GROUPS: Final = (1, GROUP)
SYNCS: Final = 10
"""Groups of each size that are written durably."""
WALL: Final = 1.7e9
Tell = Callable[[str], None]


def measure(folder: Path, devices: int, delta_kb: int, tell: Tell) -> dict[str, Any]:
    """Return unit costs.

    Args:
        folder: empty; on the disk whose speed is wanted.
        devices: N.
        delta_kb: thousands of bytes of a delta, roughly.
        tell: is told what happens.
    """
    shape = shape_for(delta_kb)
    package = make_package(folder / "package", shape)
    store = Store.open(folder / "state", package, WALL)
    try:
        hellos = [hello(package, number) for number in range(devices)]
        tell(f"{devices:,} devices in the ledger")
        figures = {**_devices(store, hellos), **_deltas(store, hellos, shape), **_sums(store, hellos, shape)}
        tell("groups of deltas on the disk")
        figures |= _syncs(store, Bodies(shape, 1), shape)
    finally:
        store.close()
    tell(f"{devices:,} devices in memory")
    return {**figures, **apart(memory, [one.SerializeToString() for one in hellos]), **_planning(hellos, shape)}


def apart(work: Callable[..., dict[str, Any]], *args: object) -> dict[str, Any]:
    """Measure in a fresh process: in one that did other things before, new objects fill the room of old ones."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


def hello(package: Package, number: int) -> pb.Hello:
    """Return what a device says of itself, with a budget."""
    return pb.Hello(
        device=NAME.format(number), federation_digest=package.manifest.architecture.digest(),
        package_digest=package.digest, gateway_session=bytes(16), profile="lowend-phone", runtime="none",
        trained_slots=SLOTS, held_slots=2 * SLOTS, batch_size=16, examples=EXAMPLES, codecs=[pb.FLOAT32, pb.INT8],
        step_ms=500.0, bytes_up_per_round=600_000, bytes_down_per_round=4_000_000, seconds_per_round=300.0,
    )  # fmt: skip


@contextmanager
def _cost(store: Store, name: str, count: int, figures: dict[str, Any]) -> Iterator[None]:
    """Count bytes of the ledger and processor time, for each of ``count``."""
    store.ledger.checkpoint()
    path, cpu = store.folder / LEDGER, time.process_time()
    before = path.stat().st_size
    yield
    figures[f"{name}_us"] = round(1e6 * (time.process_time() - cpu) / count, 2)
    store.ledger.checkpoint()
    figures[f"{name}_bytes"] = round((path.stat().st_size - before) / count, 1)


def _devices(store: Store, hellos: Sequence[pb.Hello]) -> dict[str, Any]:
    """Measure what it takes to know a device: its Hello in the ledger."""
    figures: dict[str, Any] = {}
    with _cost(store, "known", len(hellos), figures):
        for begin in range(0, len(hellos), TOGETHER):
            with store.ledger.transaction():
                for one in hellos[begin : begin + TOGETHER]:
                    store.ledger.greet(one, WALL)
    return figures


def _deltas(store: Store, hellos: Sequence[pb.Hello], shape: BankShape) -> dict[str, Any]:
    """Measure an accepted delta's rows: its plan, itself and its verdict; and what stays when they are gone."""
    ledger, figures = store.ledger, dict[str, Any]()
    blocks = [block for block in shape.ids() if not block.shared and block.index < SLOTS][: SLOTS * len(shape.layers)]
    plans = {one.device: encode(_plan(one.device, shape)) for one in hellos}
    rows = [
        DeltaRow(one.device, 1, sha256(one.device.encode()), 100_000, 100, 1.0, 0.5, 20.0, {"expert": 1.0}, (*blocks,))
        for one in hellos
    ]
    with _cost(store, "delta_rows", len(hellos), figures):
        with ledger.transaction():
            ledger.open_round(1, 0, plans, WALL)
        for begin in range(0, len(rows), GROUP):
            with ledger.transaction():
                for row in rows[begin : begin + GROUP]:
                    ledger.accept(row, WALL)
                    ledger.decide(
                        pb.Verdict(kind=pb.DELTA, digest=row.digest, code=pb.ACCEPTED, round=1), row.device, WALL
                    )
    with _cost(store, "trained", len(hellos), figures), ledger.transaction():
        ledger.fold(rows, 1)
    began = time.process_time()
    ledger.trainers_by_block()
    figures["coverage_us_per_device"] = round(1e6 * (time.process_time() - began) / len(hellos), 3)
    return figures


def _plan(device: str, shape: BankShape) -> pb.Plan:
    train = [block for block in shape.ids() if not block.shared and block.index < SLOTS]
    return pb.Plan(
        device=device, round=1, base_version=0, version_digest=bytes(32), train=refs(train), steps=30,
        learning_rate=0.004, seed=1, deadline_s=600.0, codec=pb.INT8,
    )  # fmt: skip


def _sums(store: Store, hellos: Sequence[pb.Hello], shape: BankShape) -> dict[str, Any]:
    """Measure class sums of a device, by label, and the reading of all."""
    some, figures = hellos[: max(1, len(hellos) // 10)], dict[str, Any]()
    counts, sums = bytes(4 * shape.labels), bytes(4 * shape.labels * shape.width)
    with _cost(store, "class_sums", len(some), figures), store.ledger.transaction():
        for one in some:
            statistics = pb.ClassStatistics(device=one.device, counts=counts, sums=sums, width=shape.width)
            store.ledger.keep_statistics(statistics, sha256(one.device.encode()), WALL)
    began = time.process_time()
    assert len(store.ledger.statistics()) == len(some)  # noqa: S101 - of ours
    read_us = 1e6 * (time.process_time() - began) / len(some)
    figures["class_sums_read_us_per_label"] = round(read_us / shape.labels, 2)
    figures["class_sums_bytes_per_label"] = round(figures.pop("class_sums_bytes") / shape.labels, 1)
    return figures


def _syncs(store: Store, bodies: Bodies, shape: BankShape) -> dict[str, Any]:
    """Measure how long the disk is waited for: a group of bodies in the spool, and the commit of their rows."""
    figures = dict[str, Any]()
    number = 0
    for size in GROUPS:
        seconds = []
        for _ in range(SYNCS):
            plan = _plan(NAME.format(0), shape)
            group = [bodies.delta(plan, bytes(32), number + place) for place in range(size)]
            number += size
            whole = [(one.digest, b"".join(one.parts)) for one in group]
            began = time.perf_counter()
            store.spool.keep_all(whole)
            with store.ledger.transaction():
                for digest, data in whole:
                    row = DeltaRow(f"sync-{number}-{digest.hex()[:8]}", 2, digest, len(data), 1, 1.0, 0.5, 20.0, {}, ())
                    store.ledger.accept(row, WALL)
            seconds.append(time.perf_counter() - began)
        figures[f"group_of_{size}_ms"] = round(1000 * median(seconds), 2)
    figures["delta_bytes"] = len(whole[0][1])
    return figures


def memory(messages: Sequence[bytes]) -> dict[str, Any]:
    """Measure the resident memory of a device that said Hello and answered a plan. Args: messages: Hellos."""
    before = usage.rss_mib(os.getpid())
    roster = Roster()
    for message in messages:
        heard = pb.Hello.FromString(message)
        roster.greet(heard, 0.0)
        roster.answered(heard.device)
    grown = usage.rss_mib(os.getpid()) - before
    return {"member_bytes": round(1024 * 1024 * grown / len(messages)), "hello_bytes": len(messages[0])}


def _planning(hellos: Sequence[pb.Hello], shape: BankShape) -> dict[str, Any]:
    """Measure a look at the table with all devices here, and plans for them."""
    roster = Roster()
    for one in hellos:
        roster.greet(one, 0.0)
    began = time.process_time()
    present = roster.present({}, 1.0)
    rules.ready(present)
    look = time.process_time() - began
    some = hellos[:TOGETHER]
    budgets = [Budget(one.device, one.trained_slots, one.bytes_up_per_round, codecs=(pb.INT8,)) for one in some]
    began = time.process_time()
    plans = plan_round(budgets, shape, 1, Coverage(), RoundRequest(codec=pb.INT8, train_shared=False))
    assert all(len(ids(refs(plan.train))) for plan in plans.values())  # noqa: S101 - of ours
    return {
        "look_us_per_device": round(1e6 * look / len(hellos), 3),
        "plan_us": round(1e6 * (time.process_time() - began) / len(some), 1),
    }
