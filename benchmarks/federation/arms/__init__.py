"""The arms by name: modules of this folder, each with functions that make an arm for a run."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from benchmarks.federation.arms.base import Arm, Setup

ARMS: Final[dict[str, str]] = {}
"""Name in an experiment's file -> "module:function" below this folder."""


def arm_of(name: str, setup: Setup) -> Arm:
    """Return the arm of a name for a run.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in ARMS:
        msg = f"no arm {name!r}; known: {', '.join(sorted(ARMS))}"
        raise ValueError(msg)
    module, function = ARMS[name].split(":")
    made: Arm = getattr(import_module(f"benchmarks.federation.arms.{module}"), function)(setup)
    return made
