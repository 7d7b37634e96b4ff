"""What a person sees while ``run`` works: words for each event, and a live table on a terminal. Fed by events only."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from broker_server.rules.gate import Decision
from broker_server.views.wording import decided, privacy_words, size
from edge_runtime.wire.text import counted

NOISY: Final = 1.0
"""Noise to signal from which on an operator is warned."""


class LiveTable:
    """A table of devices that changes in place, and the last lines below it. Args: console: a terminal."""

    def __init__(self, console: Console) -> None:
        self._devices: dict[str, dict[str, Any]] = {}
        self._head = ""
        self._tail: list[str] = []
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self._render)
        self._live.start()

    def __call__(self, event: dict[str, Any]) -> None:
        """Take an event."""
        _follow(self._devices, event)
        line = describe(event)
        if event["event"] in ("listening", "round", "version", "extended", "finished"):
            self._head = line
        if line:
            self._tail = [*self._tail, line][-6:]

    def close(self) -> None:
        """Leave the last picture standing."""
        with contextlib.suppress(OSError):  # the terminal was closed
            self._live.stop()

    def _render(self) -> Group:
        table = Table("device", "profile", "state", "experts", "examples", "loss", "ms/step", "delta", expand=False)
        for name, row in sorted(self._devices.items()):
            table.add_row(
                name, row.get("profile", ""), row.get("state", ""), str(row.get("experts", "")),
                str(row.get("examples", "")), row.get("loss", ""), str(row.get("step_ms") or ""), row.get("bytes", ""),
            )  # fmt: skip
        return Group(Text(self._head, style="bold"), table, *(Text(line, style="dim") for line in self._tail))


def _follow(devices: dict[str, dict[str, Any]], event: dict[str, Any]) -> None:
    kind, name = event["event"], event.get("device", "")
    if kind == "hello" and event.get("code") is None:
        keys = ("profile", "examples", "step_ms")
        devices.setdefault(name, {}).update({key: event[key] for key in keys} | {"state": "here"})
    elif kind in ("round", "extended"):
        for device, plan in event["devices"].items():
            devices.setdefault(device, {}).update(state="training", experts=len(plan["experts"]))
    elif kind == "delta" and name in devices:
        accepted = event["code"] == "ACCEPTED"
        devices[name]["state"] = "delivered" if accepted else event["code"]
        if accepted:
            devices[name] |= {"loss": f"{event['loss_last']:.3f}", "step_ms": event["step_ms"]}
            devices[name]["bytes"] = size(event["bytes"])
    elif kind == "withdrawn" and name in devices:
        devices[name]["state"] = "other data"
    elif kind == "rests" and name in devices:
        devices[name]["state"] = "silent, rests"
    elif kind == "bye" and name in devices:
        devices[name]["state"] = "left"


def describe(event: dict[str, Any]) -> str:
    """Return one line for people, or an empty one."""
    writer = _LINES.get(event["event"])
    return writer(event) if writer is not None else ""


def shortfalls(figures: Mapping[str, object]) -> str:
    """Return what to tell of an evaluation's figures by name, each after a semicolon; "" where there is nothing."""
    told = "; every text gets the same label" if figures.get("one_label") else ""
    start = figures.get("no_better_than")
    return told if start is None else f"{told}; no better than version {start}, which is class means alone"


def _listening(e: dict[str, Any]) -> str:
    end = f", {counted(e['rounds'], 'round')} planned" if e["rounds"] else ""
    kind = "embedded broker" if e["embedded"] else "broker"
    return (
        f"{kind} {e['url']}, federation {e['federation']} ({e['backbone']}, {e['labels']} labels, "
        f"{e['experts']} experts x {len(e['layers'])} layers); version {e['version']}, quorum {e['quorum']}{end}"
    )


def _reload(e: dict[str, Any]) -> str:
    if e.get("failure"):
        return f"settings were not read again, nothing was changed: {e['failure']}"
    changed = f"; changed: {', '.join(e['changed'])}" if e["changed"] else ""
    later = f"; not before the next start: {', '.join(e['later'])}" if e["later"] else ""
    return f"certificates, revocations and limits were read again{changed}{later}"


def _hello(e: dict[str, Any]) -> str:
    if e.get("code"):
        return f"{e['device']}: refused, {e['code']}: {e['detail']}"
    has = f"{counted(e['trained_slots'], 'slot')}, {counted(e['examples'], 'example')}"
    return f"{e['device']}: here, {e['profile']}, {has}" if e["new"] else ""


def _more(e: dict[str, Any]) -> str:
    detail = f": {e['detail']}" if e.get("detail") else ""
    return f"{detail} ({e['times']} times)" if e["times"] > 1 else detail


def _round(e: dict[str, Any]) -> str:
    blocks = sum(len(plan["experts"]) for plan in e["devices"].values())
    devices = f"{counted(len(e['devices']), 'device')} {'trains' if len(e['devices']) == 1 else 'train'}"
    return f"round {e['round']} from version {e['version']}: {devices} {counted(blocks, 'block')}"


def _extended(e: dict[str, Any]) -> str:
    more = f"; {counted(len(e['devices']), 'more device')} planned" if e["devices"] else ""
    return (
        f"round {e['round']}: {counted(e['answered'], 'delta')} so far, quorum is {e['quorum']}; "
        f"waiting {e['deadline_s']:.0f} s more{more}"
    )


def _delta(e: dict[str, Any]) -> str:
    if e["code"] != "ACCEPTED":
        return f"{e['device']}: delta of {size(e['bytes'])} refused, {e['code']}: {e['detail']}"
    if e.get("masked"):
        return f"{e['device']}: delta of {size(e['bytes'])}, under masks"
    late = f", {counted(e['staleness'], 'version')} late" if e["staleness"] else ""
    return f"{e['device']}: delta of {size(e['bytes'])}, loss {e['loss_first']:.3f} to {e['loss_last']:.3f}{late}"


def _privacy(e: dict[str, Any]) -> str:
    told = privacy_words(e)
    if e["noise_to_signal"] < NOISY:
        return told
    return (
        f"{told}. WARNING: that noise is longer than all updates of a round together can be, so versions will mostly "
        "be noise: more devices a round, fewer trained values, or less noise for a larger epsilon"
    )


def _statistics(e: dict[str, Any]) -> str:
    if e["code"] == "ACCEPTED":
        return f"{e['device']}: class statistics"
    return f"{e['device']}: class statistics refused, {e['code']}: {e['detail']}"


def _version(e: dict[str, Any]) -> str:
    if e["reason"] == "head":
        have = "has" if e["labels_lost"] == 1 else "have"
        labels = counted(e["labels_lost"], "label")
        lost = f"; {labels} that it knew {have} no example any more" if e["labels_lost"] else ""
        return f"version {e['version']}: head from the class means of {counted(e['devices'], 'device')}{lost}"
    if e["reason"] == "rollback":
        return f"version {e['version']}: the bank of version {e['parent']} again, as the operator asked"
    if e["reason"] == "upstream":
        return f"version {e['version']}: came from the gateway above"
    short = f", {counted(e['extensions'], 'extension')}" if e["extensions"] else ""
    short += f", {counted(e['withdrawn'], 'plan')} taken back" if e["withdrawn"] else ""
    short += f", {counted(e['distrusted'], 'delta')} not merged" if e.get("distrusted") else ""
    losses = f"loss {e['loss_first']:.3f} to {e['loss_last']:.3f}, " if e["loss_first"] or e["loss_last"] else ""
    return (
        f"version {e['version']} from round {e['round']}: "
        f"{e['accepted']} of {e['planned']} deltas ({e['closed']}{short}), "
        f"{size(e['bytes_deltas'])}, trainers of an expert {e['trainers_min']}-{e['trainers_max']}, "
        f"{losses}{e['seconds']} s"
    )


def _masks(e: dict[str, Any]) -> str:
    of = f"round {e['round']} under masks: "
    if e["phase"] == "shares":
        return f"{of}{counted(e['members'], 'device')} sent keys, and deal shares"
    if e["phase"] == "deltas":
        return f"{of}{e['dealt']} of {e['members']} dealt shares, and send deltas"
    return f"{of}{e['survivors']} of {e['dealt']} sent a delta, and answer for the others"


def _masks_opened(e: dict[str, Any]) -> str:
    opened = [one["survivors"] for one in e["circles"] if one["opened"]]
    lost = [str(one["why"]) for one in e["circles"] if not one["opened"]]
    more = f"; {counted(len(lost), 'sum')} not opened: {lost[0]}" if lost else ""
    sums = f"{counted(len(opened), 'sum')} opened, over {min(opened)} devices or more{more}"
    return f"round {e['round']} under masks: {sums}"


def _upstream(e: dict[str, Any]) -> str:
    if e["what"] != "sum":
        return f"gateway above: {e['what']}{': ' + e['detail'] if e['detail'] else ''}"
    taken = "taken" if e["code"] == "ACCEPTED" else f"refused, {e['code']}: {e['detail']}"
    return f"gateway above: the sum of round {e['round']} is {taken}"


def _not_served(e: dict[str, Any]) -> str:
    decision = Decision(e["version"], **{name: e[name] for name in Decision(0, served=False).plain()})
    deltas = f"{counted(e['accepted'], 'delta')} of round {e['round']} count for nothing"
    return f"{decided(decision)}; version {e['again']} is version {e['parent']} again, {deltas}"


def _evaluated(e: dict[str, Any]) -> str:
    if e.get("failure"):
        return f"version {e['version']} could not be evaluated: {e['failure']}"
    if "perplexity" in e:  # a federation that continues texts
        return f"version {e['version']}: perplexity {e['perplexity']:.2f} on {e['tokens']} tokens"
    figures = f"accuracy {e['accuracy']:.4f}, macro-F1 {e['macro_f1']:.4f} on {counted(e['examples'], 'text')}"
    return f"version {e['version']}: {figures}{shortfalls(e)}"


_LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "listening": _listening,
    "page": lambda e: str(e["failure"]) if "failure" in e else f"page {e['url']}",
    "damaged": lambda e: f"damaged: {e['detail']}; broker_server verify says what else is",
    "lost": lambda e: (
        f"{e['device']}: its delta of round {e['round']} is lost, it is asked to send it again: {e['detail']}"
    ),
    "repaired": lambda e: f"state: {e['detail']}",
    "resumed": lambda e: f"round {e['round']} goes on: {len(e['accepted'])} of {len(e['planned'])} deltas are kept",
    "down": lambda e: str(e["reason"]),
    "plaintext": lambda e: f"not encrypted: {e['detail']}",
    "stopped": lambda e: f"stopped after round {e['round']}, version {e['version']}; the next start goes on from there",
    "certificate": lambda e: (
        f"the gateway's certificate {e['file']} "
        + (f"ends in {counted(e['days'], 'day')}" if e["days"] >= 0 else "has ended: no device can connect")
        + "; broker_server init --renew makes the next"
    ),
    "refused": lambda e: f"{e['address']}: connection refused, {e['reason']}{_more(e)}",
    "limit": lambda e: f"{e.get('address', 'connections')}: held to the limit, {e['reason']}{_more(e)}",
    "broker": lambda e: str(e["detail"]),
    "reload": _reload,
    "hello": _hello,
    "bye": lambda e: f"{e['device']}: left",
    "statistics": _statistics,
    "round": _round,
    "extended": _extended,
    "withdrawn": lambda e: (
        f"{e['device']}: has other data than the head was made from; its plan is taken back until its class sums are in"
    ),
    "rests": lambda e: (
        f"{e['device']}: left {counted(e['missed'], 'plan')} in a row without an answer; "
        f"it gets none for {e['rests_s']:.0f} s"
    ),
    "limited": lambda e: (
        f"{e['device']}: {e['limit']} {e['came']:g} counts as {e['counted']:g}: others have far less, or limits say so"
    ),
    "left_out": lambda e: f"{e['device']}: removed before the merge; its delta of round {e['round']} is left out",
    "distrusted": lambda e: (
        f"{e['device']}: its updates point away from the others'; its delta of round {e['round']} is not merged"
    ),
    "privacy": _privacy,
    "waiting": lambda e: f"waiting: {e['reason']}",
    "delta": _delta,
    "version": _version,
    "masks": _masks,
    "masks_opening": lambda e: f"round {e['round']} under masks: sums of {e['devices']} devices are being opened",
    "masks_opened": _masks_opened,
    "masks_failed": lambda e: f"round {e['round']} under masks made no version: {e['reason']}",
    "held": lambda e: f"version {e['version']} from round {e['round']} is measured before devices get it",
    "not_served": _not_served,
    "evaluated": _evaluated,
    "storage": lambda e: f"storage: {e['detail']}",
    "sum": lambda e: (
        f"round {e['round']}: the sum of {counted(e['devices'], 'delta')} ({e['closed']}), {size(e['bytes'])}, goes up"
    ),
    "upstream": _upstream,
    "engine": lambda e: (
        f"merging waits: {e['failure']}"
        if e.get("failure")
        else f"merging by {counted(e['shards'], 'shard')} on Ray ({e['address']})"
    ),
    "shard": lambda e: (
        f"shard {e['shard']} on {e['node'] or 'no machine'} is {e['state']}, restarted {counted(e['restarts'], 'time')}"
    ),
    "finished": lambda e: (
        f"finished after round {e['rounds']}: version {e['version']}, "
        f"{size(e['bytes_up'])} up, {size(e['bytes_down'])} down"
    ),
}
