"""ExecuTorch's libraries out of its wheel: fetched by pip, refused unless known, whole or not there at all.

The wheels are small ones of the tests' own; tests/edge/program/test_native.py builds a driver over the real one.
"""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from edge_runtime.native import build, sdk
from edge_runtime.wire.digests import file_sha256

REPOSITORY = Path(__file__).parents[3]
MACHINE = platform.machine()
INFO = f"executorch-{sdk.VERSION}.dist-info"
FILES = {
    "executorch/version.py": f'__version__ = "{sdk.VERSION}+cpu"\n',
    "executorch/lib/libexecutorch.so": "a library" * 20_000,
    "executorch/include/executorch/runtime.h": "",
    "executorch/share/cmake/executorch-config.cmake": "",
    "executorch/exir/passes.py": "import torch\n",
    f"{INFO}/licenses/LICENSE": "BSD",
    f"{INFO}/METADATA": f"Metadata-Version: 2.1\nName: executorch\nVersion: {sdk.VERSION}\nRequires-Dist: torchao\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n",
    f"{INFO}/RECORD": "",
}
HIDDEN = "import sys; sys.modules['executorch'] = None; from edge_runtime.native import build, sdk; "
"""As where no executorch is installed."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a test a cache and an index of its own, and no executorch; return the wheels' place in the cache."""
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.delenv("EDGE_RUNTIME_LIBRARY", raising=False)
    monkeypatch.setitem(sys.modules, "executorch", None)
    return tmp_path / "cache/executorch"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a wheel into the index; its digest is known for this machine."""
    path = tmp_path / f"index/executorch-{sdk.VERSION}-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    monkeypatch.setitem(sdk.WHEELS, ("py3", MACHINE), file_sha256(path))
    return path


def files(folder: Path) -> set[str]:
    """Return the files below a folder, by their paths in it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def refused(*words: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run the command, which must fail, and return its last line."""
    assert build.main([*words]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1]


@pytest.mark.usefixtures("wheel")
def test_pip_fetches_the_wheel_once_and_the_sdk_alone_is_unpacked(cache: Path) -> None:
    """Libraries, headers, CMake's files, version and licence; the next call asks nobody."""
    with pytest.raises(sdk.NativeBuildError, match=r"libraries are not here; run: python -m edge_runtime"):
        sdk.find_sdk()
    said: list[str] = []
    fetched = sdk.fetch_sdk(say=said.append)
    assert said == [f"fetching executorch {sdk.VERSION}, for its libraries, once ..."]
    assert fetched == sdk.Sdk(sdk.unpacked_folder(MACHINE), f"{sdk.VERSION}+cpu")
    assert not fetched.installed
    assert files(cache) == {
        "lock",
        *(f"{sdk.VERSION}-{MACHINE}/{name}" for name in FILES if "exir" not in name and name.count("/") > 1),
        f"{sdk.VERSION}-{MACHINE}/executorch/version.py",
    }
    assert sdk.find_sdk() == sdk.fetch_sdk(say=said.append) == fetched
    assert len(said) == 1
    with pytest.raises(SystemExit) as caught:
        build.main(["--executorch", str(fetched.folder), "--wheel", "x"])
    assert caught.value.code == 2


def test_an_index_without_it_is_told_in_pips_words(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    """One line says how a machine without a network gets the file; nothing is left."""
    last = refused(capsys=capsys)
    assert last.startswith(f"error: executorch=={sdk.VERSION} cannot be fetched: No matching distribution")
    assert last.endswith("is named by --wheel")
    assert files(cache) == {"lock"}


@pytest.mark.parametrize("damage", ["truncated", "hostile", "empty"])
def test_a_file_that_is_not_known_is_not_opened(
    damage: str, wheel: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cut short, altered or with a path that leads out of the cache: refused by its digest."""
    content = wheel.read_bytes()
    if damage == "hostile":
        with zipfile.ZipFile(wheel, "a") as archive:
            archive.writestr("executorch/lib/../../../../escaped", "")
    else:
        wheel.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    last = refused("--wheel", str(wheel), capsys=capsys)
    assert f"{wheel.name} is none of the wheels of executorch {sdk.VERSION} whose digests we know" in last
    assert file_sha256(wheel) in last
    assert files(cache) == {"lock"}
    with pytest.raises(sdk.NativeBuildError, match="libraries are not here"):
        sdk.find_sdk()


def test_wheels_of_other_machines_are_refused(
    wheel: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By name where the file is known; where no wheel is known for a machine, nothing is fetched."""
    monkeypatch.setitem(sdk.WHEELS, ("py3", MACHINE), "")
    monkeypatch.setitem(sdk.WHEELS, ("py3", "vax"), file_sha256(wheel))
    last = refused("--wheel", str(wheel), capsys=capsys)
    assert last == f"error: {wheel.name} is ExecuTorch's wheel for vax, expected the one for {MACHINE}"
    assert refused("--wheel", "none.whl", capsys=capsys) == "error: cannot read none.whl (No such file or directory)"
    assert files(cache) == {"lock"}
    with pytest.raises(sdk.NativeBuildError, match="no wheel of ExecuTorch is known for s390x; run: pip install"):
        sdk.fetch_sdk(machine="s390x")


CUT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
"""The kernel refuses longer files, as a full disk would."""
STUCK = "import os, time; os.sync = lambda: (print('unpacked', flush=True), time.sleep(600)); "
"""All is unpacked and not yet in its place."""


def program(wheel: Path, before: str) -> list[str]:
    """Return the command that unpacks the wheel, in a process of its own, which knows it."""
    known = f"sdk.WHEELS['py3', {MACHINE!r}] = {file_sha256(wheel)!r}; "
    return [sys.executable, "-c", HIDDEN + known + before + f"sys.exit(build.main(['--wheel', {str(wheel)!r}]))"]


def test_a_full_disk_is_told_and_nothing_half_unpacked_is_used(wheel: Path, cache: Path) -> None:
    """The place and the variable that moves it are named."""
    done = subprocess.run(program(wheel, CUT), cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: cannot unpack ExecuTorch's wheel into {cache} (File too large); make room there,"
        " or set EDGE_RUNTIME_CACHE to another folder\n"
    )
    assert files(cache) == {"lock"}


def test_killed_in_the_middle_it_begins_anew(wheel: Path, cache: Path) -> None:
    """What was unpacked is not taken for whole, and the next call removes it."""
    with subprocess.Popen(program(wheel, STUCK), cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "unpacked\n"
        process.send_signal(signal.SIGKILL)
    (left,) = cache.glob("wheel-*")
    assert (left / "unpacked/executorch/lib/libexecutorch.so").is_file()
    with pytest.raises(sdk.NativeBuildError, match="libraries are not here"):
        sdk.find_sdk()
    assert sdk.fetch_sdk(wheel=wheel).folder == sdk.unpacked_folder(MACHINE)
    assert {path.name for path in cache.iterdir()} == {"lock", f"{sdk.VERSION}-{MACHINE}"}


def test_the_version_is_the_one_that_the_export_compiles_for() -> None:
    """pyproject.toml pins it, and a wheel is known for each Python that we support on each machine."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert f"executorch=={sdk.VERSION}" in project["optional-dependencies"]["export"]
    assert project["requires-python"] == ">=3.11,<3.14"
    pythons = ("cp311", "cp312", "cp313")
    assert set(sdk.WHEELS) == {(python, machine) for python in pythons for machine in ("x86_64", "aarch64")}
    assert {len(bytes.fromhex(digest)) for digest in sdk.WHEELS.values()} == {32}
