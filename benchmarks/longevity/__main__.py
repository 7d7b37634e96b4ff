"""`python -m benchmarks.longevity`: many versions, one after another; what the gateway keeps and what a round costs."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks import record
from benchmarks.longevity.day import Look, run
from broker_server.config_tables import Limits
from edge_runtime.wire.errors import FederationError

COMMAND: Final = "python -m benchmarks.longevity"
EXAMPLES: Final = """examples:
  python -m benchmarks.longevity --versions 10000 --record
  python -m benchmarks.longevity --versions 500 --keep-versions 5 --keep-rounds 50

exit codes: 0 done, 1 the work failed or a delta is lost, 2 bad usage"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="A gateway's life in fast motion: memory, disk and milliseconds of a round.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, limits = parser.add_argument, Limits()
    add("--versions", type=int, default=10_000, metavar="N", help="to be made (%(default)s)")
    add("--keep-versions", type=int, default=limits.keep_versions, metavar="N", help="[limits] (%(default)s)")
    add("--keep-rounds", type=int, default=limits.keep_rounds, metavar="N", help="[limits] (%(default)s)")
    add("--out", type=Path, default=Path("runs/longevity"), metavar="DIR", help="output folder (%(default)s)")
    add("--json", action="store_true", help="print only the JSON line")
    add("--record", action="store_true", help="keep the result in benchmarks/results/longevity.jsonl")
    options = parser.parse_args(argv)
    if options.versions < 1 or min(options.keep_versions, options.keep_rounds) < 0:
        parser.error("expected 1 version or more, and no negative limit")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 done, 1 the work failed, 2 bad usage."""
    options = parse(argv)
    console = Console(stderr=options.json, highlight=False)

    def tell(look: Look) -> None:
        console.print(
            f"version {look.version:6,}: {look.rss_mib:.1f} MiB, ledger {look.ledger_kb:,} kB, "
            f"in all {look.disk_kb:,} kB in {look.files:,} files; a round takes {look.round_ms:.1f} ms, "
            f"{look.cpu_ms:.1f} of the processor"
        )

    shutil.rmtree(options.out, ignore_errors=True)
    try:
        figures = run(options.out, options.versions, (options.keep_versions, options.keep_rounds), tell)
    except FederationError as error:
        sys.stderr.write(f"longevity: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    figures |= {"keep_versions": options.keep_versions, "keep_rounds": options.keep_rounds}
    console.print(f"a start after it: {figures['restart_s']:.2f} s")
    if options.record:
        record.append("longevity", COMMAND, figures)
    sys.stdout.write(json.dumps(figures) + "\n")
    if figures["accepted"] != figures["counted"]:
        sys.stderr.write(f"longevity: {figures['accepted']} deltas were accepted, {figures['counted']} count\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
