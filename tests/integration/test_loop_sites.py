"""Two sites and the gateway above them, with real devices: their versions are those of one gateway, to the byte."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import toy
from loop_sites import Box, Person

from broker_server.config_tables import RoundRules
from broker_server.server_config import Server

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
