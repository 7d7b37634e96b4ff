"""What was measured of a version, as it is shown: rounded, with the name of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker_server.evaluation.onnx_model import TextFigures


@dataclass(frozen=True)
class Evaluation:
    """One measurement.

    Args:
        version: that was measured.
        data: digest of the file and its name.
        figure: "accuracy" or "perplexity", the one that stands for it in a table.
        value: of that figure.
        figures: all of them by name; counts of texts or tokens too.
        at: seconds since 1970.
    """

    version: int
    data: str
    figure: str
    value: float
    figures: dict[str, float]
    at: float

    @classmethod
    def of(cls, row: dict[str, Any]) -> Evaluation:
        """Return a row of the ledger's, of labels or of text, as it is shown."""
        figures: dict[str, float]
        if "loss" in row:
            figures = TextFigures(row["loss"], row["tokens"]).plain()
        else:
            figures = {key: row[key] for key in ("accuracy", "macro_f1", "examples")}
        figure = next(iter(figures))
        return cls(row["version"], row["data"], figure, figures[figure], figures, row["at"])

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"data": self.data, **self.figures}
