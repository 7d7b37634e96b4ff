"""Where runs are made: the backbone and the sets on one device, kept from run to run; and what a seed draws of them.

Axes: n texts of a set, N clients, C labels, d width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.federation import texts as files
from benchmarks.federation.arms.base import Form, Setup, Sizes
from benchmarks.federation.backbone import Encoder
from benchmarks.federation.experiment import Settings, Task
from benchmarks.federation.fleet import Fleet, fleet
from benchmarks.federation.reading import Frozen, Rows, Texts
from benchmarks.federation.splits import label_counts, split
from benchmarks.federation.texts import Part, TextSet
from edge_runtime.wire.class_means import ClassSums, class_mean_head
from edge_runtime.wire.experts import HEAD, MEAN
from edge_runtime.wire.program_interface import LOGIT_SCALE
from edge_runtime.wire.tensors import Array

SETS_KEPT = 8


@dataclass(frozen=True, eq=False)
class LoadedSet:
    """A set on the device. Args: encoder; own: as its file has it; texts: on the device."""

    encoder: Encoder
    own: TextSet
    texts: Texts

    @cached_property
    def features(self) -> Array:
        """Frozen features of all texts, float32 [n, d]: what class means are made from."""
        mean = torch.zeros(self.encoder.width, device=self.encoder.device)
        rows = np.arange(len(self.own.targets), dtype=np.int64)
        features: Array = Frozen(self.encoder, self.texts, mean).features(Form("head"), [{}], rows)[0].cpu().numpy()
        return features


@dataclass(eq=False)
class Workplace:
    """What a process keeps.

    Args:
        file: of ``benchmarks.federation.texts``.
        device: of torch.
        kind: type to compute in.
    """

    file: Path
    device: torch.device
    kind: torch.dtype
    _sets: dict[str, LoadedSet] = field(default_factory=dict)

    @cached_property
    def encoder(self) -> Encoder:
        """The backbone of the file."""
        backbone = files.load_backbone(self.file)
        return Encoder.of(backbone.weights, backbone.heads, backbone.eps, self.device, self.kind)

    def load(self, name: str) -> LoadedSet:
        """Return a set; the last few stay on the device."""
        if name not in self._sets:
            while len(self._sets) >= SETS_KEPT:
                self._sets.pop(next(iter(self._sets)))
            own = files.load(self.file, name)
            self._sets[name] = LoadedSet(self.encoder, own, Texts.of(own.ids, own.lengths, own.targets, self.device))
        return self._sets[name]


@dataclass(frozen=True, eq=False)
class Ground:
    """What all arms of a cell and a seed stand on.

    Args:
        frozen: backbone, texts and mean of the features.
        targets: [n] labels.
        shares: [N], rows of each client's training texts.
        counts: [N, C] of their labels.
        validation: rows.
        test: rows.
        fleet: the devices.
        setup: what the arm knows.
    """

    frozen: Frozen
    targets: npt.NDArray[np.int64]
    shares: list[Rows]
    counts: npt.NDArray[np.int64]
    validation: Rows
    test: Rows
    fleet: Fleet
    setup: Setup


def ground_of(task: Task, loaded: LoadedSet, make_fleet: Callable[..., Fleet] = fleet) -> Ground:
    """Return what a task stands on: the same for every arm of its cell and seed, but for the arm's own settings."""
    cell, settings, own = task.cell, task.arm.settings, loaded.own
    shares = split(cell.split, own, cell.clients, task.seed)
    counts = label_counts(shares, own)
    devices = make_fleet(cell.texts, cell.clients, task.seed, depths=settings.depths, **task.fleet)
    sums = [_sums(loaded, share, counts.shape[1]) for share in shares]
    start = class_mean_head(ClassSums.total(sums), LOGIT_SCALE)
    encoder = loaded.encoder
    sizes = Sizes(len(encoder.layers), encoder.width, encoder.inner, counts.shape[1])
    setup = Setup(
        sizes,
        settings.rounds,
        task.seed,
        start[HEAD],
        start[MEAN],
        tuple(map(len, shares)),
        counts.astype(np.float32),
        devices.devices,
        seconds_of(settings, devices),
        settings.batch,
        settings.steps,
        settings.most_steps,
        settings.enough_steps,
        settings.most_epochs,
        settings.rate,
        settings.final_share,
        task.arm.options,
        np.stack([one.sums for one in sums]).astype(np.float32),
    )
    mean = torch.tensor(start[MEAN], device=encoder.device)
    rows = {part: own.rows(part) for part in (Part.VALIDATION, Part.TEST)}
    targets = own.targets.astype(np.int64)
    frozen = Frozen(encoder, loaded.texts, mean)
    return Ground(frozen, targets, shares, counts, rows[Part.VALIDATION], rows[Part.TEST], devices, setup)


def _sums(loaded: LoadedSet, share: Rows, labels: int) -> ClassSums:
    """Return what a client sends of its frozen features."""
    targets, features = loaded.own.targets[share], loaded.features[share]
    sums = np.zeros((labels, features.shape[1]), np.float32)
    np.add.at(sums, targets, features)
    return ClassSums(np.bincount(targets, minlength=labels).astype(np.float32), sums)


def seconds_of(settings: Settings, devices: Fleet) -> float:
    """Return the training time of a round: so many whole steps of the slowest device; 0: no limit."""
    slowest = max(device.reaches[-1].step_ms for device in devices.devices)
    return settings.slowest_steps * slowest / 1000 * (1 + 1e-6)  # a hair more, or as many steps would not fit


def accuracy(logits: Tensor, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return bool [K, n]: which predictions are right. Args: logits: [K, n, C]; targets: [n]."""
    right: npt.NDArray[np.bool_] = logits.argmax(-1).cpu().numpy() == targets
    return right
