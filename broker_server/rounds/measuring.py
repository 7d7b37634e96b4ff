"""Versions on their way to the evaluator, and what it measured on its way to the ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from broker_server.config import GatewayConfig
from broker_server.errors import StateError
from broker_server.evaluation.gain import no_better_than
from broker_server.evaluation.onnx_model import TextFigures
from broker_server.evaluation.worker import Evaluated, Evaluator
from broker_server.events import Events
from broker_server.state.rows import VersionRow
from broker_server.state.store import Store
from broker_server.state.version_tables import GATE
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.csv_header import Columns
from edge_runtime.wire.manifest import Package


class Measuring:
    """Has versions measured, if the settings name data. Args: store: opened state; events: told what came of it."""

    def __init__(self, store: Store, events: Events) -> None:
        self._store, self._events = store, events
        self._evaluator: Evaluator | None = None
        self._submitted = -1

    @property
    def pending(self) -> int:
        """Return how many versions wait to be measured."""
        return self._evaluator.pending if self._evaluator is not None else 0

    def start(self, config: GatewayConfig, package: Package, post: Callable[[Evaluated], None]) -> None:
        """Begin.

        Args:
            config: settings.
            package: opened with its gateway part.
            post: takes results; called from the evaluator's thread.

        Raises:
            DataError, EvaluationError: when data or model cannot be used.
        """
        if config.evaluate is not None:
            columns = Columns(config.text_column, config.label_column)
            self._evaluator = Evaluator(package, config.evaluate, post, columns)

    def submit_missed(self, newest: int, compared: Sequence[int] = ()) -> None:
        """Have versions measured that a gateway before this one did not come to.

        Args:
            newest: version.
            compared: a version that waits for a decision, and those that it is compared with; it is measured again.
        """
        if self._evaluator is None:
            return
        data, ledger = self._evaluator.data, self._store.ledger
        done = {row["version"] for row in (*ledger.evaluations(), *ledger.text_evaluations()) if row["data"] == data}
        done -= {*compared[:1]}
        for row in sorted(self._store.kept(), key=lambda row: (row.version not in compared, row.version)):
            if row.version not in done:
                with contextlib.suppress(StateError):  # its blocks were removed, or are damaged
                    self._evaluator.submit(row.version, self._store.lineage.load(row.version)[1])
        self._submitted = newest

    def submit(self, row: VersionRow, bank: Bank) -> None:
        """Have the newest version measured, once. Args: row: of it; bank: its blocks."""
        if self._evaluator is not None and row.version > self._submitted:
            self._submitted = row.version
            if row.reason != GATE:  # of that what was measured of its parent is true
                self._evaluator.submit(row.version, bank)

    def note(self, result: Evaluated, wall: float) -> None:
        """Keep a result, and tell it. Args: result: of a version; wall: seconds since 1970."""
        if self._evaluator is not None:
            self._evaluator.pending -= 1
        if result.figures is None:
            self._events.tell("evaluated", version=result.version, failure=result.failure[:300])
            return
        figures, ledger = result.figures, self._store.ledger
        with ledger.transaction():
            if isinstance(figures, TextFigures):
                ledger.keep_text_evaluation(result.version, result.data, (figures.loss, figures.tokens), wall)
            else:
                row = (figures.accuracy, figures.macro_f1, figures.examples)
                ledger.keep_evaluation(result.version, result.data, row, wall)
        start = no_better_than(result.version, figures, ledger.first_versions(), ledger.accuracies(result.data))
        more = {} if start is None else {"no_better_than": start}
        self._events.tell("evaluated", version=result.version, **figures.plain(), **more)

    def stop(self) -> None:
        """Drop what waits."""
        if self._evaluator is not None:
            self._evaluator.stop()
