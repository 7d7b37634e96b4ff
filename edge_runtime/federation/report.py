"""What a device tells while it takes part: events, with a line for people where there is something to say to them.

Never a user's text. As JSON an event has ``t`` (Unix seconds), ``event``, ``device``, ``bytes_up``, ``bytes_down``
(MQTT payloads since the start) and its own values:

    started            examples, tier, profile, runtime, label_prior (strength)
    skipped            rows (without a text)
    features           examples (their class sums are at hand)
    connected
    disconnected       reason, again_s
    gateway_gone
    no_gateway         (the broker has nothing of a gateway of this federation)
    hello              trained_slots, examples
    unanswered         hellos (without an answer so far)
    joined             want_statistics
    statistics         bytes
    version_announced  version, round, missing (blocks)
    version            version (it is complete here)
    plan               round, experts, steps, deadline_s
    withdrawn          (the gateway took the plan back)
    round              round, base_version, blocks, layers (from the top), tier, steps, step (already made)
    step               round, step, steps, loss, step_ms
    trained            round, steps, step_ms (median), examples, loss_first, loss_last, peak_rss_mib,
                       fill (share of the steps' places that held a token), texts_per_step
    offer              round, bytes (of a delta that waits for the gateway to ask for it)
    delta              round, bytes (that the gateway lacked and asked for)
    masks              what, bytes (keys, shares or the answer of a round under masks)
    masked             round (its delta is under masks and waits for the gateway to ask for it)
    verdict            kind, code, detail, round
    ignored, error     reason
    stopped            rounds, peak_rss_mib
    prefixes           hits, misses, damaged, bytes, limit_bytes (packages with a trunk)
    done
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_runtime.federation.link import Traffic


@dataclass(frozen=True)
class DeviceEvent:
    """Something that happened to a device in a federation.

    Args:
        name: "started", "joined", "plan", "step", "trained", "delta", "verdict", "version" or another of those that
            ``edge_runtime.federation.report`` lists.
        device: name of the device.
        at: when, in seconds since 1970.
        bytes_up, bytes_down: sent and received since the start, as MQTT payloads.
        text: a line for people; "": there is nothing to say to them.
        values: what else belongs to the event, by name; all of it fits into JSON.
    """

    name: str
    device: str
    at: float
    bytes_up: int
    bytes_down: int
    text: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return it for JSON, without the line for people."""
        about = {"device": self.device, "bytes_up": self.bytes_up, "bytes_down": self.bytes_down}
        return {"t": self.at, "event": self.name, **about, **self.values}


class Report:
    """Where events go.

    Args:
        device: named in every event.
        told: takes each event, on the thread on which it happened.
    """

    def __init__(self, device: str, told: Callable[[DeviceEvent], None]) -> None:
        self._device, self._told = device, told
        self.traffic = Traffic()

    def emit(self, event: str, text: str = "", **values: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Tell one event; ``text`` is the line for people, empty for none."""
        traffic = self.traffic
        at = round(time.time(), 3)
        self._told(DeviceEvent(event, self._device, at, traffic.bytes_up, traffic.bytes_down, text, values))
