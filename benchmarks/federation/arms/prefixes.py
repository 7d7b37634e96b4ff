"""Which prefixes devices have kept: of which version, and of how many texts. Pure.

Axes: L layers, N clients, n texts of a client, A versions.

A prefix depends on the blocks below the layers that are trained. While those stay as they are, it lasts; with `stale`
= A a device may also go on with prefixes of a version up to A versions old, and then computes those of its other texts
by that version, too. Only the prefixes of a device's shallowest reach are kept. A device draws its texts at random, so
of the texts of a round those without a prefix are reckoned by their share.

State: `version` [1], `changed` [L] version at which a layer last changed, `kept_of` [N] version, `kept` [N] texts; and
`experts@V`, `shared@V` of the versions that may still be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.federation.arms.base import Learned, Setup, State, Values
from edge_runtime.wire.tensors import Array


def shallowest(setup: Setup) -> int:
    """Return the fewest layers that any device's reaches have."""
    return min(device.reaches[0].layers for device in setup.devices)


def lowest(setup: Setup, client: int) -> int:
    """Return the lowest layer that a client trains at its shallowest reach, from 0."""
    return setup.sizes.layers - setup.devices[client].reaches[0].layers


def start(setup: Setup, stale: int, bank: State) -> State:
    """Return the state before the first round."""
    clients = len(setup.devices)
    first: State = {
        "version": np.zeros(1, np.float32),
        "changed": np.zeros(setup.sizes.layers, np.float32),
        "kept_of": np.full(clients, -1, np.float32),
        "kept": np.zeros(clients, np.float32),
    }
    return first | _copies(bank, 0, stale)


@dataclass(frozen=True, eq=False)
class Kept:
    """What devices have at the start of a round. Args: state: before it; stale: A."""

    state: State
    stale: int

    @property
    def version(self) -> int:
        """That the round trains from."""
        return int(self.state["version"][0])

    def usable(self, client: int, low: int) -> int:
        """Return the version whose prefixes a client goes on with, from its lowest layer ``low`` on."""
        of = int(self.state["kept_of"][client])
        same = of >= int(self.state["changed"][:low].max(initial=0))
        return of if of >= 0 and (same or self.version - of <= self.stale) else self.version

    def fresh(self, client: int, low: int, setup: Setup) -> float:
        """Return the share of a client's texts whose prefixes up to its lowest layer ``low`` it has to compute."""
        if low != lowest(setup, client) or self.usable(client, low) != int(self.state["kept_of"][client]):
            return 1.0
        return max(0.0, 1.0 - float(self.state["kept"][client]) / setup.examples[client])

    def lower(self, client: int, low: int, setup: Setup, values: Values) -> dict[str, Array]:
        """Return the bank with the layers below ``low`` of the version that a client's prefixes are of."""
        if not low or low != lowest(setup, client) or not self.stale:
            return {}
        version = self.usable(client, low)
        if version == self.version or f"experts@{version}" not in self.state:
            return {}
        mixed = {}
        for name in ("experts", "shared"):
            mixed[name] = values[name].copy()
            mixed[name][:low] = self.state[f"{name}@{version}"][:low]
        return mixed


def after(before: State, merged: State, learned: Sequence[Learned], setup: Setup, stale: int) -> State:
    """Return the state after a round. Args: before: it; merged: the bank after it; learned: by whom."""
    had = Kept(before, stale)
    new = had.version + 1
    kept_of, texts, changed = before["kept_of"].copy(), before["kept"].copy(), before["changed"].copy()
    for one in learned:
        low = one.work.lowest_layer
        trained = one.work.masks["experts"].any((1, 2)) | (one.work.masks["shared"] > 0).any(1)
        changed[trained] = new
        if low and low == lowest(setup, one.client):
            version = had.usable(one.client, low)
            drawn = min(one.steps * setup.batch, setup.examples[one.client])
            held = texts[one.client] if version == kept_of[one.client] else 0.0
            texts[one.client] = held + drawn * (1.0 - held / setup.examples[one.client])
            kept_of[one.client] = version
    state: State = {
        "version": np.full(1, new, np.float32),
        "changed": changed,
        "kept_of": kept_of,
        "kept": texts,
    }
    return state | _copies(merged, new, stale)


def _copies(bank: State, version: int, stale: int) -> State:
    """Return the bank under its version's name, where it may be needed later; `pruned` takes old ones out."""
    return {f"{name}@{version}": bank[name] for name in ("experts", "shared")} if stale else {}


def pruned(state: State, stale: int) -> State:
    """Return the state without versions that nobody may use any more."""
    oldest = int(state["version"][0]) - stale
    return {name: value for name, value in state.items() if "@" not in name or int(name.split("@")[1]) >= oldest}
