"""Pack the benchmark for a machine without network and without this project: ``--bundle DIR``.

What comes out: ``payload.tar.xz.00`` and on, an archive in pieces that pass where a transfer has a limit, with the
programs, the native runner with its libraries, the encoder's config.json (the PyTorch arms take random weights: time
does not depend on them) and the few modules that are needed; and ``run.py``, which unpacks it beside itself once and
runs the arms. The floor repeats the package's weights byte for byte, and so does one program without quantization the
other's; a dictionary as large as the whole finds them.
"""

from __future__ import annotations

import io
import json
import lzma
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks import record
from benchmarks.train_step import arms, native, programs, torch_step
from benchmarks.train_step.arms import Plan, Say
from benchmarks.train_step.compare import Arm
from edge_runtime.native import build
from edge_runtime.native.sdk import find_sdk
from edge_runtime.wire.manifest import Package
from export.source import backbone as backbones

ARMS: Final = ("ours", "eager", "compile", *arms.SLOW, "floor")
"""Arms that a bundle carries; none needs more there than Python, torch, transformers and numpy."""
PIECE: Final = 40_000_000
"""Bytes of a piece of the archive at most."""
ROOT: Final = Path(__file__).parents[2]
CODE: Final = (
    "benchmarks/__init__.py",
    "benchmarks/eager.py",
    "benchmarks/record.py",
    *(f"benchmarks/train_step/{name}.py" for name in ("__init__", "bundled", "compare", "timing", "torch_step")),
    "edge_runtime/__init__.py",
    "edge_runtime/program/__init__.py",
    "edge_runtime/program/memory.py",
)
LIBRARIES: Final = ("", "_threadpool", "_kernels_optimized", "_backend_xnnpack")
_DICTIONARY: Final = 1 << 28
RUN: Final = '''"""Unpack payload.tar.xz.* beside this file, once, and run the arms: python run.py --help"""
import io
import sys
import tarfile
from pathlib import Path

here = Path(__file__).resolve().parent
if not (here / "payload" / "arms.json").is_file():
    pieces = b"".join(piece.read_bytes() for piece in sorted(here.glob("payload.tar.xz.*")))
    with tarfile.open(fileobj=io.BytesIO(pieces)) as archive:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4 and later have filters
        archive.extractall(here / "payload", **safe)
sys.path.insert(0, str(here / "payload"))
from benchmarks.train_step.bundled import main

if __name__ == "__main__":
    raise SystemExit(main(here / "payload"))
'''


def write(folder: Path, plan: Plan, say: Say) -> Path:
    """Make the bundle in ``folder``, of those of the plan's arms that a bundle can run; return the path of its run.py.

    Raises:
        ArmError, NativeBuildError: when a part of it cannot be made.
    """
    names = tuple(name for name in ARMS if name in plan.names)
    arms.prepare(Plan(tuple(name for name in names if name not in torch_step.ARMS), plan.folder, plan.steps), say)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundle-") as scratch:
        payload = Path(scratch)
        copy_code(payload)
        _libraries(payload / "lib", say)
        chosen = {name: _arm(name, plan, payload, say) for name in names}
        about = {
            "work": arms.WORK,
            "commit": record.commit(),
            "arms": {name: asdict(arm) for name, arm in chosen.items()},
        }
        (payload / "arms.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        say("packing ...")
        return pack(payload, folder)


def copy_code(payload: Path) -> None:
    """Copy the modules that run there."""
    for name in CODE:
        target = payload / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def _libraries(folder: Path, say: Say) -> None:
    folder.mkdir()
    runner, sdk = build.ensure_runner(say=say), find_sdk()
    files = [runner, runner.with_name(build.LIBRARY)]
    files += [sdk.folder / "lib" / f"libexecutorch{part}.so" for part in LIBRARIES]
    strip = shutil.which("strip")
    for file in files:
        copy = Path(shutil.copy(file, folder))
        if strip:
            subprocess.run([strip, "--strip-unneeded", str(copy)], check=True)


def _arm(name: str, plan: Plan, payload: Path, say: Say) -> Arm:
    if name in torch_step.ARMS:
        encoder = backbones.find(None).folder
        (payload / "model").mkdir(exist_ok=True)
        shutil.copy(encoder / "config.json", payload / "model")
        sizes = programs.sizes_of(Package.open(plan.package).manifest)
        torch_step.write_work(payload / "work.json", Path("model"), sizes)
        words = ("{python}", "-m", "benchmarks.train_step.torch_step", "--arm", name, "--work", "{here}/work.json")
        return arms.arm_of(name, words, encoder / "model.safetensors", plan.steps)
    program = arms.native_program(name, plan, say)
    shutil.copy(program.program, payload / f"{name}.pte")
    shutil.copy(program.inputs, payload / f"{name}.inputs")
    here = Path("{here}")
    command = native.command(
        here / "lib" / build.RUNNER, here / f"{name}.pte", program.method, here / f"{name}.inputs", program.feeds
    )
    return arms.arm_of(name, command, program.program, plan.steps)


def pack(payload: Path, folder: Path) -> Path:
    """Write the files of a bundle, and return the path of run.py.

    Large files come first in the archive, so that equal weights are within the dictionary's reach.
    """
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 4, "dict_size": _DICTIONARY}]
    files = sorted((path for path in payload.rglob("*") if path.is_file()), key=lambda path: -path.stat().st_size)
    packed = io.BytesIO()
    with (
        lzma.open(packed, "wb", filters=filters) as stream,
        tarfile.open(fileobj=stream, mode="w|") as archive,
    ):
        for path in files:
            archive.add(path, path.relative_to(payload).as_posix())
    whole = packed.getbuffer()
    for old in folder.glob("payload.tar.xz.*"):
        old.unlink()
    for number, first in enumerate(range(0, len(whole), PIECE)):
        (folder / f"payload.tar.xz.{number:02}").write_bytes(whole[first : first + PIECE])
    (folder / "run.py").write_text(RUN, encoding="utf-8")
    return folder / "run.py"
