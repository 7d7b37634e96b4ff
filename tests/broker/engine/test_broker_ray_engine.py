"""Shards over real Ray: the same bytes as one process, and after the death of each actor; nothing is left running.

Ray is the extra [cluster], which CI does not install: 79 MB, and half a minute for one cluster on two busy cores.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from carriers import FEDERATION
from test_broker_shards import CASES, SHAPE, TRAINED, bits, case

from broker_server.engine import ray_engine
from broker_server.engine.in_process import InProcess
from broker_server.engine.ray_engine import RayShards
from broker_server.engine.shard import Layout
from broker_server.engine_config import EngineTable
from broker_server.errors import UsageError
from broker_server.state.database import Database
from broker_server.state.spool import Spool

LAYOUT = Layout(FEDERATION, SHAPE, topk=False, blocks=SHAPE.ids())


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And starts nothing."""
    monkeypatch.setattr(ray_engine, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'edge-experts\[cluster\]'"):
        RayShards(EngineTable("ray", 2), Spool(tmp_path), LAYOUT, tmp_path)


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"shards": 2}, "set engine.kind to ray"),
        ({"kind": "spark"}, "expected one of in-process, ray"),
        ({"kind": "ray", "shards": 0}, "1 or more"),
        ({"kind": "ray", "cpus": -1.0}, "0 or more"),
    ],
)
def test_settings_that_cannot_be_are_refused(table: dict[str, object], match: str) -> None:
    """By name, with what to do."""
    with pytest.raises(UsageError, match=match):
        EngineTable(**table)  # type: ignore[arg-type]


@pytest.mark.skipif(find_spec("ray") is None, reason="the extra [cluster] is not installed")
def test_actors_make_the_bytes_of_one_process_whoever_dies(tmp_path: Path) -> None:
    """Each is killed -9, before a merge and while deltas are read again; Ray begins it, and its ledger is there."""
    spool, handler = Spool(tmp_path / "spool"), signal.getsignal(signal.SIGTERM)
    engine = RayShards(EngineTable("ray", 2), spool, LAYOUT, tmp_path / "state")
    try:
        assert signal.getsignal(signal.SIGTERM) == handler
        for turn, name in enumerate(("FedAdam, int8 steps", "private", "robust, steps taken out")):
            merge, before = case(spool, CASES[name])
            expected = bits(InProcess(spool, SHAPE, topk=False).merge(merge, before))
            assert bits(engine.merge(merge, before)) == expected
            for actor in engine._actors:
                os.kill(actor._process[1], signal.SIGKILL)  # type: ignore[index]
                assert bits(engine.merge(merge, before)) == expected
            _wait_until_watched(engine, turn + 1)
        rows = [one.row for one in merge.counted]
        alone = [gram.products.tobytes() for gram in InProcess(spool, SHAPE, topk=False).grams(rows)]
        assert [gram.products.tobytes() for gram in engine.grams(rows)] == alone
        assert [state.restarts for state in engine.states()] == [3, 3]
        assert all(state.ledger_bytes for state in engine.states())
        children = _children()
        assert children
    finally:
        engine.close()
    assert not children & _children()
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="the extra [cluster] is not installed")
def test_an_actor_killed_at_every_write_to_its_ledger_makes_the_bytes_of_one_process(tmp_path: Path) -> None:
    """Kill -9 before each statement of a merge and of letting go, in turn, until there is none left to be killed at."""
    spool = Spool(tmp_path / "spool")
    merge, before = case(spool, CASES["FedAdam, int8 steps"] | {"devices": 2, "blocks": TRAINED[:1]})
    engine = RayShards(EngineTable("ray", 2), spool, LAYOUT, tmp_path / "state")
    alone = InProcess(spool, SHAPE, topk=False)
    try:
        strike, struck = 0, True
        while struck:
            # Of other values, or a shard says what it has made before.
            moved = replace(before, values={block: one + np.float32(strike) for block, one in before.values.items()})
            processes = _strike(engine, strike)
            assert bits(engine.merge(merge, moved)) == bits(alone.merge(merge, moved)), strike
            engine.merged([])
            strike, struck = (
                strike + 1,
                any(now != then for now, then in zip(_strike(engine, -1), processes, strict=True)),
            )
    finally:
        engine.close()
    assert strike > 10


def _strike(engine: RayShards, strike: int) -> list[int]:
    """Let each actor's process not survive a write to its ledger, counted from now; return the processes. -1: none."""

    def armed(_shard: object) -> int:
        def execute(database: Database, statement: str, values: Any = ()) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return plain(database, statement, values)

        left, plain = [strike], getattr(Database, "plain", Database._execute)
        Database.plain, Database._execute = plain, execute  # type: ignore[attr-defined, method-assign]
        return os.getpid()

    import ray

    return list(ray.get([actor._handle.__ray_call__.remote(armed) for actor in engine._actors]))


def _wait_until_watched(engine: RayShards, restarts: int) -> None:
    """Wait until the gateway has heard of each actor's newest process."""
    until = time.monotonic() + 60
    while any(state.restarts < restarts for state in engine.states()):
        assert time.monotonic() < until, engine.states()
        time.sleep(0.2)


def _children() -> set[int]:
    """Return the processes that this one began and that run."""
    pids = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == os.getpid() and words[0] != "Z":
            pids.add(int(path.parent.name))
    return pids
