"""Settings of the engine that merges: the table [engine] of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker_server.errors import UsageError

IN_PROCESS: Final = "in-process"
RAY: Final = "ray"
ENGINES: Final = (IN_PROCESS, RAY)


@dataclass(frozen=True)
class EngineTable:
    """Who merges deltas into versions; the versions are the same, to the byte (docs/operating.md, "Shards").

    Args:
        kind: "in-process": the gateway itself; "ray": shards, each a Ray actor with a range of the experts
            (`pip install 'edge-experts[cluster]'`).
        shards: how many; of "ray".
        address: of a running Ray cluster, HOST:PORT, or "auto" for the one of this machine; "": Ray is started here,
            for this gateway alone, on 127.0.0.1.
        cpus: that Ray sets aside for each shard; 0: none, and shards are spread over the cluster's machines.
        folder: for the shards' ledgers, on the machine of each; none: shards/ in the state directory. It may be
            deleted while no gateway runs.
    """

    kind: str = IN_PROCESS
    shards: int = 1
    address: str = ""
    cpus: float = 0.0
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.kind not in ENGINES:
            raise UsageError(f"engine.kind {self.kind!r}, expected one of {', '.join(ENGINES)}")
        if self.shards < 1:
            raise UsageError(f"engine.shards {self.shards}, expected 1 or more")
        if self.cpus < 0:
            raise UsageError(f"engine.cpus {self.cpus}, expected 0 or more")
        if self.kind == IN_PROCESS and (self.shards > 1 or self.address):
            raise UsageError("engine.shards and engine.address are Ray's: set engine.kind to ray")
