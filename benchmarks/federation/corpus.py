"""From data sets as CSV and the default backbone's checkpoint to arrays: what ``texts`` keeps in one file.

CLINC150's texts out of scope are left out: 150 intents, and a label space of 180 in the mixture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo import split
from benchmarks.demo.split import Example
from benchmarks.federation.texts import PAD, Backbone, Part, TextSet
from edge_runtime.data.tokenizer import Tokenizer
from export.errors import UnsupportedModelError
from export.source.backbone import BackboneInfo, find
from export.source.checkpoint import read_checkpoint

DATA: Final = Path(__file__).parents[3] / "shared" / "data"
OUT_OF_SCOPE: Final = "oos"
WORDS: Final = "embeddings.word_embeddings.weight"
PLACES: Final = "embeddings.position_embeddings.weight"


@dataclass(frozen=True)
class Files:
    """Files of a set. Args: validation: "" where a tenth of the training texts serves; most: training texts kept."""

    train: str = "train.csv"
    test: str = "test.csv"
    validation: str = ""
    most: int = 0


SETS: Final = {
    "ag_news": Files(train="train.csv.gz", most=12_000),
    "clinc150": Files(validation="val.csv"),
    "hwu64": Files(),
    "newsgroups20": Files(train="train.csv.gz"),
    "snips": Files(),
    "sst2": Files(validation="val.csv"),
    "trec": Files(),
}
_TENTH: Final = 10


def build(data: Path, length: int) -> tuple[dict[str, TextSet], Backbone]:
    """Return all sets below a folder, cut at ``length`` tokens, and the backbone that reads them.

    Raises:
        DataError: when a set cannot be read.
        UnsupportedModelError: when the default backbone is not installed, or is no BERT.
    """
    info = find(None)
    tokenizer = Tokenizer(info.folder / "tokenizer.json")
    sets = {name: encoded(parted(data / name, files), tokenizer, length) for name, files in SETS.items()}
    words = np.unique(np.concatenate([[PAD], *(np.unique(texts.ids) for texts in sets.values())]))
    return {name: renumbered(texts, words) for name, texts in sets.items()}, weights(info, words, length)


def parted(folder: Path, files: Files) -> dict[Part, list[Example]]:
    """Return a set's texts by part, each in random order that is the same on every machine."""
    random = np.random.default_rng(0)
    train = _shuffled(split.read(folder / files.train), random)
    test = _shuffled(split.read(folder / files.test), random)
    if files.validation:
        validation = _shuffled(split.read(folder / files.validation), random)
    else:
        train, validation = _without_tenth(train)
    train = _balanced(train, files.most) if files.most else train
    return {Part.TRAIN: train, Part.VALIDATION: validation, Part.TEST: test}


def _shuffled(rows: Sequence[Example], random: np.random.Generator) -> list[Example]:
    in_scope = [row for row in rows if row.label != OUT_OF_SCOPE]
    return [in_scope[i] for i in random.permutation(len(in_scope))]


def _without_tenth(rows: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Return the rows but every tenth of each label, and those."""
    seen: dict[str, int] = defaultdict(int)
    sides: tuple[list[Example], list[Example]] = ([], [])
    for row in rows:
        sides[seen[row.label] % _TENTH == 0].append(row)
        seen[row.label] += 1
    return sides


def _balanced(rows: Sequence[Example], most: int) -> list[Example]:
    """Keep the first rows of each label, ``most`` in all."""
    each = most // len({row.label for row in rows})
    seen: dict[str, int] = defaultdict(int)
    kept = []
    for row in rows:
        seen[row.label] += 1
        if seen[row.label] <= each:
            kept.append(row)
    return kept


def encoded(parts: Mapping[Part, Sequence[Example]], tokenizer: Tokenizer, length: int) -> TextSet:
    """Return texts as ids of the uncut vocabulary."""
    rows = [row for part in Part for row in parts[part]]
    labels, users = (sorted({getattr(row, name) for row in rows}) for name in ("label", "user"))
    ids = tokenizer.encode([row.text for row in rows], length)
    padded = np.full((len(ids), max(map(len, ids))), PAD, np.uint16)
    for row, tokens in zip(padded, ids, strict=True):
        row[: len(tokens)] = tokens
    number = {user: i for i, user in enumerate(user for user in users if user)}
    index = {label: i for i, label in enumerate(labels)}
    return TextSet(
        labels=np.array(labels),
        ids=padded,
        lengths=np.array([len(tokens) for tokens in ids], np.uint8),
        targets=np.array([index[row.label] for row in rows], np.uint16),
        users=np.array([number.get(row.user, -1) for row in rows], np.int32),
        parts=np.array([part for part in Part for _ in parts[part]], np.uint8),
        origins=np.zeros(len(rows), np.uint8),
    )


def renumbered(texts: TextSet, words: NDArray[np.int64]) -> TextSet:
    """Return the texts with ids that count the rows of a table cut to ``words`` (ascending; PAD is its row 0)."""
    ids = np.searchsorted(words, texts.ids).astype(np.uint16)
    return TextSet(texts.labels, ids, texts.lengths, texts.targets, texts.users, texts.parts, texts.origins)


def weights(info: BackboneInfo, words: NDArray[np.int64], length: int) -> Backbone:
    """Return a BERT's weights as float16, with the table of words cut to ``words`` and that of places to ``length``.

    Raises:
        UnsupportedModelError: when it is no BERT with float32 weights.
    """
    if info.kind != "bert":
        raise UnsupportedModelError(f"{info.name} is of type {info.kind}, expected bert; the simulator has no other")
    arrays = {}
    for tensor in read_checkpoint(info.folder).tensors:
        if tensor.name.startswith(("pooler.", "embeddings.position_ids")):
            continue
        if tensor.dtype != "F32":
            raise UnsupportedModelError(f"{info.name}: {tensor.name} is {tensor.dtype}, expected F32")
        flat = np.fromfile(tensor.file, "<f4", tensor.values, offset=tensor.begin)
        arrays[tensor.name.removeprefix(info.prefix)] = flat.reshape(tensor.shape).astype(np.float16)
    arrays |= {WORDS: arrays[WORDS][words], PLACES: arrays[PLACES][:length]}
    return Backbone(arrays, info.sizes.heads, float(info.config["layer_norm_eps"]))
