"""What said how many token places a step has, and how full steps will be: as sentences and as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edge_runtime.wire.fill import Fill
from export.planning.row_choice import RowChoice
from export.planning.text_lengths import TextLengths

_SMALLEST: Final = 0.001
"""Share that is told in percent."""


def rows_sentences(row_choice: RowChoice, fills: Mapping[str, Fill], sequence: int) -> list[str]:
    """Return a line about the texts, and one about the fill of each training method.

    Args:
        row_choice: what said how many rows the tiers have.
        fills: by method.
        sequence: S of the longest tier.
    """
    if row_choice.texts is None:
        return [_without_texts(row_choice)]
    return [
        _about(row_choice.texts, sequence),
        *(
            f"fill of {method}: {fill.texts_per_step:.1f} texts a step, {fill.share:.0%} of its places hold tokens"
            for method, fill in fills.items()
        ),
    ]


def _without_texts(row_choice: RowChoice) -> str:
    if row_choice.windows:
        return "rows: each window of a language model's texts fills one"
    if row_choice.tokens:
        return "rows: as --tokens says; --data FILE tells how full steps of such texts will be"
    return (
        "rows: a default, half as many as texts in a step, for there were no texts to count; --data FILE chooses length"
        " and rows, --tokens N the rows alone"
    )


def _about(texts: TextLengths, sequence: int) -> str:
    mean = f"{texts.mean(sequence):.1f} tokens a text in the mean"
    count, longer = len(texts.tokens), texts.longer(sequence)
    told = f"{count:,} {'text' if count == 1 else 'texts'}"
    if not longer:
        return f"data: no one of {told} is longer than {sequence} tokens; {mean}"
    share = f"{100 * longer / count:.1f} %" if longer / count >= _SMALLEST else "under 0.1 %"
    are = "is longer and is cut" if longer == 1 else "are longer and are cut"
    return f"data: rows of {sequence} tokens: {longer:,} of {told} ({share}) {are}; {mean}"


def rows_object(row_choice: RowChoice, fills: Mapping[str, Fill], sequence: int) -> dict[str, Any]:
    """Return the same as plain values: where rows and length come from, the texts, and the fill by method."""
    texts = row_choice.texts
    by = "windows" if row_choice.windows else "tokens" if row_choice.tokens else "data" if texts else "default"
    counts = None
    if texts:
        counts = {
            "texts": len(texts.tokens),
            "longer": texts.longer(sequence),
            "mean_tokens": round(texts.mean(sequence), 2),
        }
    return {"rows_by": by, "data": counts, "steps": {method: fill.figures() for method, fill in fills.items()}}
