"""Proof that a lowered program computes what plain PyTorch computes: one step, every gradient, the optimizer.

Axes: L adapted layers, m trained slots, P values of an expert, r rank, d width, C labels.

Gradients are read from the program's own first moments: with moments of zero, m1' = (1 - beta1) * gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import (
    BETA1,
    EPSILON,
    TRAINABLE,
    MethodShape,
    ModelShape,
    TensorSpec,
    input_ports,
    output_ports,
)
from export.errors import ProofError
from export.proving.measure import Measurement
from export.proving.packed_texts import Place, draw_places, places_of, text_inputs
from export.proving.reference import Reference

EXACT_LIMIT: Final = 1e-4
"""Relative error of a gradient tensor without quantization."""
INT8_LIMIT: Final = 0.15
"""The same with int8 frozen linears, each kind of tensor taken over all layers (a single router row of a single layer
is a small difference of large sums, and can be off by more)."""
ROUTED_INT8_LIMIT: Final = 0.3
"""In top-k mode: a token whose two best experts are nearly equal goes to another one after rounding."""
OPTIMIZER_LIMIT: Final = 1e-5
"""Relative error of the new values against AdamW computed from the program's own moments."""
HYPER: Final = ports.hyper_values(1, 4e-3, head_learning_rate=4e-4, shared_learning_rate=2e-3, weight_decay=0.01)
"""First step: learning rates, weight decay, bias corrections."""


@dataclass(frozen=True)
class Proof:
    """Largest relative errors against eager PyTorch, and the memory that the run took."""

    gradient_error: float
    loss_error: float
    optimizer_error: float
    gained_mib: float


def proof_inputs(model: ModelShape, method: MethodShape, vocabulary: int, seed: int = 0) -> dict[str, Tensor]:
    """Return inputs in a general position: U is not zero (or half of the gradients are), and the texts are packed.

    Where there are several rows and slots, a row has several texts of different lengths, one row none, and one slot is
    not used.
    """
    generator = torch.Generator().manual_seed(seed)
    inputs: dict[str, Tensor] = {}
    for port in input_ports(model, method):
        inputs[port.name] = _proof_tensor(port, model, vocabulary, generator)
    places = draw_places(method, generator)
    told = text_inputs(places, method, last=bool(model.vocabulary))
    inputs |= {name: tensor for name, tensor in told.items() if name in inputs}
    inputs[ports.IDS] = inputs[ports.IDS] * told[ports.MASK].to(torch.int64)
    if ports.LABELS in inputs:
        inputs[ports.LABELS] = inputs[ports.LABELS] * told[ports.READOUT].sum(1, keepdim=True).round()
    if ports.TARGETS in inputs:
        inputs[ports.TARGETS] = inputs[ports.IDS].roll(-1, 1)
        inputs[ports.WEIGHTS] = told[ports.MASK].clone()
        for place in places:
            inputs[ports.WEIGHTS][place.places][-1] = 0  # nothing follows a text's last token
    return inputs


def _proof_tensor(port: TensorSpec, model: ModelShape, vocabulary: int, generator: torch.Generator) -> Tensor:
    if port.name in (ports.IDS, ports.TARGETS):
        return torch.randint(1, vocabulary, port.shape, generator=generator)
    if port.name == ports.LABELS:
        chosen = torch.randint(0, model.bank.labels, (port.shape[0],), generator=generator)
        return torch.nn.functional.one_hot(chosen, model.bank.labels).to(torch.float32)
    if port.name == ports.BALANCE_TARGET:
        return torch.softmax(torch.randn(port.shape, generator=generator), -1)
    fixed = {
        ports.HYPER: torch.tensor(HYPER),
        ports.GATE_SCALE: torch.ones(port.shape),
        ports.UPDATE_MASK: torch.ones(port.shape),
    }
    fixed[ports.BALANCE_WEIGHT] = torch.zeros(port.shape)  # the auxiliary loss has its own tests
    if port.name in ports.LEARNED and port.name not in TRAINABLE:
        fixed[port.name] = torch.zeros(port.shape)
    spread = 0.01 if port.name == ports.MEAN else 0.04
    return fixed[port.name] if port.name in fixed else torch.randn(port.shape, generator=generator) * spread


def reference_gradients(reference: Reference, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return loss and the gradient of every trainable block by autograd through the stock model, text by text.

    In top-k mode without the auxiliary loss, which has its own tests.
    """
    names = [name for name in TRAINABLE if name in inputs]
    leaves = {name: inputs[name].clone().requires_grad_() for name in names}
    bank = _whole_bank({**inputs, **leaves})
    loss = _language_loss(reference, bank, inputs) if ports.TARGETS in inputs else _label_loss(reference, bank, inputs)
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return loss.detach(), dict(zip(names, gradients, strict=True))


def _whole_bank(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the bank of all layers as the reference takes it: frozen slots behind the trained, lower layers first."""
    held = torch.cat([inputs[name] for name in (ports.TRAINED, ports.FROZEN) if name in inputs], 1)
    layers = {
        ports.EXPERTS: held,
        **{name: inputs[name] for name in (ports.SHARED, ports.GATE_SCALE) if name in inputs},
    }
    if ports.LOWER_EXPERTS in inputs:
        lower = {ports.EXPERTS: inputs[ports.LOWER_EXPERTS], ports.SHARED: inputs.get(ports.LOWER_SHARED)}
        lower[ports.GATE_SCALE] = torch.ones(inputs[ports.LOWER_EXPERTS].shape[:2])
        layers = {name: torch.cat([below, layers[name]]) for name, below in lower.items() if below is not None}
    return layers | {name: inputs[name] for name in (ports.HEAD, ports.MEAN) if name in inputs}


def _label_loss(reference: Reference, bank: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
    total = torch.zeros(())
    for places, ids in _alone(inputs):
        labels = inputs[ports.LABELS][[place.slot for place in places]]
        logits = reference.logits(bank, ids, torch.ones(ids.shape))
        total = total - (labels * torch.log_softmax(logits, -1)).sum()
    return total / inputs[ports.LABELS].sum()


def _language_loss(reference: Reference, bank: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
    total = torch.zeros(())
    for places, ids in _alone(inputs):
        logits = reference.token_logits(bank, ids, torch.ones(ids.shape))
        targets, weights = (
            torch.stack([inputs[name][place.places] for place in places]) for name in (ports.TARGETS, ports.WEIGHTS)
        )
        costs = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        total = total + (costs * weights.flatten()).sum()
    return total / inputs[ports.WEIGHTS].sum()


def _alone(inputs: Mapping[str, Tensor]) -> Iterator[tuple[list[Place], Tensor]]:
    """Yield texts out of their rows and without padding: those of one length n, and their ids [.., n]."""
    by_length: dict[int, list[Place]] = {}
    for place in places_of(inputs):
        by_length.setdefault(place.length, []).append(place)
    for places in by_length.values():
        yield places, torch.stack([inputs[ports.IDS][place.places] for place in places])


def gradient_errors(
    measured: Mapping[str, Tensor], wanted: Mapping[str, Tensor], model: ModelShape, *, by_layer: bool = False
) -> dict[str, float]:
    """Return the relative error (L2) of each gradient tensor: down, router, bias, up, out bias, and so on.

    Args:
        measured: gradients by block.
        wanted: the reference's.
        model: sizes.
        by_layer: one figure for each layer instead of one over all.
    """
    errors = {}
    for name, gradient in wanted.items():
        cuts = _cuts(name, model)
        pairs = zip(
            torch.split(measured[name], list(cuts.values()), -1),
            torch.split(gradient, list(cuts.values()), -1),
            strict=True,
        )
        for part, (a, b) in zip(cuts, pairs, strict=True):
            rows = (
                [(f"{part}.{place}", a[place], b[place]) for place in range(len(a))]
                if by_layer and name != ports.HEAD
                else [(part, a, b)]
            )
            for label, mine, theirs in rows:
                if float(theirs.norm()) > 0:
                    errors[f"{name}.{label}"] = float((mine - theirs).norm() / theirs.norm())
    return errors


def _cuts(name: str, model: ModelShape) -> dict[str, int]:
    """Return the sizes of the parts of a block's last axis."""
    rank, width, shared = model.bank.rank, model.bank.width, model.bank.shared_rank
    if name == ports.HEAD:
        return {"weight": model.bank.labels * width, "bias": model.bank.labels}
    if name == ports.SHARED:
        return {"down": shared * width, "bias": shared, "up": shared * width, "shift": width}
    return {"down": rank * width, "router": width, "bias": rank, "up": rank * width, "shift": width}


def judge(
    inputs: Mapping[str, Tensor],
    ran: Measurement,
    reference: Reference,
    model: ModelShape,
    method: MethodShape,
    *,
    quantize: Quantization,
) -> Proof:
    """Compare one executed training step with eager PyTorch.

    Args:
        inputs: the step's inputs (``proof_inputs``), by name.
        ran: what the program made of them.
        reference: the same model in plain PyTorch.
        model: sizes.
        method: the training method.
        quantize: how the program's weights are rounded; its activations are then int8.

    Raises:
        ProofError: with the numbers, when an error is over its limit.
    """
    worst, loss_error = distance(inputs, ran, reference, model, method)
    outputs = _named(ran, model, method)
    optimizer = max(_optimizer_error(name, outputs, inputs) for name in TRAINABLE if name in inputs)
    rounded = ROUTED_INT8_LIMIT if model.top_k else INT8_LIMIT
    limit = EXACT_LIMIT if quantize == Quantization.NONE else rounded
    if not worst <= limit or not optimizer <= OPTIMIZER_LIMIT:
        raise ProofError(
            f"the program's gradients differ from eager PyTorch's by {worst:.2e} (limit {limit:.0e}), its AdamW by"
            f" {optimizer:.2e} (limit {OPTIMIZER_LIMIT:.0e}); nothing was written"
        )
    return Proof(worst, loss_error, optimizer, ran.gained_mib)


def distance(
    inputs: Mapping[str, Tensor], ran: Measurement, reference: Reference, model: ModelShape, method: MethodShape
) -> tuple[float, float]:
    """Return how far an executed step's gradients (the worst kind of tensor) and loss are from a reference's."""
    outputs = _named(ran, model, method)
    loss, gradients = reference_gradients(reference, inputs)
    errors = gradient_errors(
        {name: outputs[ports.moments(name)[0]] / (1 - BETA1) for name in gradients}, gradients, model
    )
    if model.top_k:
        errors.pop("trained.router", None)  # the z-loss reaches these rows, which the reference leaves out
    return max(errors.values()), float((outputs[ports.LOSS][0] - loss).abs() / loss.abs().clamp(min=1e-6))


def _named(ran: Measurement, model: ModelShape, method: MethodShape) -> dict[str, Tensor]:
    return dict(zip([port.name for port in output_ports(model, method)], ran.outputs, strict=True))


def _optimizer_error(name: str, outputs: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> float:
    hyper = inputs[ports.HYPER].double()
    rate, places = hyper[ports.RATE_PLACES[name]], ports.HYPER_PLACES
    first, second = (outputs[moment].double() for moment in ports.moments(name))
    value = inputs[name].double()
    unbiased = first * hyper[places["first_correction"]]
    direction = unbiased / ((second * hyper[places["second_correction"]]).sqrt() + EPSILON)
    wanted = value - rate * (direction + hyper[places["weight_decay"]] * value)
    return float((outputs[name].double() - wanted).norm() / (wanted - value).norm().clamp(min=1e-12))
