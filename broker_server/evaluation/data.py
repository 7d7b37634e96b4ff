"""Held-out data and what a version is worth on it: labels for a classifier, a stream of text for a language model.

The stream is cut into the same windows as on devices (SPEC.md, "causal-lm").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker_server.evaluation.onnx_model import Figures, Model, TextFigures, measure, read_examples, spread
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.data_files import nothing, read_rows
from edge_runtime.wire.digests import file_sha256
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.manifest_checks import CAUSAL_LM
from edge_runtime.wire.windows import pieces, windows


@dataclass(frozen=True)
class HeldOut:
    """Args: name: of the file, and its digest; measure: a bank to its figures; stop: ends that, from another thread."""

    name: str
    measure: Callable[[Bank], Figures | TextFigures]
    stop: Callable[[], None]


def held_out(package: Package, data: Path, limit: int = 0, threads: int = 1, columns: Columns = USUAL) -> HeldOut:
    """Return what measures banks of a package on a file.

    Args:
        package: opened with its gateway part.
        data: labelled texts; for a language model texts, or lines of text (docs/data.md).
        limit: texts at most, spread evenly over the file; 0: all.
        threads: of ONNX Runtime.
        columns: of the file.

    Raises:
        DataError: when the data cannot be used.
        EvaluationError: when the package's model cannot be used.
    """
    if package.manifest.architecture.task == CAUSAL_LM:
        return _of_text(package, data, limit, threads, columns)
    model = Model(package, threads)
    examples = read_examples(data, package.manifest, limit, columns)
    tokens = model.encode(examples)
    return HeldOut(examples.name, lambda bank: measure(model.probabilities(bank, tokens), examples.labels), model.stop)


def _of_text(package: Package, data: Path, limit: int, threads: int, columns: Columns) -> HeldOut:
    model = Model(package, threads)
    rows = spread(read_rows(data, columns, labelled=False), limit)
    tokens = (model.tokens(piece) for row in rows for piece in pieces(row.text))
    token_windows = list(windows(tokens, package.manifest.architecture.end_token, model.length))
    if not token_windows:
        raise nothing(str(data), columns, 0, labelled=False)
    name = f"{data.name}@{file_sha256(data)[:12]}" + (f"[{len(rows)}]" if limit else "")
    return HeldOut(name, lambda bank: model.losses(bank, token_windows), model.stop)
