"""What a gateway could see of single devices, and what not: of rounds whose deltas are summed under masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from broker_server.state.mask_tables import counting_sums
from broker_server.state.readings import Readings
from edge_runtime.wire.mask_checks import MASKS_VERSION, NOISE_VERSION
from edge_runtime.wire.text import counted

ROUNDS: Final = 20
"""The last rounds under masks that are looked through for one that is over."""


def read_masks(ledger: Readings, *, enabled: bool, private: bool = False, signed: bool = False) -> dict[str, Any]:
    """Return what is told of sums under masks; empty where there were none and none are planned.

    Args:
        ledger: of the state directory.
        enabled: whether the gateway that started last plans rounds under masks.
        private: whether [privacy] counts what is released.
        signed: whether devices have to sign their keys.
    """
    rows = ledger.newest_masks(ROUNDS)
    if not rows and not enabled:
        return {}
    version = NOISE_VERSION if private else MASKS_VERSION
    over = next((row for row in rows if row.told), None)
    last: dict[str, Any] | None = None
    if over is not None:
        circles = [one for one in over.told.get("circles", ()) if one["opened"]]
        last = {
            "round": over.round,
            "members": over.told["members"],
            "failed": over.told.get("failed", ""),
            "noise": over.told.get("noise", 0.0),
            "signed": over.told.get("signed", False),
            "opened": [one["survivors"] for one in circles],
            "not_opened": [one["why"] for one in over.told.get("circles", ()) if not one["opened"]],
        }
    return {
        "enabled": enabled,
        "private": private,
        "last": last,
        "class_sums_seen": len(counting_sums(ledger.statistics_digests(), masked=False)),
        "class_sums_opened": [len(devices) for devices in ledger.class_sum_givers().values()],
        "signed": signed,
        "without_masks": ledger.without_masks(version, signed=signed) if enabled else [],
    }


def masks_words(told: Mapping[str, Any]) -> str:
    """Return it for people. Args: told: as ``read_masks`` returned it; not empty."""
    last, parts = told["last"], []
    if last is None:
        parts.append("no round under masks is over yet" if told["enabled"] else "no round went under masks")
    elif last["failed"]:
        parts.append(f"round {last['round']} was not opened: {last['failed']}")
    else:
        sizes = sorted(last["opened"])
        span = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
        parts.append(f"of round {last['round']} {counted(len(sizes), 'sum')} over {span} devices each, no single delta")
        if last["noise"]:
            parts.append(f"each with noise of {last['noise']:.3g} times the clip that devices added")
        if not last["signed"]:
            parts.append("devices did not sign their keys, so that a gateway could have put others in their place")
        if last["not_opened"]:
            parts.append(f"{counted(len(last['not_opened']), 'sum')} not opened ({last['not_opened'][0]})")
    if not told["enabled"]:
        parts.append("from now on the gateway sees each delta")
    opened = told["class_sums_opened"]
    if opened:
        parts.append(
            f"class sums of {sum(opened)} devices as {counted(len(opened), 'sum')}, the least over {min(opened)}"
        )
    if told["class_sums_seen"]:
        parts.append(f"class sums of {counted(told['class_sums_seen'], 'device')} were seen one by one")
    if told["without_masks"]:
        names = ", ".join(told["without_masks"][:5])
        masks = f"{'signed keys for ' * told['signed']}masks{' with noise' * told['private']}"
        more = f" and {len(told['without_masks']) - 5} more" if len(told["without_masks"]) > 5 else ""
        parts.append(f"not planned for, since their runtime knows no {masks}: {names}{more}")
    return "; ".join(parts)
