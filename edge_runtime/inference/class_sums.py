"""Class sums of frozen features: what the gateway starts the head from.

Axes: N examples, C labels, d width. The features are the program's own, with a bank of zeros, so they are the frozen
backbone's as this device computes it. They reveal label counts; no text and no single feature leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from edge_runtime.data.examples import ExampleSource, texts_of
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.inference.predictor import Predictor
from edge_runtime.program.signature import Executor
from edge_runtime.store import Record, Store, pack
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.manifest import Manifest

RECORD: Final = "statistics"

Progress = Callable[[int], None]


def class_sums(
    program: Executor, manifest: Manifest, tokenizer: Tokenizer, source: ExampleSource, progress: Progress
) -> ClassSums:
    """Return counts and sums of frozen features over all examples, summed in float64, in the order of the file."""
    shape = manifest.architecture.bank_shape
    frozen = Predictor(program, manifest, tokenizer, Bank.zeros(shape))
    sums = np.zeros((shape.labels, shape.width), np.float64)
    for row, (_, feature) in enumerate(frozen.many(texts_of(source, range(len(source))))):
        sums[source.labels[row]] += feature
        progress(1)
    frozen.release()
    counts = np.bincount(source.labels, minlength=shape.labels)
    return ClassSums(counts.astype(np.float32), sums.astype(np.float32))


def recalled(store: Store, source: ExampleSource, package_digest: bytes) -> ClassSums | None:
    """Return the sums that were computed before for the same data and package; None when they were not."""
    record = store.recall(RECORD)
    if record is None or record.head.get("key") != _key(source, package_digest):
        return None
    tensors = record.tensors()
    return ClassSums(tensors["counts"], tensors["sums"])


def remember(store: Store, sums: ClassSums, source: ExampleSource, package_digest: bytes) -> None:
    """Keep the sums for the next start."""
    store.write(RECORD, Record({"key": _key(source, package_digest)}, pack({"counts": sums.counts, "sums": sums.sums})))


def _key(source: ExampleSource, package_digest: bytes) -> str:
    return source.digest.hex() + package_digest.hex()
