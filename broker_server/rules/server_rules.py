"""How deltas become a version beyond their weighted mean: what settings say, and what a version notes of them. Pure.

A version is made again by the rules that made it, whatever the settings say since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self

from broker_server.rules.agreement import Agreement
from broker_server.rules.privacy import Privacy
from broker_server.rules.robust import NO_NORMS, Robust, UsualNorms
from broker_server.rules.server_optimizer import ServerOptimizer
from broker_server.server_config import RobustMerging, Server
from edge_runtime.wire.experts import ExpertId


@dataclass(frozen=True)
class ServerRules:
    """Rules beyond the weighted mean.

    Args:
        optimizer: of the gateway.
        normalized: whether steps are taken out (FedNova).
        robust: None: plain means.
        privacy: None: nothing is promised.
        exact: whether sums are those of any order (``exact.py``).
    """

    optimizer: ServerOptimizer = field(default_factory=ServerOptimizer)
    normalized: bool = False
    robust: Robust | None = None
    privacy: Privacy | None = None
    exact: bool = False

    @classmethod
    def of(cls, server: Server, robust: RobustMerging, privacy: Privacy | None = None) -> Self:
        """Return the rules that settings say."""
        optimizer = ServerOptimizer(server.optimizer, server.rate, server.beta1, server.beta2, server.tau)
        rules = _robust(robust) if robust.enabled else None
        return cls(optimizer, server.normalize_steps, rules, privacy, server.exact_sums)

    def of_steps(self, steps: Sequence[int]) -> Self:
        """Return the rules for a round whose deltas are of so many steps each: where all are alike none are taken out.

        With robust merging they are, always: what norms were usual is remembered for one step. With exact sums, too:
        who adds up some of a round's deltas does not know the steps of the others.
        """
        alike = len(set(steps)) <= 1
        return replace(self, normalized=False) if alike and self.robust is None and not self.exact else self

    def words(self) -> str:
        """Return them for people; "" for a plain weighted mean."""
        private = self.privacy
        parts = [f"private, noise {private.noise:g} times {private.clip:g}"] if private is not None else []
        parts += [_robust_words(self.robust)] if self.robust is not None else []
        parts += ["exact sums"] if self.exact else []
        parts += ["steps taken out"] if self.normalized else []
        parts += [] if self.optimizer.plain else [f"{self.optimizer.kind} at a rate of {self.optimizer.eta:g}"]
        return "; ".join(parts)


def _robust(table: RobustMerging) -> Robust:
    directions = Agreement(table.remember, table.most_trust) if table.directions else None
    return Robust(table.trim, table.shrink, table.trim > 0, directions)


def _robust_words(rules: Robust) -> str:
    directions = ", compares directions" if rules.directions is not None else ""
    return f"robust{directions}{f', trims {rules.trim:g}' if rules.by_value else ''}"


PLAIN: Final = ServerRules()


@dataclass(frozen=True)
class ServerNotes:
    """What a version's row notes for making it again, and for the merge after it.

    Args:
        rules: that it was merged by.
        norms: the usual norms up to it; of robust merging.
        moments: digest by block of the optimizer's moments after it.
        planned: devices by block; of private merging.
        releases: (noise multiplier, how often) up to it; of private merging.
        distrusted: devices whose deltas are of it and not in its bank, ascending: their updates pointed away from the
            others'. So it is made again without any cosine, whose last bits are not the same on every machine.
        masked: digest of the opened sums in the spool that it was made from; empty: its deltas were not under masks.
    """

    rules: ServerRules = PLAIN
    norms: UsualNorms = NO_NORMS
    moments: Mapping[ExpertId, bytes] = field(default_factory=dict)
    planned: Mapping[ExpertId, int] = field(default_factory=dict)
    releases: tuple[tuple[float, int], ...] = ()
    distrusted: tuple[str, ...] = ()
    masked: bytes = b""

    def text(self) -> str:
        """Return JSON; "" where there is nothing to note."""
        if self == ServerNotes():
            return ""
        robust, privacy = self.rules.robust, self.rules.privacy
        tree: dict[str, Any] = {
            "optimizer": asdict(self.rules.optimizer),
            "normalized": self.rules.normalized,
            "robust": None if robust is None else asdict(robust),
            "norms": {kind: list(values) for kind, values in sorted(self.norms.medians.items())},
            "moments": [[block.layer, block.index, self.moments[block].hex()] for block in sorted(self.moments)],
        }
        if privacy is not None:
            tree["privacy"] = asdict(privacy)
            tree["planned"] = [[block.layer, block.index, self.planned[block]] for block in sorted(self.planned)]
            tree["releases"] = [list(release) for release in self.releases]
        if self.distrusted:
            tree["distrusted"] = list(self.distrusted)
        if self.rules.exact:
            tree["exact"] = True
        if self.masked:
            tree["masked"] = self.masked.hex()
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
            robust, privacy = tree["robust"], tree.get("privacy")
            rules = ServerRules(
                ServerOptimizer(**tree["optimizer"]),
                tree["normalized"],
                None if robust is None else _robust_read(robust),
                None if privacy is None else Privacy(**privacy),
                bool(tree.get("exact", False)),
            )
            norms = UsualNorms({kind: tuple(map(float, values)) for kind, values in tree["norms"].items()})
            moments = {ExpertId(layer, index): bytes.fromhex(digest) for layer, index, digest in tree["moments"]}
            planned = {ExpertId(layer, index): int(count) for layer, index, count in tree.get("planned", ())}
            releases = tuple((float(noise), int(times)) for noise, times in tree.get("releases", ()))
            distrusted = tuple(map(str, tree.get("distrusted", ())))
            masked = bytes.fromhex(tree.get("masked", ""))
        except (KeyError, TypeError, AttributeError) as error:
            msg = f"notes of a merge have another form than expected ({error})"
            raise ValueError(msg) from error
        return cls(rules, norms, moments, planned, releases, distrusted, masked)


def _robust_read(tree: Mapping[str, Any]) -> Robust:
    """Read the rules of robust merging; older notes have no directions, and were merged by value, even if trim is 0."""
    directions = tree.get("directions")
    return Robust(**{**tree, "directions": None if directions is None else Agreement(**directions)})
