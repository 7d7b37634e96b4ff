"""Shards as Ray actors: placed, restarted and watched by Ray. The driver of ray, loaded only when it is asked for.

An actor is ``shard.Shard``; ``max_restarts=-1`` begins one that died again, with the ledger that it finds, and
``max_task_retries=-1`` makes its calls again, which changes nothing (see there). Actors belong to the gateway's
process: with it they go, and the next start begins them again.

Without an address Ray is started for this gateway: on 127.0.0.1, with a token that only its own processes know, no
dashboard, no usage statistics, files in a private folder.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from broker_server.engine.block_merging import BlockMerge, BlocksBefore, Gram, MergedBlocks
from broker_server.engine.shard import Layout, Look, Shard, release
from broker_server.engine.sharded import Sharded
from broker_server.engine_config import EngineTable
from broker_server.errors import EngineError, UsageError
from broker_server.rules.ranges import ranges_of
from broker_server.state.rows import DeltaRow
from broker_server.state.spool import Spool
from edge_runtime.wire.experts import BankShape

MISSING: Final = "engine.kind = \"ray\" needs Ray, which is not installed: pip install 'edge-experts[cluster]'"
PLACED_S: Final = 120.0
"""How long shards may take to be placed and started."""
HEAD_S: Final = 10.0
"""How long a cluster's head may take to answer at all."""
PATIENCE_S: Final = 60.0
"""A shard that has not said how it is for so long is given up for now; a merge is tried again later."""
WATCH_S: Final = 2.0
"""How often shards are asked how they are."""
_LOCAL_ENVIRONMENT: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's word for: this machine only, so everything is on 127.0.0.1
}
_TOKEN: Final = secrets.token_hex(32)
"""Of this process for all that it starts: Ray reads a token once."""
_prepared: Final[list[bool]] = []
"""Whether Ray was imported here for clusters of this machine alone."""
_STORE_BYTES: Final = 256 * 1024 * 1024
"""Of Ray's shared memory, beside three times the bank."""


@dataclass(frozen=True)
class ShardState:
    """How a shard is, as far as the gateway knows.

    Args:
        number: of it.
        blocks: of the bank that it has.
        state: "ok", or "away": it has not said anything for a while; Ray is starting it again, or has no place for it.
        restarts: since the gateway started.
        node: name of its machine; ledger_bytes: on its disk; merges: since its process began.
    """

    number: int
    blocks: int
    state: str = "ok"
    restarts: int = 0
    node: str = ""
    ledger_bytes: int = 0
    merges: int = 0


class _Answer:
    """What an actor will have answered. Args: reference: Ray's; actor: it."""

    def __init__(self, reference: Any, actor: _Actor) -> None:  # noqa: ANN401 - Ray's
        self._reference, self._actor = reference, actor

    def get(self) -> Any:  # noqa: ANN401 - as the call says
        """Wait for it, as long as the actor is there or may come back. Raises: as ``sharded.Answer``."""
        import ray  # noqa: PLC0415

        while True:
            try:
                return ray.get(self._reference, timeout=1.0)
            except ray.exceptions.GetTimeoutError:
                if self._actor.silent_s > PATIENCE_S:
                    what = f"shard {self._actor.number} has not answered for {PATIENCE_S:g} s"
                    raise EngineError(f"{what}; ray status says what the cluster lacks") from None
            except (ray.exceptions.RayActorError, ray.exceptions.RaySystemError, ConnectionError) as error:
                raise EngineError(f"shard {self._actor.number}: {' '.join(str(error).split())[:300]}") from error


class _Actor:
    """A shard that is a Ray actor. Args: number: of it; handle: Ray's; blocks: of the bank that it has."""

    def __init__(self, number: int, handle: Any, blocks: int) -> None:  # noqa: ANN401 - Ray's
        self.number, self._handle = number, handle
        self.state = ShardState(number, blocks, "away")
        self._process: tuple[str, int] | None = None
        self._heard = time.monotonic()
        self._looking: Any = None

    @property
    def silent_s(self) -> float:
        """Seconds since it last said how it is."""
        return time.monotonic() - self._heard

    def ask(self, call: str, *arguments: Any) -> _Answer:  # noqa: ANN401 - as the call says
        """Begin a call."""
        return _Answer(getattr(self._handle, call).remote(*arguments), self)

    def watch(self) -> None:
        """Take what it says of itself, if it has, and ask again."""
        import ray  # noqa: PLC0415

        if self._looking is None:
            self._looking = self._handle.look.options(concurrency_group="look").remote()
        done, _ = ray.wait([self._looking], timeout=0)
        if not done:
            if self.silent_s > 3 * WATCH_S:
                self.state = replace(self.state, state="away")
            return
        looking, self._looking = self._looking, None
        with contextlib.suppress(ray.exceptions.RayError):
            self.take(ray.get(looking))

    def first(self, seconds: float) -> Look:
        """Wait until it says how it is for the first time. Raises: EngineError."""
        import ray  # noqa: PLC0415

        looking = self._handle.look.options(concurrency_group="look").remote()
        try:
            look: Look = ray.get(looking, timeout=max(0.1, seconds))
        except ray.exceptions.GetTimeoutError:
            what = f"shard {self.number} was not placed within {PLACED_S:g} s"
            raise EngineError(f"{what}: take fewer shards, engine.cpus = 0, or more nodes") from None
        except ray.exceptions.RayError as error:
            raise EngineError(f"shard {self.number} cannot start: {' '.join(str(error).split())[-400:]}") from error
        self.take(look)
        return look

    def take(self, look: Look) -> None:
        """Take note of how it is."""
        process = (look.node, look.pid)
        again = self._process is not None and process != self._process
        self._process, self._heard = process, time.monotonic()
        self.state = ShardState(
            self.number, self.state.blocks, "ok", self.state.restarts + again, look.node, look.ledger_bytes, look.merges
        )


class RayShards:
    """The engine of Ray actors; an Engine.

    Args:
        table: settings.
        spool: of deltas.
        layout: of the federation: its digest, shape and gates, all blocks.
        state: the gateway's state directory.

    Raises:
        UsageError: when Ray is not installed, or there are more shards than the bank can be divided into.
        EngineError: when it cannot be started or reached, or has no place for the shards.
    """

    def __init__(self, table: EngineTable, spool: Spool, layout: Layout, state: Path) -> None:
        if find_spec("ray") is None:
            raise UsageError(MISSING)
        ranges = ranges_of(layout.shape, table.shards, topk=layout.topk)
        self._folder: Path | None = None
        self._over = threading.Event()
        try:
            self._connect(table, layout.shape)
            folder = (table.folder or state / "shards").resolve()
            self._actors = [
                _Actor(number, _begun(folder / str(number), replace(layout, blocks=blocks), table.cpus), len(blocks))
                for number, blocks in enumerate(ranges)
            ]
            self._await_all()
        except BaseException:
            self._disconnect()
            raise
        self._sharded = Sharded(spool, layout.shape, list(zip(ranges, self._actors, strict=True)), topk=layout.topk)
        threading.Thread(target=self._watch, name="shards-watch", daemon=True).start()

    def accepted(self, digest: bytes) -> None:
        """Send a delta's parts ahead."""
        self._sharded.accepted(digest)

    def merge(self, merge: BlockMerge, before: BlocksBefore) -> MergedBlocks:
        """Return the next version of all blocks. Raises: as Sharded."""
        return self._sharded.merge(merge, before)

    def grams(self, rows: Sequence[DeltaRow]) -> Iterator[Gram]:
        """Yield inner products of deltas. Raises: as Sharded."""
        return self._sharded.grams(rows)

    def merged(self, waiting: Collection[bytes]) -> None:
        """Let shards let go of what is merged."""
        self._sharded.merged(waiting)

    def states(self) -> tuple[ShardState, ...]:
        """Return how the shards are, as of the last few seconds."""
        return tuple(actor.state for actor in self._actors)

    def close(self) -> None:
        """End the shards, and Ray where it was started here."""
        if not self._over.is_set():
            self._over.set()
            self._sharded.close()
            self._disconnect()

    def _connect(self, table: EngineTable, shape: BankShape) -> None:
        """Start Ray, or connect to it. Ray takes signals for itself: the gateway's handlers are put back."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        options: dict[str, Any] = {"address": table.address}
        if not table.address:
            if "ray" in sys.modules and not _prepared:
                # What keeps it to 127.0.0.1 and to a token is read when Ray is imported.
                msg = "Ray was imported before the gateway could prepare it: start Ray yourself, and set engine.address"
                raise EngineError(msg)
            _prepared.append(True)
            self._folder = Path(tempfile.mkdtemp(prefix="edge-ray-"))
            token = self._folder / "token"
            token.touch(mode=0o600)
            token.write_text(_TOKEN)
            os.environ |= _LOCAL_ENVIRONMENT | {"RAY_AUTH_TOKEN_PATH": str(token)}
            store = _STORE_BYTES + 3 * shape.nbytes
            options = {"address": "local", "num_cpus": max(os.cpu_count() or 1, int(table.shards * table.cpus) + 1)}
            options |= {
                "object_store_memory": store,
                "include_dashboard": False,
                "_temp_dir": str(self._folder / "ray"),
            }
        import ray  # noqa: PLC0415

        main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if main else ()
        handlers = {number: signal.getsignal(number) for number in numbers}
        logging.getLogger("ray").setLevel(logging.CRITICAL)  # what becomes of shards is told by the gateway
        try:
            if table.address:
                _reach(table.address)
            ray.init(log_to_driver=False, configure_logging=False, **options)
        except Exception as error:
            where = table.address or "this machine"
            raise EngineError(f"Ray on {where} cannot be used: {' '.join(str(error).split())[:300]}") from error
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _await_all(self) -> None:
        until, ours = time.monotonic() + PLACED_S, release()
        for actor in self._actors:
            look = actor.first(until - time.monotonic())
            if look.release != ours:
                raise EngineError(
                    f"shard {actor.number} on {look.node} has {look.release}, this gateway {ours}: install alike"
                )

    def _watch(self) -> None:
        while not self._over.wait(WATCH_S):
            for actor in self._actors:
                with contextlib.suppress(Exception):  # Ray is going down, or gone: the actor is away then
                    actor.watch()

    def _disconnect(self) -> None:
        if find_spec("ray") is not None:
            import ray  # noqa: PLC0415

            with contextlib.suppress(Exception):
                ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            for name in (*_LOCAL_ENVIRONMENT, "RAY_AUTH_TOKEN_PATH"):
                os.environ.pop(name, None)


def _reach(address: str) -> None:
    """Connect once to a cluster's head. Ray itself goes on trying for twelve minutes where none answers.

    Raises:
        OSError: when nobody listens there.
    """
    from ray._private.services import canonicalize_bootstrap_address  # noqa: PLC0415 - what "auto" stands for

    head = canonicalize_bootstrap_address(address)
    if head is not None:
        host, _, port = head.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), HEAD_S).close()
        except OSError as error:
            why = error.strerror or error
            raise ConnectionError(f"no head answers at {head} ({why}): start Ray there first") from error


def _begun(folder: Path, layout: Layout, cpus: float) -> Any:  # noqa: ANN401 - Ray's
    """Return a handle of an actor that Ray begins somewhere, and wherever it has to later."""
    import ray  # noqa: PLC0415

    actor = ray.remote(concurrency_groups={"look": 1}, max_restarts=-1, max_task_retries=-1, num_cpus=cpus)(Shard)
    return actor.options(scheduling_strategy="SPREAD").remote(folder, layout)
