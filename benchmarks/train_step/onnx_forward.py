"""The process of ``onnx_inference``: the forward pass alone, in ONNX Runtime, for scale. It trains nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.train_step import timing
from edge_runtime.wire import program_interface as ports
from edge_runtime.wire.manifest import Package


def main() -> int:
    """Measure the gateway's program on a batch of the largest tier."""
    import onnxruntime  # noqa: PLC0415 - heavy

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", type=Path, required=True)
    timing.add_arguments(parser)
    arguments = parser.parse_args()
    package = Package.open(arguments.package)
    tier, bank = package.manifest.tiers[0], package.bank()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = onnxruntime.InferenceSession(str(package.path("gateway/model.onnx")), options)
    text = (tier.batch_size, tier.seq_len)
    feeds: dict[str, np.ndarray[Any, Any]] = {
        ports.EXPERTS: bank.experts,
        ports.SHARED: bank.shared,
        ports.HEAD: bank.head,
        ports.MEAN: bank.mean,
    }
    feeds |= {ports.IDS: np.random.default_rng(0).integers(1000, 20000, text), ports.MASK: np.ones(text, np.float32)}
    wanted = {entry.name for entry in session.get_inputs()}
    feeds = {name: array for name, array in feeds.items() if name in wanted}
    return timing.report(lambda: float(session.run(None, feeds)[0].max()), arguments)


if __name__ == "__main__":
    sys.exit(main())
