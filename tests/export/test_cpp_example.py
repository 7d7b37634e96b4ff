"""examples/cpp: compiled in both ways that its README says, it predicts what the device runtime predicts."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge_runtime.inference.predictor import Predictor
from edge_runtime.native import build as native
from edge_runtime.opened_package import Parts
from edge_runtime.wire.bank import Bank

if TYPE_CHECKING:
    from conftest import Build

ROOT = Path(__file__).parents[2]
IDS = [2, 9, 17, 5, 3]


@pytest.fixture(scope="module", params=["cmake", "c++"])
def classify(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile it with the lines of its README that begin with a tool."""
    if shutil.which("c++") is None:
        pytest.skip("a C++ compiler is needed")
    target, library = tmp_path_factory.mktemp("cpp") / "classify", str(native.ensure().parent)
    output = f"-o {target} -Wall -Wextra -Werror"
    places = {"FOLDER": library, "LIB": library, "build/cpp": str(target.parent), "-o classify": output}
    for line in (ROOT / "examples/cpp/README.md").read_text().splitlines():
        if line.startswith(f"{request.param} "):
            command = line.partition(" #")[0]
            for name, place in places.items():
                command = command.replace(name, place)
            subprocess.run(command.split(), cwd=ROOT, check=True, capture_output=True)
    return target


@pytest.fixture(scope="module")
def package(build: Build) -> Path:
    """Export a package with three labels."""
    return build("cpp-example").package.folder


def run(classify: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Run it."""
    return subprocess.run([classify, *map(str, words)], capture_output=True, text=True, check=False)


def test_it_predicts_what_the_device_runtime_predicts(classify: Path, package: Path, tmp_path: Path) -> None:
    """With a bank of random values, whose head favours some labels, to the last digit that is printed."""
    parts = Parts.open(package)
    architecture, luck = parts.manifest.architecture, np.random.default_rng(5)
    start = parts.initial_bank()
    random = {
        name: luck.normal(0, 0.3, getattr(start, name).shape).astype(np.float32)
        for name in ("experts", "shared", "head", "mean")
    }
    bank = Bank(architecture.bank_shape, **random)
    (tmp_path / "bank.safetensors").write_bytes(bank.to_bytes(architecture.digest()))
    expected = Predictor(parts.program, parts.manifest, parts.tokenizer, bank).of_tokens(IDS)[0]
    parts.close()
    done = run(classify, package / "program.pte", "predict_s8_r1_b1", tmp_path / "bank.safetensors", *IDS)
    assert (done.returncode, done.stderr) == (0, "")
    told = [float(line) for line in done.stdout.splitlines()]
    assert told == pytest.approx(expected.tolist(), abs=1e-6)
    assert max(told) > 0.4  # version 0 would say a third for each


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("predict_s8_r1_b1",), 2, "usage: classify PROGRAM METHOD BANK ID..."),
        (("predict_s8_r1_b1", "nothing.safetensors", 2, 3), 1, "the bank has no experts"),
        (
            ("predict_s8_r1_b1", "bank.safetensors", *range(9)),
            1,
            "take a method of one row with as many places as tokens",
        ),
        (("predict_s99_r1_b1", "bank.safetensors", 2, 3), 1, "predict_s99_r1_b1"),
    ],
)
def test_it_says_what_is_wrong(
    classify: Path, package: Path, words: tuple[object, ...], status: int, told: str
) -> None:
    """One line, and the exit codes of all commands."""
    method, *others = words
    places = [package / other if isinstance(other, str) else other for other in others]
    done = run(classify, package / "program.pte", method, *places)
    assert done.returncode == status
    assert told in done.stderr
    assert done.stdout == ""
