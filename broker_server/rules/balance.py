"""Server statistics of the heterogeneity-aware auxiliary loss (top-k gates). Pure.

u_i = EMA_1/2 [ sum_c N_ci / sum_(c holds i) k_c T_c ]: use of expert i *where it was available*, N tokens routed to it,
T tokens seen, k experts chosen for a token. Lambda_(r+1) = clip(Lambda_r * exp((CV(u) - 0.2) / 2), 10^-3, 0.1); CV is
taken layer by layer and averaged, because pooled layers hide opposite imbalances. docs/algorithm.md, "Loss".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from broker_server.rules.aggregate import Contribution
from edge_runtime.wire.experts import BankShape

PRESSURE_START = 0.02
PRESSURE_LOW, PRESSURE_HIGH = 1e-3, 0.1
CV_GOAL = 0.2


@dataclass(frozen=True)
class Balance:
    """Args: use: u, M values for each layer, in [0, 1]; pressure: Lambda."""

    use: Mapping[int, tuple[float, ...]]
    pressure: float

    @classmethod
    def start(cls, shape: BankShape) -> Balance:
        """Return even use and the first pressure."""
        return cls(dict.fromkeys(shape.layers, (1.0 / shape.experts,) * shape.experts), PRESSURE_START)

    def to_tree(self) -> dict[str, object]:
        """Return what JSON can hold."""
        return {"pressure": self.pressure, "use": {str(layer): list(use) for layer, use in self.use.items()}}

    @classmethod
    def from_tree(cls, tree: Mapping[str, object]) -> Balance:
        """Read ``to_tree``'s result."""
        use, pressure = tree["use"], tree["pressure"]
        if not isinstance(use, dict) or not isinstance(pressure, float):
            msg = "balance statistics have another form than expected"
            raise TypeError(msg)
        return cls({int(layer): tuple(map(float, values)) for layer, values in use.items()}, pressure)


def next_balance(before: Balance, updates: Iterable[Contribution], *, top_k: int) -> Balance:
    """Return the statistics after a round; an expert that no device held keeps its u."""
    routed: dict[tuple[int, int], float] = {}
    available: dict[tuple[int, int], float] = {}
    for update in updates:
        held: dict[int, int] = {}
        for block in update.use:
            held[block.layer] = held.get(block.layer, 0) + 1
        for block, (tokens, seen) in update.use.items():
            key = (block.layer, block.index)
            routed[key] = routed.get(key, 0.0) + tokens
            available[key] = available.get(key, 0.0) + min(top_k, held[block.layer]) * seen
    use = {
        layer: tuple(
            0.5 * old + 0.5 * min(1.0, routed[layer, i] / available[layer, i]) if available.get((layer, i)) else old
            for i, old in enumerate(values)
        )
        for layer, values in before.use.items()
    }
    spread = sum(_variation(values) for values in use.values()) / len(use)
    pressure = before.pressure * math.exp(0.5 * (spread - CV_GOAL))
    return Balance(use, min(PRESSURE_HIGH, max(PRESSURE_LOW, pressure)))


def _variation(values: tuple[float, ...]) -> float:
    mean = sum(values) / len(values)
    if mean <= 0:
        return 0.0
    return math.sqrt(sum((value - mean) ** 2 for value in values) / len(values)) / mean
