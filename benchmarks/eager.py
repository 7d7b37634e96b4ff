"""The baseline: the same model and work in plain PyTorch, as a user would write it without this project.

Stock Hugging Face encoder in fp32 with its own attention, frozen; experts beside each feed-forward; autograd and
``torch.optim.AdamW`` over what is trained. Axes: M experts, m trained, r rank, rs shared rank, d width, C labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel

Batch = tuple[Tensor, Tensor, Tensor]
"""Ids [B, S], mask [B, S] and label numbers [B]."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the work.

    Args:
        layers: numbers of the adapted layers.
        experts: M held in each of them.
        trained: m of these.
        rank: r.
        shared_rank: rs.
        labels: C.
        logit_scale: factor on the logits.
        batch: texts in a step.
        sequence: tokens of a text.
    """

    layers: tuple[int, ...]
    experts: int
    trained: int
    rank: int
    shared_rank: int
    labels: int
    logit_scale: float
    batch: int
    sequence: int


class Experts(nn.Module):
    """Experts of one layer, soft gates; [.., d] -> [.., d]."""

    def __init__(self, width: int, sizes: Sizes) -> None:
        super().__init__()
        self.rank = sizes.rank
        counts = {"trained": sizes.trained, "frozen": sizes.experts - sizes.trained}
        self.banks = nn.ModuleDict({name: _bank(width, count, self.rank) for name, count in counts.items() if count})
        for parameter in self.banks["frozen"].parameters() if "frozen" in self.banks else []:
            parameter.requires_grad_(False)  # noqa: FBT003 - torch's own signature
        inner = sizes.shared_rank
        self.shared = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """Return what the experts add."""
        out: Tensor = self.shared(x)
        for bank in self.banks.values():
            assert isinstance(bank, nn.ModuleDict)  # noqa: S101 - for the type checker
            gate = 2 * torch.sigmoid(bank["router"](x))
            hidden = functional.gelu(bank["down"](x)) * gate.repeat_interleave(self.rank, dim=-1)
            out = out + bank["up"](hidden) + bank["bias"](gate)
        return out


def _bank(width: int, count: int, rank: int) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "down": nn.Linear(width, count * rank),
            "router": nn.Linear(width, count, bias=False),
            "up": nn.Linear(count * rank, width, bias=False),
            "bias": nn.Linear(count, width, bias=False),
        }
    )


class Classifier(nn.Module):
    """Encoder, experts, pooled feature, head.

    Args:
        folder: of the encoder's config.json; without weights beside it they are random, which takes the same time.
        sizes: of the work.
        attention: of the encoder; None leaves the choice to transformers, and "eager" can be traced.
    """

    def __init__(self, folder: Path, sizes: Sizes, attention: str | None = None) -> None:
        super().__init__()
        config = AutoConfig.from_pretrained(folder)
        if (folder / "model.safetensors").is_file():
            encoder = AutoModel.from_pretrained(folder, attn_implementation=attention)
        else:
            encoder = AutoModel.from_config(config, attn_implementation=attention)
        self.encoder = encoder.eval().requires_grad_(False)  # noqa: FBT003 - torch's own signature
        self.experts = nn.ModuleList(Experts(config.hidden_size, sizes) for _ in sizes.layers)
        for place, layer in enumerate(sizes.layers):
            block = self.encoder.encoder.layer[layer]
            block.feed_forward_chunk = _feed_forward(block, self.experts[place])
        self.head = nn.Linear(config.hidden_size, sizes.labels)
        self.scale = sizes.logit_scale
        self.traceable = attention == "eager"

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B, C]."""
        out: Tensor = self.scale * self.head(self.features(ids, mask))
        return out

    def features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit features [B, d]: the mean over a text's tokens."""
        # From a mask [B, S] transformers makes what its attention needs by looking at values, which no tracer follows.
        attention = ((mask - 1) * 1e4)[:, None, None, :] if self.traceable else mask
        hidden = self.encoder(input_ids=ids, attention_mask=attention).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return functional.normalize(pooled, dim=-1)


def _feed_forward(block: Any, experts: nn.Module) -> Callable[[Tensor], Tensor]:  # noqa: ANN401 - a stock layer
    def chunk(x: Tensor) -> Tensor:
        out: Tensor = block.output.dense(block.intermediate(x)) + experts(x)
        normed: Tensor = block.output.LayerNorm(out + x)
        return normed

    return chunk


def batch_of(sizes: Sizes, seed: int = 0) -> Batch:
    """Return ids [B, S], mask [B, S] and label numbers [B]; time does not depend on their values."""
    shape = (sizes.batch, sizes.sequence)
    ids = torch.randint(1000, 20000, shape, generator=torch.Generator().manual_seed(seed))
    return ids, torch.ones(shape), torch.arange(sizes.batch) % sizes.labels


def training(
    model: nn.Module, *, compiled: bool = False, dynamic: bool | None = None, bf16: bool = False, rate: float = 1e-3
) -> Callable[[Batch], float]:
    """Return a function that makes one AdamW step on a batch and gives the loss.

    Args:
        model: gives logits [B, C] for ids and mask; what needs gradients is trained.
        compiled: the model (forward and backward) and the optimizer go through torch.compile.
        dynamic: what torch.compile is told about shapes; True: one program for every length of a batch.
        bf16: products in bfloat16, by torch.autocast.
        rate: of AdamW, the same in every step.
    """
    return scheduled(model, lambda _step: rate, compiled=compiled, dynamic=dynamic, bf16=bf16)


def scheduled(
    model: nn.Module,
    rate: Callable[[int], float],
    *,
    compiled: bool = False,
    dynamic: bool | None = None,
    bf16: bool = False,
) -> Callable[[Batch], float]:
    """Return what `training` does, with the rate of each step (from 0)."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate(0), weight_decay=0.0)
    predict: Callable[..., Tensor] = torch.compile(model, dynamic=dynamic) if compiled else model
    update: Callable[[], Any] = torch.compile(optimizer.step) if compiled else optimizer.step
    steps = 0

    def step(batch: Batch) -> float:
        nonlocal steps
        ids, mask, labels = batch
        for group in optimizer.param_groups:
            group["lr"] = rate(steps)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = functional.cross_entropy(predict(ids, mask), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        update()
        steps += 1
        return float(loss.detach())

    return step


def stepper(model: Classifier, batch: Batch, *, compiled: bool = False, rate: float = 1e-3) -> Callable[[], float]:
    """Return a function that makes one AdamW step on the same ``batch`` each time, and gives the loss."""
    step = training(model, compiled=compiled, rate=rate)
    return lambda: step(batch)
