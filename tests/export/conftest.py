"""Backbones and packages that export's tests share, each made once a session."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from tiny_backbone import save_tiny

if TYPE_CHECKING:
    from export.packaging.pipeline import Built

Build = Callable[..., "Built"]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a BERT of three layers, width 32."""
    return save_tiny(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def build(tiny: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Return a function that builds a package on the tiny backbone; every program is compiled once a run."""
    from export.packaging.pipeline import make_package
    from export.planning.config import ExportConfig

    folder = tmp_path_factory.mktemp("packages")

    def make(
        name: str,
        progress: Callable[[str], None] = lambda _: None,
        expect: Callable[[int], None] = lambda _: None,
        **changes: object,
    ) -> Built:
        settings: dict[str, object] = {
            "device": "linux-x86_64",
            "model": str(tiny),
            "labels": ("red", "green", "blue"),
            "out": folder / name,
            "experts": 3,
            "train_slots": 2,
            "rank": 4,
            "shared_rank": 3,
            "seq_len": 12,
            "batch_size": 4,
            "quantize": "none",
            "cache_dir": programs,
        }
        return make_package(ExportConfig(**{**settings, **changes}), progress, expect)  # type: ignore[arg-type]

    return make
