"""The models of the PyTorch arms: experts as `benchmarks.eager` has them, or LoRA as peft makes it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoModel

from benchmarks.eager import Classifier, Sizes
from benchmarks.real_text import BATCH, EXPERTS, RANK, TRAINED

LOGIT_SCALE = 20.0
NO_PEFT = "peft is not installed; the arm lora needs it: pip install -e '.[bench]'"


@dataclass(frozen=True)
class Way:
    """How an arm trains. Args: last: adapt the last layers only, how many; 0: all."""

    compiled: bool = False
    bf16: bool = False
    last: int = 0
    lora: bool = False


WAYS = {
    "eager": Way(),
    "eager_bf16": Way(bf16=True),
    "compile": Way(compiled=True),
    "compile_bf16": Way(compiled=True, bf16=True),
    "eager_last": Way(last=2),
    "lora": Way(lora=True),
}


class LoraClassifier(nn.Module):
    """The encoder with LoRA beside q and v of every layer, and the classifier's own pooling and head."""

    def __init__(self, folder: Path, labels: int) -> None:
        super().__init__()
        if importlib.util.find_spec("peft") is None:
            raise SystemExit(NO_PEFT)
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415 - only this arm needs it

        config = LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules=["query", "value"])
        encoder = AutoModel.from_pretrained(folder)
        self.encoder = get_peft_model(encoder, config)
        self.head = nn.Linear(encoder.config.hidden_size, labels)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return logits [B, C]."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        logits: Tensor = LOGIT_SCALE * self.head(functional.normalize(pooled, dim=-1))
        return logits


def model(way: Way, folder: Path, labels: int) -> nn.Module:
    """Return an arm's model. Args: folder: of the encoder; labels: C."""
    if way.lora:
        return LoraClassifier(folder, labels)
    depth = AutoModel.from_pretrained(folder).config.num_hidden_layers
    layers = tuple(range(depth - way.last if way.last else 0, depth))
    sizes = Sizes(layers, EXPERTS, TRAINED, RANK, RANK, labels, LOGIT_SCALE, BATCH, 0)
    return Classifier(folder, sizes)
