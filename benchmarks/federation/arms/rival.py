"""What all rivals have in common: options, how much fits a device, the head, means of what was learned. Pure.

Options of every rival, beside its own:

- ``rate``: learning rate of the first round; the run's without it.
- ``head_share``: rate of the head as a share of that; 0 freezes the head.
- ``width``: as many values as an adapter of this width in every layer, the size at which methods are compared.
- ``local_prior``: strength of the label prior that devices train under, as ours can (merged models only).
- ``ignore_budgets``: every device trains everything, ``steps`` steps, whatever its time and bytes. Not what small
  devices can do; it shows what they cost.

Otherwise a device makes as many steps on all layers as fit its time, and sends no more than its bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.federation.arms.base import Learned, Setup, State, Values
from benchmarks.federation.local_prior import prior_shift
from broker_server.rules.planner import CHUNK_OVERHEAD, DELTA_OVERHEAD
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.tensors import Array, encoded_size

COMMON: Final[Mapping[str, Any]] = {
    "rate": 0.0,
    "head_share": 0.1,
    "width": 160,
    "local_prior": 0.0,
    "ignore_budgets": False,
}
Wide = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rival:
    """A run as a rival sees it.

    Args:
        setup: of the run.
        options: all options of the arm, the file's or their defaults.
    """

    setup: Setup
    options: Mapping[str, Any]

    def rates(self, number: int, names: Sequence[str]) -> dict[str, float]:
        """Return the rates of a round for the tensors of ``names``, and of the head where it is trained."""
        own = self.options["rate"] or self.setup.rate
        rate = self.setup.rate_of(number) * own / self.setup.rate
        head = {"head": rate * self.options["head_share"]} if self.options["head_share"] else {}
        return dict.fromkeys(names, rate) | head

    @property
    def head_mask(self) -> dict[str, Array]:
        """The head's mask, where it is trained."""
        return {"head": np.ones(1, np.float32)} if self.options["head_share"] else {}

    @property
    def sent(self) -> tuple[str, ...]:
        """The head, where it is trained."""
        return tuple(self.head_mask)

    def steps(self, client: int, layers: int, fresh: float = 1.0) -> int:
        """Return the steps of a client in a round at a depth of ``layers`` from the top; ``fresh`` as in a Work."""
        if self.options["ignore_budgets"]:
            return self.setup.steps
        most = self.setup.most_steps if self.setup.seconds else self.setup.steps
        return self.setup.steps_of(client, layers, most, fresh)

    def under_prior(self, client: int, values: Values) -> Values:
        """Return what a client trains from: biases of the head moved by its label prior; a delta takes that off."""
        strength, labels = self.options["local_prior"], self.setup.sizes.labels
        if not strength:
            return values
        head = values["head"].copy()
        head[-labels:] += prior_shift(self.setup.label_counts[client], strength)
        return {**values, "head": head}

    def fitting(self, client: int, most: int, values: Callable[[int], int]) -> int:
        """Return the largest size of at most ``most``, and at least 1, whose int8 values fit a client's bytes.

        Args:
            client: from 0.
            most: size, a rank or width.
            values: that a client sends and fetches at a size, without the head.
        """
        device = self.setup.devices[client]
        limits = [limit for limit in (device.bytes_up, device.bytes_down) if limit]
        if self.options["ignore_budgets"] or not limits:
            return most
        head = len(self.setup.head) if self.options["head_share"] else 0
        fits = (size for size in range(most, 1, -1) if _bytes(values(size) + head) <= min(limits))
        return next(fits, 1)

    def merged(self, state: State, learned: Sequence[Learned], names: Sequence[str]) -> State:
        """Return the state with the tensors of ``names``, and the head, moved by the means of what was learned."""
        moved = {name: moved_by_mean(state[name], learned, name) for name in names}
        return state | moved | merged_head(state["head"], learned, self.setup.sizes.width)


def rival(setup: Setup, **own: object) -> Rival:
    """Return what a rival knows of a run.

    Args:
        setup: of the run.
        own: the arm's options with their defaults; a default may stand for one of ``COMMON``.

    Raises:
        ValueError: for an option that the arm does not have.
        TypeError: for one of another type than its default's.
    """
    options = dict(COMMON) | own
    for name, value in setup.options.items():
        if name not in options:
            msg = f"no option {name!r}; known: {', '.join(sorted(options))}"
            raise ValueError(msg)
        kind = type(options[name])
        if not isinstance(value, (int, float) if kind is float else kind):
            msg = f"option {name} is {value!r}, expected a value like {options[name]!r}"
            raise TypeError(msg)
    return Rival(setup, {**options, **setup.options})


def _bytes(values: int) -> int:
    return math.ceil((encoded_size(values, pb.INT8) + DELTA_OVERHEAD) * (1 + CHUNK_OVERHEAD))


def moved_by_mean(before: Array, learned: Sequence[Learned], name: str) -> Array:
    """Return ``before`` + the mean of what was learned, by examples, of each value over those who trained it.

    A value that nobody trained keeps its bits.
    """
    total, sums = np.zeros(before.shape), np.zeros(before.shape)
    for one in learned:
        if name in one.work.masks:
            mask = one.work.masks[name]
            total += mask * float(one.examples)
            sums += one.delta(name) * (mask * float(one.examples))
    mean = np.divide(sums, total, out=sums, where=total > 0)
    return np.where(total > 0, before + mean, before).astype(np.float32)


def merged_head(before: Array, learned: Sequence[Learned], width: int) -> dict[str, Array]:
    """Return the head after a round: row by row, a client's weight is its number of texts of that label.

    Args:
        before: [C * (d + 1)].
        learned: in the round.
        width: d.

    Returns:
        ``head``, or nothing where nobody trained it.
    """
    trained = [one for one in learned if "head" in one.work.masks]
    if not trained:
        return {}
    sums, total = np.zeros(before.shape), np.zeros(before.shape)
    for one in trained:
        counts = one.label_counts.astype(np.float64)
        weights = np.concatenate([np.repeat(counts, width), counts])
        sums += one.delta("head") * weights
        total += weights
    mean = np.divide(sums, total, out=sums, where=total > 0)
    return {"head": np.where(total > 0, before + mean, before).astype(np.float32)}


@dataclass(frozen=True, eq=False)
class KeptPrefixes:
    """Prefixes that devices have kept from rounds before, where nothing below the trained layers ever changes.

    Then they last, as those of FedAdapter's activation cache do. State: `kept` [N] texts that have one, `kept_at` [N]
    layers of the reach that it is for.

    Args:
        setup: of the run.
    """

    setup: Setup

    def start(self) -> State:
        """Return the state of devices that have none."""
        clients = len(self.setup.devices)
        return {"kept": np.zeros(clients, np.float32), "kept_at": np.zeros(clients, np.float32)}

    def fresh(self, state: State, client: int, layers: int) -> float:
        """Return the share of a client's texts whose prefixes it has to compute when it trains ``layers``."""
        if int(state["kept_at"][client]) != self.setup.devices[client].reach(layers).layers:
            return 1.0
        return max(0.0, 1.0 - float(state["kept"][client]) / self.setup.examples[client])

    def after(self, state: State, learned: Sequence[Learned]) -> State:
        """Return the state after a round: texts are drawn at random, so those without a prefix by their share."""
        kept, kept_at = state["kept"].copy(), state["kept_at"].copy()
        for one in learned:
            layers, examples = self.setup.sizes.layers - one.work.lowest_layer, self.setup.examples[one.client]
            fresh = self.fresh(state, one.client, layers)
            kept[one.client] = examples * (1.0 - fresh) + min(one.steps * self.setup.batch, examples) * fresh
            kept_at[one.client] = self.setup.devices[one.client].reach(layers).layers
        return {"kept": kept, "kept_at": kept_at}


def top_layers(layers: int, count: int, axes: int) -> Array:
    """Return a mask of the ``count`` top layers of ``layers``: [L, 1, ...] with ``axes`` axes."""
    mask = (np.arange(layers) >= layers - count).astype(np.float32)
    return mask.reshape(layers, *[1] * (axes - 1))
