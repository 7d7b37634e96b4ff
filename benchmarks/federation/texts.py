"""Sets of real text as token ids, and the backbone's weights, in one file that numpy alone reads.

``python -m benchmarks.federation.texts --out F.npz`` makes the file where the data sets and export are; a machine
without tokenizers, transformers and the sets then trains from it.

Axes: n texts of a set, S places of a text, V rows of the cut table of word embeddings, C labels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

PAD: Final = 0
"""Row of the cut table that stands behind the end of a text."""
MIXED: Final = "mixed"
MIXTURE: Final = ("trec", "clinc150", "newsgroups20", "ag_news")
"""Sets of the mixed federation."""
_MOST: Final = {0: 6000, 1: 600, 2: 4000}
"""Texts of each set in the mixture at most, by part: or the largest set would be the measure."""


class Part(IntEnum):
    """What a text is for: devices learn from TRAIN, choices are made on VALIDATION, TEST is only reported."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True, eq=False)
class TextSet:
    """Texts of one label space.

    Args:
        labels: [C] names, sorted within each origin.
        ids: uint16 [n, S], rows of the cut table of word embeddings; PAD behind a text's end.
        lengths: uint8 [n], tokens of each text.
        targets: uint16 [n], index of each text's label.
        users: int32 [n], who wrote it; -1 where nobody is named.
        parts: uint8 [n], a ``Part``.
        origins: uint8 [n], which set of a mixture a text is from; 0 everywhere else.
    """

    labels: NDArray[np.str_]
    ids: NDArray[np.uint16]
    lengths: NDArray[np.uint8]
    targets: NDArray[np.uint16]
    users: NDArray[np.int32]
    parts: NDArray[np.uint8]
    origins: NDArray[np.uint8]

    def rows(self, part: Part) -> NDArray[np.int64]:
        """Return the indices of the texts of a part, ascending."""
        return np.flatnonzero(self.parts == part)

    def take(self, rows: NDArray[np.int64]) -> TextSet:
        """Return the texts of some rows, in their order."""
        each = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "labels"}
        return TextSet(self.labels, **each)


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen BERT encoder. Args: weights: float16, named as in its checkpoint; heads: of attention; eps: of norms."""

    weights: dict[str, NDArray[np.float16]]
    heads: int
    eps: float


def names(file: Path) -> tuple[str, ...]:
    """Return the sets of a file, the mixture included when its sets are there."""
    with np.load(file) as arrays:
        sets = sorted({key.split("/")[1] for key in arrays.files if key.startswith("sets/")})
    return (*sets, MIXED) if set(MIXTURE) <= set(sets) else tuple(sets)


def load(file: Path, name: str) -> TextSet:
    """Return a set of a file, or ``mixed``.

    Raises:
        ValueError: when the file has no such set.
    """
    if name == MIXED:
        return mixture([load(file, each) for each in MIXTURE])
    with np.load(file) as arrays:
        if f"sets/{name}/ids" not in arrays.files:
            raise ValueError(f"{file} has no set {name!r}; it has {', '.join(names(file))}")
        return TextSet(**{field.name: arrays[f"sets/{name}/{field.name}"] for field in fields(TextSet)})


def load_backbone(file: Path) -> Backbone:
    """Return the backbone of a file."""
    with np.load(file) as arrays:
        weights = {key.removeprefix("weights/"): arrays[key] for key in arrays.files if key.startswith("weights/")}
        return Backbone(weights, int(arrays["backbone/heads"]), float(arrays["backbone/eps"]))


def save(file: Path, sets: dict[str, TextSet], backbone: Backbone) -> None:
    """Write sets and backbone as one compressed file."""
    arrays: dict[str, Any] = {"backbone/heads": np.int64(backbone.heads), "backbone/eps": np.float64(backbone.eps)}
    for name, texts in sets.items():
        arrays |= {f"sets/{name}/{field.name}": getattr(texts, field.name) for field in fields(texts)}
    arrays |= {f"weights/{name}": weight for name, weight in backbone.weights.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, allow_pickle=False, **arrays)


def mixture(sets: Sequence[TextSet]) -> TextSet:
    """Return sets one behind the other, over the union of their labels; of each at most ``_MOST`` texts for a part."""
    kept = [texts.take(thinned(texts)) for texts in sets]
    width = max(texts.ids.shape[1] for texts in kept)
    firsts = np.cumsum([0, *(len(texts.labels) for texts in kept)])
    return TextSet(
        labels=np.concatenate([texts.labels for texts in kept]),
        ids=np.concatenate([np.pad(texts.ids, ((0, 0), (0, width - texts.ids.shape[1]))) for texts in kept]),
        lengths=np.concatenate([texts.lengths for texts in kept]),
        targets=np.concatenate([texts.targets + first for texts, first in zip(kept, firsts, strict=False)]).astype(
            np.uint16
        ),
        users=np.concatenate([np.full(len(texts.users), -1, np.int32) for texts in kept]),
        parts=np.concatenate([texts.parts for texts in kept]),
        origins=np.concatenate([np.full(len(texts.parts), i, np.uint8) for i, texts in enumerate(kept)]),
    )


def thinned(texts: TextSet) -> NDArray[np.int64]:
    """Return the rows of a set that a mixture has, ascending: the first of each part, stored in random order."""
    return np.sort(np.concatenate([texts.rows(part)[: _MOST[part]] for part in Part]))


def main(argv: Sequence[str] | None = None) -> int:
    """Make the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.federation.texts", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="F.npz", help="file to write")
    parser.add_argument("--data", type=Path, help="folder of the data sets (default: ../shared/data)")
    parser.add_argument("--length", type=int, default=64, help="tokens at which a text is cut (default 64)")
    options = parser.parse_args(argv)
    if options.out.suffix != ".npz" or not 4 <= options.length <= 128:
        parser.error("--out must end in .npz, and --length be 4 to 128")
    from benchmarks.federation import corpus  # noqa: PLC0415 - needs tokenizers and export; reading the file does not

    try:
        sets, backbone = corpus.build(options.data or corpus.DATA, options.length)
    except (OSError, ValueError, RuntimeError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    save(options.out, sets, backbone)
    for name, texts in sets.items():
        counts = ", ".join(f"{len(texts.rows(part)):,} {part.name.lower()}" for part in Part)
        sys.stdout.write(f"{name}: {len(texts.labels)} labels; {counts}; mean {texts.lengths.mean():.0f} tokens\n")
    table = backbone.weights["embeddings.word_embeddings.weight"].shape[0]
    sys.stdout.write(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB, {table:,} words\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
