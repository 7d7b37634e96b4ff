"""Training on the texts that people have, packed, padded, and in PyTorch: ``python -m benchmarks.real_text``.

MiniLM, batches of 16 texts of CLINC150, HWU64, SST-2 and AG News, experts in all six layers or in the last two. Every
arm trains the same texts in the same order, cut at the same length, in a process of its own.
"""

from __future__ import annotations

from typing import Final

BATCH: Final = 16
EXPERTS: Final = 8
TRAINED: Final = 4
RANK: Final = 8
"""Of experts, of the shared expert, and of LoRA."""
LAYERS: Final = {"all": "all", "last": "last:2"}
"""``--layers`` of the packages."""
PADDED: Final = "padded"
"""Name of the package whose rows hold one text each."""
WORK: Final = (
    f"MiniLM, {BATCH} texts a step, {EXPERTS} experts of rank {RANK} held, {TRAINED} trained, soft gates, AdamW."
)
ABOUT: Final = {
    "packed": "ours, packed",
    "padded": "ours, one text a row",
    "last": "ours, packed, last two layers, first epoch",
    "cached": "ours, packed, last two layers, from the second epoch on",
    "eager": "PyTorch eager, fp32",
    "eager_bf16": "PyTorch eager, bf16 autocast",
    "compile": "PyTorch torch.compile, fp32",
    "compile_bf16": "PyTorch torch.compile, bf16 autocast",
    "eager_last": "PyTorch eager, fp32, last two layers",
    "lora": "peft LoRA in all layers, fp32",
}
"""Arms. PyTorch's pad each batch to its longest text."""
OURS: Final = ("packed", "padded", "last", "cached")
