"""What the scripts in packaging/ say when they cannot do their work; that they can, tests/integration shows."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import bare_install
import board_wheel
import extras
import pytest

from edge_runtime.native import build, sdk

ROOT = Path(__file__).parent.parent


def test_a_machine_that_cannot_be_built_for_is_named(tmp_path: Path) -> None:
    """ARM64 is cross-compiled on x86-64; the reverse, and others, are not."""
    with pytest.raises(board_wheel.WheelError, match=r"a wheel for riscv64 cannot be built on .*; build it on such a"):
        board_wheel.board_wheel(tmp_path / "edge_experts-1-py3-none-any.whl", "riscv64", tmp_path)


def test_an_executorch_without_its_licence_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text has to go with its libraries."""
    library = tmp_path / "libfl_runtime.so"
    library.touch()
    monkeypatch.setattr(board_wheel.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(board_wheel, "find_sdk", lambda: sdk.Sdk(tmp_path / "executorch", "1.5.1"))
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
    monkeypatch.setattr(board_wheel, "find_sdk", lambda: sdk.Sdk(tmp_path / "executorch", "1.5.1"))
    monkeypatch.setattr(build, "ensure", lambda **_: tmp_path / "libfl_runtime.so")
    monkeypatch.setattr(board_wheel, "fetch_wheel", lambda *_: other)
    with pytest.raises(board_wheel.WheelError, match=r"tokenizers-1\.whl has no tokenizers\.abi3\.so"):
        board_wheel.board_wheel(tmp_path / "edge_experts-1-py3-none-any.whl", "x86_64", tmp_path)


def test_the_index_page_stands_alone() -> None:
    """An index shows it beside none of our files; the extras and commands that it names are there."""
    page = (ROOT / "packaging/index-page.md").read_text()
    links = re.findall(r"\]\(([^)]+)\)|^\[[^\]]+\]:\s*(\S+)|(?:href|src)=[\"']?([^\"' >]+)", page, re.MULTILINE)
    assert [link for found in links for link in found if link and not link.startswith("https://")] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {extra for extras in re.findall(r"edge-experts\[([^\]]+)\]", page) for extra in extras.split(",")}
    assert {"edge", "edge-source", "gateway", "export"} <= named <= set(project["optional-dependencies"])
    assert f"Python {' to '.join(_supported(project['requires-python']))}" in page
    commands = {"broker_server": ("init", "enroll", "run"), "edge_runtime": ("run", "train", "predict", "doctor")}
    for name in ("export.build", *(f"{part} {command}" for part in commands for command in commands[part])):
        assert name in page


def _supported(versions: str) -> tuple[str, str]:
    """Return the oldest and the newest Python of ">=3.11,<3.14"."""
    oldest, after = re.fullmatch(r">=(3\.\d+),<3\.(\d+)", versions).groups()  # type: ignore[union-attr]
    return oldest, f"3.{int(after) - 1}"


def test_every_extra_is_part_of_what_is_tried() -> None:
    """An extra that nobody installs alone may lack what it needs."""
    extras_of = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra for part in extras.PARTS for extra in part.split(",")} == set(extras_of)


def test_parts_that_do_not_exist_are_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """So is no turn at all; nothing is built before."""
    for words, said in ((["gatway"], "gatway: no part; --help lists them"), (["--times", "0"], "--times is 1 or more")):
        with pytest.raises(SystemExit) as caught:
            extras.main(words)
        assert caught.value.code == 2
        assert said in capsys.readouterr().err


def test_a_tool_that_fails_is_quoted() -> None:
    """Its last words, behind what was run."""
    with pytest.raises(board_wheel.WheelError, match=r"^-c import sys; sys\.exit\('no disk'\) failed: no disk$"):
        board_wheel._run([sys.executable, "-c", "import sys; sys.exit('no disk')"])
    with pytest.raises(board_wheel.WheelError, match=r"^no-such-strip is needed to build a wheel for boards \(No such"):
        board_wheel._run(["no-such-strip", "lib.so"])


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
