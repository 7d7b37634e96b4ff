"""A whole bank of experts on every device, routed top-k: FFT-MoE (Hu et al., 2508.18663) as its abstract describes it.

Experts are bottlenecks beside each feed-forward, a router of [M, d] activates k of them for a token, every device
trains the whole bank, and the server averages it by examples. The paper's loss is not known here: ``topk_switch`` has
the balance loss of Fedus et al. (2101.03961), ``topk_balanced`` this project's own (docs/algorithm.md, "Loss").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.federation.arms.base import Arm, Form, Learned, Setup, State, Values, Work
from benchmarks.federation.arms.rival import Rival, rival
from broker_server.rules.aggregate import Contribution
from broker_server.rules.balance import PRESSURE_START, Balance, next_balance
from edge_runtime.training.heterogeneity import balance_target, balance_weight, divergence
from edge_runtime.wire.experts import BankShape, ExpertId, block_size, expert_parts
from edge_runtime.wire.tensors import Array
from export.packaging.bank_init import initial_bank

BANK = ("experts",)


@dataclass(frozen=True, eq=False)
class WholeBank:
    """Every client trains all experts.

    Args:
        run: common to all rivals.
        form: gate and loss.
        experts: M.
        rank: r.
    """

    run: Rival
    form: Form
    experts: int
    rank: int
    feedback: bool = True
    personal: bool = False

    @property
    def sent(self) -> Sequence[str]:
        """What devices download; the targets of the loss are a few numbers and are not counted."""
        return (*BANK, *self.run.sent)

    def start(self) -> State:
        """Return a bank that changes nothing, and even use of experts."""
        sizes, clients = self.run.setup.sizes, len(self.run.setup.devices)
        layers = sizes.layers
        bank = initial_bank(BankShape(tuple(range(layers)), self.experts, self.rank, 0, sizes.width, sizes.labels))
        return {
            "experts": bank.experts,
            "shared": bank.shared,
            "head": self.run.setup.head,
            "use": np.full((layers, self.experts), 1 / self.experts, np.float32),
            "pressure": np.full(1, PRESSURE_START, np.float32),
            "load": np.zeros((clients, layers, self.experts), np.float32),
        }

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return one work for each client on the whole bank."""
        layers = self.run.setup.sizes.layers
        masks = {"experts": np.ones((layers, self.experts, 1), np.float32)} | self.run.head_mask
        rates = self.run.rates(number, BANK)
        works = []
        for client in here:
            own = self.run.under_prior(client, self._values(state, client))
            works.append(Work(client, self.form, own, masks, rates, self.run.steps(client, layers), 0))
        return works

    def _values(self, state: State, client: int) -> dict[str, Array]:
        values = {name: state[name] for name in ("experts", "shared", "head")}
        if self.form.balance != "kl":
            return values
        use, load, pressure = state["use"], state["load"][client], float(state["pressure"][0])
        targets = [balance_target(row, float(row.mean())) for row in use]
        weights = [
            balance_weight(pressure, divergence(own, row), self.experts, self.experts)
            for own, row in zip(load, use, strict=True)
        ]
        return values | {"balance_target": np.stack(targets), "balance_weight": np.asarray(weights, np.float32)}

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Average the bank by examples; keep how much each expert was used."""
        after = self.run.merged(state, learned, BANK)
        return after | self._balance(state, learned)

    def _balance(self, state: State, learned: list[Learned]) -> State:
        before = Balance(
            {layer: tuple(map(float, row)) for layer, row in enumerate(state["use"])}, float(state["pressure"][0])
        )
        used = [one for one in learned if one.routed is not None]
        after = next_balance(before, map(_contribution, used), top_k=self.form.top_k)
        load = state["load"].copy()
        for one in used:
            load[one.client] = one.routed
        return {
            "use": np.asarray([after.use[layer] for layer in sorted(after.use)], np.float32),
            "pressure": np.full(1, after.pressure, np.float32),
            "load": load,
        }

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return the model; it predicts without a loss."""
        del client
        form = Form(self.form.kind, self.form.gate, self.form.top_k)
        return form, {name: state[name] for name in ("experts", "shared", "head")}


def _contribution(one: Learned) -> Contribution:
    routed = one.routed if one.routed is not None else np.zeros((0, 0))
    use = {
        ExpertId(layer, index): (float(tokens), one.seen)
        for layer, row in enumerate(routed)
        for index, tokens in enumerate(row)
    }
    return Contribution(str(one.client), 0, float(one.examples), 0, {}, use)


def _whole_bank(setup: Setup, balance: str) -> Arm:
    run = rival(setup, experts=8, rank=0, top_k=2, switch_weight=0.01)
    experts, sizes = run.options["experts"], setup.sizes
    values = 2 * run.options["width"] * sizes.width // experts
    rank = run.options["rank"] or max(1, (values - 2 * sizes.width) // (2 * sizes.width + 1))

    def bank(size: int) -> int:
        return int(sizes.layers * experts * block_size(expert_parts(sizes.width, size)))

    rank = min(run.fitting(client, rank, bank) for client in range(len(setup.devices)))
    form = Form("experts", "topk", min(run.options["top_k"], experts), balance, run.options["switch_weight"])
    return WholeBank(run, form, experts, rank)


def topk_switch(setup: Setup) -> Arm:
    """Return the whole bank with the Switch loss."""
    return _whole_bank(setup, "switch")


def topk_balanced(setup: Setup) -> Arm:
    """Return the whole bank with the heterogeneity-aware loss of this project."""
    return _whole_bank(setup, "kl")
