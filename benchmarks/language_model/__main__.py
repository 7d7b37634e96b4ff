"""`python -m benchmarks.language_model`: tokens a second of training a 135 M-parameter model, ours against PyTorch.

The model has SmolLM's sizes and random weights, and is made in the working folder. Experts stand in all 30 layers (4 of
rank 8 held, 2 trained, and a shared one), soft gates; a step is forward, backward and AdamW over a batch of windows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.language_model import models
from benchmarks.train_step import native
from benchmarks.train_step.compare import OURS, Arm, ArmError, interleaved, summary
from edge_runtime.native import build
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.manifest import Manifest, Package

ABOUT: Final = {OURS: "ours, int8, native driver process", "eager": "PyTorch eager, fp32"}
QUANTIZED: Final = {OURS: "int8"}
"""Arms that are packages of ours, by what their frozen weights are."""
DEVICE: Final = "linux-x86_64"
EXPERTS: Final = ("--experts", "4", "--train-slots", "2", "--rank", "8", "--shared-rank", "8")
Say = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.language_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch", type=int, default=2, metavar="B", help="windows of a step (%(default)s)")
    parser.add_argument("--tokens", type=int, default=128, metavar="S", help="of a window (%(default)s)")
    parser.add_argument("--arms", default=",".join(ABOUT), metavar="A,B", help="arms to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each arm (%(default)s)")
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="timed steps of a run (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of every arm (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path("runs/language_model"), metavar="DIR", help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--record", action="store_true", help="keep the result in benchmarks/results")
    options = parser.parse_args(argv)
    names = options.arms.split(",")
    if unknown := [name for name in names if name not in ABOUT]:
        parser.error(f"--arms: got {', '.join(unknown)}, expected some of {', '.join(ABOUT)}")
    console = Console(stderr=True, highlight=False)
    try:
        result = measure(names, options, console.print)
    except (ArmError, FederationError) as error:
        sys.stderr.write(f"language_model: {error}\n")
        return 1
    if options.record and not result["failed"]:
        record.append("language_model", "python -m benchmarks.language_model --record", result)
    if options.json:
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        show(result, Console())
    return 1 if result["failed"] else 0


def measure(names: Sequence[str], options: argparse.Namespace, say: Say) -> dict[str, Any]:
    """Make the model and the packages, run the arms in turns, and return the figures.

    Raises:
        ArmError, FederationError: when an arm cannot be made.
    """
    model = models.make(options.folder / "model")
    exports = {name: export(kind, model, options, say) for name, kind in QUANTIZED.items()}
    manifest = Package.open(exports[OURS][0]).manifest
    arms = {name: _arm(name, exports, model, manifest, options) for name in names}
    runs, failed = interleaved(arms, options.repeats, options.threads, say)
    found = summary(arms, runs)
    for figures in found["arms"].values():
        figures["tokens_s"] = 1e3 * options.batch * options.tokens / figures["ms_median"]
    for name, (_, seconds) in exports.items():
        if name in found["arms"]:
            found["arms"][name]["export_s"] = seconds
    parameters = manifest.architecture.backbone.parameters
    work = f"{parameters / 1e6:.0f} M parameters, batch {options.batch} x {options.tokens}, all layers, 2 of 4 experts"
    return {"work": work, **found, "failed": failed, "repeats": options.repeats, "steps": options.steps}


def export(kind: str, model: Path, options: argparse.Namespace, say: Say) -> tuple[Path, float]:
    """Make the package of an arm; return its folder and the seconds that it took, anew or when it was first made.

    Raises:
        ArmError: when there is none.
    """
    out = options.folder / f"{kind}_b{options.batch}_s{options.tokens}"
    note = out.with_suffix(".json")
    if note.is_file() and out.is_dir():
        return out, float(json.loads(note.read_text())["export_s"])
    say(f"exporting {kind} (minutes) ...")
    line = ["export.build", "--device", DEVICE, "--task", "causal-lm", "--model", str(model), "--quantize", kind]
    line += [*EXPERTS, "--seq-len", str(options.tokens), "--batch-size", str(options.batch)]
    line += ["--no-cache", "--out", str(out)]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", *line], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ArmError(f"no package to measure: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    seconds = time.monotonic() - started
    note.write_text(json.dumps({"export_s": seconds}), encoding="utf-8")
    return out, seconds


def _arm(
    name: str, exports: dict[str, tuple[Path, float]], model: Path, manifest: Manifest, options: argparse.Namespace
) -> Arm:
    if name in exports:
        package = Package.open(exports[name][0])
        method = package.manifest.tiers[0].method
        spec = package.manifest.methods[method]
        inputs = native.write_inputs(options.folder / f"{name}.inputs", native.inputs_of(spec))
        program = package.path("program.pte")
        runner = build.ensure_runner(say=lambda _: None)
        command = native.command(runner, program, method, inputs, native.feeds_of(spec))
        return Arm(command, options.steps, 1, program.stat().st_size / 1e6, ABOUT[name])
    work = options.folder / "work.json"
    work.write_text(json.dumps({"model": str(model), "sizes": _sizes(manifest)}), encoding="utf-8")
    command = (sys.executable, "-m", "benchmarks.language_model.torch_step", "--work", str(work))
    return Arm(command, options.steps, 1, (model / "model.safetensors").stat().st_size / 1e6, ABOUT[name])


def _sizes(manifest: Manifest) -> dict[str, Any]:
    arch, tier = manifest.architecture, manifest.tiers[0]
    return {
        "layers": list(arch.adapted_layers),
        "experts": arch.experts,
        "trained": tier.trained_slots,
        "rank": arch.rank,
        "shared_rank": arch.shared_rank,
        "labels": 0,
        "logit_scale": arch.logit_scale,
        "batch": tier.batch_size,
        "sequence": tier.seq_len,
    }


def show(result: dict[str, Any], console: Console) -> None:
    """Print the table."""
    if not console.is_terminal:
        console.width = 120
    table = Table(box=None, pad_edge=False, title=result["work"], title_justify="left")
    for name in ("arm", "what", "tokens/s", "ms a step", "peak MiB", "file MB", "export s", "time ÷ ours"):
        table.add_column(name, justify="left" if name in ("arm", "what") else "right", no_wrap=True)
    ours = result["arms"].get(OURS)
    for name, arm in result["arms"].items():
        ratio = f"{arm['ms_median'] / ours['ms_median']:.2f}" if ours else ""
        exported = f"{arm['export_s']:.0f}" if "export_s" in arm else ""
        row = (f"{arm['tokens_s']:.0f}", f"{arm['ms_median']:.0f}", f"{arm['peak_rss_mib']:.0f}")
        table.add_row(name, ABOUT[name], *row, f"{arm['file_mb']:.0f}", exported, ratio)
    console.print(table)
    for line in result["failed"].values():
        console.print(f"failed: {line}", style="red")
    console.print(f"{record.machine()}; {', '.join(record.extensions())}")


if __name__ == "__main__":
    raise SystemExit(main())
