"""What a person would do with usual tools, beside ours, on the same texts: ``python -m benchmarks.usual_tools``.

Accuracy on held-out text beside what it costs. Each run is a process of its own, one after the other, since pools of
threads would fight; arms take turns, seed by seed. Settings are chosen on texts held back from the training set.
"""

from __future__ import annotations

from typing import Final

BATCH: Final = 16
"""Texts of a step of LoRA, and what the package is made for; ours packs as many as its rows hold."""
RANK: Final = 8
"""Of LoRA, and of experts."""
OURS: Final = "ours"
LORA: Final = "lora"
LORA_EVERYWHERE: Final = "lora_everywhere"
LOGISTIC: Final = "logistic"
ABOUT: Final = {
    LOGISTIC: "logistic regression on frozen features (scikit-learn)",
    LORA: "LoRA on q and v (peft, PyTorch, fp32)",
    LORA_EVERYWHERE: "LoRA on every linear layer (peft, PyTorch, fp32)",
    OURS: "ours (`edge_runtime train`)",
}
WORK: Final = (
    f"MiniLM-L6, one epoch. LoRA: peft's sequence classification, rank {RANK} in every block, on q and v (its default"
    f" for BERT) or on all linear layers, dropout 0.1, {BATCH} texts a step, padded to their longest, AdamW, linear"
    f" schedule. Ours: int8 backbone, all 8 experts of rank {RANK} in every layer, texts packed into rows, head from"
    " class means."
)
