"""Devices that lie about themselves, or that the operator removes: what they move, and what stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import Limits, RoundRules, Train
from broker_server.rules.round import State
from broker_server.state.rows import LEFT_OUT
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD, shared_expert
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

RED, GREEN = 0, 1
SHARED = shared_expert(0)
"""A block that every device trains."""


@pytest.fixture
def package(tmp_path: Path) -> Any:
    """Return a small package."""
    return tiny.make_package(tmp_path / "package")


def opened(gateway: Gateway, *devices: str) -> Gateway:
    """Let devices join and a round begin."""
    gateway.hello(*devices)
    gateway.tick()
    assert gateway.conductor.state is State.OPEN
    return gateway


def told(gateway: Gateway, kind: str, **fields: object) -> list[dict[str, Any]]:
    """Return the events of a kind with these fields."""
    return [one for one in gateway.told if one["event"] == kind and fields.items() <= one.items()]


def moved(gateway: Gateway, before: Any) -> float:
    """Return how far the round moved the values of a block that all train."""
    return float(np.mean(gateway.conductor.bank.block(SHARED).astype(np.float64) - before.block(SHARED)))


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        # Eleven devices of 2 examples say +0.01, one of 2^32 - 1 says -0.01. Its ten steps of 2 texts have room for 20.
        (Limits(weight_multiple=0, weight_share=1), (11 * 2 - 20) * 0.01 / 42),
        (Limits(), 0.75 * 0.01 - 0.25 * 0.01),
        (Limits(weight_multiple=2, weight_share=1), (11 * 2 - 4) * 0.01 / 26),
    ],
)
def test_a_claim_of_examples_is_capped(tmp_path: Path, package: Any, limits: Limits, expected: float) -> None:
    """A quarter of the mean is the liar's, whatever it claims; without caps what its plan has room for."""
    rules = RoundRules(quorum=12, join_wait_s=0)
    gateway = Gateway(tmp_path / "state", package, round=rules, limits=limits)
    names = [f"d{number:02d}" for number in range(11)]
    opened(gateway, *names, "liar")
    before = gateway.conductor.bank
    for name in names:
        gateway.train(name, examples=2)
    gateway.train("liar", value=-0.01, examples=2**32 - 1)
    gateway.tick()
    assert moved(gateway, before) == pytest.approx(expected, abs=1e-6)
    assert len(told(gateway, "limited", device="liar", limit="examples")) == (
        limits != Limits(weight_multiple=0, weight_share=1)
    )
    assert told(gateway, "version", reason="merge")[0]["limited"] == len(told(gateway, "limited"))


def test_an_update_is_cut_to_the_rounds_usual_norm(tmp_path: Path, package: Any) -> None:
    """Three say +0.01, one -0.1, ten times as far: it is cut to 1.5 times the median and moves -0.015."""
    gateway = Gateway(tmp_path / "state", package, round=RoundRules(quorum=4, join_wait_s=0))
    opened(gateway, "a", "b", "c", "liar")
    before = gateway.conductor.bank
    for name in "abc":
        gateway.train(name)
    gateway.train("liar", value=-0.1)
    gateway.tick()
    assert moved(gateway, before) == pytest.approx((3 * 0.01 - 0.015) / 4, abs=1e-6)
    cuts = told(gateway, "limited", device="liar")
    assert sorted(cut["limit"] for cut in cuts) == ["norm of expert", "norm of shared"]


def test_late_deltas_are_capped_like_those_in_time(tmp_path: Path, package: Any) -> None:
    """The liar's delta comes a merge late: (1 + 1)^-1/2 of its claim is capped among the others' of the next round."""
    rules = RoundRules(quorum=11, join_wait_s=0, deadline_s=10)
    gateway = Gateway(tmp_path / "state", package, round=rules)
    names = [f"d{number:02d}" for number in range(11)]
    opened(gateway, *names, "liar")
    late = encode(tiny.delta(*gateway.plan("liar"), value=-0.01, examples=2**32 - 1))
    for name in names:
        gateway.train(name, examples=2)
    gateway.now += 10
    gateway.tick()
    gateway.tick()
    before = gateway.conductor.bank
    gateway.deliver("liar", late)
    assert gateway.verdict("liar").code == pb.ACCEPTED
    for name in names:
        gateway.train(name, examples=2)
    gateway.now += 10
    gateway.tick()
    assert gateway.conductor.row.contributors == 12
    assert moved(gateway, before) == pytest.approx(0.75 * 0.01 - 0.25 * 0.01, abs=1e-6)


def test_an_accepted_delta_of_a_removed_device_is_left_out(tmp_path: Path, package: Any) -> None:
    """It moves nothing; its row and its verdict say so; the round needs another for its quorum."""
    gateway = Gateway(tmp_path / "state", package, round=RoundRules(quorum=2, join_wait_s=0))
    opened(gateway, "a", "b", "liar")
    before = gateway.conductor.bank
    body = encode(tiny.delta(*gateway.plan("liar"), value=-0.05))
    gateway.deliver("liar", body)
    gateway.train("a")
    gateway.store.ledger.revoke("liar", revoked=True)
    gateway.tick()
    assert gateway.conductor.row.version == 0
    gateway.train("b")
    gateway.tick()
    assert gateway.conductor.row.contributors == 2
    assert moved(gateway, before) == pytest.approx(0.01, abs=1e-6)
    (row,) = [row for row in gateway.store.ledger.deltas(1) if row.device == "liar"]
    assert row.version == LEFT_OUT
    verdict = gateway.store.ledger.verdict("liar", sha256(body))
    assert verdict is not None
    assert verdict.code == pb.REVOKED
    assert [one["device"] for one in told(gateway, "left_out")] == ["liar"]
    assert told(gateway, "version", reason="merge")[0]["left_out"] == 1
    assert gateway.store.ledger.waiting() == []


def test_class_sums_of_a_removed_device_leave_the_head(tmp_path: Path, package: Any) -> None:
    """The liar sent "leaf" for red; without it the head is that of a and b alone, bit for bit."""
    heads = []
    for number, names in enumerate((("a", "b"), ("a", "b", "liar"))):
        gateway = Gateway(tmp_path / str(number), package, round=RoundRules(quorum=2, join_wait_s=0))
        texts = {"a": (["rose", "sky"], [RED, GREEN]), "b": (["rose"], [RED]), "liar": (["leaf"], [RED])}
        for name in names:
            gateway.statistics(name, gateway.hello_with(name, *texts[name]))
        gateway.tick()
        heads.append(gateway.conductor.bank.head.tobytes())
        if "liar" in names:
            gateway.store.ledger.revoke("liar", revoked=True)
            gateway.train("a")
            gateway.train("b")
            gateway.tick()
            gateway.tick()
            heads.append(gateway.conductor.bank.head.tobytes())
    assert heads[1] != heads[0]
    assert heads[2] == heads[0]


def test_a_head_whose_only_device_is_removed_favours_no_label(tmp_path: Path, package: Any) -> None:
    """It is zeros again, as before any class sums came."""
    gateway = Gateway(tmp_path / "state", package, round=RoundRules(quorum=1, join_wait_s=0))
    gateway.statistics("liar", gateway.hello_with("liar", ["leaf"], [RED]))
    gateway.tick()
    assert gateway.conductor.bank.block(HEAD).any()
    gateway.store.ledger.revoke("liar", revoked=True)
    gateway.hello("a")
    gateway.now += 300
    gateway.tick()
    assert not gateway.conductor.bank.block(HEAD).any()


def test_class_sums_of_more_examples_than_the_hello_told_are_refused(tmp_path: Path, package: Any) -> None:
    """Counts of 1e30 against a Hello of 10 examples: MALFORMED, and the head stays as it was."""
    gateway = Gateway(tmp_path / "state", package)
    message = tiny.statistics(package, "liar", ["leaf"], [RED])
    message.counts = np.array([1e30, 1e30, 1e30], "<f4").tobytes()
    body = encode(message)
    gateway.send(Topic.HELLO, "liar", encode(tiny.hello(package, "liar", statistics_digest=sha256(body))))
    for chunk in split(body, pb.STATISTICS):
        gateway.send(Topic.STATISTICS, "liar", chunk)
    assert gateway.verdict("liar").code == pb.MALFORMED
    assert gateway.store.ledger.statistics() == []


def test_a_trained_heads_rows_are_capped(tmp_path: Path, package: Any) -> None:
    """Eleven of 2 examples of red say +0.001, a liar of 2^32 - 1 reds says -0.001: a quarter of red's row is its."""
    rules, train = RoundRules(quorum=12, join_wait_s=0), Train(learning_rate=0.1, head_share=0.1)
    gateway = Gateway(tmp_path / "state", package, round=rules, train=train)
    names = [f"d{number:02d}" for number in range(11)]
    opened(gateway, *names, "liar")
    before = gateway.conductor.bank.head.astype(np.float64)
    for name in names:
        gateway.train(name, value=0.001, examples=2, label_counts=[2.0, 0.0, 0.0])
    gateway.train("liar", value=-0.001, examples=2**32 - 1, label_counts=[2.0**32 - 1, 0.0, 0.0])
    gateway.tick()
    change = gateway.conductor.bank.head - before
    assert change[:4] == pytest.approx([0.0005] * 4, abs=1e-7)
    assert not change[4:12].any()


@pytest.mark.parametrize("topic", [Topic.BYE, Topic.WANT, Topic.DELTA, Topic.STATISTICS, Topic.HELLO])
def test_no_message_ends_the_gateway_on_a_full_disk(tmp_path: Path, package: Any, topic: Topic) -> None:
    """Whatever a device sends while the ledger refuses writes; afterwards the round goes on."""
    gateway = opened(Gateway(tmp_path / "state", package), "a", "b")
    body = encode(tiny.delta(*gateway.plan("a")))
    payloads = {
        Topic.BYE: [encode(pb.Bye(device="a"))],
        Topic.WANT: [encode(pb.Want(device="a", digests=[b"d" * 32]))],
        Topic.DELTA: list(split(body, pb.DELTA)),
        Topic.STATISTICS: list(split(encode(tiny.statistics(package, "a", ["rose"], [RED])), pb.STATISTICS)),
        Topic.HELLO: [encode(tiny.hello(package, "c"))],
    }
    database = gateway.store.ledger._db
    database.execute("PRAGMA query_only = ON")
    for payload in payloads[topic]:
        gateway.send(topic, "c" if topic is Topic.HELLO else "a", payload)
    gateway.reception.tick(gateway.now + 100, gateway.now)
    database.execute("PRAGMA query_only = OFF")
    gateway.train("a")
    gateway.train("b")
    gateway.tick()
    assert gateway.conductor.row.contributors == 2


def test_a_capped_version_is_made_again_whatever_the_settings_are_now(tmp_path: Path, package: Any) -> None:
    """What counted for it stands in the ledger: a damaged block is made again bit for bit under other limits."""
    gateway = Gateway(tmp_path / "state", package, round=RoundRules(quorum=3, join_wait_s=0), rounds=1)
    opened(gateway, "a", "b", "liar")
    gateway.train("a", examples=1)
    gateway.train("b", examples=1)
    gateway.train("liar", value=-0.01, examples=2**32 - 1)
    gateway.tick()
    assert told(gateway, "limited", device="liar", limit="examples")
    before = gateway.conductor.bank.digest()
    digest = sha256(gateway.conductor.bank.block(SHARED).tobytes()).hex()
    gateway.close()
    (tmp_path / "state" / "blobs" / digest[:2] / digest[2:]).unlink()
    for copy in (tmp_path / "state" / "versions").glob("*.bank"):
        copy.write_bytes(b"")
    again = Gateway(
        tmp_path / "state", package, rounds=1, limits=Limits(weight_multiple=0, weight_share=1, norm_clip=0)
    )
    assert again.conductor.bank.digest() == before
    assert any("made again" in note for note in again.store.notes)
    again.close()
