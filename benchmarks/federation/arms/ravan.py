"""RAVAN as an arm: see ``ravan_rules``. Bases are drawn by the run's seed and never travel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.federation.arms import ravan_rules
from benchmarks.federation.arms.base import Arm, Form, Learned, Setup, State, Values, Work
from benchmarks.federation.arms.lora import targets_of
from benchmarks.federation.arms.ravan_rules import Mask
from benchmarks.federation.arms.rival import Rival, rival
from edge_runtime.wire.tensors import Array

FORM = Form("ravan")


@dataclass(frozen=True, eq=False)
class Ravan:
    """RAVAN (Raje et al., 2506.05568).

    Args:
        run: common to all rivals.
        targets: matrices that are adapted.
        heads: h.
        rank: r of a head.
        counts: [N], heads that each client trains.
    """

    run: Rival
    targets: tuple[str, ...]
    heads: int
    rank: int
    counts: tuple[int, ...]
    feedback: bool = True
    personal: bool = False

    @property
    def sent(self) -> Sequence[str]:
        """What devices download: cores; scales are one at the start of each round."""
        return (*(f"{target}_h" for target in self.targets), *self.run.sent)

    def start(self) -> State:
        """Return bases at right angles, cores of zero, scales of one and the head of class means."""
        setup, heads, rank = self.run.setup, self.heads, self.rank
        layers = setup.sizes.layers
        state: State = {"head": setup.head}
        for place, target in enumerate(self.targets):
            into, out = setup.sizes.target(target)
            right = ravan_rules.orthonormal_bases(setup.generator(0, place, 0), layers, heads, rank, into)
            state |= {
                f"{target}_a": np.ascontiguousarray(np.swapaxes(right, 2, 3)),
                f"{target}_b": ravan_rules.orthonormal_bases(setup.generator(0, place, 1), layers, heads, rank, out),
                f"{target}_h": np.zeros((layers, heads, rank, rank), np.float32),
                f"{target}_s": np.ones((layers, heads), np.float32),
            }
        return state

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return one work for each client on all layers; which heads it trains is drawn, or follows their norms."""
        layers = self.run.setup.sizes.layers
        rates = self.run.rates(number, [f"{target}_{kind}" for target in self.targets for kind in "hs"])
        works = []
        for client in here:
            own, masks = self.run.under_prior(client, state), self._masks(state, client, number)
            works.append(Work(client, FORM, own, masks, rates, self.run.steps(client, layers), 0))
        return works

    def _masks(self, state: State, client: int, number: int) -> dict[str, Array]:
        masks = self.run.head_mask
        for place, target in enumerate(self.targets):
            rng = self.run.setup.generator(number, client, place)
            cores = state[f"{target}_h"]
            chosen = ravan_rules.chosen_heads(rng, cores, self.counts[client], by_norm=self.run.options["by_norm"])
            trained = chosen.astype(np.float32)
            masks |= {f"{target}_h": trained[:, :, None, None], f"{target}_s": trained}
        return masks

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Average s_i H_i over those who trained head i; scales start from one again."""
        after = self.run.merged(state, learned, [])
        examples = [float(one.examples) for one in learned]
        for target in self.targets if learned else ():
            core, scale = f"{target}_h", f"{target}_s"
            masks: list[Mask] = [one.work.masks[scale] > 0 for one in learned]
            cores = [(state[core] + one.delta(core)).astype(np.float32) for one in learned]
            scales = [one.values[scale] for one in learned]
            after[core] = ravan_rules.ravan(state[core], cores, scales, masks, examples)
        return after

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return the model with all heads."""
        del client
        return FORM, state


def ravan(setup: Setup) -> Arm:
    """Return RAVAN with ``heads`` heads of ``rank``; 0: as many values as ``width`` says, as far as bases have room."""
    run = rival(setup, targets="ffn", heads=4, rank=0, by_norm=False)
    targets, heads = targets_of(run), run.options["heads"]
    matrices, sizes = len(targets), setup.sizes
    room = min(min(sizes.target(target)) for target in targets) // heads
    rank = run.options["rank"] or min(room, int((2 * run.options["width"] * sizes.width / (matrices * heads)) ** 0.5))
    one = matrices * sizes.layers * (rank * rank + 1)
    counts = tuple(run.fitting(client, heads, lambda count: count * one) for client in range(len(setup.devices)))
    return Ravan(run, targets, heads, rank, counts)
