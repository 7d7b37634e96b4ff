"""Shards for tests: in this process, or each call in a process of its own that can be killed at any statement."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker_server.engine.shard import Layout, Shard
from broker_server.engine.sharded import Sharded
from broker_server.rules.ranges import ranges_of
from broker_server.state.database import Database
from broker_server.state.spool import Spool
from edge_runtime.wire.experts import BankShape

FEDERATION = b"f" * 32


@dataclass
class Here:
    """A shard in this process: what is asked is done at once."""

    shard: Shard
    asked: list[str] = field(default_factory=list)

    def ask(self, call: str, *arguments: Any) -> Done:
        """Do it."""
        self.asked.append(call)
        return Done(getattr(self.shard, call)(*arguments))


@dataclass(frozen=True)
class Done:
    """An answer that is here."""

    answer: Any

    def get(self) -> Any:
        """Return it."""
        return self.answer


@dataclass
class Forked:
    """A shard whose every call runs in a new process; one that was killed is begun again, as Ray does.

    Args:
        folder, layout: of the shard.
        strike: number of the write to its ledger that its process does not survive, counted over all calls; -1: none.
    """

    folder: Path
    layout: Layout
    strike: int = -1
    writes: int = 0
    deaths: int = 0

    def ask(self, call: str, *arguments: Any) -> Done:
        """Do it, however often it takes."""
        while True:
            died, answer = self._once(call, arguments)
            if not died:
                return Done(answer)
            self.deaths += 1

    def _once(self, call: str, arguments: Any) -> tuple[bool, Any]:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reading)
            try:
                self._work(call, arguments, writing)
            finally:
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(pid, 0)
        if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
            self.strike = -1
            return True, None
        assert os.waitstatus_to_exitcode(status) == 0, said
        answer, self.writes = pickle.loads(said)  # noqa: S301 - of our own child
        return False, answer

    def _work(self, call: str, arguments: Any, writing: int) -> None:
        execute: Callable[..., Any] = Database._execute

        def struck(database: Database, statement: str, values: Any = ()) -> Any:
            if self.writes == self.strike:
                os.kill(os.getpid(), signal.SIGKILL)
            self.writes += 1
            return execute(database, statement, values)

        Database._execute = struck  # type: ignore[method-assign]
        shard = Shard(self.folder, self.layout)
        answer = getattr(shard, call)(*arguments)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps((answer, self.writes)))
        os._exit(0)


def shards(
    folder: Path, spool: Spool, shape: BankShape, count: int, *, topk: bool, of: Any = None, ahead: bool = False
) -> tuple[Sharded, list[Any]]:
    """Return an engine of shards, and its handles. Args: of: makes a handle of a folder and a layout."""
    make = of or (lambda place, layout: Here(Shard(place, layout)))
    ranges = ranges_of(shape, count, topk=topk)
    handles = [
        make(folder / str(number), Layout(FEDERATION, shape, topk, blocks)) for number, blocks in enumerate(ranges)
    ]
    return Sharded(spool, shape, list(zip(ranges, handles, strict=True)), topk=topk, ahead=ahead), handles
