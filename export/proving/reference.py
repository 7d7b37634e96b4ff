"""The same model in plain PyTorch: stock modules, hooks, autograd. Slow and independent of how programs are made.

Axes: L adapted layers, H experts held, P values of an expert, r rank, rs shared rank, d width, C labels, B batch,
S sequence length, N = B * S.

It proves packages (``proof``) and becomes the gateway's ONNX program (``onnx_inference``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.program_interface import LOGIT_SCALE, ModelShape
from export.compiling.quantize import fake_quantized
from export.source.backbone import with_head
from export.source.families import Family


class Reference(nn.Module):
    """A stock model whose feed-forwards have experts beside them.

    Args:
        backbone: as ``backbone.load`` gives it, with or without a language head; hooks are set on it.
        family: its row of the table.
        adapted: numbers of the adapted layers.
        model: sizes.
    """

    def __init__(self, backbone: nn.Module, family: Family, adapted: tuple[int, ...], model: ModelShape) -> None:
        super().__init__()
        self.backbone, self.head = with_head(backbone)
        self.model = model
        self.bank: dict[str, Tensor] = {}
        self._extra: dict[int, Tensor] = {}
        self._family = family
        self._without_cache = {"use_cache": False} if family.causal else {}
        stack = self.backbone.get_submodule(family.stack)
        for place, number in enumerate(adapted):
            layer = stack.get_submodule(str(number))
            layer.get_submodule(family.entry).register_forward_pre_hook(self._enter(place))
            layer.get_submodule(family.exit).register_forward_hook(self._leave(place))

    def _enter(self, place: int) -> Any:  # noqa: ANN401 - torch's hook type
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            self._extra[place] = self._experts(args[0], place)

        return hook

    def _leave(self, place: int) -> Any:  # noqa: ANN401
        def hook(_module: nn.Module, _args: tuple[Any, ...], out: Tensor) -> Tensor:
            return out + self._extra[place]

        return hook

    def _experts(self, x: Tensor, place: int) -> Tensor:
        """Return the sum of the experts' outputs, [B, S, d]."""
        model, block, scale = self.model, self.bank[ports.EXPERTS][place], self.bank[ports.GATE_SCALE][place]
        cut = (model.bank.rank + 1) * model.bank.width
        into = block[:, :cut].reshape(-1, model.bank.rank + 1, model.bank.width)
        out = block[:, cut + model.bank.rank :].reshape(-1, model.bank.rank + 1, model.bank.width)
        logits = x @ into[:, model.bank.rank].T
        hidden = torch.einsum("bsd,hrd->bshr", x, into[:, : model.bank.rank]) + block[:, cut : cut + model.bank.rank]
        each = (
            torch.einsum("bshr,hrd->bshd", functional.gelu(hidden), out[:, : model.bank.rank]) + out[:, model.bank.rank]
        )
        total = (each * self._gates(logits, scale).unsqueeze(-1)).sum(-2)
        if not model.bank.shared_rank:
            return total
        values, wide = self.bank[ports.SHARED][place], model.bank.shared_rank * model.bank.width
        down, bias = values[:wide].reshape(-1, model.bank.width), values[wide : wide + model.bank.shared_rank]
        up = values[wide + model.bank.shared_rank :].reshape(-1, model.bank.width)
        return total + functional.gelu(x @ down.T + bias) @ up[:-1] + up[-1]

    def _gates(self, logits: Tensor, scale: Tensor) -> Tensor:
        if self.model.top_k is None:
            return scale * 2 * torch.sigmoid(logits)
        held = (scale > 0).to(logits.dtype)
        probability = torch.softmax(logits + (held - 1) * 1e9, -1)
        floor = probability.topk(self.model.top_k, -1).values[..., -1:]
        kept = probability * (probability >= floor).to(logits.dtype) * held
        return kept if self.model.top_k == 1 else kept / kept.sum(-1, keepdim=True)

    def hidden(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the last hidden state [B, S, d]."""
        config: Any = self.backbone.config
        first = int(config.pad_token_id or 0) + 1 if self._family.after_padding else 0
        positions = torch.arange(first, ids.shape[1] + first).unsqueeze(0)
        blocked = (mask[:, None, None, :] - 1) * 1e4
        if self._family.causal:
            ahead = torch.arange(ids.shape[1])[None, :] > torch.arange(ids.shape[1])[:, None]
            blocked = torch.minimum(blocked, ahead.to(mask.dtype) * -1e4)
        states: Tensor = self.backbone(
            input_ids=ids, attention_mask=blocked, position_ids=positions, **self._without_cache
        ).last_hidden_state
        return states

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit features [B, d]."""
        hidden = self.hidden(ids, mask)
        mean: Tensor = (hidden * mask.unsqueeze(-1)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        return mean * torch.rsqrt((mean * mean).sum(-1, keepdim=True) + 1e-12)

    def token_logits(self, bank: Mapping[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
        """Return the language head's logits [B, S, V] with the experts [L, H, P], shared and gate_scale of ``bank``."""
        self.bank = dict(bank)
        assert self.head is not None  # noqa: S101 - the caller knows the task
        return functional.linear(self.hidden(ids, mask), self.head)

    def logits(self, bank: Mapping[str, Tensor], ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B, C] with the experts [L, H, P], shared, head, mean and gate_scale of ``bank``."""
        self.bank = dict(bank)
        cut = self.model.bank.labels * self.model.bank.width
        weight, bias = bank[ports.HEAD][:cut].reshape(-1, self.model.bank.width), bank[ports.HEAD][cut:]
        return LOGIT_SCALE * ((self.features(ids, mask) - bank[ports.MEAN]) @ weight.T) + bias


class _Rounded(torch.autograd.Function):
    """A linear whose backward multiplies by the transposed weight as that is rounded."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, transposed: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(transposed)
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (transposed,) = ctx.saved_tensors
        return functional.linear(grads[0], transposed), None, None, None


class RoundedLinear(nn.Module):
    """What a quantized program makes of a linear, but for its activations: both weights rounded along their inputs."""

    def __init__(self, linear: nn.Linear, *, int4: bool) -> None:
        super().__init__()
        weight = linear.weight.detach()
        self.weight = fake_quantized(weight, int4=int4)
        self.transposed = fake_quantized(weight.t().contiguous(), int4=int4)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map [.., I] to [.., O]."""
        out: Tensor = _Rounded.apply(x, self.weight, self.transposed, self.bias)  # type: ignore[no-untyped-call]
        return out


def round_both_ways(model: nn.Module, family: Family, *, int4: bool) -> None:
    """Round as ``quantize_in_place``, and the backward's weights as well: the model that a program trains."""
    backbone, _ = with_head(model)
    for name, module in list(backbone.named_modules()):
        if isinstance(module, nn.Linear):
            backbone.set_submodule(name, RoundedLinear(module, int4=int4))
    _round_rows(model, family)


def quantize_in_place(model: nn.Module, family: Family, *, int4: bool = False) -> None:
    """Round the weights that a quantized program rounds, as it rounds them: its forward's view of the backbone.

    A language head is rounded about its mean row (``next_token``), apart from a table that it was tied to.
    """
    backbone, _ = with_head(model)
    for module in backbone.modules():
        if isinstance(module, nn.Linear):
            module.weight.data = fake_quantized(module.weight.data, int4=int4)
    _round_rows(model, family)


def _round_rows(model: nn.Module, family: Family) -> None:
    """Round the table of word embeddings and a language head to int8, which they are in every rounded program."""
    backbone, head = with_head(model)
    table = backbone.get_submodule(family.lookup)
    assert isinstance(table, nn.Embedding)  # noqa: S101 - the table of families says so
    table.weight.data = fake_quantized(table.weight.data)
    if head is not None:
        stock: Any = model
        stock.get_output_embeddings().weight = nn.Parameter(fake_quantized(head - head.mean(0)), requires_grad=False)
