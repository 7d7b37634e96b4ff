"""Ways to make a federation's last model personal, after it: label prior, gates, local fine-tuning, and both together.

Axes: K clients, n texts, C labels, L layers, M experts, P values of an expert.

Every way starts from the same merged model. Gates and fine-tuning learn on each client's own training texts; their rate
is chosen for all clients together on validation texts, before the test texts are looked at. A client's accuracy is on
texts weighted like its own labels, which favours the prior: by construction those are the labels that it counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.federation.arms.base import Form, Values, Work
from benchmarks.federation.experiment import Tuning
from benchmarks.federation.figures import Floats, own_accuracy, own_weights
from benchmarks.federation.reading import Frozen, Rows
from benchmarks.federation.stacked import Job, train
from edge_runtime.wire.experts import expert_parts
from edge_runtime.wire.label_prior import label_weights
from edge_runtime.wire.tensors import Array

AT_ONCE = 20
"""Models that predict side by side."""
UNTOUCHED = ("head", "scale")
"""What no way to be personal trains: a head tuned to few labels is a prior that costs training."""


@dataclass(frozen=True, eq=False)
class Federation:
    """What is there after the last round.

    Args:
        frozen: encoder and texts.
        targets: [n] labels of all texts.
        shares: [K] rows of each client's training texts.
        validation: rows.
        test: rows.
        form: of the merged model.
        values: of the merged model.
        batch: texts of a step.
        seed: of the order of texts.
    """

    frozen: Frozen
    targets: npt.NDArray[np.integer[Any]]
    shares: Sequence[Rows]
    validation: Rows
    test: Rows
    form: Form
    values: Values
    batch: int = 16
    seed: int = 0

    @property
    def counts(self) -> Floats:
        """[K, C] labels of the clients' training texts."""
        labels = len(self.values["head"]) // (self.frozen.encoder.width + 1)
        return np.stack([np.bincount(self.targets[rows], minlength=labels) for rows in self.shares]).astype(np.float64)


@dataclass(frozen=True)
class Personal:
    """What the ways are worth.

    Args:
        own: by method, [K] accuracy on a client's own distribution.
        everybody: by method, mean accuracy of the clients' models on all labels alike.
        rates: by trained method, the chosen one.
    """

    own: Mapping[str, tuple[float, ...]]
    everybody: Mapping[str, float]
    rates: Mapping[str, float] = field(default_factory=dict)


Correct = npt.NDArray[np.bool_]
"""[K, n]: whether each client's model is right."""


def measure(held: Federation, tuning: Tuning) -> Personal:
    """Return what every way is worth for a merged model."""
    merged = predictions(held, [held.values], held.test)
    methods = {"merged model": merged(0.0), "half prior": merged(0.5), "prior": merged(1.0)}
    rates = {}
    for name, masks in trainable(held).items():
        rates[name], models = _best(held, masks, tuning)
        tuned = predictions(held, models, held.test)
        methods |= {name: tuned(0.0), f"{name}, prior": tuned(1.0)}
    weights = own_weights(held.targets[held.test], held.counts)
    own = {name: tuple(own_accuracy(correct, weights).tolist()) for name, correct in methods.items()}
    return Personal(own, {name: float(correct.mean()) for name, correct in methods.items()}, rates)


def trainable(held: Federation) -> dict[str, Values]:
    """Return what each way trains, as masks: gates where there are some, and all that the federation adapted."""
    values = held.values
    whole: dict[str, Array] = {
        name: np.ones((1,) * value.ndim, np.float32)
        for name, value in values.items()
        if name not in UNTOUCHED and value.size
    }
    gates: dict[str, Values] = {}
    if held.form.gate in ("soft", "topk"):
        gates["gate"] = {"experts": router_mask(values["experts"].shape[-1], held.frozen.encoder.width)}
    return gates | ({"fine-tuning": whole} if whole else {})


def router_mask(size: int, width: int) -> Array:
    """Return [1, 1, P], 1 at the router row of an expert's block. Args: size: P; width: d."""
    rank = (size - 2 * width) // (2 * width + 1)
    into = expert_parts(width, rank)[0]
    mask = np.zeros(size, np.float32)
    mask[into.offset : into.offset + into.size].reshape(into.shape)[rank] = 1
    return mask[None, None]


def _best(held: Federation, masks: Values, tuning: Tuning) -> tuple[float, list[Values]]:
    """Return the rate with the best mean of own accuracies on validation texts, and its models."""
    weights = own_weights(held.targets[held.validation], held.counts)
    tried = []
    for rate in tuning.rates:
        models = tuned_models(held, masks, rate, tuning)
        correct = predictions(held, models, held.validation)(0.0)
        tried.append((float(own_accuracy(correct, weights).mean()), rate, models))
    _, rate, models = max(tried, key=lambda one: one[0])
    return rate, models


def tuned_models(held: Federation, masks: Values, rate: float, tuning: Tuning) -> list[Values]:
    """Return each client's model after training what ``masks`` name on its own texts."""
    form = replace(held.form, balance="")
    rates = dict.fromkeys(masks, rate)
    works = [Work(client, form, held.values, masks, rates, tuning.steps, 0) for client in range(len(held.shares))]
    jobs = [
        Job(work, draws(rows, (tuning.steps, held.batch), (held.seed, client)))
        for client, (work, rows) in enumerate(zip(works, held.shares, strict=True))
    ]
    return [{**held.values, **outcome.values} for outcome in train(held.frozen, jobs)]


def draws(rows: Rows, shape: tuple[int, int], words: tuple[int, int]) -> Rows:
    """Return rows of a client's texts, epoch by epoch, each in an order of its own.

    Args:
        rows: of the client.
        shape: steps and texts of a step.
        words: seed and client.
    """
    random = np.random.default_rng(words)
    wanted = shape[0] * shape[1]
    epochs = [random.permutation(rows) for _ in range(-(-wanted // len(rows)))]
    return np.concatenate(epochs)[:wanted].reshape(shape)


def predictions(held: Federation, models: Sequence[Values], rows: Rows) -> Callable[[float], Correct]:
    """Return, for a strength of the label prior, [K, n]: whether each client's model is right on some texts.

    Args:
        held: the federation.
        models: one for all clients, or one for each.
        rows: [n].
    """
    counts = held.counts
    targets = torch.tensor(held.targets[rows].astype(np.int64), device=held.frozen.encoder.device)
    parts = [
        held.frozen.logits(held.form, models[first : first + AT_ONCE], rows) for first in range(0, len(models), AT_ONCE)
    ]

    def right(strength: float) -> Correct:
        priors = np.log([label_weights(own, strength) for own in counts]).astype(np.float32)
        each = []
        for client, prior in enumerate(torch.tensor(priors, device=targets.device)):
            of_client = client if len(models) > 1 else 0
            logits = parts[of_client // AT_ONCE][of_client % AT_ONCE]
            each.append(((logits + prior).argmax(1) == targets).cpu().numpy())
        return np.stack(each)

    return right
