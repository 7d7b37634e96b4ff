"""What a run of the demo found, as values; the JSON line, the tables and the chart are made from these alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class DeviceFigures:
    """One device.

    Args:
        profile: of its package.
        examples: local training texts.
        labels: distinct labels among them.
        trained_slots: m, experts that it trains in each layer in a round.
        rounds: in which a delta of it was accepted.
        bytes_up: MQTT payload bytes that it sent.
        bytes_down: that it received.
        trained: for each expert index, in how many (round, layer) pairs it trained it.
        accuracy_alone: held-out accuracy of a model that it trained by itself with the same steps.
        step_ms: median training step.
        peak_rss_mib: of its process.
    """

    profile: str
    examples: int
    labels: int
    trained_slots: int
    rounds: int
    bytes_up: int
    bytes_down: int
    trained: tuple[int, ...]
    accuracy_alone: float
    step_ms: float
    peak_rss_mib: float


@dataclass(frozen=True)
class Figures:
    """A whole run; accuracies are shares of the held-out texts.

    Args:
        accuracy_untrained: version 0, whose head favours no label.
        accuracy_class_means: the first version with a head from class means.
        accuracy_by_round: of the version that each round made.
        accuracy_centralized: the same experts trained on all devices' data pooled.
        bytes_model: storage of the device part of the largest package.
    """

    data: str
    devices: dict[str, DeviceFigures]
    labels: int
    held_out: int
    accuracy_untrained: float
    accuracy_class_means: float
    accuracy_by_round: tuple[float, ...]
    accuracy_centralized: float
    bytes_model: int
    seconds: dict[str, float]
    settings: dict[str, Any]

    @property
    def accuracy_final(self) -> float:
        """Accuracy of the last version."""
        return self.accuracy_by_round[-1] if self.accuracy_by_round else self.accuracy_class_means

    @property
    def accuracy_local_mean(self) -> float:
        """Mean over devices of the accuracy of their own models."""
        return sum(device.accuracy_alone for device in self.devices.values()) / len(self.devices)

    def to_json(self) -> dict[str, Any]:
        """Return the demo's last line."""
        each = self.devices.values()
        return {
            "accuracy_untrained": round(self.accuracy_untrained, 4),
            "accuracy_class_means": round(self.accuracy_class_means, 4),
            "accuracy_final": round(self.accuracy_final, 4),
            "accuracy_local_mean": round(self.accuracy_local_mean, 4),
            "accuracy_centralized": round(self.accuracy_centralized, 4),
            "accuracy_by_round": [round(value, 4) for value in self.accuracy_by_round],
            "bytes_up": sum(device.bytes_up for device in each),
            "bytes_down": sum(device.bytes_down for device in each),
            "bytes_model": self.bytes_model,
            "rounds": len(self.accuracy_by_round),
            "devices": len(self.devices),
            "data": self.data,
            "labels": self.labels,
            "held_out": self.held_out,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "settings": self.settings,
            "per_device": {
                name: {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(device).items()}
                for name, device in self.devices.items()
            },
        }
