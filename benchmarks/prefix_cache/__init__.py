"""What a cached prefix is worth: ``python -m benchmarks.prefix_cache``.

Two packages of MiniLM at batch 8 x 64: experts in all six layers, which no prefix precedes, and in the last two, whose
prefix a device caches. Time: whole steps of the device runtime, tokenizing and reading included, in the first epoch and
from the second on. Accuracy: the same settings for both, on real sets, prefixes rounded as each cache rounds them.
"""

from __future__ import annotations

from typing import Final

BATCH: Final = 8
SEQ_LEN: Final = 64
LAYERS: Final = {"all": "all", "last": "last:2"}
"""``--layers`` of each package."""
ARMS: Final = {"all": ("all", ""), "int8": ("last", "int8"), "fp16": ("last", "fp16")}
"""Package and rounding of each arm of the comparison of accuracies; the first is what the others are held against."""
