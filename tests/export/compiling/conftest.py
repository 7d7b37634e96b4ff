"""Texts that tests of real programs train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return twelve texts of up to nine words: nine steps of four are three epochs."""
    draw = np.random.default_rng(1)
    rows = [
        f"{' '.join(f'word{number}' for number in draw.integers(0, 95, draw.integers(3, 10)))},{label}"
        for label in ("red", "green", "blue")
        for _ in range(4)
    ]
    path = tmp_path_factory.mktemp("data") / "data.csv"
    path.write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path
