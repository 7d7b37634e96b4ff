"""Cells of a test's matrix: those that hold every value of each factor run always, the others with `make test-all`."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def cells(every: Iterable[str], first: Collection[str]) -> list[Any]:
    """Return parameters for ``pytest.mark.parametrize``; those that are not among ``first`` have the mark `matrix`."""
    return [pytest.param(name, marks=() if name in first else pytest.mark.matrix) for name in every]
