"""What emulation needs: Debian's cross compiler and QEMU, ExecuTorch's wheel for ARM64, and what we build with them.

Everything that is made or fetched lies in the per-user cache (see ``edge_runtime.native.sdk``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.arm64.pixel8 import make_root
from edge_runtime.native import build, sdk
from edge_runtime.native.build import Cross
from edge_runtime.native.sdk import Sdk

COMPILER: Final = "aarch64-linux-gnu-g++"
EMULATOR: Final = "qemu-aarch64"
LIBRARIES: Final = Path("/usr/aarch64-linux-gnu/lib")
PACKAGES: Final = ("g++-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user")
"""Of Debian and Ubuntu; the Makefile installs the same."""


class ToolsError(RuntimeError):
    """Something that emulation needs is not here; the text says what and how to get it."""


def folder() -> Path:
    """Return where everything for ARM64 is kept."""
    return sdk.cache_folder() / "arm64"


def missing(programs: Sequence[str] = (COMPILER, EMULATOR)) -> list[str]:
    """Return what is not here, each with the command that gets it. Args: programs: those that are needed."""
    install = f"apt-get install {' '.join(PACKAGES)}"
    lacking = [f"{name} (run: {install})" for name in programs if shutil.which(name) is None]
    if not (LIBRARIES / "ld-linux-aarch64.so.1").exists():
        lacking.append(f"{LIBRARIES}/ld-linux-aarch64.so.1 (run: {install})")
    if not sdk.unpacked_folder("aarch64").is_dir():
        lacking.append("ExecuTorch's package for ARM64 (run: make arm64-tools)")
    return lacking


def prepare() -> None:
    """Fetch and build all that is not here yet.

    Raises:
        ToolsError, NativeBuildError: when something cannot be had.
    """
    fetched_sdk((COMPILER, EMULATOR))
    runner()
    counter()
    root()


def fetched_sdk(programs: Sequence[str] = (COMPILER,)) -> Sdk:
    """Return ExecuTorch's package for ARM64, fetched when it is not here yet. Args: programs: needed besides.

    Raises:
        ToolsError, NativeBuildError: when something cannot be had.
    """
    package = sdk.fetch_sdk(machine="aarch64")
    lacking = missing(programs)
    if lacking:
        raise ToolsError("ARM64 needs " + "; ".join(lacking))
    return package


def runner() -> Path:
    """Return fl_run for ARM64, built when need be."""
    return build.ensure_runner(sdk=sdk.find_sdk(sdk.unpacked_folder("aarch64")), cross=Cross("aarch64", COMPILER))


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
