"""Cases of the label prior: counts and probabilities in, probabilities out."""

from __future__ import annotations

from collections.abc import Iterator

from edge_runtime.wire.vectors.build import INF, NAN
from edge_runtime.wire.vectors.case import Case
from edge_runtime.wire.vectors.values import f32, floats

Numbers = tuple[float, ...]

_COUNTS = (0, 3, 8)  # with the smoothing of 1: 1, 4, 9; their roots: 1, 2, 3
_SHARES = (0.5, 0.25, 0.25)
_USUAL = (_COUNTS, _SHARES)


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    yield _accept("full", "0.5 * 1, 0.25 * 4, 0.25 * 9, of 3.75", 1.0, (0.5 / 3.75, 1 / 3.75, 2.25 / 3.75))
    yield _accept("half", "0.5 * 1, 0.25 * 2, 0.25 * 3, of 1.75", 0.5, (0.5 / 1.75, 0.5 / 1.75, 0.75 / 1.75))
    yield _accept("off", "nothing moves", 0.0, _SHARES)
    yield _accept("no_examples", "no label has any: nothing moves", 1.0, _SHARES, ((0, 0, 0), _SHARES))
    uneven = (0.1, 0.2, 0.3)
    yield _accept("alike", "as many of each: every bit stays", 1.0, uneven, ((7, 7, 7), uneven))
    yield _accept("impossible", "0 stays 0, whatever the counts", 1.0, (0, 0.5, 0.5), ((99, 2, 0), (0, 0.25, 0.75)))
    comment = "13 labels: 0.25 * 4 and twelve times 0.0625, of 1.75"
    many = ((3, *[0] * 12), (0.25, *[0.0625] * 12))
    yield _accept("many", comment, 1.0, (1 / 1.75, *[0.0625 / 1.75] * 12), many)
    yield _refuse("quarter", "a strength that there is not", 0.25)
    yield _refuse("negative_strength", "away from the device's labels", -1.0)
    yield _refuse("negative_count", "no such count", 1.0, (0, -1, 8))
    yield _refuse("nan_count", "NaN", 1.0, (0, NAN, 8))
    yield _refuse("infinite_count", "infinity", 0.5, (0, INF, 8))
    yield _refuse("two_counts", "two counts for three labels", 1.0, (3, 8))


def _accept(name: str, comment: str, strength: float, moved: Numbers, inputs: tuple[Numbers, Numbers] = _USUAL) -> Case:
    counts, shares = inputs
    context = {"labels": len(counts), "strength": strength}
    meaning = {"probabilities": floats(f32(*moved))}
    return Case("LabelPrior", f"accept_{name}", f32(*counts, *shares), "ACCEPT", comment, context, meaning)


def _refuse(name: str, comment: str, strength: float, counts: Numbers = _COUNTS) -> Case:
    context = {"labels": len(counts), "strength": strength}
    return Case("LabelPrior", f"refuse_{name}", f32(*counts, *_SHARES), "REFUSED", comment, context)
