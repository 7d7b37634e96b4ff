"""Every arm goes through a federation on the CPU: planned, trained, coded, merged, served, and its costs are reckoned.

One of four devices is slow: it has time for three steps through all layers, and bytes for half of the others' ranks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_federation import tiny_file

from benchmarks.federation.arms import ARMS
from benchmarks.federation.arms.base import Device
from benchmarks.federation.experiment import ArmPlan, Attack, Settings, Task
from benchmarks.federation.figures import Cell, Run
from benchmarks.federation.fleet import Fleet
from benchmarks.federation.place import LoadedSet, Workplace, ground_of
from benchmarks.federation.run import Simulation
from broker_server.rules.planner import Reach

CLIENTS, ROUNDS = 4, 2
SETTINGS = Settings(rounds=ROUNDS, batch=4, steps=4, most_steps=5, enough_steps=4, slowest_steps=3, rate=1e-2)
OPTIONS = {
    "topk_switch": {"experts": 2},
    "topk_balanced": {"experts": 2},
    "ravan": {"heads": 2},
    "ours": {"experts": 2, "rank": 2, "shared_rank": 2},
}
SILENT = ("class_means", "centralized", "local_only")
"""Arms that send nothing."""
UNEQUAL = ("hetlora", "flexlora", "raflora", "fed_plora", "flora", "ravan")
"""Arms whose slow device sends less than the others."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedSet]:
    """Return texts of four labels on a random BERT of six layers, width 32; one thread, which is enough for it."""
    threads, file = torch.get_num_threads(), tiny_file(tmp_path_factory.mktemp("tiny"))
    torch.set_num_threads(1)
    yield Workplace(Path(file), torch.device("cpu"), torch.float32).load("trec")
    torch.set_num_threads(threads)


def fleet(_texts: str, clients: int, seed: int, **_words: object) -> Fleet:
    """Return devices of which the first is slow and has few bytes."""
    slow = Device("lowend-phone", (Reach(2, 20.0, 10.0), Reach(6, 100.0)), 2000, 20_000, 1e4, 1e5)
    fast = Device("pixel8", (Reach(2, 5.0, 2.0), Reach(6, 25.0)), 0, 0, 1e5, 1e6)
    return Fleet((slow, *[fast] * (clients - 1)), seed)


def simulated(name: str, loaded: LoadedSet) -> Simulation:
    """Return an arm's run on clients of skewed labels, to be made."""
    options = {} if name == "ours" else {"width": 6}
    arm = ArmPlan(name, name, SETTINGS, {**options, **OPTIONS.get(name, {})})
    task = Task("tiny", Cell("trec", "dirichlet:1", CLIENTS), arm, 1, {}, Attack())
    return Simulation(task, ground_of(task, loaded, fleet))


@pytest.mark.parametrize("name", sorted(ARMS))
def test_an_arm_goes_through_a_federation(name: str, loaded: LoadedSet) -> None:
    """Its rounds move what it trains, cost bytes where it sends any, keep to the time, and end in finite numbers."""
    simulation = simulated(name, loaded)
    start = {key: value.copy() for key, value in simulation.at.state.items()}
    assert simulation.run()
    run = simulation.result()
    assert all(map(math.isfinite, (*run.curve.test, *run.curve.wall_s, *run.own)))
    assert len(run.curve.test) == ROUNDS + 1
    assert (min(run.curve.bytes_up) > 0) == (name not in SILENT)
    moved = [key for key, value in simulation.at.state.items() if not np.array_equal(value, start[key])]
    assert bool(moved) == (name != "class_means")
    assert run.steps[0] == _steps_of_the_slow(name, run)
    if name in UNEQUAL:
        at, works = simulation.at, simulation.arm.assign(simulation.at.state, ROUNDS + 1, [0, 1])
        assert at.up.size(works[0]) < 0.8 * at.up.size(works[1])


def _steps_of_the_slow(name: str, run: Run) -> float:
    """Return 3 through all layers; through the top ones, and for a head alone, as many as the most of anybody, 5."""
    if name in {"class_means", "centralized"}:
        return 0
    if name == "adapter_dense":
        return SETTINGS.steps
    shallow = 0 if name == "linear_probe" else run.layers[0]
    return 5 if shallow <= 2 else 3 if shallow == 6 else 4


def test_unequal_ranks_tell_the_low_rank_methods_apart(loaded: LoadedSet) -> None:
    """FlexLoRA is not raFLoRA, and Fed-PLoRA not FedIT, once a device has fewer ranks than others."""
    states = {}
    for name in ("flexlora", "raflora", "fedit_ffn", "fed_plora"):
        simulation = simulated(name, loaded)
        simulation.round()
        states[name] = simulation.at.state
    assert not np.allclose(states["flexlora"]["ffn_in_b"], states["raflora"]["ffn_in_b"])
    assert states["fedit_ffn"]["ffn_in_b"].shape[2] == 1  # all have the rank of the smallest
    assert states["fed_plora"]["ffn_in_b"].shape[2] == 2
