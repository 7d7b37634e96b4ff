"""Debian's Python for ARM64, unpacked in the per-user cache, to install and use a wheel under emulation as on a board.

    python -m benchmarks.arm64.debian_python        # fetches it: 16 MB of packages, 75 MB unpacked

The packages come from this machine's own sources of Debian's, by an apt with settings and lists of its own: this
machine's are not touched, and nothing is installed on it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.arm64 import tools
from benchmarks.arm64.emulator import I8MM
from benchmarks.arm64.tools import ToolsError

PACKAGES: Final = ("python3", "libstdc++6")
_SECONDS: Final = 600


def root() -> Path:
    """Return where the tree with usr/bin/python3 and its C library is, or will be."""
    return tools.folder() / "debian-python"


def missing() -> list[str]:
    """Return what is not here, each with the command that gets it."""
    lacking = [] if shutil.which(tools.EMULATOR) else [f"{tools.EMULATOR} (run: make arm64-tools)"]
    here = (root() / "usr/bin/python3").exists()
    return lacking if here else [*lacking, "Debian's Python for ARM64 (run: make arm64-tools, on Debian)"]


def fetch() -> None:
    """Fetch and unpack it, unless it is here.

    Raises:
        ToolsError: when a package cannot be had, as where this machine's sources are not Debian's.
    """
    if (root() / "usr/bin/python3").exists():
        return
    root().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="debian-", dir=root().parent) as work:
        folder = Path(work)
        for name in ("state/lists/partial", "cache/archives/partial", "tree"):
            (folder / name).mkdir(parents=True)
        (folder / "state/status").touch()
        settings = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Sandbox::User": "",  # the folder is ours alone
            "Dir::State": f"{folder}/state",
            "Dir::State::status": f"{folder}/state/status",
            "Dir::Cache": f"{folder}/cache",
        }
        (folder / "settings").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        apt = ("apt-get", "-qq")
        _run([*apt, "update"], folder)
        _run([*apt, "--yes", "--no-install-recommends", "--download-only", "install", *PACKAGES], folder)
        for package in sorted((folder / "cache/archives").glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(folder / "tree")], folder)
        if not (folder / "tree/usr/bin/python3").exists():
            raise ToolsError("Debian's packages for ARM64 brought no usr/bin/python3")
        shutil.rmtree(root(), ignore_errors=True)
        (folder / "tree").replace(root())


def command(program: Path, *arguments: str) -> list[str]:
    """Return the command line that executes a program for ARM64; it sees the environment of the emulator."""
    emulator = shutil.which(tools.EMULATOR) or tools.EMULATOR
    return [emulator, "-L", str(root()), "-cpu", I8MM, str(program), *arguments]


def _run(line: Sequence[str], folder: Path) -> None:
    environment = {**os.environ, "APT_CONFIG": str(folder / "settings")}
    try:
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolsError(f"Debian's Python for ARM64 cannot be fetched: {line[0]} did not finish ({error})") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise ToolsError(f"Debian's Python for ARM64 cannot be fetched: {' '.join(line[:3])}: {last}")


def main() -> int:
    """Fetch it. Returns: 0 done, 1 it cannot be had."""
    try:
        fetch()
    except ToolsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
