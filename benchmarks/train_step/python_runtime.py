"""The process of ``ours_python``: the package's program through `edge_runtime.program`; torch is not imported."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.train_step import native, timing
from edge_runtime.program.program import Program
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.manifest import Package


def main() -> int:
    """Measure the largest tier of a package."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    timing.add_arguments(parser)
    arguments = parser.parse_args()
    package = Package.open(arguments.package)
    manifest = package.manifest
    method = manifest.tiers[0].method
    spec = manifest.methods[method]
    inputs = dict(zip((tensor.name for tensor in spec.inputs), native.inputs_of(spec), strict=True))
    with Program.open(package.path("program.pte"), manifest.methods, threads=arguments.threads) as program:

        def step() -> float:
            outputs = program.execute(method, inputs)
            inputs.update({name: value for name, value in outputs.items() if name in inputs})
            return float(outputs[ports.LOSS][0])

        done = timing.report(step, arguments)
    if "torch" in sys.modules:
        sys.stderr.write("torch was imported, so this is not the runtime of a device; is the native driver built?\n")
        return 1
    return done


if __name__ == "__main__":
    sys.exit(main())
