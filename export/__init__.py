"""The workstation: makes a device package from a pretrained model (the backbone) and a device profile.

Begin with ``from export import build_package``. Names are loaded when they are first used: ``import export`` alone
loads this file and nothing of ours or of others beside it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from edge_runtime.wire.errors import FederationError
    from export.interface import build_package
    from export.packaging.pipeline import Built
    from export.planning.config import ExportConfig

__all__ = ["Built", "ExportConfig", "FederationError", "build_package"]

_MODULES: Final = {
    "Built": "export.packaging.pipeline",
    "ExportConfig": "export.planning.config",
    "FederationError": "edge_runtime.wire.errors",
    "build_package": "export.interface",
}

if not TYPE_CHECKING:  # a type checker knows the names from above, and no others

    def __getattr__(name: str) -> object:
        """Load a public name."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)
