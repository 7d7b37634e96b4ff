"""Differential privacy of devices (DP-FedAvg: McMahan et al., arXiv 1710.06963, section 2): cut, sum, noise. Pure.

Axes: P values of a block, D values of all planned blocks, k devices, C labels, d width.
Each device's whole update is cut to a norm, counts like any other, and the sum of a merge gets Gaussian noise of z
times that norm for every planned value. Sums are divided by how many devices were planned, which no device's data
decide. *Neighbours* are two runs in one of which a device's update is zero, whatever its data are (zero-out: Kairouz et
al., arXiv 2103.00039, definition 1.1): that a device takes part, and what it is asked to do, is not hidden. Rules:
docs/algorithm.md, "Differential privacy".

Sums and noise are whole multiples of a grid, so that no bit beyond it tells of the sum (Mironov, CCS 2012), and noise
follows from a secret seed and what was merged: the same merge has the same noise, another one other noise, and a
version that is made again has the same bytes. Cutting leaves room for what the grid rounds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from broker_server.rules.aggregate import Contribution, Sums, Wide
from broker_server.rules.encoded_block import EncodedBlock
from broker_server.rules.norms import norm_of
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.experts import BankShape, ExpertId

GRID: Final = 2.0**-24
"""Of the noise's standard deviation."""
_FLOAT32: Final = 1e-6
"""Of a norm: what cutting in float32 may leave too much."""
_DRAWN: Final = 65_536
"""Normal numbers that are drawn at once; an even number."""
_PRESENT: Final = 3.0
"""Standard deviations of noise that a label's count is above, for the label to be one that somebody has."""


@dataclass(frozen=True)
class Privacy:
    """What is promised of a merge.

    Args:
        clip: norm that a device's whole update is cut to.
        noise: z: standard deviation of the noise, in ``clip``.
        class_noise: that of the class sums' noise, whose norm is cut to 1; 0: they are not asked for.
    """

    clip: float
    noise: float
    class_noise: float = 0.0


@dataclass(frozen=True)
class Private:
    """One merge. Args: privacy: what is promised; planned: devices by block; key: that its noise follows from."""

    privacy: Privacy
    planned: Mapping[ExpertId, int]
    key: bytes


def merge_key(seed: bytes, deltas: Iterable[bytes], planned: Mapping[ExpertId, int], privacy: Privacy) -> bytes:
    """Return what a merge's noise follows from.

    Args:
        seed: the gateway's secret.
        deltas: digest of each.
        planned: devices by block.
        privacy: what is promised.
    """
    blocks = ",".join(f"{block.layer}.{block.index}:{planned[block]}" for block in sorted(planned))
    text = f"merge {privacy.clip!r} {privacy.noise!r} {blocks}"
    return hashlib.sha256(seed + b"".join(sorted(deltas)) + text.encode()).digest()


def sums_key(seed: bytes, statistics: Iterable[bytes], privacy: Privacy) -> bytes:
    """Return what the noise of class sums follows from. Args: statistics: digest of each device's."""
    return hashlib.sha256(seed + b"".join(sorted(statistics)) + f"sums {privacy.class_noise!r}".encode()).digest()


def gaussians(key: bytes, name: str, size: int) -> Wide:
    """Return standard normal numbers, multiples of GRID, [size]; they follow from key and name alone.

    SHAKE-256 as a stream of uniform numbers of 53 bits, and the transform of Box and Muller (Ann. Math. Statist. 29(2),
    1958). Rounding to the grid makes them the same on machines whose logarithm or cosine differ in the last bit.
    """
    normal = np.empty(size)
    for number, start in enumerate(range(0, size, _DRAWN)):
        stop = min(size, start + _DRAWN)
        pairs = (stop - start + 1) // 2
        drawn = hashlib.shake_256(key + f"{name} {number}".encode()).digest(16 * pairs)
        uniform = (np.frombuffer(drawn, "<u8") >> np.uint64(11)).astype(np.float64) * 2.0**-53
        radius = np.sqrt(-2.0 * np.log(1.0 - uniform[:pairs]))  # 1 - u is in (0, 1]
        angle = 2.0 * np.pi * uniform[pairs:]
        both = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
        normal[start:stop] = both[: stop - start]
    result: Wide = np.rint(normal / GRID) * GRID
    return result


def length_of(squares: Iterable[float]) -> float:
    """Return the norm of a whole update. Args: squares: of the norms of its blocks, ascending by block."""
    return math.sqrt(sum(squares))


def cut_whole(update: Contribution, norm: float, length: float | None = None) -> Contribution:
    """Return an update whose norm over all of its blocks is at most ``norm``, and that counts like any other.

    Args:
        update: of one device; of some of its blocks where ``length`` is told.
        norm: to cut to.
        length: of the whole update; None: that of the blocks that are here.
    """
    deltas = update.deltas
    if length is None:
        length = length_of(norm_of(block) ** 2 for block in deltas.values())
    if length > norm:
        factor = norm / length
        deltas = {
            name: block.times(factor) if isinstance(block, EncodedBlock) else (block * factor).astype(np.float32)
            for name, block in deltas.items()
        }
    return Contribution(update.device, update.round, 1.0, 0, deltas)


def norm_left(privacy: Privacy, values: int) -> float:
    """Return the norm to cut to, so that the sum on its grid changes by at most ``clip`` with one device.

    Rounding moves each of D values by at most half a step of the grid, with and without the device.

    Args:
        privacy: what is promised.
        values: D.

    Raises:
        ValueError: when the grid is too coarse for so many values.
    """
    left = 1.0 - _FLOAT32 - math.sqrt(values) * privacy.noise * GRID
    if left < 0.5:
        msg = f"noise {privacy.noise:g} on {values} values needs a finer grid than {GRID:g}"
        raise ValueError(msg)
    return privacy.clip * left


def private_sums(sums: Sums, planned: Mapping[ExpertId, int], privacy: Privacy, key: bytes, shape: BankShape) -> Sums:
    """Return noisy sums, for ``aggregate.close``: of every planned block, also of one that nobody sent.

    Args:
        sums: of contributions as ``cut_whole`` leaves them.
        planned: devices by block.
        privacy: what is promised.
        key: see ``merge_key``.
        shape: of the bank.
    """
    deviation = privacy.noise * privacy.clip
    noisy = Sums(devices=dict(sums.devices))
    for block in sorted(planned.keys() | sums.deltas.keys()):
        total = sums.deltas.get(block)
        noise = gaussians(key, f"{block.layer}.{block.index}", shape.size(block))
        noisy.deltas[block] = _on_grid(np.zeros_like(noise) if total is None else total, noise, deviation)
        noisy.weights[block] = np.full(1, float(max(1, planned.get(block, 0))))
    return noisy


def private_class_sums(parts: Sequence[ClassSums], privacy: Privacy, key: bytes) -> ClassSums | None:
    """Return noisy class sums; None when no label stands out of the noise.

    Each device's counts and sums together are cut to norm 1, so a mean stays what it was. A label whose noisy count is
    below three deviations of the noise is taken for one that nobody has.

    Args:
        parts: of devices.
        privacy: what is promised.
        key: see ``sums_key``.
    """
    cut = [_cut_sums(part, replace(privacy, clip=1.0, noise=privacy.class_noise)) for part in parts]
    total = ClassSums.total(cut)
    every = np.concatenate([total.counts, total.sums.reshape(-1)]).astype(np.float64)
    noisy = _on_grid(every, gaussians(key, "sums", every.size), privacy.class_noise)
    counts, sums = noisy[: total.counts.size], noisy[total.counts.size :].reshape(total.sums.shape)
    present = counts > _PRESENT * privacy.class_noise
    if not present.any():
        return None
    return ClassSums(np.where(present, counts, 0.0), np.where(present[:, None], sums, 0.0))


def _cut_sums(part: ClassSums, privacy: Privacy) -> ClassSums:
    counts, sums = part.counts.astype(np.float64), part.sums.astype(np.float64)
    length = math.sqrt(float((counts * counts).sum() + (sums * sums).sum()))
    factor = min(1.0, norm_left(privacy, counts.size + sums.size) / length) if length > 0 else 1.0
    return ClassSums(counts * factor, sums * factor)


def _on_grid(total: Wide, noise: Wide, deviation: float) -> Wide:
    """Return sums plus noise, both whole multiples of the grid."""
    step = GRID * deviation
    result: Wide = (np.rint(total / step) + np.rint(noise / GRID)) * step
    return result


def noise_to_signal(noise: float, values: int, devices: float) -> float:
    """Return z sqrt(D) / k: the length of the noise in that of a sum of k updates that all point the same way."""
    return noise * math.sqrt(values) / max(1.0, devices)
