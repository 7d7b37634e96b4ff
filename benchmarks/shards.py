"""How fast a gateway merges int8 deltas, alone and by shards on this machine: ``python -m benchmarks.shards``.

Accepted deltas lie in a spool; a merge is timed from there to the next version's blocks, steps of int8 included, once
with the deltas' parts still to be sent, and once with them there (they are sent ahead while a round is open). Shards of
one machine share its cores and memory with the gateway and Ray, so they show what sharing out costs, not what more
machines gain. Every layout must make the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks import record
from benchmarks.fold import delta_of, shape_of
from broker_server.engine.block_merging import BlockMerge, BlocksBefore, Counted, MergedBlocks
from broker_server.engine.engine import Engine
from broker_server.engine.in_process import InProcess
from broker_server.engine.ray_engine import RayShards
from broker_server.engine.shard import Layout, raw
from broker_server.engine_config import EngineTable
from broker_server.rules.admission import read_claims
from broker_server.state.rows import DeltaRow
from broker_server.state.spool import Spool
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.messages import encode, ids

COMMAND: Final = "python -m benchmarks.shards"
EXAMPLES: Final = """examples:
  python -m benchmarks.shards                             64 deltas of 0.8 MB; alone, and by 1, 2 and 4 shards
  python -m benchmarks.shards --shards 2 --address auto   on a cluster that runs: ray start --head
  python -m benchmarks.shards --json --record

exit codes: 0 done, 1 a layout made other bytes, 2 bad usage"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--devices", type=int, default=64, metavar="N", help="deltas of a merge (%(default)s)")
    add("--experts", type=int, default=10, metavar="N", help="experts that a delta has in each layer (%(default)s)")
    add("--shards", type=int, nargs="*", default=[1, 2, 4], metavar="N", help="layouts on Ray (1 2 4)")
    add("--address", default="", help="of a running cluster, as [engine] has it (default: one is started here)")
    add("--repeats", type=int, default=3, metavar="N", help="of each measurement, the best counts (%(default)s)")
    add("--json", action="store_true", help="print only JSON lines")
    add("--record", action="store_true", help="keep the results in benchmarks/results/shards.jsonl")
    options = parser.parse_args(argv)
    if min(options.devices, options.experts, options.repeats, *options.shards, 1) < 1:
        parser.error("expected 1 device, expert, repeat and shard, or more")
    return options


def spooled(spool: Spool, shape: BankShape, devices: int) -> list[Counted]:
    """Put deltas into a spool; return what they count for."""
    counted = []
    for seed in range(devices):
        delta = delta_of(shape, seed)
        body = encode(delta)
        digest = sha256(body)
        spool.keep(digest, body)
        row = DeltaRow(delta.device, 1, digest, len(body), delta.examples, 1.0, 0.5, 1.0, {}, ids(delta.experts))
        counted.append(Counted(row, read_claims(delta, shape, 0, delta.examples)))
    return counted


def digest_of(merged: MergedBlocks) -> str:
    """Return the digest of everything that a merge made, in the order of blocks."""
    arrays = [some[block] for some in (merged.values, merged.residuals, merged.moments) for block in sorted(some)]
    return sha256(b"".join(map(raw, arrays)) + b"".join(merged.updates[one] for one in sorted(merged.updates))).hex()


def measure(engine: Engine, merge: BlockMerge, before: BlocksBefore, repeats: int) -> dict[str, Any]:
    """Return megabytes of deltas that are merged a second: with parts to be sent, and with parts there."""
    total, best, digests = sum(one.row.bytes for one in merge.counted) / 1e6, [0.0, 0.0], set()
    for turn in range(repeats):
        engine.merged([])  # shards let go of all deltas
        values = {block: one + np.float32(1e-3 * turn) for block, one in before.values.items()}
        for place in (0, 1):  # with other values, or a shard says what it has prepared
            moved = {block: one + np.float32(1e-4 * place) for block, one in values.items()}
            start = BlocksBefore(moved, before.residuals, before.moments)
            began = time.perf_counter()
            merged = engine.merge(merge, start)
            best[place] = max(best[place], total / (time.perf_counter() - began))
            digests.add((turn, place, digest_of(merged)))
    return {"mb_s": round(best[0], 1), "mb_s_sent_ahead": round(best[1], 1), "digests": sorted(digests)}


def results(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Return the figures of each layout."""
    shape = shape_of(options.experts)
    spool = Spool(folder / "spool")
    counted = spooled(spool, shape, options.devices)
    random = np.random.default_rng(0)
    values = {block: random.normal(0, 0.02, shape.size(block)).astype(np.float32) for block in shape.ids()}
    merge, before = BlockMerge(counted, rounded=True), BlocksBefore(values)
    common = {"devices": options.devices, "delta_mb": round(counted[0].row.bytes / 1e6, 3), "cores": os.cpu_count()}
    alone = measure(InProcess(spool, shape, topk=False), merge, before, options.repeats)
    lines, expected = [common | {"shards": 0, "engine": "in-process"} | alone], alone["digests"]
    layout = Layout(bytes(32), shape, topk=False, blocks=shape.ids())
    for shards in options.shards:
        table = EngineTable("ray", shards, options.address, folder=folder / f"shards-{shards}")
        began = time.perf_counter()
        engine = RayShards(table, spool, layout, folder)
        started = time.perf_counter() - began
        try:
            figures = measure(engine, merge, before, options.repeats)
        finally:
            engine.close()
        lines.append(common | {"shards": shards, "engine": "ray", "start_s": round(started, 1)} | figures)
    for line in lines:
        line["same_bytes"] = line.pop("digests") == expected
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 done, 1 a layout made other bytes, 2 bad usage."""
    options = parse(argv)
    with tempfile.TemporaryDirectory() as scratch:
        lines = results(options, Path(scratch))
    for line in lines:
        if options.record:
            record.append("shards", f"{COMMAND} {' '.join(argv or sys.argv[1:])}".rstrip(), line)
        if options.json:
            sys.stdout.write(json.dumps(line) + "\n")
        else:
            name = f"{line['shards']} shards on Ray" if line["shards"] else "in process"
            sys.stdout.write(
                f"{name}: {line['mb_s']} MB of deltas merged a second, {line['mb_s_sent_ahead']} with parts there; "
                f"{'the same bytes' if line['same_bytes'] else 'OTHER BYTES'}\n"
            )
    if not options.json:
        sys.stdout.write(f"the limit: {os.cpu_count()} cores, which gateway, Ray and all shards share\n")
    return int(not all(line["same_bytes"] for line in lines))


if __name__ == "__main__":
    raise SystemExit(main())
