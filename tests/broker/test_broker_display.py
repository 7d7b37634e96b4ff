"""What people see: plain lines, a live table; and the event stream for machines."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import tiny
from rich.console import Console
from tiny_gateway import Gateway

from broker_server.display import LiveTable, describe
from broker_server.errors import StorageError
from broker_server.events import Events, JsonLines
from broker_server.journal import RoundLine
from broker_server.logs import Lines
from broker_server.views.wording import size
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import encode
from edge_runtime.wire.topics import Topic


@pytest.fixture
def told(tmp_path: Path) -> list[dict[str, Any]]:
    """Return the events of a round in which somebody is refused and somebody leaves."""
    gateway = Gateway(tmp_path / "state", tiny.make_package(tmp_path / "package"))
    gateway.hello("a", "b")
    gateway.send(Topic.HELLO, "x", b"garbage")
    gateway.tick()
    gateway.train("a", value=float("nan"))
    gateway.train("a")
    gateway.train("b")
    gateway.tick()
    gateway.send(Topic.BYE, "b", encode(pb.Bye(device="b")))
    return list(gateway.told)


def test_lines(told: list[dict[str, Any]]) -> None:
    """One line an event, in words; nothing for events that only machines want."""
    out = io.StringIO()
    lines = Lines(out)
    for event in [*told, {"event": "up", "at": 0, "url": ""}]:
        lines(event)
    lines.close()
    text = [line.removeprefix("1970-01-01T00:00:00Z ")[8:] for line in out.getvalue().splitlines()]
    assert text[0] == "a: here, tiny, 2 slots, 10 examples"
    assert text[2].startswith("x: refused, MALFORMED: ")
    assert text[3] == "round 1 from version 0: 2 devices train 12 blocks"
    assert "refused, NOT_FINITE" in text[4]
    assert text[7].startswith("version 1 from round 1: 2 of 2 deltas (all in), ")
    assert text[7].split("trainers of an expert ")[1].startswith("1-1")
    assert text[8] == "b: left"
    assert len(text) == 9


def test_live_table(told: list[dict[str, Any]]) -> None:
    """Device by device, as it stands at the end; the last news below."""
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    table = LiveTable(console)
    for event in told:
        table(event)
    table.close()
    picture = Console(file=io.StringIO(), width=120)
    picture.print(table._render())
    text = picture.file.getvalue()  # type: ignore[attr-defined]
    assert "version 1 from round 1" in text
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert "delivered" in rows["a"]
    assert "left" in rows["b"]
    assert "x" not in rows


@pytest.mark.parametrize(
    ("event", "line"),
    [
        ({"event": "waiting", "reason": "no room"}, "waiting: no room"),
        ({"event": "down", "reason": "lost"}, "lost"),
        ({"event": "storage", "detail": "full"}, "storage: full"),
        ({"event": "evaluated", "version": 1, "failure": "x"}, "version 1 could not be evaluated: x"),
        (
            {"event": "evaluated", "version": 1, "accuracy": 0.5, "macro_f1": 0.25, "examples": 4},
            "version 1: accuracy 0.5000, macro-F1 0.2500 on 4 texts",
        ),
        (
            {"event": "extended", "round": 3, "answered": 1, "quorum": 2, "deadline_s": 60.0, "devices": {"z": {}}},
            "round 3: 1 delta so far, quorum is 2; waiting 60 s more; 1 more device planned",
        ),
        (
            {"event": "withdrawn", "device": "a", "round": 3, "version": 1},
            "a: has other data than the head was made from; its plan is taken back until its class sums are in",
        ),
        (
            {"event": "version", "reason": "head", "version": 4, "devices": 2, "labels_lost": 1},
            "version 4: head from the class means of 2 devices; 1 label that it knew has no example any more",
        ),
        (
            {"event": "held", "version": 3, "round": 2, "before": 2},
            "version 3 from round 2 is measured before devices get it",
        ),
        (
            {
                "event": "not_served",
                "version": 3,
                "round": 2,
                "accepted": 2,
                "again": 4,
                "parent": 2,
                "served": False,
                "figure": "accuracy",
                "value": 0.5,
                "against": 1,
                "reference": 0.75,
                "margin": 0.01,
                "detail": "",
            },
            (
                "version 3 is not served: accuracy 0.5000, version 1 has 0.7500 (margin 0.01); "
                "version 4 is version 2 again, 2 deltas of round 2 count for nothing"
            ),
        ),
        (
            {"event": "resumed", "round": 3, "planned": ["a", "b"], "accepted": ["a"]},
            "round 3 goes on: 1 of 2 deltas are kept",
        ),
        ({"event": "statistics", "device": "a", "code": "ACCEPTED"}, "a: class statistics"),
        (
            {"event": "statistics", "device": "a", "code": "WRONG_SIZE", "detail": "d"},
            "a: class statistics refused, WRONG_SIZE: d",
        ),
        (
            {"event": "finished", "rounds": 2, "version": 3, "bytes_up": 10, "bytes_down": 2_500_000},
            "finished after round 2: version 3, 10 B up, 2.5 MB down",
        ),
        ({"event": "of tomorrow"}, ""),
    ],
)
def test_descriptions(event: dict[str, Any], line: str) -> None:
    """Each kind of event in its words."""
    assert describe(event) == line


def test_a_privacy_budget_in_words() -> None:
    """What is spent, what is left, how long the noise is; and a warning where versions will be noise."""
    told = {"event": "privacy", "epsilon": 3.456, "budget": 8.0, "delta": 1e-05, "releases": 12, "left": 1}
    line = "epsilon 3.46 of 8 spent at delta 1e-05 in 12 releases, room for 1 more merge; noise to signal 0.5"
    assert describe({**told, "noise_to_signal": 0.5}) == line
    assert "room for 1 more merge; noise to signal 41.2. WARNING: that noise is longer" in describe(
        {**told, "noise_to_signal": 41.2}
    )
    assert "in 12 releases, no merge is left, and none is made;" in describe(
        {**told, "left": 0, "noise_to_signal": 0.5}
    )


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_250_000, "1.2 MB")])
def test_sizes(count: int, text: str) -> None:
    """In steps of a thousand."""
    assert size(count) == text


def test_event_stream(tmp_path: Path, told: list[dict[str, Any]]) -> None:
    """One JSON object a line with kind and time, appended; every plan is told with its experts."""
    events = Events(lambda: 12.5)
    events.watch(JsonLines(tmp_path / "runs/events.jsonl"))
    events.tell("bye", device="a")
    events.watch(JsonLines(tmp_path / "runs/events.jsonl"))
    events.tell("bye", device="b")
    lines = [json.loads(line) for line in (tmp_path / "runs/events.jsonl").read_text().splitlines()]
    assert lines[0] == {"event": "bye", "at": 12.5, "device": "a"}
    assert len(lines) == 3
    (opened,) = [event for event in told if event["event"] == "round"]
    assert len(opened["devices"]["a"]["experts"]) == 6
    assert json.dumps(told)


def test_event_stream_that_cannot_be_written(tmp_path: Path) -> None:
    """At the start it is an error; later it costs the stream only."""
    with pytest.raises(StorageError, match="cannot write events"):
        JsonLines(tmp_path)
    stream = JsonLines(tmp_path / "events.jsonl")
    assert stream._file is not None
    full = open("/dev/full", "w", encoding="utf-8")  # noqa: PTH123, SIM115 - the stream closes it
    stream._file.close()
    stream._file = full
    stream({"event": "bye"})
    stream({"event": "bye"})
    assert stream._file is None


def test_journal_that_cannot_be_written_costs_the_line_only(tmp_path: Path) -> None:
    """The round is in the ledger."""
    RoundLine(1, 1, "all in", 1.0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1.0, 0.5).write(tmp_path)
