"""The tables [server] and [robust] of a configuration: how a round's deltas become the next version."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from edge_runtime.wire.errors import MalformedMessage
from edge_runtime.wire.limits import SITE_DEVICES_LIMIT
from edge_runtime.wire.topics import check_name

if TYPE_CHECKING:
    from broker_server.config import GatewayConfig

OPTIMIZERS: Final = ("none", "momentum", "adam", "yogi")


@dataclass(frozen=True)
class Server:
    """The gateway's own optimizer, which takes a round's mean update as a gradient (docs/algorithm.md).

    Args:
        optimizer: "none": the mean update is added as it is; "momentum": FedAvgM; "adam": FedAdam; "yogi": FedYogi.
        rate: learning rate of its steps; 0: 1 for "none" and "momentum", 0.01 for "adam" and "yogi", which move a value
            by about so much in a round.
        beta1: how much of its momentum stays from round to round.
        beta2: of "adam" and "yogi": how much of its mean of squares stays from round to round.
        tau: of "adam" and "yogi": size of an update below which a value is no longer moved as far as the others.
        normalize_steps: divide each delta by its steps before the mean, and multiply with their mean after it
            (FedNova), so that devices with more time do not pull further than their examples say. Where all steps of a
            round are equal nothing is divided; under [privacy] every device counts alike.
        exact_sums: add up so that no order of additions changes a bit of a version: the same deltas give the same
            version through one gateway and through sites (docs/operating.md, "Sites"). What one device may weigh is
            then ``limits.most_examples`` alone; it wants limits.weight_multiple = 0, limits.weight_share = 1 and
            limits.norm_clip = 0, and goes neither with [robust] nor with [privacy].
        sites: devices of this gateway that are sites, gateways which add up what their own devices send: "NAME:DEVICES"
            with commas between, DEVICES being for how many one may speak; it wants exact_sums.
    """

    optimizer: str = "none"
    rate: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3
    normalize_steps: bool = True
    exact_sums: bool = False
    sites: str = ""

    def fault(self) -> str:
        """Return what is wrong with the values, for people; "" when nothing is."""
        if self.optimizer not in OPTIMIZERS:
            return f"server.optimizer {self.optimizer!r}, expected one of {', '.join(OPTIMIZERS)}"
        if not 0 <= self.rate <= 10:
            return f"server.rate {self.rate}, expected 0 to 10"
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                return f"server.{name} {getattr(self, name)}, expected 0 or more and less than 1"
        if not 0 < self.tau <= 1:
            return f"server.tau {self.tau}, expected more than 0, at most 1"
        try:
            sites = self._sites
        except ValueError as error:
            return f"server.sites: {error}; expected NAME:DEVICES with commas between, as in north:500, south:2000"
        return "server.sites wants server.exact_sums = true" if sites and not self.exact_sums else ""

    def site_of(self, device: str) -> int:
        """Return for how many devices a name may speak; 0: it is no site."""
        return self._sites.get(device, 0)

    @cached_property
    def _sites(self) -> dict[str, int]:
        sites: dict[str, int] = {}
        for one in filter(None, map(str.strip, self.sites.split(","))):
            name, _, devices = one.partition(":")
            number = int(devices) if devices.isdecimal() and len(devices) <= 9 else 0
            if not 1 <= number <= SITE_DEVICES_LIMIT:
                msg = f"{one!r} names no number of devices from 1 to {SITE_DEVICES_LIMIT}"
                raise ValueError(msg)
            if name in sites:
                msg = f"{name} is listed twice"
                raise ValueError(msg)
            try:
                check_name(name, "site")
            except MalformedMessage as error:
                raise ValueError(error.detail) from error
            sites[name] = number
        return sites


@dataclass(frozen=True)
class RobustMerging:
    """Merging that a minority of lying devices cannot steer, at some cost in accuracy (docs/algorithm.md).

    Args:
        enabled: compare devices' directions, and merge each value by a rule for the number of devices that trained it:
            of five or more a trimmed mean, of three or four the median, of one or two a mean that is cut and shrunk.
        trim: of five devices or more, the share that is left out at each side of a value; one device at least is. 0:
            no value has a rule of its own: who is heard is merged by the weighted mean, as without robust merging.
        shrink: of n devices, one or two, the mean counts n / (n + shrink); 0: whole.
        directions: compare devices' directions: who sends updates that point away from those of the others, round after
            round, is left out. It needs five devices in a round, most of them honest.
        remember: share of a device's trust that stays from one of its rounds to its next; trust is the sum of what its
            rounds said, and below 0 the device is left out.
        most_trust: trust that a device can save up for a time of lies, at most; the mean cosine of a round with all
            others adds to it.
    """

    enabled: bool = False
    trim: float = 0.2
    shrink: float = 1.0
    directions: bool = True
    remember: float = 0.95
    most_trust: float = 0.1

    def fault(self) -> str:
        """Return what is wrong with the values, for people; "" when nothing is."""
        if not 0 <= self.trim < 0.5:
            return f"robust.trim {self.trim}, expected 0 or more and less than 0.5"
        if not 0 <= self.remember <= 1:
            return f"robust.remember {self.remember}, expected 0 to 1"
        if self.most_trust <= 0:
            return f"robust.most_trust {self.most_trust}, expected more than 0"
        if self.enabled and not self.trim and not self.directions:
            return (
                "robust.enabled with robust.trim = 0 and robust.directions = false leaves nothing to do: set trim to "
                "merge by value (0.2), or directions = true to leave out who points away from the others"
            )
        return "" if self.shrink >= 0 else f"robust.shrink {self.shrink}, expected 0 or more"


def exact_conflict(config: GatewayConfig) -> str:
    """Return which settings go against server.exact_sums, what they do, and what to do; "" when none does."""
    if not config.server.exact_sums:
        return ""
    limits = config.limits
    against = {
        f"limits.weight_multiple = 0 ({limits.weight_multiple:g} came)": limits.weight_multiple != 0,
        f"limits.weight_share = 1 ({limits.weight_share:g} came)": limits.weight_share != 1,
        f"limits.norm_clip = 0 ({limits.norm_clip:g} came)": limits.norm_clip != 0,
        "robust.enabled = false (true came)": config.robust.enabled,
        "privacy.enabled = false (true came)": config.privacy.enabled,
    }
    wanted = [text for text, broken in against.items() if broken]
    if not wanted:
        return ""
    return (
        f"server.exact_sums wants {'; '.join(wanted)}: each needs all deltas of a round at one place, and a site adds "
        "up some of them; set limits.most_examples to bound what one device weighs"
    )
