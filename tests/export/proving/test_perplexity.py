"""Perplexity through real programs of every kind: a step at once, in micro-batches, and above a trunk, against eager.

The training method says the loss, so each kind of it is another program to measure with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from matrix import cells
from tiny_backbone import save_tiny

from edge_runtime.data.windows import WindowSource
from edge_runtime.opened_package import Parts
from edge_runtime.training.perplexity import text_loss
from edge_runtime.training.trainer import Tools
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.program_interface import ModelShape
from export.proving.reference import Reference
from export.source import backbone

if TYPE_CHECKING:
    from conftest import Build

KINDS: dict[str, dict[str, object]] = {
    "at once": {},
    "in parts": {"micro_batches": 2},
    "above a trunk": {"layers": "last:1"},
    "above a trunk, in parts": {"layers": "last:1", "micro_batches": 2},
}
FIRST = ("at once", "above a trunk, in parts")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small random Llama of two layers."""
    return save_tiny(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return lines of words, with their ends 80 tokens: seven windows of 12, no multiple of 4 or of 2."""
    draw = np.random.default_rng(6)
    lines = [" ".join(f"word{number}" for number in draw.integers(0, 95, size)) for size in (9, 20, 31, 16)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", cells(KINDS, FIRST))
def test_perplexity_is_that_of_the_stock_model(build: Build, llama: Path, text: Path, kind: str) -> None:
    """Every target counts once, also in a batch that is filled up: the mean of eager PyTorch's -log p over all."""
    built = build(
        f"lm {kind}", model=str(llama), task="causal-lm", labels=(), most_tiers=1, **KINDS[kind]
    )  # float32 throughout
    with Parts.open(built.package.folder, 1) as parts:
        tier, start = parts.manifest.tiers[0], parts.initial_bank()
        source = parts.examples(text, tier)
        assert isinstance(source, WindowSource)
        draw = np.random.default_rng(1)
        experts, shared = (
            (one + 0.1 * draw.standard_normal(one.shape)).astype(np.float32) for one in (start.experts, start.shared)
        )
        bank = Bank(start.shape, experts, shared, start.head, start.mean)
        assert bool(tier.trunk_methods) == ("trunk" in kind)
        tools = Tools(parts.program, parts.manifest, parts.tokenizer, source, tier, rounding="fp16")
        seen: list[int] = []
        measured = text_loss(tools, bank, source, seen.append)
        inputs = _padded(source.windows(range(len(source))), tier.seq_len)
        adapted = parts.manifest.architecture.adapted_layers
    assert len(source) == sum(seen) == 7
    wanted, targets = _eager(llama, adapted, bank, inputs)
    assert measured.targets == targets
    assert measured.loss == pytest.approx(wanted, rel=2e-3 if "trunk" in kind else 1e-5)  # prefixes are fp16
    assert measured.perplexity == pytest.approx(np.exp(wanted), rel=1e-2)


def _padded(windows: Sequence[Sequence[int]], length: int) -> dict[str, torch.Tensor]:
    """Return ids, mask, targets and weights of windows, [B, S] each: weight 1 where a token follows."""
    inputs = {name: torch.zeros(len(windows), length) for name in ("mask", "weights")}
    inputs |= {name: torch.zeros(len(windows), length, dtype=torch.int64) for name in ("ids", "targets")}
    for row, tokens in enumerate(windows):
        taken, following = list(tokens[:length]), list(tokens[1 : length + 1])
        inputs["ids"][row, : len(taken)], inputs["mask"][row, : len(taken)] = torch.tensor(taken), 1
        inputs["targets"][row, : len(following)], inputs["weights"][row, : len(following)] = torch.tensor(following), 1
    return inputs


def _eager(folder: Path, adapted: tuple[int, ...], bank: Bank, inputs: dict[str, torch.Tensor]) -> tuple[float, int]:
    """Return the mean of -log p over the targets that count, and their number."""
    info = backbone.find(str(folder))
    model = ModelShape(BankShape(tuple(adapted), 3, 4, 3, 32, 0), vocabulary=info.sizes.vocabulary)
    reference = Reference(backbone.load(info, "causal-lm"), info.family, adapted, model)
    blocks = {"experts": torch.from_numpy(bank.experts), "shared": torch.from_numpy(bank.shared)}
    blocks["gate_scale"] = torch.ones(len(adapted), 3)
    with torch.no_grad():
        known = torch.log_softmax(reference.token_logits(blocks, inputs["ids"], inputs["mask"]), -1)
    each = -known.gather(2, inputs["targets"].unsqueeze(-1)).squeeze(-1)
    counts = inputs["weights"] > 0
    return float(each[counts].mean()), int(counts.sum())
