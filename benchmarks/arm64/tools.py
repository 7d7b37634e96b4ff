"""What emulation needs: Debian's cross compiler and QEMU, ExecuTorch's wheel for ARM64, and what we build with them.

Everything that is made or fetched lies in the per-user cache (see ``edge_runtime.native.build``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.arm64.pixel8 import make_root
from edge_runtime.native import build
from edge_runtime.native.build import Cross, Sdk

COMPILER: Final = "aarch64-linux-gnu-g++"
EMULATOR: Final = "qemu-aarch64"
LIBRARIES: Final = Path("/usr/aarch64-linux-gnu/lib")
PACKAGES: Final = ("g++-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user")
"""Of Debian and Ubuntu; the Makefile installs the same."""
_GLIBC: Final = ("2_17", "2_28")
"""C libraries that wheels are fetched for; that of a supported board is newer."""
_PARTS: Final = re.compile(r"executorch/((lib|include|share)/|version\.py)|executorch-[^/]*\.dist-info/licenses/")


class ToolsError(RuntimeError):
    """Something that emulation needs is not here; the text says what and how to get it."""


def folder() -> Path:
    """Return where everything for ARM64 is kept."""
    return build.cache_folder() / "arm64"


def sdk_folder() -> Path:
    """Return where the ARM64 package of the installed version is, or will be, unpacked.

    Raises:
        ToolsError: when no executorch is installed whose version could be taken.
    """
    version = build.installed_version()
    if version is None:
        raise ToolsError("executorch is not installed; run: make setup")
    return folder() / f"executorch-{version.partition('+')[0]}" / "executorch"


def missing(programs: Sequence[str] = (COMPILER, EMULATOR)) -> list[str]:
    """Return what is not here, each with the command that gets it. Args: programs: those that are needed."""
    install = f"apt-get install {' '.join(PACKAGES)}"
    lacking = [f"{name} (run: {install})" for name in programs if shutil.which(name) is None]
    if not (LIBRARIES / "ld-linux-aarch64.so.1").exists():
        lacking.append(f"{LIBRARIES}/ld-linux-aarch64.so.1 (run: {install})")
    if not _has_sdk():
        lacking.append("ExecuTorch's package for ARM64 (run: make arm64-tools)")
    return lacking


def prepare() -> None:
    """Fetch and build all that is not here yet.

    Raises:
        ToolsError, NativeBuildError: when something cannot be had.
    """
    sdk((COMPILER, EMULATOR))
    runner()
    counter()
    root()


def sdk(programs: Sequence[str] = (COMPILER,)) -> Sdk:
    """Return ExecuTorch's package for ARM64, fetched when it is not here yet. Args: programs: needed besides.

    Raises:
        ToolsError, NativeBuildError: when something cannot be had.
    """
    if not _has_sdk():
        _fetch(sdk_folder().parent)
    lacking = missing(programs)
    if lacking:
        raise ToolsError("ARM64 needs " + "; ".join(lacking))
    return build.find_sdk(sdk_folder())


def _has_sdk() -> bool:
    """Tell whether all of it is here; older releases of ours left its licences out."""
    return (sdk_folder() / "version.py").is_file() and any(sdk_folder().parent.glob("*.dist-info/licenses"))


def runner() -> Path:
    """Return fl_run for ARM64, built when need be."""
    return build.ensure_runner(sdk=build.find_sdk(sdk_folder()), cross=Cross("aarch64", COMPILER))


def root() -> Path:
    """Return the tree that the emulated program sees."""
    return make_root(folder() / "pixel8", LIBRARIES)


def counter() -> Path:
    """Return the plugin that counts instructions, compiled for this machine's QEMU.

    Raises:
        ToolsError: when this QEMU has another plugin interface, or the compiler fails.
    """
    said = subprocess.run([EMULATOR, "--version"], capture_output=True, text=True, check=True).stdout
    match = re.search(r"version (\d+)\.(\d+)", said)
    version = tuple(map(int, match.groups())) if match else (0, 0)
    if not (7, 1) <= version < (9, 0):
        raise ToolsError(f"instructions are counted with QEMU 7.1 to 8.x, found {said.splitlines()[0]}")
    source, plugin = Path(__file__).with_name("count.c"), folder() / "count.so"
    if not plugin.is_file() or plugin.stat().st_mtime < source.stat().st_mtime:
        folder().mkdir(parents=True, exist_ok=True)
        fresh = plugin.with_suffix(".new")
        command = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        done = subprocess.run([*command, source, "-o", fresh], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ToolsError(f"{source.name} does not compile: {done.stderr.strip().splitlines()[0]}")
        fresh.replace(plugin)
    return plugin


def _fetch(target: Path) -> None:
    """Unpack the SDK of the wheel for ARM64, of the version that is installed here."""
    version = target.name.partition("-")[2]
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=target.parent) as work:
        wheel_path = fetch_wheel(f"executorch=={version}", "aarch64", Path(work))
        unpacked = Path(work) / "unpacked"
        with zipfile.ZipFile(wheel_path) as wheel:
            wheel.extractall(unpacked, [name for name in wheel.namelist() if _PARTS.match(name)])
        shutil.rmtree(target, ignore_errors=True)
        unpacked.replace(target)


def fetch_wheel(requirement: str, machine: str, folder: Path) -> Path:
    """Download a wheel for Linux on ``machine`` (as uname names it), without what it depends on, and return it.

    Raises:
        ToolsError: when there is none.
    """
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    platforms = [part for glibc in _GLIBC for part in ("--platform", f"manylinux_{glibc}_{machine}")]
    options = ("--no-deps", "--only-binary=:all:", *platforms, "--python-version", python)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder), *options, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob(f"{re.split('[=<>]', requirement)[0]}-*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
        raise ToolsError(f"{requirement} for Linux on {machine} cannot be fetched: {reason}")
    return wheels[0]
