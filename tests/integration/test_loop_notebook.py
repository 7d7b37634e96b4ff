"""examples/two_devices.ipynb runs: a real export, gateway and devices over MQTT, by what `make notebook` calls."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from loop_federation import ROOT, environment
from loop_packages import EXPERTS, RANK, Packages

from docs import notebook


def test_every_cell_of_the_notebook_runs(tmp_path: Path, packages: Packages) -> None:
    """With the little backbone in place of MiniLM: both devices take part in all rounds, each version is measured."""
    packages["one"]  # has the same program, which is compiled once
    little = (
        f"model={str(packages.backbone)!r}, cache_dir={str(packages.folder / 'cache')!r}, experts={EXPERTS}, "
        f"rank={RANK}, shared_rank={RANK}, batch_size=4, seq_len=16, tokens=(32,), train_slots=1, "
    )
    instead = {
        'build_package("pixel8", ': f'build_package("pixel8", {little}',
        'Path("../': f'Path("{ROOT}/',
        "rounds=8": "rounds=2",
    }
    one = notebook.read(notebook.NOTEBOOK)
    for words, others in instead.items():
        (cell,) = [cell for cell in notebook.code_cells(one) if words in notebook.source(cell)]
        cell["source"] = notebook.source(cell).replace(words, others).splitlines(keepends=True)
    file = tmp_path / "little.ipynb"
    file.write_text(notebook.written(one))
    done = subprocess.run(
        [sys.executable, "-m", "docs.notebook", file], cwd=ROOT, env=environment(TMPDIR=str(tmp_path)),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    cells = notebook.code_cells(notebook.read(file))
    shown = [output for cell in cells for output in cell["outputs"]]
    text = "".join(line for output in shown for line in output.get("text", ()))
    assert [output["data"]["image/png"][:5] for output in shown if "data" in output] == ["iVBOR"]
    assert re.findall(r"^(\w+): 2 rounds, ", text, re.MULTILINE) == ["ada", "bo"]
    measured = re.findall(r"^version (\d+): (\d+)%$", text, re.MULTILINE)
    assert [int(number) for number, _ in measured] == list(range(4))
    assert text.count("held-out texts that version 3 gets wrong") == 1
