"""Shards over a Ray cluster of two nodes that somebody else started: a node dies, and then the head is gone.

Two nodes of one machine are two raylets, each with its own workers. Ray is the extra [cluster], which CI has not.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_broker_ray_engine import LAYOUT
from test_broker_shards import CASES, SHAPE, bits, case

from broker_server.engine.in_process import InProcess
from broker_server.engine.ray_engine import RayShards
from broker_server.engine_config import EngineTable
from broker_server.errors import EngineError
from broker_server.state.spool import Spool

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="the extra [cluster] is not installed"),
]
STARTED_S = 60.0


@pytest.fixture
def address() -> Iterator[str]:
    """Yield the address of a head with one more node; both are gone afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="ray-")  # paths of sockets must be short
    with ExitStack() as open_:
        open_.callback(shutil.rmtree, folder, ignore_errors=True)
        head = ["--head", "--port", str(port), "--node-ip-address", "127.0.0.1", "--include-dashboard=false"]
        for which in ([*head, "--temp-dir", folder], ["--address", f"127.0.0.1:{port}"]):
            open_.callback(end, node := begin([*which, "--num-cpus", "2"]))
            until = time.monotonic() + STARTED_S
            while not answers(port):
                assert node.poll() is None
                assert time.monotonic() < until
                time.sleep(0.2)
        yield f"127.0.0.1:{port}"


def begin(arguments: list[str]) -> subprocess.Popen[bytes]:
    """Start a node, in a process group of its own."""
    return subprocess.Popen(
        [str(Path(sys.executable).parent / "ray"), "start", "--block", *arguments],
        start_new_session=True, env=os.environ | {"RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def end(node: subprocess.Popen[bytes]) -> None:
    """Kill all of a node."""
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGKILL)
    node.wait()


def answers(port: int) -> bool:
    """Return whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_node_dies_and_its_shard_comes_back_on_the_other(address: str, tmp_path: Path) -> None:
    """With the bytes of one process, before and after; a start without a head is refused at once."""
    import ray

    spool = Spool(tmp_path / "spool")
    alone = InProcess(spool, SHAPE, topk=False)
    ray.init(address, log_to_driver=False)
    until = time.monotonic() + STARTED_S
    while sum(node["Alive"] for node in ray.nodes()) < 2:
        assert time.monotonic() < until
        time.sleep(0.2)
    ray.shutdown()
    engine = RayShards(EngineTable("ray", 2, address=address, cpus=1.0), spool, LAYOUT, tmp_path / "state")
    try:
        own = ray.get_runtime_context().get_node_id()
        assert len(set(places(engine))) == 2
        merge, before = case(spool, CASES["FedAdam, int8 steps"])
        assert bits(engine.merge(merge, before)) == bits(alone.merge(merge, before))
        (other,) = (node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] != own)
        os.kill(raylet(other), signal.SIGKILL)
        merge, before = case(spool, CASES["private"])
        assert bits(engine.merge(merge, before)) == bits(alone.merge(merge, before))
        until = time.monotonic() + STARTED_S
        while sum(state.restarts for state in engine.states()) < 1:
            assert time.monotonic() < until, engine.states()
            time.sleep(0.2)
        assert places(engine) == [own, own]
        assert bits(engine.merge(merge, before)) == bits(alone.merge(merge, before))
    finally:
        engine.close()


def test_without_a_head_it_does_not_start(tmp_path: Path) -> None:
    """Ray itself would try for twelve minutes."""
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(EngineError, match=r"no head answers at .*start Ray there first"):
            RayShards(EngineTable("ray", 2, address=address), Spool(tmp_path), LAYOUT, tmp_path)
        assert time.monotonic() - began < STARTED_S


def places(engine: RayShards) -> list[str]:
    """Return the node of each shard."""
    import ray

    def node(_shard: object) -> str:
        here: str = ray.get_runtime_context().get_node_id()
        return here

    return list(ray.get([actor._handle.__ray_call__.remote(node) for actor in engine._actors]))


def raylet(socket_name: str) -> int:
    """Return the process of the node that has this socket."""
    (pid,) = (
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"--raylet_socket_name={socket_name}" in path.read_bytes().decode(errors="replace").split("\0")
    )
    return pid
