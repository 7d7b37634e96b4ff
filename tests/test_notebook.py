"""examples/two_devices.ipynb as it is committed, and its runner; tests/integration runs it with a real loop."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from docs import notebook

ROOT = Path(__file__).parent.parent


def of(*cells: str) -> notebook.Notebook:
    """Return a notebook of code cells that were not run."""
    return {
        "cells": [
            {
                "cell_type": "code", "execution_count": None, "id": f"cell-{number}", "metadata": {}, "outputs": [],
                "source": text.splitlines(keepends=True),
            }
            for number, text in enumerate(cells)
        ],
        "metadata": {},
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip


def run(folder: Path, *cells: str) -> tuple[subprocess.CompletedProcess[str], notebook.Notebook]:
    """Write a notebook and have it run by a process of its own; return how that ended, and the file."""
    path = folder / "some.ipynb"
    path.write_text(notebook.written(of(*cells)))
    done = subprocess.run(
        [sys.executable, "-m", "docs.notebook", path], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    return done, notebook.read(path)


def test_the_notebook_was_run_as_it_stands() -> None:
    """Its code is the code that was run, from the first cell to the last; its outputs tell nothing of the machine."""
    assert notebook.faults(notebook.read(notebook.NOTEBOOK)) == []
    assert notebook.main(["--check"]) == 0


def test_jupyter_reads_and_writes_the_same_file() -> None:
    """By Jupyter's own library: it is valid, and opening and saving it changes no byte."""
    text = notebook.NOTEBOOK.read_text(encoding="utf-8")
    opened = nbformat.reads(text, as_version=4)
    nbformat.validate(opened)
    assert nbformat.writes(opened) + "\n" == text


CHANGES: dict[str, tuple[Any, str]] = {
    "a changed cell": (lambda one: one["cells"][0]["source"].append("\n1"), "is not the code that was run"),
    "a cell more": (lambda one: one["cells"].append(copy.deepcopy(one["cells"][0])), "is not the code that was run"),
    "a cell that was run again": (
        lambda one: one["cells"][0].update(execution_count=3), "were not run from the first to the last",
    ),
    "a path": (lambda one: one["cells"][0]["outputs"][0].update(text=["in /home/ada/x"]), "cell 1 shows /home/"),
    "an address": (lambda one: one["cells"][0]["outputs"][0].update(text=["<A at 0x7f00aa>"]), "cell 1 shows 0x7f00aa"),
    "a warning": (lambda one: one["cells"][0]["outputs"][0].update(name="stderr"), "cell 1 shows an error or a warn"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_wrong_is_told(tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The test can fail: a notebook that was changed by hand after it ran."""
    one = of("print(1)", "2")
    notebook.run(one)
    assert notebook.faults(one) == []
    alter, fault = CHANGES[change]
    alter(one)
    (tmp_path / "some.ipynb").write_text(notebook.written(one))
    assert notebook.main(["--check", str(tmp_path / "some.ipynb")]) == 1
    assert fault in capsys.readouterr().err


def test_a_cell_shows_what_a_kernel_shows(tmp_path: Path) -> None:
    """What is printed, in its order; the value at the end, unless it is None; figures; names last to the next cell."""
    done, ran = run(
        tmp_path,
        'import sys\nx = 2\nprint("a", end="")\nprint("b")\nprint("c")',
        "import matplotlib.pyplot as plt\n_ = plt.figure(figsize=(1, 1))\nx * 21",
        "None",
        "",
    )
    assert done.returncode == 0, done.stderr
    nbformat.validate(nbformat.from_dict(ran))
    printed, shown, nothing, empty = [cell["outputs"] for cell in ran["cells"]]
    assert printed == [{"name": "stdout", "output_type": "stream", "text": ["ab\n", "c\n"]}]
    assert shown[0]["data"]["image/png"].startswith("iVBOR")
    assert shown[1]["data"] == {"text/plain": ["42"]}
    assert (nothing, empty) == ([], [])
    assert [cell["execution_count"] for cell in ran["cells"]] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("cell", "error"),
    [("x = 1\nx / 0", 'File "<cell 2>", line 2'), ("%matplotlib inline", "SyntaxError"), ("exit(0)", "SystemExit")],
)
def test_a_cell_that_fails_ends_the_run(tmp_path: Path, cell: str, error: str) -> None:
    """With its traceback; the file stays as it was."""
    done, ran = run(tmp_path, "1", cell, "3")
    assert done.returncode == 1
    assert error in done.stderr
    assert ran == of("1", cell, "3")


def test_outputs_of_a_machine_are_not_written(tmp_path: Path) -> None:
    """A run that shows a path fails, so that none is committed."""
    done, ran = run(tmp_path, 'print("/tmp/here")')
    assert (done.returncode, done.stderr) == (1, "some.ipynb: cell 1 shows /tmp/, which is of one machine\n")
    assert ran["cells"][0]["outputs"] == []
    assert json.loads((tmp_path / "some.ipynb").read_text()) == of('print("/tmp/here")')
