"""What an arm of the simulator is: the rules by which one method plans, merges and serves. Pure numpy, no torch.

Axes: L layers of the backbone, d its width, f the width of its feed-forward, C labels, N clients, M experts, P values
of an expert, Ps of a shared expert, r rank, h heads of RAVAN.

An arm is made for a run (`Factory`) and keeps nothing but its settings: all that changes from round to round is in its
`State`, arrays by name, so that a run goes on after any round. Values go both ways through the codec of `codec`: what
`merge` sees is what came over the wire, and what `assign` sees is what devices have.

Tensors of a form (all float32, L counts every layer of the backbone):

    experts: `experts` [L, M, P], `shared` [L, Ps] (Ps 0: none), `head` [C * (d + 1)]; blocks as in wire/experts
    lora:    `NAME_a` [L, r, in], `NAME_b` [L, out, r] for any NAME of TARGETS, `scale` [1], `head`;
             a layer computes W x + scale * B A x; with `NAME_w` [L, out, in], never trained, (W + w) x + scale * B A x
    ravan:   `NAME_a` [L, h, r, in], `NAME_h` [L, h, r, r], `NAME_b` [L, h, out, r], `NAME_s` [L, h], `head`;
             a layer computes W x + sum over h of s B H A x
    head:    `head` alone

A mask broadcasts against its tensor (same number of axes): 1 trains a value, 0 keeps it bit for bit. The leading axes
that are longer than 1 in a mask say what one block on the wire is: [L, M, 1] makes blocks of P, [L, r, 1] rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from broker_server.rules.planner import Reach
from edge_runtime.wire.tensors import Array

State = dict[str, Array]
Values = Mapping[str, Array]
TARGETS: Final = ("q", "v", "ffn_in", "ffn_out")
"""Matrices that LoRA forms adapt: d -> d, d -> d, d -> f, f -> d."""
EVERYBODY: Final = -1
"""As the client of a work: it draws from the texts of all clients (a centralized run)."""


@dataclass(frozen=True)
class Form:
    """How a model computes with its values; clients of one form are trained as one stack.

    Args:
        kind: "experts", "lora", "ravan" or "head".
        gate: of experts: "none" (each gate is 1), "soft" (2 sigmoid) or "topk".
        top_k: experts that a token takes.
        balance: auxiliary loss of top-k gates: "" (none), "switch" (Fedus et al. 2101.03961), or "kl" (the product's);
            that takes the constants `balance_target` [L, M] and `balance_weight` [L] among the values.
        switch_weight: of the Switch loss.
    """

    kind: str
    gate: str = "none"
    top_k: int = 0
    balance: str = ""
    switch_weight: float = 0.01


@dataclass(frozen=True)
class Sizes:
    """Of the backbone and the task. Args: layers: L; width: d; inner: f; labels: C."""

    layers: int
    width: int
    inner: int
    labels: int

    def target(self, name: str) -> tuple[int, int]:
        """Return (in, out) of a matrix of TARGETS."""
        return {"ffn_in": (self.width, self.inner), "ffn_out": (self.inner, self.width)}.get(
            name, (self.width, self.width)
        )


@dataclass(frozen=True)
class Device:
    """What a client's device can do.

    Args:
        profile: its name in export/devices.
        reaches: by depth, ascending; the last is all layers.
        bytes_up: budget of a round; 0: none.
        bytes_down: budget of a round; 0: none.
        up_bytes_s: bandwidth, bytes a second; 0: transfers take no time.
        down_bytes_s: bandwidth.
        slots: m, experts of a layer that its memory lets it train; 0: all.
    """

    profile: str
    reaches: tuple[Reach, ...]
    bytes_up: int = 0
    bytes_down: int = 0
    up_bytes_s: float = 0.0
    down_bytes_s: float = 0.0
    slots: int = 0

    def reach(self, layers: int) -> Reach:
        """Return the shallowest depth that covers ``layers`` from the top; the deepest where none does."""
        return next((reach for reach in self.reaches if reach.layers >= layers), self.reaches[-1])

    def training_s(self, layers: int, steps: int, examples: int, batch: int, fresh: float = 1.0) -> float:
        """Return the seconds of ``steps``: the prefix of each of the ``examples`` is computed once a version.

        Args:
            layers: from the top.
            steps: optimizer steps.
            examples: that the client draws from.
            batch: texts of a step.
            fresh: share of them whose prefixes are not at hand from rounds before.
        """
        reach, first = self.reach(layers), min(steps, math.ceil(examples / batch))
        return (steps * reach.step_ms + first * reach.trunk_ms * fresh) / 1000

    def steps(self, layers: int, seconds: float, examples: int, batch: int, fresh: float = 1.0) -> int:
        """Return how many steps fit into ``seconds`` of training; the inverse of ``training_s``, rounded down."""
        reach = self.reach(layers)
        reckoned = replace(reach, trunk_ms=reach.trunk_ms * fresh)
        return reckoned.steps(seconds * 1000, math.ceil(examples / batch))


@dataclass(frozen=True, eq=False)
class Setup:
    """What an arm knows of a run.

    Args:
        sizes: of the model.
        rounds: of the run.
        seed: of the run; paired: all arms of a seed have the same split, fleet and order of texts.
        head: [C * (d + 1)], from class means of frozen features.
        mean: [d], taken off every feature in every form.
        examples: [N], training texts of each client.
        label_counts: [N, C].
        devices: [N].
        seconds: training time that every device has in a round; 0: no limit.
        batch: texts of a step.
        steps: at most, at full depth.
        most_steps: at most, for who has time.
        enough_steps: as many have to fit before a device goes deeper.
        most_epochs: passes over its own texts that a client makes in a round at most; 0: any number.
        rate: learning rate of the first round.
        final_share: of it in the last, linear between.
        options: the arm's own, from the experiment's file.
        class_sums: [N, C, d], of each client's frozen features by label; [0, 0, 0] where nobody needs them.
    """

    sizes: Sizes
    rounds: int
    seed: int
    head: Array
    mean: Array
    examples: tuple[int, ...]
    label_counts: Array
    devices: tuple[Device, ...]
    seconds: float = 0.0
    batch: int = 16
    steps: int = 30
    most_steps: int = 90
    enough_steps: int = 20
    most_epochs: float = 0.0
    rate: float = 4e-3
    final_share: float = 0.1
    options: Mapping[str, Any] = field(default_factory=dict)
    class_sums: Array = field(default_factory=lambda: np.zeros((0, 0, 0), np.float32))

    def rate_of(self, number: int) -> float:
        """Return the learning rate of a round, from 1."""
        done = min(1.0, (number - 1) / max(1, self.rounds - 1))
        return self.rate * (1.0 - (1.0 - self.final_share) * done)

    def steps_of(self, client: int, layers: int, most: int | None = None, fresh: float = 1.0) -> int:
        """Return how many steps a client makes in a round at a depth, at least 1; ``fresh`` as in a Work."""
        limit = self.steps if most is None else most
        if self.most_epochs:
            limit = max(1, min(limit, math.ceil(self.most_epochs * self.examples[client] / self.batch)))
        if not self.seconds:
            return limit
        fitting = self.devices[client].steps(layers, self.seconds, self.examples[client], self.batch, fresh)
        return max(1, min(limit, fitting))

    def generator(self, *words: int) -> np.random.Generator:
        """Return random numbers of this run's seed and of ``words`` (a round, a client, ...)."""
        return np.random.default_rng([self.seed, *words])


@dataclass(frozen=True, eq=False)
class Work:
    """A client's part of a round.

    Args:
        client: from 0, or EVERYBODY.
        form: of the model.
        values: to start from; read only, and shared between works where they are the same.
        masks: what is trained, for each trained tensor.
        rates: learning rates of the trained tensors; a tensor without a rate does not move.
        steps: optimizer steps.
        lowest_layer: lowest layer that is trained, from 0; L where only the head is.
        held: what the client downloads of each tensor that changes, as a mask; None: all of every trained tensor.
        weight_decay: decoupled.
        fresh: share of the client's texts whose prefixes it has not kept from rounds before.
    """

    client: int
    form: Form
    values: Values
    masks: Values
    rates: Mapping[str, float]
    steps: int
    lowest_layer: int
    held: Values | None = None
    weight_decay: float = 0.0
    fresh: float = 1.0


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of a work.

    Args:
        client: from 0, or EVERYBODY.
        work: that was done; its values are what the client started from.
        values: after it, as the server reads them off the wire; only what was trained differs from the start.
        examples: different texts trained on.
        label_counts: [C] of these.
        steps: made.
        routed: top-k gates: tokens by expert, [L, M]; else None.
        seen: top-k gates: tokens that came by.
        loss: mean of the last fifth of the steps.
    """

    client: int
    work: Work
    values: Values
    examples: int
    label_counts: Array
    steps: int
    routed: npt.NDArray[np.float64] | None = None
    seen: float = 0.0
    loss: float = math.nan

    def delta(self, name: str) -> npt.NDArray[np.float64]:
        """Return trained - start of a tensor, in float64."""
        result: npt.NDArray[np.float64] = self.values[name].astype(np.float64) - self.work.values[name]
        return result


class Arm(Protocol):
    """The rules of one method."""

    @property
    def sent(self) -> Sequence[str]:
        """Tensors of the state that devices download, coded in steps of int8; others stay as they are."""

    @property
    def feedback(self) -> bool:
        """Whether what int8 left is added the next time: to a version, and to a client's delta."""

    @property
    def personal(self) -> bool:
        """Whether each client has a model of its own and there is no other."""

    def start(self) -> State:
        """Return the state before the first round."""

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return the works of a round (from 1) for the clients that are there; who is too weak is left out."""

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Return the state after a round."""

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return the model that predicts: the federation's, or that of a client where the arm is personal."""


Factory = Callable[[Setup], Arm]
