"""LoRA arms: one way to plan and serve, and a rule for each method that says who trains which ranks and how they merge.

A device of rank r_k has the first r_k ranks (Fed-PLoRA: all, of which it trains r_k). What the server merges are its
own factors moved by what a device learned, so what int8 left out on the way down is not lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.federation.arms import lora_rules
from benchmarks.federation.arms.base import Arm, Form, Learned, Setup, State, Values, Work
from benchmarks.federation.arms.factors import Factors
from benchmarks.federation.arms.lora_rules import Mask
from benchmarks.federation.arms.rival import Rival, rival
from edge_runtime.wire.tensors import Array

FORM = Form("lora")
TARGET_SETS: Final[Mapping[str, tuple[str, ...]]] = {"qv": ("q", "v"), "ffn": ("ffn_in", "ffn_out")}
OPTIONS: Final[Mapping[str, Any]] = {"targets": "ffn", "rank": 0, "scale": 1.0, "ranks": {}}
"""``targets``: qv or ffn; ``rank``: R, 0 for as many values as ``width`` says; ``scale``: of the update, for all ranks;
``ranks``: by profile, where a device's rank shall be less than its bytes allow."""
Merge = Callable[[Factors, Sequence[Factors], Sequence[Mask], Sequence[float]], Factors]
"""(before, after training with R ranks each, [L, R] trained of each, examples) -> after."""


@dataclass(frozen=True)
class Rule:
    """What tells LoRA methods apart.

    Args:
        merge: their factors.
        uniform: whether all devices have one rank, that of the smallest.
        draws: whether a device has all ranks and trains some of them, drawn in every round.
        trains_a: whether a is trained and sent.
        feedback: whether the factors stay comparable from version to version, so that what int8 left can be added.
    """

    merge: Merge
    uniform: bool = False
    draws: bool = False
    trains_a: bool = True
    feedback: bool = True


def _cut(parts: Sequence[Factors], masks: Sequence[Mask]) -> list[Factors]:
    return [part.truncated(int(mask[0].sum())) for part, mask in zip(parts, masks, strict=True)]


RULES: Final[Mapping[str, Rule]] = {
    "fedit": Rule(lambda _before, parts, _masks, n: lora_rules.fedit(parts, n), uniform=True),
    "ffa_lora": Rule(lambda _before, parts, _masks, n: lora_rules.ffa_lora(parts, n), uniform=True, trains_a=False),
    "hetlora": Rule(lambda before, parts, masks, _n: lora_rules.hetlora(_cut(parts, masks), before.rank)),
    "flexlora": Rule(
        lambda before, parts, masks, n: lora_rules.flexlora(_cut(parts, masks), n, before.rank), feedback=False
    ),
    "raflora": Rule(lambda before, parts, masks, n: lora_rules.raflora(_cut(parts, masks), n, before), feedback=False),
    "fed_plora": Rule(lora_rules.fed_plora, draws=True),
}


@dataclass(frozen=True, eq=False)
class Lora:
    """One LoRA method.

    Args:
        run: common to all rivals.
        rule: of the method.
        targets: matrices that are adapted.
        ranks: [N], r_k; R is the largest.
    """

    run: Rival
    rule: Rule
    targets: tuple[str, ...]
    ranks: tuple[int, ...]
    personal: bool = False

    @property
    def feedback(self) -> bool:
        """Whether what int8 left is added to the next version."""
        return self.rule.feedback

    @property
    def sent(self) -> Sequence[str]:
        """What devices download."""
        return (*self._trained, *self.run.sent)

    @property
    def _trained(self) -> tuple[str, ...]:
        kinds = ("a", "b") if self.rule.trains_a else ("b",)
        return tuple(f"{target}_{kind}" for target in self.targets for kind in kinds)

    def start(self) -> State:
        """Return a random a, b = 0 and the head of class means."""
        return drawn_factors(self.run.setup, self.targets, max(self.ranks), self.run.options["scale"], 0)

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return one work for each client on all layers."""
        starts = {rank: self._start_of(state, rank) for rank in {self.ranks[client] for client in here}}
        layers = self.run.setup.sizes.layers
        rates = self.run.rates(number, self._trained)
        works = []
        for client in here:
            masks = self._masks(client, number)
            held = None if self.rule.draws else masks
            values = self.run.under_prior(client, starts[self.ranks[client]])
            works.append(Work(client, FORM, values, masks, rates, self.run.steps(client, layers), 0, held))
        return works

    def _start_of(self, state: State, rank: int) -> State:
        if self.rule.draws or rank == max(self.ranks):
            return state
        cut = dict(state)
        for target in self.targets:
            factors = _factors(state, target).truncated(rank).padded(max(self.ranks))
            cut |= {f"{target}_a": factors.a, f"{target}_b": factors.b}
        return cut

    def _masks(self, client: int, number: int) -> dict[str, Array]:
        rank, layers = self.ranks[client], self.run.setup.sizes.layers
        trained: Mask = np.tile(np.arange(max(self.ranks)) < rank, (layers, 1))
        masks: dict[str, Array] = {}
        for place, target in enumerate(self.targets):
            if self.rule.draws:
                rng = self.run.setup.generator(number, client, place)
                trained = lora_rules.chosen_modules(rng, layers, max(self.ranks), rank)
            both = {"a": trained[:, :, None], "b": trained[:, None, :]}
            masks |= {f"{target}_{kind}": mask.astype(np.float32) for kind, mask in both.items()}
        return {name: masks[name] for name in self._trained} | self.run.head_mask

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Merge each matrix by the rule, the head by label counts."""
        if not learned:
            return state
        after = self.run.merged(state, learned, [])
        examples = [float(one.examples) for one in learned]
        for target in self.targets:
            parts = [self._part(state, one, target) for one in learned]
            masks = [one.work.masks[f"{target}_b"][:, 0] > 0 for one in learned]
            factors = self.rule.merge(_factors(state, target), parts, masks, examples)
            after |= {f"{target}_a": factors.a, f"{target}_b": factors.b}
        return after

    def _part(self, state: State, one: Learned, target: str) -> Factors:
        moved = {kind: state[f"{target}_{kind}"] for kind in "ab"}
        for kind in "ab":
            name = f"{target}_{kind}"
            if name in one.work.masks:
                moved[kind] = (moved[kind] + one.delta(name) * one.work.masks[name]).astype(np.float32)
        return Factors(moved["a"], moved["b"])

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return the model with all R ranks."""
        del client
        return FORM, state


def _factors(state: State, target: str) -> Factors:
    return Factors(state[f"{target}_a"], state[f"{target}_b"])


def drawn_factors(setup: Setup, targets: Sequence[str], rank: int, scale: float, word: int) -> State:
    """Return factors of a layer's start, the same on every device, with scale and head.

    a is uniform within 1 / sqrt(in) as common implementations draw it, b is zero.

    Args:
        setup: of the run.
        targets: matrices that are adapted.
        rank: R.
        scale: of the update.
        word: further word of the random numbers: a round.
    """
    layers = setup.sizes.layers
    state: State = {"scale": np.full(1, scale, np.float32), "head": setup.head}
    for place, target in enumerate(targets):
        into, out = setup.sizes.target(target)
        bound = into**-0.5
        a = setup.generator(word, place).uniform(-bound, bound, (layers, rank, into))
        state |= {f"{target}_a": a.astype(np.float32), f"{target}_b": np.zeros((layers, out, rank), np.float32)}
    return state


def targets_of(run: Rival) -> tuple[str, ...]:
    """Return the matrices that an arm adapts.

    Raises:
        ValueError: for an unknown set.
    """
    name = run.options["targets"]
    if name not in TARGET_SETS:
        msg = f"option targets is {name!r}, known: {', '.join(TARGET_SETS)}"
        raise ValueError(msg)
    return TARGET_SETS[name]


def rank_of_width(run: Rival, values: int) -> int:
    """Return the option ``rank``, or the rank with as many trained values as adapters of the option ``width``.

    Args:
        run: common to all rivals.
        values: that are trained in each rank of a layer.
    """
    return int(run.options["rank"]) or max(1, 2 * run.options["width"] * run.setup.sizes.width // values)


def ranks_of(run: Rival, targets: Sequence[str], *, trains_a: bool = True) -> tuple[int, ...]:
    """Return r_k of each client: at most R, what its bytes allow, and what the option ``ranks`` says of its profile."""
    sizes = run.setup.sizes
    each = [sizes.target(target) for target in targets]
    values = sum(into * trains_a + out for into, out in each)
    most, one = rank_of_width(run, values), sizes.layers * values
    limits = [int(run.options["ranks"].get(device.profile, most)) for device in run.setup.devices]
    return tuple(run.fitting(client, min(most, limit), lambda rank: rank * one) for client, limit in enumerate(limits))


def _arm(setup: Setup, name: str, **own: object) -> Arm:
    run, rule = rival(setup, **(dict(OPTIONS) | own)), RULES[name]
    targets = targets_of(run)
    ranks = ranks_of(run, targets, trains_a=rule.trains_a)
    return Lora(run, rule, targets, (min(ranks),) * len(ranks) if rule.uniform else ranks)


def fedit_qv(setup: Setup) -> Arm:
    """Return FedIT on the attention's query and value, as it was published."""
    return _arm(setup, "fedit", targets="qv")


def fedit_ffn(setup: Setup) -> Arm:
    """Return FedIT on both matrices of the feed-forward, beside which adapters stand."""
    return _arm(setup, "fedit")


def ffa_lora(setup: Setup) -> Arm:
    """Return FFA-LoRA: b alone is trained and travels."""
    return _arm(setup, "ffa_lora")


def hetlora(setup: Setup) -> Arm:
    """Return HetLoRA: ranks by bytes, weights by norm."""
    return _arm(setup, "hetlora")


def flexlora(setup: Setup) -> Arm:
    """Return FlexLoRA: ranks by bytes, singular directions of the mean update."""
    return _arm(setup, "flexlora")


def raflora(setup: Setup) -> Arm:
    """Return raFLoRA: FlexLoRA with each rank averaged over those who have it."""
    return _arm(setup, "raflora")


def fed_plora(setup: Setup) -> Arm:
    """Return Fed-PLoRA: modules of rank one, some of them trained."""
    return _arm(setup, "fed_plora")
