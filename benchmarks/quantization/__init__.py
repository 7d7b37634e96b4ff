"""What rounding the frozen weights costs in accuracy: ``python -m benchmarks.quantization``.

For each data set and seed the same experts are trained by the same steps on the device runtime, once in a program of
each kind (`ARMS`), from a head of class means as the product does; the held-out accuracies are compared.
"""

from __future__ import annotations

from typing import Final

BASE: Final = "none"
"""The arm that the others are compared with: float32 throughout."""
ARMS: Final = (BASE, "int8", "int4")
"""Values of export.build's ``--quantize``."""
