"""What the scripts in packaging/ say when they cannot do their work; that they can, tests/integration shows."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import bare_install
import board_wheel
import pytest

from benchmarks.arm64 import tools
from edge_runtime.native import build


def test_a_machine_that_cannot_be_built_for_is_named(tmp_path: Path) -> None:
    """ARM64 is cross-compiled on x86-64; the reverse, and others, are not."""
    with pytest.raises(board_wheel.WheelError, match=r"a wheel for riscv64 cannot be built on .*; build it on such a"):
        board_wheel.board_wheel(tmp_path / "edge_experts-1-py3-none-any.whl", "riscv64", tmp_path)


def test_an_executorch_without_its_licence_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text has to go with its libraries."""
    library = tmp_path / "libfl_runtime.so"
    library.touch()
    monkeypatch.setattr(board_wheel.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(build, "find_sdk", lambda: build.Sdk(tmp_path / "executorch", "1.5.1"))
    monkeypatch.setattr(build, "ensure", lambda **_: library)
    with pytest.raises(board_wheel.WheelError, match="has no licence beside it; install it again"):
        board_wheel.board_wheel(tmp_path / "edge_experts-1-py3-none-any.whl", "x86_64", tmp_path)


def test_another_tokenizers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release whose compiled part has another name would leave the wheel without a tokenizer."""
    (tmp_path / "executorch-1.5.1.dist-info/licenses").mkdir(parents=True)
    (tmp_path / "executorch-1.5.1.dist-info/licenses/LICENSE").touch()
    (tmp_path / "libfl_runtime.so").touch()
    other = tmp_path / "tokenizers-1.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("tokenizers/core.so", "")
    monkeypatch.setattr(board_wheel.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(build, "find_sdk", lambda: build.Sdk(tmp_path / "executorch", "1.5.1"))
    monkeypatch.setattr(build, "ensure", lambda **_: tmp_path / "libfl_runtime.so")
    monkeypatch.setattr(tools, "fetch_wheel", lambda *_: other)
    with pytest.raises(board_wheel.WheelError, match=r"tokenizers-1\.whl has no tokenizers\.abi3\.so"):
        board_wheel.board_wheel(tmp_path / "edge_experts-1-py3-none-any.whl", "x86_64", tmp_path)


def test_a_tool_that_fails_is_quoted() -> None:
    """Its last words, behind what was run."""
    with pytest.raises(board_wheel.WheelError, match=r"^-c import sys; sys\.exit\('no disk'\) failed: no disk$"):
        board_wheel._run([sys.executable, "-c", "import sys; sys.exit('no disk')"])


def test_a_board_sees_nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But where the package index is; and what fails there is told with the program's own words."""
    monkeypatch.setenv("CXX", "c++")
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    board = bare_install.Board([sys.executable], tmp_path / "venv")
    assert board.environment["PIP_FIND_LINKS"] == "wheels"
    names = {name for name in board.environment if not bare_install.INDEX_SETTINGS.fullmatch(name)}
    assert names == {"PATH", "HOME", "EDGE_RUNTIME_CACHE"}
    assert board.run("-c", "print(input())", text="hello") == "hello\n"
    with pytest.raises(bare_install.BoardError, match=r"failed: .*no such thing"):
        board.run("-c", "import sys; sys.exit('no such thing')")


def test_a_device_without_tokenizers_is_told_how_to_get_it() -> None:
    """As after `pip install '.[edge]'` in a checkout, which is for wheels that have it."""
    code = "import sys; sys.modules['tokenizers'] = None; import edge_runtime.data.tokenizer"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install '.[edge,edge-source]'" in done.stderr.splitlines()[-1]
