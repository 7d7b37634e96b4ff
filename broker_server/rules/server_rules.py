"""How deltas become a version beyond their weighted mean: what settings say, and what a version notes of them. Pure.

A version is made again by the rules that made it, whatever the settings say since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from broker_server.rules.robust import NO_NORMS, Robust, UsualNorms
from broker_server.rules.server_optimizer import ServerOptimizer
from broker_server.server_config import RobustMerging, Server
from edge_runtime.wire.experts import ExpertId


@dataclass(frozen=True)
class ServerRules:
    """Args: optimizer: of the gateway; normalized: whether steps are taken out (FedNova); robust: None: plain means."""

    optimizer: ServerOptimizer = field(default_factory=ServerOptimizer)
    normalized: bool = False
    robust: Robust | None = None

    @classmethod
    def of(cls, server: Server, robust: RobustMerging) -> Self:
        """Return the rules that settings say."""
        optimizer = ServerOptimizer(server.optimizer, server.rate, server.beta1, server.beta2, server.tau)
        return cls(optimizer, server.normalize_steps, Robust(robust.trim, robust.shrink) if robust.enabled else None)

    def words(self) -> str:
        """Return them for people; "" for a plain weighted mean."""
        parts = [f"robust, trims {self.robust.trim:g}"] if self.robust is not None else []
        parts += ["steps taken out"] if self.normalized else []
        parts += [] if self.optimizer.plain else [f"{self.optimizer.kind} at a rate of {self.optimizer.eta:g}"]
        return "; ".join(parts)


PLAIN: Final = ServerRules()


@dataclass(frozen=True)
class ServerNotes:
    """What a version's row notes for making it again, and for the merge after it.

    Args:
        rules: that it was merged by.
        norms: the usual norms up to it; of robust merging.
        moments: digest by block of the optimizer's moments after it.
    """

    rules: ServerRules = PLAIN
    norms: UsualNorms = NO_NORMS
    moments: Mapping[ExpertId, bytes] = field(default_factory=dict)

    def text(self) -> str:
        """Return JSON; "" where there is nothing to note."""
        if self == ServerNotes():
            return ""
        robust = self.rules.robust
        tree = {
            "optimizer": asdict(self.rules.optimizer),
            "normalized": self.rules.normalized,
            "robust": None if robust is None else asdict(robust),
            "norms": {kind: list(values) for kind, values in sorted(self.norms.medians.items())},
            "moments": [[block.layer, block.index, self.moments[block].hex()] for block in sorted(self.moments)],
        }
        return json.dumps(tree)

    @classmethod
    def read(cls, text: str) -> Self:
        """Read ``text``'s result.

        Raises:
            ValueError: for any other text.
        """
        if not text:
            return cls()
        try:
            tree: dict[str, Any] = json.loads(text)
            robust = tree["robust"]
            rules = ServerRules(
                ServerOptimizer(**tree["optimizer"]), tree["normalized"], None if robust is None else Robust(**robust)
            )
            norms = UsualNorms({kind: tuple(map(float, values)) for kind, values in tree["norms"].items()})
            moments = {ExpertId(layer, index): bytes.fromhex(digest) for layer, index, digest in tree["moments"]}
        except (KeyError, TypeError, AttributeError) as error:
            msg = f"notes of a merge have another form than expected ({error})"
            raise ValueError(msg) from error
        return cls(rules, norms, moments)
