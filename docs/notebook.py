"""Run examples/two_devices.ipynb and write its outputs: ``python -m docs.notebook``; ``--check`` only looks at it.

A runner of its own, because Jupyter's (nbclient with ipykernel) is 30 packages of 89 MB, for one notebook. Cells run in
this process, one after the other in one namespace, as in a kernel: a cell shows what it prints, figures of matplotlib
that it leaves open, and the value of an expression at its end. What only IPython knows (``%``, ``!``) is an error here.
The file is written as Jupyter writes it, which tests/test_notebook.py holds against nbformat.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import hashlib
import io
import json
import linecache
import os
import re
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from edge_runtime.wire.errors import FederationError

NOTEBOOK: Final = Path(__file__).parent.parent / "examples/two_devices.ipynb"
Cell = dict[str, Any]
Notebook = dict[str, Any]
"""As JSON has it: https://nbformat.readthedocs.io, version 4.5."""
_OURS: Final = "edge_experts"
"""Key of the metadata where the digest of the code that was run stands."""
_OF_A_MACHINE: Final = re.compile(
    r"(?<![\w.])/(?:home|root|Users|tmp|var|usr|opt|work|private|mnt)/|\b0x[0-9a-f]{6,}|127\.0\.0\.1|localhost"
)


class CellError(FederationError):
    """A cell of the notebook did not run to its end; the text has the traceback."""


def read(path: Path) -> Notebook:
    """Read a notebook."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def written(notebook: Notebook) -> str:
    """Return a notebook as Jupyter writes it."""
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def code_cells(notebook: Notebook) -> list[Cell]:
    """Return the cells that are run, in order."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell: Cell) -> str:
    """Return a cell's text."""
    return "".join(cell["source"])


def digest(notebook: Notebook) -> str:
    """Return the SHA-256, in hex, of all code."""
    return hashlib.sha256(json.dumps([source(cell) for cell in code_cells(notebook)]).encode()).hexdigest()


# --- running it ------------------------------------------------------------------------------------------------------


def run(notebook: Notebook) -> None:
    """Run all cells, put their outputs in the notebook, and note which code that was.

    Raises:
        CellError: at the first cell that fails.
    """
    os.environ["MPLBACKEND"] = "agg"
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(code_cells(notebook), 1):
        cell["execution_count"] = number
        cell["outputs"] = list(_outputs(source(cell), number, namespace))
    notebook["metadata"][_OURS] = {"code_sha256": digest(notebook)}


class _Printed(io.TextIOBase):
    """Takes what is printed. Args: name: of the stream; outputs: to which it is added."""

    def __init__(self, name: str, outputs: list[dict[str, Any]]) -> None:
        self._name, self._outputs = name, outputs

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if not self._outputs or self._outputs[-1]["name"] != self._name:
            self._outputs.append({"name": self._name, "output_type": "stream", "text": []})
        lines = "".join([*self._outputs[-1]["text"], text]).splitlines(keepends=True)
        self._outputs[-1]["text"] = lines
        return len(text)


def _outputs(code: str, number: int, namespace: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Run one cell; yield its outputs."""
    printed: list[dict[str, Any]] = []
    with (
        contextlib.redirect_stdout(_Printed("stdout", printed)),
        contextlib.redirect_stderr(_Printed("stderr", printed)),
    ):
        value = _value(code, f"<cell {number}>", namespace)
    yield from printed
    yield from _figures()
    if value is not None:
        data = {"text/plain": repr(value).splitlines(keepends=True)}
        yield {"data": data, "execution_count": number, "metadata": {}, "output_type": "execute_result"}


def _value(code: str, name: str, namespace: dict[str, Any]) -> object:
    """Run a cell; return the value of an expression at its end, else None."""
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)  # for tracebacks
    try:
        body = ast.parse(code, name).body
        last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
        body = body[:-1] if last is not None else body
        exec(compile(ast.Module(body, []), name, "exec", dont_inherit=True), namespace)  # noqa: S102 - cells of ours
        if last is None:
            return None
        return eval(compile(ast.Expression(last.value), name, "eval", dont_inherit=True), namespace)  # noqa: S307
    except (Exception, SystemExit) as error:
        raise CellError("".join(traceback.format_exception(error))) from error


def _figures() -> Iterator[dict[str, Any]]:
    """Yield matplotlib's open figures as pictures, and close them."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return
    for number in pyplot.get_fignums():
        figure, picture = pyplot.figure(number), io.BytesIO()
        figure.savefig(picture, format="png", dpi=100)
        data = {
            "image/png": base64.b64encode(picture.getvalue()).decode(),
            "text/plain": [repr(figure)],
        }
        yield {"data": data, "metadata": {}, "output_type": "display_data"}
    if pyplot:
        pyplot.close("all")


# --- looking at it ---------------------------------------------------------------------------------------------------


def faults(notebook: Notebook) -> list[str]:
    """Return what is wrong with a notebook that is committed: code that was not run, outputs of one machine alone."""
    wrong = []
    cells = code_cells(notebook)
    if notebook["metadata"].get(_OURS, {}).get("code_sha256") != digest(notebook):
        wrong.append("its code is not the code that was run; run make notebook")
    if [cell["execution_count"] for cell in cells] != list(range(1, len(cells) + 1)):
        wrong.append("its cells were not run from the first to the last; run make notebook")
    for number, cell in enumerate(cells, 1):
        shown = json.dumps([_text(output) for output in cell["outputs"]], ensure_ascii=False)
        wrong += [f"cell {number} shows {match}, which is of one machine" for match in _machines(shown)]
        if any(output["output_type"] == "error" or output.get("name") == "stderr" for output in cell["outputs"]):
            wrong.append(f"cell {number} shows an error or a warning")
    return wrong


def _text(output: dict[str, Any]) -> object:
    """Return an output without its picture."""
    return output.get("text") or {kind: data for kind, data in output.get("data", {}).items() if "image" not in kind}


def _machines(text: str) -> list[str]:
    host = socket.gethostname()
    return [*_OF_A_MACHINE.findall(text), *([host] if re.search(rf"\b{re.escape(host)}\b", text) else [])]


def main(argv: Sequence[str] | None = None) -> int:
    """Run and write the notebook, or look at it; exit status 1 when a cell fails or something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m docs.notebook", description="Run a notebook, write its outputs.")
    parser.add_argument("--check", action="store_true", help="run nothing; exit status 1 when it is out of date")
    parser.add_argument("notebook", type=Path, nargs="?", default=NOTEBOOK, help="default: examples/two_devices.ipynb")
    options = parser.parse_args(argv)
    path: Path = options.notebook.resolve()
    notebook = read(path)
    if not options.check:
        with contextlib.chdir(path.parent):  # as Jupyter does
            try:
                run(notebook)
            except CellError as error:
                sys.stderr.write(str(error))
                return 1
    wrong = faults(notebook)
    if wrong:
        sys.stderr.write("".join(f"{path.name}: {fault}\n" for fault in wrong))
        return 1
    if not options.check:
        path.write_text(written(notebook), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
