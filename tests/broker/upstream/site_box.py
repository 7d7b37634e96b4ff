"""A site and the gateway above it without a broker or threads: what one says is carried to the other by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny_gateway import Gateway

from broker_server.config_tables import Limits, RoundRules
from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rules.round import State
from broker_server.server_config import Server
from broker_server.upstream.desk import Desk, Facts
from broker_server.upstream.site_conductor import SiteConductor
from broker_server.upstream.site_work import SitePlans, SiteWork
from broker_server.upstream.uplink import FOLDER
from broker_server.upstream_config import UpstreamTable
from edge_runtime.federation.session import Event
from edge_runtime.federation.versions import Versions
from edge_runtime.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.chunks import split
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic

LIMITS = Limits(weight_multiple=0, weight_share=1, norm_clip=0)
SITES = "north:9, south:9"
VALUES = {"a": 0.013, "b": 0.37}
"""That devices move theirs by."""


def gateway_above(folder: Path, package: Any, **fields: Any) -> Gateway:
    """Return a gateway whose devices may be sites, with exact sums."""
    return Gateway(folder, package, **({"server": Server(exact_sums=True, sites=SITES), "limits": LIMITS} | fields))


class SiteBox:
    """A site that can be killed and started again over the same state directory.

    Args:
        above: the gateway.
        folder: of its state.
        name: there.
    """

    def __init__(self, above: Gateway, folder: Path, name: str, **fields: Any) -> None:
        self.above, self.folder, self.name, self._fields = above, folder, name, fields
        self.start()

    def start(self) -> None:
        """Start as a new process would."""
        self.desk = Desk()

        def conductor(parts: GatewayParts, session: bytes) -> SiteConductor:
            self._store = Store(parts.store.folder / FOLDER)
            self.versions = Versions(self._store, self.above.package)
            manifest = self.above.package.manifest
            self.work = SiteWork(
                self._store, self.versions, self.name, served=manifest.architecture, profile="tiny", desk=self.desk
            )
            self.work.resume()
            for digest in self.work.decided:
                self.desk.keep(digest)
            self.tell_complete()
            return SiteConductor(parts, session, self.desk, self.name, "mqtt://above")

        values = {
            "rounds": 0, "server": Server(exact_sums=True), "limits": LIMITS, "conductor_of": conductor,
            "round": RoundRules(quorum=2, join_wait_s=0), "upstream": UpstreamTable("mqtt://127.0.0.1", self.name),
        }  # fmt: skip
        self.gateway = Gateway(self.folder, self.above.package, **(values | self._fields))
        self.gateway.conductor.announce()
        self.plans = SitePlans(self.work, self.desk)
        self.hello(*getattr(self, "devices", ()))

    def hello(self, *devices: str) -> None:
        """Let devices say hello."""
        self.devices = devices
        self.gateway.hello(*devices)

    def kill(self) -> None:
        """End it as a power cut would, and start it again."""
        self.close()
        self.start()

    def close(self) -> None:
        """Let its folders go."""
        self._store.close()
        self.gateway.close()

    def tick(self, times: int = 1) -> None:
        """Look at the clock, a few seconds apart."""
        for _ in range(times):
            self.gateway.now += 6.0
            self.gateway.tick()

    # --- what goes up and comes down -----------------------------------------------------------------------------

    def speak(self) -> None:
        """Say above what the site can do, with its class sums."""
        facts = self.desk.wait_for_facts(0.0) or self.work.facts or Facts(b"")
        self.work.bring_facts(facts)
        hello = self.work.hello()
        hello.device, hello.gateway_session = self.name, b"s" * 16
        hello.federation_digest = self.above.package.manifest.architecture.digest()
        hello.package_digest = self.above.package.digest
        hello.codecs.extend((pb.FLOAT32, pb.INT8))
        hello.statistics_digest = sha256(facts.statistics) if facts.statistics else b""
        self.above.send(Topic.HELLO, self.name, encode(hello))
        if self.above.verdict(self.name).want_statistics:
            for chunk in split(facts.statistics, pb.STATISTICS):
                self.above.send(Topic.STATISTICS, self.name, chunk)

    def listen(self) -> None:
        """Hear of the newest version above, fetch it, and take the plan at hand."""
        self.hear_version()
        self.fetch()
        self.hear_plan()
        if self.work.waiting is not None:
            self.begin()

    def hear_version(self) -> None:
        """Hear of the newest version above; nothing is fetched yet."""
        newest = self.versions.announce(self.above.store.ledger.version().payload)  # type: ignore[union-attr]
        self.work.let_go(newest.round)

    def hear_plan(self) -> None:
        """Take the plan that is retained above for this site, which may have been taken back."""
        payload = self.above.out.last(Topic.PLAN, self.name)
        if payload:
            self.work.take(payload)
        else:
            self.work.withdraw()
            self.work.abandon()

    def fetch(self) -> None:
        """Fetch what the newest version and those of plans lack, and tell of the newest."""
        for digest in self.work.missed_versions():
            assert self.above.store.blobs.offered(digest)
            self.versions.keep(digest, self.above.store.blobs.get(digest))
        assert self.work.missed_versions() == []
        of_plans = [self.versions.find(digest) for digest in self.work.wanted_versions]
        for version in (self.versions.newest, *of_plans):
            for digest in self.versions.wanted(version) if version is not None else ():
                self.versions.keep(digest, self.above.store.blobs.get(digest))
        self.versions.adopt_newest(self.work.wanted_versions)
        self.tell_complete()

    def tell_complete(self) -> None:
        """Hand the newest version over, when it is complete."""
        newest = self.versions.newest
        complete = self.work.complete(newest) if newest is not None and not self.versions.missing(newest) else None
        if complete is not None:
            self.desk.bring_version(complete)

    def begin(self) -> None:
        """Hand the plan that waits over."""
        assert self.work.ready
        assert self.plans.begin() is None

    def step(self) -> Event | None:
        """Look whether there is a sum, and write it."""
        return self.plans.step()

    def deliver(self) -> pb.Verdict:
        """Send the pending sum up; take the verdict."""
        assert self.work.pending is not None
        self.above.deliver(self.name, self.work.pending.body)
        verdict = self.above.verdict(self.name)
        if verdict.retry_after_s == 0:
            self.work.settle(accepted=verdict.code == pb.ACCEPTED)
        return verdict

    def open(self) -> None:
        """Go on until the round of the plan at hand is open."""
        self.listen()
        self.tick(3)
        assert self.gateway.conductor.state is State.OPEN, self.gateway.told[-3:]

    def whole_round(self, values: dict[str, float]) -> bytes:
        """Play a round to the verdict; return the digest of its sum. Args: values: that devices move theirs by."""
        self.open()
        for device, value in values.items():
            self.gateway.train(device, value=value, spread=value / 3)
        self.tick()
        assert self.step() is Event.TRAINED
        self.tick()
        assert self.gateway.conductor.state is State.GATHERING
        digest = self.work.pending.digest if self.work.pending is not None else b""
        assert self.deliver().code == pb.ACCEPTED
        return digest


def site(above: Gateway, folder: Path, name: str, devices: str = "ab", **fields: Any) -> SiteBox:
    """Return a site whose devices are here, and which said so above."""
    box = SiteBox(above, folder, name, **fields)
    box.hello(*devices)
    box.tick(3)
    box.speak()
    return box
