"""The loop by its Python interface: real packages, a real gateway in the same process, real MQTT."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from loop_federation import ROOT, answer, call, environment
from loop_packages import Packages
from loop_story import Data

from benchmarks.operating.document import steps
from benchmarks.operating.follow import free_ports
from benchmarks.operating.settings_file import set_keys
from broker_server import Gateway
from docs import notebook
from edge_runtime import Model

EXAMPLE = ROOT / "examples/train_and_join.py"
MISUSED = """
from broker_server import Gateway
from edge_runtime import Model
from edge_runtime import Modell  # type: ignore[attr-defined]
from export import build_package

model = Model.open("packages/pixel8")
model.train(csv="mine.csv", epochs="3")  # type: ignore[arg-type]
model.predict(3)  # type: ignore[arg-type]
label: int = model.predict(["a"])[0].label  # type: ignore[assignment]
model.evaluate(csv="mine.csv").acuracy  # type: ignore[attr-defined]
build_package("pixel8", expert=4)  # type: ignore[call-arg]
Gateway(3)  # type: ignore[arg-type]
"""


def test_the_example_does_what_it_says(tmp_path: Path, packages: Packages, data: Data) -> None:
    """It trains, saves a bank that the command takes, joins, and ends with version 3 on this device: 20 lines."""
    assert len([line for line in EXAMPLE.read_text().splitlines() if line.strip()]) <= 20
    shutil.copytree(packages["one"], tmp_path / "packages/pixel8")
    shutil.copy(data.held_out, tmp_path / "mine.csv")
    done = subprocess.run(
        [sys.executable, EXAMPLE], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(r"^training: 1 of \d+$", done.stdout, re.MULTILINE)
    assert "joined the federation" in done.stdout
    assert "version 3 of [0, 1, 2, 3]\n" in done.stdout
    worth = re.search(r"^accuracy (\d+)% with version 3$", done.stdout, re.MULTILINE)
    assert worth is not None
    assert int(worth[1]) > 60
    scored = answer(
        "edge_runtime", "predict", "--package", "packages/pixel8", "--bank", "my-bank", "--data", "mine.csv",
        folder=tmp_path,
    )  # fmt: skip
    assert scored["accuracy"] > 0.6


@pytest.mark.slow
def test_user_code_is_typed(tmp_path: Path) -> None:
    """Strict mypy takes what documents show, and finds each misuse: an ignore that nothing needs is a fault."""
    (tmp_path / "misused.py").write_text(MISUSED)
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (tmp_path / "readme.py").write_text(block)
    programs = [step for step in steps((ROOT / "docs/tutorial.md").read_text()) if step.kind == "python"]
    for program in programs:
        (tmp_path / f"tutorial_{program.name}").write_text(program.text)
    cells = notebook.code_cells(notebook.read(notebook.NOTEBOOK))
    (tmp_path / "notebook.py").write_text("\n".join(map(notebook.source, cells)))
    names = ["misused.py", "readme.py", "notebook.py", *(f"tutorial_{program.name}" for program in programs)]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file", "/dev/null", "--follow-imports", "silent"),
            *("--cache-dir", str(tmp_path / "cache"), str(EXAMPLE), *names),
        ],
        cwd=tmp_path, env=environment(MYPYPATH=str(ROOT)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["Success: no issues found in 8 source files"])


def test_an_enrolled_device_joins_over_tls(
    tmp_path: Path, packages: Packages, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway of a settings file with certificates, and a model that is given the enrolment file."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(packages["one"], "packages/pixel8")
    (port,) = free_ports(1)
    done = call("broker_server", "init", "--host", "localhost", "--package", "packages/pixel8", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "gateway.toml"
    changes = f"rounds = 1\n[listen]\nport = {port}\n[web]\nport = 0\n[round]\nquorum = 1\n"
    file.write_text(set_keys(file.read_text(), changes))
    assert call("broker_server", "enroll", "kitchen", "--no-qr", folder=tmp_path).returncode == 0
    with Gateway(file) as gateway, Model.open("packages/pixel8", threads=1) as model:
        assert gateway.url.startswith("mqtts://")
        report = model.join("kitchen.enrolment.json", csv=data.ada, state="state")
        assert gateway.wait(timeout_s=60)
    assert (report.device, report.rounds, report.version) == ("kitchen", 1, 2)
    assert [one.number for one in gateway.versions()] == [0, 1, 2]
