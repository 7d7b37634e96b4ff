"""What one run of the simulator says, as one JSON line; and what is computed from a model's predictions. Pure.

Axes: R rounds, K clients, C labels, n test texts, L layers, M experts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """A run round by round; costs are of each round, over all devices together.

    Args:
        validation: [R + 1] accuracy, before the first round and after each; choices are made on it.
        test: [R + 1], only reported.
        bytes_up: [R], as encoded.
        bytes_down: [R].
        device_s: [R] seconds of training and transfer of all devices.
        wall_s: [R] seconds until the last device that was waited for.
        answered: [R] devices whose deltas were merged.
    """

    validation: tuple[float, ...]
    test: tuple[float, ...]
    bytes_up: tuple[float, ...]
    bytes_down: tuple[float, ...]
    device_s: tuple[float, ...]
    wall_s: tuple[float, ...]
    answered: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cell:
    """Where arms are compared. Args: texts: name of the set; split: as ``splits.split`` takes it; fleet: its words."""

    texts: str
    split: str
    clients: int
    fleet: str = ""

    def __str__(self) -> str:
        """Return it for people."""
        circumstances = f", {self.fleet}" if self.fleet else ""
        return f"{self.texts}, {self.split}, {self.clients} clients{circumstances}"


@dataclass(frozen=True)
class Run:
    """One arm in one cell with one seed.

    Args:
        experiment: name of its TOML.
        cell: where.
        arm: its name in the experiment.
        seed: of everything that is drawn; arms of a seed are paired.
        curve: round by round.
        own: [K] accuracy of what each client is served, on test texts weighted like its own labels.
        profiles: [K] of each client's device.
        examples: [K] training texts.
        layers: [K] mean depth of a client's plans, 0 where it had none.
        steps: [K] mean optimizer steps of its plans.
        trained: [L][M] deltas merged into each expert; empty for other forms.
        load: [L][M] share of tokens that went to each expert; empty without top-k gates.
        personal: by method, [K] accuracy like ``own`` of a client's own model.
        everybody: by method, mean accuracy of the clients' own models on all labels alike.
        options: of the arm.
        settings: of the experiment: rounds, steps, seconds and so on.
        seconds: of computing.
        where: date, machine and commit.
    """

    experiment: str
    cell: Cell
    arm: str
    seed: int
    curve: Curve
    own: tuple[float, ...] = ()
    profiles: tuple[str, ...] = ()
    examples: tuple[int, ...] = ()
    layers: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()
    trained: tuple[tuple[float, ...], ...] = ()
    load: tuple[tuple[float, ...], ...] = ()
    personal: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    everybody: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    where: Mapping[str, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return the run as a line of JSON, floats with six digits."""
        return json.dumps(_rounded(asdict(self)), sort_keys=True, allow_nan=False)


def run_of(line: str) -> Run:
    """Return the run of a line.

    Raises:
        ValueError: when it is none.
    """
    try:
        tree = json.loads(line)
        tree["cell"], tree["curve"] = Cell(**tree["cell"]), Curve(**_tuples(tree["curve"]))
        return Run(**{name: _tuples(value) for name, value in tree.items()})
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a run of benchmarks.federation ({error}); expected {_names()}") from error


def _names() -> str:
    return ", ".join(one.name for one in fields(Run))


def _rounded(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, (list, tuple)) else value


def _tuples(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def own_weights(targets: npt.NDArray[np.integer[Any]], counts: Floats) -> Floats:
    """Return [K, n], the weight of each test text for each client, 1 in all: as its labels are in its training texts.

    Args:
        targets: [n] labels of the test texts.
        counts: [K, C] training texts. Labels without test texts are left out.

    Raises:
        ValueError: when a client has no label that is tested.
    """
    support = np.bincount(targets, minlength=counts.shape[1])
    shares = np.where(support > 0, counts, 0.0)
    if not shares.any(axis=1).all():
        raise ValueError(f"clients {np.flatnonzero(~shares.any(axis=1)).tolist()} have no label that is tested")
    shares = shares / shares.sum(axis=1, keepdims=True)
    weights: Floats = (shares / np.maximum(support, 1))[:, targets]
    return weights


def own_accuracy(correct: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """Return [K] accuracy on each client's own distribution.

    Args:
        correct: [n] of one model for all, or [K, n] of each client's.
        weights: [K, n], of ``own_weights``.
    """
    accuracy: Floats = (weights * correct).sum(axis=1)
    return accuracy


def worst_decile(values: Sequence[float]) -> float:
    """Return the mean over the worst tenth of the clients, one at least."""
    ranked = sorted(values)
    return float(np.mean(ranked[: max(1, round(len(ranked) / 10))]))
