"""`python -m benchmarks.language_model`: tokens a second of training a 135 M-parameter model, ours against PyTorch.

The model has SmolLM's sizes and random weights, and is made in the working folder. Experts stand in all 30 layers (4 of
rank 8 held, 2 trained, and a shared one), soft gates; a step is forward, backward and AdamW over a batch of windows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from benchmarks import record
from benchmarks.language_model import ABOUT, models
from benchmarks.train_step import native
from benchmarks.train_step.compare import OURS, Arm, ArmError, interleaved, summary
from edge_runtime.native import build
from edge_runtime.wire.errors import FederationError
from edge_runtime.wire.program_interface import MethodSpec, TensorSpec

PROGRAMS: Final = {
    OURS: ("int8", "none"),
    "light": ("int8", "light"),
    "int4": ("int4", "none"),
    "int4-light": ("int4", "light"),
}
"""Arms that are programs of ours: how frozen weights are rounded, and what is computed twice instead of kept."""
EXPERTS: Final = 4
TRAINED: Final = 2
RANK: Final = 8
Say = Callable[[str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.language_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--batch", type=int, default=1, metavar="B", help="windows in a step (%(default)s)")
    parser.add_argument("--tokens", type=int, default=128, metavar="S", help="tokens in a window (%(default)s)")
    parser.add_argument("--arms", default=",".join(ABOUT), metavar="A,B", help="arms to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of each arm (%(default)s)")
    parser.add_argument("--steps", type=int, default=5, metavar="N", help="timed steps of a run (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="CPU threads of every arm (%(default)s)")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/language_model"), metavar="DIR", help="working folder (%(default)s)"
    )
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
    programs = {name: export(name, model, options, say) for name in PROGRAMS if name in names}
    arms = {name: _arm(name, programs, model, options) for name in names}
    runs, failed = interleaved(arms, options.repeats, options.threads, say)
    figures = summary(arms, runs)
    for arm in figures["arms"].values():
        arm["tokens_s"] = 1e3 * options.batch * options.tokens / arm["ms_median"]
    for name, (_, about) in programs.items():
        if name in figures["arms"]:
            kept = ("export_s", "export_peak_rss_mib", "planned_mib", "workspace_mib", "kept_mib", "stages")
            figures["arms"][name] |= {key: about[key] for key in kept}
    from export.source.backbone import find  # noqa: PLC0415 - only here, and heavy

    parameters = find(str(model)).parameters
    work = (
        f"{parameters / 1e6:.0f} M parameters, batch {options.batch} x {options.tokens}, experts in all layers:"
        f" {EXPERTS} of rank {RANK} held, {TRAINED} trained, a shared one, AdamW"
    )
    counts = {"failed": failed, "repeats": options.repeats, "steps": options.steps}
    return {"work": work, "extensions": record.extensions(), **figures, **counts}


def export(name: str, model: Path, options: argparse.Namespace, say: Say) -> tuple[Path, dict[str, Any]]:
    """Make the program of an arm, unless it is there; return its folder and what its making told.

    Raises:
        ArmError: when there is none.
    """
    quantize, level = PROGRAMS[name]
    out = options.folder / f"{quantize}_{level}_b{options.batch}_s{options.tokens}"
    if not (out / "about.json").is_file():
        say(f"exporting {out.name} (minutes) ...")
        sizes = {"--batch": options.batch, "--tokens": options.tokens, "--experts": EXPERTS, "--trained": TRAINED}
        words = [str(word) for pair in {**sizes, "--rank": RANK}.items() for word in pair]
        words += ["--quantize", quantize, "--recompute", level]
        line = ["-m", "benchmarks.language_model.program", "--model", str(model), "--out", str(out), *words]
        done = subprocess.run([sys.executable, *line], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ArmError(f"no program to measure: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return out, json.loads((out / "about.json").read_text(encoding="utf-8"))


def _arm(name: str, programs: dict[str, tuple[Path, dict[str, Any]]], model: Path, options: argparse.Namespace) -> Arm:
    if name in programs:
        folder, about = programs[name]
        inputs, outputs = (
            tuple(TensorSpec(one["name"], one["dtype"], tuple(one["shape"])) for one in about[side])
            for side in ("inputs", "outputs")
        )
        spec = MethodSpec(inputs, outputs)
        file = native.write_inputs(folder / "inputs", native.inputs_of(spec))
        runner, program = build.ensure_runner(say=lambda _: None), folder / "program.pte"
        command = native.command(runner, program, about["method"], file, native.feeds_of(spec))
        return Arm(command, options.steps, 1, program.stat().st_size / 1e6, ABOUT[name])
    work = options.folder / "work.json"
    layers = list(range(models.SIZES["num_hidden_layers"]))
    sizes = {"layers": layers, "experts": EXPERTS, "trained": TRAINED, "rank": RANK, "shared_rank": RANK, "labels": 0}
    sizes |= {"logit_scale": 1.0, "batch": options.batch, "sequence": options.tokens}
    work.write_text(json.dumps({"model": str(model), "sizes": sizes}), encoding="utf-8")
    command = (sys.executable, "-m", "benchmarks.language_model.torch_step", "--work", str(work))
    return Arm(command, options.steps, 1, (model / "model.safetensors").stat().st_size / 1e6, ABOUT[name])


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
