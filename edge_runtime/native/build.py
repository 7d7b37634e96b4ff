"""Build the native driver: `python -m edge_runtime.native.build` (`--runner`: and `fl_run`, which needs no Python).

The library is compiled once for each combination of our sources, the executorch package and the machine, into a
per-user cache (``EDGE_RUNTIME_CACHE``, or the platform's cache directory). Of several processes that need it at once
one builds and the others wait; where locks do not work each builds in a directory of its own, and the last step is
always one rename. torch is never imported and need not be installed; nor must executorch be: its libraries are then
taken from its wheel, which this command has pip fetch (`edge_runtime.native.sdk`).
``EDGE_RUNTIME_LIBRARY`` names a library that was built elsewhere, and then nothing is built. Nor is it where a wheel
for boards brought one (`edge_runtime.built_in`), unless ``--force``, ``--executorch`` or ``--wheel`` asks for it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_runtime import built_in
from edge_runtime.native.sdk import NativeBuildError, Sdk, cache_folder, fetch_sdk, find_sdk, installed_folder, turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SOURCES: Final = Path(__file__).parent
LIBRARY: Final = "libfl_runtime.dylib" if sys.platform == "darwin" else "libfl_runtime.so"
RUNNER: Final = "fl_run"
EXAMPLES: Final = """examples:
  python -m edge_runtime.native.build
  python -m edge_runtime.native.build --force --json
  python -m edge_runtime.native.build --wheel executorch-1.5.1-cp311-cp311-manylinux_2_28_x86_64.whl"""
_BUILD_SECONDS: Final = 600
_OUTPUT_LINES: Final = 3


@dataclass(frozen=True)
class Cross:
    """A Linux machine that is not this one. Args: machine: as uname names it; compiler: C++, for that machine."""

    machine: str
    compiler: str


def key(sdk: Sdk, cross: Cross | None = None) -> str:
    """Return the hex key of a build: our sources, the executorch package and where it is, and the machine."""
    digest = hashlib.sha256()
    own = (platform.system(), platform.machine(), os.environ.get("CXX", ""))
    machine = ("Linux", cross.machine, cross.compiler) if cross else own
    for part in (sdk.version, str(sdk.folder), *machine):
        digest.update(part.encode() + b"\0")
    for path in sorted(SOURCES.iterdir()):
        if path.suffix in (".cpp", ".h") or path.name == "CMakeLists.txt":
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:24]


def library_path(sdk: Sdk, cross: Cross | None = None) -> Path:
    """Return where the library of this build is, or will be."""
    return cache_folder() / "native" / key(sdk, cross) / LIBRARY


def brought() -> Path | None:
    """Return the library that need not be built: EDGE_RUNTIME_LIBRARY's, or the one in the wheel for boards.

    Raises:
        NativeBuildError: when the variable names no file.
    """
    named = os.environ.get("EDGE_RUNTIME_LIBRARY")
    if named and not Path(named).is_file():
        msg = f"EDGE_RUNTIME_LIBRARY names {named}, which is no file; correct it or unset it to build the library here"
        raise NativeBuildError(msg)
    if named:
        return Path(named)
    return built_in.LIBRARY if built_in.LIBRARY.is_file() else None


def origin(library: Path) -> str:
    """Say where the library of this machine came from. Args: library: as `ensure` returned it.

    Raises:
        NativeBuildError: when the package that it was built over is no longer there.
    """
    if library == built_in.LIBRARY:
        return "from the wheel for boards"
    if str(library) == os.environ.get("EDGE_RUNTIME_LIBRARY"):
        return "named by EDGE_RUNTIME_LIBRARY"
    return "compiled over " + ("the installed executorch" if find_sdk().installed else "executorch's unpacked wheel")


def ensure(
    *,
    sdk: Sdk | None = None,
    cross: Cross | None = None,
    force: bool = False,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Return the library: one that was brought, or else one that is built unless it is in the cache.

    Args:
        sdk: the executorch package to build over; found when None.
        cross: the machine that it is built for, with ``sdk`` of that machine; None is this one.
        force: build even when it is there.
        say: told one line when a build starts.

    Raises:
        NativeBuildError: when it cannot be built.
    """
    ready = brought() if sdk is None and not force else None
    if ready:
        return ready
    sdk = sdk or find_sdk()
    return _ensure(_Job(sdk, cross, library_path(sdk, cross), (LIBRARY,)), force=force, say=say)


def ensure_runner(
    *, sdk: Sdk | None = None, cross: Cross | None = None, say: Callable[[str], None] | None = None
) -> Path:
    """Return `fl_run`, a program that executes methods without Python (usage: fl_run.cpp); the library is beside it.

    Args:
        sdk: the executorch package, of the machine that it is built for; found when None.
        cross: that machine; None is this one.
        say: told one line when a build starts.

    Raises:
        NativeBuildError: when it cannot be built.
    """
    sdk = sdk or find_sdk()
    runner = cache_folder() / "native" / key(sdk, cross) / RUNNER
    return _ensure(_Job(sdk, cross, runner, (LIBRARY, RUNNER)), force=False, say=say)


@dataclass(frozen=True)
class _Job:
    """What to build. Args: target: where the last of ``files`` will be; files: in the order in which they appear."""

    sdk: Sdk
    cross: Cross | None
    target: Path
    files: tuple[str, ...]

    @property
    def done(self) -> bool:
        return all((self.target.parent / name).is_file() for name in self.files)


def _ensure(job: _Job, *, force: bool, say: Callable[[str], None] | None) -> Path:
    if job.done and not force:
        return job.target
    tools = _find_tools(job.cross.compiler if job.cross else os.environ.get("CXX"))
    folder = job.target.parent.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with turn(folder / "lock"):
            if force or not job.done:
                _build(job, tools, say)
    except OSError as error:
        msg = f"cannot write the native driver to {folder} ({error.strerror}); set EDGE_RUNTIME_CACHE to a folder"
        raise NativeBuildError(msg) from error
    return job.target


def _build(job: _Job, tools: _Tools, say: Callable[[str], None] | None) -> None:
    if say:
        say(f"building the native driver for executorch {job.sdk.version}, once ...")
    with tempfile.TemporaryDirectory(prefix="build-", dir=job.target.parent.parent) as work:
        built = _compile(job, tools, Path(work))
        for name in job.files:
            _publish(built / name, job.target.parent / name)


@dataclass(frozen=True)
class _Tools:
    cmake: str
    generator: tuple[str, ...]


def _find_tools(wanted: str | None = None) -> _Tools:
    cmake = _which("cmake")
    if cmake is None:
        msg = "cmake is needed to build the native driver; run: pip install cmake  (or: apt install cmake)"
        raise NativeBuildError(msg)
    compilers = [wanted.split()[0]] if wanted else ["c++", "g++", "clang++"]
    if not any(map(shutil.which, compilers)):
        tried = ", ".join(compilers)
        msg = f"a C++17 compiler is needed to build the native driver ({tried} not found); run: apt install g++"
        raise NativeBuildError(msg)
    if shutil.which("make"):
        return _Tools(cmake, ("-G", "Unix Makefiles"))
    ninja = _which("ninja")
    if ninja is None:
        msg = "make or ninja is needed to build the native driver; run: pip install ninja  (or: apt install make)"
        raise NativeBuildError(msg)
    return _Tools(cmake, ("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"))


def _which(name: str) -> str | None:
    """Find a program on the PATH, or beside this Python, where pip puts it when the environment is not activated."""
    return shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts"))


def _compile(job: _Job, tools: _Tools, work: Path) -> Path:
    build = work / "build"
    configure = [
        *(tools.cmake, "-S", str(SOURCES), "-B", str(build), *tools.generator),
        *("-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_PREFIX_PATH={job.sdk.folder}"),
    ]
    if job.cross:
        machine = {"SYSTEM_NAME": "Linux", "SYSTEM_PROCESSOR": job.cross.machine, "CXX_COMPILER": job.cross.compiler}
        configure += [f"-DCMAKE_{name}={value}" for name, value in machine.items()]
    _run(configure)
    target = RUNNER if RUNNER in job.files else "fl_runtime"
    _run((tools.cmake, "--build", str(build), "--target", target, "--parallel", "2"))
    return build


def _run(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"building the native driver: {command[0]} did not finish ({error})"
        raise NativeBuildError(msg) from error
    if done.returncode:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if "rror" in line]
        reason = "; ".join(lines[:_OUTPUT_LINES]) or f"exit code {done.returncode}"
        msg = f"building the native driver failed: {reason}; to see all: {' '.join(command)}"
        raise NativeBuildError(msg)


def _publish(built: Path, library: Path) -> None:
    """Move the library into the cache in one step; readers see none or all of it."""
    library.parent.mkdir(exist_ok=True)
    with built.open("rb") as file:
        os.fsync(file.fileno())
    built.replace(library)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns: 0 done, 1 the build failed, 2 (by argparse) bad usage."""
    parser = argparse.ArgumentParser(
        prog="python -m edge_runtime.native.build",
        description=(
            "Build the native driver, once, over the installed executorch package. Where there is none, pip fetches"
            " its wheel, whose libraries are unpacked into the cache; torch is not needed."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--force", action="store_true", help="build even when the cache has this library")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--executorch", type=Path, metavar="DIR", help="an unpacked executorch package, instead of the installed one"
    )
    source.add_argument(
        "--wheel", type=Path, metavar="FILE", help="ExecuTorch's wheel, instead of the one that pip would fetch"
    )
    parser.add_argument("--runner", action="store_true", help="build fl_run as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    try:
        ready = None if any((options.force, options.executorch, options.wheel, options.runner)) else brought()
        if ready:
            sys.stdout.write(
                (json.dumps({"library": str(ready)}) if options.json else f"native driver: {ready}") + "\n"
            )
            return 0
        fetched = options.wheel or not (options.executorch or installed_folder())
        sdk = fetch_sdk(wheel=options.wheel, say=_to_stderr) if fetched else find_sdk(options.executorch)
        library = ensure(sdk=sdk, force=options.force, say=_to_stderr)
        runner = ensure_runner(sdk=sdk, say=_to_stderr) if options.runner else None
    except NativeBuildError as error:
        _to_stderr(f"error: {error}")
        return 1
    result = {"library": str(library), "executorch": sdk.version, "key": key(sdk)}
    if runner:
        result["runner"] = str(runner)
    text = json.dumps(result) if options.json else f"native driver for executorch {sdk.version}: {runner or library}"
    sys.stdout.write(text + "\n")
    return 0


def _to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
