"""Labels that one example alone has: rare ones, or what an unquoted comma made of a text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from edge_runtime.wire.data_files import Row
from edge_runtime.wire.text import counted, readable

_NAMED: Final = 5


def lone_labels(source: str, rows: Sequence[Row]) -> str:
    """Return what to tell of labels with one example; "" where there is none, or every label is such a one.

    Where a table has further columns, `hello, world,spam` under `text,label,user` has as many fields as the header, so
    that the reader cannot refuse it: its label is `world`.

    Args:
        source: names the file.
        rows: with their labels.
    """
    examples = Counter(row.label for row in rows)
    lone = [row for row in rows if examples[row.label] == 1]
    if len(lone) in (0, len(examples)):
        return ""
    named = ", ".join(f'"{readable(row.label)}" (line {row.line})' for row in lone[:_NAMED])
    more = ", …" if len(lone) > _NAMED else ""
    return (
        f"{source}: of {counted(len(examples), 'label')} {len(lone)} {'has' if len(lone) == 1 else 'have'} one example"
        f" only: {named}{more}; correct the file where that is no label (a text that contains a comma needs quotation"
        " marks)"
    )
