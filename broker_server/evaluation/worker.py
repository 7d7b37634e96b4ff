"""Measures versions in the background, newest last, while rounds go on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from broker_server.evaluation.data import held_out
from broker_server.evaluation.onnx_model import Figures, TextFigures
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.csv_header import USUAL, Columns
from edge_runtime.wire.manifest import Package


@dataclass(frozen=True)
class Evaluated:
    """A result. Args: failure: why there is none, or empty."""

    version: int
    data: str
    figures: Figures | TextFigures | None
    failure: str = ""


class Evaluator:
    """One thread, one ONNX Runtime session.

    Args:
        package: opened with its gateway part.
        data: file of held-out text.
        post: takes results; called from the thread.
        columns: of the file.

    Raises:
        DataError, EvaluationError: when data or model cannot be used; told at the start, not after the first round.
    """

    def __init__(
        self, package: Package, data: Path, post: Callable[[Evaluated], None], columns: Columns = USUAL
    ) -> None:
        self._held_out = held_out(package, data, columns=columns)
        self._post = post
        self._queue: queue.Queue[tuple[int, Bank] | None] = queue.Queue()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="evaluator", daemon=True)
        self._thread.start()
        self.pending = 0

    @property
    def data(self) -> str:
        """Name and digest of the held-out file."""
        return self._held_out.name

    def submit(self, version: int, bank: Bank) -> None:
        """Measure a version when its turn comes."""
        self.pending += 1
        self._queue.put((version, bank))

    def stop(self) -> None:
        """Drop what waits and what is being measured, and wait until the thread has ended.

        A process that ends while ONNX Runtime computes is aborted: its own threads are still there.
        """
        self._stopping = True
        self._held_out.stop()
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (item := self._queue.get()) is not None and not self._stopping:
            version, bank = item
            try:
                self._post(Evaluated(version, self.data, self._held_out.measure(bank)))
            except Exception as error:  # noqa: BLE001 - one version that cannot be measured must not end the rounds
                if self._stopping:
                    return
                self._post(Evaluated(version, self.data, None, str(error)))
