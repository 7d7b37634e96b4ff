"""What the templates are filled with: views and live values, put into the order in which a person reads them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from broker_server.config import GatewayConfig
from broker_server.views.devices import Devices
from broker_server.views.live import Live
from broker_server.views.versions import Version
from broker_server.views.wording import decided, engine_words, left_out_words, privacy_words
from broker_server.web import actions
from broker_server.web.charts import (
    HALF,
    NARROW,
    NOT_SERVED,
    WIDE,
    Pair,
    Point,
    bytes_chart,
    heat_map,
    worth_chart,
    written,
)
from broker_server.web.feed import Feed, Figures
from broker_server.web.health import health
from broker_server.web.rendering import Html

T = TypeVar("T")

CHIPS: Final = 60
"""Devices of a round that are shown by name."""
ORDER: Final = ("waits", "refused", "left", "rests", "answered")
"""What needs a look comes first: of many devices only the first are shown."""
ALL_POINTS: Final = 3
"""Where there are more, the bank before any training is left out of the chart: what came after would be a flat line."""
NARROW_POINTS: Final = 40
"""What a phone shows of a chart."""
HEALTH: Final = {
    "ok": "The gateway works.",
    "starting": "The gateway starts.",
    "stuck": "The gateway has not said anything for a while: its deciding thread is busy or stuck. See its log.",
    "broker": "The gateway is not connected to its broker: no device reaches it. See its log.",
    "disk": "The state directory refuses writes: free some space or check its permissions. Rounds wait.",
}


@dataclass(frozen=True)
class Chip:
    """A device of the round. Args: state: one of ORDER."""

    name: str
    state: str


def live_round(feed: Feed) -> dict[str, Any]:
    """Return what the part of the live round shows."""
    live, config = feed.live(), feed.config
    state = health(live, time.time())
    values = {"live": live, "health": state, "health_text": HEALTH[state], "quorum": config.round.quorum}
    if live is None:
        return values | {"chips": (), "more": 0, "counts": {}, "rounds": config.rounds, "headline": HEALTH["starting"]}
    chips = _chips(live)
    counts = {state: sum(chip.state == state for chip in chips) for state in ORDER}
    return values | {
        "chips": chips[:CHIPS],
        "more": max(0, len(chips) - CHIPS),
        "counts": counts,
        "rounds": config.rounds,
        "headline": _headline(live, config),
    }


def _headline(live: Live, config: GatewayConfig) -> str:
    number = live.round.number
    if live.state == "open" and live.buffer:
        return f"{live.buffered} of {live.buffer} deltas for the next merge"
    if live.state == "open":
        of = f" of {config.rounds}" if config.rounds else ""
        return f"Round {number}{of} is open"
    if live.held is not None:
        return f"Version {live.held} is measured before devices get it"
    if live.state == "finished":
        return f"Finished after round {number}"
    return f"Waiting for devices for round {number + 1}"


def _chips(live: Live) -> list[Chip]:
    current = live.round
    chips = [Chip(name, _part(name, live)) for name in sorted(current.planned)] if live.state == "open" else []
    return sorted(chips, key=lambda chip: (ORDER.index(chip.state), chip.name))


def _part(name: str, live: Live) -> str:
    current = live.round
    if name in current.answered:
        return "answered"
    if name in current.refused:
        return "refused"
    if name in current.left:
        return "left"
    return "rests" if name in live.rests_s else "waits"


def overview(feed: Feed, figures: Figures) -> dict[str, Any]:
    """Return what the overview shows."""
    points, pairs = _points(figures), _pairs(figures)
    start = points[0] if len(points) > ALL_POINTS and points[0].reason == "initial" else None
    figure = figures.versions.figure
    return live_round(feed) | {
        "figures": figures,
        "status": figures.status,
        "figure": figure,
        "worth": _both(lambda part, width: worth_chart(part, figure, width), points[1:] if start else points),
        "start": start,
        "points": points[::-1],
        "written": written,
        "pairs": pairs[::-1],
        "traffic": _both(bytes_chart, pairs, HALF),
        "coverage": figures.coverage,
        "heat": [heat_map(figures.coverage, width) for width in (HALF, NARROW)] if figures.coverage.total else [],
        "memory": _memory(feed.live()),
        "how_to_join": _how_to_join(feed.config, figures),
        "gate": _gate(feed.config, figures),
        "directions": _directions(feed.config, figures),
        "engine": engine_words(figures.status.engine),
        "privacy": privacy_words(figures.status.privacy) if figures.status.privacy else "",
        "masked": bool(figures.status.secure.get("enabled")),
    }


def _gate(config: GatewayConfig, figures: Figures) -> str:
    """Return what the gate does, and what it decided last."""
    status, rules = figures.status, config.gate
    if not rules.hold:
        return "Every merge becomes a version that devices get: no gate decides on its figures."
    rule = (
        "A merged version is measured before devices get it, and not served when it is more than "
        f"{rules.margin:g} worse than the best of the last {rules.versions}."
    )
    if status.gate is None:
        return f"{rule} Nothing was decided yet."
    words = decided(status.gate)
    return f"{rule} Last: {words}."


def _directions(config: GatewayConfig, figures: Figures) -> str:
    """Return who is left out of merges; "" where directions are not compared."""
    if not (config.robust.enabled and config.robust.directions):
        return ""
    rows = figures.status.distrusted
    if not rows:
        return "Directions of devices' updates are compared in each round; nobody is left out of merges."
    are = "device is" if len(rows) == 1 else "devices are"
    return f"{len(rows)} {are} left out of merges: {left_out_words(rows)}."


def _both(draw: Callable[[Sequence[T], int], Html], rows: Sequence[T], width: int = WIDE) -> list[Html]:
    """Return a chart for a wide page and one for a phone, which has room for fewer rows."""
    return [draw(rows, width), draw(rows[-NARROW_POINTS:], NARROW)] if rows else []


def _points(figures: Figures) -> list[Point]:
    return [
        Point(row.number, row.evaluations[-1].value, row.reason if row.served else NOT_SERVED)
        for row in figures.versions.rows
        if row.evaluations
    ]


def _pairs(figures: Figures) -> list[Pair]:
    """Return the bytes of the rounds that are closed; of old ones the journal may have no line any more."""
    rows = [row for row in figures.rounds.rows if row.closed_at is not None]
    known = [(row, row.journal.get("bytes_up"), row.journal.get("bytes_down")) for row in rows]
    return [
        Pair(row.number, up if up is not None else row.deltas.bytes if row.deltas else 0, down)
        for row, up, down in known
    ]


def _memory(live: Live | None) -> int:
    return live.resident_bytes if live is not None else 0


def _how_to_join(config: GatewayConfig, figures: Figures) -> str:
    if config.certified:
        return "broker_server enroll NAME"
    url = figures.status.facts.url if figures.status.facts else "URL"
    return f"edge_runtime run --package DIR --data FILE --device-id NAME --broker {url}"


@dataclass(frozen=True)
class DeviceRow:
    """A device as the page lists it. Args: standing: what may be expected of it; rests_s: how long it rests."""

    device: Any
    standing: str
    rests_s: float


def devices(feed: Feed, shown: Devices, wanted: str) -> dict[str, Any]:
    """Return what the page of devices shows. Args: wanted: the name that was looked for; "": none."""
    live = feed.live()
    rows = [
        DeviceRow(row, live.standing(row.name) if live else "", live.rests_s.get(row.name, 0.0) if live else 0.0)
        for row in sorted(shown.rows, key=lambda row: (row.state != "here", row.name))
    ]
    figures = feed.figures()
    return {"rows": rows, "total": shown.total, "wanted": wanted, "how_to_join": _how_to_join(feed.config, figures)}


def device_notice(done: str, shown: Devices) -> str:
    """Return what was done to the one device that is shown, if that is so; addresses can be made up."""
    action = actions.OF_DEVICES.get(done)
    if action is None or len(shown.rows) != 1:
        return ""
    device = shown.rows[0]
    so = (device.state == "revoked") == (action is actions.REVOKE)
    return action.done.format(device.name) if so else ""


def versions(feed: Feed, figures: Figures) -> dict[str, Any]:
    """Return what the page of versions shows."""
    rows = figures.versions.rows[::-1]
    return {
        "rows": rows,
        "total": figures.versions.total,
        "figure": figures.versions.figure,
        "written": written,
        "gate": {row.number: _decision(row, figures.versions.rows) for row in rows},
        "notice": actions.ROLLBACK.done.format(figures.rollback) if figures.rollback else "",
        "evaluates": feed.config.evaluate is not None,
        "may_return": _may_return(feed.config, [row.number for row in rows]),
    }


def _may_return(config: GatewayConfig, numbers: Sequence[int]) -> frozenset[int]:
    """Return the versions whose blocks are kept, but for the newest. Args: numbers: newest first."""
    keep = config.limits.keep_versions
    return frozenset(
        number for place, number in enumerate(numbers) if place and (not keep or place < keep or not number)
    )


def _decision(row: Version, rows: Iterable[Version]) -> str:
    """Return what the gate decided on a version, else what is known of its worth beside its parent's."""
    if row.held:
        return "is measured before devices get it"
    if row.gate is not None and not row.gate.served:
        words = decided(row.gate).partition(": ")[2]
        return f"not served: {words}"
    parent = next((one for one in rows if one.number == row.parent), None)
    if parent is None or not row.evaluations or not parent.evaluations:
        return ""
    now, before = row.evaluations[-1], parent.evaluations[-1]
    if now.data != before.data:
        return ""
    change = now.value - before.value
    better = change > 0 if now.figure == "accuracy" else change < 0
    word = "as good as" if abs(change) < 5e-5 else "better than" if better else "worse than"
    return f"{word} version {row.parent}"
