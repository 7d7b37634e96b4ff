"""Folders of models whose weights or config are changed: what tests of refusals are made of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Weights = dict[str, Tensor]


def changed(source: Path, folder: Path, weights: Callable[[Weights], Weights] | None = None, **config: object) -> Path:
    """Copy a model's folder with other weights and config keys (None: without that key); return the copy."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(source, folder)
    if weights is not None:
        save_file(weights(load_file(source / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})
    keys = json.loads((source / "config.json").read_text())
    keys = {name: value for name, value in {**keys, **config}.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(keys))
    return folder


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    """Return a change that puts ``prefix`` in front of every name."""
    return lambda weights: {prefix + name: value for name, value in weights.items()}


def without(name: str) -> Callable[[Weights], Weights]:
    """Return a change that takes out every weight whose name has ``name`` in it."""
    return lambda weights: {key: value for key, value in weights.items() if name not in key}
