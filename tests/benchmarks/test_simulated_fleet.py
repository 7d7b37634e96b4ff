"""benchmarks.fleet --simulated has a real gateway, which decides as over MQTT; what befalls devices loses nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from benchmarks.fleet import driver
from benchmarks.fleet.__main__ import main
from benchmarks.fleet.gateway import Gateway as FleetGateway
from benchmarks.fleet.gateway import free_port
from benchmarks.fleet.load import FEDERATION, Load
from benchmarks.fleet.packaged import make_package, shape_for
from benchmarks.fleet.simulated import command, page
from benchmarks.fleet.simulated.assumed import CALM, LIGHT, Assumed
from benchmarks.fleet.simulated.blocks import Waves
from benchmarks.fleet.simulated.clock import Clock
from benchmarks.fleet.simulated.device import Device
from benchmarks.fleet.simulated.fleet import Fleet
from benchmarks.fleet.simulated.network import Network
from benchmarks.fleet.simulated.run import Scenario, Simulation, spread
from broker_server import Gateway, load_config
from broker_server.state.readings import Readings
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.topics import Topic

DELTA_KB = 20
RESTLESS = Assumed(
    here_least=0.5, here_most=0.8, session_s=300.0, churn=0.3, drop=0.2, away_s=20.0, lost=0.2, back_s=10.0, again=0.2,
    second=0.2, unruly=0.3, join_s=5.0,
)  # fmt: skip
SMALL = Scenario(devices=24, rounds=2, cohort=8, every_s=30.0, delta_kb=DELTA_KB, assumed=RESTLESS)


def decided(state: Path) -> dict[str, Any]:
    """Return what a gateway gave and took: plans and accepted deltas by device and round, and its versions."""
    ledger = Readings.of(state)
    rounds = [row.round for row in ledger.rounds()]
    decisions = {
        "plans": {(one, number): sha256(plan) for number in rounds for one, plan in ledger.plans(number).items()},
        "deltas": {(row.device, row.round): row.digest for number in rounds for row in ledger.deltas(number)},
        "versions": [(row.version, row.digest, row.contributors) for row in ledger.versions()],
    }
    ledger.close()
    return decisions


async def answered(load: Load, package: Any, gateway: Gateway, rounds: int) -> None:
    """Let light devices answer their plans over MQTT until so many versions are there."""
    port = int(gateway.url.rpartition(":")[2])
    fleet = driver.Fleet(load, package, shape_for(load.delta_kb), cast("FleetGateway", SimpleNamespace(port=port)))
    fleet.sending = True
    lives = asyncio.gather(*(device.live() for device in fleet._devices))
    assert await asyncio.to_thread(gateway.wait, rounds, 60.0)
    fleet.over = True
    for device in fleet._devices:
        device.leave()
    await lives


def test_a_real_fleet_and_a_simulated_one_decide_alike(tmp_path: Path) -> None:
    """Four devices, two rounds, over MQTT and in simulated time: the same plans, deltas and versions by digest."""
    load = Load(devices=4, delta_kb=DELTA_KB, think_s=0.0, unruly=0.0, offers=True)
    package = make_package(tmp_path / "package", shape_for(DELTA_KB))
    config = load_config(
        package=package.folder, state=tmp_path / "real", federation=FEDERATION, rounds=2, keep_serving=True,
        listen={"port": free_port()}, round={"quorum": 4, "join_wait_s": 0.0, "newcomer_wait_s": 1000.0},
        train={"shared_share": 0.0},
    )  # fmt: skip
    with Gateway(config) as gateway:
        asyncio.run(answered(load, package, gateway, rounds=2))
    scenario = Scenario(devices=4, profile=LIGHT, delta_kb=DELTA_KB, out=tmp_path / "simulated", assumed=CALM)
    state = tmp_path / "simulated-state"
    simulation = Simulation(scenario, configure=lambda folder: dataclasses.replace(config, package=folder, state=state))
    simulation.run()
    figures = simulation.close()
    real = decided(tmp_path / "real")
    assert len(real["deltas"]) == 8
    assert [version for version, _, contributors in real["versions"] if contributors == 4] == [1, 2]
    assert decided(state) == real
    assert figures["verdicts"] == {"ACCEPTED": 8}


def test_a_restless_fleet_loses_nothing_and_repeats(tmp_path: Path) -> None:
    """Devices leave, lie and send twice: each accepted delta counts once, and one seed tells the same story again."""
    told = []
    for out in (tmp_path / "one", tmp_path / "two"):
        simulation = Simulation(dataclasses.replace(SMALL, out=out))
        simulation.run()
        told.append(simulation.close() | {"gateway": {}, "decided": decided(simulation.state)})
    figures = told[0]
    assert told[1] == figures
    assert figures["finished"]
    assert figures["right"]
    assert figures["rounds_done"] == 2
    assert all(one["planned"] >= 6 for one in figures["by_round"])
    assert figures["kept"]["accepted"] + figures["kept"]["untold"] == figures["verdicts"]["ACCEPTED"]
    assert sum(figures["staleness"].values()) == figures["verdicts"]["ACCEPTED"]
    assert figures["verdicts"].keys() > {"ACCEPTED"}  # some lied
    assert figures["dropped"] > 0
    assert figures["connections_lost"] > 0
    assert figures["sessions"] > figures["came"] > 10
    assert figures["trainings"]["least"] >= 1


def test_its_command_tells_and_what_it_tells_is_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON line, from which the table of docs/results.md is written."""
    options = ["--simulated", "--devices", "6", "--cohort", "0", "--rounds", "1", "--delta-kb", str(DELTA_KB)]
    assert (
        main([*options, "--assume", "here_least=1,here_most=1,drop=0", "--json", "--out", str(tmp_path / "run")]) == 0
    )
    figures = json.loads(capsys.readouterr().out)
    assert (figures["devices"], figures["rounds_done"], figures["cohort"]) == (6, 1, 0)
    kept = {"command": "c", "date": "d", "machine": "m", "commit": "x"} | figures
    rows = page.section([kept]).splitlines()
    assert "| an evening of | 6 devices |" in rows
    assert any(row.startswith("| deltas lost; counted twice | 0; 0 |") for row in rows)


def test_ctrl_c_tells_what_came_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first round of two the run is interrupted; its figures are those of the first."""
    step, ended = Clock.step, []

    def interrupted(clock: Clock) -> bool:
        if not ended and clock.now > 28.0:
            ended.append(clock.now)
            raise KeyboardInterrupt
        return step(clock)

    monkeypatch.setattr(Clock, "step", interrupted)
    figures = command.measure(dataclasses.replace(SMALL, out=tmp_path / "run"), Console(quiet=True))
    assert not figures["finished"]
    assert figures["right"]
    assert figures["rounds_done"] == 1


@pytest.mark.parametrize(
    ("text", "error"),
    [("speed=1", "nothing is assumed of 'speed'"), ("drop=-1", "expected 0 or more"), ("drop=x", "could not convert"),
     ("here_least=0.9,here_most=0.5", "expected over 0 to 1")],
)  # fmt: skip
def test_what_cannot_be_assumed_is_refused(text: str, error: str) -> None:
    """Bad usage: the text says what is wrong."""
    with pytest.raises(ValueError, match=error):
        command.assumed(text)
    assert command.assumed("drop=0.3,lost=0").drop == 0.3


def test_presence_swings_by_a_factor_of_four_and_is_in_balance() -> None:
    """Most are here at 2, six hours after the start at 20; of 100 devices then 32 leave in a session, and 32 come."""
    assumed = Assumed()
    assert assumed.here(6 * 3600.0) == pytest.approx(0.32)
    assert assumed.here(18 * 3600.0) == pytest.approx(0.08)
    assert 68 * assumed.arrivals(6 * 3600.0) == pytest.approx(32 / assumed.session_s)


def test_messages_wait_for_their_link(tmp_path: Path) -> None:
    """1,000 bytes at 1,000 a second, twice, then 10 ms of way, and half a second each of the gateway's line."""
    clock = Clock()
    network = Network(clock, line_bytes_s=2000.0)
    package = make_package(tmp_path / "package", shape_for(DELTA_KB))
    fleet = Fleet(1, LIGHT, CALM, package, shape_for(DELTA_KB), clock=clock, network=network, seed=1)
    device = fleet.devices[0]
    device.up_bytes_s, device.latency_s = 1000.0, 0.01
    assert [network.send(device, Topic.DELTA, bytes(1000)) for _ in range(2)] == [1.0, 2.0]
    whole = []
    while clock.step():
        clock.at(clock.now + 0.499, lambda: whole.append(len(network.arrived())))
        clock.at(clock.now + 0.501, lambda: whole.append(len(network.arrived())))
        if len(whole) == 4:
            break
    assert whole[:2] == [0, 1]
    assert (network.bytes_up, device.bytes_up) == (1000 * network.messages_up, 2000)


def test_who_asks_later_hears_only_what_comes_later() -> None:
    """Of three blobs two come before b asks for all: a lacks one more, b all three, and what a got is not sent to b."""
    waves = Waves()
    a, b = cast("Device", "a"), cast("Device", "b")
    first = waves.listen(a, (b"1", b"2", b"3"))
    assert [(wave is first, size) for wave, size in waves.publish({b"1": 5, b"2": 6, b"x": 9})] == [(True, 11)]
    second = waves.listen(b, (b"1", b"2", b"3"))
    assert second is not first
    assert (first.left, second.left) == ((b"3",), (b"1", b"2", b"3"))
    assert {(wave is first, size) for wave, size in waves.publish({b"3": 7})} == {(True, 7), (False, 7)}
    assert first.left == ()
    del second.devices[b]
    assert list(waves.publish({b"1": 5})) == []


def test_spread_is_of_all_values() -> None:
    """Of 1 to 101: the middle is 51, one in a hundred is over 100."""
    assert spread(list(range(1, 102))) == {"least": 1, "median": 51, "p99": 100.0, "most": 101}
    assert spread([]) == {}
