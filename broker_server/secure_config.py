"""The table [secure] of a configuration, and which other settings do not go with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker_server.engine_config import IN_PROCESS
from broker_server.errors import UsageError
from edge_runtime.wire.manifest import Architecture
from edge_runtime.wire.mask_checks import LIMIT_MOST
from edge_runtime.wire.secure.graph import LEAST_MEMBERS, MOST_MEMBERS

if TYPE_CHECKING:
    from broker_server.config import GatewayConfig


MASKED: Final = "masked"
SEEN: Final = "seen"
CLASS_SUMS: Final = (MASKED, SEEN, "no")


@dataclass(frozen=True)
class Secure:
    """Sums under masks: the gateway learns what devices add up to, and no single delta (docs/security.md).

    Args:
        enabled: plan rounds under masks, for devices that know them. It wants round.quorum of 3 or more,
            round.max_staleness = 0, round.buffer = 0, round.training_s = 0, robust.enabled = false,
            server.normalize_steps = false, limits.norm_factor = 0, a softmax gate, deltas that are merged in the
            gateway's own process, and no sites.
        trainers: devices that are planned for each expert at least; an expert that fewer have room for rests.
        keys_s: how long devices may take to send their keys; who is later takes no part in the round.
        shares_s: how long the listed ones may take to deal their shares; likewise.
        answer_s: how long those whose delta came may take to answer for the others; then sums are opened whose answers
            are enough, and the experts of the others stay as they are.
        dropouts: share of a round's devices that may leave after they dealt, without a sum being lost by it. With
            [privacy] a sum that more than this share of its planned devices left has too little noise, and is never
            opened.
        colluding: share of a round's devices that may tell the gateway all they know, without a delta being seen by it,
            or [privacy] promising less.
        limit: size of a value under masks at most, in steps; 127 is as coarse as int8. A larger one costs bits.
        most_weight: weight of a device at most, in units of the examples that a plan's steps hold; up to ``limit``.
        most_move: how far a value may move in a round, as a multiple of steps times learning rate; what is beyond goes
            with the device's next delta.
        class_sums: what the head starts from. "masked": each device gives its class sums once, under masks, in the
            first round that asks it: the gateway sees the sum of all who gave them in that round, and the head is made
            of it. "seen": in the clear, so that the gateway sees those of each device. "no": nobody is asked, and the
            head has to be trained (train.head_share), or stays as it is.
        authority: PEM file of the authority that issues devices' certificates, where the broker is an external one:
            then devices have to sign their keys, as they have to where ``listen.ca`` lets them in.
    """

    enabled: bool = False
    trainers: int = 3
    keys_s: float = 60.0
    shares_s: float = 60.0
    answer_s: float = 60.0
    dropouts: float = 0.3
    colluding: float = 0.1
    limit: int = 127
    most_weight: int = 15
    most_move: float = 1.0
    class_sums: str = MASKED
    authority: Path | None = None

    def fault(self) -> str:
        """Return what is wrong with the values, for people; "" when nothing is."""
        if not LEAST_MEMBERS <= self.trainers <= MOST_MEMBERS:
            return f"secure.trainers {self.trainers}, expected {LEAST_MEMBERS} to {MOST_MEMBERS}"
        for name in ("keys_s", "shares_s", "answer_s"):
            if not getattr(self, name) > 0:
                return f"secure.{name} {getattr(self, name)}, expected more than 0"
        for name in ("dropouts", "colluding"):
            if not 0 <= getattr(self, name) < 0.5:
                return f"secure.{name} {getattr(self, name)}, expected 0 or more and less than 0.5"
        if not 1 <= self.most_weight <= self.limit <= LIMIT_MOST:
            most = f"secure.most_weight {self.most_weight} and secure.limit {self.limit}"
            return f"{most}, expected 1 or more, the first no larger than the second, and that at most {LIMIT_MOST}"
        if not 0 < self.most_move <= 100:
            return f"secure.most_move {self.most_move}, expected more than 0, at most 100"
        known = self.class_sums in CLASS_SUMS
        return "" if known else f"secure.class_sums {self.class_sums!r}, expected one of {', '.join(CLASS_SUMS)}"


def secure_conflict(config: GatewayConfig) -> str:
    """Return which settings do not go with [secure], why, and what to do; "" when none does."""
    if not config.secure.enabled:
        return ""
    sites = config.upstream.enabled or bool(config.server.sites)
    against = {
        "round.quorum of 3 or more: a sum of two is each one's delta to the other": config.round.quorum < LEAST_MEMBERS,
        f"round.cohort of {MOST_MEMBERS} at most: a list has no more members": config.round.cohort > MOST_MEMBERS,
        "round.max_staleness = 0: masks belong to one round's list": config.round.max_staleness != 0,
        "round.buffer = 0: likewise": config.round.buffer != 0,
        "round.training_s = 0: steps of one device would weigh otherwise": config.round.training_s != 0,
        "robust.enabled = false: it looks at single deltas": config.robust.enabled,
        "server.normalize_steps = false: likewise": config.server.normalize_steps,
        "limits.norm_factor = 0: likewise": config.limits.norm_factor != 0,
        f"engine.kind = {IN_PROCESS!r}: shards take deltas apart": config.engine.kind != IN_PROCESS,
        "no [upstream], and no server.sites: sites and their sums do not go under masks yet": sites,
    }
    wanted = [text for text, broken in against.items() if broken]
    return f"secure.enabled wants {'; '.join(wanted)}" if wanted else ""


def check_package(config: GatewayConfig, architecture: Architecture) -> None:
    """Refuse a package that does not go with [secure].

    Args:
        config: settings.
        architecture: of the package.

    Raises:
        UsageError: saying what to do.
    """
    if not config.secure.enabled:
        return
    if architecture.gate == "topk":
        msg = (
            "secure.enabled does not go with a top-k gate, whose statistics are those of single deltas: export the "
            "package with a softmax gate"
        )
        raise UsageError(msg)
    if architecture.labels and config.secure.class_sums not in (MASKED, SEEN) and not config.train.head_share:
        msg = (
            "secure.enabled without class sums leaves the head to nobody: let devices train it "
            '(train.head_share, 1 for example), or have them summed under masks (secure.class_sums = "masked")'
        )
        raise UsageError(msg)
