"""The process that makes an arm's program: ``python -m benchmarks.language_model.program --model DIR ...``.

Export's own compiler, and of a package only what is measured: the training method, and the sizes of its inputs.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path

from edge_runtime.program.memory import peak_rss_mib
from edge_runtime.wire.experts import BankShape
from edge_runtime.wire.manifest_checks import Quantization
from edge_runtime.wire.program_interface import (
    MethodKind,
    MethodShape,
    ModelShape,
    TensorSpec,
    input_ports,
    output_ports,
)
from export.compiling.compile import compile_program
from export.compiling.recompute import LEVELS
from export.planning.job import Job
from export.source import backbone as backbones


def main() -> int:
    """Compile, write program.pte and ports.json into the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--experts", type=int, required=True)
    parser.add_argument("--trained", type=int, required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--quantize", choices=[one.value for one in Quantization], default=Quantization.INT8.value)
    parser.add_argument("--recompute", choices=LEVELS, default="none")
    options = parser.parse_args()
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    info = backbones.find(options.model)
    adapted = tuple(range(info.sizes.depth))
    bank = BankShape(adapted, options.experts, options.rank, options.rank, info.sizes.width, 0)
    model = ModelShape(bank, vocabulary=info.sizes.vocabulary)
    frozen = options.experts - options.trained
    rows = options.batch  # a window fills its row
    sizes = {"sequence": options.tokens, "rows": rows, "batch": options.batch}
    train = MethodShape(MethodKind.TRAIN, options.trained, frozen, **sizes, recompute=options.recompute)
    stages: list[tuple[str, float]] = []
    job = Job(info, model, (train,), Quantization(options.quantize))

    def progress(stage: str) -> None:
        stages.append((stage, time.monotonic()))
        print(f"export: {stage}", file=sys.stderr, flush=True)

    started = time.monotonic()
    lowered = compile_program(backbones.load(info, "causal-lm"), job, progress)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "program.pte").write_bytes(lowered.data)
    ended = time.monotonic()
    starts = [at for _, at in stages] + [ended]
    seconds = {stage: round(starts[place + 1] - at, 1) for place, (stage, at) in enumerate(stages)}
    record = {
        "method": train.name,
        "parameters": info.parameters,
        "model": asdict(model),
        "inputs": _plain(input_ports(model, train)),
        "outputs": _plain(output_ports(model, train)),
        "planned_mib": {name: count / 2**20 for name, count in lowered.planned.items()},
        "workspace_mib": lowered.workspace[train.name] / 2**20,
        "kept_mib": sum(part["kept_bytes"] for part in lowered.explained[train.name]["parts"]) / 2**20,
        "outside": lowered.outside,
        "export_s": ended - started,
        "export_peak_rss_mib": peak_rss_mib(),
        "stages": seconds,
    }
    (options.out / "about.json").write_text(json.dumps(record), encoding="utf-8")
    return 0


def _plain(ports: tuple[TensorSpec, ...]) -> list[dict[str, object]]:
    return [asdict(port) for port in ports]


if __name__ == "__main__":
    sys.exit(main())
