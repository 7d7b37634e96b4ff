"""Damaged programs through the native driver, under AddressSanitizer; and what tells whose fault an end is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from lowered import lowered

from tests.fuzz import native_loader
from tests.fuzz.native_loader import in_executorch

_OURS = """==1==ERROR: AddressSanitizer: heap-buffer-overflow
    #0 0x7f00 in __interceptor_memcpy ../../../../src/libsanitizer/asan/asan_interceptors.cpp:827
    #1 0x5500 in fl::Program::run(std::string const&) /src/edge_runtime/native/program.cpp:301
    #2 0x7f01 in executorch::runtime::Method::execute() (/lib/libexecutorch.so+0x1)
"""
_THEIRS = """==1==ERROR: AddressSanitizer: SEGV on unknown address
    #0 0x7ff5  (/site-packages/executorch/lib/libexecutorch_backend_xnnpack.so+0x233019)
    #1 0x5500 in fl::Program::ready(std::string const&) /src/edge_runtime/native/program.cpp:230
"""


@pytest.fixture(scope="module")
def programs(run_folder: Path) -> Path:
    """Return the little programs; skipped without a compiler that has AddressSanitizer."""
    pytest.importorskip("torch")
    pytest.importorskip("executorch")
    asked = ["g++", "-print-file-name=libasan.so"]
    if shutil.which("g++") is None or not Path(subprocess.check_output(asked, text=True).strip()).is_absolute():
        pytest.skip("no g++ with AddressSanitizer")
    return lowered(run_folder)


def test_damaged_programs_are_refused_without_touching_foreign_memory(programs: Path, tmp_path: Path) -> None:
    """Of thousands of damaged files none ends the process where it is opened and described; few are still taken."""
    outcome = native_loader.fuzz(programs, "open", 2, tmp_path)
    assert outcome.findings == ()
    assert outcome.inputs > 1000
    assert 0 < outcome.opened < outcome.inputs


def test_what_ends_later_ends_inside_executorch(programs: Path, tmp_path: Path) -> None:
    """Loading and executing what got through: our own code never oversteps a buffer."""
    outcome = native_loader.fuzz(programs, "execute", 3, tmp_path)
    assert outcome.findings == ()
    assert outcome.executed > 0


def test_the_first_frame_that_is_no_sanitizers_says_whose_fault_it_is() -> None:
    """A copy of ours that oversteps is ours, whoever called; what has no frames is ours to explain."""
    assert not in_executorch(_OURS)
    assert in_executorch(_THEIRS)
    assert in_executorch(_THEIRS.replace("#0", "#0 0x7f00 in __memmove ../sysdeps/x86_64/memmove.S:297\n    #1", 1))
    assert in_executorch("==1==AddressSanitizer: CHECK failed: asan_allocator.cpp:210")
    assert not in_executorch("==1==ERROR: AddressSanitizer: hard rss limit exhausted")
