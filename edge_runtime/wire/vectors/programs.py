"""Cases of the program's interface: what the methods of a model take and give, and the numbers of ``hyper``.

The meanings are the interface as it was agreed on: a change of ``program_interface.py`` shows here as another file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from edge_runtime.wire.vectors.case import Case
from edge_runtime.wire.vectors.decide import hyper_meaning, program_meaning

_BANK: Final = {"layers": [1, 3], "experts": 4, "rank": 2, "shared_rank": 1, "width": 6, "labels": 3}
_TRAIN: Final = {"trained": 2, "frozen": 1, "sequence": 8, "rows": 3, "batch": 4}
_METHODS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "train": ("a whole step", {"kind": "train", **_TRAIN}),
    "train_no_frozen": ("every held expert is trained", {"kind": "train", **_TRAIN, "frozen": 0}),
    "train_cut": ("a step above the trunk", {"kind": "train", **_TRAIN, "cut": True}),
    "train_recompute": (
        "saves memory: another name, the same ports",
        {"kind": "train", **_TRAIN, "recompute": "light"},
    ),
    "accumulate": ("one of three micro-batches", {"kind": "accumulate", **_TRAIN, "rows": 1}),
    "apply": (
        "the optimizer alone",
        {"kind": "apply", "trained": 2, "frozen": 0, "sequence": 0, "rows": 0, "batch": 0},
    ),
    "predict": (
        "an inference of one text that holds all",
        {"kind": "predict", "trained": 4, "frozen": 0, "sequence": 8, "rows": 1, "batch": 1},
    ),
    "predict_packed": (
        "an inference of many texts",
        {"kind": "predict", "trained": 4, "frozen": 0, "sequence": 8, "rows": 4, "batch": 6},
    ),
    "train_depth": (
        "a step of the upper layer alone",
        {"kind": "train", **_TRAIN, "cut": True, "frozen": 2, "trained_layers": 1},
    ),
    "accumulate_depth": (
        "a micro-batch of it",
        {"kind": "accumulate", **_TRAIN, "rows": 1, "cut": True, "frozen": 2, "trained_layers": 1},
    ),
    "apply_depth": (
        "its optimizer",
        {"kind": "apply", "trained": 2, "frozen": 0, "sequence": 0, "rows": 0, "batch": 0, "trained_layers": 1},
    ),
    "trunk_depth": (
        "what stands below it, the experts of the lower layer too",
        {"kind": "trunk", "trained": 0, "frozen": 0, "sequence": 8, "rows": 5, "batch": 0, "trained_layers": 1},
    ),
    "trunk": (
        "what stands below the experts",
        {"kind": "trunk", "trained": 0, "frozen": 0, "sequence": 8, "rows": 5, "batch": 0},
    ),
}
_MODELS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "": ("soft gates", _BANK),
    "_top_k": ("top-k gates: balance in, affinity out", {**_BANK, "top_k": 2}),
    "_no_shared": ("no shared expert", {**_BANK, "shared_rank": 0}),
    "_causal_lm": ("continues texts: neither head nor labels", {**_BANK, "labels": 0, "vocabulary": 50}),
}
_STEPS: Final = (1, 2, 1000, 1_000_000)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    for ending, (model, sizes) in _MODELS.items():
        for name, (method, shape) in _METHODS.items():
            context: dict[str, Any] = {
                "top_k": 0,
                "vocabulary": 0,
                "recompute": "none",
                "cut": False,
                "trained_layers": 0,
            }
            context |= {**sizes, **shape}
            meaning = program_meaning(**context)
            comment = f"{method}; {model}"
            yield Case("ProgramInterface", f"accept_{name}{ending}", b"", "ACCEPT", comment, context, meaning)
    for step in _STEPS:
        context = {"step": step, **_RATES}
        yield Case(
            "Hyper", f"accept_step_{step}", b"", "ACCEPT", "the numbers of a step", context, hyper_meaning(**context)
        )


_RATES: Final = {
    "learning_rate": 0.004,
    "head_learning_rate": 0.0004,
    "shared_learning_rate": 0.002,
    "weight_decay": 0.01,
}
