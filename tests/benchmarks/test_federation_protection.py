"""What protects a simulated federation: the gate of versions, trust by direction, limits on passes; and its attacks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_federation import tiny_file

from benchmarks.federation import run as runs
from benchmarks.federation.arms.base import Setup, Sizes
from benchmarks.federation.arms.base import State as ArmState
from benchmarks.federation.experiment import read
from benchmarks.federation.fleet import fleet
from benchmarks.federation.place import Workplace, ground_of
from benchmarks.federation.run import Simulation

TOML = """
name = "tiny"
seeds = [1]
[run]
rounds = 4
steps = 3
most_steps = 6
slowest_steps = 6
batch = 4
rate = 0.02
SETTINGS
[fleet]
FLEET
[[cells]]
texts = "trec"
split = "iid"
clients = 6
[[arms]]
name = "ours"
experts = 1
rank = 1
shared_rank = 4
gate = "none"
OPTIONS
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small file of texts and backbone."""
    return tiny_file(tmp_path_factory.mktemp("texts"), 240)


def simulation(data: Path, folder: Path, settings: str = "", fleet_words: str = "", options: str = "") -> Simulation:
    """Return a run that has not begun."""
    torch.set_num_threads(1)
    file = folder / "tiny.toml"
    text = TOML.replace("SETTINGS", settings).replace("FLEET", fleet_words).replace("OPTIONS", options)
    file.write_text(text, encoding="utf-8")
    (task,) = read(file).tasks()
    loaded = Workplace(data, torch.device("cpu"), torch.float32).load("trec")
    return Simulation(task, ground_of(task, loaded), None)


def bank(state: ArmState) -> list[float]:
    """Return the values that a round changes."""
    return [*state["shared"].ravel().tolist(), *state["head"].ravel().tolist()]


def test_a_version_that_falls_is_not_served(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four versions the second is worse by more than the margin: the third starts from the first."""
    gated = simulation(data, tmp_path, settings="version_gate = 0.05")
    figures = iter([0.5, 0.6, 0.5, 0.58, 0.7])  # the start, then four versions
    monkeypatch.setattr(runs.Simulation, "_validated", lambda *_: next(figures))
    states = []
    for _ in range(4):
        gated.round()
        states.append(bank(gated.at.state))
    assert [after == before for before, after in itertools.pairwise(states)] == [True, False, False]
    assert gated.at.books.served == [0.5, 0.6, 0.58, 0.7]


def test_without_a_gate_nothing_is_measured_for_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And every version is served."""
    free = simulation(data, tmp_path)
    monkeypatch.setattr(runs.Simulation, "_validated", lambda *_: pytest.fail("measured"))
    free.round()
    before = bank(free.at.state)
    free.round()
    assert bank(free.at.state) != before


def test_who_turns_its_deltas_is_left_out(data: Path, tmp_path: Path) -> None:
    """One of six lies: with directions compared its trust is below 0, all others' above, and the model learns more."""
    attack = "attack = { share = 0.17, factor = -1.0 }"
    guarded = simulation(data, tmp_path, fleet_words=attack, options="directions = true")
    guarded.run()
    (liar,) = guarded._liars
    trust = guarded.at.state["trust"]
    assert trust[liar] < 0
    assert (np.delete(trust, liar) > 0).all()
    exposed = simulation(data, tmp_path, fleet_words=attack)
    exposed.run()
    moved = [np.linalg.norm(one.at.state["shared"] - one.arm.start()["shared"]) for one in (guarded, exposed)]
    assert moved[0] > 1.2 * moved[1]


def test_liars_may_begin_later(data: Path, tmp_path: Path) -> None:
    """Until the round in which they begin nothing differs from a federation without liars."""
    calm = simulation(data, tmp_path)
    later = simulation(data, tmp_path, fleet_words="attack = { share = 0.17, factor = -1.0, start = 3 }")
    assert later.task.cell.fleet == "0.17 lie by -1 from round 3"
    same = []
    for _ in range(3):
        calm.round()
        later.round()
        same.append(bank(calm.at.state) == bank(later.at.state))
    assert same == [True, True, False]


def test_passes_limit_the_steps_of_every_arm_that_keeps_to_the_time() -> None:
    """Ten texts in batches of four: two passes are five steps; one text is a step."""
    devices = fleet("trec", 2, 1).devices
    head, counts = np.zeros(8, np.float32), np.ones((2, 2), np.float32)
    setup = Setup(Sizes(6, 3, 4, 2), 1, 1, head, np.zeros(3, np.float32), (10, 1), counts, devices, 1e3, batch=4)
    limited = replace(setup, most_epochs=2.0)
    assert [setup.steps_of(client, 6, 60) for client in (0, 1)] == [60, 60]
    assert [limited.steps_of(client, 6, 60) for client in (0, 1)] == [5, 1]


def test_a_fleet_may_have_budgets_of_its_own(data: Path, tmp_path: Path) -> None:
    """Instead of the profiles' bytes up; a cell says so."""
    own = simulation(data, tmp_path, fleet_words="budgets = { lowend-phone = 150_000, pixel8 = 600_000 }")
    assert own.task.cell.fleet == "0.15 / 0.6 MB up"
    sizes = {device.profile: device.bytes_up for device in own.ground.setup.devices}
    assert sizes == {"lowend-phone": 150_000, "pixel8": 600_000, "raspberrypi5": 8_000_000}
