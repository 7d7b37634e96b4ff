"""The shipped experiments: each can be read, and a small one runs from its file to its tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_federation import tiny_file

from benchmarks.federation import experiment, metrics
from benchmarks.federation.__main__ import main
from benchmarks.federation.arms import ARMS
from benchmarks.federation.figures import run_of
from benchmarks.federation.fleet import DEVICES, fleet

FOLDER = Path(experiment.__file__).parent / "experiments"
FILES = sorted(FOLDER.glob("*.toml"))
SMALL = """
name = "small"
seeds = [1]

[run]
rounds = 1
steps = 2
most_steps = 3
batch = 4

[personal]
steps = 2
rates = [1e-3]

[[cells]]
texts = "trec"
split = "iid"
clients = 3

[[arms]]
name = "ours"
experts = 2
rank = 2
shared_rank = 2

[[arms]]
name = "adapter"
width = 4
"""


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_shipped_experiment_is_read_and_its_fleets_can_be_made(file: Path) -> None:
    """No word is unknown, no run is named twice, and devices.json knows every set."""
    shipped = experiment.read(file)
    tasks = list(shipped.tasks())
    assert len({task.key for task in tasks}) == len(tasks)
    assert {task.arm.arm for task in tasks} <= set(ARMS)
    known = json.loads(DEVICES.read_text(encoding="utf-8"))["work"]
    for cell in shipped.cells:
        assert cell.texts in known
        assert len(fleet(cell.texts, cell.clients, 0, **shipped.fleet).devices) == cell.clients


def test_the_grid_has_what_its_claims_are_made_of() -> None:
    """Ours, the dense adapter and rivals in skewed cells, with three seeds that the exploration did not use."""
    grid = experiment.read(FOLDER / "grid.toml")
    assert {metrics.OURS, metrics.DENSE, "adapter_smallest"} <= {arm.name for arm in grid.arms}
    assert all(metrics.skewed(cell) for cell in grid.cells)
    assert len(grid.seeds) == 3
    explored = {seed for file in FOLDER.glob("explore*.toml") for seed in experiment.read(file).seeds}
    assert explored
    assert not set(grid.seeds) & explored


def test_an_experiment_runs_from_its_file_to_its_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two arms on a tiny encoder: a line each with personal models, tables, and pictures of all of it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data, file = tiny_file(tmp_path), tmp_path / "small.toml"
    file.write_text(SMALL, encoding="utf-8")
    out = tmp_path / "out"
    assert main(["run", str(file), "--data", str(data), "--out", str(out), "--device", "cpu"]) == 0
    lines = (out / "small.jsonl").read_text(encoding="utf-8").splitlines()
    runs = {run.arm: run for run in map(run_of, lines)}
    assert set(runs) == {"ours", "adapter"}
    assert set(runs["adapter"].personal) == {"merged model", "half prior", "prior", "fine-tuning", "fine-tuning, prior"}
    assert runs["adapter"].personal["merged model"] == pytest.approx(runs["adapter"].own)
    assert set(runs["ours"].settings["personal_rates"]) == {"gate", "fine-tuning"}
    capsys.readouterr()
    assert main(["tables", str(out / "small.jsonl")]) == 0
    assert "| gate, prior |" in capsys.readouterr().out.replace("| ours ", "")
    assert main(["plots", str(out / "small.jsonl"), "--out", str(tmp_path / "plots"), "--data", str(data)]) == 0
    drawn = {path.name for path in (tmp_path / "plots" / "small").iterdir()}
    assert {f"trec-iid-3-clients-{kind}.svg" for kind in ("curves", "experts", "clients")} <= drawn
    assert main(["tables", str(file)]) == 2
