"""PRIVACY: what was released with noise so far, and the secret seed that noise follows from. One sealed file.

It is written before the version that a release is in, so a kill costs at most a release that nobody saw, and whatever
is put back or fallen back to, what was spent stays spent.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from broker_server.state.files import read_sealed, seal, write_durably

NAME: Final = "PRIVACY"
_SEED_BYTES: Final = 32


@dataclass(frozen=True)
class PrivacyAccount:
    """What was released.

    Args:
        seed: secret: who has it can take the noise off.
        releases: how often, by noise multiplier.
        sums: digest in hex of each device's class sums that were released, by device; empty: none were.
        last: what the last counted release's noise followed from; a merge that is made once more is no other.
        told: epsilon, delta, budget and so on after it, for ``broker_server status``.
    """

    seed: bytes
    releases: Mapping[float, int] = field(default_factory=dict)
    sums: Mapping[str, str] = field(default_factory=dict)
    last: bytes = b""
    told: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def new(cls, releases: Mapping[float, int] | None = None) -> Self:
        """Return one with a seed of its own. Args: releases: that were counted before."""
        return cls(secrets.token_bytes(_SEED_BYTES), dict(releases or {}))

    def with_release(self, noise: float, key: bytes) -> Self:
        """Return it with a release more. Args: noise: multiplier; key: that its noise follows from."""
        if key == self.last:
            return self
        return replace(self, releases={**self.releases, noise: self.releases.get(noise, 0) + 1}, last=key)

    def at_least(self, other: PrivacyAccount) -> Self:
        """Return it with what another counted of the same federation, if that is more."""
        noises = self.releases.keys() | other.releases.keys()
        most = {noise: max(self.releases.get(noise, 0), other.releases.get(noise, 0)) for noise in noises}
        return replace(self, releases=most, sums=self.sums or other.sums)

    def write(self, folder: Path) -> None:
        """Put it in place of what was there.

        Raises:
            StorageError: when the disk refuses.
        """
        tree = {
            "seed": self.seed.hex(),
            "releases": sorted(self.releases.items()),
            "sums": dict(self.sums),
            "last": self.last.hex(),
            "told": dict(self.told),
        }
        write_durably(folder / NAME, seal(tree))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return what a state directory's file says; None when there is none.

        Raises:
            StateError: when it is damaged.
        """
        return read_sealed(folder / NAME, cls._of)

    @classmethod
    def _of(cls, tree: dict[str, Any]) -> Self:
        releases = {float(noise): int(times) for noise, times in tree["releases"]}
        seed, last = bytes.fromhex(tree["seed"]), bytes.fromhex(tree["last"])
        return cls(seed, releases, dict(tree["sums"]), last, dict(tree["told"]))
