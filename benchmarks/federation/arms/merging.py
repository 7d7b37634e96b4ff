"""Merging of a round by the product's rules, for arms of this project. Pure.

Axes: L layers, M experts, P values of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.federation.arms.base import Learned, State
from broker_server.rules.aggregate import Contribution, Sums, close, fold_all
from broker_server.rules.agreement import Agreement, left_out, scores
from broker_server.rules.capping import cap, cut
from broker_server.rules.norm_cuts import norm_cuts
from broker_server.rules.norms import norms_of
from broker_server.rules.robust import Robust, robust_sums
from broker_server.rules.server_optimizer import ServerOptimizer, optimized
from broker_server.rules.server_rules import ServerRules
from broker_server.rules.weights import Caps
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.tensors import Array


@dataclass(frozen=True)
class Merging:
    """How a round is merged.

    Args:
        weights: "examples", "fednova", "uniform" or "uniform fednova".
        robust: by number of holders.
        directions: whoever points away from the others is left out.
        remember: share of the trust of the round before that stays.
        norm: updates are cut to so many median norms of their kind of block; 0: not.
        server: "none", "momentum", "adam" or "yogi".
        server_rate: of it; 0: the usual.
        top_k: experts that a token takes; 0: gates are soft, or there are none.
    """

    weights: str = "examples"
    robust: bool = False
    directions: bool = False
    remember: float = 0.95
    norm: float = 1.5
    server: str = "none"
    server_rate: float = 0.0
    top_k: int = 0

    @property
    def normalized(self) -> bool:
        """Whether deltas are divided by their steps."""
        return self.weights.endswith("fednova")


def contribution(one: Learned, shape: BankShape, rules: Merging) -> Contribution:
    """Return what a client learned as the gateway's rules take it."""
    deltas: dict[ExpertId, Array] = {}
    changes = {name: one.values[name] - one.work.values[name] for name in one.work.rates}
    for row, layer in enumerate(shape.layers):
        for index in range(shape.experts):
            if one.work.masks["experts"][row, index, 0]:
                deltas[ExpertId(layer, index)] = changes["experts"][row, index]
        if "shared" in changes and one.work.masks["shared"][row, 0]:
            deltas[shared_expert(layer)] = changes["shared"][row]
    if "head" in changes:
        deltas[HEAD] = changes["head"]
    uniform = rules.weights.startswith("uniform")
    return Contribution(
        f"{one.client:06}",
        0,
        1.0 if uniform else float(one.examples),
        0,
        deltas,
        _use(one, shape, deltas),
        tuple(map(float, one.label_counts)) if HEAD in deltas else (),
        one.steps,
    )


def _use(one: Learned, shape: BankShape, deltas: dict[ExpertId, Array]) -> dict[ExpertId, tuple[float, float]]:
    if one.routed is None:
        return {}
    blocks = ((row, ExpertId(layer, index)) for row, layer in enumerate(shape.layers) for index in range(shape.experts))
    return {block: (float(one.routed[row, block.index]), one.seen) for row, block in blocks if block in deltas}


def trusted(updates: Sequence[Contribution], state: State, rules: Merging) -> tuple[State, Sequence[Contribution]]:
    """Return the trust after a round as a tensor of a state, and the updates of those who are trusted."""
    if not rules.directions:
        return {}, updates
    agreement = Agreement(rules.remember)
    before = {f"{client:06}": float(value) for client, value in enumerate(state["trust"])}
    after = agreement.after(before, scores(updates))
    doubted = left_out(after, updates)
    kept = np.array([after[name] for name in sorted(after)], np.float32)
    return {"trust": kept}, [one for one in updates if one.device not in doubted]


def merged_bank(base: Bank, updates: Sequence[Contribution], state: State, rules: Merging) -> tuple[Bank, State]:
    """Return the bank after a round, and the server optimizer's moments as tensors of a state."""
    counted, _ = cap(updates, Caps(norm=rules.norm), top_k=rules.top_k)
    server = ServerRules(normalized=rules.normalized, robust=Robust() if rules.robust else None)
    limits, _ = norm_cuts([norms_of(one.deltas) for one in counted], counted, Caps(norm=rules.norm), server)
    short = [cut(update, limits.of(update))[0] for update in counted]
    if rules.robust:
        sums = robust_sums(short, base.shape, Robust(), topk=rules.top_k > 0, normalized=rules.normalized)
    else:
        sums = Sums()
        fold_all(sums, short, base.shape, topk=rules.top_k > 0, normalized=rules.normalized)
    optimizer = ServerOptimizer(rules.server, rules.server_rate)
    moments = {_block(name): value for name, value in state.items() if name.startswith("moments:")}
    steps, after = optimized(sums, moments, optimizer)
    return close(base, steps), {f"moments:{block.layer}.{block.index}": value for block, value in after.items()}


def _block(name: str) -> ExpertId:
    layer, index = name.removeprefix("moments:").split(".")
    return ExpertId(int(layer), int(index))
