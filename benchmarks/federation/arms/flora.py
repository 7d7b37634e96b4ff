"""FLoRA: updates are stacked, added to the frozen weight, and every round begins with new factors.

A device fetches the stack of all devices of a round, sum of r_k times (in + out) values, or the changed weight where
that is less. Here the change of the weight, `NAME_w` [L, out, in] of the form, is what is kept and coded; of its rows
as many are counted as make the bytes of the stack. That is far above what small devices can fetch in a round; the
method ignores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.federation.arms import lora_rules
from benchmarks.federation.arms.base import Arm, Form, Learned, Setup, State, Values, Work
from benchmarks.federation.arms.factors import Factors
from benchmarks.federation.arms.lora import FORM, OPTIONS, drawn_factors, ranks_of, targets_of
from benchmarks.federation.arms.rival import Rival, rival
from edge_runtime.wire.tensors import Array


@dataclass(frozen=True, eq=False)
class Flora:
    """FLoRA (Wang et al., 2409.05976).

    Args:
        run: common to all rivals.
        targets: matrices that are adapted.
        ranks: [N], r_k.
    """

    run: Rival
    targets: tuple[str, ...]
    ranks: tuple[int, ...]
    feedback: bool = False
    personal: bool = False

    @property
    def sent(self) -> Sequence[str]:
        """What devices download."""
        return (*(f"{target}_w" for target in self.targets), *self.run.sent)

    def start(self) -> State:
        """Return weights that are not changed yet, and the head of class means."""
        sizes = self.run.setup.sizes
        state: State = {"head": self.run.setup.head, "stacked": np.zeros(1, np.float32)}
        for target in self.targets:
            into, out = sizes.target(target)
            state[f"{target}_w"] = np.zeros((sizes.layers, out, into), np.float32)
        return state

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return one work for each client, from factors that are drawn for the round and the same for all."""
        most = max(self.ranks)
        drawn = drawn_factors(self.run.setup, self.targets, most, self.run.options["scale"], number)
        values = drawn | self._model(state)
        layers = self.run.setup.sizes.layers
        names = [f"{target}_{kind}" for target in self.targets for kind in "ab"]
        rates = self.run.rates(number, names)
        held = {f"{target}_w": self._fetched(target, state) for target in self.targets} | self.run.head_mask
        works = []
        for client in here:
            own, steps = self.run.under_prior(client, values), self.run.steps(client, layers)
            works.append(Work(client, FORM, own, self._masks(client), rates, steps, 0, held))
        return works

    def _model(self, state: State) -> State:
        return {name: values for name, values in state.items() if name != "stacked"}

    def _fetched(self, target: str, state: State) -> Array:
        """Return as many rows of the weight as have the bytes of the stack, [1, out, 1]."""
        into, out = self.run.setup.sizes.target(target)
        rows = float(state["stacked"][0]) * (into + out) / into
        return (np.arange(out) < rows).astype(np.float32)[None, :, None]

    def _masks(self, client: int) -> dict[str, Array]:
        first = (np.arange(max(self.ranks)) < self.ranks[client]).astype(np.float32)
        masks = {f"{target}_a": first[None, :, None] for target in self.targets}
        return masks | {f"{target}_b": first[None, None, :] for target in self.targets} | self.run.head_mask

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Add the stack's product to each weight."""
        if not learned:
            return state
        after = self.run.merged(state, learned, [])
        examples = [float(one.examples) for one in learned]
        for target in self.targets:
            parts = [self._part(one, target) for one in learned]
            update = self.run.options["scale"] * lora_rules.flora(parts, examples).product()
            after[f"{target}_w"] = (state[f"{target}_w"] + update).astype(np.float32)
        return after | {"stacked": np.full(1, sum(self.ranks[one.client] for one in learned), np.float32)}

    def _part(self, one: Learned, target: str) -> Factors:
        whole = Factors(one.values[f"{target}_a"], one.values[f"{target}_b"])
        return whole.truncated(self.ranks[one.client])

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return the model with its changed weights; factors of rank one that add nothing complete the form."""
        del client
        return FORM, drawn_factors(self.run.setup, self.targets, 1, 1.0, 0) | self._model(state)


def flora(setup: Setup) -> Arm:
    """Return FLoRA: ranks by bytes, no error in the mean, many bytes down."""
    run = rival(setup, **OPTIONS)
    targets = targets_of(run)
    return Flora(run, targets, ranks_of(run, targets))
