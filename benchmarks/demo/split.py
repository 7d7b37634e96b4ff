"""Labelled text -> one training file for each device, and a held-out set. Pure but for reading the CSV.

A file with a `user` column is split by its users (natural skew); any other by a Dirichlet draw for each label: with a
small alpha each device holds few labels (Hsu, Qi, Brown 2019, arXiv 1909.06335).
"""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.data_files import layout_of, nothing
from edge_runtime.wire.data_files import rows as rows_of
from edge_runtime.wire.errors import DataError


@dataclass(frozen=True)
class Example:
    """One labelled text; ``user`` and ``split`` are empty where the file has no such column."""

    text: str
    label: str
    user: str = ""
    split: str = ""


def read(path: Path, columns: Columns = USUAL) -> list[Example]:
    """Read labelled texts (docs/data.md), also compressed (.gz); ``user`` and ``split`` are used where they are.

    Raises:
        DataError: when the file cannot be read, lacks a column, or has no row.
    """
    name = path.with_suffix("") if path.suffix == ".gz" else path
    try:
        raw = path.read_bytes()
        file = io.BytesIO(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    except (OSError, EOFError) as error:
        msg = f"cannot read {path}: {error}"
        raise DataError(msg) from error
    layout = layout_of(file, str(name), replace(columns, more=("user", "split")), labelled=True)
    rows = list(rows_of(file, layout))
    examples = [Example(row.text, row.label, *row.more) for row in rows if row.text]
    if not examples:
        raise nothing(str(path), columns, len(rows), labelled=True)
    return examples


def held_out(path: Path, rows: Sequence[Example], limit: int, seed: int) -> tuple[list[Example], list[Example]]:
    """Return (training rows, at most ``limit`` held-out rows).

    In this order: the file's own `split` column, a `test.csv` beside a file named `train.csv[.gz]`, or every fifth row
    of each label.
    """
    random = np.random.default_rng(seed)
    sibling = path.parent / "test.csv"
    if any(row.split == "test" for row in rows):
        train = [row for row in rows if row.split != "test"]
        test = [row for row in rows if row.split == "test"]
    elif path.name.startswith("train.csv") and sibling.is_file():
        train, test = list(rows), read(sibling)
    else:
        picked = {i for label in sorted({r.label for r in rows}) for i in _of(rows, label, random)[::5]}
        train = [row for i, row in enumerate(rows) if i not in picked]
        test = [rows[i] for i in sorted(picked)]
    trained_labels = {row.label for row in train}
    test = [row for row in test if row.label in trained_labels]
    if not train or not test:
        msg = f"{path}: {len(train)} rows to train on and {len(test)} held out; both must be more than 0"
        raise DataError(msg)
    chosen = sorted(random.permutation(len(test))[:limit])
    return train, [test[i] for i in chosen]


def _of(rows: Sequence[Example], label: str, random: np.random.Generator) -> list[int]:
    return [int(i) for i in random.permutation([i for i, row in enumerate(rows) if row.label == label])]


def by_user(rows: Sequence[Example], devices: int) -> list[list[Example]]:
    """Give whole users to devices, the largest first to the emptiest device."""
    users: dict[str, list[Example]] = defaultdict(list)
    for row in rows:
        users[row.user].append(row)
    shares: list[list[Example]] = [[] for _ in range(min(devices, len(users)))]
    for user in sorted(users, key=lambda name: (-len(users[name]), name)):
        min(shares, key=len).extend(users[user])
    return shares


def dirichlet(rows: Sequence[Example], devices: int, alpha: float, seed: int, at_least: int = 8) -> list[list[Example]]:
    """Draw each label's share for each device from Dirichlet(alpha), again until every device has ``at_least`` rows.

    Raises:
        DataError: when no draw of 100 gives every device enough rows.
    """
    random = np.random.default_rng(seed)
    labels = sorted({row.label for row in rows})
    for _ in range(100):
        shares: list[list[Example]] = [[] for _ in range(devices)]
        for label in labels:
            own = _of(rows, label, random)
            cuts = np.cumsum(random.dirichlet([alpha] * devices)[:-1]) * len(own)
            for share, part in zip(shares, np.split(np.array(own, dtype=int), np.rint(cuts).astype(int)), strict=True):
                share.extend(rows[i] for i in part)
        if min(len(share) for share in shares) >= at_least:
            return shares
    few = f"leave one of {devices} devices fewer than {at_least} rows"
    msg = f"{len(rows)} rows with alpha {alpha} {few}: too many devices"
    raise DataError(msg)


def thin(shares: Sequence[list[Example]], limit: int, seed: int) -> list[list[Example]]:
    """Keep at most ``limit`` rows of each device, drawn at random; 0 keeps all."""
    if not limit:
        return [list(share) for share in shares]
    random = np.random.default_rng(seed)
    return [[share[i] for i in sorted(random.permutation(len(share))[:limit])] for share in shares]


def write(path: Path, rows: Sequence[Example]) -> None:
    """Write rows as a CSV with the columns text,label."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows((row.text, row.label) for row in rows)


def skew(shares: Sequence[Sequence[Example]]) -> float:
    """Return the mean share of each device's rows that its three most frequent labels make up."""
    tops = [sum(n for _, n in Counter(row.label for row in share).most_common(3)) / len(share) for share in shares]
    return float(np.mean(tops))
