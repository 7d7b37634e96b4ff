"""The table [upstream] of a configuration: the gateway above, and which other settings go with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge_runtime.wire.broker_url import BrokerUrl, BrokerUrlError
from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.topics import check_name

if TYPE_CHECKING:
    from broker_server.config import GatewayConfig

KEY_BYTES = 32


@dataclass(frozen=True)
class UpstreamTable:
    """The gateway above this one, which then is a site (docs/operating.md, "Sites").

    Args:
        url: of its broker, mqtts://HOST[:PORT] or mqtt:// on this machine; "": ``enrolment`` names it.
        name: of this site there: what ``server.sites`` of that gateway lists, and its certificate's CN.
        enrolment: file of ``broker_server enroll`` for this site, in place of ``url``, ``name`` and the files.
        ca: PEM file of the authority of that broker's certificate.
        certificate: PEM file of this site's certificate there.
        key: PEM file of its key, not encrypted.
        gateway_key: public key, in hex, with which that gateway signs; "": what is not signed is taken.
        allow_plaintext: take mqtt:// to another machine.
    """

    url: str = ""
    name: str = ""
    enrolment: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    gateway_key: str = ""
    allow_plaintext: bool = False

    @property
    def enabled(self) -> bool:
        """Whether there is a gateway above."""
        return bool(self.url) or self.enrolment is not None

    def fault(self) -> str:
        """Return what is wrong with the values, for people; "" when nothing is."""
        if not self.enabled:
            return "upstream.name wants upstream.url or upstream.enrolment" if self.name else ""
        if self.url and self.enrolment is not None:
            return "upstream.url and upstream.enrolment both name the gateway above: leave one out"
        if self.enrolment is not None:
            doubled = [name for name in ("name", "ca", "certificate", "key", "gateway_key") if getattr(self, name)]
            return f"upstream.{doubled[0]} stands in the enrolment: leave it out" if doubled else ""
        try:
            check_name(self.name, "upstream.name")
            url = BrokerUrl.parse(self.url, allow_plaintext=self.allow_plaintext)
        except (MalformedMessage, BrokerUrlError) as error:
            return f"upstream: {error}"
        if not re.fullmatch(f"([0-9a-f]{{{2 * KEY_BYTES}}})?", self.gateway_key):
            return f"upstream.gateway_key {self.gateway_key!r}, expected the {KEY_BYTES} bytes of a key in hex"
        files = self.ca or self.certificate or self.key
        return (
            "upstream.ca, certificate and key want mqtts:// or wss:// in upstream.url" if files and not url.tls else ""
        )


def site_conflict(config: GatewayConfig) -> str:
    """Return which settings go against [upstream], and what to do; "" when none does."""
    if not config.upstream.enabled:
        return ""
    against = {
        "server.exact_sums = true: other sums depend on their order": not config.server.exact_sums,
        "server.optimizer = none: versions are made above": config.server.optimizer != "none",
        "gate.hold = false: versions are judged above": config.gate.hold,
        "rounds = 0: the gateway above counts them": config.rounds != 0,
        "round.buffer = 0: a site adds up a round": config.round.buffer != 0,
        "round.training_s = 0: steps come from above": config.round.training_s != 0,
        "engine.kind = in-process: a site merges nothing": config.engine.kind != "in-process",
    }
    wanted = [text for text, broken in against.items() if broken]
    return f"upstream (this gateway is a site) wants {'; '.join(wanted)}" if wanted else ""
