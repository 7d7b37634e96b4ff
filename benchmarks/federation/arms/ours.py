"""This project's own federation: its planner, merging, robust rules, server optimizers and statistics, as they ship.

Axes: L layers, N clients, M experts, P values of an expert, n texts of a client.

Options, beside the sizes of the bank:

- ``depth``: "plan" (by the planner, from each device's reaches), "all" (every device all layers, as many steps as its
  time allows) or "wait" (all layers and all steps, whatever the time: the round waits for the slowest).
- ``stale``: A; who trains the top layers alone may go on with prefixes of a version up to A versions old.
- ``lower_every``: k; layers that not everybody reaches are trained in every k-th round only, so that prefixes last.
- ``weights``: "examples", "fednova" (deltas divided by their steps), "uniform" or "uniform fednova".
- ``local_prior``: strength of the label prior that devices train under: what they learn is what the prior does not say.
- ``slots``: m, experts of a layer that a device trains at most, a number or a table by profile; 0: as many as fit.
- ``bytes``: whether the devices' budgets of bytes count.
- ``norm``: updates are cut to so many median norms, as the gateway does; ``robust``: merge by number of holders;
  ``directions``: leave out who points away from the others, with ``remember`` of the trust of the round before;
  ``server``, ``server_rate``: a server optimizer.

What stands for a device between rounds is in the state: which version its prefixes are of, and of how many texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from benchmarks.federation.arms import prefixes
from benchmarks.federation.arms.base import Arm, Form, Learned, Setup, State, Values, Work
from benchmarks.federation.arms.merging import Merging, contribution, merged_bank, trusted
from benchmarks.federation.local_prior import prior_shift
from broker_server.rules.aggregate import Contribution
from broker_server.rules.balance import PRESSURE_START, Balance, next_balance
from broker_server.rules.planner import Assignment, Budget, Coverage, RoundRequest, plan_round
from edge_runtime.training.heterogeneity import balance_target, balance_weight, divergence
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, RESERVED, BankShape, ExpertId
from edge_runtime.wire.tensors import Array
from export.packaging.bank_init import initial_bank

BANK: Final = ("experts", "shared", "head")
MERGING: Final = ("weights", "robust", "directions", "remember", "norm", "server", "server_rate")
"""Options that say how a round is merged."""
OPTIONS: Final[Mapping[str, Any]] = {
    "experts": 8,
    "rank": 8,
    "shared_rank": 96,
    "gate": "soft",
    "top_k": 2,
    "rate": 0.0,
    "shared_share": 1.0,
    "head_share": 0.1,
    "depth": "all",
    "stale": 0,
    "lower_every": 1,
    "slots": 0,
    "bytes": True,
    "weights": "fednova",
    "local_prior": 0.0,
    "robust": False,
    "directions": False,
    "remember": 0.95,
    "norm": 1.5,
    "server": "none",
    "server_rate": 0.0,
}
"""With their defaults."""


@dataclass(frozen=True, eq=False)
class Ours:
    """One setting of this federation. Args: setup: of the run; options: all of OPTIONS; shape: of the bank."""

    setup: Setup
    options: Mapping[str, Any]
    shape: BankShape
    feedback: bool = True
    personal: bool = False

    @property
    def sent(self) -> Sequence[str]:
        """What devices download."""
        return BANK

    @property
    def form(self) -> Form:
        """How the model computes while it is trained."""
        topk = self.options["gate"] == "topk"
        return Form("experts", self.options["gate"], self.options["top_k"] if topk else 0, "kl" if topk else "")

    def start(self) -> State:
        """Return the initial bank with the head of class means, and nothing trained or kept yet."""
        bank, clients = initial_bank(self.shape), len(self.setup.devices)
        rows = len(self.shape.layers), self.shape.experts
        state: State = {"experts": bank.experts, "shared": bank.shared, "head": self.setup.head}
        state |= {"coverage": np.zeros(rows, np.float32), "own": np.zeros((clients, *rows), np.float32)}
        if self.options["directions"]:
            state["trust"] = np.zeros(clients, np.float32)
        state |= prefixes.start(self.setup, self.options["stale"], state)
        if self.options["gate"] == "topk":
            state |= {
                "use": np.full(rows, 1 / rows[1], np.float32),
                "pressure": np.full(1, PRESSURE_START, np.float32),
                "load": np.zeros((clients, *rows), np.float32),
            }
        return state

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return the works that the planner's assignments say."""
        kept = prefixes.Kept(state, self.options["stale"])
        plans = plan_round(
            [self._budget(client, kept) for client in here],
            self.shape,
            number,
            self._coverage(state),
            self._request(number),
        )
        return [self._work(int(name), plan, number, state) for name, plan in sorted(plans.items())]

    def _budget(self, client: int, kept: prefixes.Kept) -> Budget:
        setup, options = self.setup, self.options
        device, layers = setup.devices[client], setup.sizes.layers
        slots = options["slots"]
        slots = slots.get(device.profile, 0) if isinstance(slots, Mapping) else slots
        reaches = [
            replace(reach, trunk_ms=reach.trunk_ms * kept.fresh(client, layers - reach.layers, setup))
            for reach in device.reaches
        ]
        if options["depth"] != "plan":
            reaches = reaches[-1:]
        return Budget(
            f"{client:06}",
            slots or device.slots or self.shape.experts,
            device.bytes_up if options["bytes"] else 0,
            codecs=(pb.FLOAT32, pb.INT8),
            reaches=tuple(reaches),
            examples=setup.examples[client],
            batch=setup.batch,
        )

    def _request(self, number: int) -> RoundRequest:
        setup, every = self.setup, self.options["lower_every"]
        whole = every <= 1 or number % every == 1
        return RoundRequest(
            steps=setup.steps,
            codec=pb.INT8,
            train_head=self.options["head_share"] > 0,
            train_shared=self.options["shared_share"] > 0,
            seconds=0.0 if self.options["depth"] == "wait" else setup.seconds,
            most_steps=setup.most_steps,
            enough_steps=setup.enough_steps,
            most_epochs=setup.most_epochs,
            depth=0 if whole else prefixes.shallowest(setup),
        )

    def _coverage(self, state: State) -> Coverage:
        layers = enumerate(self.shape.layers)
        blocks = [(row, ExpertId(layer, index)) for row, layer in layers for index in range(self.shape.experts)]
        total = {block: int(state["coverage"][row, block.index]) for row, block in blocks}
        own = {
            (f"{client:06}", block): int(state["own"][client, row, block.index])
            for client in range(len(self.setup.devices))
            for row, block in blocks
        }
        return Coverage(total, own)

    def _work(self, client: int, plan: Assignment, number: int, state: State) -> Work:
        layers = len(self.shape.layers)
        low = layers - (plan.layers or layers)
        experts = np.zeros((layers, self.shape.experts, 1), np.float32)
        shared = np.zeros((layers, 1), np.float32)
        for block in plan.train:
            if block.shared:
                shared[self.shape.layers.index(block.layer)] = 1
            elif block.layer != RESERVED:
                experts[self.shape.layers.index(block.layer), block.index] = 1
        masks = {"experts": experts, "shared": shared, "head": np.ones(1, np.float32)}
        kept = prefixes.Kept(state, self.options["stale"])
        values = {name: state[name] for name in BANK}
        own = {**values, **kept.lower(client, low, self.setup, values), **self._balance(state, client)}
        own["head"] = self._under_prior(client, state["head"])
        fresh = kept.fresh(client, low, self.setup)
        rates = self._rates(number)
        if not self.shape.shared_rank:
            rates.pop("shared")
        if HEAD not in plan.train:
            rates.pop("head", None)
        return Work(client, self.form, own, masks, rates, plan.steps, low, fresh=fresh)

    def _under_prior(self, client: int, head: Array) -> Array:
        """Return the head that a client trains from: biases moved by its label prior; a delta takes that off again."""
        strength, labels = self.options["local_prior"], self.shape.labels
        if not strength:
            return head
        moved = head.copy()
        moved[-labels:] += prior_shift(self.setup.label_counts[client], strength)
        return moved

    def _rates(self, number: int) -> dict[str, float]:
        rate = self.setup.rate_of(number) * ((self.options["rate"] or self.setup.rate) / self.setup.rate)
        shares = {"experts": 1.0, "shared": self.options["shared_share"], "head": self.options["head_share"]}
        return {name: rate * share for name, share in shares.items() if share}

    def _balance(self, state: State, client: int) -> dict[str, Array]:
        if self.options["gate"] != "topk":
            return {}
        experts, pressure = self.shape.experts, float(state["pressure"][0])
        rows = list(zip(state["use"], state["load"][client], strict=True))
        weights = [balance_weight(pressure, divergence(own, use), experts, experts) for use, own in rows]
        targets = np.stack([balance_target(use, float(use.mean())) for use, _ in rows])
        return {"balance_target": targets, "balance_weight": np.asarray(weights, np.float32)}

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Merge each block over those who trained it, and note what was trained and kept."""
        if not learned:
            return state
        base = Bank(self.shape, state["experts"], state["shared"], state["head"], self.setup.mean)
        chosen = {name: self.options[name] for name in MERGING}
        rules = Merging(**chosen, top_k=self.form.top_k)
        updates = [contribution(one, self.shape, rules) for one in learned]
        trust, heard = trusted(updates, state, rules)
        bank, moments = merged_bank(base, heard, state, rules)
        after = state | {"experts": bank.experts, "shared": bank.shared, "head": bank.head} | moments | trust
        after |= self._trained(state, learned)
        if self.options["gate"] == "topk":
            after |= self._used(state, learned, updates)
        after |= prefixes.after(state, after, learned, self.setup, self.options["stale"])
        return prefixes.pruned(after, self.options["stale"])

    def _trained(self, state: State, learned: Sequence[Learned]) -> State:
        coverage, own = state["coverage"].copy(), state["own"].copy()
        for one in learned:
            mask = one.work.masks["experts"][..., 0]
            coverage += mask
            own[one.client] += mask
        return {"coverage": coverage, "own": own}

    def _used(self, state: State, learned: Sequence[Learned], updates: Sequence[Contribution]) -> State:
        before = Balance(
            {layer: tuple(map(float, row)) for layer, row in zip(self.shape.layers, state["use"], strict=True)},
            float(state["pressure"][0]),
        )
        after = next_balance(before, updates, top_k=self.options["top_k"])
        load = state["load"].copy()
        for one in learned:
            load[one.client] = one.routed
        use = np.asarray([after.use[layer] for layer in self.shape.layers], np.float32)
        return {"use": use, "pressure": np.full(1, after.pressure, np.float32), "load": load}

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return the merged model."""
        del client
        return replace(self.form, balance=""), {name: state[name] for name in BANK}


def ours(setup: Setup) -> Arm:
    """Return this project's federation with the options of the experiment's file.

    Raises:
        ValueError: for an option that it does not have.
    """
    unknown = sorted(set(setup.options) - set(OPTIONS))
    if unknown:
        msg = f"no option {', '.join(unknown)}; known: {', '.join(sorted(OPTIONS))}"
        raise ValueError(msg)
    options = {**OPTIONS, **setup.options}
    sizes = setup.sizes
    layers = tuple(range(sizes.layers))
    shape = BankShape(layers, options["experts"], options["rank"], options["shared_rank"], sizes.width, sizes.labels)
    return Ours(setup, options, shape)
