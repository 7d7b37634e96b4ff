"""ExecuTorch's C++ SDK (libraries, headers, CMake's config): where the native driver finds it.

An installed executorch package has it. Where none is installed, as its metadata asks for torch and for much that its
libraries never load, the SDK alone is unpacked from ExecuTorch's wheel into the per-user cache. pip fetches that wheel,
so that its settings say where the package index is and how it is reached. It is one of the files whose digests stand
here, or it is refused: what is in it is loaded into every process that trains.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge_runtime.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

VERSION: Final = "1.5.1"
"""Of ExecuTorch: programs and driver are of this one. pyproject.toml pins the same."""
OLDEST: Final = (1, 5)
"""Release whose wheel was the first to have the SDK in it."""
WHEELS: Final = {
    ("cp311", "x86_64"): "274c28c2fe2b76acb03f9fa381537425c40e0098dcf886baf6d97a1a55ffe300",
    ("cp312", "x86_64"): "04897dffff8d96e8af32f554c758d0a7d4f50af5c3530c90dc8d5319bb44c878",
    ("cp313", "x86_64"): "083f998ebddc0bc98ad299e3fded57f4fcadb67792ef4c6ef920856cfd7bd3a5",
    ("cp311", "aarch64"): "8ee02348a3ea80ddf770822911ebf78da616b73afce0fbaaa79f23311c88c66a",
    ("cp312", "aarch64"): "2c177f7922354a8a0d6111628c954519b87549598640e5e0042bef137b4cb83c",
    ("cp313", "aarch64"): "685a8d85b319fc99f2611a5e0ecf598755a91cf5d39a536e057dea60cd8e9682",
}
"""SHA-256 of PyPI's files for the Pythons and machines that we support."""
_PARTS: Final = re.compile(r"executorch/((lib|include|share)/|version\.py$)|executorch-[^/]*\.dist-info/licenses/")
_GLIBC: Final = ("2_17", "2_28")
"""C libraries that wheels for other machines are fetched for; that of a supported board is newer."""
_FETCH_SECONDS: Final = 1800
_HOW: Final = "python -m edge_runtime.native.build"


class NativeBuildError(ProgramError):
    """The native driver cannot be built or found here; the text says what is missing and how to get it."""


@dataclass(frozen=True)
class Sdk:
    """An executorch package with its SDK. Args: folder: it; version: such as "1.5.1+cpu"."""

    folder: Path
    version: str

    @property
    def installed(self) -> bool:
        """Tell whether it is an installed package, and not one that was unpacked into the cache."""
        return not self.folder.is_relative_to(cache_folder())


def cache_folder() -> Path:
    """Return where what we build and fetch is kept: EDGE_RUNTIME_CACHE, XDG_CACHE_HOME or ~/.cache."""
    own = os.environ.get("EDGE_RUNTIME_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edge_runtime"


def find_sdk(folder: Path | None = None) -> Sdk:
    """Return the package in ``folder``, or else the installed one, or else the one in the cache.

    Raises:
        NativeBuildError: when it is not there, too old, or without a C++ SDK.
    """
    if folder is None:
        folder = installed_folder() or unpacked_folder(platform.machine())
        if not folder.is_dir():
            msg = (
                f"ExecuTorch's libraries are not here; run: {_HOW} (pip fetches them),"
                " or install our wheel for boards, which has the driver in it"
            )
            raise NativeBuildError(msg)
    version = _version(folder)
    if not (folder / "share/cmake/executorch-config.cmake").is_file() or not list(
        (folder / "lib").glob("libexecutorch.*")
    ):
        msg = (
            f"executorch {version} in {folder} has no C++ SDK (lib/libexecutorch, share/cmake); "
            f"run: pip install --no-deps executorch=={VERSION}"
        )
        raise NativeBuildError(msg)
    return Sdk(folder, version)


def _version(folder: Path) -> str:
    try:
        match = re.search(r"__version__\s*=\s*[\"']([^\"']+)", (folder / "version.py").read_text())
    except OSError:
        match = None
    version = match.group(1) if match else "of unknown version"
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < OLDEST:
        msg = (
            f"executorch {version} has no C++ SDK, 1.5 or newer is needed; "
            f"run: pip install --no-deps executorch=={VERSION}"
        )
        raise NativeBuildError(msg)
    return version


def installed_folder() -> Path | None:
    """Return where an installed executorch package is, or None."""
    spec = importlib.util.find_spec("executorch")  # finds without importing, so no torch
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def installed_version() -> str | None:
    """Return the version of the installed executorch distribution, or None."""
    try:
        return importlib.metadata.version("executorch")
    except importlib.metadata.PackageNotFoundError:
        return None


def unpacked_folder(machine: str) -> Path:
    """Return where the package for Linux on a machine is, or will be, unpacked. Args: machine: as uname names it.

    It appears in one step, whole. Wheels for several Pythons have the same SDK but for build IDs: one serves all.
    """
    return cache_folder() / "executorch" / f"{VERSION}-{machine}" / "executorch"


def fetch_sdk(
    *, machine: str | None = None, wheel: Path | None = None, say: Callable[[str], None] | None = None
) -> Sdk:
    """Return the package in the cache, unpacked from ExecuTorch's wheel unless it is there.

    Args:
        machine: as uname names it; this one when None.
        wheel: the file; None has pip fetch it.
        say: told one line when something is fetched.

    Raises:
        NativeBuildError: when the wheel cannot be had, is not one that we know, or cannot be unpacked.
    """
    where = machine or (platform.machine() if sys.platform == "linux" else sys.platform)
    if where not in {known for _, known in WHEELS}:
        msg = f"no wheel of ExecuTorch is known for {where}; run: pip install --no-deps executorch=={VERSION}"
        raise NativeBuildError(msg)
    target = unpacked_folder(where)
    if wheel is None and target.is_dir():
        return find_sdk(target)
    folder = target.parent.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with turn(folder / "lock") as alone:
            for left in folder.glob("wheel-*") if alone else ():
                shutil.rmtree(left, ignore_errors=True)  # by one that was killed
            with tempfile.TemporaryDirectory(prefix="wheel-", dir=folder) as work:
                if wheel is not None or not target.is_dir():
                    _unpack(wheel or _fetch(machine, Path(work), say), target, Path(work))
    except OSError as error:
        msg = (
            f"cannot unpack ExecuTorch's wheel into {folder} ({error.strerror}); make room there,"
            " or set EDGE_RUNTIME_CACHE to another folder"
        )
        raise NativeBuildError(msg) from error
    return find_sdk(target)


def _fetch(machine: str | None, work: Path, say: Callable[[str], None] | None) -> Path:
    if say:
        say(f"fetching executorch {VERSION}, for its libraries, once ...")
    requirement = f"executorch=={VERSION}"
    try:
        return fetch_wheel(requirement, work, machine)
    except NativeBuildError as error:
        if machine:
            raise
        msg = f"{error}; a file that was fetched elsewhere (pip download --no-deps {requirement}) is named by --wheel"
        raise NativeBuildError(msg) from error


def _unpack(wheel: Path, target: Path, work: Path) -> None:
    """Unpack the SDK of a wheel that we know; nothing is read from one that we do not know but its digest."""
    machine = target.parent.name.removeprefix(f"{VERSION}-")
    try:
        file = wheel.open("rb")
    except OSError as error:
        raise NativeBuildError(f"cannot read {wheel} ({error.strerror})") from error
    with file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        made_for = next((machine for (_, machine), known in WHEELS.items() if known == digest), None)
        if made_for is None:
            msg = (
                f"{wheel.name} is none of the wheels of executorch {VERSION} whose digests we know (its SHA-256 is"
                f" {digest}): it is damaged, or another build. Get PyPI's by: pip download --no-deps"
                f" executorch=={VERSION}; a build of your own can be unpacked and named by --executorch"
            )
            raise NativeBuildError(msg)
        if made_for != machine:
            raise NativeBuildError(f"{wheel.name} is ExecuTorch's wheel for {made_for}, expected the one for {machine}")
        if target.is_dir():
            return
        whole = work / "unpacked"
        with zipfile.ZipFile(file) as archive:
            archive.extractall(whole, [name for name in archive.namelist() if _PARTS.match(name)])
    os.sync()  # what appears under its name is on the disk, wherever the power goes
    try:
        whole.replace(target.parent)
    except OSError:
        if not target.is_dir():  # where locks do not work, another may have been first
            raise


def fetch_wheel(requirement: str, folder: Path, machine: str | None = None) -> Path:
    """Have pip download a wheel, without what it depends on, and return it.

    Args:
        requirement: such as "executorch==1.5.1".
        folder: that it is written to.
        machine: running Linux, as uname names it; this one when None.

    Raises:
        NativeBuildError: when there is none; the text has pip's words.
    """
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    platforms = [word for glibc in _GLIBC for word in ("--platform", f"manylinux_{glibc}_{machine}")]
    elsewhere = (*platforms, "--python-version", python) if machine else ()
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", *elsewhere)
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NativeBuildError(f"{requirement} did not come in {_FETCH_SECONDS} s; try again") from error
    wheels = list(folder.glob(f"{re.split('[=<>]', requirement)[0]}-*.whl"))
    if done.returncode != 0 or not wheels:
        here = f" for Linux on {machine}" if machine else ""
        raise NativeBuildError(f"{requirement}{here} cannot be fetched: {_reason(done.stderr.splitlines())}")
    return wheels[0]


def _reason(lines: Sequence[str]) -> str:
    """Return pip's last error, and why it could not connect, where it says so."""
    errors = [line for line in lines if line.startswith("ERROR: ")] or [*lines, "ERROR: no wheel came"][:1]
    broken = next((match[0] for line in lines if (match := re.search(r"connection broken by .*", line))), None)
    return "; ".join(filter(None, (errors[-1].removeprefix("ERROR: "), broken)))


@contextlib.contextmanager
def turn(path: Path) -> Iterator[bool]:
    """Wait for other processes' turns; the system ends the lock of one that died. Yields: whether locks work here."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            locked = True
        except OSError:
            locked = False
        yield locked
