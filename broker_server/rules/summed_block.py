"""One block of a site's sum, as a merge takes it. Axes: P values of a block."""

from __future__ import annotations

from dataclasses import dataclass

from edge_runtime.wire.grids import Wide


@dataclass(frozen=True, eq=False)
class SummedBlock:
    """What a site added up of its devices' deltas, of one block; on the grids of exact sums.

    Args:
        values: float64 [P], of weighted deltas.
        weights: [1] or [P].
        devices: deltas in it.
        steps: of weights times steps, as many as weights; None: they were not taken out.
        bound: their sizes, added up (``exact.size_of``).
    """

    values: Wide
    weights: Wide
    devices: int
    steps: Wide | None
    bound: float

    @property
    def size(self) -> int:
        """P."""
        return self.values.size
