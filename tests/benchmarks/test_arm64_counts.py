"""Counting instructions on emulated ARM64: what is compared, printed, and asked for when tools are missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import sections
from benchmarks.arm64 import __main__ as command
from benchmarks.arm64 import debian_python, examples, tools
from benchmarks.arm64.pixel8 import make_root
from edge_runtime.native import sdk

COUNTS = {"instructions": 1200, "smmla": 30, "sdot": 0, "fmla": 50, "load_store": 400}


def test_counts_are_compared_with_the_last_record() -> None:
    """1,200 after 1,000 is a fifth more; the record before the last does not matter, and none is no comparison."""
    records = [{"cpus": {"i8mm": {"instructions": count}}} for count in (77, 1000)]
    assert command.changes({"i8mm": COUNTS}, records) == {"i8mm": 1.2}
    assert command.changes({"i8mm": COUNTS}, []) == {}


def test_the_table_says_what_a_count_is_not() -> None:
    """Beside the figures."""
    text = command.report({"i8mm": {**COUNTS, "instructions": 1251199748}}, {"i8mm": 0.95})
    assert "1,251,199,748" in text
    assert "i8mm: -5.00 % against the last record" in text
    assert text.endswith("A count does not model cycles: cache, bandwidth, issue width and heat are left out.\n")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a machine with nothing for ARM64."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EDGE_RUNTIME_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tools, "LIBRARIES", tmp_path / "lib")


@pytest.mark.usefixtures("bare")
def test_what_is_missing_comes_with_the_command_that_gets_it() -> None:
    """Compiler, emulator and C library by apt, ExecuTorch's package by make."""
    compiler, emulator, library, package = tools.missing()
    assert compiler.startswith("aarch64-linux-gnu-g++ (run: apt-get install g++-aarch64-linux-gnu")
    assert emulator.startswith("qemu-aarch64 (run: apt-get install")
    assert "ld-linux-aarch64.so.1" in library
    assert package == "ExecuTorch's package for ARM64 (run: make arm64-tools)"


@pytest.mark.usefixtures("bare")
def test_the_command_fails_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A wheel that cannot be fetched, or tools that are not there; exit status 1."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert command.main(["--prepare"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: executorch==")
    assert "for Linux on aarch64 cannot be fetched" in said
    assert said.count("\n") == 1
    package = sdk.unpacked_folder("aarch64")
    for folder in ("lib", "share/cmake"):
        (package / folder).mkdir(parents=True)
    for name in ("lib/libexecutorch.so", "share/cmake/executorch-config.cmake"):
        (package / name).touch()
    assert command.main(["--prepare"]) == 1
    assert capsys.readouterr().err.startswith("error: ARM64 needs aarch64-linux-gnu-g++ (run: apt-get")


@pytest.mark.usefixtures("bare")
def test_a_python_that_cannot_be_fetched_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """No apt-get here; nothing half made is left."""
    emulator, python = debian_python.missing()
    assert emulator == "qemu-aarch64 (run: make arm64-tools)"
    assert python == "Debian's Python for ARM64 (run: make arm64-tools, on Debian)"
    assert debian_python.main() == 1
    said = capsys.readouterr().err
    assert said.startswith("error: Debian's Python for ARM64 cannot be fetched: apt-get did not finish")
    assert said.count("\n") == 1
    assert list(debian_python.root().parent.iterdir()) == []


def test_the_emulated_phone_has_nine_cores_of_three_kinds(tmp_path: Path) -> None:
    """As a Pixel 8: four A510, four A715, one X3, with the part numbers that Arm gave them; written twice, the same."""
    root = make_root(tmp_path / "root", tmp_path)
    assert make_root(root, tmp_path) == root
    parts = [line.split()[-1] for line in (root / "proc/cpuinfo").read_text().splitlines() if "CPU part" in line]
    assert parts == ["0xd46"] * 4 + ["0xd4d"] * 4 + ["0xd4e"]
    cpus = root / "sys/devices/system/cpu"
    assert (cpus / "present").read_text() == "0-8\n"
    assert (cpus / "cpu8/regs/identification/midr_el1").read_text() == "0x00000000411fd4e0\n"
    assert (root / "lib").resolve() == tmp_path.resolve()


def test_instructions_of_a_text_are_told_packed_and_padded() -> None:
    """6 against 15 million: 2.5 times as many; the last record that has them is shown."""
    by_text = {
        "packed": {"texts": 15.4, "cpus": {"i8mm": 6_000_000}},
        "padded": {"texts": 16.0, "cpus": {"i8mm": 15_000_000}},
    }
    told = examples.report(by_text)
    assert "packed, 15.4 texts a step: 6,000,000 on i8mm" in told
    about = {"work": "W.", "cpus": {"i8mm": COUNTS}, "command": "c", "date": "d", "commit": "e"}
    page = sections.arm64([{**about, "examples": by_text}, about])
    assert "| i8mm | 15.0 | 6.0 | 2.50 |" in page
