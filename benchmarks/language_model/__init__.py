"""Training a language model: tokens a second, memory, file size, export time; against PyTorch."""

from __future__ import annotations

from typing import Final

ABOUT: Final = {
    "ours": "ours, int8, native driver process",
    "light": "ours, int8, what is cheap computed twice",
    "int4": "ours, int4 layers and int8 head",
    "int4-light": "ours, int4, what is cheap computed twice",
    "eager": "PyTorch eager, fp32",
}
"""Arms."""
