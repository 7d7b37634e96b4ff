"""A package without a model: what a gateway reads of it is its manifest and its first bank."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest import PACKAGE_FORMAT, Architecture, Backbone, Cost, FileEntry, Manifest, Package, Tier
from edge_runtime.wire.program_interface import PROGRAM_INTERFACE, MethodKind, MethodShape, ModelShape, method_spec

LAYERS: Final = tuple(range(6))
EXPERTS, SLOTS, WIDTH = 8, 2, 384
"""MiniLM's layers and width; two experts of eight in each layer are trained at a time."""
LABELS: Final = ("a", "b", "c", "d")
INT8_BYTES: Final = 1 + 4 / 64
"""Of a value: a byte, and its share of a float32 scale for 64 of them."""
_COST: Final = Cost(1.0, 1.0, 1.0, 1, 1)


def shape_for(delta_kb: int) -> BankShape:
    """Return the bank whose plans are answered with int8 deltas of about so many thousand bytes."""
    values = 1000 * delta_kb / INT8_BYTES / (SLOTS * len(LAYERS))
    rank = max(1, round((values - 2 * WIDTH) / (2 * WIDTH + 1)))
    return BankShape(LAYERS, EXPERTS, rank, 1, WIDTH, len(LABELS))


def make_package(folder: Path, shape: BankShape) -> Package:
    """Write a package of a bank of small random numbers, and open its gateway's part."""
    folder.mkdir(parents=True)
    initial = _bank(shape)
    files = {"program.pte": b"none", "tokenizer.json": b"{}"}
    architecture = Architecture(
        Backbone("fleet", "bert", "f" * 64, WIDTH, len(LAYERS), 100), "classification", LABELS, "soft", 0, LAYERS,
        EXPERTS, shape.rank, shape.shared_rank, "mean_pool_l2", 20.0, -1, sha256(files["tokenizer.json"]).hex(),
        initial.digest().hex(),
    )  # fmt: skip
    files["bank.safetensors"] = initial.to_bytes(architecture.digest())
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "manifest.json").write_bytes(_manifest(architecture, shape, files).to_json())
    return Package.open(folder, part="gateway")


def _bank(shape: BankShape) -> Bank:
    random = np.random.default_rng(0)
    bank = Bank.zeros(shape)
    for values in (bank.experts, bank.shared, bank.head):
        values[...] = random.normal(0.0, 0.02, values.shape)
    return bank


def _manifest(architecture: Architecture, shape: BankShape, files: dict[str, bytes]) -> Manifest:
    model = ModelShape(shape, None)
    methods = {
        "train": method_spec(model, MethodShape(MethodKind.TRAIN, SLOTS, EXPERTS - SLOTS, 8, 1, 16)),
        "predict": method_spec(model, MethodShape(MethodKind.PREDICT, EXPERTS, 0, 8, 1, 1)),
    }
    tiers = (Tier("train", SLOTS, EXPERTS - SLOTS, 8, 1, 16, len(shape.layers), _COST, _COST),)
    listed = {name: FileEntry(sha256(data).hex(), len(data)) for name, data in files.items()}
    return Manifest(
        PACKAGE_FORMAT, 1, PROGRAM_INTERFACE, architecture, "fleet", {}, "none", "all", tiers, methods, ("predict",),
        {}, "1.3", 1, listed,
    )  # fmt: skip
