"""/metrics: what Prometheus reads, made when it asks. The driver of prometheus_client, on a registry of its own.

No name of a device, round or version is a label, so the number of series is bounded by codes and settings.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from broker_server.views.live import Live
from broker_server.web.feed import Feed, Figures, figures_or_none
from broker_server.web.tally import SECONDS, Tally

TYPE: Final = CONTENT_TYPE_LATEST
PREFIX: Final = "edge_gateway_"
_LEFT_OUT: Final = "Devices that are left out of merges: their updates point away from the others'."
STATES: Final = ("gathering", "open", "merging", "finished")


class Metrics:
    """The text of /metrics. Args: feed: where the figures come from."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all metrics; those of the state directory are left out while it cannot be read."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics; called by the registry."""
        live, figures = self._feed.live(), figures_or_none(self._feed)
        if live is not None:
            yield from _of_live(live, time.time())
        yield from _of_tally(self._feed.tally)
        if figures is not None:
            yield from _of_figures(figures)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value)


def _by(
    family: Callable[..., GaugeMetricFamily | CounterMetricFamily], name: str, text: str,
    label: str, values: Mapping[str, float],
) -> Metric:  # fmt: skip
    metric = family(PREFIX + name, text, labels=[label])
    for key, value in values.items():
        metric.add_metric([key], value)
    return metric


def _of_live(live: Live, now: float) -> Iterator[Metric]:
    load, current = live.load, live.round
    yield _gauge("broker_up", "Whether the gateway is connected to its broker (1) or not (0).", load.broker_up)
    yield _gauge("disk_refuses", "Whether the last write to the state directory failed (1).", load.disk_refuses)
    yield _gauge("look_age_seconds", "Since the deciding thread last said how it stands.", max(0.0, now - live.at))
    yield _gauge("start_time_seconds", "When the gateway started, in seconds since 1970.", live.started)
    states = {state: float(state == live.state) for state in STATES}
    yield _by(GaugeMetricFamily, "state", "1 for the state that the gateway is in.", "state", states)
    yield _gauge("version", "Number of the newest version.", live.version)
    yield _gauge("round", "Number of the round that was opened last.", current.number)
    yield _gauge("round_extensions", "Times that this round waited once more.", current.extensions)
    yield _gauge("round_open_seconds", "How long this round has been open; 0 when none is.", current.open_s)
    yield _gauge("round_deadline_seconds", "Until this round's deadline; below 0 after it.", current.deadline_s)
    answers = {name: float(len(getattr(current, name))) for name in ("planned", "answered", "refused", "left")}
    yield _by(GaugeMetricFamily, "round_devices", "Devices of this round.", "part", answers)
    yield _gauge("buffer_deltas", "Deltas that wait for the next merge, where merging has a buffer.", live.buffered)
    yield _gauge("buffer_size", "Deltas that are merged as soon as they came; 0: merging is in rounds.", live.buffer)
    yield _gauge("devices_here", "Devices that said hello and not bye.", len(live.here))
    yield _gauge("devices_resting", "Devices that get no plan for now: they gave no answer.", len(live.rests_s))
    yield CounterMetricFamily(PREFIX + "received_bytes", "Payload from devices since the start.", live.bytes_up)
    yield CounterMetricFamily(PREFIX + "sent_bytes", "Payload to devices since the start.", live.bytes_down)
    yield _gauge("inbox_events", "Events that wait for the deciding thread.", load.inbox_events)
    yield _gauge("inbox_bytes", "Their bytes.", load.inbox_bytes)
    yield _gauge("offers_waiting", "Bodies that were offered and not granted yet.", load.offers_waiting)
    yield _gauge("granted_bytes", "Bytes of bodies that were granted and are not complete.", load.granted_bytes)
    yield _gauge("partial_bytes", "Bytes of pieces of bodies that are not complete.", load.partial_bytes)
    yield _gauge("versions_to_measure", "Versions that wait for the evaluator.", load.evaluating)


def _of_tally(tally: Tally) -> Iterator[Metric]:
    verdicts = CounterMetricFamily(
        PREFIX + "verdicts", "Answers to what devices sent, by kind and code.", labels=["kind", "code"]
    )
    for (kind, code), times in dict(tally.verdicts).items():
        verdicts.add_metric([kind, code], times)
    yield verdicts
    text = "Connections that the embedded broker refused, by reason."
    yield _by(CounterMetricFamily, "connections_refused", text, "reason", dict(tally.refused))
    yield _by(CounterMetricFamily, "limits", "Times that a limit was reached.", "limit", dict(tally.limits))
    yield _by(CounterMetricFamily, "versions", "Versions made since the start.", "reason", dict(tally.versions))
    yield CounterMetricFamily(
        PREFIX + "versions_not_served", "Versions that the gate kept from devices.", tally.not_served
    )
    text = "Accepted deltas of devices that are left out of merges."
    yield CounterMetricFamily(PREFIX + "deltas_distrusted", text, tally.distrusted)
    yield CounterMetricFamily(PREFIX + "deltas_bytes", "Bytes of accepted deltas.", tally.deltas_bytes)
    buckets, total = [], 0
    for end, times in zip([*map(str, SECONDS), "+Inf"], tally.buckets, strict=True):
        total += times
        buckets.append((end, float(total)))
    yield HistogramMetricFamily(
        PREFIX + "round_seconds", "How long rounds took.", buckets=buckets, sum_value=tally.round_s
    )


def _of_figures(figures: Figures) -> Iterator[Metric]:
    status, coverage = figures.status, figures.coverage
    yield _gauge("devices_known", "Devices that ever said hello and were not forgotten.", status.devices)
    yield _gauge("devices_revoked", "Devices that the operator removed.", status.revoked)
    yield _gauge("devices_distrusted", _LEFT_OUT, len(status.distrusted))
    yield _gauge("state_used_bytes", "Disk space of the state directory.", status.disk.used)
    yield _gauge("state_free_bytes", "Disk space that is left for it.", status.disk.free)
    yield _gauge("experts", "Experts in all adapted layers.", coverage.total)
    yield _gauge("experts_trained", "Experts that at least one device trained.", coverage.trained)
    yield _gauge("expert_trainers_min", "Devices that trained the expert with the fewest.", coverage.fewest)
    yield _gauge("expert_trainers_max", "Devices that trained the expert with the most.", coverage.most)
    if shards := status.engine.get("shards"):
        states = Counter(str(one["state"]) for one in shards)
        by_state = {name: float(states[name]) for name in ("ok", "away")}
        yield _by(GaugeMetricFamily, "shards", "Shards that merge, by how they are.", "state", by_state)
        restarts, held = (sum(one[name] for one in shards) for name in ("restarts", "ledger_bytes"))
        yield _gauge("shard_restarts", "Times that a shard was begun again since the gateway started.", restarts)
        yield _gauge("shards_used_bytes", "Disk space of the shards' ledgers.", held)
    if status.upstream:
        joined = float(status.upstream["state"] == "joined")
        yield _gauge("upstream_joined", "Whether this site is a member above (1) or not (0).", joined)
        yield _gauge("upstream_round", "Round of the last sum that was taken above.", status.upstream["round"])
    if status.privacy:
        yield _gauge("privacy_epsilon", "What of the privacy budget is spent.", float(status.privacy["epsilon"]))
        yield _gauge("privacy_budget", "Epsilon beyond which nothing is merged.", float(status.privacy["budget"]))
    if status.evaluation is not None:
        values = {name: float(value) for name, value in status.evaluation.figures.items()}
        yield _by(GaugeMetricFamily, "evaluation", "Of the newest measured version.", "figure", values)
        yield _gauge("evaluated_version", "The newest version that was measured.", status.evaluation.version)
