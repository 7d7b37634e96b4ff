"""Runs of the simulator: complete, stopped and gone on with, from files alone; what goes over the wire; whose time."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_federation import LAYERS, tiny_file

from benchmarks.federation import __main__ as command
from benchmarks.federation.arms import prefixes
from benchmarks.federation.arms.base import Device, Form, Learned, Setup, Sizes, Work
from benchmarks.federation.arms.ours import ours
from benchmarks.federation.codec import Downlink, Uplink, coded
from benchmarks.federation.experiment import ExperimentError, read
from benchmarks.federation.figures import Run, run_of
from benchmarks.federation.place import Workplace, ground_of
from benchmarks.federation.run import Simulation
from broker_server.rules import updates
from broker_server.rules.aggregate import Sums
from broker_server.rules.planner import Reach, delta_bytes
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import BankShape, ExpertId, shared_expert

EXPERIMENTS = Path(command.__file__).parent / "experiments"
SHAPE = BankShape((0, 1, 2), 2, 2, 3, 64, 3)
TOML = """
name = "tiny"
seeds = [1]
[run]
rounds = 4
steps = 3
most_steps = 6
enough_steps = 3
slowest_steps = 2
batch = 4
rate = 0.02
[[cells]]
texts = "trec"
split = "iid"
clients = 4
[[arms]]
name = "ours"
experts = 2
rank = 2
shared_rank = 4
stale = 2
"""


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute with one thread: products are so small that several would wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small file of texts and backbone."""
    return tiny_file(tmp_path_factory.mktemp("texts"))


def _experiment(folder: Path, text: str = TOML) -> Path:
    file = folder / "tiny.toml"
    file.write_text(text, encoding="utf-8")
    return file


def _simulation(data: Path, folder: Path, text: str = TOML) -> Simulation:
    task = next(read(_experiment(folder, text)).tasks())
    workplace = Workplace(data, torch.device("cpu"), torch.float32)
    return Simulation(task, ground_of(task, workplace.load("trec")), folder / "states")


def _once(data: Path, folder: Path) -> Run:
    simulation = _simulation(data, folder)
    assert simulation.run()
    return simulation.result()


def test_a_run_writes_a_line_and_is_not_made_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One JSON line with the whole curve; the same command then has nothing to do."""
    words = ["run", str(_experiment(tmp_path)), "--data", str(data), "--out", str(tmp_path), "--device", "cpu"]
    assert command.main(words) == 0
    (line,) = (tmp_path / "tiny.jsonl").read_text(encoding="utf-8").splitlines()
    run = run_of(line)
    assert len(run.curve.test) == len(run.curve.validation) == 5
    assert len(run.curve.bytes_up) == len(run.curve.wall_s) == 4
    assert all(value > 0 for value in (*run.curve.bytes_up, *run.curve.wall_s))
    assert run.curve.bytes_down[0] == 0  # the initial bank is in the package
    assert run.curve.bytes_down[1] > 0
    capsys.readouterr()
    assert command.main(words) == 0
    assert "1 there, 0 to make" in capsys.readouterr().out
    assert len((tmp_path / "tiny.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_processes_stop_in_time_and_a_later_call_goes_on(data: Path, tmp_path: Path) -> None:
    """Told to stop at once no run is made; the next call, of two processes without a limit, makes both."""
    file = _experiment(tmp_path, TOML.replace("seeds = [1]", "seeds = [1, 2]").replace("rounds = 4", "rounds = 1"))
    words = ["run", str(file), "--data", str(data), "--out", str(tmp_path), "--device", "cpu"]
    assert command.main([*words, "--stop", "0"]) == 1
    assert not (tmp_path / "tiny.jsonl").exists()
    assert command.main([*words, "--workers", "2"]) == 0
    assert len((tmp_path / "tiny.jsonl").read_text(encoding="utf-8").splitlines()) == 2


def test_a_run_that_was_stopped_ends_as_one_in_a_piece(data: Path, tmp_path: Path) -> None:
    """Stopped after two rounds, and gone on with from its file: the same curve to the digit, and no file is left."""
    for name in "ab":
        (tmp_path / name).mkdir()
    whole = _once(data, tmp_path / "a")
    asked = itertools.count()
    assert not _simulation(data, tmp_path / "b").run(lambda: next(asked) >= 2)
    later = _simulation(data, tmp_path / "b")
    assert later.run()
    assert later.at.number == 4
    assert later.result().curve == whole.curve
    assert later.result().own == whole.own
    later.forget()
    assert not list((tmp_path / "b" / "states").iterdir())


def test_a_federation_learns(data: Path, tmp_path: Path) -> None:
    """Accuracy after some rounds is above that of class means, and liars undo it."""
    text = TOML.replace("rounds = 4", "rounds = 8").replace("steps = 3", "steps = 10").replace("stale = 2", "norm = 0")
    text = text.replace("slowest_steps = 2", "slowest_steps = 0")
    simulation = _simulation(data, tmp_path, text)
    assert simulation.run()
    run = simulation.result()
    assert run.curve.validation[-1] > run.curve.validation[0] + 0.03
    (tmp_path / "lied").mkdir()
    lied = _simulation(data, tmp_path / "lied", text + "[fleet]\nattack = {share = 0.5, factor = -100}\n")
    assert lied.run()
    assert lied.result().curve.validation[-1] < run.curve.validation[-1]


def test_who_left_is_not_merged(data: Path, tmp_path: Path) -> None:
    """When all devices leave in every round, nothing is sent up and the model stays as it was."""
    simulation = _simulation(data, tmp_path, TOML + "[fleet]\ndrop = 1.0\n")
    assert simulation.run()
    curve = simulation.result().curve
    assert set(curve.answered) == set(curve.bytes_up) == {0}
    assert set(curve.test) == {curve.test[0]}
    assert min(curve.wall_s) > 0


def test_unknown_words_are_refused_by_name(tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A setting, an arm or an option that does not exist is named with what is known."""
    with pytest.raises(ExperimentError, match=r"\[run\]: unknown round; known: batch"):
        read(_experiment(tmp_path, TOML.replace("rounds = 4", "round = 4")))
    with pytest.raises(ExperimentError, match="no arm 'our'"):
        read(_experiment(tmp_path, TOML.replace('name = "ours"', 'name = "our"')))
    file = _experiment(tmp_path, TOML.replace('name = "ours"', 'name = "our"'))
    assert command.main(["run", str(file), "--data", str(data)]) == 2
    assert "known: adapter" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no option gates; known: bytes"):
        _simulation(data, tmp_path, TOML + 'gates = "soft"\n')


@pytest.mark.parametrize("file", sorted(EXPERIMENTS.glob("*.toml")), ids=lambda file: file.stem)
def test_every_experiment_of_the_repository_can_be_read(file: Path) -> None:
    """Their settings and arms exist, and no two runs have one name."""
    keys = [task.key for task in read(file).tasks()]
    assert keys
    assert len(set(keys)) == len(keys)


def _setup(**options: Any) -> Setup:
    slow = Device("slow", (Reach(1, 10.0, 20.0), Reach(3, 100.0)))
    fast = Device("fast", (Reach(1, 1.0, 2.0), Reach(3, 10.0)))
    sizes = Sizes(3, SHAPE.width, 16, SHAPE.labels)
    head, mean = np.zeros(SHAPE.head_size, np.float32), np.zeros(SHAPE.width, np.float32)
    counts = np.full((2, SHAPE.labels), 8, np.float32)
    return Setup(
        sizes,
        10,
        1,
        head,
        mean,
        (24, 24),
        counts,
        (slow, fast),
        0.5,
        4,
        30,
        30,
        10,
        options={
            "experts": 2,
            "rank": 2,
            "shared_rank": 3,
            "depth": "plan",
            "bytes": False,
            "weights": "examples",
            **options,
        },
    )


def _learned(work: Work, step: float) -> Learned:
    """Return what a client learned that moves every trained value by ``step``."""
    values = {name: work.values[name] + np.float32(step) * work.masks[name] for name in work.rates}
    counts = np.array([1, 2, 0], np.float32)
    return Learned(work.client, work, {**work.values, **values}, 24, counts, work.steps)


def test_the_slow_train_the_top_and_each_expert_is_merged_over_those_who_trained_it() -> None:
    """Ten steps fit the slow client's time in the top layer alone; what lies below moves as the fast one says."""
    arm = ours(_setup())
    state = arm.start()
    slow, fast = arm.assign(state, 1, [0, 1])
    # slow: (10 + 20) ms for each of the 6 steps of the first epoch, then 10 ms: 6 + (500 - 180) / 10 = 38, 30 at most.
    assert (slow.lowest_layer, slow.steps, slow.fresh) == (2, 30, 1.0)
    assert (fast.lowest_layer, fast.steps) == (0, 30)
    after = arm.merge(state, [_learned(slow, 0.02), _learned(fast, 0.01)])
    moved = after["experts"] - state["experts"]
    np.testing.assert_allclose(moved[:2], 0.01, atol=1e-6)
    np.testing.assert_allclose(moved[2], 0.015, atol=1e-6)  # as many texts each
    rows = (after["head"] - state["head"])[: 3 * SHAPE.width].reshape(3, -1)
    np.testing.assert_allclose(rows[:2], 0.015, atol=1e-6)
    assert not rows[2].any()  # nobody has a text of that label


def test_fednova_weighs_steps_alike() -> None:
    """Deltas of 30 and 10 steps, 0.03 and 0.02: (0.001 + 0.002) / 2 a step, times 20 steps on the mean."""
    arm = ours(_setup(weights="fednova", depth="all"))
    state = arm.start()
    slow, fast = (
        replace(work, steps=steps) for work, steps in zip(arm.assign(state, 1, [0, 1]), (30, 10), strict=True)
    )
    after = arm.merge(state, [_learned(slow, 0.03), _learned(fast, 0.02)])
    np.testing.assert_allclose(after["experts"] - state["experts"], 0.03, atol=1e-6)


def test_prefixes_last_while_the_layers_below_stay_or_a_version_may_be_old() -> None:
    """A client that drew all its texts has all prefixes: of no use after a merge below, unless old ones may be used."""
    for stale, fresh in ((0, 1.0), (1, 0.0)):
        arm = ours(_setup(stale=stale))
        state = arm.start()
        slow, fast = arm.assign(state, 1, [0, 1])
        state = arm.merge(state, [_learned(slow, 0.02), _learned(fast, 0.01)])
        again = arm.assign(state, 2, [0, 1])[0]
        assert again.fresh == fresh
        same = again.values["experts"][:2].tobytes() == slow.values["experts"][:2].tobytes()
        assert same == (stale == 1)  # the prefixes' own version, below what is trained
        assert not np.array_equal(again.values["experts"][2], slow.values["experts"][2])
        state = arm.merge(state, [_learned(again, 0.02), _learned(arm.assign(state, 2, [0, 1])[1], 0.01)])
        assert arm.assign(state, 3, [0, 1])[0].fresh == 1.0  # two versions old
        assert {name.split("@")[1] for name in state if "@" in name} == ({"1", "2"} if stale else set())


def test_a_round_for_the_top_alone_keeps_prefixes() -> None:
    """Lower layers every second round: in round 2 everybody trains the top, and in round 3 prefixes are new again."""
    arm = ours(_setup(lower_every=2))
    state, works = arm.start(), []
    for number in (1, 2, 3):
        works.append(arm.assign(state, number, [0, 1]))
        state = arm.merge(state, [_learned(work, 0.01) for work in works[-1]])
    assert [[work.lowest_layer for work in some] for some in works] == [[2, 0], [2, 2], [2, 0]]
    assert [some[0].fresh for some in works] == [1.0, 1.0, 0.0]


def test_prefixes_of_some_texts_are_reckoned_by_their_share() -> None:
    """16 of 24 texts drawn, then 16 more at random: two thirds, then 16 + 16 / 3 of them have a prefix."""
    setup = _setup(stale=9)
    arm = ours(setup)
    state = arm.start()
    for expected in (1.0, 1 / 3, 1 / 9):
        slow = replace(arm.assign(state, 1, [0])[0], steps=4)
        assert prefixes.Kept(state, 9).fresh(0, 2, setup) == pytest.approx(expected)
        state = arm.merge(state, [_learned(slow, 0.02)])


def _deltas(rows: int) -> Any:
    return (0.01 * np.random.default_rng(rows).standard_normal((rows, 70))).astype(np.float32)


def test_blocks_have_scales_of_their_own() -> None:
    """A block of small values beside one of large ones loses nothing by it."""
    small, large = _deltas(1), 1000 * _deltas(1)
    read = coded(np.concatenate([small, large]), pb.INT8)
    assert np.abs(read[0] - small[0]).max() <= np.abs(small).max() / 127
    assert coded(small, pb.FLOAT32) is small


def test_what_int8_left_out_is_sent_the_next_time() -> None:
    """Over many rounds the server hears the sum of all deltas, but for less than one step of the last."""
    start, mask = np.zeros((3, 70), np.float32), np.array([[1], [0], [1]], np.float32)
    work = Work(0, Form("head"), {"x": start}, {"x": mask}, {"x": 1.0}, 1, 0)
    up, said, heard = Uplink(pb.INT8), np.zeros((3, 70)), np.zeros((3, 70))
    for _ in range(20):
        delta = _deltas(3) * mask
        read = up.send(work, {"x": start + delta})["x"]
        assert not read[1].any()
        said, heard = said + delta, heard + read
    assert 0 < np.abs(said - heard).max() < 0.05 / 127


def test_versions_are_those_of_the_gateway() -> None:
    """Three versions in steps of int8 equal those of the product's rules, and what they left out as well."""
    random = np.random.default_rng(8)
    bank = Bank.zeros(SHAPE)
    before = {"experts": bank.experts, "shared": bank.shared, "head": bank.head}
    down, residuals = Downlink(pb.INT8, tuple(before)), {}
    block = ExpertId(1, 1)
    for _ in range(3):
        delta = random.standard_normal(SHAPE.expert_size)
        sums = Sums({block: delta}, {block: np.ones(1)}, {block: 1})
        step = updates.next_step(bank, residuals, sums, rounded=True)
        merged = before["experts"].copy()
        merged[1, 1] += delta.astype(np.float32)
        before = down.publish(before, {**before, "experts": merged})
        bank, residuals = step.bank, step.residuals
        np.testing.assert_allclose(before["experts"], bank.experts, atol=1e-6)
        np.testing.assert_allclose(down.left["experts"][1, 1], residuals[block], atol=1e-6)


def test_bytes_are_the_planners_up_and_what_changed_down() -> None:
    """A delta is as large as the planner reckons; a client fetches changed blocks in int8, or whole if it was away."""
    arm = ours(_setup())
    state = arm.start()
    work = arm.assign(state, 1, [1])[0]
    blocks = [ExpertId(layer, index) for layer in range(3) for index in range(2)]
    blocks += [shared_expert(layer) for layer in range(3)]
    head = 4 * 4 + SHAPE.head_size + 24
    assert Uplink(pb.INT8).size(work) == pytest.approx(delta_bytes(SHAPE, blocks, pb.INT8) + 1.01 * head, abs=2)
    down = Downlink(pb.INT8, ("experts",))
    merged = state["experts"].copy()
    merged[2] += 1
    served = down.publish(state, {**state, "experts": merged})
    size = SHAPE.expert_size
    assert down.fetch(work, served) == int(2 * (size + 4 * -(-size // 64)) * 1.01)
    assert down.fetch(work, served) == 0
    for _ in range(9):
        served = down.publish(served, {**served, "experts": served["experts"] + np.float32(0.1)})
    assert down.fetch(work, served) == int(6 * 4 * size * 1.01)


def test_the_tiny_set_has_the_layers_of_the_fleet() -> None:
    """The shipped profiles know six layers; a file of another depth could not be told their times."""
    assert LAYERS == 6
