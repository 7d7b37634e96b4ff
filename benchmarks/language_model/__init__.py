"""Training a language model: tokens a second, memory, file size, export time; against PyTorch."""

from __future__ import annotations

from typing import Final

ABOUT: Final = {
    "ours": "ours, int8, native driver process",
    "light": "the same, what is cheap computed twice",
    "eager": "PyTorch eager, fp32",
}
"""Arms."""
