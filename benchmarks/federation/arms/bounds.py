"""What stands below and above every federation: class means, a head alone, each device alone, all texts together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.federation.arms.adapters import FORM, adapter_values
from benchmarks.federation.arms.base import EVERYBODY, Arm, Form, Learned, Setup, State, Values, Work
from benchmarks.federation.arms.rival import KeptPrefixes, Rival, rival, top_layers
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.experts import HEAD, MEAN
from edge_runtime.wire.program_interface import LOGIT_SCALE
from edge_runtime.wire.tensors import Array

HEAD_FORM = Form("head")
SPAN = 4
"""Steps of a centralized round, in steps of a device."""


@dataclass(frozen=True, eq=False)
class HeadAlone:
    """The frozen backbone with a head: of class means, or trained on by FedAvg.

    Args:
        run: common to all rivals.
        trained: whether devices train the head.
    """

    run: Rival
    trained: bool
    feedback: bool = True
    personal: bool = False

    @property
    def sent(self) -> Sequence[str]:
        """What devices download."""
        return ("head",) if self.trained else ()

    def start(self) -> State:
        """Return the head of class means."""
        return {"head": self.run.setup.head} | KeptPrefixes(self.run.setup).start()

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return the head's training; no work at all for class means."""
        layers = self.run.setup.sizes.layers
        rates, masks = self.run.rates(number, []), self.run.head_mask
        values, works = {"head": state["head"]}, []
        for client in here if self.trained else ():
            fresh = KeptPrefixes(self.run.setup).fresh(state, client, 0)
            steps = self.run.steps(client, 0, fresh)
            own = self.run.under_prior(client, values)
            works.append(Work(client, HEAD_FORM, own, masks, rates, steps, layers, fresh=fresh))
        return works

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Average each row by the counts of its label."""
        return self.run.merged(state, learned, []) | KeptPrefixes(self.run.setup).after(state, learned)

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return the one model."""
        del client
        return HEAD_FORM, {"head": state["head"]}


@dataclass(frozen=True, eq=False)
class LocalOnly:
    """Every client trains adapters on its own texts and sends nothing; its head starts from its own class means.

    Args:
        run: common to all rivals.
    """

    run: Rival
    sent: Sequence[str] = ()
    feedback: bool = True
    personal: bool = True

    def start(self) -> State:
        """Return the start for each client: [N, ...] of each tensor."""
        start = adapter_values(self.run.setup, self.run.options["width"])
        clients = len(self.run.setup.devices)
        state = {name: np.repeat(values[None], clients, axis=0) for name, values in start.items()}
        return state | {"head": own_heads(self.run.setup)}

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return one work for each client, from where it stopped."""
        layers = self.run.setup.sizes.layers
        masks = {"shared": top_layers(layers, layers, 2)} | self.run.head_mask
        rates = self.run.rates(number, ["shared"])
        return [
            Work(client, FORM, self._own(state, client), masks, rates, self.run.steps(client, layers), 0)
            for client in here
        ]

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Keep what each learned."""
        after = {name: values.copy() for name, values in state.items()}
        for one in learned:
            for name in one.work.masks:
                after[name][one.client] = one.values[name]
        return after

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return a client's model.

        Raises:
            ValueError: without a client.
        """
        if client is None:
            raise ValueError("each client has a model of its own here: name one")
        return FORM, self._own(state, client)

    def _own(self, state: State, client: int) -> State:
        return {name: values[client] for name, values in state.items()}


def own_heads(setup: Setup) -> Array:
    """Return the head of each client's own class means, [N, C * (d + 1)]; the federation's where there are no sums.

    A model takes the federation's mean off its features. A client that is alone does not know that, so what its own
    mean makes of the logits goes into the bias: s (f - own) w = s (f - mean) w + s (mean - own) w.
    """
    clients, labels, width = len(setup.devices), setup.sizes.labels, setup.sizes.width
    if not setup.class_sums.size:
        return np.repeat(setup.head[None], clients, axis=0)
    heads = []
    for counts, sums in zip(setup.label_counts, setup.class_sums, strict=True):
        alone = class_mean_head(ClassSums(counts, sums), LOGIT_SCALE)
        head, rows = alone[HEAD], alone[HEAD][: labels * width].reshape(labels, width)
        head[labels * width :] += LOGIT_SCALE * rows @ (setup.mean - alone[MEAN])
        heads.append(head)
    return np.stack(heads)


@dataclass(frozen=True, eq=False)
class Centralized:
    """All texts in one place: what a federation gives up for privacy.

    Args:
        run: common to all rivals.
        steps: of a round.
    """

    run: Rival
    steps: int
    sent: Sequence[str] = ()
    feedback: bool = True
    personal: bool = False

    def start(self) -> State:
        """Return adapters that change nothing, and the head of class means."""
        return adapter_values(self.run.setup, self.run.options["width"]) | {"head": self.run.setup.head}

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return one work on everybody's texts, whoever is here."""
        del here
        layers = self.run.setup.sizes.layers
        masks = {"shared": top_layers(layers, layers, 2)} | self.run.head_mask
        return [Work(EVERYBODY, FORM, state, masks, self.run.rates(number, ["shared"]), self.steps, 0)]

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Keep what was learned."""
        return state | {name: one.values[name] for one in learned for name in one.work.masks}

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return the one model."""
        del client
        return FORM, state


def class_means(setup: Setup) -> Arm:
    """Return class means of frozen features: nothing is trained."""
    return HeadAlone(rival(setup), trained=False)


def linear_probe(setup: Setup) -> Arm:
    """Return a head that devices train, nothing else."""
    return HeadAlone(rival(setup), trained=True)


def local_only(setup: Setup) -> Arm:
    """Return a model for each client."""
    return LocalOnly(rival(setup))


def centralized(setup: Setup) -> Arm:
    """Return one model of all texts; ``steps`` are those of a round, ``SPAN`` times a device's without it."""
    run = rival(setup, steps=0)
    return Centralized(run, run.options["steps"] or SPAN * setup.steps)
