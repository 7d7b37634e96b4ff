"""A version's accuracy or perplexity on held-out text, through ONNX Runtime: no torch, no ExecuTorch.

Axes: N texts of a batch, T tokens of the longest of them, C labels, V vocabulary. The only file importing onnxruntime
and tokenizers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
from tokenizers import Tokenizer

from broker_server.errors import EvaluationError
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.data_files import Row, read_rows
from edge_runtime.wire.digests import file_sha256
from edge_runtime.wire.labels import unknown_labels
from edge_runtime.wire.manifest import Manifest, Package
from edge_runtime.wire.manifest_checks import CLASSIFICATION
from edge_runtime.wire.tensors import Array
from edge_runtime.wire.typed_text import beginning, take_special_tokens_as_text

BATCH: Final = 32
LOGITS: Final = 1 << 23
"""Values of the logits of a batch of a language model: 32 MiB."""
MODEL: Final = "gateway/model.onnx"


@dataclass(frozen=True)
class Examples:
    """A labelled file. Args: name: file name and digest; texts; labels: index of each text's label."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Figures:
    """What a version is worth on labelled texts.

    Args:
        accuracy: in [0, 1].
        macro_f1: in [0, 1], F1 over the labels that occur.
        examples: texts.
        one_label: whether every text gets the same label, though they have several: such a version tells nothing apart.
    """

    accuracy: float
    macro_f1: float
    examples: int
    one_label: bool = False

    def plain(self) -> dict[str, float]:
        """Return the figures by name, as events and tables show them."""
        rounded = {"accuracy": round(self.accuracy, 6), "macro_f1": round(self.macro_f1, 6)}
        return {**rounded, "examples": self.examples, "one_label": self.one_label}


@dataclass(frozen=True)
class TextFigures:
    """Args: loss: mean of -log p of a token; tokens: how many were predicted."""

    loss: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """exp(loss): between so many tokens the model would have to guess."""
        return math.exp(min(self.loss, 700.0))

    def plain(self) -> dict[str, float]:
        """Return the figures by name, as events and tables show them."""
        return {"perplexity": round(self.perplexity, 4), "loss": round(self.loss, 6), "tokens": self.tokens}


def read_examples(path: Path, manifest: Manifest, limit: int = 0, columns: Columns = USUAL) -> Examples:
    """Read a labelled file of any form that the contract's reader knows (docs/data.md).

    Args:
        path: the file.
        manifest: whose labels the file must use.
        limit: texts at most, spread evenly over the file; 0: all.
        columns: that hold text and label.

    Raises:
        DataError: saying what is wrong, in which line, and what was expected.
    """
    rows = read_rows(path, columns, labelled=True)
    index = {label: place for place, label in enumerate(manifest.architecture.labels)}
    unknown = Counter(row.label for row in rows if row.label not in index)
    if unknown:
        raise unknown_labels(str(path), unknown, manifest.architecture.labels)
    rows = spread(rows, limit)
    name = f"{path.name}@{file_sha256(path)[:12]}" + (f"[{len(rows)}]" if limit else "")
    return Examples(name, tuple(row.text for row in rows), tuple(index[row.label] for row in rows))


def spread(rows: list[Row], limit: int) -> list[Row]:
    """Return at most ``limit`` rows, spread evenly; all for 0."""
    return [rows[place * len(rows) // limit] for place in range(limit)] if 0 < limit < len(rows) else rows


class Model:
    """The package's gateway model.

    Args:
        package: opened with its gateway part.
        threads: of ONNX Runtime.

    Raises:
        EvaluationError: when the package has no such model, or it cannot be loaded.
    """

    def __init__(self, package: Package, threads: int = 1) -> None:
        manifest = package.manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._run_options: Any = onnxruntime.RunOptions()
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(package.path(MODEL)), options, providers=["CPUExecutionProvider"]
            )
            self.tokenizer = Tokenizer.from_file(str(package.path("tokenizer.json")))
        except Exception as error:
            msg = f"package {package.folder} has no usable gateway model: {error}"
            raise EvaluationError(msg) from error
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.length = _length(manifest)
        if manifest.architecture.task == CLASSIFICATION:
            self.tokenizer.enable_truncation(max_length=self.length)
        self._typed = take_special_tokens_as_text(self.tokenizer)
        self._inputs = {tensor.name for tensor in self._session.get_inputs()}

    def stop(self) -> None:
        """End the computation that another thread is at, and refuse further ones: they raise."""
        self._run_options.terminate = True

    def encode(self, examples: Examples) -> list[list[int]]:
        """Return token ids of every text, once for all versions."""
        texts = [self._typed(beginning(text, self.length)) for text in examples.texts]
        return [encoding.ids for encoding in self.tokenizer.encode_batch(texts)]

    def tokens(self, text: str) -> list[int]:
        """Return all token ids of one text, as a language model's stream takes them."""
        ids: list[int] = self.tokenizer.encode(self._typed(text)).ids
        return ids

    def losses(self, bank: Bank, windows: Sequence[Sequence[int]]) -> TextFigures:
        """Return the mean loss of every token but the first of each window, with the experts of ``bank``."""
        vocabulary = int(self._session.get_outputs()[0].shape[-1])
        longest = max(map(len, windows))
        batch = max(1, LOGITS // (vocabulary * longest))
        total, count = 0.0, 0
        for start in range(0, len(windows), batch):
            ids, mask = _padded(windows[start : start + batch])
            losses = self._computed(ports.LOSSES, self._feeds(bank) | {ports.IDS: ids, ports.MASK: mask})
            total += float(losses.sum(dtype=np.float64))
            count += int(mask[:, 1:].sum())
        return TextFigures(total / count, count)

    def _computed(self, name: str, feeds: Mapping[str, object]) -> Array:
        (output,) = self._session.run([name], feeds, self._run_options)
        return np.asarray(output)

    def _feeds(self, bank: Bank) -> dict[str, Array]:
        tensors = {ports.EXPERTS: bank.experts, ports.SHARED: bank.shared, ports.HEAD: bank.head, ports.MEAN: bank.mean}
        return {name: values for name, values in tensors.items() if name in self._inputs}

    def probabilities(self, bank: Bank, tokens: Sequence[Sequence[int]]) -> Array:
        """Return float32 [N, C] with the experts, head and mean of ``bank``."""
        feeds = self._feeds(bank)
        # Texts of like length share a batch, so that little is padded.
        order = sorted(range(len(tokens)), key=lambda place: len(tokens[place]))
        rows: list[Array | None] = [None] * len(tokens)
        for start in range(0, len(order), BATCH):
            places = order[start : start + BATCH]
            ids, mask = _padded([tokens[place] for place in places])
            probabilities = self._computed(ports.PROBABILITIES, feeds | {ports.IDS: ids, ports.MASK: mask})
            for place, row in zip(places, probabilities, strict=True):
                rows[place] = row
        return np.stack([row for row in rows if row is not None])


def measure(probabilities: Array, labels: Sequence[int]) -> Figures:
    """Return accuracy and macro-F1. Args: probabilities: [N, C]; labels: N indices."""
    predicted = probabilities.argmax(axis=1)
    truth = np.asarray(labels)
    scores = []
    for label in np.unique(truth):
        hits = float(((predicted == label) & (truth == label)).sum())
        wrong = float(((predicted == label) != (truth == label)).sum())
        scores.append(2 * hits / (2 * hits + wrong))
    one_label = len(np.unique(predicted)) == 1 < len(scores)
    return Figures(float((predicted == truth).mean()), float(np.mean(scores)), len(truth), one_label)


def _padded(tokens: Sequence[Sequence[int]]) -> tuple[npt.NDArray[np.int64], Array]:
    longest = max(1, *map(len, tokens))
    ids = np.zeros((len(tokens), longest), np.int64)
    mask = np.zeros((len(tokens), longest), np.float32)
    for row, one in enumerate(tokens):
        ids[row, : len(one)] = one
        mask[row, : len(one)] = 1.0
    return ids, mask


def _length(manifest: Manifest) -> int:
    """Return S of the longest inference on devices, so that both see the same tokens."""
    inputs = (tensor for name in manifest.predict_methods for tensor in manifest.methods[name].inputs)
    return max(tensor.shape[-1] for tensor in inputs if tensor.name == ports.IDS)
