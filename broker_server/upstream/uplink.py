"""The thread that speaks with the gateway above, as a device does: the same session, membership, fetching, delivery."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Final

from broker_server.errors import StateError, UsageError
from broker_server.upstream.desk import Desk, Look
from broker_server.upstream.site_work import SitePlans, SiteWork
from broker_server.upstream_config import UpstreamTable
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.device import Device
from edge_runtime.federation.enrolled import broker_of, check_package, read_enrolment
from edge_runtime.federation.link import Broker, LinkEvent
from edge_runtime.federation.membership import Identity
from edge_runtime.federation.mqtt.link import MqttLink
from edge_runtime.federation.report import DeviceEvent, Report
from edge_runtime.federation.versions import Versions
from edge_runtime.store import Store
from edge_runtime.training.budget import Budget
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.limits import BODY_LIMIT
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.messages import encode

FOLDER: Final = "upstream"
"""In the state directory: what a site keeps as a device of the gateway above."""
AGAIN_S: Final = 30.0
"""When to begin anew after a failure that is no broken connection: a full disk, a refusal of the site itself."""
INBOX: Final = 4096
_STATES: Final = {
    "connected": "connected",
    "joined": "joined",
    "disconnected": "away",
    "gateway_gone": "away",
    "error": "refused",
    "no_gateway": "away",
    "unanswered": "unanswered",
}
"""What an event of the session says of the state, in one word."""


class Uplink:
    """The way to the gateway above.

    Args:
        table: where it is.
        federation: the name of this gateway's federation, which is that above.
        package: of the federation.
        state: directory of this gateway.
        desk: to the thread that decides.

    Raises:
        UsageError: when the enrolment is for another federation or package.
        StateError: when its folder in the state directory cannot be used.
    """

    def __init__(self, table: UpstreamTable, federation: str, package: Package, state: Path, desk: Desk) -> None:
        self._package, self._desk = package, desk
        try:
            self._store = Store(state / FOLDER)
        except FederationError as error:
            raise StateError(str(error)) from error
        try:
            self._broker, self._config = self._way(table, federation, state / FOLDER)
            self._versions = Versions(self._store, package)
        except FederationError as error:
            self._store.close()
            raise UsageError(f"upstream: {error}") from error
        self.url, self.name = str(self._broker), self._config.device
        architecture = package.manifest.architecture
        self.work = SiteWork(
            self._store, self._versions, self.name, served=architecture, profile=package.manifest.device, desk=desk
        )
        self.work.resume()
        for digest in self.work.decided:
            desk.keep(digest)
        self._look = Look()
        self._tell_complete()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)

    def _way(self, table: UpstreamTable, federation: str, folder: Path) -> tuple[Broker, RunConfig]:
        # A sum has eight bytes a value, and goes as one body: the planner above counts one, in int8.
        shape = self._package.manifest.architecture.bank_shape
        room = BODY_LIMIT // 9 if 2 * shape.nbytes > BODY_LIMIT // 2 else 0
        budget = Budget(bytes_up=room)
        if table.enrolment is not None:
            enrolment = read_enrolment(table.enrolment)
            check_package(enrolment, self._package)
            if enrolment.federation != federation:
                msg = f"the enrolment is for federation {enrolment.federation}, this gateway's is {federation}"
                raise UsageError(msg)
            key = bytes.fromhex(enrolment.gateway_key)
            config = RunConfig(enrolment.device, federation, budget=budget, driver="site", gateway_key=key)
            return broker_of(enrolment, folder), config
        files = {"ca": table.ca, "certificate": table.certificate, "key": table.key}
        broker = Broker.parse(table.url, allow_plaintext=table.allow_plaintext, **files)
        key = bytes.fromhex(table.gateway_key)
        return broker, RunConfig(table.name, federation, budget=budget, driver="site", gateway_key=key)

    def start(self) -> None:
        """Begin to speak, once the site has something to say."""
        self._thread.start()

    def stop(self) -> None:
        """Say goodbye and end; safe to call twice. What is at hand is kept."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10.0)
        self._store.close()

    # --- its thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            facts = self.work.facts or self._desk.wait_for_facts(0.2)
            if facts is None:
                continue
            try:
                self.work.bring_facts(facts)
                self._serve()
            except FederationError as error:
                self._say("refused", str(error), failure=str(error))
                self._stopping.wait(AGAIN_S)
                continue
            if self._desk.finished:
                return

    def _serve(self) -> None:
        """Be a device above until the end, or until the gateway above is done.

        Raises:
            FederationError: when the site is refused for good, or its disk refuses.
        """
        config, inbox = self._config, queue.Queue[LinkEvent](INBOX)
        report = Report(config.device, self._told)
        link = MqttLink(self._broker, config.federation, config.device, encode(pb.Bye(device=config.device)), inbox.put)
        report.traffic = link.traffic
        identity = Identity(self._package.digest, None)
        plans = SitePlans(self.work, self._desk)
        device = Device(
            config, self.work, identity, link, inbox, report=report, stopped=self._stopped, carrying_out=plans
        )
        self._device = device
        if self.work.facts is not None:
            device.greet_again(self.work.facts.statistics)
        device.run()
        if not self._stopping.is_set():
            self._desk.finish()

    def _stopped(self) -> bool:
        """Look, in every turn, whether the site says something new of itself."""
        facts = self._desk.wait_for_facts(0.0, self.work.facts)
        if facts is not None:
            self.work.bring_facts(facts)
            self._device.greet_again(facts.statistics)
        return self._stopping.is_set()

    def _told(self, event: DeviceEvent) -> None:
        """Note what the session tells."""
        if event.name == "version":
            self._tell_complete()
        elif event.name == "verdict" and event.values["kind"] == "delta":
            code, number = str(event.values["code"]), int(event.values["round"])
            if code != "INCOMPLETE":
                taken = number if code == "ACCEPTED" else self._look.round
                self._look = Look(self._look.state, self._look.detail, taken)
                detail = str(event.values["detail"])
                self._desk.tell(self._look, what="sum", round=number, code=code, detail=detail)
        elif event.name in _STATES:
            self._say(_STATES[event.name], event.text or str(event.values.get("reason", "")))

    def _say(self, state: str, detail: str, **more: str) -> None:
        if (state, detail) != (self._look.state, self._look.detail):
            self._look = Look(state, detail, self._look.round)
            self._desk.tell(self._look, what=state, detail=detail, **more)

    def _tell_complete(self) -> None:
        """Hand the newest version over, when all of it is here."""
        newest = self._versions.newest
        if newest is None or self._versions.missing(newest):
            return
        complete = self.work.complete(newest)
        if complete is not None:
            self._desk.bring_version(complete)
