"""What each device is doing, reduced from its events, and a table of it that keeps up to date."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.table import Table
from rich.text import Text

BAR: Final = 12


@dataclass
class Row:
    """One device as its events tell it.

    Args:
        profile: of its package.
        trained_slots: m.
        doing: a few words.
        round: that it works on.
        step, steps: of the round's training.
        loss: of the last step that it told.
        blocks: experts of the plan at hand, as (layer, index) texts.
        accepted: rounds in which its delta was accepted.
        trained: how often each expert index was trained in an accepted round, over layers.
    """

    profile: str
    trained_slots: int
    doing: str = "starting"
    round: int = 0
    step: int = 0
    steps: int = 0
    loss: float = float("nan")
    step_ms: float = 0.0
    peak_rss_mib: float = 0.0
    bytes_up: int = 0
    bytes_down: int = 0
    blocks: tuple[str, ...] = ()
    accepted: int = 0
    refused: int = 0
    trained: Counter[int] = field(default_factory=Counter)
    problem: str = ""
    finished: bool = False

    def take(self, event: Mapping[str, Any]) -> None:
        """Apply one event; unknown ones only move the byte counts."""
        self.bytes_up = max(self.bytes_up, int(event.get("bytes_up", 0)))
        self.bytes_down = max(self.bytes_down, int(event.get("bytes_down", 0)))
        handle = _HANDLERS.get(str(event.get("event")))
        if handle is not None:
            handle(self, event)

    def experts(self) -> str:
        """Return the expert indices of the plan at hand: of one layer, since other layers rotate from there."""
        pairs = _experts(self.blocks)
        first = min((layer for layer, _ in pairs), default=0)
        return " ".join(str(index) for layer, index in pairs if layer == first)


def _experts(blocks: Sequence[str]) -> list[tuple[int, int]]:
    """Return (layer, index) of the experts among blocks: neither shared experts nor the head, in layer 65535."""
    pairs = [(int(layer), int(index)) for layer, index in (block.split(".") for block in blocks)]
    return [(layer, index) for layer, index in pairs if max(layer, index) < 0xFFFF]


def _joined(row: Row, event: Mapping[str, Any]) -> None:
    del event
    row.doing = "joined"


def _statistics(row: Row, event: Mapping[str, Any]) -> None:
    del event
    row.doing = "class sums sent"


def _round(row: Row, event: Mapping[str, Any]) -> None:
    row.round, row.step, row.steps = int(event["round"]), int(event.get("step", 0)), int(event["steps"])
    row.blocks = tuple(event["blocks"])
    row.doing = "training"


def _step(row: Row, event: Mapping[str, Any]) -> None:
    row.step, row.loss = int(event["step"]), float(event["loss"])
    row.doing = "training"


def _trained(row: Row, event: Mapping[str, Any]) -> None:
    row.step = row.steps
    row.step_ms, row.peak_rss_mib = float(event["step_ms"]), float(event["peak_rss_mib"])
    row.loss = float(event["loss_last"])


def _delta(row: Row, event: Mapping[str, Any]) -> None:
    row.doing = f"sent {int(event['bytes']) / 1000:.0f} kB"


def _verdict(row: Row, event: Mapping[str, Any]) -> None:
    if event.get("kind") != "delta":
        return
    if event["code"] != "ACCEPTED":
        row.refused += 1
        row.doing = f"refused: {event['code']}"
        return
    row.accepted += 1
    row.doing = "accepted"
    row.trained.update(index for _, index in _experts(row.blocks))


def _disconnected(row: Row, event: Mapping[str, Any]) -> None:
    del event
    row.doing = "no connection"


def _error(row: Row, event: Mapping[str, Any]) -> None:
    row.problem = str(event.get("reason", "error"))


def _stopped(row: Row, event: Mapping[str, Any]) -> None:
    row.peak_rss_mib = float(event.get("peak_rss_mib", row.peak_rss_mib))
    row.doing, row.finished = "done", True


_HANDLERS: Final = {
    "joined": _joined,
    "statistics": _statistics,
    "round": _round,
    "step": _step,
    "trained": _trained,
    "delta": _delta,
    "verdict": _verdict,
    "disconnected": _disconnected,
    "error": _error,
    "stopped": _stopped,
}


def table(rows: Mapping[str, Row], caption: str) -> Table:
    """Return the live table."""
    board = Table(box=None, pad_edge=False, caption=caption, caption_justify="left", expand=False)
    for name, justify in _COLUMNS:
        board.add_column(name, justify=justify, no_wrap=True)
    for name, row in rows.items():
        done = round(BAR * row.step / row.steps) if row.steps else 0
        bar = Text("█" * done, style="cyan") + Text("░" * (BAR - done), style="bright_black")
        style = "red" if row.problem or row.doing.startswith("refused") else "green" if row.doing == "accepted" else ""
        board.add_row(
            name,
            row.profile,
            str(row.round or ""),
            bar + Text(f" {row.step}/{row.steps}" if row.steps else ""),
            "" if row.loss != row.loss else f"{row.loss:.3f}",
            row.experts(),
            f"{row.bytes_up / 1e6:.2f}",
            f"{row.bytes_down / 1e6:.2f}",
            Text(row.problem[:40] or row.doing, style=style),
        )
    return board


_COLUMNS: Final[Iterable[tuple[str, Any]]] = (
    ("device", "left"),
    ("profile", "left"),
    ("round", "right"),
    ("steps", "left"),
    ("loss", "right"),
    ("experts (first layer)", "left"),
    ("MB up", "right"),
    ("MB down", "right"),
    ("", "left"),
)
