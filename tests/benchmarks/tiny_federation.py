"""A file of texts for the simulator that is small: a random BERT of six layers, and one set that can be learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.federation import texts
from benchmarks.federation.texts import Backbone, TextSet

LAYERS, WIDTH, INNER, PLACES, WORDS, LABELS = 6, 32, 48, 8, 60, 4


def tiny_file(folder: Path, count: int = 160) -> Path:
    """Write F.npz: set "trec", whose label is told by which quarter of the vocabulary most words of a text are from."""
    random = np.random.default_rng(5)
    targets = np.arange(count) % LABELS
    lengths = random.integers(3, PLACES + 1, count)
    ids = np.zeros((count, PLACES), np.uint16)
    for row, (target, length) in enumerate(zip(targets, lengths, strict=True)):
        own = random.integers(5 + 12 * target, 17 + 12 * target, length)
        ids[row, :length] = np.where(random.random(length) < 0.6, own, random.integers(5, WORDS, length))
    texts_of_set = TextSet(
        labels=np.array([f"label{number}" for number in range(LABELS)]),
        ids=ids,
        lengths=lengths.astype(np.uint8),
        targets=targets.astype(np.uint16),
        users=np.full(count, -1, np.int32),
        parts=np.where(np.arange(count) % 10 < 6, 0, np.where(np.arange(count) % 10 < 8, 1, 2)).astype(np.uint8),
        origins=np.zeros(count, np.uint8),
    )
    file = folder / "F.npz"
    texts.save(file, {"trec": texts_of_set}, Backbone(_weights(random), 4, 1e-12))
    return file


def _weights(random: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "embeddings.position_embeddings.weight": (PLACES, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        linears = {f"attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        linears |= {
            "attention.output.dense": (WIDTH, WIDTH),
            "intermediate.dense": (INNER, WIDTH),
            "output.dense": (WIDTH, INNER),
        }
        for part, shape in linears.items():
            shapes |= {f"{name}.{part}.weight": shape, f"{name}.{part}.bias": shape[:1]}
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    weights = {name: (0.2 * random.standard_normal(shape)).astype(np.float16) for name, shape in shapes.items()}
    for name in norms:
        weights |= {f"{name}.weight": np.ones(WIDTH, np.float16), f"{name}.bias": np.zeros(WIDTH, np.float16)}
    return weights
