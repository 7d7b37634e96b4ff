"""One bottleneck adapter a layer: for everybody alike, for the smallest, for its depth, or deeper with time.

The adapter is the shared expert of a bank without others: the same computation, beside the same feed-forward.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.federation.arms.base import Arm, Form, Learned, Setup, State, Values, Work
from benchmarks.federation.arms.depth_rules import depth_in_round
from benchmarks.federation.arms.rival import KeptPrefixes, Rival, rival, top_layers
from edge_runtime.wire.experts import BankShape, block_size, shared_parts
from edge_runtime.wire.tensors import Array
from export.packaging.bank_init import initial_bank

FORM = Form("experts")
Depth = Callable[[int], int]
"""Layers, from the top, that are trained in a round (from 1)."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """Every client trains the adapters of the same layers; they are averaged by examples (FedAvg).

    Args:
        run: common to all rivals.
        width: b of each adapter.
        depth: layers by round.
    """

    run: Rival
    width: int
    depth: Depth
    feedback: bool = True
    personal: bool = False

    @property
    def sent(self) -> Sequence[str]:
        """What devices download."""
        return ("shared", *self.run.sent)

    def start(self) -> State:
        """Return adapters that change nothing, and the head of class means."""
        values = adapter_values(self.run.setup, self.width) | {"head": self.run.setup.head}
        return values | KeptPrefixes(self.run.setup).start()

    def assign(self, state: State, number: int, here: list[int]) -> list[Work]:
        """Return one work for each client, all at the round's depth."""
        layers = self.run.setup.sizes.layers
        depth = self.depth(number)
        masks = {"shared": top_layers(layers, depth, 2)} | self.run.head_mask
        rates, values = self.run.rates(number, ["shared"]), _model(state)
        works = []
        for client in here:
            fresh = KeptPrefixes(self.run.setup).fresh(state, client, depth)
            steps = self.run.steps(client, depth, fresh)
            own = self.run.under_prior(client, values)
            works.append(Work(client, FORM, own, masks, rates, steps, layers - depth, masks, fresh=fresh))
        return works

    def merge(self, state: State, learned: list[Learned]) -> State:
        """Average by examples."""
        return self.run.merged(state, learned, ["shared"]) | KeptPrefixes(self.run.setup).after(state, learned)

    def served(self, state: State, client: int | None = None) -> tuple[Form, Values]:
        """Return the one model."""
        del client
        return FORM, _model(state)


def _model(state: State) -> State:
    return {name: state[name] for name in ("experts", "shared", "head")}


def adapter_values(setup: Setup, width: int) -> dict[str, Array]:
    """Return a bank of the start without experts and with shared ones of ``width``."""
    sizes = setup.sizes
    bank = initial_bank(BankShape(tuple(range(sizes.layers)), 1, 1, width, sizes.width, sizes.labels))
    return {"experts": bank.experts[:, :0], "shared": bank.shared}


def values_of(setup: Setup, layers: int) -> Callable[[int], int]:
    """Return how many values adapters of a width have in ``layers`` layers."""
    return lambda width: layers * block_size(shared_parts(setup.sizes.width, width))


def adapter(setup: Setup) -> Arm:
    """Return adapters of the run's width for all; a device that is slow makes few steps."""
    run = rival(setup)
    return _whole(run, run.options["width"])


def adapter_dense(setup: Setup) -> Arm:
    """Return the same without regard to small devices: a round waits until the slowest made all steps."""
    run = rival(setup, ignore_budgets=True)
    return _whole(run, run.options["width"])


def adapter_smallest(setup: Setup) -> Arm:
    """Return adapters as wide as the device with the fewest bytes can send."""
    run = rival(setup)
    values = values_of(setup, setup.sizes.layers)
    return _whole(run, min(run.fitting(client, run.options["width"], values) for client in range(len(setup.devices))))


def adapter_shallow(setup: Setup) -> Arm:
    """Return adapters in as many top layers as the slowest device can train with ``enough_steps`` steps.

    They are as much wider as the layers are fewer (``widen``), so as many values are learned.
    """
    run = rival(setup, depth=0, widen=True)
    layers = setup.sizes.layers
    depth = run.options["depth"] or min(enough_depth(setup, client) for client in range(len(setup.devices)))
    most = run.options["width"] * layers // depth if run.options["widen"] else run.options["width"]
    values = values_of(setup, depth)
    width = min(run.fitting(client, most, values) for client in range(len(setup.devices)))
    return Adapter(run, width, lambda _number: depth)


def fed_adapter(setup: Setup) -> Arm:
    """Return FedAdapter's growing depth (Cai et al., 2205.10162; see ``depth_rules`` for what is left out).

    Without ``period`` the depth reaches all layers at half of the rounds.
    """
    run = rival(setup, start=1, step=1, period=0)
    layers, start, step = setup.sizes.layers, run.options["start"], run.options["step"]
    times = max(1, -(-(layers - start) // step))
    period = run.options["period"] or max(1, setup.rounds // (2 * times))
    return Adapter(run, run.options["width"], lambda number: depth_in_round(number, layers, start, period, step))


def enough_depth(setup: Setup, client: int) -> int:
    """Return the deepest depth at which ``enough_steps`` steps fit a client's time, else its shallowest.

    From the second round on, that is, when prefixes are at hand.
    """
    reaches = setup.devices[client].reaches
    if not setup.seconds:
        return reaches[-1].layers
    most = setup.most_steps
    fitting = {one.layers: setup.steps_of(client, one.layers, most, fresh=0.0) for one in reaches}
    least = min(setup.enough_steps, most)
    return max((layers for layers, steps in fitting.items() if steps >= least), default=reaches[0].layers)


def _whole(run: Rival, width: int) -> Adapter:
    layers = run.setup.sizes.layers
    return Adapter(run, width, lambda _number: layers)
