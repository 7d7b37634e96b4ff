"""Two sites and the gateway above them, with real devices: their versions are those of one gateway, to the byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import toy
from loop_sites import Box, Person

from broker_server.config_tables import RoundRules
from broker_server.rounds.staleness import Staleness
from broker_server.rules.admission import read_contribution
from broker_server.rules.aggregate import Contribution
from broker_server.rules.exact_folding import ByStaleness, discounted, fold_exact
from broker_server.rules.updates import Step, next_step
from broker_server.server_config import Server
from broker_server.state.rows import LEFT_OUT
from broker_server.state.spool import Spool
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import decode

PEOPLE = {"ada": 24, "bea": 15, "cem": 33, "dia": 9}
SITES = "north:9, south:9"


def test_two_sites_make_the_versions_of_one_gateway(tmp_path: Path) -> None:
    """Head and two rounds; deltas in int8, with what int8 left; versions in int8 steps, with their digests."""
    package = toy.write_package(tmp_path / "package", toy.fresh_bank())
    with ExitStack() as open_:
        rules = RoundRules(quorum=2, join_wait_s=0.1)
        above = Box(tmp_path / "above", package, rules, rounds=2, server=Server(exact_sums=True, sites=SITES))
        open_.callback(above.end)
        sites = {name: Box(tmp_path / name, package, rules, (above, name)) for name in ("north", "south")}
        for number, (name, rows) in enumerate(PEOPLE.items()):
            box = sites["north" if number < 2 else "south"]
            open_.callback(Person(box, package, name, tmp_path, rows).end)
        for box in sites.values():
            open_.callback(box.end)
        above.wait(lambda: len(above.events("version", reason="merge")) == 2)
        for box in sites.values():
            box.wait(lambda box=box: max(box.digests()) == max(above.digests()))
            assert box.digests().items() <= above.digests().items()
            assert len(box.events("sum")) == 2
            assert {one["code"] for one in box.events("upstream", what="sum")} == {"ACCEPTED"}
        federated = above.digests()
    with ExitStack() as open_:
        alone = Box(tmp_path / "alone", package, RoundRules(quorum=4, join_wait_s=0.1), rounds=2)
        open_.callback(alone.end)
        for name, rows in PEOPLE.items():
            (tmp_path / "again").mkdir(exist_ok=True)
            open_.callback(Person(alone, package, name, tmp_path / "again", rows).end)
        alone.wait(lambda: len(alone.events("version", reason="merge")) == 2)
        assert alone.digests() == federated
        assert sorted(federated) == [0, 1, 2, 3]


def test_three_levels_make_the_versions_of_one_gateway(tmp_path: Path) -> None:
    """A site below a site, and a device beside it: head and a round, with the digests that one gateway makes."""
    package, names = toy.write_package(tmp_path / "package", toy.fresh_bank()), list(PEOPLE)[:3]
    rules, one = (RoundRules(quorum=quorum, join_wait_s=0.1) for quorum in (2, 1))
    with ExitStack() as open_:
        above = Box(tmp_path / "above", package, one, rounds=1, server=Server(exact_sums=True, sites="middle:9"))
        middle = Box(
            tmp_path / "middle", package, rules, (above, "middle"), server=Server(exact_sums=True, sites=SITES)
        )
        low = Box(tmp_path / "low", package, rules, (middle, "north"))
        open_.callback(above.end)
        for name, box in zip(names, (low, low, middle), strict=True):
            open_.callback(Person(box, package, name, tmp_path, PEOPLE[name]).end)
        open_.callback(middle.end)
        open_.callback(low.end)
        above.wait(lambda: above.events("version", reason="merge"))
        low.wait(lambda: max(low.digests()) == max(above.digests()))
        federated = above.digests()
        for box, deltas in ((low, 2), (middle, 3)):
            assert box.digests().items() <= federated.items()
            assert [event["devices"] for event in box.events("sum")] == [deltas]
    with ExitStack() as open_:
        alone = Box(tmp_path / "alone", package, RoundRules(quorum=3, join_wait_s=0.1), rounds=1)
        open_.callback(alone.end)
        (tmp_path / "again").mkdir()
        for name in names:
            open_.callback(Person(alone, package, name, tmp_path / "again", PEOPLE[name]).end)
        alone.wait(lambda: alone.events("version", reason="merge"))
        assert alone.digests() == federated
        assert sorted(federated) == [0, 1, 2]


def test_a_site_that_dies_with_a_plan_leaves_the_versions_of_those_who_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asynchronous: each sum is merged as it comes. What one gateway makes of the same deltas has the same digests."""
    bodies: dict[bytes, bytes] = {}
    keep = Spool.keep_all

    def kept(self: Spool, listed: Iterable[tuple[bytes, bytes]]) -> None:
        both = list(listed)
        bodies.update(both)
        keep(self, both)

    monkeypatch.setattr(Spool, "keep_all", kept)
    package = toy.write_package(tmp_path / "package", toy.fresh_bank())
    with ExitStack() as open_:
        rules = RoundRules(quorum=2, join_wait_s=0.1)
        server = Server(exact_sums=True, sites=SITES)
        fills = RoundRules(quorum=2, join_wait_s=0.1, buffer=1, max_staleness=4)
        above = Box(tmp_path / "above", package, fills, rounds=4, server=server)
        open_.callback(above.end)
        north, south = (Box(tmp_path / name, package, rules, (above, name)) for name in ("north", "south"))
        open_.callback(north.end)
        people = [
            Person(box, package, name, tmp_path, PEOPLE[name])
            for name, box in zip(PEOPLE, [north] * 2 + [south] * 2, strict=True)
        ]
        for person in people[:2]:
            open_.callback(person.end)
        south.wait(lambda: len(south.events("round")) >= 2)  # it has a second plan, and its devices train
        south.end()
        above.wait(lambda: len(above.events("version", reason="merge")) == 4)
        for person in people[2:]:
            person.end()
    check_versions(tmp_path, ("north", "south"), bodies)


def check_versions(folder: Path, sites: Iterable[str], bodies: Mapping[bytes, bytes]) -> None:
    """Make every merge again from the deltas of devices alone, as one gateway does."""
    above, below = Store.open_read_only(folder / "above"), {one: Store.open_read_only(folder / one) for one in sites}
    rows, shape = above.ledger.versions(), above.lineage.shape
    steps, staleness, step = above.ledger.steps(), Staleness(above.ledger), Step(above.lineage.load(0)[1])
    for row in rows[1:]:
        if row.reason != "merge":
            step = Step(above.lineage.load(row.version)[1])
            continue
        deltas: list[Contribution] = []
        for one in above.ledger.merged_into(row.version):
            for each in below[one.device].ledger.deltas(one.round):
                delta = decode(pb.Delta, bodies[each.digest])
                assert each.version != LEFT_OUT
                stale = staleness.of(each.blocks, delta.base_version, [s for s in steps if s < row.version])
                whole = read_contribution(delta, shape, 0, each.examples)
                deltas.append(Contribution(**{**vars(whole), "stale": stale}))
        sums = ByStaleness()
        fold_exact(sums, deltas[::-1], shape, topk=False, normalized=True)
        step = next_step(step.bank, step.residuals, discounted(sums), rounded=True)
        assert step.bank.digest() == row.digest
    assert [row.reason for row in rows].count("merge") == 4
    for store in (above, *below.values()):
        store.close()
