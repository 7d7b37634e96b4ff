"""The baseline: the same model and work in plain PyTorch, as a user would write it without this project.

Stock Hugging Face encoder in fp32 with its own attention, frozen; experts beside each feed-forward; autograd and
``torch.optim.AdamW`` over what is trained. Axes: M experts, m trained, r rank, rs shared rank, d width, C labels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

from edge_runtime.wire.manifest import Architecture


class Experts(nn.Module):
    """Experts of one layer, soft gates; [.., d] -> [.., d]."""

    def __init__(self, width: int, experts: int, trained: int, rank: int, shared_rank: int) -> None:
        super().__init__()
        self.rank = rank
        sizes = {"trained": trained, "frozen": experts - trained}
        self.banks = nn.ModuleDict({name: _bank(width, count, rank) for name, count in sizes.items() if count})
        for parameter in self.banks["frozen"].parameters() if "frozen" in self.banks else []:
            parameter.requires_grad_(False)  # noqa: FBT003 - torch's own signature
        self.shared = nn.Sequential(nn.Linear(width, shared_rank), nn.GELU(), nn.Linear(shared_rank, width))

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
    """Encoder, experts, pooled feature, head."""

    def __init__(self, folder: Path, architecture: Architecture, trained: int) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder).eval().requires_grad_(False)  # noqa: FBT003 - torch's own
        arch = architecture
        sizes = (arch.backbone.width, arch.experts, trained, arch.rank, arch.shared_rank)
        self.experts = nn.ModuleList(Experts(*sizes) for _ in arch.adapted_layers)
        for place, layer in enumerate(arch.adapted_layers):
            block = self.encoder.encoder.layer[layer]
            block.feed_forward_chunk = _feed_forward(block, self.experts[place])
        self.head = nn.Linear(arch.backbone.width, len(arch.labels))
        self.scale = arch.logit_scale

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B, C]."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        out: Tensor = self.scale * self.head(functional.normalize(pooled, dim=-1))
        return out


def _feed_forward(block: Any, experts: nn.Module) -> Callable[[Tensor], Tensor]:  # noqa: ANN401 - a stock layer
    def chunk(x: Tensor) -> Tensor:
        out: Tensor = block.output.dense(block.intermediate(x)) + experts(x)
        normed: Tensor = block.output.LayerNorm(out + x)
        return normed

    return chunk


def stepper(model: Classifier, batch: tuple[Tensor, Tensor, Tensor], rate: float = 1e-3) -> Callable[[], float]:
    """Return a function that makes one AdamW step on ``batch`` (ids, mask, label numbers) and gives the loss."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0)
    ids, mask, labels = batch

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(ids, mask), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return float(loss.detach())

    return step
