"""The runner that needs no Python: what it reads, writes, prints and refuses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from lowered import lowered

from edge_runtime.native import build


@pytest.fixture(scope="module")
def runner() -> Path:
    """Build, once."""
    pytest.importorskip("executorch")
    return build.ensure_runner()


@pytest.fixture(scope="module", params=["planned", "direct"])
def program(request: pytest.FixtureRequest, run_folder: Path) -> str:
    """Return the little program whose tensors live in the arenas, and the one that works on the caller's."""
    pytest.importorskip("torch")
    return str(lowered(run_folder) / f"{request.param}.pte")


def run(runner: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it and return what it said."""
    return subprocess.run([runner, *arguments], capture_output=True, text=True, check=False)


def test_a_carried_output_is_the_next_steps_input(runner: Path, program: str, tmp_path: Path) -> None:
    """W = 3 and g = 2 everywhere: w falls by g / 2 in each step, 24 squares of 2, 1 and 0 are summed."""
    (tmp_path / "in").write_bytes(np.repeat(np.float32([3, 2]), 24).tobytes())
    files = ("--inputs", str(tmp_path / "in"), "--outputs", str(tmp_path / "out"))
    done = run(runner, program, "step", *files, "--steps", "3", "--carry", "1:0", "--threads", "1")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["first"] == [24 * 4, 24, 0]
    assert said["threads"] == 1
    assert len(said["ms"]) == 3
    assert all(ms > 0 for ms in said["ms"])
    assert len(said["cpu_ms"]) == 3
    assert 1 < said["peak_rss_mib"] < 100
    assert np.fromfile(tmp_path / "out", np.float32).tolist() == [0.0] * 25


def test_weights_are_not_held_twice_while_a_method_is_loaded(runner: Path, run_folder: Path, tmp_path: Path) -> None:
    """64 MiB of weights are packed; of the file, which is mapped, there are never all pages beside the copies."""
    program = lowered(run_folder) / "heavy.pte"
    assert program.stat().st_size > 64 * 2**20
    (tmp_path / "in").write_bytes(np.arange(1024, dtype=np.float32).tobytes())
    files = ("--inputs", str(tmp_path / "in"), "--outputs", str(tmp_path / "out"))
    done = run(runner, str(program), "turn", *files, "--threads", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert np.fromfile(tmp_path / "out", np.float32).tolist() == np.roll(np.arange(1024), 136).tolist()
    assert 64 < json.loads(done.stdout)["peak_rss_mib"] < 115


def test_steps_of_a_warm_up_count_for_nothing_but_are_made(runner: Path, program: str, tmp_path: Path) -> None:
    """One step before: of the falling sums 96, 24, 0 the first is not told; the memory's account is kept."""
    (tmp_path / "in").write_bytes(np.repeat(np.float32([3, 2]), 24).tobytes())
    arguments = ("--inputs", str(tmp_path / "in"), "--steps", "2", "--warm-up", "1", "--carry", "1:0")
    done = run(runner, program, "step", *arguments, "--smaps", str(tmp_path / "smaps"))
    said = json.loads(done.stdout)
    assert said["first"] == [24, 0]
    assert len(said["ms"]) == 2
    assert Path(program).name in (tmp_path / "smaps").read_text()


def test_without_inputs_all_are_zero_and_without_carry_none_changes(runner: Path, program: str, tmp_path: Path) -> None:
    """Score of zeros is gelu(b) with b = [0, 1, 2, 3] / 4 in three rows; k = 0 comes back, and 1."""
    done = run(runner, program, "score", "--steps", "2", "--outputs", str(tmp_path / "out"))
    assert json.loads(done.stdout)["first"] == [0, 0]
    data = (tmp_path / "out").read_bytes()
    assert np.frombuffer(data[:48], np.float32) == pytest.approx([0, 0.149677, 0.345731, 0.580029] * 3, abs=1e-6)
    assert np.frombuffer(data[48:], np.int64).tolist() == [0] * 5 + [1] * 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 1, "no method flight; it has"),
        (("--inputs", "/nowhere"), 1, "no method flight"),
        (("--steps", "0"), 2, "got 0 for --steps, expected a number from 1"),
        (("--steps", "-1"), 2, "got -1 for --steps"),
        (("--threads",), 2, "--threads needs a value"),
        (("--carry", "1"), 2, "got --carry 1, expected OUTPUT:INPUT"),
        (("--speed", "9"), 2, "unknown option --speed"),
        (("third",), 2, "got 3 names, expected PROGRAM and METHOD"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    runner: Path, program: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Exit status 1 for failed work, 2 for bad usage; nothing on standard output."""
    done = run(runner, program, "flight", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("fl_run: ")
    assert words in done.stderr


def test_tensors_that_do_not_fit_are_refused(runner: Path, program: str, tmp_path: Path) -> None:
    """A file of another size, an unwritable one, a carried output of another size than the input, or none there."""
    short = tmp_path / "short"
    short.write_bytes(bytes(191))
    for arguments, code, words in (
        (("--inputs", str(short)), 1, "191 bytes, the method's inputs have 192"),
        (("--inputs", "/nowhere"), 1, "/nowhere: cannot be read"),
        (("--outputs", "/nowhere/out"), 1, "/nowhere/out: cannot be written"),
        (("--carry", "0:0"), 2, "--carry 0:0: no such tensors, or they are not of one type and size"),
        (("--carry", "1:2"), 2, "--carry 1:2: no such tensors"),
    ):
        done = run(runner, program, "step", *arguments)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert words in done.stderr
