"""A device that lies: ``python -m benchmarks.attacks.liar LIE run ...``; the rest is a command line of edge_runtime.

It is our device with one function replaced, so that all it sends has the right form, digests and plan.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from edge_runtime import __main__ as edge
from edge_runtime.federation import delta as deltas
from edge_runtime.federation import membership
from edge_runtime.wire import messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums

MOST: Final = 2**32 - 1
"""Examples of a uint32."""


def claim_examples() -> None:
    """Say of an update that is turned round that it was trained on 2^32 - 1 examples."""
    _change_deltas(lambda delta: delta.CopyFrom(_scaled(delta, -1.0, MOST)))


def flip(factor: float) -> Callable[[], None]:
    """Return a lie: each update is turned round and made longer."""
    return lambda: _change_deltas(lambda delta: delta.CopyFrom(_scaled(delta, -factor, delta.examples)))


def claim_class_sums() -> None:
    """Send class sums of 2^32 - 1 examples in which every label has the next label's features.

    The Hello claims as many examples, so that no check of one against the other finds it.
    """
    honest = membership.Membership._hello  # noqa: SLF001 - the lie replaces the device's own words

    def hello(self: membership.Membership) -> pb.Hello:
        message = honest(self)
        message.examples = MOST
        return message

    membership.Membership._hello = hello  # type: ignore[method-assign]  # noqa: SLF001
    message = ClassSums.message

    def lie(self: ClassSums, device: str, federation_digest: bytes) -> bytes:
        labels = len(self.counts)
        counts = np.full(labels, 0.999 * MOST / labels, np.float64)
        means = self.sums / np.maximum(self.counts, 1)[:, None]
        there = np.flatnonzero(self.counts)
        # Every label gets the mean of one that this device has, and never its own.
        wrong = np.array([there[(place + 1) % len(there)] for place in range(labels)])
        return message(ClassSums(counts, 0.999 * means[wrong] * counts[:, None]), device, federation_digest)

    ClassSums.message = lie  # type: ignore[method-assign]


def _scaled(delta: pb.Delta, factor: float, examples: int) -> pb.Delta:
    changed = pb.Delta()
    changed.CopyFrom(delta)
    changed.examples, changed.codec = examples, pb.FLOAT32
    for block in changed.experts:
        size = len(block.values) // 4 if delta.codec == pb.FLOAT32 else _int8_size(len(block.values))
        values = tensors.decode(block.values, size, delta.codec)
        block.values = tensors.encode((factor * values).astype(np.float32), pb.FLOAT32)
    return changed


def _int8_size(encoded: int) -> int:
    """Return how many values an int8 block of so many bytes has: n bytes and 4 for each 64 of them."""
    return next(n for n in range(encoded + 1) if tensors.encoded_size(n, pb.INT8) == encoded)


def _change_deltas(change: Callable[[pb.Delta], None]) -> None:
    honest = deltas.build

    def build(*arguments: Any, **options: Any) -> tuple[bytes, Any]:  # noqa: ANN401 - whatever the device says
        body, residuals = honest(*arguments, **options)
        delta = messages.decode(pb.Delta, body)
        change(delta)
        return messages.encode(delta), residuals

    deltas.build = build


LIES: Final[Mapping[str, Callable[[], None]]] = {
    "examples": claim_examples,
    "class-sums": claim_class_sums,
    "flip": flip(8.0),
    "flip-short": flip(1.0),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a device with a lie."""
    name, *rest = sys.argv[1:] if argv is None else argv
    LIES[name]()
    return edge.main(rest)


if __name__ == "__main__":
    raise SystemExit(main())
