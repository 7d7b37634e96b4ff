"""The demo's live table and figures: reduced from events and nothing else."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import record, results
from benchmarks.demo import chart
from benchmarks.demo.board import Row, table
from benchmarks.demo.figures import DeviceFigures, Figures
from benchmarks.demo.processes import ChildError, Jobs, Processes, Tail, finish, last_json, run_all
from benchmarks.demo.settings import parse

ROUND = {"event": "round", "round": 3, "steps": 10, "step": 0, "blocks": ["0.1", "0.4", "1.2", "0.65535", "65535.0"]}


def test_accepted_experts_count_and_refused_ones_do_not() -> None:
    """Only a delta that the gateway took counts as training; shared experts and the head are nobody's turn."""
    row = Row("pixel8", 2)
    for code in ("STALE", "ACCEPTED"):
        row.take(ROUND)
        row.take({"event": "verdict", "kind": "delta", "code": code})
    row.take({"event": "verdict", "kind": "hello", "code": "ACCEPTED"})
    assert (row.accepted, row.refused, dict(row.trained)) == (1, 1, {1: 1, 4: 1, 2: 1})
    assert row.experts() == "1 4"


def test_byte_counts_never_fall() -> None:
    """A restarted device counts from zero again; the row keeps what it saw."""
    row = Row("pixel8", 2)
    row.take({"event": "hello", "bytes_up": 500, "bytes_down": 10})
    row.take({"event": "nothing known", "bytes_up": 20, "bytes_down": 90})
    assert (row.bytes_up, row.bytes_down) == (500, 90)


def test_table_shows_what_each_device_does() -> None:
    """One line for each device, with its step, loss and experts."""
    row = Row("pixel8", 2)
    row.take(ROUND)
    row.take({"event": "step", "step": 5, "loss": 0.25, "bytes_up": 1_500_000, "bytes_down": 0})
    file = io.StringIO()
    Console(file=file, width=160).print(table({"nora": row}, ""))
    line = next(line for line in file.getvalue().splitlines() if line.startswith("nora"))
    for part in ("pixel8", "5/10", "0.250", "1 4", "1.50", "training"):
        assert part in line


def test_half_written_lines_wait(tmp_path: Path) -> None:
    """A tail gives an event once, and only when its line is whole."""
    path = tmp_path / "events.jsonl"
    tail = Tail(path)
    assert list(tail.read()) == []
    path.write_bytes(b'{"a": 1}\n{"b"')
    assert list(tail.read()) == [{"a": 1}]
    with path.open("ab") as file:
        file.write(b": 2}\n")
    assert list(tail.read()) == [{"b": 2}]


def test_a_failing_job_is_named_with_its_last_word(tmp_path: Path) -> None:
    """A child that fails ends the run with what it said and where the log is."""
    (tmp_path / "broken_job.py").write_text("import sys; sys.exit('no such thing')\n")
    with Processes(tmp_path / "logs") as processes, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        with pytest.raises(ChildError, match=r"job ended with status 1: no such thing \(see .*job\.log\)"):
            run_all(processes, {"job": ["broken_job"]}, 1, lambda _busy, _done: None)


def test_a_job_that_is_put_first_starts_before_those_that_wait(tmp_path: Path) -> None:
    """At most ``width`` run, and whatever was put first goes next."""
    (tmp_path / "endless_job.py").write_text("import signal\nsignal.pause()\n")
    with Processes(tmp_path / "logs") as processes, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        jobs = Jobs(processes, {name: ["endless_job"] for name in ("first", "second", "third")})
        jobs.look(1)
        assert jobs.running == {"first"}
        jobs.put_first({"urgent": ["endless_job"]})
        jobs.look(1)
        assert jobs.running == {"first"}
        jobs.look(3)
        assert jobs.running == {"first", "urgent", "second"}
        assert not jobs.done
        assert not jobs.ended


def test_jobs_end_when_all_are_done(tmp_path: Path) -> None:
    """Also those that began before they were waited for."""
    (tmp_path / "short_job.py").write_text("")
    with Processes(tmp_path / "logs") as processes, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        jobs = Jobs(processes, {"begun": ["short_job"], "later": ["short_job"]})
        jobs.look(1)
        jobs.put_first({"between": ["short_job"]})
        finish(jobs, 1, lambda _busy, _done: None)
        assert jobs.ended
        assert jobs.done == {"begun", "between", "later"}
        assert [child.name for child in processes.children] == ["begun", "between", "later"]


def test_a_seed_is_one_of_the_federation_too() -> None:
    """The gateway draws batch orders from the federation's name, so that another seed gives other rounds."""
    assert [parse(["--seed", seed]).federation for seed in ("0", "1", "2")] == ["demo", "demo-1", "demo-2"]


def test_children_do_not_outlive_the_run(tmp_path: Path) -> None:
    """Leaving the context stops what still runs."""
    (tmp_path / "endless_job.py").write_text("import signal\nsignal.pause()\n")
    with Processes(tmp_path / "logs") as processes, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        child = processes.start("job", ["endless_job"])
        assert child.process.poll() is None
    assert child.process.poll() is not None


def test_last_json_wants_an_object(tmp_path: Path) -> None:
    """The last object counts; a file without one is an error."""
    path = tmp_path / "out"
    path.write_text('{"a": 1}\nwords\n{"a": 2}\n')
    assert last_json(path) == {"a": 2}
    path.write_text("words\n")
    with pytest.raises(ChildError, match="ends without a JSON object"):
        last_json(path)


def figures() -> Figures:
    """Two devices, two rounds, made-up accuracies."""
    devices = {
        name: DeviceFigures("pixel8", 60, 5, 4, 2, 1000 * n, 2000 * n, (1, 0, 2), 0.2 * n, 30.0, 120.0)
        for n, name in ((1, "nora"), (2, "leo"))
    }
    return Figures(
        "assistant", devices, 22, 268, 0.05, 0.8, (0.85, 0.9), 0.91, 35_000_000, {"rounds": 1.0}, {"steps": 3}
    )


def test_last_line_has_the_promised_keys() -> None:
    """The demo's JSON line: sums over devices, mean over local models, the last round as the final accuracy."""
    line = json.loads(json.dumps(figures().to_json()))
    assert line["accuracy_final"] == 0.9
    assert line["accuracy_local_mean"] == pytest.approx(0.3)
    assert (line["bytes_up"], line["bytes_down"]) == (3000, 6000)
    assert (line["rounds"], line["devices"]) == (2, 2)
    assert (line["accuracy_class_means"], line["accuracy_centralized"], line["accuracy_untrained"]) == (
        0.8,
        0.91,
        0.05,
    )
    assert line["per_device"]["leo"]["trained"] == [1, 0, 2]


def test_chart_is_drawn(tmp_path: Path) -> None:
    """Both formats are written, and they are pictures."""
    svg, png = chart.draw(figures(), tmp_path / "demo")
    assert "merged model" in svg.read_text()
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.stat().st_size > 20_000


def test_results_page_is_written_from_recorded_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest line of a data set counts, with its date, machine and commit."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    old = figures().to_json() | {"accuracy_final": 0.1}
    for line in (old, figures().to_json()):
        record.append("demo", "make demo", line)
    page = results.page()
    assert "| assistant | 22 | 2 | 2 | 5.0 | 80.0 | 90.0 | 91.0 | 30.0 |" in page
    assert "85.0 → 90.0" in page
    assert record.machine() in page
    assert "10.0 |" not in page


def test_usage_errors_end_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    """One device is no federation."""
    with pytest.raises(SystemExit) as ended:
        parse(["--devices", "1"])
    assert ended.value.code == 2
    assert "1 devices" in capsys.readouterr().err


def test_a_failing_stage_is_one_line(tmp_path: Path) -> None:
    """Data that cannot be used ends the demo with status 1 and one line."""
    from benchmarks.demo.__main__ import main

    (tmp_path / "data.csv").write_text("utterance,intent\nhello,greet\n")
    errors = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", errors)
        assert main(["--data", str(tmp_path / "data.csv"), "--out", str(tmp_path / "run")]) == 1
    assert errors.getvalue().splitlines()[-1].startswith("demo: ")
    assert "expected text and label" in errors.getvalue()
