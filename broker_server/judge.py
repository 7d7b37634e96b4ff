"""Held-out data and what a version is worth on it: labels for a classifier, a stream of text for a language model.

The stream is cut into the same windows as on devices (SPEC.md, "causal-lm").
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker_server.errors import EvaluationError
from broker_server.evaluate import Figures, Model, TextFigures, measure, read_examples
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import file_sha256
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.manifest_checks import CAUSAL_LM
from edge_runtime.wire.windows import windows


@dataclass(frozen=True)
class Judge:
    """Args: data: name and digest of the file; measure: a bank to its figures."""

    data: str
    measure: Callable[[Bank], Figures | TextFigures]


def judge(package: Package, data: Path, limit: int = 0, threads: int = 1) -> Judge:
    """Return what measures banks of a package on a file.

    Args:
        package: opened with its gateway part.
        data: CSV ``text,label``; for a language model CSV with ``text``, or lines of text.
        limit: texts at most, spread evenly over the file; 0: all.
        threads: of ONNX Runtime.

    Raises:
        EvaluationError: when the data or the package's model cannot be used.
    """
    if package.manifest.architecture.task == CAUSAL_LM:
        return _of_text(package, data, limit, threads)
    model = Model(package, threads)
    examples = read_examples(data, package.manifest, limit)
    tokens = model.encode(examples)
    return Judge(examples.name, lambda bank: measure(model.probabilities(bank, tokens), examples.labels))


def _of_text(package: Package, data: Path, limit: int, threads: int) -> Judge:
    model = Model(package, threads)
    texts = read_texts(data, limit)
    tokens = (model.tokenizer.encode(text).ids for text in texts)
    found = list(windows(tokens, package.manifest.architecture.end_token, model.length))
    if not found:
        msg = f"{data} has no two tokens of text"
        raise EvaluationError(msg)
    name = f"{data.name}@{file_sha256(data)[:12]}" + (f"[{len(texts)}]" if limit else "")
    return Judge(name, lambda bank: model.losses(bank, found))


def read_texts(path: Path, limit: int = 0) -> list[str]:
    """Return the texts of a CSV's column ``text``, or of the lines of any other file.

    Raises:
        EvaluationError: when the file cannot be read, has no such column, or no text.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() != ".csv":
                found = [line.strip() for line in file]
            else:
                reader = csv.DictReader(file)
                if "text" not in (reader.fieldnames or ()):
                    msg = f"{path} has no column text; its columns: {', '.join(reader.fieldnames or ()) or 'none'}"
                    raise EvaluationError(msg)
                found = [(row["text"] or "").strip() for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        raise EvaluationError(msg) from error
    texts = [text for text in found if text]
    if not texts:
        msg = f"{path} holds no text"
        raise EvaluationError(msg)
    if 0 < limit < len(texts):
        texts = [texts[place * len(texts) // limit] for place in range(limit)]
    return texts
