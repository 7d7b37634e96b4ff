"""The program's interface: what every method of a program.pte takes and gives. SPEC.md, "Program interface", in code.

Axes: L adapted layers, k of them that a method trains, M experts, m trained and f frozen slots, H = m + f, P values of
an expert, Ps of a shared expert, C labels, d width, B texts of a call at most, R rows of S places, N = R*S, V
vocabulary of a language head.

A call takes its texts packed: a row holds whole texts, one behind the other (``packing``).

A program's file does not name its tensors. Export writes them in the order that stands here, the manifest repeats it,
and a runtime finds a tensor by the names below and by no others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from edge_runtime.wire.experts import BankShape

PROGRAM_INTERFACE: Final = 3
"""Version of all that stands here; a manifest says it, and a runtime refuses another."""
DTYPES: Final = {"float32": 4, "int64": 8}
"""Bytes of an element."""

# The bank, as a method takes it.
EXPERTS: Final = "experts"
LOWER_EXPERTS: Final = "lower_experts"
"""[L - k, M, P]: what a trunk runs, and its tier does not train: every expert of the layers below."""
LOWER_SHARED: Final = "lower_shared"
TRAINED: Final = "trained"
FROZEN: Final = "frozen"
SHARED: Final = "shared"
HEAD: Final = "head"
MEAN: Final = "mean"
TRAINABLE: Final = (TRAINED, SHARED, HEAD)
"""What a step changes, in order; each has two moments, and in micro-batches a sum of gradients."""
# What steers a step.
GATE_SCALE: Final = "gate_scale"
UPDATE_MASK: Final = "update_mask"
HYPER: Final = "hyper"
SHARE: Final = "share"
BALANCE_TARGET: Final = "balance_target"
BALANCE_WEIGHT: Final = "balance_weight"
# The texts.
IDS: Final = "ids"
POSITIONS: Final = "positions"
"""A token's place in its own text, from 0."""
ATTEND: Final = "attend"
"""[R, S, S]: 1 where a place may look at another, because both hold the same text."""
MASK: Final = "mask"
READOUT: Final = "readout"
"""[B, N]: by what weights the hidden states of all places make a text's one: 1/n at its n tokens, or 1 at its last."""
PREFIX: Final = "prefix"
RESIDUAL: Final = "residual"
BOUNDARY: Final = (PREFIX, RESIDUAL)
"""What a trunk gives and a cut training method takes, [R, S, d] each: the input of the feed-forward in the lowest layer
that is trained, and the sum that the experts' output is added to there."""
LABELS: Final = "labels"
TARGETS: Final = "targets"
WEIGHTS: Final = "weights"
# What a method tells.
LOSS: Final = "loss"
LOGITS: Final = "logits"
USAGE: Final = "usage"
AFFINITY: Final = "affinity"
ROUTER_STATISTICS: Final = (USAGE, AFFINITY)
"""Means over the call's tokens, [k, H]; the second with top-k gates only."""
PROBABILITIES: Final = "probabilities"
FEATURES: Final = "features"
LOSSES: Final = "losses"
"""Of a language model's ONNX twin alone, the gateway's program: [N, T - 1]."""

BETA1: Final = 0.9
BETA2: Final = 0.999
EPSILON: Final = 1e-8
"""AdamW's constants, inside every program (Loshchilov & Hutter, arXiv 1711.05101, algorithm 2)."""
LOGIT_SCALE: Final = 20.0
"""A classifier's logits are this times the product of a unit feature with the head."""
HYPER_PLACES: Final = {
    "learning_rate": 0,
    "head_learning_rate": 1,
    "weight_decay": 2,
    "first_correction": 3,
    "second_correction": 4,
    "shared_learning_rate": 5,
}
"""Where a step's numbers stand in ``hyper``; the places after them are 0."""
HYPER_SIZE: Final = 8
RATE_PLACES: Final = {TRAINED: 0, HEAD: 1, SHARED: 5}
"""Where in ``hyper`` the learning rate of a trainable tensor stands."""


class MethodKind(StrEnum):
    """What a method is for.

    ``TRAIN`` is a whole optimizer step. ``ACCUMULATE`` and ``APPLY`` are its halves in micro-batches: the first adds a
    micro-batch's gradients to their sums, the second makes the optimizer's step with the sums. ``TRUNK`` is what stands
    below the experts that a tier trains: it depends on the text, and on the experts of the layers below, if there are.
    """

    TRAIN = "train"
    ACCUMULATE = "accumulate"
    APPLY = "apply"
    PREDICT = "predict"
    TRUNK = "trunk"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a method. Args: dtype: "float32" or "int64"."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Return the bytes of such a tensor."""
        return DTYPES[self.dtype] * math.prod(self.shape)


@dataclass(frozen=True)
class MethodSpec:
    """A method of the program; an output that has an input's name replaces it in the next call."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class ModelShape:
    """Sizes that all methods of a program share.

    Args:
        bank: L, M, r, rs, d and C.
        top_k: k in top-k mode, None for soft gates.
        vocabulary: V, rows of the language head of a model that continues texts (which has no labels); else 0.
    """

    bank: BankShape
    top_k: int | None = None
    vocabulary: int = 0


@dataclass(frozen=True)
class MethodShape:
    """Sizes of one method.

    Args:
        kind: what it is for.
        trained: m; for ``PREDICT`` all held experts count here; 0 for ``TRUNK``.
        frozen: f.
        sequence: S; 0 for ``APPLY``.
        rows: R; of one call for ``ACCUMULATE``; 0 for ``APPLY``.
        batch: B; for ``ACCUMULATE`` of the whole step; 0 for ``APPLY`` and ``TRUNK``, which tell nothing of a text.
        recompute: what is computed twice instead of kept for the backward: ``none``, ``light`` or ``layers``.
        cut: takes the trunk's results instead of token ids.
        parts: calls of ``ACCUMULATE`` that make a batch.
        layers: k, the adapted layers that are trained, counted from the top; of a ``TRUNK`` those of its tier; 0 for
            all L.
    """

    kind: MethodKind
    trained: int
    frozen: int
    sequence: int
    rows: int
    batch: int
    recompute: str = "none"
    cut: bool = False
    parts: int = 1
    layers: int = 0

    @property
    def held(self) -> int:
        """H."""
        return self.trained + self.frozen

    @property
    def places(self) -> int:
        """N."""
        return self.rows * self.sequence

    @property
    def name(self) -> str:
        """Name of the method in programs that export writes."""
        texts = f"s{self.sequence}_r{self.rows}"
        kind = f"{self.kind}_l{self.layers}" if self.layers else str(self.kind)
        if self.kind == MethodKind.TRUNK:
            return f"{kind}_{texts}"
        if self.kind == MethodKind.PREDICT:
            return f"{self.kind}_{texts}_b{self.batch}"
        if self.kind == MethodKind.APPLY:
            return f"{kind}_m{self.trained}"
        saving = "" if self.recompute == "none" else f"_{self.recompute}"
        return f"{kind}_m{self.trained}_f{self.frozen}_{texts}_b{self.batch}{saving}"


def moments(name: str) -> tuple[str, str]:
    """Return the names of AdamW's two moments of a trainable tensor."""
    return f"{name}_m1", f"{name}_m2"


def gradient_sum(name: str) -> str:
    """Return the name of the sum of a trainable tensor's gradients over micro-batches."""
    return f"{name}_sum"


GRADIENT_SUMS: Final = tuple(gradient_sum(name) for name in TRAINABLE)
LEARNED: Final = tuple(name for value in TRAINABLE for name in (value, *moments(value)))
"""Every tensor that a step changes, each followed by its moments."""


def hyper_values(
    step: int,
    learning_rate: float,
    *,
    head_learning_rate: float = 0.0,
    shared_learning_rate: float = 0.0,
    weight_decay: float = 0.0,
) -> tuple[float, ...]:
    """Return the 8 numbers of ``hyper`` for optimizer step ``step``, from 1: rates, decay, bias corrections."""
    values = {
        "learning_rate": learning_rate,
        "head_learning_rate": head_learning_rate,
        "weight_decay": weight_decay,
        "first_correction": 1 / (1 - BETA1**step),
        "second_correction": 1 / (1 - BETA2**step),
        "shared_learning_rate": shared_learning_rate,
    }
    hyper = [0.0] * HYPER_SIZE
    for name, place in HYPER_PLACES.items():
        hyper[place] = values[name]
    return tuple(hyper)


def method_spec(model: ModelShape, method: MethodShape) -> MethodSpec:
    """Return what a method takes and gives, in order."""
    return MethodSpec(input_ports(model, method), output_ports(model, method))


def input_ports(model: ModelShape, method: MethodShape) -> tuple[TensorSpec, ...]:
    """Return a method's inputs in order."""
    text = _text(model, method)
    if method.kind == MethodKind.TRUNK:
        return text
    bank, values, rows = model.bank, _values(model, method), trained_layers(model, method)
    gate = _port(GATE_SCALE, rows, method.held)
    shared = [_port(SHARED, rows, bank.shared_size)] if bank.shared_rank else []
    if method.kind == MethodKind.PREDICT:
        readout = _port(READOUT, method.batch, method.places)
        return (_port(EXPERTS, rows, method.held, bank.expert_size), *shared, *_head(bank), gate, *text, readout)
    steering = (_port(UPDATE_MASK, rows, method.trained), _port(HYPER, HYPER_SIZE))
    if method.kind == MethodKind.APPLY:
        return *values, *_moments(values), *_sums(values), *steering
    frozen = [_port(FROZEN, rows, method.frozen, bank.expert_size)] if method.frozen else []
    balance = [_port(BALANCE_TARGET, rows, method.held), _port(BALANCE_WEIGHT, rows)] if model.top_k else []
    whole = method.kind == MethodKind.TRAIN
    return (
        values[0],
        *frozen,
        *shared,
        *_head(bank),
        *(_moments(values) if whole else _sums(values)),
        gate,
        *(steering if whole else (_port(SHARE, 1),)),
        *balance,
        *text,
        _port(MASK, method.rows, method.sequence),
        *_answers(model, method),
    )


def output_ports(model: ModelShape, method: MethodShape) -> tuple[TensorSpec, ...]:
    """Return a method's outputs in order; one named like an input replaces that input in the next call."""
    bank = model.bank
    if method.kind == MethodKind.PREDICT:
        features = (_port(FEATURES, method.batch, bank.width),) if bank.labels else ()
        return _port(PROBABILITIES, method.batch, bank.labels or model.vocabulary), *features
    if method.kind == MethodKind.TRUNK:
        return _boundary(model, method)
    values = _values(model, method)
    if method.kind == MethodKind.APPLY:
        return *values, *_moments(values)
    told = ROUTER_STATISTICS if model.top_k else ROUTER_STATISTICS[:1]
    logits = (_port(LOGITS, method.batch, bank.labels),) if bank.labels else ()
    changed = (*values, *_moments(values)) if method.kind == MethodKind.TRAIN else _sums(values)
    statistics = (_port(name, trained_layers(model, method), method.held) for name in told)
    return (_port(LOSS, 1), *logits, *statistics, *changed)


def trained_layers(model: ModelShape, method: MethodShape) -> int:
    """Return k: the rows of everything that a method has of each layer."""
    return method.layers or len(model.bank.layers)


def _port(name: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, "float32", shape)


def _text(model: ModelShape, method: MethodShape) -> tuple[TensorSpec, ...]:
    """What a call's texts are, and where they stand."""
    places = (method.rows, method.sequence)
    begin = _boundary(model, method) if method.cut else (*_lower(model, method), TensorSpec(IDS, "int64", places))
    return *begin, TensorSpec(POSITIONS, "int64", places), _port(ATTEND, *places, method.sequence)


def _lower(model: ModelShape, method: MethodShape) -> tuple[TensorSpec, ...]:
    """What stands in the layers below those that are trained; nothing where all are."""
    bank, rows = model.bank, len(model.bank.layers) - trained_layers(model, method)
    shared = [_port(LOWER_SHARED, rows, bank.shared_size)] if bank.shared_rank else []
    return (_port(LOWER_EXPERTS, rows, bank.experts, bank.expert_size), *shared) if rows else ()


def _answers(model: ModelShape, method: MethodShape) -> tuple[TensorSpec, ...]:
    """What the model should say to the texts, and by what a classifier tells them apart."""
    if model.vocabulary:
        places = (method.rows, method.sequence)
        return TensorSpec(TARGETS, "int64", places), _port(WEIGHTS, *places)
    return _port(READOUT, method.batch, method.places), _port(LABELS, method.batch, model.bank.labels)


def _boundary(model: ModelShape, method: MethodShape) -> tuple[TensorSpec, ...]:
    return tuple(_port(name, method.rows, method.sequence, model.bank.width) for name in BOUNDARY)


def _head(bank: BankShape) -> tuple[TensorSpec, ...]:
    return (_port(HEAD, bank.head_size), _port(MEAN, bank.mean_size)) if bank.labels else ()


def _values(model: ModelShape, method: MethodShape) -> tuple[TensorSpec, ...]:
    """Return the trainable tensors that a step has; never none."""
    bank, rows = model.bank, trained_layers(model, method)
    shapes = {
        TRAINED: (rows, method.trained, bank.expert_size),
        **({SHARED: (rows, bank.shared_size)} if bank.shared_rank else {}),
        **({HEAD: (bank.head_size,)} if bank.labels else {}),
    }
    return tuple(_port(name, *shape) for name, shape in shapes.items())


def _moments(values: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(_port(name, *value.shape) for value in values for name in moments(value.name))


def _sums(values: Iterable[TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(_port(gradient_sum(value.name), *value.shape) for value in values)
