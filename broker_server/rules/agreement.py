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

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from broker_server.rules.aggregate import PIECE, Contribution, Wide
from broker_server.rules.encoded_block import fill_from
from edge_runtime.wire.experts import HEAD, MEAN, ExpertId

FEWEST: Final = 5
"""Devices of a round from which on directions are compared: fewer have no majority."""
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


def scores(updates: Sequence[Contribution]) -> dict[str, float]:
    """Return the score of each device of a round; none where they are fewer than ``FEWEST``.

    The head is left out: a device that has no text of a label has another opinion of its row for honest reasons.
    An update that is 0 everywhere agrees with nobody and contradicts nobody: its score is 0. Updates of one device are
    not compared with each other, so that it cannot agree with itself; its score is the mean of theirs.

    Args:
        updates: all of a round, in their order.
    """
    names = np.array([one.device for one in updates])
    different = names[:, None] != names[None]
    others = different.sum(axis=1)
    if len(set(names)) < FEWEST:
        return {}
    products, lengths = np.zeros(different.shape), np.zeros(different.shape)
    for block in sorted({block for one in updates for block in one.deltas} - {HEAD, MEAN}):
        holders = [place for place, one in enumerate(updates) if block in one.deltas]
        gram = _gram([updates[place] for place in holders], block)
        products[np.ix_(holders, holders)] += gram
        lengths[np.ix_(holders, holders)] += np.diag(gram)[:, None]  # |d_a|^2 over what both trained
    norms = np.sqrt(lengths * lengths.T)
    cosines = np.divide(products, norms, out=np.zeros_like(products), where=different & (norms > 0))
    means = cosines.sum(axis=1) / others
    return {name: float(means[names == name].mean()) for name in dict.fromkeys(names.tolist())}


def _gram(updates: Sequence[Contribution], block: ExpertId) -> Wide:
    """Return the inner products of a block's deltas, [k, k], piece by piece."""
    size = updates[0].deltas[block].size
    gram: Wide = np.zeros((len(updates), len(updates)))
    for start in range(0, size, PIECE):
        stack: npt.NDArray[np.float32] = np.empty((len(updates), min(PIECE, size - start)), np.float32)
        for row, one in zip(stack, updates, strict=True):
            fill_from(one.deltas[block], start, row)
        wide = stack.astype(np.float64)
        gram += wide @ wide.T
    return gram


def left_out(trust: Trust, updates: Sequence[Contribution]) -> set[str]:
    """Return the devices of a round that are not merged; none where that would be half of them or more."""
    doubted = {one.device for one in updates if trust.get(one.device, 0.0) < 0.0}
    return doubted if 2 * len(doubted) < len(updates) else set()
