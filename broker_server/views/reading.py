"""Opening a state directory for views."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker_server.state.readings import Readings


@contextmanager
def reading(folder: Path) -> Iterator[Readings]:
    """Open the ledger of a state directory for reading, also while a gateway writes it, and close it afterwards.

    Raises:
        StateError: when there is none, or it cannot be read.
    """
    ledger = Readings.of(folder)
    try:
        yield ledger
    finally:
        ledger.close()
