"""Who turns its updates against all others: cosines between devices, remembered over rounds. Pure; float64.

Axes: k devices of a round, P values of a block.

An update with its sign turned is as long as an honest one, value by value it looks like that of a device with rare
labels, and where devices' data differ no rule for single values tells the two apart. Its direction does: updates of the
first rounds have something in common whatever the data, so a turned one points away from all of them at once. Later
updates have ever less in common, and the sign of what is left says little about one round; so the sum over rounds
counts, and what the first rounds said is not forgotten.

    agreement of a with b   sum of d_a d_b / (|d_a| |d_b|), over the values of blocks that both trained
    score of a              mean of it over all others of the round
    trust of a              ``remember`` times its trust before, plus its score, at most ``most``

Whose trust is below 0 is left out of the merge; it is heard again once its trust has risen above. ``most`` bounds what
can be saved up by good behaviour for a time of lies. Cosines know no lengths, so huge updates are for the limit on
norms.
Kin: cosine-based filters like FLTrust (Cao et al., arXiv 2012.13995), which need clean data at the server; this needs
none, and trusts that most devices are honest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from broker_server.rules.aggregate import PIECE, Contribution, Wide
from broker_server.rules.encoded_block import Block, fill_from
from edge_runtime.wire.experts import HEAD, MEAN, ExpertId
from edge_runtime.wire.tensors import GROUP

FEWEST: Final = 5
"""Devices of a round from which on directions are compared: fewer have no majority."""
STACK_BYTES: Final = 8 * 1024 * 1024
"""Float64 values of all devices that are multiplied at once."""
Trust = Mapping[str, float]
"""By device."""


@dataclass(frozen=True)
class Agreement:
    """How trust is kept.

    Args:
        remember: share of a device's trust that stays from one of its rounds to its next, in [0, 1].
        most: that a device can have, above 0.
    """

    remember: float = 0.95
    most: float = 0.1

    def after(self, trust: Trust, scores: Trust) -> dict[str, float]:
        """Return the trust after a round. Args: trust: before it; scores: of its devices."""
        new = {name: min(self.most, self.remember * trust.get(name, 0.0) + score) for name, score in scores.items()}
        return {**trust, **new}


def compared(blocks: Iterable[ExpertId]) -> list[ExpertId]:
    """Return the blocks that directions are compared in, ascending: all but the head's.

    A device that has no text of a label has another opinion of its row for honest reasons.
    """
    return sorted(set(blocks) - {HEAD, MEAN})


class Products:
    """Inner products of a round's updates, [k, k], added up block by block, whose deltas can then be let go of.

    Args:
        devices: of each update, in their order; one device may have several.
    """

    def __init__(self, devices: Sequence[str]) -> None:
        self._names = np.array(devices)
        self._different = self._names[:, None] != self._names[None]
        self._products, self._lengths = (np.zeros(self._different.shape) for _ in range(2))

    @property
    def enough(self) -> bool:
        """Whether so many devices can be compared."""
        return len(set(self._names.tolist())) >= FEWEST

    def add(self, holders: Sequence[int], deltas: Sequence[Block]) -> None:
        """Add one block. Args: holders: places of the updates that trained it; deltas: theirs, in the same order."""
        self.add_gram(holders, gram_of(deltas))

    def add_gram(self, holders: Sequence[int], gram: Wide) -> None:
        """Add one block whose deltas are elsewhere. Args: holders: as in add; gram: see ``gram_of``."""
        self._products[np.ix_(holders, holders)] += gram
        self._lengths[np.ix_(holders, holders)] += np.diag(gram)[:, None]  # |d_a|^2 over what both trained

    def scores(self) -> dict[str, float]:
        """Return the score of each device, see ``scores``; none where they are fewer than ``FEWEST``."""
        if not self.enough:
            return {}
        names, products, different = self._names, self._products, self._different
        norms = np.sqrt(self._lengths * self._lengths.T)
        cosines = np.divide(products, norms, out=np.zeros_like(products), where=different & (norms > 0))
        means = cosines.sum(axis=1) / different.sum(axis=1)
        return {name: float(means[names == name].mean()) for name in dict.fromkeys(names.tolist())}


def scores(updates: Sequence[Contribution]) -> dict[str, float]:
    """Return the score of each device of a round; none where they are fewer than ``FEWEST``.

    An update that is 0 everywhere agrees with nobody and contradicts nobody: its score is 0. Updates of one device are
    not compared with each other, so that it cannot agree with itself; its score is the mean of theirs.

    Args:
        updates: all of a round, in their order.
    """
    products = Products([one.device for one in updates])
    for block in compared(block for one in updates for block in one.deltas) if products.enough else ():
        holders = [place for place, one in enumerate(updates) if block in one.deltas]
        products.add(holders, [updates[place].deltas[block] for place in holders])
    return products.scores()


def gram_of(deltas: Sequence[Block]) -> Wide:
    """Return the inner products of a block's deltas, [k, k], piece by piece: STACK_BYTES of them at a time at most."""
    size, gram = deltas[0].size, np.zeros((len(deltas), len(deltas)))
    width = max(1, min(PIECE, STACK_BYTES // (8 * len(deltas))) // GROUP) * GROUP
    for start in range(0, size, width):
        stack: npt.NDArray[np.float32] = np.empty((len(deltas), min(width, size - start)), np.float32)
        for row, one in zip(stack, deltas, strict=True):
            fill_from(one, start, row)
        wide = stack.astype(np.float64)
        gram += wide @ wide.T
    return gram


class OfDevice(Protocol):
    """An update, or what is noted of one."""

    @property
    def device(self) -> str:
        """Who sent it."""
        ...


def left_out(trust: Trust, updates: Iterable[OfDevice]) -> set[str]:
    """Return the devices of a round that are not merged; none where that would be half of them or more.

    Args:
        trust: after the round.
        updates: of the round.
    """
    devices = {one.device for one in updates}
    doubted = {device for device in devices if trust.get(device, 0.0) < 0.0}
    return doubted if 2 * len(doubted) < len(devices) else set()
