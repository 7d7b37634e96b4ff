"""A site of a site: three levels, whose version is what one gateway makes of the deltas of all devices."""

from __future__ import annotations

from pathlib import Path

import tiny
from site_box import LIMITS, SiteBox, gateway_above

from broker_server.config_tables import RoundRules
from broker_server.rules.admission import read_contribution
from broker_server.rules.exact_folding import ByStaleness, discounted, fold_exact
from broker_server.rules.updates import Step, next_step
from broker_server.server_config import Server
from edge_runtime.federation.session import Event
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode


def train(box: SiteBox, device: str, value: float, texts: int) -> pb.Delta:
    """Let a device answer its plan; return its delta."""
    digest = box.gateway.train(device, value=value, spread=value / 3, examples=texts)
    return decode(pb.Delta, box.gateway.store.spool.read(digest))


def send_up(box: SiteBox) -> pb.PartialSum:
    """Send the sum of the round that is complete."""
    box.tick()
    assert box.step() is Event.TRAINED
    box.tick()
    assert box.work.pending is not None
    total = decode(pb.PartialSum, box.work.pending.body)
    assert box.deliver().code == pb.ACCEPTED
    return total


def test_three_levels_make_the_version_of_one(tmp_path: Path) -> None:
    """Deltas of the lowest site's devices and of a device of the middle one are counted, and count, once each."""
    top = gateway_above(
        tmp_path / "top", tiny.make_package(tmp_path / "package"), round=RoundRules(quorum=1, join_wait_s=0),
        server=Server(exact_sums=True, sites="middle:3"),
    )  # fmt: skip
    middle = SiteBox(top, tmp_path / "middle", "middle", server=Server(exact_sums=True, sites="low:2"), limits=LIMITS)
    low = SiteBox(middle.gateway, tmp_path / "low", "low")
    low.hello("a", "b")
    low.tick(3)
    low.speak()
    middle.hello("c")
    middle.tick(3)
    middle.speak()
    assert top.store.ledger.devices()[0]["hello"].devices == 3
    top.tick()
    middle.open()
    low.open()
    deltas = [train(low, "a", 0.013, 7), train(low, "b", 0.37, 10)]
    assert send_up(low).devices == 2
    deltas.append(train(middle, "c", -0.021, 3))
    total = send_up(middle)
    assert (total.devices, total.examples) == (3, 20)
    top.tick()
    assert top.conductor.row.version == 1
    shape, sums = top.store.lineage.shape, ByStaleness()
    fold_exact(
        sums, [read_contribution(one, shape, 0, one.examples) for one in deltas], shape, topk=False, normalized=True
    )
    step = next_step(top.store.lineage.load(0)[1], {}, discounted(sums), rounded=False)
    assert step.bank.digest() == top.conductor.row.digest
    assert step.bank.digest() != Step(top.store.lineage.load(0)[1]).bank.digest()
    middle.listen()
    middle.tick()
    low.listen()
    low.tick()
    assert low.gateway.conductor.row.digest == top.conductor.row.digest
    for one in (low, middle, top):
        one.close()


def test_three_levels_make_the_head_of_one(tmp_path: Path) -> None:
    """Class sums are added up twice on the way."""
    texts = {"a": ["rose"], "b": ["rose leaf", "sky"], "c": ["stone"]}
    labels = {"a": [0], "b": [0, 1], "c": [1]}
    package = tiny.make_package(tmp_path / "package")
    top = gateway_above(
        tmp_path / "top", package, round=RoundRules(quorum=1, join_wait_s=0),
        server=Server(exact_sums=True, sites="middle:3"),
    )  # fmt: skip
    middle = SiteBox(top, tmp_path / "middle", "middle", server=Server(exact_sums=True, sites="low:2"), limits=LIMITS)
    low = SiteBox(middle.gateway, tmp_path / "low", "low")
    for device, box in {"a": low, "b": low, "c": middle}.items():
        box.gateway.statistics(device, box.gateway.hello_with(device, texts[device], labels[device]))
    low.tick(3)
    low.speak()
    middle.tick(3)
    middle.speak()
    top.tick()
    one = gateway_above(tmp_path / "one", package, round=RoundRules(quorum=3, join_wait_s=0))
    for device in "abc":
        one.statistics(device, one.hello_with(device, texts[device], labels[device]))
    one.tick()
    rows = [gateway.conductor.row for gateway in (top, one)]
    assert [row.reason for row in rows] == ["head", "head"]
    assert rows[0].digest == rows[1].digest
    assert rows[0].digest != top.store.ledger.version(0).digest  # type: ignore[union-attr]
    statistics = decode(pb.PartialStatistics, middle.work.facts.statistics)  # type: ignore[union-attr]
    assert statistics.devices == 3
    for gateway in (low, middle, top, one):
        gateway.close()
