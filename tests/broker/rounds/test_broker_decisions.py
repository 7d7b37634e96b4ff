"""Bodies decided together: one file, one transaction, then the verdicts; each counts once, or hears why not."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import RoundRules
from broker_server.rounds.checking import Body, CheckingPool, Looked, look_at
from broker_server.rounds.reception import Reception
from broker_server.state.backup import back_up
from broker_server.state.delta_tables import VERDICTS_KEPT
from broker_server.state.files import write_durably
from broker_server.state.inspection import inspect
from broker_server.state.spool import Spool
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.topics import Address, Topic


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


@pytest.fixture
def gateway(tmp_path: Path, package: Any) -> Iterator[Gateway]:
    """Return a gateway whose round is open for a, b and c."""
    gateway = opened(tmp_path / "state", package)
    yield gateway
    gateway.close()


def opened(folder: Path, package: Any) -> Gateway:
    """Return a gateway whose round is open for a, b and c."""
    gateway = Gateway(folder, package, round=RoundRules(quorum=3, join_wait_s=0))
    gateway.hello("a", "b", "c")
    gateway.tick()
    return gateway


def delta(gateway: Gateway, device: str, **fields: Any) -> bytes:
    """Return a delta for the plan of a device."""
    plan, payload = gateway.plan(device)
    return encode(tiny.delta(plan, payload, **fields))


def spooled(gateway: Gateway) -> list[str]:
    """Return the endings of the files in the spool."""
    return sorted(path.suffix for path in (gateway.config.state / "spool").glob("*"))


def test_a_group_is_one_file_and_one_transaction(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three deltas cost two fsyncs (file, folder) and one commit; every device hears of its own."""
    (gateway.config.state / "spool").mkdir()
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(handle), fsync(handle))[1])
    statements: list[str] = []
    gateway.store.ledger._db.set_trace_callback(statements.append)
    with gateway.together():
        digests = {device: gateway.train(device, value=0.01) for device in "abc"}
        assert spooled(gateway) == []
    assert statements.count("COMMIT") == 1
    assert len(synced) == 2
    assert spooled(gateway) == [".group"]
    for device, digest in digests.items():
        verdict = gateway.verdict(device)
        assert (verdict.digest, verdict.code) == (digest, pb.ACCEPTED)
        assert Spool(gateway.config.state / "spool").read(digest)


def test_a_group_makes_the_version_that_single_deltas_make(tmp_path: Path, package: Any, gateway: Gateway) -> None:
    """Bit for bit, whoever came first in it."""
    with gateway.together():
        for number, device in enumerate("cab"):
            gateway.train(device, value=0.01 * (number + 1))
    gateway.tick()
    singly = opened(tmp_path / "singly", package)
    for number, device in enumerate("cab"):
        singly.train(device, value=0.01 * (number + 1))
    singly.tick()
    assert gateway.conductor.row.version == singly.conductor.row.version == 1
    assert gateway.conductor.row.digest == singly.conductor.row.digest
    singly.close()


def test_a_round_counts_one_delta_of_a_device_within_a_group_too(gateway: Gateway) -> None:
    """The second is a duplicate of the first, which is not in the ledger yet."""
    with gateway.together():
        first = gateway.train("a", value=0.01)
        second = gateway.train("a", value=0.02)
    verdicts = {
        verdict.digest: verdict.code
        for topic, name, payload in gateway.out.sent
        if (topic, name) == (Topic.VERDICT, "a") and (verdict := decode(pb.Verdict, payload)).kind == pb.DELTA
    }
    assert verdicts == {first: pb.ACCEPTED, second: pb.DUPLICATE}
    assert [row.digest for row in gateway.store.ledger.waiting()] == [first]


def test_what_is_refused_costs_its_group_nothing(gateway: Gateway) -> None:
    """A delta that is too long, a body that is no message, and class sums beside one that is accepted."""
    with gateway.together():
        gateway.train("a", value=1e6)
        gateway.deliver("b", b"no delta")
        good = gateway.train("c")
        gateway.statistics("c", encode(tiny.statistics(gateway.package, "c", ["rose"], [0])))
    assert gateway.verdict("a").code == pb.NORM_TOO_LARGE
    assert gateway.verdict("b").code == pb.MALFORMED
    assert [row.digest for row in gateway.store.ledger.waiting()] == [good]
    kept = gateway.store.ledger.verdict("b", sha256(b"no delta"))
    assert kept is not None
    assert encode(kept) == encode(gateway.verdict("b"))
    assert [event["code"] for event in gateway.told if event["event"] == "delta"] == [
        "NORM_TOO_LARGE", "MALFORMED", "ACCEPTED",
    ]  # fmt: skip


def test_a_full_disk_accepts_nothing_of_a_group(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """All are asked to come later, what was refused keeps its reason, and what comes again counts once."""
    bodies = {device: delta(gateway, device) for device in "ab"}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with gateway.together():
            for device, body in bodies.items():
                gateway.deliver(device, body)
            gateway.deliver("c", b"no delta")
    assert [gateway.verdict(device).code for device in "abc"] == [pb.STORAGE_FULL, pb.STORAGE_FULL, pb.MALFORMED]
    assert gateway.verdict("a").retry_after_s > 0
    assert gateway.store.ledger.waiting() == []
    for device, body in bodies.items():
        gateway.deliver(device, body)
    assert {row.device for row in gateway.store.ledger.waiting()} == {"a", "b"}


def test_an_accepted_body_whose_verdict_was_let_go_is_accepted_again(gateway: Gateway) -> None:
    """A ledger keeps a device's last verdicts only; the delta is in it, and counts once."""
    body = delta(gateway, "a")
    gateway.deliver("a", body)
    for number in range(VERDICTS_KEPT):
        gateway.deliver("a", b"no delta %d" % number)
    assert gateway.store.ledger.verdict("a", sha256(body)) is None
    gateway.deliver("a", body)
    assert (gateway.verdict("a").code, gateway.verdict("a").digest) == (pb.ACCEPTED, sha256(body))
    assert len(gateway.store.ledger.waiting()) == 1


def test_chunks_of_a_body_that_waits_for_its_verdict_are_let_go(gateway: Gateway) -> None:
    """They come twice when a device is impatient; the body is decided once, and nothing of it is kept."""
    body = delta(gateway, "a")
    with gateway.together():
        gateway.deliver("a", body)
        assert gateway.reception.held_bytes == len(body)
        gateway.deliver("a", body)
        assert gateway.reception.held_bytes == len(body)
        assert gateway.reception.transfers.held_bytes == 0
    assert gateway.reception.held_bytes == 0
    assert len([event for event in gateway.told if event["event"] == "delta"]) == 1


def test_a_chunk_of_a_body_that_began_costs_no_query(gateway: Gateway) -> None:
    """Nor does the look at who was revoked, within the time between two looks."""
    first, *others, _ = split(delta(gateway, "a"), pb.DELTA, 100)
    topic = str(Address("default", Topic.DELTA, "a"))
    gateway.reception.take(topic, first, gateway.now, gateway.now)
    statements: list[str] = []
    gateway.store.ledger._db.set_trace_callback(statements.append)
    for chunk in others:
        gateway.reception.take(topic, chunk, gateway.now, gateway.now)
    assert len(others) > 2
    assert statements == []


def test_a_device_that_another_process_revokes_is_refused_at_the_next_look(gateway: Gateway) -> None:
    """And may come back when it is restored."""
    other = Store.open_to_restore(gateway.config.state)
    gateway.train("a")
    other.ledger.revoke("b", revoked=True)
    gateway.train("b")
    assert gateway.verdict("b").code == pb.REVOKED
    other.ledger.revoke("b", revoked=False)
    gateway.hello("b")
    gateway.train("b")
    assert gateway.verdict("b").code == pb.ACCEPTED
    other.close()


def test_a_start_takes_up_a_group_that_was_written_and_not_committed(
    tmp_path: Path, package: Any, gateway: Gateway
) -> None:
    """A kill between the file and the commit: both bodies count, once, and have their verdicts when they come again."""
    bodies = {device: delta(gateway, device) for device in "ab"}
    gateway.store.spool.keep_all([(sha256(body), body) for body in bodies.values()])
    gateway.close()
    again = Gateway(tmp_path / "state", package, round=RoundRules(quorum=3, join_wait_s=0))
    assert {row.device for row in again.store.ledger.waiting()} == {"a", "b"}
    again.hello("a", "b")
    for device, body in bodies.items():
        again.deliver(device, body)
        assert again.verdict(device).code == pb.ACCEPTED
    assert len(again.store.ledger.waiting()) == 2
    again.close()


def test_a_damaged_body_of_a_group_costs_itself(tmp_path: Path, package: Any, gateway: Gateway) -> None:
    """Its device alone is asked for it again, and it then stands in a file of its own."""
    with gateway.together():
        digests = [gateway.train(device) for device in "abc"]
    gateway.close()
    (file,) = (tmp_path / "state" / "spool").iterdir()
    last = Spool(file.parent).read(digests[-1])
    data = file.read_bytes()
    write_durably(file, data[: -len(last)] + bytes(len(last)))
    again = Gateway(tmp_path / "state", package, round=RoundRules(quorum=3, join_wait_s=0))
    again.tick()
    assert [event["device"] for event in again.told if event["event"] == "lost"] == ["c"]
    again.hello("a", "b", "c")
    assert again.verdict("c").code == pb.BUSY
    again.deliver("c", last)
    assert spooled(again) == [".delta", ".group"]
    again.tick()
    assert again.conductor.row.version == 1
    assert again.conductor.row.contributors == 3
    again.close()


def test_a_backup_has_the_bodies_of_a_group_and_damage_is_named_by_its_file(tmp_path: Path, gateway: Gateway) -> None:
    """The copy goes on with the same deltas; what was struck in the original is found where it stands."""
    with gateway.together():
        digests = [gateway.train(device) for device in "abc"]
    back_up(gateway.config.state, tmp_path / "copy")
    copy = Store.open_read_only(tmp_path / "copy")
    assert list(inspect(copy)) == []
    assert [copy.spool.read(digest) for digest in digests] == [gateway.store.spool.read(one) for one in digests]
    copy.close()
    gateway.close()
    (file,) = (tmp_path / "state" / "spool").iterdir()
    write_durably(file, file.read_bytes()[:-1])
    state = Store.open_read_only(tmp_path / "state")
    (finding,) = [one for one in inspect(state) if one.file.startswith("spool/")]
    assert finding.file == f"spool/{file.name}"
    assert finding.detail.startswith("the delta of c in round 1: ")
    state.close()


# the pool


def test_the_pool_says_what_is_said_without_it(gateway: Gateway) -> None:
    """Of deltas, class sums, and what is neither; a delta's message comes back without its values."""
    shape = gateway.store.lineage.shape
    sums = encode(tiny.statistics(gateway.package, "a", ["rose"], [0]))
    sent = [(pb.DELTA, delta(gateway, "a")), (pb.DELTA, b"no delta"), (pb.STATISTICS, sums), (pb.STATISTICS, b"x")]
    results: queue.Queue[Looked] = queue.Queue()
    pool = CheckingPool(shape, results.put, threads=1)
    for kind, data in sent:
        body = Body("a", kind, sha256(data), data)
        assert pool.submit(body)
        there, here = results.get(timeout=30), look_at(body, shape)
        assert there.pooled
        assert (there.body, there.statistics, str(there.refusal)) == (body, here.statistics, str(here.refusal))
        assert there.checked == here.checked
    assert here.refusal is not None
    assert pool.held_bytes == sum(len(data) for _, data in sent)
    pool.stop()


def test_the_pool_holds_a_bounded_number_of_bytes(gateway: Gateway) -> None:
    """Until they are decided, not only until they were looked at; one larger than the room is taken alone."""
    results: queue.Queue[Looked] = queue.Queue()
    pool = CheckingPool(gateway.store.lineage.shape, results.put, limit=10, threads=1)
    large, small = (Body("a", pb.DELTA, sha256(data), data) for data in (b"x" * 11, b"y"))
    assert pool.submit(large)
    results.get(timeout=30)
    assert not pool.submit(small)
    pool.release(large)
    assert pool.submit(small)
    pool.stop()


def test_a_gateway_with_a_pool_decides_what_it_posts(tmp_path: Path, package: Any) -> None:
    """Nothing is told before; with no room in the pool, the body is looked at by the thread that decides."""
    gateway = opened(tmp_path / "state", package)
    results: queue.Queue[Looked] = queue.Queue()
    bodies = {device: delta(gateway, device) for device in "ab"}
    pool = CheckingPool(gateway.store.lineage.shape, results.put, limit=len(bodies["a"]), threads=1)
    gateway.reception = Reception(gateway.parts, gateway.conductor, pool)
    with gateway.together():
        for device, body in bodies.items():
            gateway.deliver(device, body)
    assert gateway.verdict("b").code == pb.ACCEPTED
    assert gateway.verdict("a").kind == pb.HELLO
    gateway.reception.looked(results.get(timeout=30))
    gateway.reception.decide(gateway.now)
    assert gateway.verdict("a").digest == sha256(bodies["a"])
    assert gateway.reception.held_bytes == 0
    pool.stop()
    gateway.close()


def test_a_mistake_of_ours_in_the_pool_is_not_lost(gateway: Gateway) -> None:
    """The thread that decides raises it; the thread that looks goes on."""
    results: queue.Queue[Looked] = queue.Queue()
    shape: Any = None
    pool = CheckingPool(shape, results.put, threads=1)
    data = delta(gateway, "a")
    pool.submit(Body("a", pb.DELTA, sha256(data), data))
    with pytest.raises(AttributeError):
        gateway.reception.looked(results.get(timeout=30))
    pool.stop()
