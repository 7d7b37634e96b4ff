"""`python -m android_demo.runtime_on_jvm PACKAGE`: does a package compute on Android's runtime as it does here?"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from android_demo.errors import BuildError
from android_demo.runtime_on_jvm.build import prepare
from android_demo.runtime_on_jvm.compare import STEPS, compare
from android_demo.runtime_on_jvm.run import facts
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.manifest import Package


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    command = argparse.ArgumentParser(
        prog="python -m android_demo.runtime_on_jvm",
        description="Execute every method of a package with Android's own ExecuTorch (x86-64, unmodified) on this"
        " machine's Java, and compare every output with this machine's ExecuTorch, bit for bit.",
        epilog="exit codes: 0 all equal, 1 something differs or failed, 2 bad usage",
    )
    command.add_argument("package", type=Path, help="folder of a device package")
    command.add_argument(
        "--steps", type=int, default=STEPS, metavar="N", help="steps of each method (default %(default)s)"
    )
    command.add_argument(
        "--threads", type=int, default=2, metavar="N", help="threads of the kernels (default %(default)s)"
    )
    command.add_argument("--json", action="store_true", help="print one JSON object")
    return command


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        runtime = prepare(lambda line: print(line, file=sys.stderr))
        said = facts(runtime)
        comparisons = compare(Package.open(options.package), runtime, steps=options.steps, threads=options.threads)
    except (BuildError, FederationError) as error:
        print(f"runtime_on_jvm: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps({"runtime": said, "methods": [asdict(one) for one in comparisons]}))
    for one in () if options.json else comparisons:
        verdict = f"{len(one.different)} differ, by {one.error:.1e} at most" if one.different else "all equal"
        print(f"{one.method} ({one.mode.lower()}): {one.outputs} outputs, {verdict}; {one.ms:.1f} ms a step")
        for name in one.different:
            print(f"  {name}")
    return 1 if any(one.different for one in comparisons) else 0


if __name__ == "__main__":
    sys.exit(main())
