"""Fuzzes the native driver under AddressSanitizer and UBSan: `python -m tests.fuzz.native_loader --programs FOLDER`.

What it tells apart: a death in our own code, or before a program is loaded, is a finding. A death inside ExecuTorch
while it loads or runs a damaged program is counted: its verifier does not look into a delegate's blob, and no device
gets there, since a package's program is opened after its digest was found to be the manifest's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks import record
from edge_runtime.native import build
from edge_runtime.native.sdk import cache_folder, find_sdk
from edge_runtime.wire.digests import sha256

STAGES: Final = ("open", "load", "execute")
SOURCES: Final = Path(__file__).parent / "native"
_SEEDS: Final = ("planned.pte", "direct.pte", "odd.pte", "kernel.pte", "fatal.pte", "twins.pte")
_OPTIONS: Final = "detect_leaks=0:handle_abort=1:allocator_may_return_null=1:hard_rss_limit_mb=4096"
_FRAME: Final = re.compile(r"^\s*#\d+ 0x[0-9a-f]+ (?:in )?(.*)$", re.MULTILINE)
_NOBODY: Final = re.compile(r"libasan|libubsan|__interceptor|__asan|__ubsan|libsanitizer|\.\./sysdeps/|libc\.so")
_SPOILED: Final = "AddressSanitizer: CHECK failed"
_WHEEL: Final = re.compile(r"libexecutorch\w*\.so")


@dataclass(frozen=True)
class Outcome:
    """What some seconds were worth.

    Args:
        stage: how far each program was taken.
        inputs: programs that were tried.
        opened: that the driver took; loaded, executed: methods.
        deaths: children that ended in ExecuTorch's own code.
        findings: files of the inputs that ended elsewhere, or before anything was loaded.
    """

    stage: str
    inputs: int
    opened: int
    loaded: int
    executed: int
    deaths: int
    findings: tuple[str, ...]


def ensure() -> Path:
    """Return the fuzzer, built once for each state of the sources.

    Raises:
        NativeBuildError: when there is no SDK.
        CalledProcessError: when it cannot be compiled.
    """
    sdk = find_sdk()
    own = sha256(b"".join(path.read_bytes() for path in sorted(SOURCES.iterdir()))).hex()[:12]
    folder = cache_folder() / "fuzz" / f"{build.key(sdk)}-{own}"
    fuzzer = folder / "loader_fuzz"
    if not fuzzer.is_file():
        cmake = build._find_tools().cmake
        configure = [cmake, "-S", str(SOURCES), "-B", str(folder), f"-DCMAKE_PREFIX_PATH={sdk.folder}"]
        for command in (configure, [cmake, "--build", str(folder)]):
            subprocess.run(command, check=True, capture_output=True)
    return fuzzer


def fuzz(programs: Path, stage: str, seconds: int, folder: Path, seed: int = 1) -> Outcome:
    """Damage programs for some seconds.

    Args:
        programs: folder of little programs, as tests/edge/little_programs.py writes them.
        stage: one of STAGES.
        seconds: of work.
        folder: where findings go.
        seed: of the mutations; the same gives the same ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [str(programs / name) for name in _SEEDS if (programs / name).is_file()]
    command = [str(ensure()), str(seconds), stage, str(seed), str(folder), *seeds]
    done = subprocess.run(
        command, env=os.environ | {"ASAN_OPTIONS": _OPTIONS}, capture_output=True, text=True, check=False
    )
    tree = json.loads(done.stdout)
    reports = sorted(folder.glob(f"{stage}-*.txt"))
    findings = tuple(str(path) for path in reports if stage == "open" or not in_executorch(path.read_text()))
    counts = {name: tree[name] for name in ("inputs", "opened", "loaded", "executed")}
    return Outcome(stage, **counts, deaths=tree["deaths"] - len(findings), findings=findings)


def in_executorch(report: str) -> bool:
    """Return whether a sanitizer's report tells of an end inside the wheel's libraries, or of a heap that they spoiled.

    The first frame that is neither a sanitizer's nor the C library's decides; a report without frames is ours to
    explain. A heap whose own records are spoiled was spoiled by code without a sanitizer: in ours the write is told.
    """
    frames = [frame for frame in _FRAME.findall(report) if not _NOBODY.search(frame)]
    return _SPOILED in report or (bool(frames) and bool(_WHEEL.search(frames[0])))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns: 0 nothing was found, 1 there is a finding, 2 (by argparse) bad usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz.native_loader",
        description="Give the native driver damaged programs, under AddressSanitizer and UBSan.",
        epilog="examples:\n  python tests/edge/little_programs.py runs/programs\n"
        "  python -m tests.fuzz.native_loader --programs runs/programs --seconds 300 --record",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--programs", type=Path, required=True, metavar="FOLDER", help="little programs to damage")
    parser.add_argument("--seconds", type=int, default=60, help="length of each stage (default: 60)")
    parser.add_argument("--stage", action="append", choices=STAGES, help="how far each program is taken (default: all)")
    parser.add_argument(
        "--findings", type=Path, default=Path("runs/fuzz/native"), metavar="FOLDER", help="written there"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="seed of the mutations (default: the time)")
    parser.add_argument("--record", action="store_true", help="add the inputs to benchmarks/results/fuzz.jsonl")
    parser.add_argument("--json", action="store_true", help="print one JSON object a stage")
    options = parser.parse_args(arguments)
    findings = 0
    for stage in options.stage or STAGES:
        with tempfile.TemporaryDirectory() as scratch:
            began = time.monotonic()
            outcome = fuzz(options.programs, stage, options.seconds, Path(scratch), options.seed)
            seconds = time.monotonic() - began
            for path in outcome.findings:
                _keep(Path(path), options.findings)
        findings += len(outcome.findings)
        _say(outcome, as_json=options.json)
        if options.record:
            _record(outcome, seconds, options.seconds)
    return int(findings > 0)


def _keep(report: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in (report, report.with_suffix(".pte")):
        (folder / path.name).write_bytes(path.read_bytes())


def _say(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(outcome)), flush=True)  # noqa: T201 - a command's answer
        return
    counts = f"{outcome.inputs:,} programs, {outcome.opened:,} opened, {outcome.loaded:,} methods loaded"
    ends = f"{outcome.deaths} ends inside ExecuTorch, {len(outcome.findings)} findings"
    print(f"{outcome.stage:8} {counts}; {ends}", flush=True)  # noqa: T201 - a command's answer


def _record(outcome: Outcome, seconds: float, asked: int) -> None:
    figures = {
        "target": f"native_{outcome.stage}",
        "inputs": outcome.inputs,
        "seconds": round(seconds, 1),
        "findings": len(outcome.findings),
        "findings_mended": 0,
        "ends_in_executorch": outcome.deaths,
    }
    record.append("fuzz", f"python -m tests.fuzz.native_loader --seconds {asked} --record", figures)


if __name__ == "__main__":
    sys.exit(main())
