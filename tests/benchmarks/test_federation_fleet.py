"""The simulated fleet: times by depth, whom a round waits for, and where the figures come from."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from benchmarks import record
from benchmarks.federation import devices
from benchmarks.federation.arms.base import Device
from benchmarks.federation.devices import Workload
from benchmarks.federation.fleet import DEVICES, Fleet, Luck, fleet, transfer_s
from broker_server.rules.planner import Reach
from export.planning.profiles import load_profile

PHONE = Device("phone", (Reach(2, 20.0, 50.0), Reach(6, 100.0)), up_bytes_s=250_000.0, down_bytes_s=1_000_000.0)


def test_transfer_goes_one_way_after_the_other() -> None:
    """A quarter of a megabyte up at 2 Mbit/s and a megabyte down at 8 Mbit/s take a second each."""
    assert transfer_s(PHONE, 250_000, 1_000_000) == pytest.approx(2.0)


def test_a_round_waits_for_who_answers_and_to_its_deadline_at_most() -> None:
    """Client 1 is three times as slow and misses the deadline; client 2 leaves half way and is waited for till then."""
    luck = [Luck(), Luck(slowness=3.0), Luck(leaves=0.5), Luck()]
    took = {0: 10.0, 1: 10.0, 2: 16.0}
    free, bounded = (Fleet((PHONE,) * 4, deadline_s=limit).close(took, luck) for limit in (0.0, 20.0))
    assert (free.answered, free.wall_s, free.busy_s) == ((0, 1), 30.0, 48.0)
    assert (bounded.answered, bounded.wall_s, bounded.busy_s) == ((0,), 20.0, 38.0)


def test_luck_is_the_same_for_every_arm_and_as_likely_as_asked() -> None:
    """Paired runs lose the same devices in the same rounds; a tenth drops, a fifth straggles."""
    one = Fleet((PHONE,) * 100, seed=1, share=0.1, drop=0.1, straggle=0.2)
    assert one.luck(3) == Fleet((PHONE,) * 100, seed=1, share=0.1, drop=0.1, straggle=0.2).luck(3)
    assert one.here(3) == one.here(3) != one.here(4)
    assert len(one.here(3)) == 10
    luck = [each for number in range(20) for each in one.luck(number)]
    assert sum(not each.answers for each in luck) / 2000 == pytest.approx(0.1, abs=0.02)
    assert sum(each.slowness == 3.0 for each in luck) / 2000 == pytest.approx(0.2, abs=0.03)
    calm = Fleet((PHONE,) * 3)
    assert calm.luck(1) == [Luck()] * 3
    assert calm.here(1) == [0, 1, 2]


def test_a_fleet_has_its_shares_of_the_shipped_profiles() -> None:
    """Of 20 clients 8, 6 and 6; who has which is drawn by seed; low-end phones are the slowest."""
    one = fleet("newsgroups20", 20, seed=0)
    assert Counter(each.profile for each in one.devices) == {"lowend-phone": 8, "pixel8": 6, "raspberrypi5": 6}
    assert one.devices != fleet("newsgroups20", 20, seed=1).devices
    assert one.devices == fleet("newsgroups20", 20, seed=0).devices
    step = {each.profile: each.reach(6).step_ms for each in one.devices}
    assert step["pixel8"] < step["raspberrypi5"] < step["lowend-phone"]
    assert all([reach.layers for reach in each.reaches] == [2, 6] for each in one.devices)


def test_what_is_not_in_the_table_is_refused_by_name() -> None:
    """An experiment with a wrong word fails before it trains."""
    with pytest.raises(ValueError, match="no set 'poems'"):
        fleet("poems", 20, seed=0)
    with pytest.raises(ValueError, match="no profile 'toaster'"):
        fleet("trec", 20, seed=0, shares={"toaster": 1.0})
    with pytest.raises(ValueError, match="must sum to 1"):
        fleet("trec", 20, seed=0, shares={"pixel8": 0.5})
    with pytest.raises(ValueError, match=r"depths \[2, 9\]"):
        fleet("trec", 20, seed=0, depths=(9, 2))


def test_the_table_is_what_the_cost_model_and_the_newest_measurement_say() -> None:
    """Who changes the cost model, a profile or the measurement writes devices.json anew."""
    table = json.loads(DEVICES.read_text(encoding="utf-8"))
    factors = devices.correction(record.read(devices.MEASURED)[-1])
    assert table["measured"]["times_predicted_step"] == pytest.approx(factors.step)
    for name in ("lowend-phone", "pixel8"):
        work = Workload(**table["work"]["trec"])
        assert table["profiles"][name]["reaches"]["trec"] == devices.reaches(load_profile(name), work, factors)


def test_the_correction_gives_back_what_was_measured() -> None:
    """On the measured machine and program, predicted times the correction is the measured ratio."""
    run = {"arms": {arm: {"ms_median": ms} for arm, ms in (("all", 80.0), ("cached", 20.0), ("first", 50.0))}}
    factors = devices.correction(run)
    whole, top = devices.sizes(devices.MEASURED_BANK), devices.measured_sizes()
    predicted = devices.ratios(load_profile(devices.MEASURED_ON), devices.MEASURED_TIER, whole, top)
    assert predicted.step * factors.step == pytest.approx(0.25)
    assert predicted.trunk * factors.trunk == pytest.approx(30 / 80)
