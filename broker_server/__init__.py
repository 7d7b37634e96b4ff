"""The gateway: serves rounds over MQTT, merges what devices trained, and keeps every version.

Begin with ``from broker_server import Gateway``. Names are loaded when they are first used: ``import broker_server``
alone loads this file and nothing of ours or of others beside it.

It uses ``edge_runtime.wire`` and nothing else of ``edge_runtime``, and never loads torch or ExecuTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from broker_server.config import GatewayConfig
    from broker_server.gateway import Gateway, load_config
    from broker_server.views.status import Status
    from broker_server.views.versions import Version
    from edge_runtime.wire.errors import FederationError

__all__ = ["FederationError", "Gateway", "GatewayConfig", "Status", "Version", "load_config"]

_MODULES: Final = {
    "FederationError": "edge_runtime.wire.errors",
    "Gateway": "broker_server.gateway",
    "GatewayConfig": "broker_server.config",
    "Status": "broker_server.views.status",
    "Version": "broker_server.views.versions",
    "load_config": "broker_server.gateway",
}

if not TYPE_CHECKING:  # a type checker knows the names from above, and no others

    def __getattr__(name: str) -> object:
        """Load a public name."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)
