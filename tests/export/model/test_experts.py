"""Stacked experts against a loop over experts, and the balance loss against its formulas."""

from __future__ import annotations

import pytest
import torch
from loop_experts import routed, shared, soft
from torch import Tensor

from export.model.bank_layout import LayerBank, Leaves, block_gradients, layer_banks
from export.model.experts import Balance, Mixture, balance_loss, mixture, topk_gate

TOKENS, WIDTH, RANK, SHARED_RANK, TRAINED, FROZEN = 7, 10, 3, 2, 2, 3
BLOCK = 2 * (RANK + 1) * WIDTH + RANK


def _draw(*shape: int, seed: int = 0, spread: float = 0.5) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape))) * spread


def _bank(trained: Tensor, frozen: Tensor | None, own: Tensor | None, scale: Tensor) -> LayerBank:
    parts = (None if part is None else part.unsqueeze(0) for part in (frozen, own))
    sizes = RANK, 0 if own is None else SHARED_RANK, WIDTH
    return layer_banks(trained.unsqueeze(0), *parts, scale.unsqueeze(0), sizes)[0]


def _mix(  # noqa: PLR0917 - what a layer has
    x: Tensor, trained: Tensor, frozen: Tensor | None, own: Tensor | None, scale: Tensor, top_k: int | None = None
) -> Mixture:
    share = torch.full((1, len(x)), 1 / len(x))
    return mixture(x.unsqueeze(0), _bank(trained, frozen, own, scale), share, top_k, None)


@pytest.fixture
def x() -> Tensor:
    """Return tokens [N, d]."""
    return _draw(TOKENS, WIDTH, seed=1, spread=1.0)


@pytest.fixture
def trained() -> Tensor:
    """Return trained blocks [m, P]."""
    return _draw(TRAINED, BLOCK, seed=2)


@pytest.fixture
def frozen() -> Tensor:
    """Return frozen blocks [f, P]."""
    return _draw(FROZEN, BLOCK, seed=3)


@pytest.fixture
def own() -> Tensor:
    """Return a shared expert's block [Ps]."""
    return _draw((2 * SHARED_RANK + 1) * WIDTH + SHARED_RANK, seed=4)


def test_soft_gates_equal_a_loop_over_experts_and_tokens(x: Tensor, trained: Tensor, frozen: Tensor) -> None:
    """Two GEMMs over stacked experts make what the formula makes one expert at a time."""
    scale = torch.tensor([1.0, 1.6, 0.0, 1.0, 0.5])
    mixed = _mix(x, trained, frozen, None, scale)
    torch.testing.assert_close(mixed.out[0], soft(x, torch.cat([trained, frozen]), scale, RANK), rtol=1e-4, atol=1e-5)


def test_shared_expert_is_added_without_a_gate(x: Tensor, trained: Tensor, own: Tensor) -> None:
    """The always-on expert adds its output whatever the gates are."""
    scale = torch.ones(TRAINED)
    mixed = _mix(x, trained, None, own, scale)
    wanted = soft(x, trained, scale, RANK) + shared(x, own, SHARED_RANK)
    torch.testing.assert_close(mixed.out[0], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_topk_routing_equals_a_loop(x: Tensor, trained: Tensor, frozen: Tensor, top_k: int) -> None:
    """Dense masking chooses the same experts with the same gates as sorting token by token; empty slots never count."""
    scale = torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0])
    mixed = _mix(x, trained, frozen, None, scale, top_k)
    wanted, chosen = routed(x, torch.cat([trained, frozen]), scale, RANK, top_k)
    torch.testing.assert_close(mixed.out[0], wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(mixed.usage, chosen.mean(0))
    assert mixed.usage[2] == 0


def test_topk_with_all_slots_chosen_is_a_plain_softmax_mixture() -> None:
    """With k = m nothing is dropped, and gates sum to one."""
    gate, chosen, probability = topk_gate(_draw(5, 3, seed=5), torch.ones(3), 3)
    torch.testing.assert_close(gate, probability)
    assert chosen.min() == 1


def test_one_chosen_expert_keeps_its_probability_so_that_the_router_learns() -> None:
    """With k = 1 the gate is the probability itself: renormalized it would be 1 and pass no gradient."""
    logits = _draw(4, 3, seed=6).requires_grad_()
    gate, _, probability = topk_gate(logits, torch.ones(3), 1)
    torch.testing.assert_close(gate.amax(1), probability.amax(1))
    (slope,) = torch.autograd.grad(gate.sum(), logits)
    assert slope.abs().max() > 1e-3


@pytest.mark.parametrize("top_k", [None, 2])
def test_gradients_equal_those_of_the_loop(
    x: Tensor, trained: Tensor, frozen: Tensor, own: Tensor, top_k: int | None
) -> None:
    """Hand-written backward rules against autograd through the loop: inputs, trained blocks, shared block."""
    scale, weights = torch.tensor([1.0, 1.6, 1.0, 0.7, 1.0]), _draw(TOKENS, WIDTH, seed=8)
    leaves = [tensor.clone().requires_grad_() for tensor in (x, trained, own)]
    out = _mix(leaves[0], leaves[1], frozen, leaves[2], scale, top_k).out
    gradients = torch.autograd.grad((out * weights).sum(), leaves)
    again = [tensor.clone().requires_grad_() for tensor in (x, trained, own)]
    blocks = torch.cat([again[1], frozen])
    plain = soft(again[0], blocks, scale, RANK) if top_k is None else routed(again[0], blocks, scale, RANK, top_k)[0]
    wanted = torch.autograd.grad(((plain + shared(again[0], again[2], SHARED_RANK)) * weights).sum(), again)
    for one, other in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_padding_counts_in_no_statistic(x: Tensor, trained: Tensor) -> None:
    """Usage is a mean over real tokens: a padded token's gate does not move it."""
    bank = _bank(trained, None, None, torch.ones(TRAINED))
    share = torch.tensor([[1 / 3] * 3 + [0.0] * (TOKENS - 3)])
    one = mixture(x.unsqueeze(0), bank, share, None, None).usage
    changed = x.clone()
    changed[3:] += 5
    assert torch.equal(one, mixture(changed.unsqueeze(0), bank, share, None, None).usage)


def test_balance_loss_is_kl_of_the_target_and_a_penalty_on_logits() -> None:
    """Lambda * sum q log(q / P) + 1e-3 * mean logsumexp^2, with P the mean probability of the real tokens."""
    x, router = _draw(4, WIDTH, seed=9, spread=1.0), _draw(3, WIDTH, seed=10)
    share = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    target = torch.tensor([0.5, 0.3, 0.2])
    loss = balance_loss(x, router, torch.ones(3), share, Balance(target, torch.tensor([0.07])))
    logits = x[:2] @ router.T
    mean = torch.softmax(logits, -1).mean(0)
    wanted = 0.07 * (target * (target / mean).log()).sum() + 1e-3 * torch.logsumexp(logits, -1).square().mean()
    torch.testing.assert_close(loss, wanted.reshape(1))


def test_balance_gradient_is_the_formula_of_the_design() -> None:
    """d/dz_ti = -(lambda/T) p_ti [q_i/P_i - sum_j p_tj q_j/P_j], and the z-loss' 2e-3/T lse_t p_ti."""
    x, count = torch.eye(5), 5  # with one-hot tokens, router^T is the table of logits
    logits = _draw(5, 3, seed=11, spread=1.0)
    target, weight = torch.tensor([0.6, 0.3, 0.1]), 0.05
    router = logits.T.clone().requires_grad_()
    share = torch.full((1, count), 1 / count)
    loss = balance_loss(x, router, torch.ones(3), share, Balance(target, torch.tensor([weight])))
    (gradient,) = torch.autograd.grad(loss.sum(), router)
    p = torch.softmax(logits, -1)
    ratio = target / p.mean(0)
    pull = -(weight / count) * p * (ratio - (p * ratio).sum(-1, keepdim=True))
    penalty = 2e-3 / count * torch.logsumexp(logits, -1, keepdim=True) * p
    torch.testing.assert_close(gradient.T, pull + penalty, rtol=1e-4, atol=1e-7)


def test_balance_still_pulls_on_a_dead_expert() -> None:
    """At logit -10 the pull is lambda * q (here 0.125 for lambda 1): forward KL does not let an expert die."""
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -10.0]])
    router = logits.T.clone().requires_grad_()
    target = torch.full((8,), 1 / 8)
    loss = balance_loss(torch.ones(1, 1), router, torch.ones(8), torch.ones(1, 1), Balance(target, torch.ones(1)))
    (gradient,) = torch.autograd.grad(loss.sum(), router)
    assert float(gradient[-1]) == pytest.approx(-0.125, abs=1e-3)


def test_balance_is_nothing_with_one_occupied_slot() -> None:
    """One expert cannot be out of balance: no loss, and its router row gets no gradient."""
    router = _draw(3, WIDTH, seed=12).requires_grad_()
    scale, target = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])
    share = torch.full((1, 4), 0.25)
    loss = balance_loss(_draw(4, WIDTH, seed=13), router, scale, share, Balance(target, torch.ones(1)))
    (gradient,) = torch.autograd.grad(loss.sum(), router)
    assert float(loss) == 0
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("shared_rank", [0, SHARED_RANK])
def test_sorted_rows_come_back_as_blocks(shared_rank: int) -> None:
    """What is cut out of the blocks of all layers and put together again is the same bytes, kind by kind."""
    blocks = torch.arange(2.0 * TRAINED * BLOCK).reshape(2, TRAINED, BLOCK)
    own = (
        torch.arange(2.0 * ((2 * shared_rank + 1) * WIDTH + shared_rank)).reshape(2, -1) - 1e4 if shared_rank else None
    )
    frozen = torch.full((2, FROZEN, BLOCK), -1.0)
    banks = layer_banks(blocks, frozen, own, torch.ones(2, TRAINED + FROZEN), (RANK, shared_rank, WIDTH))
    for place, bank in enumerate(banks):
        routers = blocks[place, :, RANK * WIDTH : (RANK + 1) * WIDTH]  # the row after the down rows
        assert torch.equal(bank.into[0, :TRAINED], routers)
        assert bank.into.shape == (1, shared_rank + (TRAINED + FROZEN) * (RANK + 1), WIDTH)
        assert (bank.into[0, -FROZEN * (RANK + 1) :] == -1).all()
        assert (bank.bias[0, :TRAINED] == 0).all()
    again = block_gradients(banks[0].slots, [Leaves(*vars(bank.leaves).values()) for bank in banks])
    assert torch.equal(again["trained"], blocks)
    assert ("shared" in again) == bool(shared_rank)
    if own is not None:
        assert torch.equal(again["shared"], own)
