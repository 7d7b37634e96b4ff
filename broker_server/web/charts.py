"""Charts as SVG, drawn here: classes carry the colours of both themes, so there is no script and no style in them.

Lengths are CSS pixels at full size. A chart is drawn once wide and once for a phone, so that its letters stay readable;
the style sheet shows one of them. What a chart says is beside it as a table, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from broker_server.views.coverage import Coverage
from broker_server.views.wording import size
from broker_server.web.rendering import Html, markup

WIDE: Final = 720
HALF: Final = 520
NARROW: Final = 340
_HEIGHT: Final = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 30
_LEVELS: Final = 6
"""Steps of colour of the heat map above "nobody"."""
_NUMBERED: Final = 20
"""Pixels of a cell from which on a number stands in it."""
NOT_SERVED: Final = "not-served"
"""In place of a version's reason: the gate kept it from devices."""


@dataclass(frozen=True)
class Point:
    """One measured version. Args: reason: what made it, or NOT_SERVED; value: what was measured."""

    version: int
    value: float
    reason: str


@dataclass(frozen=True)
class Pair:
    """Bytes of one round. Args: up: from devices; down: to them, None where that is not known any more."""

    round: int
    up: int
    down: int | None


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round numbers from at or below ``low`` to at or above ``high``, about ``count`` steps apart."""
    span = max(high - low, 1e-9)
    step = 10.0 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def worth_chart(points: Sequence[Point], figure: str, width: int) -> Html:
    """Return the line of what versions are worth; the shape of a point says what made the version.

    Args:
        points: by version, not empty.
        figure: "accuracy" or "perplexity".
        width: WIDE, HALF or NARROW.
    """
    values = [point.value for point in points]
    marks = ticks(min(values), max(values))
    if figure == "accuracy":
        marks = [mark for mark in marks if -1e-9 <= mark <= 1 + 1e-9]
    low, high = min(*marks, *values), max(*marks, *values)
    left, right, top, bottom = _LEFT, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM

    def x(place: int) -> float:
        return (left + right) / 2 if len(points) == 1 else left + 8 + (right - left - 16) * place / (len(points) - 1)

    def y(value: float) -> float:
        return bottom - (bottom - top) * (value - low) / ((high - low) or 1)

    texts = [f"{mark:.0%}" if marks[-1] - marks[0] >= 0.03 else f"{mark:.1%}" for mark in marks]
    grid = _grid(
        [(y(mark), text if figure == "accuracy" else f"{mark:g}") for mark, text in zip(marks, texts, strict=True)],
        left,
        right,
    )
    line = " ".join(f"{x(place):.1f},{y(point.value):.1f}" for place, point in enumerate(points))
    shapes = [
        markup(
            '<g class="point {}"><title>version {}, {}: {}</title>{}</g>',
            point.reason, point.version, point.reason, written(point.value, figure),
            _shape(point.reason, x(place), y(point.value)),
        )
        for place, point in enumerate(points)
    ]  # fmt: skip
    labels = [(x(place), str(point.version)) for place, point in enumerate(points)]
    label = (
        f"{figure} of versions {points[0].version} to {points[-1].version}, last {written(points[-1].value, figure)}"
    )
    return _svg(
        width, label, [grid, markup('<polyline class="line" points="{}"/>', line), *shapes, _below(labels, width)]
    )


def written(value: float, figure: str) -> str:
    """Return a figure for people: an accuracy in percent, a perplexity as it is."""
    return f"{value:.1%}" if figure == "accuracy" else f"{value:.2f}"


def bytes_chart(pairs: Sequence[Pair], width: int) -> Html:
    """Return bars of bytes by round: up above the line, down below it. Args: pairs: by round, not empty."""
    up, down = max(pair.up for pair in pairs), max(pair.down or 0 for pair in pairs)
    largest = max(up, down, 1)
    left, right, top, bottom = _LEFT + 12, width - _RIGHT, _TOP, _HEIGHT - _BOTTOM
    scale = (bottom - top) / max(up + down, largest * 0.1, 1)
    zero = top + up * scale
    step = (right - left) / len(pairs)
    bar = max(1.0, min(28.0, step * 0.7))
    marks = [mark for mark in ticks(-down, up) if -down <= mark <= up]
    parts: list[Html] = [_grid([(zero - mark * scale, size(round(abs(mark)))) for mark in marks], left, right)]
    for place, pair in enumerate(pairs):
        at = left + step * (place + 0.5) - bar / 2
        known = "not known" if pair.down is None else size(pair.down)
        parts.append(
            markup(
                '<g class="pair"><title>round {}: {} up, {} down</title>'
                '<rect class="up" x="{}" y="{}" width="{}" height="{}"/>'
                '<rect class="down" x="{}" y="{}" width="{}" height="{}"/></g>',
                pair.round, size(pair.up), known,
                f"{at:.1f}", f"{zero - pair.up * scale:.1f}", f"{bar:.1f}", f"{pair.up * scale:.1f}",
                f"{at:.1f}", f"{zero:.1f}", f"{bar:.1f}", f"{(pair.down or 0) * scale:.1f}",
            )
        )  # fmt: skip
    labels = [(left + step * (place + 0.5), str(pair.round)) for place, pair in enumerate(pairs)]
    label = f"bytes by round, rounds {pairs[0].round} to {pairs[-1].round}"
    return _svg(
        width,
        label,
        [
            *parts,
            markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>', left, right, f"{zero:.1f}", f"{zero:.1f}"),
            _below(labels, width),
        ],
    )


def heat_map(coverage: Coverage, width: int) -> Html:
    """Return layers by experts, the darker the more devices trained one; the number is in it where there is room."""
    left, top = 58, 24
    cell = min(40.0, (width - left - 2) / coverage.experts)
    tall = max(14.0, min(cell, 30.0))
    parts: list[Html] = []
    for row, layer in enumerate(coverage.layers):
        y = top + row * tall
        parts.append(
            markup(
                '<text class="tick" x="{}" y="{}" text-anchor="end">layer {}</text>',
                left - 8,
                f"{y + tall / 2 + 4:.1f}",
                layer,
            )
        )
        parts += [
            _cell(coverage, layer, index, (left + index * cell, y, cell, tall)) for index in range(coverage.experts)
        ]
    every = max(1, math.ceil(26 / cell))
    for index in range(0, coverage.experts, every):
        parts.append(
            markup(
                '<text class="tick" x="{}" y="14" text-anchor="middle">{}</text>',
                f"{left + (index + 0.5) * cell:.1f}",
                index,
            )
        )
    label = (
        f"devices that trained each expert: {coverage.trained} of {coverage.total} trained, "
        f"from {coverage.fewest} to {coverage.most} devices"
    )
    return _svg(width, label, parts, height=top + tall * len(coverage.layers) + 4)


def level(devices: int, most: int) -> int:
    """Return the step of colour for a number of devices: 0 for none, 1 for few, the last for the most."""
    return 0 if devices == 0 else max(1, math.ceil(_LEVELS * devices / max(most, 1)))


def _cell(coverage: Coverage, layer: int, index: int, box: tuple[float, float, float, float]) -> Html:
    block, (x, y, width, height) = coverage.of(layer, index), box
    number = markup(
        '<text class="number" x="{}" y="{}" text-anchor="middle">{}</text>',
        f"{x + width / 2:.1f}", f"{y + height / 2 + 4:.1f}", block.devices,
    )  # fmt: skip
    return markup(
        '<g class="cell h{}"><title>layer {}, expert {}: {} devices, {} times</title>'
        '<rect x="{}" y="{}" width="{}" height="{}" rx="2"/>{}</g>',
        level(block.devices, coverage.most), layer, index, block.devices, block.times,
        f"{x + 0.75:.2f}", f"{y + 0.75:.2f}", f"{width - 1.5:.2f}", f"{height - 1.5:.2f}",
        number if width >= _NUMBERED else Html(),
    )  # fmt: skip


def _shape(reason: str, x: float, y: float) -> Html:
    if reason == "head":
        return markup('<rect x="{}" y="{}" width="8" height="8"/>', f"{x - 4:.1f}", f"{y - 4:.1f}")
    if reason == NOT_SERVED:
        path = '<path d="M{} {}l2 2 2-2 2 2-2 2 2 2-2 2-2-2-2 2-2-2 2-2-2-2z"/>'
        return markup(path, f"{x - 2:.1f}", f"{y - 4:.1f}")
    if reason in ("rollback", "gate"):
        return markup('<path d="M{} {}l5.5 9h-11z"/>', f"{x:.1f}", f"{y - 6:.1f}")
    if reason == "initial":
        return markup('<path d="M{} {}l5 5l-5 5l-5-5z"/>', f"{x:.1f}", f"{y - 5:.1f}")
    return markup('<circle cx="{}" cy="{}" r="4"/>', f"{x:.1f}", f"{y:.1f}")


def _grid(lines: Iterable[tuple[float, str]], left: float, right: float) -> Html:
    return Html().join(
        markup(
            '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
            '<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>',
            left, right, f"{y:.1f}", f"{y:.1f}", left - 6, f"{y + 4:.1f}", text,
        )
        for y, text in lines
    )  # fmt: skip


def _below(labels: Sequence[tuple[float, str]], width: int) -> Html:
    """Return the numbers below a chart, as many as fit, the last one always."""
    room = max(2, width // 52)
    every = max(1, math.ceil(len(labels) / room))
    kept = labels[::-1][::every]
    return Html().join(
        markup('<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>', f"{x:.1f}", _HEIGHT - 10, text)
        for x, text in kept
    )


def _svg(width: int, label: str, parts: Iterable[Html], height: float = _HEIGHT) -> Html:
    return markup(
        '<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        "narrow" if width == NARROW else "wide", width, f"{height:.0f}", label, Html().join(parts),
    )  # fmt: skip
