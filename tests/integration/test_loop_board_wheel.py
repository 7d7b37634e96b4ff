"""Wheels for boards: installed where there is no compiler, no cmake and no executorch, they train a real package.

On x86-64 in a bare virtual environment; the one for ARM64 in Debian's Python for ARM64, under emulation (skipped where
`make arm64-tools` has not fetched it). Both are installed from the package index, as a board does.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import board_wheel
import numpy as np
import pip
import pytest
from bare_install import Board
from loop_federation import ROOT, answer
from loop_packages import Packages, write_data

from benchmarks.arm64 import debian_python

pytestmark = pytest.mark.timeout(1200)
MEGABYTES = 140
"""That an environment may have after its device has trained, what the empty one had included."""
TEXTS = ("wake me up at six", "play some jazz", "dim the hall light")


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the source distribution and the wheel without a platform that was built from it."""
    return board_wheel.distributions(tmp_path_factory.mktemp("distributions"))


@pytest.fixture(scope="module")
def wheel_here(distributions: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel for boards like this machine."""
    return board_wheel.board_wheel(distributions[1], platform.machine(), tmp_path_factory.mktemp("dist")).path


def answer_of(board: Board, *arguments: object, text: str = "") -> list[Any]:
    """Run edge_runtime on a board with ``--json`` and return its objects, one a line."""
    printed = board.run("-m", "edge_runtime", *arguments, "--json", text=text)
    return [json.loads(line) for line in printed.splitlines()]


def trains(
    board: Board, package: Path, data: Path, out: Path, *, origin: str = "from the wheel for boards"
) -> list[list[float]]:
    """Let a board look at a package, train three steps and predict; return probabilities, [texts, labels]."""
    (checked,) = answer_of(board, "doctor", "--package", package)
    driver = next(check for check in checked["checks"] if check["name"] == "driver")
    assert checked["ok"]
    assert driver["detail"].startswith("native, executorch 1.5.1")
    assert driver["detail"].endswith(origin)
    (report,) = answer_of(board, "train", "--package", package, "--data", data, "--steps", 3, "--out", out)
    assert report["steps"] == 3
    assert np.isfinite(report["loss_last"])
    return probabilities(
        answer_of(board, "predict", "--package", package, "--bank", out, "--top", 3, text="\n".join(TEXTS))
    )


def probabilities(answers: list[Any]) -> list[list[float]]:
    """Return probabilities by the label's name, [texts, labels]."""
    by_label = [{item["label"]: item["probability"] for item in one["labels"]} for one in answers]
    return [[shares[label] for label in sorted(shares)] for shares in by_label]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return texts of one device."""
    return write_data(tmp_path_factory.mktemp("data") / "own.csv", {"alarm": 12, "music": 8, "light": 8}, 1)


@pytest.fixture(scope="module")
def predicted_here(packages: Packages, data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """Return what the checkout predicts after the same steps, by a driver that was compiled on this machine."""
    folder = tmp_path_factory.mktemp("here")
    package = packages["one"]
    trained = ("train", "--package", package, "--data", data, "--steps", 3, "--out", folder / "bank")
    answer("edge_runtime", *trained, folder=folder)
    done = subprocess.run(
        [sys.executable, "-m", "edge_runtime", "predict", "--package", package, "--bank", folder / "bank", "--top", "3",
         "--json"],
        cwd=ROOT, input="\n".join(TEXTS), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return probabilities([json.loads(line) for line in done.stdout.splitlines()])


def test_a_board_needs_nothing_but_the_wheel(
    *,
    wheel_here: Path,
    packages: Packages,
    data: Path,
    predicted_here: list[list[float]],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """No compiler, no cmake, no executorch: installed, checked, small, and it learns what a built driver learns."""
    board = Board.here(tmp_path / "venv")
    for tool in ("c++", "g++", "clang++", "cc", "cmake", "make", "ninja"):
        assert shutil.which(tool, path=board.environment["PATH"]) is None
    cost = board.install("--no-compile", f"{wheel_here}[edge]")
    record_property("installed_mb", round(cost.nbytes / 1e6, 1))
    record_property("install_s", round(cost.seconds, 1))
    names = {one["name"].lower() for one in json.loads(board.run("-m", "pip", "list", "--format", "json"))}
    assert names.isdisjoint({"executorch", "torch", "cmake", "tokenizers", "huggingface-hub", "huggingface_hub"})
    library = json.loads(board.run("-m", "edge_runtime.native.build", "--json"))["library"]
    assert Path(library).is_relative_to(board.venv)
    assert trains(board, packages["one"], data, tmp_path / "bank") == predicted_here
    assert list(board.home.rglob("*.so")) == []  # nothing was compiled
    record_property("used_mb", round(board.nbytes() / 1e6, 1))
    assert board.nbytes() / 1e6 <= MEGABYTES


@pytest.mark.matrix
def test_a_device_from_a_checkout_compiles_over_what_pip_fetches(
    *,
    distributions: tuple[Path, Path],
    packages: Packages,
    data: Path,
    predicted_here: list[list[float]],
    tmp_path: Path,
) -> None:
    """No executorch is installed, so `pip check` is content; the driver learns what any other learns."""
    board = Board.here(tmp_path / "venv", compiler=True)
    board.install(f"{distributions[1]}[edge,edge-source]")
    assert "executorch" not in {one["name"] for one in json.loads(board.run("-m", "pip", "list", "--format", "json"))}
    board.run("-m", "edge_runtime.native.build")
    origin = "compiled over executorch's unpacked wheel"
    assert trains(board, packages["one"], data, tmp_path / "bank", origin=origin) == predicted_here


@pytest.mark.slow
def test_a_board_with_64_bit_arm_needs_nothing_but_the_wheel(
    *,
    distributions: tuple[Path, Path],
    packages: Packages,
    data: Path,
    predicted_here: list[list[float]],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """The wheel that was compiled here for ARM64, taken by a pip and used by a Python of that machine."""
    lacking = debian_python.missing()
    if lacking:
        pytest.skip("a board with ARM64 needs " + "; ".join(lacking))
    wheel = board_wheel.board_wheel(distributions[1], "aarch64", tmp_path / "dist").path
    venv, with_pip = tmp_path / "venv", tmp_path / "with-pip"
    with_pip.mkdir()
    (with_pip / "pip").symlink_to(Path(pip.__file__).parent)
    bare = debian_python.command(debian_python.root() / "usr/bin/python3", "-m", "venv", "--without-pip", str(venv))
    subprocess.run(bare, check=True)
    board = Board(debian_python.command(venv / "bin/python"), venv)
    board.environment["PYTHONPATH"] = str(with_pip)
    cost = board.install("--no-compile", f"{wheel}[edge]")
    record_property("installed_mb_without_bytecode", round(cost.nbytes / 1e6, 1))
    there = trains(board, packages["one"], data, tmp_path / "bank")
    assert np.abs(np.subtract(there, predicted_here)).max() < 0.02  # an int8 step rounds otherwise there


def test_the_tag_is_what_the_libraries_need(wheel_here: Path) -> None:
    """The wheel names this machine and a C library; no library in it looks for others where it was built."""
    matched = re.fullmatch(r"edge_experts-.+-cp311-abi3-manylinux_2_(\d+)_(\w+)\.whl", wheel_here.name)
    assert matched is not None
    assert matched[2] == platform.machine()
    with zipfile.ZipFile(wheel_here) as wheel:
        names = wheel.namelist()
        libraries = {name: wheel.read(name) for name in names if ".so" in name}
        metadata = wheel.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    assert sorted(re.sub(r"-[0-9a-f]{8}", "", Path(name).name) for name in libraries) == [
        "libexecutorch.so",
        "libexecutorch_backend_xnnpack.so",
        "libexecutorch_kernels_optimized.so",
        "libexecutorch_threadpool.so",
        "libfl_runtime.so",
        "tokenizers.abi3.so",
    ]
    asked = {int(minor) for data in libraries.values() for minor in re.findall(rb"GLIBC_2\.(\d+)\b", data)}
    assert max(asked) <= int(matched[1])
    for name, content in libraries.items():
        assert str(Path(sys.prefix)).encode() not in content, name
    for text in ("LICENSE", "executorch/LICENSE", "executorch/in-executorch.txt", "executorch/MPL-2.0.txt"):
        assert any(name.endswith(f".dist-info/licenses/{text}") for name in names), text
        assert f"License-File: {text}\n" in metadata
    assert f"License-Expression: {board_wheel.LICENCE}\n" in metadata


def test_the_source_distribution_has_all_that_git_tracks(distributions: tuple[Path, Path]) -> None:
    """Wheels and packages can be built from it, and its tests run; the plain wheel was built from it, too."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("this is no checkout")
    tracked = {name for name in listed.stdout.split("\0") if name and (ROOT / name).exists()}
    with tarfile.open(distributions[0]) as source:
        packed = {name.partition("/")[2] for name in source.getnames()}
    assert tracked - packed == set()
    with zipfile.ZipFile(distributions[1]) as wheel:
        names = set(wheel.namelist())
    ours = re.compile(r"(edge_runtime|export|broker_server)/(?!wire/vectors/).*\.(py|pyi|proto|cpp|h|toml|html|css|js)")
    assert {name for name in tracked if ours.fullmatch(name)} - names == set()


def test_links_of_the_description_work_wherever_it_is_shown(distributions: tuple[Path, Path]) -> None:
    """An index page shows it beside none of our files, so no link may lead to one."""
    with zipfile.ZipFile(distributions[1]) as wheel:
        metadata = wheel.read(next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))).decode()
    description = metadata.partition("\n\n")[2]
    assert "pip install" in description
    assert [link for link in re.findall(r"\]\(([^)]+)\)", description) if not link.startswith("https://")] == []
