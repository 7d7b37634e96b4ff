"""The test suite's smallest federations: a gateway's and a device's, which need neither a model nor a broker."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def part(name: str, folder: str) -> Any:  # noqa: ANN401 - a module of the tests, which nothing here can import by name
    """Return a module of ``tests/FOLDER``."""
    path = str(ROOT / "tests" / folder)
    if path not in sys.path:
        sys.path.append(path)
    return importlib.import_module(name)
