"""The training step and the prediction as functions of tensors: loss, gradients, AdamW and router statistics inside.

Axes: L adapted layers, k of them trained, the upper ones (all, but in a tier of fewer layers), m trained and f frozen
slots, H = m + f, P values of an expert, Ps of a shared expert, C labels, d width, B texts at most, R rows of S places,
N = R*S places.

Trainable tensors are inputs and outputs, so one program serves any experts in its slots. A step knows nothing of
modules: ``Network`` gives hidden states, the rest is arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.program_interface import (
    BETA1,
    BETA2,
    EPSILON,
    LOGIT_SCALE,
    TRAINABLE,
    MethodKind,
    MethodShape,
    ModelShape,
    input_ports,
    output_ports,
)
from export.model.bank_layout import LayerBank, Leaves, block_gradients, layer_banks
from export.model.experts import Balance, matmul
from export.model.frozen import row_sum
from export.model.graft import Graft, Traffic
from export.provenance import within

Function = Callable[..., tuple[Tensor, ...]]
LEAST_PROBABILITY: Final = 1e-37
"""Above float32's smallest normal number: kernels that flush smaller ones to zero keep it."""


def build_step(graft: Graft, model: ModelShape, method: MethodShape) -> Function:
    """Return the function of a method; arguments and results are ordered as its ports."""
    names = [port.name for port in input_ports(model, method)]
    results = [port.name for port in output_ports(model, method)]
    body = _BODIES[method.kind]

    def step(*tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(names, tensors, strict=True))
        outputs = body(graft, model, inputs)
        return tuple(outputs[name] for name in results)

    return step


def _predict(graft: Graft, model: ModelShape, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = layer_banks(inputs[ports.EXPERTS], None, inputs.get(ports.SHARED), inputs[ports.GATE_SCALE], _sizes(model))
    every = torch.ones(1, inputs[ports.IDS].numel())  # the router's statistics are not told: any weights will do
    hidden = _hidden(graft, inputs, Traffic([*_lower_banks(model, inputs), *own], {}, every, model.top_k))
    with within("head"):
        states = read_out(hidden, inputs[ports.READOUT])
        if model.vocabulary:
            return {ports.PROBABILITIES: graft.head.probabilities(states)}
        cut = model.bank.labels * model.bank.width
        features = unit(states)
        weight = inputs[ports.HEAD][:cut].reshape(model.bank.labels, model.bank.width)
        logits = classify(features, weight, inputs[ports.HEAD][cut:], inputs[ports.MEAN])
        return {ports.PROBABILITIES: torch.softmax(logits, dim=-1), ports.FEATURES: features}


def _sizes(model: ModelShape) -> tuple[int, int, int]:
    return model.bank.rank, model.bank.shared_rank, model.bank.width


def _lower_banks(model: ModelShape, inputs: Mapping[str, Tensor]) -> list[LayerBank]:
    """Return the layers below those that are trained: every expert runs, none learns."""
    experts = inputs.get(ports.LOWER_EXPERTS)
    if experts is None:
        return []
    return layer_banks(experts, None, inputs.get(ports.LOWER_SHARED), torch.ones(experts.shape[:2]), _sizes(model))


def _hidden(graft: Graft, inputs: Mapping[str, Tensor], traffic: Traffic) -> Tensor:
    return graft.hidden(inputs[ports.IDS], inputs[ports.POSITIONS], inputs[ports.ATTEND], traffic)


def token_share(mask: Tensor) -> Tensor:
    """Return weights [1, N] of the mean over real tokens for a mask [R, S]."""
    flat = mask.reshape(1, -1)
    return flat / row_sum(flat).clamp(min=1.0)


def read_out(hidden: Tensor, readout: Tensor) -> Tensor:
    """Return each text's state [B, d] of hidden states [R, S, d], by its weights on the places, [B, N]."""
    return matmul(readout, hidden.reshape(-1, hidden.shape[-1]))


def unit(states: Tensor) -> Tensor:
    """Return features [B, d]: states, L2-normalized; 0 where a state is 0, as an unused slot's is."""
    return states * torch.rsqrt(row_sum(states * states) + 1e-12)


def classify(features: Tensor, weight: Tensor, bias: Tensor, mean: Tensor) -> Tensor:
    """Return logits [B, C] = 20 * (features [B, d] - mean [d]) weight^T [d, C] + bias [C]."""
    return matmul(features - mean, weight.t()) * LOGIT_SCALE + bias


def _train(graft: Graft, model: ModelShape, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    outputs, gradients = _gradients(graft, model, inputs)
    return outputs | _optimized(gradients, inputs)


def _accumulate(graft: Graft, model: ModelShape, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add a micro-batch's gradients, times its share of the batch, to the sums.

    The loss is a weighted mean, so the sums end as the gradients of the whole batch. The auxiliary loss of top-k mode
    is no mean: its targets are then held against each micro-batch's own traffic.
    """
    outputs, gradients = _gradients(graft, model, inputs)
    with within("optimizer"):
        return outputs | {
            ports.gradient_sum(name): inputs[ports.gradient_sum(name)] + one * inputs[ports.SHARE]
            for name, one in gradients.items()
        }


def _apply(graft: Graft, model: ModelShape, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    del graft, model
    return _optimized({name: inputs[ports.gradient_sum(name)] for name in TRAINABLE if name in inputs}, inputs)


def _optimized(gradients: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    outputs: dict[str, Tensor] = {}
    with within("optimizer"):
        for name, gradient in gradients.items():
            outputs |= _adamw(name, gradient, inputs)
    return outputs


def _gradients(
    graft: Graft, model: ModelShape, inputs: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the task's loss, logits and statistics; and each trainable block's gradient, auxiliary losses included."""
    with within("experts"):
        held = inputs[ports.TRAINED], inputs.get(ports.FROZEN), inputs.get(ports.SHARED)
        banks = [_leaf(bank) for bank in layer_banks(*held, inputs[ports.GATE_SCALE], _sizes(model))]
        head = _head_leaves(model, inputs)
    flat = [part for bank in banks for part in vars(bank.leaves).values()]
    with torch.enable_grad():
        loss, auxiliary, logits, statistics = _loss(graft, model, inputs, banks, head)
        gradients = torch.autograd.grad(sum(auxiliary, loss), [*flat, *head])
    outputs = {ports.LOSS: loss.detach().reshape(1), **statistics}
    if logits is not None:
        outputs[ports.LOGITS] = logits.detach()
    with within("optimizer"):
        layers = [Leaves(*gradients[place : place + 3]) for place in range(0, len(flat), 3)]
        by_block = block_gradients(banks[0].slots, layers)
        if head:
            by_block[ports.HEAD] = torch.cat([part.reshape(-1) for part in gradients[len(flat) :]])
    return outputs, by_block


def _leaf(bank: LayerBank) -> LayerBank:
    """Let gradients be taken of a layer's trained rows."""
    rows = {name: tensor.detach().requires_grad_() for name, tensor in vars(bank.leaves).items()}
    return replace(bank, leaves=Leaves(**rows))


def _head_leaves(model: ModelShape, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Return a classifier's weight [C, d] and bias [C], of which gradients are taken."""
    if not model.bank.labels:
        return []
    cut = model.bank.labels * model.bank.width
    parts = inputs[ports.HEAD][:cut].reshape(model.bank.labels, model.bank.width), inputs[ports.HEAD][cut:]
    return [part.detach().requires_grad_() for part in parts]


def _loss(
    graft: Graft, model: ModelShape, inputs: Mapping[str, Tensor], banks: list[LayerBank], head: list[Tensor]
) -> tuple[Tensor, list[Tensor], Tensor | None, dict[str, Tensor]]:
    """Return the task's loss, auxiliary losses, logits [B, C] of a classifier and the router's statistics [k, H].

    The losses are scalars. What is auxiliary (top-k only: balance and z-loss) gives gradients and is never told, for a
    perplexity is the exponential of the task's loss.
    """
    with within("experts"):
        lower = _lower_banks(model, inputs)
    balances = {
        len(lower) + p: Balance(inputs[ports.BALANCE_TARGET][p], inputs[ports.BALANCE_WEIGHT][p : p + 1])
        for p in range(len(banks) if model.top_k else 0)
    }
    traffic = Traffic([*lower, *banks], balances, token_share(inputs[ports.MASK]), model.top_k)
    hidden = _hidden(graft, inputs, traffic)
    logits: Tensor | None = None
    with within("head"):
        if model.vocabulary:
            loss = graft.head.loss(hidden, inputs[ports.TARGETS], inputs[ports.WEIGHTS])
        else:
            features = unit(read_out(hidden, inputs[ports.READOUT]))
            logits = classify(features, head[0], head[1], inputs[ports.MEAN])
            loss = cross_entropy(logits, inputs[ports.LABELS])
    mixtures = [traffic.mixtures[len(lower) + place] for place in range(len(banks))]
    statistics = {ports.USAGE: torch.stack([one.usage for one in mixtures])}
    if model.top_k:
        statistics[ports.AFFINITY] = torch.stack([one.affinity for one in mixtures if one.affinity is not None])
    auxiliary = [one.balance.reshape(()) for one in mixtures if one.balance is not None]
    return loss.reshape(()), auxiliary, logits, statistics


class _CrossEntropy(torch.autograd.Function):
    """Sum of weighted cross-entropies / sum of weights, [1], by way of the softmax, which has a kernel of its own.

    dlogits = (softmax * weight - labels) / sum of weights, whatever the loss: that one ends at 87 (log of the smallest
    float32) where a label has no probability left.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor) -> Tensor:  # noqa: ANN401
        share = torch.softmax(logits, dim=-1)
        weights = row_sum(labels)  # [B, 1]
        total = row_sum(weights.reshape(1, -1)).clamp(min=1e-12)
        costs = row_sum(labels * torch.log(share.clamp(min=LEAST_PROBABILITY)))
        ctx.save_for_backward(share, labels, weights, total)
        return (-row_sum(costs.reshape(1, -1)) / total).reshape(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        share, labels, weights, total = ctx.saved_tensors
        return (share * weights - labels) * (grads[0].reshape(1, 1) / total), None


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return sum of weighted cross-entropies / sum of weights, [1]; ``labels`` [B, C] are one-hot times the weight."""
    loss: Tensor = _CrossEntropy.apply(logits, labels)  # type: ignore[no-untyped-call]
    return loss


def _adamw(name: str, gradient: Tensor, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """AdamW (Loshchilov & Hutter, arXiv 1711.05101); a slot whose update_mask is 0 keeps every bit, moments too.

    What is one number, or one of a slot, is multiplied first: in a step of short texts each pass over a block counts.
    With corrections c1 and c2, lr c1 m / (sqrt(c2 v) + eps) = (lr c1 / sqrt(c2)) m / (sqrt(v) + eps / sqrt(c2)).
    """
    hyper = inputs[ports.HYPER]
    rate = hyper[ports.RATE_PLACES[name] :][:1]
    first_name, second_name = ports.moments(name)
    value, first, second = inputs[name], inputs[first_name], inputs[second_name]
    first_share, second_share = torch.full((1,), 1.0 - BETA1), torch.full((1,), 1.0 - BETA2)
    if name == ports.TRAINED:
        moves = inputs[ports.UPDATE_MASK].unsqueeze(-1)
        first_share, second_share, rate = moves * first_share, moves * second_share, moves * rate
    first = first + (gradient - first) * first_share
    second = second + (gradient * gradient - second) * second_share
    shrink = torch.rsqrt(_one(hyper, "second_correction"))
    direction = first / (torch.sqrt(second) + shrink * EPSILON)
    pace = rate * (shrink * _one(hyper, "first_correction"))
    kept = 1.0 - rate * _one(hyper, "weight_decay")
    return {name: value * kept - direction * pace, first_name: first, second_name: second}


def _one(hyper: Tensor, name: str) -> Tensor:
    place = ports.HYPER_PLACES[name]
    return hyper[place : place + 1]


_BODIES: Final = {
    MethodKind.TRAIN: _train,
    MethodKind.PREDICT: _predict,
    MethodKind.ACCUMULATE: _accumulate,
    MethodKind.APPLY: _apply,
}
