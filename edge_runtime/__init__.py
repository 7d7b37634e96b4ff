"""The device: predicts, trains on its own texts, and takes part in a federation.

Begin with ``from edge_runtime import Model``. Names are loaded when they are first used: ``import edge_runtime`` alone
loads this file and nothing of ours or of others beside it. ``edge_runtime.wire`` defines what devices, gateways and
export exchange: messages, files, errors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_runtime.federation.report import DeviceEvent
    from edge_runtime.interface.model import Model
    from edge_runtime.interface.results import Evaluation, JoinReport, Prediction, Progress, TrainReport
    from edge_runtime.wire.errors import FederationError

__all__ = [
    "DeviceEvent",
    "Evaluation",
    "FederationError",
    "JoinReport",
    "Model",
    "Prediction",
    "Progress",
    "TrainReport",
]

_RESULTS: Final = "edge_runtime.interface.results"
_MODULES: Final = {
    "DeviceEvent": "edge_runtime.federation.report",
    "Evaluation": _RESULTS,
    "FederationError": "edge_runtime.wire.errors",
    "JoinReport": _RESULTS,
    "Model": "edge_runtime.interface.model",
    "Prediction": _RESULTS,
    "Progress": _RESULTS,
    "TrainReport": _RESULTS,
}

if not TYPE_CHECKING:  # a type checker knows the names from above, and no others

    def __getattr__(name: str) -> object:
        """Load a public name."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)
