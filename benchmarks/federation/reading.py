"""What all clients share on the device, and what a model reads from texts without training.

Axes: K models or clients, n texts of a data set, T texts, S places, d width, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.federation.arms.base import Form, Values
from benchmarks.federation.backbone import ROUND_TO, Batch, Encoder, attention_mask, features, token_share
from benchmarks.federation.forms import Traffic, additions
from edge_runtime.wire.program_interface import LOGIT_SCALE

Rows = npt.NDArray[np.int64]
TOKENS_AT_ONCE: Final = 1 << 17
"""Places of a batch without gradients."""


@dataclass(frozen=True, eq=False)
class Texts:
    """All texts of a data set.

    Args:
        ids: int32 [n, S], on the device.
        lengths: int64 [n], on the device.
        targets: int64 [n], on the device.
        counts: the lengths again, on the CPU.
    """

    ids: Tensor
    lengths: Tensor
    targets: Tensor
    counts: Rows

    @classmethod
    def of(
        cls, ids: npt.NDArray[Any], lengths: npt.NDArray[Any], targets: npt.NDArray[Any], device: torch.device
    ) -> Texts:
        """Put the texts of a set on a device. Args: ids: [n, S]; lengths, targets: [n]."""
        counts = np.maximum(lengths.astype(np.int64), 1)
        arrays = ids.astype(np.int32), counts, targets.astype(np.int64)
        tokens, lengths_there, labels = (torch.tensor(array, device=device) for array in arrays)
        return cls(tokens, lengths_there, labels, counts)

    def batch(self, rows: Tensor, places: int) -> Batch:
        """Return texts [K, T], cut at ``places``."""
        return Batch(self.ids[:, :places][rows], self.lengths[rows])

    def places(self, rows: Rows) -> int:
        """Return S of a batch of these texts."""
        return min(-(-int(self.counts[rows].max()) // ROUND_TO) * ROUND_TO, self.ids.shape[1])


@dataclass(frozen=True, eq=False)
class Frozen:
    """What nobody trains. Args: encoder; texts: of the set; mean: [d], taken off every feature."""

    encoder: Encoder
    texts: Texts
    mean: Tensor

    @torch.no_grad()
    def features(self, form: Form, models: Sequence[Values], rows: Rows) -> Tensor:
        """Return the unit features [K, n, d] of the same texts under K models, float32. Args: rows: [n]."""
        order = np.argsort(self.texts.counts[rows], kind="stable")
        ordered, count = rows[order], len(models)
        values = {name: stacked([model[name] for model in models], self.encoder.device) for name in models[0]}
        added = additions(form, values, self.encoder.width, self.encoder.kind, Traffic())
        result = torch.empty(count, len(rows), self.encoder.width, device=self.encoder.device)
        first = 0
        while first < len(ordered):
            take = max(1, TOKENS_AT_ONCE // (count * self.texts.places(ordered[first : first + 1])))
            some = ordered[first : first + take]
            there = torch.tensor(some, device=self.encoder.device).expand(count, -1)
            batch = self.texts.batch(there, self.texts.places(some))
            real = batch.real()
            mask, share = attention_mask(real, self.encoder.kind), token_share(real)
            states = self.encoder.embed(batch.ids)
            for place, layer in enumerate(self.encoder.layers):
                addition = added[place] if added else None
                states = layer.feed(layer.attend(states, mask, addition), share, addition)
            where = torch.tensor(order[first : first + take], device=self.encoder.device)
            result[:, where] = features(states, real, batch.lengths)
            first += take
        return result

    @torch.no_grad()
    def logits(self, form: Form, models: Sequence[Values], rows: Rows) -> Tensor:
        """Return the logits [K, n, C] of the same texts under K models, float32, on the encoder's device."""
        heads = stacked([model["head"] for model in models], self.encoder.device)
        return classify(self.features(form, models, rows), heads, self.mean)


def classify(read: Tensor, head: Tensor, mean: Tensor) -> Tensor:
    """Return logits [K, T, C] = 20 (features [K, T, d] - mean [d]) W^T + b. Args: head: [K, C * (d + 1)]."""
    width = read.shape[-1]
    labels = head.shape[1] // (width + 1)
    weight, bias = head[:, : labels * width].reshape(-1, labels, width), head[:, labels * width :]
    return torch.bmm(read - mean, weight.transpose(1, 2)) * LOGIT_SCALE + bias[:, None]


def stacked(arrays: Sequence[npt.NDArray[Any]], device: torch.device) -> Tensor:
    """Return arrays as one tensor [K, ...]; what all clients share goes to the device once, and is a view there."""
    first = arrays[0]
    if all(array is first for array in arrays):
        return torch.tensor(first, device=device).expand(len(arrays), *first.shape)
    return torch.tensor(np.stack(arrays), device=device)
