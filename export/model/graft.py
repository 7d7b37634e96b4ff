"""Graft experts onto a stock Hugging Face model: one mechanism, one table row for each family.

Every ``nn.Linear``, layer norm, GELU and embedding is replaced by its frozen stand-in (``frozen``). Then, in each
adapted layer, two taps are set: one reads the feed-forward's input and runs the experts, the other adds their result to
the feed-forward's output. The model's own forward is never rewritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from export.model.attention import attention
from export.model.bank_layout import LayerBank
from export.model.decoder_parts import FrozenRmsNorm, Silu, is_rms_norm
from export.model.experts import Balance, Mixture, mixture
from export.model.frozen import FrozenEmbedding, FrozenLayerNorm, FrozenLinear, Gelu
from export.model.language_head import LanguageHead
from export.model.positions import FrozenPositions, FrozenRotary
from export.provenance import watch, within
from export.source.backbone import with_head
from export.source.families import Family


@dataclass
class Traffic:
    """What the taps read and leave behind during one forward.

    Args:
        banks: parameters by place among the adapted layers.
        balances: inputs of the auxiliary loss by place, for the layers that are trained; empty in soft mode.
        share: [1, N] weights of the mean over real tokens.
        top_k: k, or None for soft gates.
    """

    banks: list[LayerBank]
    balances: dict[int, Balance]
    share: Tensor
    top_k: int | None
    mixtures: dict[int, Mixture] = field(default_factory=dict)


class _Entry(nn.Module):
    """Reads the feed-forward's input, runs the layer's experts on it, and passes it on."""

    def __init__(self, inner: nn.Module, place: int, graft: Graft) -> None:
        super().__init__()
        self.inner = inner
        self._place = place
        self._graft = graft

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call the wrapped module unchanged."""
        traffic = self._graft.traffic
        if traffic is not None:
            place = self._place
            balance = traffic.balances.get(place)
            with within("experts"):
                traffic.mixtures[place] = mixture(_flat(x), traffic.banks[place], traffic.share, traffic.top_k, balance)
        return self.inner(x, *args, **kwargs)


class _Exit(nn.Module):
    """Adds what the layer's experts made to the feed-forward's output."""

    def __init__(self, inner: nn.Module, place: int, graft: Graft) -> None:
        super().__init__()
        self.inner = inner
        self._place = place
        self._graft = graft

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Call the wrapped module and add the experts' output, of the same shape."""
        out = self.inner(*args, **kwargs)
        traffic = self._graft.traffic
        return out if traffic is None else out + traffic.mixtures[self._place].out.reshape(out.shape)


class Graft:
    """A stock model with frozen stand-ins and taps.

    Args:
        model: as ``backbone.load`` gives it, with or without a language head; changed in place.
        family: its row in the table of families.
        layers: numbers of the layers that get experts, ascending.
        quantize_embedding: keep the table of word embeddings as int8.
    """

    def __init__(self, model: nn.Module, family: Family, layers: tuple[int, ...], *, quantize_embedding: bool) -> None:
        self.family = family
        stock, weight = with_head(model)
        self.model = stock
        self.traffic: Traffic | None = None
        _freeze(stock, int8=quantize_embedding)
        _attend(stock)
        _place(stock, family)
        for layer in stock.get_submodule(family.stack).children():
            layer.register_forward_pre_hook(_one_row, with_kwargs=True)
        words: Any = stock.get_submodule(family.lookup)
        table = FrozenEmbedding(words, quantize=quantize_embedding)
        stock.set_submodule(family.lookup, table)
        if weight is not None:
            tied = weight.data_ptr() == words.weight.data_ptr()
            self.head = LanguageHead(weight, table if tied else None, quantize=quantize_embedding)
        stack = stock.get_submodule(family.stack)
        for place, number in enumerate(layers):
            layer = stack.get_submodule(str(number))
            # The exit first: in families where both are one module it becomes the inner of the entry.
            layer.set_submodule(family.exit, _Exit(layer.get_submodule(family.exit), place, self))
            layer.set_submodule(family.entry, _Entry(layer.get_submodule(family.entry), place, self))
        watch(stack)

    def hidden(self, ids: Tensor, positions: Tensor, attend: Tensor, traffic: Traffic | None) -> Tensor:
        """Return the last hidden state [R, S, d].

        Args:
            ids: [R, S].
            positions: [R, S], of each token in its own text.
            attend: [R, S, S], 1 where a place may look at another: both are tokens of one text; else 0.
            traffic: what the experts read; None: there are none.
        """
        self.traffic = traffic
        config: Any = self.model.config
        blocked = blocked_scores(attend, causal=self.family.causal)
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": blocked, "position_ids": positions}
        if self.family.causal:
            inputs["use_cache"] = False
        if getattr(config, "type_vocab_size", 0):  # or the model would look the types up, by position
            inputs["token_type_ids"] = torch.zeros(1, ids.shape[1], dtype=torch.int64)
        try:
            with within("embedding"):
                states: Tensor = self.model(**inputs).last_hidden_state
        finally:
            self.traffic = None
        return states.reshape(*ids.shape, -1)


def blocked_scores(attend: Tensor, *, causal: bool) -> Tensor:
    """Return what is added to attention scores, [R, 1, S, S]: 0 where a place may look, -10,000 or less where not.

    The device says which places hold the same text. That a decoder's token does not look ahead is a constant here.
    """
    size = attend.shape[2]
    blocked = (attend - 1.0).reshape(-1, 1, size, size) * 1e4
    return blocked + torch.full((size, size), -1e4).triu(1) if causal else blocked


def _freeze(model: nn.Module, *, int8: bool) -> None:
    """Put the frozen stand-ins in the place of the modules that have one."""
    from transformers.activations import GELUActivation, SiLUActivation  # noqa: PLC0415 - heavy

    def kind(*classes: type[nn.Module]) -> Callable[[nn.Module], bool]:
        return lambda module: isinstance(module, classes)

    replace(model, kind(nn.Linear), FrozenLinear)
    replace(model, kind(nn.LayerNorm), FrozenLayerNorm)
    replace(model, is_rms_norm, FrozenRmsNorm)
    replace(model, kind(GELUActivation, nn.GELU), lambda _: Gelu(near=int8))
    replace(model, kind(SiLUActivation, nn.SiLU), lambda _: Silu())


def _place(model: nn.Module, family: Family) -> None:
    """Put a lookup in the place of what makes positions."""
    config: Any = model.config
    stock = model.get_submodule(family.places)
    first = int(config.pad_token_id or 0) + 1 if family.after_padding else 0
    table = FrozenPositions(stock, first) if isinstance(stock, nn.Embedding) else FrozenRotary(stock)
    model.set_submodule(family.places, table)


def _one_row(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], Any]:
    """Give the layers all rows of a batch as one row of tokens [1, N, d]; attention takes them apart again.

    Then products, norms and experts need no other shape, and a reshape of a tensor that has two readers is a copy.
    """
    del module
    hidden = _flat(args[0])
    if "position_embeddings" in kwargs:  # rotary: cos and sin [R, S, e]
        kwargs = {**kwargs, "position_embeddings": tuple(map(_flat, kwargs["position_embeddings"]))}
    return (hidden, *args[1:]), kwargs


def _flat(x: Tensor) -> Tensor:
    """[R, S, n] -> [1, N, n]."""
    return x.reshape(1, -1, x.shape[-1])


def _attend(model: Any) -> None:  # noqa: ANN401 - transformers' base class is not typed
    """Have the model call our attention function, by transformers' own switch."""
    from transformers import AttentionInterface  # noqa: PLC0415 - heavy

    AttentionInterface.register("edge_experts", attention)
    model.set_attn_implementation("edge_experts")


def replace(module: nn.Module, wanted: Callable[[nn.Module], bool], factory: Callable[[Any], nn.Module]) -> None:
    """Replace every child that is ``wanted`` by ``factory(child)``, in place, at any depth."""
    for name, child in list(module.named_children()):
        if wanted(child):
            setattr(module, name, factory(child))
        else:
            replace(child, wanted, factory)
