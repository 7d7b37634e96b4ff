"""What devices send, in every order: verdicts, rounds, late and lost devices, requested blocks. No broker or clock."""

from __future__ import annotations

import errno
import os
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import Limits, RoundRules, Train
from broker_server.rules.round import State
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import Assembler, split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.messages import decode, encode, ids
from edge_runtime.wire.topics import Topic


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


@pytest.fixture
def gateway(tmp_path: Path, package: Any) -> Gateway:
    """Return a gateway to which a and b said hello, its first round open."""
    gateway = Gateway(tmp_path / "state", package)
    gateway.hello("a", "b")
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    return gateway


def kinds(gateway: Gateway) -> list[str]:
    """Return the kinds of events told so far."""
    return [event["event"] for event in gateway.told]


def state(gateway: Gateway) -> pb.GatewayState:
    """Return what the gateway says of itself."""
    return decode(pb.GatewayState, gateway.out.last(Topic.GATEWAY))


def send_body(gateway: Gateway, device: str, kind: pb.Kind, body: bytes) -> pb.Verdict:
    """Send a body in chunks; return the verdict on it."""
    topic = Topic.DELTA if kind == pb.DELTA else Topic.STATISTICS
    for chunk in split(body, kind):
        gateway.send(topic, device, chunk)
    verdict = gateway.verdict(device)
    assert verdict.digest == sha256(body)
    assert verdict.kind == kind
    return verdict


def test_whole_round(gateway: Gateway) -> None:
    """Plans for both, deltas from both, one version whose values are the mean; then the next round."""
    before = gateway.conductor.bank
    plans = {device: gateway.plan(device)[0] for device in "ab"}
    gateway.train("a", value=0.01, examples=18)
    gateway.tick()
    assert gateway.conductor.row.version == 0
    gateway.train("b", value=0.05, examples=6)
    gateway.tick()
    version = decode(pb.Version, gateway.out.last(Topic.VERSION))
    assert (version.version, version.parent, version.round) == (1, 0, 1)
    assert version.digest == gateway.conductor.bank.digest()
    for block in tiny.SHAPE.ids():
        moved = gateway.conductor.bank.block(block).astype(np.float64) - before.block(block)
        trainers = {device for device in "ab" if block in ids(plans[device].train)}
        expected = {"a": 0.01, "b": 0.05, "ab": 0.02, "": 0.0}["".join(sorted(trainers))]
        np.testing.assert_allclose(moved, expected, atol=1e-6)
    assert state(gateway).round == 1
    gateway.tick()
    assert state(gateway).round == 2
    assert gateway.plan("a")[0].base_version == 1


@pytest.mark.parametrize("arrival", ["".join(order) for order in permutations("abc")])
def test_deltas_fold_in_the_order_of_names(tmp_path: Path, package: Any, arrival: str) -> None:
    """In float64 (2^60 + 1) - 2^60 is 0, and (2^60 - 2^60) + 1, where b was folded last, would be 1."""
    rules = RoundRules(quorum=3, join_wait_s=0)
    gateway = Gateway(tmp_path / "state", package, round=rules, limits=Limits(norm_factor=0))
    gateway.hello("a", "b", "c")
    gateway.tick()
    before = gateway.conductor.bank
    for device in arrival:
        gateway.train(device, value={"a": 2.0**60, "b": 1.0, "c": -(2.0**60)}[device])
    gateway.tick()
    assert gateway.conductor.row.contributors == 3
    assert gateway.conductor.bank.shared.tobytes() == before.shared.tobytes()


def test_trainers_are_even(gateway: Gateway) -> None:
    """Two devices of two slots cover four experts of each layer, once each."""
    load = [ref for device in "ab" for ref in ids(gateway.plan(device)[0].train) if not ref.shared]
    assert sorted(load) == [ExpertId(layer, index) for layer in tiny.LAYERS for index in range(tiny.EXPERTS)]


def test_after_the_last_round_it_says_so(gateway: Gateway) -> None:
    """Finished in GatewayState, no further plan, and late deltas are stale."""
    for _ in range(2):
        gateway.tick()
        gateway.train("a")
        gateway.train("b")
        gateway.tick()
    assert gateway.conductor.state is State.FINISHED
    assert state(gateway).finished
    gateway.tick()
    assert gateway.conductor.round == 2
    plan, payload = gateway.plan("a")
    body = encode(tiny.delta(plan, payload, value=0.005))
    assert send_body(gateway, "a", pb.DELTA, body).code == pb.DUPLICATE
    gateway.close()
    again = Gateway(gateway.config.state, gateway.package)
    assert again.conductor.state is State.FINISHED


def test_same_body_gets_the_same_verdict_and_counts_once(gateway: Gateway) -> None:
    """Also when its chunks come again; another body of the same round is a duplicate."""
    gateway.train("a")
    gateway.train("a")
    assert gateway.verdict("a").code == pb.ACCEPTED
    gateway.train("a", value=0.02)
    assert gateway.verdict("a").code == pb.DUPLICATE
    assert gateway.verdict("a").retry_after_s == 0
    gateway.train("a", value=0.02)
    assert gateway.verdict("a").code == pb.DUPLICATE
    assert len(gateway.store.ledger.waiting()) == 1


def test_resent_chunks_get_one_answer(gateway: Gateway) -> None:
    """Every chunk of a decided body would say the same."""
    gateway.now -= 1.0  # the helper's clock moves one second a message; let these come at once
    plan, payload = gateway.plan("a")
    chunks = list(split(encode(tiny.delta(plan, payload)), pb.DELTA, payload=100))
    for chunk in chunks:
        gateway.send(Topic.DELTA, "a", chunk)
    before = len(gateway.out.sent)
    for chunk in chunks:
        gateway.now -= 1.0
        gateway.send(Topic.DELTA, "a", chunk)
    assert len(gateway.out.sent) == before + 1


def test_chunks_in_any_order_and_twice(gateway: Gateway) -> None:
    """A delta is complete when every index came."""
    plan, payload = gateway.plan("a")
    chunks = list(split(encode(tiny.delta(plan, payload)), pb.DELTA, payload=200))
    for chunk in [*chunks[::-1], chunks[0]]:
        gateway.send(Topic.DELTA, "a", chunk)
    assert gateway.verdict("a").code == pb.ACCEPTED


def test_deadline_closes_with_the_quorum(tmp_path: Path, package: Any) -> None:
    """Two of three are enough; the third's delta comes late, is discounted and counts in the next round."""
    gateway = Gateway(tmp_path / "state", package, round=RoundRules(quorum=2, deadline_s=100, join_wait_s=0))
    gateway.hello("a", "b", "c")
    gateway.tick()
    late, late_bytes = gateway.plan("c")
    gateway.train("a")
    gateway.train("b")
    gateway.tick()
    assert gateway.conductor.row.version == 0
    gateway.now += 100
    gateway.tick()
    assert gateway.conductor.row.version == 1
    body = encode(tiny.delta(late, late_bytes))
    assert send_body(gateway, "c", pb.DELTA, body).code == pb.ACCEPTED
    assert next(event for event in gateway.told[::-1] if event["event"] == "delta")["staleness"] == 1
    gateway.tick()
    for device in "abc":
        gateway.train(device)
    gateway.tick()
    line = next(event for event in gateway.told[::-1] if event["event"] == "version")
    assert (line["accepted"], line["late"]) == (4, 1)
    assert gateway.conductor.row.contributors == 4


def test_below_the_quorum_the_round_is_extended(tmp_path: Path, package: Any) -> None:
    """It says so, keeps its plans, and plans for who came meanwhile; their deltas close it."""
    gateway = Gateway(tmp_path / "state", package, round=RoundRules(quorum=2, deadline_s=100, join_wait_s=0))
    gateway.hello("a", "b")
    gateway.tick()
    before = gateway.plan("b")[1]
    gateway.train("a")
    gateway.send(Topic.BYE, "b", encode(pb.Bye(device="b")))
    gateway.hello("c")
    gateway.now += 100
    gateway.tick()
    assert kinds(gateway)[-1] == "extended"
    assert gateway.plan("b")[1] == before
    assert gateway.plan("c")[0].round == 1
    gateway.train("c")
    gateway.tick()
    assert gateway.conductor.row.version == 1
    assert gateway.conductor.row.contributors == 2
    assert next(event for event in gateway.told if event.get("reason") == "merge")["extensions"] == 1


def test_device_that_leaves_is_not_waited_for(tmp_path: Path, package: Any) -> None:
    """Its experts are a deficit: the next round trains them first."""
    gateway = Gateway(tmp_path / "state", package, round=RoundRules(quorum=1, join_wait_s=0))
    gateway.hello("a", "b")
    gateway.tick()
    missed = set(ids(gateway.plan("b")[0].train))
    gateway.send(Topic.BYE, "b", encode(pb.Bye(device="b")))
    gateway.train("a")
    gateway.tick()
    assert gateway.conductor.row.version == 1
    gateway.tick()
    assert {block for block in ids(gateway.plan("a")[0].train) if not block.shared} <= missed


def test_stale_delta_is_refused_and_its_plan_taken_back(tmp_path: Path, package: Any) -> None:
    """Two merges later, with one allowed."""
    rules = RoundRules(quorum=1, join_wait_s=0, deadline_s=10, max_staleness=1)
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=rules)
    gateway.hello("a", "b")
    gateway.tick()
    late, late_bytes = gateway.plan("b")
    gateway.send(Topic.BYE, "b", encode(pb.Bye(device="b")))
    for _ in range(2):
        gateway.train("a")
        gateway.tick()
        gateway.tick()
    assert gateway.out.last(Topic.PLAN, "b") == b""
    gateway.hello("b")
    body = encode(tiny.delta(late, late_bytes))
    assert send_body(gateway, "b", pb.DELTA, body).code == pb.STALE


def test_hello_is_answered_and_statistics_are_asked_for(tmp_path: Path, package: Any) -> None:
    """Only when the device has some that the gateway lacks; a round waits for them, and starts from their means."""
    gateway = Gateway(tmp_path / "state", package)
    message = {name: tiny.statistics(package, name, ["rose", "leaf"], [0, 1]) for name in "ab"}
    bodies = {name: encode(message[name]) for name in "ab"}
    for name in "ab":
        hello = tiny.hello(package, name, statistics_digest=sha256(bodies[name]))
        gateway.send(Topic.HELLO, name, encode(hello))
        assert gateway.verdict(name).want_statistics
        assert gateway.verdict(name).digest == sha256(encode(hello))
    gateway.tick()
    assert gateway.conductor.state is State.GATHERING
    for name in "ab":
        assert send_body(gateway, name, pb.STATISTICS, bodies[name]).code == pb.ACCEPTED
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    assert gateway.conductor.row.reason == "head"
    head = gateway.conductor.bank.block(HEAD)
    s = np.sqrt(0.5)
    np.testing.assert_allclose(head[:4], [s, -s, 0, 0], atol=1e-6)
    np.testing.assert_allclose(head[-3:], [0, 0, -100])
    again = tiny.hello(package, "a", statistics_digest=sha256(bodies["a"]))
    gateway.send(Topic.HELLO, "a", encode(again))
    assert not gateway.verdict("a").want_statistics


def test_new_statistics_refit_a_frozen_head_between_rounds(gateway: Gateway) -> None:
    """The next round starts from a version whose only change is the head; a trained head is left alone."""
    body = encode(tiny.statistics(gateway.package, "a", ["rose", "sky"], [0, 2]))
    assert send_body(gateway, "a", pb.STATISTICS, body).code == pb.ACCEPTED
    gateway.train("a")
    gateway.train("b")
    gateway.tick()
    merged = gateway.conductor.bank
    gateway.tick()
    assert [row.reason for row in gateway.store.ledger.versions()] == ["initial", "merge", "head"]
    assert gateway.conductor.bank.experts.tobytes() == merged.experts.tobytes()
    assert gateway.conductor.age(1) == 0  # a new head makes no delta late


def test_trained_head_is_not_made_anew(tmp_path: Path, package: Any) -> None:
    """Class means are its start only."""
    gateway = Gateway(tmp_path / "state", package, train=Train(learning_rate=0.1, head_share=0.1))
    gateway.hello("a", "b")
    for device, text in (("a", "rose"), ("b", "sky")):
        send_body(gateway, device, pb.STATISTICS, encode(tiny.statistics(package, device, [text], [0])))
    gateway.tick()
    assert HEAD in ids(gateway.plan("a")[0].train)
    assert gateway.plan("a")[0].head_learning_rate == pytest.approx(0.01)
    send_body(gateway, "a", pb.STATISTICS, encode(tiny.statistics(package, "a", ["leaf"], [1])))
    for device in "ab":
        gateway.train(device, value=0.001, label_counts=[5.0, 5.0, 0.0])
    gateway.tick()
    gateway.tick()
    assert [row.reason for row in gateway.store.ledger.versions()] == ["initial", "head", "merge"]


def test_topk_statistics_go_into_plans_and_survive(tmp_path: Path) -> None:
    """The use of each expert and the pressure; the same after a restart."""
    package = tiny.make_package(tmp_path / "topk", gate="topk")
    gateway = Gateway(tmp_path / "state", package)
    gateway.hello("a", "b")
    gateway.tick()
    plan = gateway.plan("a")[0]
    assert [list(layer.use) for layer in plan.use] == [[0.25] * 4] * 2
    assert plan.balance_pressure == pytest.approx(0.02)
    use = [pb.ExpertUse(layer=0, index=index, routed=20.0 * (index < 2), seen=20.0) for index in range(4)]
    for device in "ab":
        gateway.train(device, use=use)
    gateway.tick()
    gateway.tick()
    # k = 2 of 4 held: every token of 20 counts twice; u = (0.25 + 20/40) / 2 and (0.25 + 0) / 2.
    expected = [0.375, 0.375, 0.125, 0.125]
    assert list(gateway.plan("a")[0].use[0].use) == pytest.approx(expected)
    gateway.close()
    again = Gateway(tmp_path / "state", package)
    assert list(again.conductor._merging._balance.use[0]) == pytest.approx(expected)


def test_wanted_blocks_come_once_for_all(gateway: Gateway) -> None:
    """After a short window, each block once, whoever asked; unknown digests are passed over."""
    digests = [block.digest for block in decode(pb.Version, gateway.conductor.row.payload).blocks]
    for device in "ab":
        want = pb.Want(device=device, digests=[*digests[:2], b"?" * 32])
        gateway.send(Topic.WANT, device, encode(want))
    gateway.reception.tick(gateway.now, gateway.now)
    blobs = [(name, payload) for topic, name, payload in gateway.out.sent if topic is Topic.BLOB]
    assert [name for name, _ in blobs] == [digest.hex() for digest in digests[:2]]
    chunk = decode(pb.Chunk, blobs[0][1])
    assert sha256(Assembler().add("gateway", chunk) or b"") == digests[0]
    gateway.reception.tick(gateway.now + 9, gateway.now)
    assert len([topic for topic, _, _ in gateway.out.sent if topic is Topic.BLOB]) == 2


def test_window_ends_when_everybody_asked(gateway: Gateway) -> None:
    """Requests are gathered for those who may still ask; a device that left is not among them."""
    digest = decode(pb.Version, gateway.conductor.row.payload).blocks[0].digest

    def blobs_after_want(device: str, now: float) -> int:
        want = encode(pb.Want(device=device, digests=[digest]))
        gateway.reception.take(f"fl/v1/default/want/{device}", want, now, now)
        gateway.reception.tick(now, now)
        return len([topic for topic, _, _ in gateway.out.sent if topic is Topic.BLOB])

    assert blobs_after_want("a", 100.0) == 0
    assert blobs_after_want("b", 100.01) == 1
    assert blobs_after_want("a", 200.0) == 1
    gateway.send(Topic.BYE, "b", encode(pb.Bye(device="b")))
    gateway.reception.tick(200.01, 200.01)
    assert blobs_after_want("a", 200.02) == 2


def test_request_that_crossed_its_block_waits(gateway: Gateway) -> None:
    """A storm of requests for one block makes one message in two seconds, not one for each."""
    digest = decode(pb.Version, gateway.conductor.row.payload).blocks[0].digest
    published = []
    for tenth in range(60):
        now = 100 + tenth / 10
        gateway.reception.take("fl/v1/default/want/a", encode(pb.Want(device="a", digests=[digest])), now, now)
        gateway.reception.tick(now, now)
        published += [now for topic, _, _ in gateway.out.sent if topic is Topic.BLOB]
        gateway.out.sent.clear()
    assert len(published) == 2
    assert min(b - a for a, b in pairwise(published)) >= 2.0


def test_bytes_are_counted_for_each_device(gateway: Gateway) -> None:
    """Up: what came on its topics. Down: verdicts, plans, versions and the blocks it asked for."""
    plan_bytes = len(gateway.plan("a")[1])
    up = len(encode(tiny.hello(gateway.package, "a")))
    gateway.reception.write_traffic(1.0)
    row = gateway.store.ledger.devices()[0]
    assert row["bytes_up"] == up
    verdicts = sum(len(payload) for topic, name, payload in gateway.out.sent if (topic, name) == (Topic.VERDICT, "a"))
    assert row["bytes_down"] == plan_bytes + verdicts


# refusals, as devices see them


def test_hello_of_another_federation(gateway: Gateway) -> None:
    """WRONG_FEDERATION, naming what this gateway serves; no further answer to what it sends."""
    hello = tiny.hello(gateway.package, "x", federation_digest=b"o" * 32)
    gateway.send(Topic.HELLO, "x", encode(hello))
    verdict = gateway.verdict("x")
    assert verdict.code == pb.WRONG_FEDERATION
    assert "tiny, 3 labels, 4 experts of rank 1 in 2 layers, soft gate" in verdict.detail


def test_garbage_hello(gateway: Gateway) -> None:
    """MALFORMED, by the digest of its bytes."""
    gateway.send(Topic.HELLO, "x", b"\xff" * 30)
    assert gateway.verdict("x").code == pb.MALFORMED
    assert gateway.verdict("x").digest == sha256(b"\xff" * 30)


def test_hello_of_another_wire_version(gateway: Gateway) -> None:
    """UNSUPPORTED_WIRE."""
    hello = tiny.hello(gateway.package, "x")
    hello.wire_version = 2
    gateway.send(Topic.HELLO, "x", hello.SerializeToString())
    assert gateway.verdict("x").code == pb.UNSUPPORTED_WIRE


def test_what_a_stranger_sends(gateway: Gateway) -> None:
    """UNKNOWN_DEVICE for deltas, statistics and requests; a bye of nobody is nothing."""
    assert send_body(gateway, "x", pb.DELTA, b"anything").code == pb.UNKNOWN_DEVICE
    assert send_body(gateway, "y", pb.STATISTICS, b"anything").code == pb.UNKNOWN_DEVICE
    want = encode(pb.Want(device="z", digests=[b"d" * 32]))
    gateway.send(Topic.WANT, "z", want)
    verdict = gateway.verdict("z")
    assert (verdict.kind, verdict.code, verdict.digest) == (pb.HELLO, pb.UNKNOWN_DEVICE, sha256(want))
    gateway.send(Topic.BYE, "x", encode(pb.Bye(device="x")))
    assert "bye" not in kinds(gateway)


def test_refusal_that_may_pass_is_not_remembered(gateway: Gateway) -> None:
    """The same bytes are taken once the device has said hello."""
    plan, payload = gateway.plan("b")
    body = encode(tiny.delta(plan, payload))
    gateway.close()
    again = Gateway(gateway.config.state, gateway.package)
    assert send_body(again, "b", pb.DELTA, body).code == pb.UNKNOWN_DEVICE
    again.hello("b")
    assert send_body(again, "b", pb.DELTA, body).code == pb.ACCEPTED


def test_revoked_device(gateway: Gateway) -> None:
    """Everything is refused from the moment the operator says so, and planned for no more."""
    gateway.store.ledger.revoke("a", revoked=True)
    gateway.train("a")
    assert gateway.verdict("a").code == pb.REVOKED
    gateway.hello("a")
    assert gateway.verdict("a").code == pb.REVOKED
    assert gateway.reception._roster.here() == {"b"}
    gateway.store.ledger.revoke("a", revoked=False)
    gateway.hello("a")
    assert gateway.verdict("a").code == pb.ACCEPTED


def test_broken_bodies(gateway: Gateway) -> None:
    """Garbage in chunks, a wrong digest, contradicting chunks, a wrong kind, and a body over the limit."""
    assert send_body(gateway, "a", pb.DELTA, b"\xff" * 100).code == pb.MALFORMED
    chunk = decode(pb.Chunk, next(split(b"body", pb.DELTA)))
    chunk.digest = b"n" * 32
    gateway.send(Topic.DELTA, "a", encode(chunk))
    assert gateway.verdict("a").code == pb.DIGEST_MISMATCH
    chunk.digest = b"k" * 32
    chunk.kind = pb.STATISTICS
    gateway.send(Topic.DELTA, "a", encode(chunk))
    assert gateway.verdict("a").code == pb.MALFORMED
    huge = next(split(bytes(200_000), pb.DELTA))
    gateway.send(Topic.DELTA, "a", huge)
    assert gateway.verdict("a").code == pb.TOO_LARGE
    before = len(gateway.out.sent)
    gateway.send(Topic.DELTA, "a", b"no chunk")  # nothing names a body: nothing can be answered
    assert len(gateway.out.sent) == before
    assert kinds(gateway)[-1] == "ignored"


def test_nan_is_refused_and_remembered(gateway: Gateway) -> None:
    """The same body gets the same verdict from the ledger, also later."""
    gateway.train("a", value=float("nan"))
    assert gateway.verdict("a").code == pb.NOT_FINITE
    verdict = gateway.store.ledger.verdict("a", gateway.verdict("a").digest)
    assert verdict is not None
    assert verdict.code == pb.NOT_FINITE


def test_far_too_large_norm(gateway: Gateway) -> None:
    """No training of this plan can move values by 100."""
    gateway.train("a", value=100.0)
    assert gateway.verdict("a").code == pb.NORM_TOO_LARGE


def test_plan_of_another_device(gateway: Gateway) -> None:
    """UNKNOWN_PLAN: the digest names b's plan."""
    plan, payload = gateway.plan("b")
    body = encode(tiny.delta(plan, payload, device="a"))
    assert send_body(gateway, "a", pb.DELTA, body).code == pb.UNKNOWN_PLAN


def test_full_disk(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """STORAGE_FULL with a time to come back; nothing was counted, and the same body is taken later."""
    sync = os.fsync

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    gateway.train("a")
    verdict = gateway.verdict("a")
    assert verdict.code == pb.STORAGE_FULL
    assert verdict.retry_after_s == 60
    assert gateway.store.ledger.waiting() == []
    monkeypatch.setattr(os, "fsync", sync)
    gateway.train("a")
    assert gateway.verdict("a").code == pb.ACCEPTED


def test_a_commit_that_fails_accepts_nothing(gateway: Gateway) -> None:
    """A database that refuses: the round does not count what was not kept, and takes the same body later."""
    database = gateway.store.ledger._db
    database.execute("PRAGMA query_only = ON")
    gateway.train("a")
    assert gateway.verdict("a").code == pb.STORAGE_FULL
    database.execute("PRAGMA query_only = OFF")
    gateway.train("b")
    gateway.tick()
    assert gateway.conductor.row.version == 0
    gateway.train("a")
    assert gateway.verdict("a").code == pb.ACCEPTED
    gateway.tick()
    assert gateway.conductor.row.contributors == 2


def test_too_many_devices(tmp_path: Path, package: Any) -> None:
    """BUSY with a time to come back, for new ones; those that have joined go on."""
    gateway = Gateway(tmp_path / "two", package, limits=Limits(devices=2))
    gateway.hello("a", "b", "c")
    assert gateway.verdict("c").code == pb.BUSY
    assert gateway.verdict("c").retry_after_s > 0
    gateway.hello("a")
    assert gateway.verdict("a").code == pb.ACCEPTED


def test_foreign_topic_is_ignored(gateway: Gateway) -> None:
    """A broker may hold anything."""
    gateway.reception.take("other/topic", b"", 1.0, 1.0)
    assert kinds(gateway)[-1] == "ignored"


def test_body_limit_can_be_set(tmp_path: Path, package: Any) -> None:
    """A gateway may take less than the bank's size."""
    gateway = Gateway(tmp_path / "state", package, limits=Limits(body_bytes=100))
    gateway.hello("a", "b")
    gateway.tick()
    gateway.train("a")
    assert gateway.verdict("a").code == pb.TOO_LARGE


def test_replaced_connection_does_not_make_a_device_leave(gateway: Gateway) -> None:
    """The will of its old connection may come late; what it sends next shows that it is here."""
    gateway.send(Topic.BYE, "a", encode(pb.Bye(device="a")))
    assert "a" not in gateway.reception._roster.here()
    gateway.train("a")
    assert "a" in gateway.reception._roster.here()


def test_device_without_room_for_an_expert_is_told_of(tmp_path: Path, package: Any) -> None:
    """A round that nobody can take part in is not opened; the event says why."""
    gateway = Gateway(tmp_path / "state", package)
    for device in "ab":
        gateway.send(Topic.HELLO, device, encode(tiny.hello(package, device, bytes_up_per_round=10)))
    gateway.tick()
    assert gateway.conductor.state is State.GATHERING
    assert kinds(gateway)[-1] == "waiting"


def test_planner_takes_the_step_time_that_a_delta_told(gateway: Gateway) -> None:
    """A device of 16 ms a round says 0 ms a step in its first Hello, 3 with its delta: then 0.8 * 16 / 3 = 4 steps."""
    hello = tiny.hello(gateway.package, "a", seconds_per_round=0.016)
    gateway.send(Topic.HELLO, "a", encode(hello))
    assert gateway.plan("a")[0].steps == 10
    gateway.train("a")
    gateway.train("b")
    gateway.tick()
    gateway.tick()
    assert gateway.plan("a")[0].steps == 4
    assert gateway.plan("b")[0].steps == 10


def test_restart_leaves_a_late_device_its_plan(tmp_path: Path, package: Any) -> None:
    """A plan whose delta would still count is not taken back; one that was answered is."""
    rules = RoundRules(quorum=1, join_wait_s=0, deadline_s=10, max_staleness=1)
    gateway = Gateway(tmp_path / "state", package, rounds=0, round=rules)
    gateway.hello("a", "b")
    gateway.tick()
    late, late_bytes = gateway.plan("b")
    gateway.train("a")
    gateway.now += 10
    gateway.tick()
    gateway.close()
    again = Gateway(tmp_path / "state", package, rounds=0, round=rules)
    again.conductor.announce()
    assert [(name, payload) for topic, name, payload in again.out.sent if topic is Topic.PLAN] == [("a", b"")]
    again.hello("b")
    assert send_body(again, "b", pb.DELTA, encode(tiny.delta(late, late_bytes))).code == pb.ACCEPTED
