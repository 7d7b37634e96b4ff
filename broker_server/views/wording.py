"""Sizes, times and counts as people read them at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from broker_server.rules.gate import Decision
from broker_server.state.rows import TrustRow
from edge_runtime.wire.text import counted


def size(count: int) -> str:
    """Return bytes for people (10^3 steps)."""
    if count < 1000:
        return f"{count} B"
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def duration(seconds: float) -> str:
    """Return a time span in its largest unit: "12 s", "3 min", "5 h", "2 d"."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def ago(at: float, now: float) -> str:
    """Return how long ago something was; "never" for 0. Args: at, now: seconds since 1970."""
    return f"{duration(now - at)} ago" if at else "never"


def instant(at: float) -> str:
    """Return a time as programs read it: "2026-11-29T18:05:00Z". Args: at: seconds since 1970."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def decided(decision: Decision) -> str:
    """Return what the gate decided: "version 7 is not served: accuracy 0.8125, version 5 has 0.9000 (margin 0.01)"."""
    verdict = "is served" if decision.served else "is not served"
    if decision.value is None or decision.reference is None:
        return f"version {decision.version} {verdict}: {decision.detail}"
    compared = f"version {decision.against} has {decision.reference:.4f} (margin {decision.margin:g})"
    return f"version {decision.version} {verdict}: {decision.figure} {decision.value:.4f}, {compared}"


def times(counts: Mapping[str, int]) -> str:
    """Return "hellos 3 x, messages 1 x"."""
    return ", ".join(f"{what} {count} x" for what, count in counts.items())


def left_out_words(rows: Sequence[TrustRow], newest: int = 8) -> str:
    """Return who is left out of merges: "d3 since version 4, d7 since version 9: updates point away from the others'".

    Args:
        rows: of those who are.
        newest: named at most.
    """
    names = [f"{row.device} since version {row.left_out_since}" for row in rows[:newest]]
    more = f" and {len(rows) - newest} more" if len(rows) > newest else ""
    return f"{', '.join(names)}{more}: updates point away from the others'"


def engine_words(engine: Mapping[str, Any]) -> str:
    """Return how the shards are that merge; "" where the gateway merges itself. Args: engine: as in ``Status``."""
    shards = engine.get("shards") or ()
    if not shards:
        return ""
    away = [str(one["number"]) for one in shards if one["state"] != "ok"]
    restarts, held = sum(one["restarts"] for one in shards), sum(one["ledger_bytes"] for one in shards)
    how = f"shard {', '.join(away)} away" if away else "all well"
    return (
        f"{engine['kind']}, {counted(len(shards), 'shard')}: {how}, {counted(restarts, 'restart')}, {size(held)} kept"
    )


def upstream_words(upstream: Mapping[str, Any]) -> str:
    """Return how things stand with the gateway above; "" where there is none. Args: upstream: as in ``Status``."""
    if not upstream:
        return ""
    detail = f" ({upstream['detail']})" if upstream["detail"] else ""
    last = f"; last sum taken: round {upstream['round']}" if upstream["round"] else ""
    return f"{upstream['url']}, as site {upstream['site']}: {upstream['state']}{detail}{last}"


def privacy_words(told: Mapping[str, Any]) -> str:
    """Return what of a privacy budget is spent, for people. Args: told: see ``PrivacyAccount``."""
    left = f"room for {counted(told['left'], 'more merge')}" if told["left"] else "no merge is left, and none is made"
    return (
        f"epsilon {told['epsilon']:.3g} of {told['budget']:g} spent at delta {told['delta']:g} in "
        f"{counted(told['releases'], 'release')}, {left}; noise to signal {told['noise_to_signal']:.3g}"
    )
