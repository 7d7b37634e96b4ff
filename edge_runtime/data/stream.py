"""The texts of a run as one stream: epochs laid end to end, cut into steps where the contract's packing says.

Axes: N examples, B texts of a step at most. A step begins with the entry after the last that the step before took, so
where a run stands is one number, and a resumed run goes on with the same steps, whatever was read ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from edge_runtime.data.batches import Reader, Text
from edge_runtime.data.examples import EntryOrder
from edge_runtime.data.packed import Packed
from edge_runtime.wire.packing import Capacity


@dataclass(frozen=True)
class Step:
    """One step's texts. Args: inputs: by name; texts: entries of the stream that it takes; tokens: of these."""

    inputs: dict[str, npt.NDArray[Any]]
    texts: int
    tokens: int


@dataclass
class TextStream:
    """Reads a run's texts step by step; what was read and not taken yet waits for the next step.

    Args:
        reader: of the texts.
        order: of the entries.
        capacity: of a step.
        ahead: entries that are read together, B at least: a trunk computes texts of a length together, and of 16 texts
            too few have the same.
    """

    reader: Reader
    order: EntryOrder
    capacity: Capacity
    ahead: int = 0
    _waiting: dict[int, Text] = field(default_factory=dict)

    def step(self, taken: int, steps_left: int = 1) -> Step:
        """Return the step that begins with entry ``taken``, counted from 0; ``steps_left`` with it are to come."""
        entries = range(taken, taken + self.capacity.batch)
        self._read(entries, min(self.ahead, steps_left * self.capacity.batch))
        texts = [self._waiting[entry] for entry in entries]
        packed = Packed.next([text.count for text in texts], self.capacity)
        texts = texts[: len(packed)]
        return Step(self.reader.inputs(texts, packed), len(texts), packed.tokens)

    def _read(self, entries: range, ahead: int) -> None:
        """Have these entries at hand; where one is missing, ``ahead`` of them or more are read."""
        self._waiting = {entry: text for entry, text in self._waiting.items() if entry >= entries.start}
        if all(entry in self._waiting for entry in entries):
            return
        unread = [
            entry
            for entry in range(entries.start, max(entries.stop, entries.start + ahead))
            if entry not in self._waiting
        ]
        read = self.reader.texts([self.order.row(entry) for entry in unread])
        self._waiting |= zip(unread, read, strict=True)
