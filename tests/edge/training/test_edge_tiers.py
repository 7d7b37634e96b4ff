"""Which tier is chosen, and that what was learned moves with the training from one to another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy

from edge_runtime.data.examples import open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.errors import ConfigError, PlanError
from edge_runtime.program.slots import Need, place
from edge_runtime.store import Record, pack
from edge_runtime.training import carry
from edge_runtime.training.budget import Budget
from edge_runtime.training.local import Recipe, train
from edge_runtime.training.sensors import read_sensors, short_of_memory
from edge_runtime.training.tiers import Signal, by_name, choose, fitting
from edge_runtime.training.trainer import Checkpoint, Task, Tools, Trainer
from edge_runtime.training.watch import LOOK_EVERY_S, Watch, told
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert
from edge_runtime.wire.manifest import Cost, Package, Tier

TRAIN = (ExpertId(1, 0), ExpertId(1, 2), ExpertId(3, 1), shared_expert(1), shared_expert(3), HEAD)
FOUR, TWO, ONE = toy.TIERS
BOTH = replace(TWO, method=toy.train_shape(2, 0).name, frozen_slots=0)
"""Two experts held, both trained: what a device holds changes with such a tier."""


def tier(
    trained: int, frozen: int, tokens: int, memory_mib: float, step_ms: float, *, batch: int = 8, rows: int = 4
) -> Tier:
    """Return a tier with its costs."""
    cost = Cost(memory_mib, step_ms, 30.0, 1000, 1000)
    name = toy.train_shape(trained, frozen, tokens, rows, batch=batch).name
    return Tier(name, trained, frozen, tokens, rows, batch, 2, cost, cost)


LONG = tier(4, 4, 64, 250.0, 200.0)
LEAN = tier(2, 6, 64, 240.0, 190.0)
BRIEF = tier(4, 4, 32, 170.0, 100.0)
FEW = tier(4, 0, 32, 150.0, 90.0)
ALL = (LONG, LEAN, BRIEF, FEW)


def test_a_plan_fits_tiers_with_a_slot_for_each_expert_of_its_fullest_layer() -> None:
    """All experts held and long texts come first, then the fewest slots to spare; another batch is another order."""
    assert fitting(ALL, LONG, Need(2, 2)) == [LEAN, LONG, BRIEF, FEW]
    assert fitting(ALL, LONG, Need(3, 2)) == [LONG, BRIEF, FEW]
    assert fitting(ALL, BRIEF, Need(1, 2)) == [BRIEF, FEW]
    assert fitting((*ALL, tier(4, 4, 16, 100.0, 50.0, batch=4)), LONG, Need(4, 2)) == [LONG, BRIEF, FEW]
    slots = [fitting(toy.TIERS, FOUR, Need(needed, 2))[0].trained_slots for needed in (1, 2, 3, 4)]
    assert slots == [2, 2, 4, 4]
    with pytest.raises(
        PlanError, match="3 experts at a layer and the top 1 layers, this device has 2 slots and 2 layers"
    ):
        fitting(toy.TIERS, TWO, Need(3, 1))


def test_a_plan_is_trained_in_the_fewest_layers_that_it_goes_down() -> None:
    """A step costs by its layers; deeper tiers are for where memory has no room for those, less deep ones never."""
    short = replace(BRIEF, method="short", layers=1)
    top = replace(LONG, method="top", layers=1)
    deep = replace(FEW, method="deep", layers=3)
    tiers = (deep, LONG, BRIEF, top, short)
    assert fitting(tiers, LONG, Need(4, 1)) == [top, short, LONG, BRIEF, deep]
    assert fitting(tiers, LONG, Need(4, 2)) == [LONG, BRIEF, deep]
    with pytest.raises(PlanError, match="top 4 layers, this device has 4 slots and 3 layers"):
        fitting(tiers, LONG, Need(4, 4))


@pytest.mark.parametrize(
    ("signal", "current", "wanted"),
    [
        (Signal(), None, LONG),
        (Signal(), BRIEF, LONG),  # nothing is felt: the best
        (Signal(room_mib=314.0), None, LONG),  # 250 and 64 in reserve
        (Signal(room_mib=313.9), None, BRIEF),
        (Signal(room_mib=313.9), LONG, BRIEF),
        (Signal(room_mib=377.9), BRIEF, BRIEF),  # a step up needs the reserve twice: 378
        (Signal(room_mib=378.0), BRIEF, LONG),
        (Signal(room_mib=10.0), LONG, FEW),  # nothing fits: the smallest
        (Signal(celsius=69.0), BRIEF, LONG),
        (Signal(celsius=75.0), LONG, LONG),  # between cool and hot: where it is
        (Signal(celsius=75.0), BRIEF, BRIEF),
        (Signal(celsius=80.0), LONG, BRIEF),  # hot: the best of the cheaper
        (Signal(celsius=90.0), BRIEF, FEW),
        (Signal(celsius=90.0), FEW, FEW),
        (Signal(celsius=90.0), None, FEW),
        (Signal(room_mib=300.0, celsius=60.0), LONG, BRIEF),
    ],
)
def test_memory_and_heat_choose_the_tier(signal: Signal, current: Tier | None, wanted: Tier) -> None:
    """The figures of each tier are 250, 170 and 150 MiB, and 200, 100 and 90 ms a step."""
    assert choose([LONG, BRIEF, FEW], signal, current) == wanted


def test_a_tier_is_named_by_its_method_or_its_sizes(package: Package) -> None:
    """A name that is none lists those that are."""
    manifest = package.manifest
    assert by_name(manifest, "train_m2_f2_s16_r2_b4") == by_name(manifest, "m2_f2_s16_r2_b4") == TWO
    with pytest.raises(
        ConfigError, match=r"^tier m9: this package has m4_f0_s16_r2_b4, m2_f2_s16_r2_b4, m1_f1_s16_r2_b4; or auto"
    ):
        by_name(manifest, "m9")


def test_what_a_linux_device_feels_is_read_from_its_files(tmp_path: Path) -> None:
    """Free memory and what the process holds, in MiB; the warmest zone that can be true; None where nothing is told."""
    assert read_sensors(tmp_path) == Signal(None, None)
    files = {
        "proc/meminfo": "MemTotal: 999999 kB\nMemAvailable:  204800 kB\n",
        "proc/self/status": "Name: x\nVmRSS:\t  102400 kB\n",
        "sys/class/thermal/thermal_zone0/temp": "48500\n",
        "sys/class/thermal/thermal_zone1/temp": "81250\n",
        "sys/class/thermal/thermal_zone2/temp": "0\n",
        "sys/class/thermal/thermal_zone3/temp": "250000\n",
        "sys/class/thermal/thermal_zone4/temp": "not now\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert read_sensors(tmp_path) == Signal(300.0, 81.25)
    assert told(read_sensors(tmp_path)) == "room for 300 MiB, 81 °C"
    assert told(Signal()) == "memory not known"


def test_memory_is_short_when_less_is_free_than_is_left_to_others(tmp_path: Path) -> None:
    """64 MiB are 65,536 kB; a system that does not tell is never short."""
    assert not short_of_memory(tmp_path)
    (tmp_path / "proc").mkdir()
    for free, short in ((65536, False), (65535, True)):
        (tmp_path / "proc/meminfo").write_text(f"MemAvailable: {free} kB\n")
        assert short_of_memory(tmp_path) is short


# --- training moves -------------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """The toy package."""
    return toy.write_package(tmp_path / "package")


@pytest.fixture
def tools(package: Package, tmp_path: Path) -> Tools:
    """Everything to train the toy in its largest tier."""
    source = open_source(toy.write_data(tmp_path / "data.csv"), toy.LABELS)
    return Tools(toy.ToyProgram(), package.manifest, Tokenizer(package.path("tokenizer.json")), source, FOUR)


def task(**changes: Any) -> Task:
    """Return ten steps over TRAIN."""
    fields: dict[str, Any] = {"learning_rate": 0.05, "shared_learning_rate": 0.02, "head_learning_rate": 0.01}
    return Task(**{"train": TRAIN, "steps": 10, "seed": 5, **fields, **changes})


def steps(trainer: Trainer, count: int) -> Trainer:
    """Make some steps."""
    for _ in range(count):
        trainer.step()
    return trainer


@pytest.mark.parametrize("to", [TWO, BOTH, toy.SHORT], ids=["fewer slots", "fewer held", "shorter"])
def test_what_was_learned_moves_to_another_tier_to_the_bit(tools: Tools, to: Tier) -> None:
    """Values and both moments of planned experts, shared experts and head, and the step count, there and back."""
    trainer = steps(Trainer(tools, toy.initial_bank(), task()), 4)
    before = {name: value.tobytes() for name, value in trainer.checkpoint().tensors.items()}
    trainer.switch(to)
    assert {name: value.tobytes() for name, value in trainer.checkpoint().tensors.items()} == before
    assert (trainer.tier, trainer.steps) == (to, 4)
    trainer.switch(FOUR)
    assert {name: value.tobytes() for name, value in trainer.checkpoint().tensors.items()} == before


def test_a_step_after_the_move_is_the_new_method_on_the_old_state(tools: Tools) -> None:
    """Each planned expert sits in the slot that the new tier gives it; the inputs put together by hand, bit for bit."""
    bank = toy.initial_bank()
    trainer = steps(Trainer(tools, bank, task()), 4)
    old, slots = dict(trainer._values), trainer.slots
    trainer.switch(TWO)
    inputs = trainer._next_texts().inputs | {"hyper": trainer._hyper()}
    new = place(TRAIN, tools.manifest.architecture, TWO)
    inputs |= {"update_mask": new.update_mask, "gate_scale": new.gate_scale, "mean": bank.mean}
    inputs |= {name: old[name] for name in ("shared", "shared_m1", "shared_m2", "head", "head_m1", "head_m2")}
    inputs["frozen"] = np.stack([bank.experts[row, new.held[row, 2:]] for row in (0, 1)])
    for name in ("trained", "trained_m1", "trained_m2"):
        inputs[name] = np.zeros((2, 2, toy.SHAPE.expert_size), np.float32)
        for row, place_ in ((0, 0), (0, 1), (1, 0), (1, 1)):
            expert = new.held[row, place_]
            was = int(np.flatnonzero(slots.held[row] == expert)[0])
            inputs[name][row, place_] = old[name][row, was]
    wanted = toy.ToyProgram().execute(TWO.method, inputs)
    loss = trainer.step()
    assert loss == float(wanted["loss"][0])
    for name in ("trained", "trained_m1", "trained_m2", "shared", "head_m2"):
        assert trainer._values[name].tobytes() == wanted[name].tobytes(), name


def test_tiers_that_hold_the_same_experts_train_alike(tools: Tools) -> None:
    """All four experts run in either tier: a run that moved twice ends where one does that never moved."""
    bank = toy.initial_bank()
    still = steps(Trainer(tools, bank, task()), 10).outcome()
    trainer = steps(Trainer(tools, bank, task()), 3)
    trainer.switch(TWO)
    steps(trainer, 4)
    trainer.switch(FOUR)
    moved = steps(trainer, 3).outcome()
    assert moved.losses == pytest.approx(still.losses, rel=1e-5)
    for block in TRAIN:
        np.testing.assert_allclose(moved.blocks[block], still.blocks[block], rtol=2e-4, atol=2e-6)
    assert (moved.seen == still.seen).all()
    np.testing.assert_allclose(moved.routed, still.routed, rtol=1e-5)


def test_use_is_counted_for_an_expert_while_it_is_held(tools: Tools) -> None:
    """Two steps with four experts held, two with the two that the plan trains: the others saw half of the tokens."""
    trainer = steps(Trainer(tools, toy.initial_bank(), task()), 2)
    half = trainer.outcome().seen[0, 0]
    trainer.switch(BOTH)
    steps(trainer, 2)
    mine = trainer.outcome()
    assert mine.seen.shape == (2, 2)
    trainer.switch(FOUR)
    all_of_them = trainer.outcome()
    assert (all_of_them.seen[:, 2:] == half).all()
    assert (all_of_them.seen[:, :2] == mine.seen).all()
    assert (mine.seen > half).all()


@pytest.mark.parametrize("to", [TWO, toy.SHORT], ids=["fewer slots", "shorter"])
def test_a_checkpoint_goes_on_in_another_tier(tools: Tools, to: Tier) -> None:
    """A run that was killed in one tier and resumed in another is the run that moved there, bit for bit."""
    moved = steps(Trainer(tools, toy.initial_bank(), task()), 4)
    saved = moved.checkpoint()
    record = Record(dict(saved.numbers), pack(saved.tensors))
    moved.switch(to)
    wanted = steps(moved, 6).outcome()
    other = Trainer(replace(tools, tier=to), toy.initial_bank(), task())
    other.restore(Checkpoint(record.tensors(), record.head))
    outcome = steps(other, 6).outcome()
    assert outcome.losses == wanted.losses
    assert {block: outcome.blocks[block].tobytes() for block in TRAIN} == {
        block: wanted.blocks[block].tobytes() for block in TRAIN
    }
    assert outcome.routed.tobytes() == wanted.routed.tobytes()


def test_a_task_without_experts_moves_too(tools: Tools) -> None:
    """Only the head learns: nothing of a slot is carried, and the moved run is the same run."""
    head = replace(task(), train=(HEAD,))
    trainer = steps(Trainer(tools, toy.initial_bank(), head), 2)
    assert trainer.need == Need(0, 1)
    learned = trainer.checkpoint().tensors["head_m1"].tobytes()
    trainer.switch(ONE)
    assert trainer.checkpoint().tensors["head_m1"].tobytes() == learned
    assert steps(trainer, 2).outcome().blocks.keys() == {HEAD}


def test_a_move_that_cannot_be_is_refused_and_changes_nothing(tools: Tools) -> None:
    """Too few slots, or batches of another size."""
    trainer = steps(Trainer(tools, toy.initial_bank(), task()), 1)
    for to, said in ((ONE, "2 experts at a layer"), (replace(TWO, batch_size=2), "takes 2 texts a step")):
        with pytest.raises(PlanError, match=said):
            trainer.switch(to)
    assert trainer.tier == FOUR
    trainer.step()


def test_learned_is_apart_from_the_tier(tools: Tools) -> None:
    """The state of a plan of two experts a layer has two slots, whatever the tier has."""
    for one in (FOUR, TWO):
        trainer = Trainer(replace(tools, tier=one), toy.initial_bank(), task())
        assert carry.learned(trainer._values, Need(2, 2))["trained_m2"].shape == (2, 2, toy.SHAPE.expert_size)


# --- tiers of other depths -------------------------------------------------------------------------------------------

UPPER = (ExpertId(3, 0), ExpertId(3, 2), shared_expert(3), HEAD)
"""A plan of the top layer alone."""


def bits(trainer: Trainer) -> dict[str, bytes]:
    """Return what a trainer has learned and counted."""
    return {name: value.tobytes() for name, value in trainer.checkpoint().tensors.items()}


def test_what_was_learned_moves_between_depths_to_the_bit(tools: Tools) -> None:
    """A plan of the top layer in a tier of both layers, of the top alone, and back; a checkpoint goes on in either."""
    trainer = steps(Trainer(tools, toy.initial_bank(), task(train=UPPER)), 3)
    before = bits(trainer)
    assert trainer.checkpoint().tensors["trained"].shape == (1, 2, toy.SHAPE.expert_size)
    trainer.switch(toy.TOP)
    assert bits(trainer) == before
    saved = trainer.checkpoint()
    wanted = steps(trainer, 2)
    resumed = Trainer(replace(tools, tier=toy.TOP), toy.initial_bank(), task(train=UPPER))
    resumed.restore(saved)
    assert bits(steps(resumed, 2)) == bits(wanted)
    moved = bits(trainer)
    trainer.switch(FOUR)
    assert bits(trainer) == moved
    assert steps(trainer, 1).outcome().seen.shape == (2, 4)


def test_a_shallow_step_moves_nothing_below_its_layers(tools: Tools) -> None:
    """Blocks of the plan alone come back, and each moved; the lower layer's shared expert is not one of them."""
    bank = toy.initial_bank()
    outcome = steps(Trainer(replace(tools, tier=toy.TOP), bank, task(train=UPPER)), 2).outcome()
    assert set(outcome.blocks) == set(UPPER)
    assert all((outcome.blocks[block] != bank.block(block)).any() for block in UPPER)
    assert outcome.routed.shape == (1, 4)
    frozen = steps(Trainer(replace(tools, tier=toy.TOP), bank, task(train=UPPER[:2])), 2)
    assert (frozen._values["shared"] == bank.shared[1:]).all()


def test_a_deep_tier_keeps_the_shared_experts_below_a_shallow_plan(tools: Tools) -> None:
    """The program has one rate for all shared experts, so that of layer 1 is put back after each step, in any tier."""
    bank = toy.initial_bank()
    trainer = steps(Trainer(replace(tools, tier=toy.TOP), bank, task(train=UPPER)), 1)
    trainer.switch(FOUR)
    steps(trainer, 1)
    assert (trainer._values["shared"][0] == bank.shared[0]).all()
    assert (trainer._values["shared"][1] != bank.shared[1]).any()


def test_a_plan_of_all_layers_is_not_moved_to_a_tier_of_the_top(tools: Tools) -> None:
    """It is refused, and nothing is changed."""
    trainer = steps(Trainer(tools, toy.initial_bank(), task()), 1)
    with pytest.raises(PlanError, match="trains the top 2 layers, the program train_l1_m2_f2_s16_r2_b4 has 1 of them"):
        trainer.switch(toy.TOP)
    assert trainer.tier == FOUR
    assert Watch((FOUR, TWO, toy.TOP), FOUR).begin(Need(2, 2)) == TWO
    assert Watch((FOUR, TWO, toy.TOP), FOUR).begin(Need(2, 1)) == toy.TOP


# --- the watch ------------------------------------------------------------------------------------------------------


class Weather:
    """A signal and a clock that a test sets."""

    def __init__(self) -> None:
        self.signal, self.now = Signal(), 0.0


def watch(tiers: tuple[Tier, ...], weather: Weather) -> Watch:
    """Return a watch of the toy's tiers under a weather."""
    return Watch(tiers, tiers[0], lambda: weather.signal, lambda: weather.now)


def test_a_watch_moves_training_between_steps_and_says_why(tools: Tools) -> None:
    """Short of memory down, with room again up; not before ten seconds have passed."""
    weather, tiers = Weather(), (FOUR, TWO, toy.SHORT)
    eye = watch(tiers, weather)
    trainer = Trainer(replace(tools, tier=eye.begin(Need(2, 2))), toy.initial_bank(), task())
    assert trainer.tier == TWO
    weather.signal = Signal(room_mib=110.0)
    assert eye.look(trainer) == ""
    weather.now = LOOK_EVERY_S
    assert eye.look(trainer) == "m2_f2_s16_r2_b4 -> m2_f2_s8_r4_b4 (room for 110 MiB)"
    assert trainer.tier == toy.SHORT
    trainer.step()
    weather.now, weather.signal = 2 * LOOK_EVERY_S, Signal(room_mib=200.0)
    assert eye.look(trainer) == "m2_f2_s8_r4_b4 -> m2_f2_s16_r2_b4 (room for 200 MiB)"
    weather.now = 3 * LOOK_EVERY_S
    assert eye.look(trainer) == ""


def test_a_named_tier_is_kept_whatever_the_device_feels(package: Package) -> None:
    """The user said it; a budget alone leaves the tiers that fit."""
    named = Watch.of(package.manifest, Budget(memory_mib=1.0), "m4_f0_s16_r2_b4")
    assert (named.tiers, named.largest) == ((FOUR,), FOUR)
    assert Watch.of(package.manifest, Budget(memory_mib=64.0)).tiers == (TWO, ONE)


def test_local_training_follows_the_watch(tools: Tools) -> None:
    """A recipe begins in the smaller tier when memory is short, and its losses are those of the tier."""
    weather = Weather()
    weather.signal = Signal(room_mib=110.0)
    recipe = Recipe(6, 0.05, 0.02, 0.01, 1.0, 0.0, (0, 2), 0, 5)
    eye = watch((TWO, toy.SHORT), weather)

    def hurry(_: float) -> None:
        weather.now += LOOK_EVERY_S
        weather.signal = Signal()

    outcome = train(replace(tools, tier=TWO), toy.initial_bank(), recipe, hurry, lambda: False, watch=eye)
    assert outcome.moves == ("m2_f2_s8_r4_b4 -> m2_f2_s16_r2_b4 (memory not known)",)
    program = tools.program
    assert isinstance(program, toy.ToyProgram)
    assert program.calls == [toy.SHORT.method] + 5 * [TWO.method]
