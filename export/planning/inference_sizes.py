"""Which inferences and trunks a program has, so that a text is computed at about its own length. Pure.

Axes: B texts of a call, R rows, S places of a row, N = R * S places.
"""

from __future__ import annotations

from typing import Final

from edge_runtime.wire.program_interface import MethodKind, MethodShape

SHORTEST_PREDICT: Final = 8
SHORTEST_TRUNK: Final = 16
PACKED_PLACES: Final = 256
"""N of the inference that takes many texts at once; more makes no text cheaper, and takes more memory."""
PLACES_OF_A_TEXT: Final = 8
"""N of it for each text that it takes: texts shorter than that are rare."""
TRUNK_ROWS: Final = 8
"""Texts that a trunk computes at once, one a row, so that company changes no bit of a prefix."""


def lengths_to(longest: int, shortest: int) -> tuple[int, ...]:
    """Return the powers of two from ``shortest`` on that are below ``longest``, and ``longest``, ascending.

    A text that is no shorter than the first fills more than half of the first one that holds it.
    """
    lengths, length = list[int](), shortest
    while length < longest:
        lengths.append(length)
        length *= 2
    return (*lengths, longest)


def predict_methods(held: int, longest: int, *, packed: bool) -> tuple[MethodShape, ...]:
    """Return the inferences, most places first: with ``packed`` one for many texts, then those for one text each.

    Args:
        held: experts that run.
        longest: S of the longest tier.
        packed: whether texts are classified, many at once; a text is continued by itself.
    """
    one = [_predict(held, length, 1, 1) for length in lengths_to(longest, SHORTEST_PREDICT)]
    rows = max(1, PACKED_PLACES // longest)
    many = [_predict(held, longest, rows, max(1, rows * longest // PLACES_OF_A_TEXT))] if packed else []
    return tuple(sorted([*many, *one], key=lambda method: -method.places))


def _predict(held: int, sequence: int, rows: int, batch: int) -> MethodShape:
    return MethodShape(MethodKind.PREDICT, held, 0, sequence, rows, batch)


def trunk_methods(longest: int, layers: int = 0) -> tuple[MethodShape, ...]:
    """Return the trunks of tiers whose longest texts have ``longest`` tokens, shortest first.

    Args:
        longest: S.
        layers: k of the tiers; 0 for all adapted layers.
    """
    lengths = lengths_to(longest, SHORTEST_TRUNK)
    return tuple(MethodShape(MethodKind.TRUNK, 0, 0, length, TRUNK_ROWS, 0, layers=layers) for length in lengths)
