"""How fast a gateway folds int8 deltas, beside what the machine's memory can do: ``python -m benchmarks.fold``.

Axes: D deltas of V values, all in memory, as they came. Folding reads each byte once and keeps float64 sums; the copy
is STREAM's (McCalpin 1995): arrays larger than the caches, bytes read plus bytes written. Both in this process, in
turns, the best of each, as STREAM counts. The bits are compared with those of whole float64 arrays, the way without
pieces. What else a body costs before it is folded stands beside it: SHA-256, parsing, the look at every value.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from benchmarks import record
from broker_server.engine.block_merging import THREADS, at_once
from broker_server.rules.admission import check_values
from broker_server.rules.aggregate import Contribution, Sums, fold_all
from broker_server.rules.encoded_block import EncodedBlock, values_of
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId
from edge_runtime.wire.messages import decode, encode

COMMAND: Final = "python -m benchmarks.fold"
EXAMPLES: Final = """examples:
  python -m benchmarks.fold                            32 deltas of 0.8 MB
  python -m benchmarks.fold --devices 64 --experts 2   smaller ones
  python -m benchmarks.fold --topk --json              with routers, as one JSON line

exit codes: 0 done, 1 the sums have other bits than they should, 2 bad usage"""
LAYERS: Final = tuple(range(6))
WIDTH, RANK, LABELS = 384, 16, 20
COPY_BYTES: Final = 256 * 1024 * 1024
GB: Final = 1e9


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Fold int8 deltas into sums, and copy memory as STREAM does: gigabytes a second of both.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--devices", type=int, default=32, metavar="N", help="deltas that are folded together (%(default)s)")
    add("--experts", type=int, default=10, metavar="N", help="experts that a delta has in each layer (%(default)s)")
    add(
        "--repeats", type=int, default=5, metavar="N", help="repeats of each measurement; the best counts (%(default)s)"
    )
    add("--threads", type=int, default=THREADS, metavar="N", help="that share the blocks (%(default)s)")
    add("--topk", action="store_true", help="routers chose experts: their rows are centred")
    add("--json", action="store_true", help="print only the JSON line")
    add("--record", action="store_true", help="keep the result in benchmarks/results/fold.jsonl")
    options = parser.parse_args(argv)
    if min(options.devices, options.experts, options.repeats, options.threads) < 1:
        parser.error("expected 1 device, expert, repeat and thread, or more")
    return options


def shape_of(experts: int) -> BankShape:
    """Return the shape of the bank."""
    return BankShape(LAYERS, experts, RANK, RANK, WIDTH, LABELS)


def delta_of(shape: BankShape, seed: int) -> pb.Delta:
    """Return a device's delta: every block, int8."""
    random = np.random.default_rng(seed)
    experts = [
        pb.ExpertDelta(
            layer=block.layer,
            index=block.index,
            values=tensors.encode(random.normal(0, 0.01, shape.size(block)).astype(np.float32), pb.INT8),
        )
        for block in trained(shape)
    ]
    return pb.Delta(
        device=f"device-{seed}", plan_digest=bytes(32), round=1, examples=10 + seed, codec=pb.INT8, experts=experts,
        loss_first=1.0, loss_last=0.5, step_ms=1.0, steps=10, label_counts=[1.0] * LABELS,
    )  # fmt: skip


def trained(shape: BankShape) -> list[ExpertId]:
    """Return the blocks of a delta, ascending."""
    return [block for block in sorted(shape.ids()) if not block.shared and shape.size(block) and block <= HEAD]


def contribution_of(delta: pb.Delta, shape: BankShape) -> Contribution:
    """Return what a delta adds."""
    blocks = {
        ExpertId(sent.layer, sent.index): EncodedBlock(
            sent.values, shape.size(ExpertId(sent.layer, sent.index)), delta.codec
        )
        for sent in delta.experts
    }
    use = {block: (30.0, 100.0) for block in blocks if block != HEAD}
    return Contribution(delta.device, 1, delta.examples, 0, blocks, use, tuple(delta.label_counts))


def best(work: Callable[[], object], repeats: int) -> float:
    """Return the shortest seconds of a piece of work."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def slowly(updates: Sequence[Contribution], shape: BankShape, *, topk: bool) -> Sums:
    """Fold whole arrays, one delta after the other."""
    sums = Sums()
    for update in updates:
        arrays = {block: values_of(values) for block, values in update.deltas.items()}
        whole = Contribution(
            update.device, update.round, update.examples, update.staleness, arrays, update.use, update.label_counts
        )
        fold_all(sums, [whole], shape, topk=topk)
    return sums


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures."""
    shape = shape_of(options.experts)
    deltas = [delta_of(shape, seed) for seed in range(options.devices)]
    updates = [contribution_of(delta, shape) for delta in deltas]
    bodies = [encode(delta) for delta in deltas]
    body_bytes = sum(map(len, bodies))
    source, target = np.ones(COPY_BYTES // 8), np.zeros(COPY_BYTES // 8)

    def fold() -> Sums:
        sums = Sums()
        fold_all(sums, updates, shape, topk=options.topk, shares=options.threads, run=at_once)
        return sums

    work: dict[str, tuple[Callable[[], object], int]] = {
        "copy": (lambda: np.copyto(target, source), 2 * COPY_BYTES),
        "fold": (fold, body_bytes),
        "fold_one_by_one": (lambda: slowly(updates, shape, topk=options.topk), body_bytes),
        "sha256": (lambda: [hashlib.sha256(body).digest() for body in bodies], body_bytes),
        "parse": (lambda: [decode(pb.Delta, body) for body in bodies], body_bytes),
        "check": (lambda: [check_values(delta, shape) for delta in deltas], body_bytes),
    }
    rates = {f"{name}_gb_s": size / best(call, options.repeats) / GB for name, (call, size) in work.items()}
    return {
        "devices": options.devices, "delta_mb": round(body_bytes / options.devices / 1e6, 3), "topk": options.topk,
        "threads": options.threads,
        **{name: round(rate, 3) for name, rate in rates.items()},
        "share_of_copy": round(rates["fold_gb_s"] / rates["copy_gb_s"], 4),
        "same_bits": same(fold(), slowly(updates, shape, topk=options.topk)),
    }  # fmt: skip


def same(one: Sums, other: Sums) -> bool:
    """Return whether sums have the same bits."""
    return one.devices == other.devices and all(
        one.deltas[block].tobytes() == other.deltas[block].tobytes()
        and bool((one.weights[block] == other.weights[block]).all())
        for block in other.deltas
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 done, 1 the sums have other bits, 2 bad usage."""
    options = parse(argv)
    figures = measure(options)
    if not options.json:
        sys.stdout.write(
            f"{figures['devices']} deltas of {figures['delta_mb']} MB: folded at {figures['fold_gb_s']:.2f} GB/s of "
            f"int8, {100 * figures['share_of_copy']:.1f} % of the {figures['copy_gb_s']:.1f} GB/s that a copy moves; "
            f"as whole arrays, one by one, {figures['fold_one_by_one_gb_s']:.2f} GB/s\n"
            f"before it: SHA-256 {figures['sha256_gb_s']:.2f}, parsing {figures['parse_gb_s']:.2f}, the look at every "
            f"value {figures['check_gb_s']:.2f} GB/s\n"
        )
    if options.record:
        record.append("fold", f"{COMMAND} {' '.join(argv or sys.argv[1:])}".rstrip(), figures)
    if options.json:
        sys.stdout.write(json.dumps(figures) + "\n")
    if not figures["same_bits"]:
        sys.stderr.write("fold: sums of pieces have other bits than sums of whole arrays\n")
    return int(not figures["same_bits"])


if __name__ == "__main__":
    raise SystemExit(main())
