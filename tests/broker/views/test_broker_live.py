"""The live view: what the deciding thread leaves once a second for whoever looks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from tiny_gateway import Gateway

from broker_server.config_tables import RoundRules
from broker_server.views.live import Live, Load, look, resident_bytes
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Return a gateway whose rounds need two devices and wait a hundred seconds."""
    rules = RoundRules(quorum=2, join_wait_s=0, deadline_s=100.0, missed_plans=1)
    gateway = Gateway(tmp_path / "state", tiny.make_package(tmp_path / "package"), round=rules, rounds=3)
    yield gateway
    gateway.close()


def seen(gateway: Gateway, load: Load | None = None) -> Live:
    """Look at a gateway now."""
    return look(gateway.conductor, gateway.parts.roster, load or Load(), (gateway.now, 5000.0), 4000.0)


def test_a_round_from_its_opening_to_its_merge(gateway: Gateway) -> None:
    """Who has a plan, who answered, who left, how long there is; all of it as values that change no more."""
    gateway.hello("a", "b", "c")
    before = seen(gateway)
    assert (before.state, before.round.number, before.here) == ("gathering", 0, {"a", "b", "c"})
    assert (before.round.open_s, before.round.deadline_s) == (0.0, 0.0)
    gateway.tick()
    opened = seen(gateway)
    assert (opened.state, opened.round.number, opened.round.planned) == ("open", 1, {"a", "b", "c"})
    assert (opened.round.open_s, opened.round.deadline_s) == (0.0, 100.0)
    gateway.train("a")
    gateway.send(Topic.BYE, "b", encode(pb.Bye(device="b")))
    later = seen(gateway)
    assert (later.round.answered, later.round.left, later.here) == ({"a"}, {"b"}, {"a", "c"})
    assert later.round.deadline_s == 100.0 - later.round.open_s
    assert opened.round.answered == frozenset()
    gateway.train("c")
    gateway.tick()
    merged = seen(gateway)
    assert (merged.state, merged.version, merged.at, merged.started) == ("gathering", later.version + 1, 5000.0, 4000.0)
    assert {name: merged.standing(name) for name in "abcd"} == {"a": "answers", "b": "new", "c": "answers", "d": "new"}
    with pytest.raises(dataclasses.FrozenInstanceError):
        merged.version = 7  # type: ignore[misc]


def test_who_gives_no_answer_rests(gateway: Gateway) -> None:
    """And the view says for how long."""
    gateway.hello("a", "b", "c")
    gateway.tick()
    gateway.train("a")
    gateway.train("b")
    gateway.now += 200.0
    gateway.tick()
    live = seen(gateway)
    assert live.rests_s == {"c": 100.0}
    assert live.standing("c") == "rests"


def test_bytes_are_counted_from_the_start_and_by_round(gateway: Gateway, tmp_path: Path) -> None:
    """The journal has those of all messages since the merge before."""
    gateway.hello("a", "b")
    gateway.tick()
    for device in "ab":
        gateway.train(device)
    gateway.tick()
    first = seen(gateway)
    (line,) = journal(tmp_path)
    assert (line["bytes_up"], line["bytes_down"]) == (first.bytes_up, first.bytes_down)
    assert line["bytes_up"] > line["bytes_deltas"] > 0
    gateway.tick()
    for device in "ab":
        gateway.train(device)
    gateway.tick()
    second = seen(gateway)
    assert journal(tmp_path)[1]["bytes_up"] == second.bytes_up - first.bytes_up


def journal(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of the journal."""
    return [json.loads(line) for line in (folder / "state" / "journal.jsonl").read_text().splitlines()]


def test_it_is_json_without_names(gateway: Gateway) -> None:
    """Counts in their place, and what waits."""
    gateway.hello("a", "b")
    gateway.tick()
    plain = json.loads(json.dumps(seen(gateway, Load(inbox_events=3, granted_bytes=70, broker_up=True)).plain()))
    assert plain["round"] == {"number": 1, "extensions": 0, "planned": 2, "answered": 0, "refused": 0, "left": 0}
    assert (plain["here"], plain["inbox_events"], plain["granted_bytes"], plain["broker_up"]) == (2, 3, 70, True)
    assert '"a"' not in json.dumps(plain)


def test_memory_is_that_of_this_process() -> None:
    """Python alone takes some megabytes."""
    assert 5e6 < resident_bytes() < 1e11
