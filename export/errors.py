"""Errors of export: every one is a line for the person who typed the command."""

from __future__ import annotations

from edge_runtime.wire.errors import FederationError


class ExportError(FederationError):
    """A package cannot be made."""


class ConfigError(ExportError):
    """What was asked for is wrong; all faults are reported together."""


class UnsupportedModelError(ExportError):
    """The backbone cannot be loaded, or its architecture has no entry in the table of families."""


class BudgetError(ExportError):
    """Nothing fits the device's budget; the text has the numbers."""


class LoweringError(ExportError):
    """The compiled program is not what it must be (quantization left outside, slow kernels on the hot path)."""


class ProofError(ExportError):
    """The written package does not compute what eager PyTorch computes."""
