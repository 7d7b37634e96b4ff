"""Sizes of a model and of its methods, and the methods' inputs and outputs by name. No torch.

Axes: L adapted layers, m trained and f frozen slots, H = m + f, P values of an expert, Ps of a shared expert, C labels,
d width, B batch, S sequence length, V vocabulary of a language head.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

BETA1: Final = 0.9
BETA2: Final = 0.999
EPSILON: Final = 1e-8
LOGIT_SCALE: Final = 20.0
"""Logits are this times the product of a unit feature with the head."""
HYPER: Final = 8
"""lr, head_lr, weight_decay, 1/(1-b1^t), 1/(1-b2^t), shared_lr, two spare."""
TRAINABLE: Final = ("trained", "shared", "head")
GROUP: Final = 32
"""Inputs of a 4-bit weight that share a scale: the fewest that XNNPACK takes, so the finest rounding."""
BOUNDARY: Final = ("prefix", "residual")
"""What a trunk gives and a cut training method takes, [B, S, d] each: the input of the lowest adapted layer's
feed-forward, and the sum that the experts' output is added to there."""


@dataclass(frozen=True)
class Port:
    """One input or output of a method: name, dtype (``float32`` or ``int64``) and shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelShape:
    """Sizes that all methods of a package share.

    Args:
        layers: L, adapted layers.
        experts: M.
        width: d.
        rank: r.
        shared_rank: rs; 0 means no shared expert.
        labels: C.
        top_k: k in top-k mode, None for soft gates.
        vocabulary: V, rows of the language head of a model that continues texts (which has no labels); else 0.
    """

    layers: int
    experts: int
    width: int
    rank: int
    shared_rank: int
    labels: int
    top_k: int | None
    vocabulary: int = 0

    @property
    def block(self) -> int:
        """P."""
        return 2 * (self.rank + 1) * self.width + self.rank

    @property
    def shared_block(self) -> int:
        """Ps; 0 without shared experts."""
        return (2 * self.shared_rank + 1) * self.width + self.shared_rank if self.shared_rank else 0

    @property
    def head(self) -> int:
        """Values of the head."""
        return self.labels * (self.width + 1)


@dataclass(frozen=True)
class MethodShape:
    """Sizes of one method.

    Args:
        kind: ``train``, ``predict``, or the two halves of a step in micro-batches: ``accumulate`` adds a micro-batch's
            gradients to their sums, ``apply`` makes the optimizer's step with the sums (S = B = 0); ``trunk`` is
            what stands below the lowest adapted layer's experts and depends on the text only.
        trained: m; for ``predict`` all held experts count here; 0 for ``trunk``.
        frozen: f.
        sequence: S.
        batch: B; of a micro-batch for ``accumulate``.
        recompute: what is computed twice instead of kept for the backward: ``none``, ``light`` or ``layers``.
        parts: calls of ``accumulate`` that make a batch.
        cut: takes the trunk's results instead of token ids.
    """

    kind: str
    trained: int
    frozen: int
    sequence: int
    batch: int
    recompute: str = "none"
    cut: bool = False
    parts: int = 1

    @property
    def held(self) -> int:
        """H."""
        return self.trained + self.frozen

    def uncut(self, model: ModelShape) -> MethodShape:
        """Return the method that takes ids, which this one is a part of; a trunk is a part of the inference."""
        if self.kind == "trunk":
            return replace(self, kind="predict", trained=model.experts)
        return replace(self, cut=False)

    @property
    def name(self) -> str:
        """Name of the method in the program."""
        if self.kind in ("predict", "trunk"):
            return f"{self.kind}_s{self.sequence}"
        if self.kind == "apply":
            return f"apply_m{self.trained}"
        saving = "" if self.recompute == "none" else f"_{self.recompute}"
        return f"{self.kind}_m{self.trained}_f{self.frozen}_s{self.sequence}_b{self.batch}{saving}"


def trunk_of(method: MethodShape) -> MethodShape:
    """Return the trunk of a cut method: one text at a time, so that a text's prefix depends on no other."""
    return MethodShape("trunk", 0, 0, method.sequence, 1)


def halves(train: MethodShape, parts: int) -> tuple[MethodShape, MethodShape]:
    """Return the methods ``accumulate`` and ``apply`` that make a step of ``train`` in ``parts`` micro-batches."""
    micro = replace(train, kind="accumulate", batch=train.batch // parts, parts=parts)
    return micro, MethodShape("apply", train.trained, 0, 0, 0)


def whole(micro: MethodShape) -> MethodShape:
    """Return the method that an ``accumulate`` is a part of."""
    return replace(micro, kind="train", batch=micro.batch * micro.parts, parts=1)


def input_ports(model: ModelShape, method: MethodShape) -> tuple[Port, ...]:
    """Return a method's inputs in order."""
    text = (method.batch, method.sequence)
    gate = _port("gate_scale", model.layers, method.held)
    given = _boundary(model, method) if method.cut else (Port("ids", "int64", text),)
    tail = [*given, _port("mask", *text)]
    if method.kind == "trunk":
        return tuple(tail)
    if method.kind == "predict":
        held = (model.layers, method.held, model.block)
        shared = [_port("shared", model.layers, model.shared_block)] if model.shared_rank else []
        return (_port("experts", *held), *shared, *_head(model), gate, *tail)
    values = _values(model, method)
    frozen = [_port("frozen", model.layers, method.frozen, model.block)] if method.frozen else []
    shared = [values["shared"]] if model.shared_rank else []
    moments = _moments(values)
    masks = [_port("update_mask", model.layers, method.trained), _port("hyper", HYPER)]
    if method.kind == "apply":
        return *values.values(), *moments, *_sums(values), *masks
    at_once = method.kind == "train"
    balance = [_port("balance_target", model.layers, method.held), _port("balance_weight", model.layers)]
    return (
        values["trained"],
        *frozen,
        *shared,
        *_head(model),
        *(moments if at_once else _sums(values)),
        gate,
        *(masks if at_once else [_port("share", 1)]),
        *(balance if model.top_k else []),
        *tail,
        *((Port("targets", "int64", text), _port("weights", *text)) if model.vocabulary else ()),
        *((_port("labels", method.batch, model.labels),) if model.labels else ()),
    )


def output_ports(model: ModelShape, method: MethodShape) -> tuple[Port, ...]:
    """Return a method's outputs in order; one named like an input replaces that input in the next call."""
    if method.kind == "predict":
        features = (_port("features", 1, model.width),) if model.labels else ()
        return _port("probabilities", 1, model.labels or model.vocabulary), *features
    if method.kind == "trunk":
        return _boundary(model, method)
    values = _values(model, method)
    if method.kind == "apply":
        return *values.values(), *_moments(values)
    statistics = [_port("usage", model.layers, method.held)]
    if model.top_k:
        statistics.append(_port("affinity", model.layers, method.held))
    moved = [*values.values(), *_moments(values)] if method.kind == "train" else _sums(values)
    logits = (_port("logits", method.batch, model.labels),) if model.labels else ()
    return (_port("loss", 1), *logits, *statistics, *moved)


def _head(model: ModelShape) -> tuple[Port, ...]:
    return (_port("head", model.head), _port("mean", model.width)) if model.labels else ()


def _moments(values: dict[str, Port]) -> list[Port]:
    return [_port(f"{port.name}_m{order}", *port.shape) for port in values.values() for order in (1, 2)]


def _sums(values: dict[str, Port]) -> list[Port]:
    return [_port(f"{port.name}_sum", *port.shape) for port in values.values()]


def _boundary(model: ModelShape, method: MethodShape) -> tuple[Port, ...]:
    return tuple(_port(name, method.batch, method.sequence, model.width) for name in BOUNDARY)


def _port(name: str, *shape: int) -> Port:
    return Port(name, "float32", shape)


def _values(model: ModelShape, method: MethodShape) -> dict[str, Port]:
    ports = {"trained": _port("trained", model.layers, method.trained, model.block)}
    if model.shared_rank:
        ports["shared"] = _port("shared", model.layers, model.shared_block)
    if model.labels:
        ports["head"] = _port("head", model.head)
    return ports
