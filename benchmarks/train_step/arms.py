"""The arms: what each measures, and how its process is started. Preparing them makes every file they need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.train_step import native, programs, torch_step
from benchmarks.train_step.compare import Arm, ArmError
from edge_runtime.native import build
from edge_runtime.wire.manifest import Package
from export.source import backbone as backbones

WORK: Final = "MiniLM, batch 8 x 64, all six layers, 8 experts of rank 8 held, 4 trained, soft gates, AdamW."
ABOUT: Final = {
    "ours": "ours, native driver process",
    "ours_python": "ours, Python edge runtime (no torch)",
    "ours_int4": "ours, frozen linears of 4 bits",
    "eager": "PyTorch eager, fp32",
    "compile": "PyTorch torch.compile, fp32",
    "documented": "ExecuTorch as documented, portable kernels",
    "stock_xnnpack": "ExecuTorch with the stock XNNPACK partitioner",
    "onnx_inference": "ONNX Runtime, forward only, for scale",
    "floor": "only the frozen int8 GEMMs of our step",
}
OURS: Final = {"ours": (), "ours_int4": ("--quantize", "int4")}
"""Programs of packages, and what export is told besides their sizes."""
SLOW: Final = ("documented", "stock_xnnpack")
"""Seconds a step: two steps a run are enough to tell them from milliseconds."""
_COMPILE_WARM_UP: Final = 6
Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What to measure. Args: names: of arms; folder: of everything that is made; steps: timed in one run of an arm."""

    names: tuple[str, ...]
    folder: Path
    steps: int

    @property
    def package(self) -> Path:
        """Folder of the package."""
        return self.folder / "package"


def prepare(plan: Plan, say: Say) -> tuple[dict[str, Arm], dict[str, str]]:
    """Make what the arms need; return them, and why others cannot be made.

    Raises:
        ArmError: when there is no package.
        NativeBuildError: when the native runner cannot be built.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    _export(plan.package, say)
    arms: dict[str, Arm] = {}
    failed: dict[str, str] = {}
    for name in plan.names:
        try:
            arms[name] = _arm(name, plan, say)
        except ArmError as error:
            failed[name] = str(error)
            say(f"failed: {error}")
    return arms, failed


def _export(package: Path, say: Say, options: Sequence[str] = ()) -> None:
    say("exporting the package to measure (from the export cache when it was made before) ...")
    # As many places as 8 full texts take, a row each: what the PyTorch arms compute.
    texts = ("--batch-size", "8", "--seq-len", "64", "--tokens", "512")
    sizes = ("--device", "linux-x86_64", "--train-slots", "4", *texts)
    done = subprocess.run(
        [sys.executable, "-m", "export.build", *sizes, *options, "--out", str(package)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ArmError(f"no package to measure: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")


def _arm(name: str, plan: Plan, say: Say) -> Arm:
    if name in (*OURS, "floor", *SLOW):
        program = native_program(name, plan, say)
        runner = build.ensure_runner(say=say)
        command: Sequence[str] = native.command(runner, program.program, program.method, program.inputs, program.feeds)
        return arm_of(name, command, program.program, plan.steps)
    folder = backbones.find(None).folder
    if name in torch_step.ARMS:
        work = torch_step.write_work(
            plan.folder / "work.json", folder, programs.sizes_of(Package.open(plan.package).manifest)
        )
        command = (*_module("torch_step"), "--arm", name, "--work", str(work))
        return arm_of(name, command, folder / "model.safetensors", plan.steps)
    module, file = {"ours_python": ("python_runtime", "program.pte"), "onnx_inference": ("onnx_forward", _ONNX)}[name]
    return arm_of(name, (*_module(module), "--package", str(plan.package)), plan.package / file, plan.steps)


_ONNX: Final = "gateway/model.onnx"


def _module(name: str) -> tuple[str, ...]:
    return sys.executable, "-m", f"benchmarks.train_step.{name}"


def arm_of(name: str, command: Sequence[str], file: Path, steps: int) -> Arm:
    """Return an arm; slow ones make fewer steps, a compiling one more before them."""
    slow = name in SLOW
    warm_up = _COMPILE_WARM_UP if name == "compile" else 0 if slow else 3
    return Arm(tuple(command), 2 if slow else steps, warm_up, file.stat().st_size / 1e6, ABOUT[name])


def native_program(name: str, plan: Plan, say: Say) -> programs.LoweredProgram:
    """Return the program of a native arm.

    Raises:
        ArmError: when it cannot be lowered.
    """
    if name not in OURS:
        return programs.prepared(name, plan.package, plan.folder, say)
    folder = plan.package
    if name != "ours":
        folder = plan.folder / name
        _export(folder, say, OURS[name])
    package = Package.open(folder)
    method = package.manifest.tiers[0].method
    spec = package.manifest.methods[method]
    inputs = native.write_inputs(plan.folder / f"{name}.inputs", native.inputs_of(spec))
    return programs.LoweredProgram(package.path("program.pte"), inputs, method, tuple(native.feeds_of(spec)))
