"""Training of many clients at once: one pass through the shared frozen backbone for all texts of a step.

Axes: K clients of a stack, B texts of a step, T texts, S places, N = B*S, d width, C labels, L layers, U different
texts that a client draws in a round.

Each client has values, masks, rates and a number of steps of its own; a stack is the clients that train the same form
from the same lowest layer. The prefix, all below what is trained, is computed once for each of a client's texts and
then looked up, as devices do. A stack is sorted by steps, so that who is done leaves it at the end. There is no
loop over clients in a step, and nothing is read back from the device before the last step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.federation.arms.base import Values, Work
from benchmarks.federation.backbone import Batch, attention_mask, features, token_share
from benchmarks.federation.forms import OUTSIDE, Traffic, additions
from benchmarks.federation.reading import TOKENS_AT_ONCE, Frozen, Rows, classify, stacked
from edge_runtime.wire.program_interface import BETA1, BETA2, EPSILON
from edge_runtime.wire.tensors import Array

STACK: Final = 32
"""Clients of a stack at most."""
PREFIX_BYTES: Final = 6 * 2**30
"""Of a stack's prefixes at most; beyond, they are computed anew in every step."""


@dataclass(frozen=True, eq=False)
class Job:
    """A client's work with the texts it draws. Args: draws: [steps, B], rows of `Texts`."""

    work: Work
    draws: Rows


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a job gave.

    Args:
        values: after it, whole, of the trained tensors.
        losses: [steps].
        routed: [L, M] tokens by expert; top-k gates only.
        seen: tokens.
    """

    values: Values
    losses: Array
    routed: npt.NDArray[np.float64] | None = None
    seen: float = 0.0


def train(frozen: Frozen, jobs: Sequence[Job]) -> list[Outcome]:
    """Do jobs, stack by stack; results are in their order."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, job in enumerate(jobs):
        shapes = tuple((name, value.shape) for name, value in job.work.values.items())
        work = job.work
        key = work.form, work.lowest_layer, shapes, tuple(sorted(work.rates)), work.weight_decay, job.draws.shape[1]
        groups.setdefault(key, []).append(place)
    results: dict[int, Outcome] = {}
    for places in groups.values():
        ordered = sorted(places, key=lambda place: -len(jobs[place].draws))
        for first in range(0, len(ordered), STACK):
            some = ordered[first : first + STACK]
            stack = Stack(frozen, [jobs[place] for place in some])
            results |= dict(zip(some, stack.run(), strict=True))
    return [results[place] for place in range(len(jobs))]


class Stack:
    """Clients that train together, most steps first."""

    def __init__(self, frozen: Frozen, jobs: Sequence[Job]) -> None:
        self._encoder, self._texts, self._mean, self._jobs = frozen.encoder, frozen.texts, frozen.mean, jobs
        self._device = frozen.encoder.device
        work = jobs[0].work
        self._form, self._low = work.form, work.lowest_layer
        self._layers = len(frozen.encoder.layers)
        whole = {name: stacked([job.work.values[name] for job in jobs], self._device) for name in work.values}
        self._below = {name: value if name in OUTSIDE else value[:, : self._low] for name, value in whole.items()}
        self._values = {name: self._above(name, value) for name, value in whole.items()}
        self._trained = [name for name in work.rates if name in work.masks]
        self._paces = {name: self._pace(name) for name in self._trained}
        self._values |= {name: self._values[name].clone() for name in self._trained}
        self._steps = [len(job.draws) for job in jobs]
        self._draw_texts()
        self._prefix = self._computed_prefix()

    def run(self) -> list[Outcome]:
        """Make all steps and read the results."""
        moments = {
            name: (torch.zeros_like(self._values[name]), torch.zeros_like(self._values[name])) for name in self._trained
        }
        losses = torch.zeros(self._steps[0], len(self._jobs), device=self._device)
        routed: Tensor | None = None
        for step in range(self._steps[0]):
            count = sum(steps > step for steps in self._steps)
            loss, gradients, traffic = self._gradients(step, count)
            losses[step, :count] = loss
            for name, gradient in gradients.items():
                first, second = moments[name]
                value, pace = self._values[name][:count], self._paces[name][:count]
                adamw(value, gradient, (first[:count], second[:count]), pace, step=step + 1, decay=self._decay)
            if traffic.routed:
                tokens = functional.pad(torch.stack(traffic.routed, 1), (0, 0, 0, 0, 0, len(self._jobs) - count))
                routed = tokens if routed is None else routed + tokens
        return self._outcomes(losses, routed)

    @property
    def _decay(self) -> float:
        return self._jobs[0].work.weight_decay

    def _above(self, name: str, value: Tensor) -> Tensor:
        return value if name in OUTSIDE else value[:, self._low :]

    def _pace(self, name: str) -> Tensor:
        """Return rate times mask, [K, ...], broadcasting against the tensor's trained layers."""
        masks = stacked([np.asarray(job.work.masks[name], np.float32) for job in self._jobs], self._device)
        cut = masks if name in OUTSIDE or masks.shape[1] == 1 else self._above(name, masks)
        rates = torch.tensor([job.work.rates[name] for job in self._jobs], device=self._device)
        return cut * rates.reshape(-1, *[1] * (cut.dim() - 1))

    def _draw_texts(self) -> None:
        """Lay out the rows of all steps, [steps, K, B], and each client's different texts, by length, [K, U]."""
        most, device = self._steps[0], self._device
        shape = most, len(self._jobs), self._jobs[0].draws.shape[1]
        rows, places, own = np.zeros(shape, np.int64), np.zeros(shape, np.int64), []
        for client, job in enumerate(self._jobs):
            different = np.unique(job.draws)
            different = different[np.argsort(self._texts.counts[different], kind="stable")]
            where = np.empty(int(different.max()) + 1, np.int64)
            where[different] = np.arange(len(different))
            rows[: len(job.draws), client], places[: len(job.draws), client] = job.draws, where[job.draws]
            own.append(different)
        longest = max(map(len, own))
        self._own = np.stack([np.pad(some, (longest - len(some), 0), mode="edge") for some in own])
        places += np.array([longest - len(some) for some in own])[None, :, None]
        self._rows, self._places = torch.from_numpy(rows).to(device), torch.from_numpy(places).to(device)
        active = np.arange(most)[:, None] < np.array(self._steps)[None]
        self._widths = [self._texts.places(rows[step, active[step]]) for step in range(most)]

    def _computed_prefix(self) -> Tensor | None:
        """Return the states [K, U, S, d], or features [K, U, d], below what is trained; None: they are too many."""
        clients, count = self._own.shape
        width = self._texts.places(self._own)
        size = self._encoder.kind.itemsize * clients * count * width * self._encoder.width
        if self._whole:
            prefix = torch.empty(clients, count, self._encoder.width, device=self._device)
        elif size <= PREFIX_BYTES:
            shape = clients, count, width, self._encoder.width
            prefix = torch.zeros(shape, dtype=self._encoder.kind, device=self._device)
        else:
            return None
        rows, first = torch.from_numpy(self._own).to(self._device), 0
        while first < count:
            take = max(1, TOKENS_AT_ONCE // (clients * width))
            last = min(count, first + take)
            places = self._texts.places(self._own[:, first:last])
            batch = self._texts.batch(rows[:, first:last], places)
            states = self._to_entry(batch)
            if self._whole:
                prefix[:, first:last] = features(states, batch.real(), batch.lengths)
            else:
                prefix[:, first:last, :places] = states.reshape(clients, last - first, places, -1)
            first = last
        return prefix

    @property
    def _whole(self) -> bool:
        """Whether nothing but the head is trained."""
        return self._low >= self._layers

    @property
    def _half(self) -> bool:
        """Whether the attention of the lowest trained layer belongs to the prefix: nothing of it is trained."""
        return not {"q_a", "v_a"} & set(self._values)

    @torch.no_grad()
    def _to_entry(self, batch: Batch, count: int | None = None) -> Tensor:
        """Return the states [K, N, d] that enter the trained part."""
        below = {name: value[:count] for name, value in self._below.items()}
        real = batch.real()
        mask, share = attention_mask(real, self._encoder.kind), token_share(real)
        states = self._encoder.embed(batch.ids)
        added = additions(self._form, below, self._encoder.width, self._encoder.kind, Traffic())
        for place in range(self._low):
            addition = added[place] if added else None
            layer = self._encoder.layers[place]
            states = layer.feed(layer.attend(states, mask, addition), share, addition)
        return self._encoder.layers[self._low].attend(states, mask, None) if self._half and not self._whole else states

    def _gradients(self, step: int, count: int) -> tuple[Tensor, dict[str, Tensor], Traffic]:
        """Return the losses [K] of a step's texts, the gradients of the trained tensors, and what routers left."""
        rows, places = self._rows[step, :count], self._widths[step]
        batch = self._texts.batch(rows, places)
        leaves = {name: self._values[name][:count].detach().requires_grad_() for name in self._trained}
        values = {name: value[:count] for name, value in self._values.items()} | leaves
        traffic = Traffic()
        if self._prefix is None:
            states = self._to_entry(batch, count)
        else:
            which = torch.arange(count, device=rows.device)[:, None]
            prefix = self._prefix if self._whole else self._prefix[:, :, :places]
            states = prefix[which, self._places[step, :count]]
        with torch.enable_grad():
            read = states if self._whole else self._features(states, batch, values, traffic)
            logits = classify(read, values["head"], self._mean)
            losses = functional.cross_entropy(
                logits.flatten(0, 1), self._texts.targets[rows].flatten(), reduction="none"
            )
            loss = losses.reshape(rows.shape).mean(1)
            total = loss.sum() + sum(part.sum() for part in traffic.auxiliary)
            gradients = torch.autograd.grad(total, list(leaves.values()))
        return loss.detach(), dict(zip(leaves, gradients, strict=True)), traffic

    def _features(self, states: Tensor, batch: Batch, values: Mapping[str, Tensor], traffic: Traffic) -> Tensor:
        real = batch.real()
        states = states.reshape(real.shape[0], -1, self._encoder.width)
        mask, share = attention_mask(real, self._encoder.kind), token_share(real)
        added = additions(self._form, values, self._encoder.width, self._encoder.kind, traffic)
        for place, layer in enumerate(self._encoder.layers[self._low :]):
            addition = added[place] if added else None
            if place or not self._half:
                states = layer.attend(states, mask, addition)
            states = layer.feed(states, share, addition)
        return features(states, real, batch.lengths)

    def _outcomes(self, losses: Tensor, routed: Tensor | None) -> list[Outcome]:
        told, after = losses.cpu().numpy(), {name: self._values[name].cpu().numpy() for name in self._trained}
        chosen = None if routed is None else routed.double().cpu().numpy()
        results = []
        for client, job in enumerate(self._jobs):
            values = {}
            for name, stack in after.items():
                values[name] = np.array(job.work.values[name], np.float32)
                cut = values[name] if name in OUTSIDE else values[name][self._low :]
                cut[...] = stack[client]
            seen = float(self._texts.counts[job.draws].sum())
            of_client = None
            if chosen is not None:
                of_client = np.pad(chosen[client], ((self._low, 0), (0, 0)))
            results.append(Outcome(values, told[: len(job.draws), client], of_client, seen))
        return results


def adamw(
    value: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], pace: Tensor, *, step: int, decay: float
) -> None:
    """Make one step of AdamW (Loshchilov & Hutter, 1711.05101) in place; where ``pace`` is 0 a value keeps its bits.

    Args:
        value: [K, ...], as are gradient and both moments.
        gradient: of it.
        moments: first and second, changed in place.
        pace: learning rate times mask, broadcasting.
        step: from 1.
        decay: decoupled.
    """
    first, second = moments
    first.lerp_(gradient, 1.0 - BETA1)
    second.mul_(BETA2).addcmul_(gradient, gradient, value=1.0 - BETA2)
    shrink = (1.0 - BETA2**step) ** 0.5
    direction = first / second.sqrt().add_(shrink * EPSILON)
    if decay:
        value.mul_(1.0 - pace * decay)
    value.addcmul_(direction, pace, value=-shrink / (1.0 - BETA1**step))
