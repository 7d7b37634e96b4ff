"""Whether a merged version is served: its figure on held-out text against the best of those before it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

ROUNDING: Final = 1e-9
"""0.9 - 0.89 is a little more than 0.01; figures are shares of far fewer texts than this tells apart."""
LOWER_IS_BETTER: Final = "loss"


@dataclass(frozen=True)
class Decision:
    """What was decided on a version.

    Args:
        version: its number.
        served: whether devices get it.
        figure: "accuracy" or "loss", that it was judged by; "": it was not measured.
        value: of that figure; None where it was not measured.
        against: the version that it was compared with; None: there was none.
        reference: the figure of that version.
        margin: by how much it might be worse.
        detail: why there was no comparison; "" where there was one.
    """

    version: int
    served: bool
    figure: str = ""
    value: float | None = None
    against: int | None = None
    reference: float | None = None
    margin: float = 0.0
    detail: str = ""

    @property
    def fall(self) -> float | None:
        """By how much it is worse than what it was compared with, below 0 where it is better; None: not compared."""
        if self.value is None or self.reference is None:
            return None
        return self.value - self.reference if self.figure == LOWER_IS_BETTER else self.reference - self.value

    def plain(self) -> dict[str, object]:
        """Return it for JSON and events."""
        names = ("served", "figure", "value", "against", "reference", "margin", "detail")
        return {name: getattr(self, name) for name in names}


def judge(version: int, figure: str, value: float, references: Mapping[int, float], margin: float) -> Decision:
    """Decide on a version that was measured.

    Args:
        version: its number.
        figure: "accuracy", or "loss", of which less is better.
        value: of the version.
        references: the same figure on the same texts of versions served before it, by number; without any it is served.
        margin: by how much it may be worse than the best of them.
    """
    if not references:
        detail = "no version before it was measured on these texts"
        return Decision(version, served=True, figure=figure, value=value, margin=margin, detail=detail)
    sign = -1.0 if figure == LOWER_IS_BETTER else 1.0
    best = max(references, key=lambda number: (sign * references[number], number))
    fall = sign * (references[best] - value)
    return Decision(version, fall <= margin + ROUNDING, figure, value, best, references[best], margin)


def unmeasured(version: int, failure: str, margin: float) -> Decision:
    """Return the decision on a version that could not be measured: what nobody could look at is not served."""
    return Decision(version, served=False, margin=margin, detail=f"it could not be measured: {failure}")
