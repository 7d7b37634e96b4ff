"""Lists of labels: what makes one legal, and what is said of a label that no list has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from edge_runtime.wire.errors import DataError
from edge_runtime.wire.experts import LABELS_LIMIT
from edge_runtime.wire.text import counted, plain, readable

LABEL_BYTES: Final = 200
"""UTF-8 bytes of a label."""
_NAMED: Final = 5


def label_fault(labels: Sequence[str], least: int = 1) -> str:
    """Return what is wrong with a list of labels, "" when nothing is: their count, one that stands twice, or a text."""
    if not least <= len(labels) <= LABELS_LIMIT:
        return f"{counted(len(labels), 'label')}, expected {least} to {LABELS_LIMIT:,}"
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        return f"labels that stand twice: {_listed(twice)}"
    for place, label in enumerate(labels, start=1):
        if not label:
            return f"label {place} of {len(labels)} is empty"
        if not plain(label, LABEL_BYTES):
            why = f"over {LABEL_BYTES} bytes, or a character that ends a line, steers a terminal or turns text around"
            return f'label {place} of {len(labels)}, "{readable(label)}", has {why}'
    return ""


def unknown_labels(source: str, rows_of: Mapping[str, int], labels: Sequence[str]) -> DataError:
    """Return the error for labels that a package lacks.

    Args:
        source: names the file.
        rows_of: how many rows have each of them; "" counts for all that are not named.
        labels: of the package.
    """
    named = ", ".join(f'"{readable(label)}"' for label in list(rows_of)[:_NAMED] if label)
    more = ", …" if len([label for label in rows_of if label]) > _NAMED or "" in rows_of else ""
    knows = ", ".join(labels[:_NAMED]) + (", …" if len(labels) > _NAMED else "")
    count = sum(rows_of.values())
    rows = "1 row has a label" if count == 1 else f"{count} rows have labels"
    return DataError(
        f"{source}: {rows} that the package does not know ({named}{more}); it knows {len(labels)}: {knows}; "
        "export a package with these labels or correct the file"
    )


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(f'"{readable(label)}"' for label in labels[:_NAMED]) + (", …" if len(labels) > _NAMED else "")
