"""The command line as people meet it: exit codes, one-line errors, output for pipes. ExecuTorch's place is numpy's."""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from fakes import FakeLink, ScriptedGateway

from edge_runtime import opened_package
from edge_runtime.__main__ import main
from edge_runtime.commands import predict as predict_command
from edge_runtime.errors import ConfigError
from edge_runtime.federation.link import Broker, LinkEvent
from edge_runtime.interface import participation
from edge_runtime.interface.participation import check_task
from edge_runtime.program.drivers import inspect
from edge_runtime.store import Store
from edge_runtime.training.assessment import Score, sample, shortfalls
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.experts import HEAD, ExpertId
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.topics import Topic

Said = pytest.CaptureFixture[str]


@pytest.fixture(scope="session", autouse=True)
def _driver() -> None:
    """`run` names the driver: where it is built, that line is not among those that a test reads."""
    inspect()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """The toy package; its program is numpy."""

    class Numpy:
        @staticmethod
        def open(*_: object, **__: object) -> toy.ToyProgram:
            return toy.ToyProgram()

    monkeypatch.setattr(opened_package, "Program", Numpy)
    return toy.write_package(tmp_path / "package")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """24 examples."""
    return toy.write_data(tmp_path / "data.csv")


def call(said: Said, *arguments: object) -> tuple[int, str, str]:
    """Run the command line and return exit code, stdout and stderr."""
    code = main([str(argument) for argument in arguments])
    out, err = said.readouterr()
    return code, out, err


def failure(said: Said, code: int, *arguments: object) -> str:
    """Return the one line that a failing command says."""
    exit_code, _, err = call(said, *arguments)
    assert exit_code == code
    (line,) = err.strip().splitlines()
    assert line.startswith("edge_runtime: ")
    return line


def test_help_of_every_command_has_examples(capsys: Said) -> None:
    """And exits with 0; without a command it is bad usage."""
    for command in ("run", "train", "predict", "doctor"):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
        assert f"  edge_runtime {command} --package" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2


def test_predict_a_text(package: Package, capsys: Said) -> None:
    """Labels and probabilities, likeliest first; all of them sum to 1."""
    code, out, _ = call(capsys, "predict", "--package", package.folder, "--top", 3, "wake me")
    fields = out.strip().split("\t")
    assert code == 0
    assert set(fields[::2]) == set(toy.LABELS)
    shares = [float(share) for share in fields[1::2]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_predict_several_texts(package: Package, capsys: Said) -> None:
    """Each argument is a text with an answer of its own; half a character is no reason to fail."""
    _, out, _ = call(capsys, "predict", "--package", package.folder, "wake me", "rain \ud83d", "")
    alone = [call(capsys, "predict", "--package", package.folder, text)[1] for text in ("wake me", "rain \ufffd", "")]
    assert out == "".join(alone)
    assert len(set(alone)) == 3


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Put bytes into standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_predict_a_pipe(package: Package, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """One JSON object for each line, empty lines too, so that lines stay aligned."""
    pipe(monkeypatch, b"play song\r\n\nrain")
    _, out, _ = call(capsys, "predict", "--package", package.folder, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 3
    assert all(len(line["labels"]) == 1 for line in lines)
    pipe(monkeypatch, b"play song\n\xff\n")
    code, answered, err = call(capsys, "predict", "--package", package.folder, "--json")
    assert (code, json.loads(answered)) == (1, lines[0])
    assert "line 2 of standard input is not UTF-8" in err


def test_lines_that_are_there_at_once_are_computed_together(
    package: Package, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six lines: two packed calls; one line, or one argument: the method for short texts."""
    called: list[str] = []
    execute = toy.ToyProgram.execute

    def noted(program: toy.ToyProgram, name: str, inputs: Any) -> Any:
        called.append(name)
        return execute(program, name, inputs)

    monkeypatch.setattr(toy.ToyProgram, "execute", noted)
    pipe(monkeypatch, b"wake me\n" * 6)
    call(capsys, "predict", "--package", package.folder)
    assert called == [toy.PACKED, toy.PACKED]
    pipe(monkeypatch, b"wake me")
    call(capsys, "predict", "--package", package.folder)
    call(capsys, "predict", "--package", package.folder, "wake me")
    assert called[2:] == [toy.BRIEF, toy.BRIEF]


def test_a_line_is_answered_before_the_next_one_comes() -> None:
    """Somebody may wait for it: what a pipe holds now is taken, whole lines alone."""
    end, begin = os.pipe()
    with os.fdopen(end, "rb") as reader, os.fdopen(begin, "wb", buffering=0) as writer:
        lines = predict_command.lines_at_hand(reader)
        writer.write(b"one\ntwo\nthr")
        assert next(lines) == [b"one", b"two"]
        writer.write(b"ee\n")
        assert next(lines) == [b"three"]
        writer.write(b"four")
        writer.close()
        assert list(lines) == [[b"four"]]


def test_train_then_predict_with_the_bank(package: Package, data: Path, tmp_path: Path, capsys: Said) -> None:
    """Training writes a bank that scores what training said."""
    bank = tmp_path / "bank"
    arguments = ["--package", package.folder, "--data", data, "--test", data]
    code, out, _ = call(
        capsys, "train", *arguments, "--epochs", 4, "--rotate-every", 6, "--lr", 0.05, "--out", bank, "--json"
    )
    told = json.loads(out)
    assert code == 0
    assert told["steps"] == 24  # 4 epochs of 24 examples in batches of 4
    assert told["loss_last"] < told["loss_first"]
    assert told["accuracy"] > told["accuracy_before"]
    assert set(told["accuracy_label_prior"]) == {"0.5", "1"}
    assert (told["texts_per_step"], told["fill"]) == (4.0, pytest.approx(19 / 24, abs=1e-4))  # 7, 6 and 6 tokens a text
    federation = package.manifest.architecture.digest()
    assert Bank.read(bank / "bank.safetensors", toy.SHAPE, federation).digest().hex() == told["bank_digest"]
    scored = ["predict", "--package", package.folder, "--data", data, "--json"]
    for path in (bank, bank / "bank.safetensors"):
        _, out, _ = call(capsys, *scored, "--bank", path)
        assert json.loads(out)["accuracy"] == told["accuracy"]
    _, out, _ = call(capsys, "predict", "--package", package.folder, "--data", data, "--bank", bank)
    assert out.startswith(f"accuracy {told['accuracy']:.1%} on 24 examples")


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"digest": "00" * 32}, "digest is "),
        ({"federation_digest": "00" * 32}, "federation_digest is "),
        ({"digest": None}, "version.json says None"),
        (None, "is not what broker_server export writes"),
    ],
    ids=["changed", "foreign", "null", "no object"],
)
def test_a_bank_is_held_against_the_version_beside_it(
    package: Package, tmp_path: Path, capsys: Said, told: dict[str, Any] | None, expected: str
) -> None:
    """What the gateway exported is used as it was exported, or not at all."""
    bank = Bank.zeros(package.manifest.architecture.bank_shape)
    right = {"digest": bank.digest().hex(), "federation_digest": package.manifest.architecture.digest().hex()}
    (tmp_path / "bank.safetensors").write_bytes(bank.to_bytes(package.manifest.architecture.digest()))
    (tmp_path / "version.json").write_text(json.dumps(right))
    code, _, _ = call(capsys, "predict", "--package", package.folder, "--bank", tmp_path, "alarm")
    assert code == 0
    (tmp_path / "version.json").write_text(json.dumps(right | told if told is not None else []))
    assert expected in failure(capsys, 1, "predict", "--package", package.folder, "--bank", tmp_path, "alarm")


def test_columns_and_rows_without_a_text_are_told(package: Package, tmp_path: Path, capsys: Said) -> None:
    """Columns have the user's names in every command; what was left out stands on stderr."""
    path = tmp_path / "own.csv"
    path.write_text("utterance;intent\nwake me, now;alarm\n;music\n")
    named = ["--data", path, "--text-column", "utterance", "--label-column", "intent"]
    for command in (["train", "--steps", 1], ["predict"]):
        code, _, err = call(capsys, command[0], "--package", package.folder, *named, *command[1:])
        assert code == 0
        assert f"edge_runtime: {path}: 1 row without a text was left out" in err.splitlines()


@pytest.fixture
def fresh(package: Package, tmp_path: Path) -> Package:
    """The toy package as export makes one: version 0 favours no label."""
    del package  # its program is numpy
    return toy.write_package(tmp_path / "fresh", toy.fresh_bank())


def test_training_starts_from_class_means(fresh: Package, data: Path, tmp_path: Path, capsys: Said) -> None:
    """Without any option, where the head has learned nothing; a bank that has learned goes on from its own head."""
    common = ["--package", fresh.folder, "--data", data, "--test", data, "--json"]
    _, out, _ = call(capsys, "train", *common, "--steps", 6, "--lr", 0.05, "--out", tmp_path / "bank")
    first = json.loads(out)
    assert first["accuracy_before"] > 0.6  # of three labels; class means of the texts themselves
    again = json.loads(call(capsys, "train", *common, "--steps", 6, "--bank", tmp_path / "bank")[1])
    assert again["accuracy_before"] == first["accuracy"]
    anew = ["--bank", tmp_path / "bank", "--head", "class-means"]
    assert json.loads(call(capsys, "train", *common, "--steps", 1, *anew)[1])["bank_digest"] != first["bank_digest"]


def test_a_head_that_could_never_learn_is_refused(fresh: Package, data: Path, capsys: Said) -> None:
    """--head bank takes the zeros of version 0, and without --head-lr nothing would ever move."""
    arguments = ["train", "--package", fresh.folder, "--data", data, "--steps", 2, "--head", "bank"]
    assert "has not learned any label yet" in failure(capsys, 2, *arguments)
    assert call(capsys, *arguments, "--head-lr", 0.01)[0] == 0


def test_predict_says_when_a_bank_has_not_learned(fresh: Package, package: Package, data: Path, capsys: Said) -> None:
    """Every label is equally likely: said on stderr, and in the JSON of a score."""
    code, out, err = call(capsys, "predict", "--package", fresh.folder, "--top", 3, "wake me")
    assert code == 0
    assert next(line.split("\t")[1] for line in out.splitlines() if "\t" in line) == "0.3333"
    assert "warning: the package's bank has not learned any label yet" in err
    _, out, _ = call(capsys, "predict", "--package", fresh.folder, "--data", data, "--json")
    assert json.loads(out)["learned"] is False
    _, _, err = call(capsys, "predict", "--package", package.folder, "wake me")
    assert err == ""


@pytest.mark.parametrize("held_out", [True, False])
def test_a_run_that_was_worth_nothing_says_so(
    package: Package, data: Path, tmp_path: Path, capsys: Said, *, held_out: bool
) -> None:
    """A bias that drowns every logit: one label for all texts, before and after; told as text and as JSON, exit 0."""
    head = np.zeros(toy.SHAPE.head_size, np.float32)
    head[-2] = 500.0  # of the second of three labels
    (tmp_path / "drowned").mkdir()
    bank = toy.initial_bank().replace({HEAD: head}).to_bytes(package.manifest.architecture.digest())
    (tmp_path / "drowned" / "bank.safetensors").write_bytes(bank)
    arguments = ["train", "--package", package.folder, "--data", data, "--steps", 2, "--bank", tmp_path / "drowned"]
    code, out, err = call(capsys, *arguments, "--json", *(["--test", data] if held_out else []))
    assert code == 0
    warnings = {warning["code"]: warning["text"] for warning in json.loads(out)["warnings"]}
    where = f"24 texts {'held out' if held_out else 'of the data'}"
    assert list(warnings) == ["one_label", "no_better"]
    assert f"all {where} get the label {toy.LABELS[1]} after training" in warnings["one_label"]
    assert f"of {where} 33.3% are right after training, 33.3% with {tmp_path / 'drowned'}" in warnings["no_better"]
    assert [line.startswith("edge_runtime: warning: ") for line in err.splitlines()] == [True, True]


def test_what_a_run_did_not_reach() -> None:
    """Not all labels alike where the texts have several, and more right than before; all right is good enough."""

    def told(before: list[int], after: list[int], labels: list[int]) -> list[str]:
        scores = [
            Score(sum(a == b for a, b in zip(guesses, labels, strict=True)), tuple(guesses))
            for guesses in (before, after)
        ]
        return list(shortfalls(scores[0], scores[1], labels))

    assert told([0, 0, 1], [0, 1, 2], [0, 1, 1]) == ["no_better"]  # 2 of 3 right, before and after
    assert told([2, 2, 2], [1, 1, 1], [0, 1, 1]) == ["one_label"]  # better, by one label
    assert told([0, 1, 1], [0, 1, 1], [0, 1, 1]) == []
    assert told([0, 1, 1], [1, 1, 1], [1, 1, 1]) == []
    assert sample(3, 200) == [0, 1, 2]
    assert sample(10, 4) == [0, 2, 5, 7]


def test_a_bank_under_other_labels_is_refused(package: Package, data: Path, tmp_path: Path, capsys: Said) -> None:
    """The same shape, the labels in another order: refused by predict and train; as is a bank that says nothing."""
    call(capsys, "train", "--package", package.folder, "--data", data, "--steps", 1, "--out", tmp_path / "bank")
    turned = toy.write_package(tmp_path / "turned", labels=toy.LABELS[::-1])
    path = tmp_path / "bank" / "bank.safetensors"
    came, wanted = (opened.manifest.architecture.digest().hex()[:12] for opened in (package, turned))
    for bank in (path, path.parent):
        line = failure(capsys, 1, "predict", "--package", turned.folder, "--bank", bank, "wake me")
        assert f"{path} is for federation {came}…, this package is of {wanted}…: labels or their order" in line
        assert "is for federation" in failure(
            capsys, 1, "train", "--package", turned.folder, "--data", data, "--bank", bank
        )
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = path.read_bytes()[8 : 8 + size].replace(b"federation_digest", b"federation_forgot")  # as an older file
    path.write_bytes(path.read_bytes()[:8] + header + path.read_bytes()[8 + size :])
    line = failure(capsys, 1, "predict", "--package", package.folder, "--bank", path, "wake me")
    assert "does not say which federation it is for" in line


def test_train_says_what_it_did(package: Package, data: Path, capsys: Said) -> None:
    """For people, one sentence; class means start the head; named experts only."""
    _, out, _ = call(
        capsys,
        *("train", "--package", package.folder, "--data", data, "--steps", 2, "--head", "class-means"),
        *("--experts", "0,3", "--test", data),
    )
    assert out.startswith("2 steps on 24 examples")
    assert "accuracy" in out
    assert "not kept (no --out)" in out


def test_train_is_the_same_run_every_time(package: Package, data: Path, tmp_path: Path, capsys: Said) -> None:
    """Same data, same seed, same bytes; another seed, others."""
    digests = []
    for seed in (1, 1, 2):
        arguments = ["train", "--package", package.folder, "--data", data, "--steps", 5, "--json", "--seed", seed]
        digests.append(json.loads(call(capsys, *arguments, "--out", tmp_path / "bank")[1])["bank_digest"])
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("method", ["predict", "train"], ids=["class means", "training"])
def test_ctrl_c_ends_class_means_at_once_and_training_after_its_step(
    package: Package, data: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch, *, method: str
) -> None:
    """Before a step there is nothing to keep; after one, what was reached is written and told."""
    execute, came = toy.ToyProgram.execute, list[str]()

    def interrupted(program: toy.ToyProgram, name: str, inputs: Any) -> Any:
        if name.startswith(method) and not came:
            came.append(name)
            signal.raise_signal(signal.SIGINT)
        return execute(program, name, inputs)

    monkeypatch.setattr(toy.ToyProgram, "execute", interrupted)
    arguments = ["--data", data, "--steps", 9, "--json", "--out", tmp_path / "bank"]
    code, out, err = call(capsys, "train", "--package", package.folder, *arguments)
    written = (tmp_path / "bank" / "bank.safetensors").exists()
    if method == "predict":
        assert (code, written, out, err) == (130, False, "", "edge_runtime: interrupted\n")
    else:
        assert (code, written, json.loads(out)["steps"]) == (0, True, 1)


@pytest.mark.parametrize(
    ("code", "arguments", "expected"),
    [
        (2, ["train", "--data", "DATA", "--experts", "x"], "expected indices such as 0,3, or all"),
        (2, ["train", "--data", "DATA", "--experts", "9"], "expected indices from 0 to 3"),
        (
            2,
            ["train", "--data", "DATA", "--experts", "all", "--tier", "m2_f2_s16_r2_b4"],
            "take turns: rotate_every (--experts, --rotate-every)",
        ),
        (2, ["train", "--data", "DATA", "--tier", "m9"], "; or auto (--tier)"),
        (1, ["train", "--data", "DATA", "--text-column", "x"], " and label_column (--text-column, --label-column)"),
        (1, ["train", "--data", "none.csv"], "cannot read none.csv: No such file"),
        (1, ["train", "--data", "DATA", "--out", "DATA"], "cannot write"),
        (2, ["predict", "--data", "DATA", "text"], "give one of them"),
        (1, ["predict", "--bank", "none", "text"], "cannot read bank none"),
        (1, ["predict", "--bank", "DATA", "text"], "is no safetensors file"),
        (2, ["predict", "--state", "none", "text"], "none is no state directory; give that of a device that took part"),
        (2, ["run", "--data", "DATA", "--broker", "http://x"], "expected mqtt://HOST:PORT"),
        (2, ["run", "--data", "DATA", "--broker", "mqtt://10.1.1.1"], "that you trust (--allow-plaintext)"),
        (2, ["run", "--data", "DATA", "--broker", "mqtt://localhost", "--device-id", "a/b"], 'device "a/b" must be'),
        (
            1,
            ["run", "--data", "DATA", "--broker", "mqtt://localhost", "--max-memory-mib", "20", "--state", "STATE"],
            "its smallest needs 30 MiB of memory, the budget is 20",
        ),
        (
            2,
            ["run", "--data", "DATA", "--broker", "mqtt://localhost", "--state", "STATE", "--events", "/none/e"],
            "cannot write events to /none/e",
        ),
    ],
)
def test_errors_are_one_line_with_what_came_and_what_to_do(
    package: Package, data: Path, tmp_path: Path, capsys: Said, *, code: int, arguments: list[str], expected: str
) -> None:
    """2 for bad usage, 1 for work that failed."""
    places = {"DATA": str(data), "STATE": str(tmp_path / "state")}
    words = [places.get(argument, argument) for argument in arguments]
    assert expected in failure(capsys, code, words[0], "--package", package.folder, *words[1:])


def test_a_tampered_package_is_refused(package: Package, data: Path, capsys: Said) -> None:
    """One byte of the program changed."""
    (package.folder / "program.pte").write_bytes(b"tob")
    line = failure(capsys, 1, "train", "--package", package.folder, "--data", data)
    assert "program.pte was changed: SHA-256 is" in line
    assert "no device package" in failure(capsys, 1, "train", "--package", data.parent, "--data", data)


def test_nothing_to_predict_is_bad_usage(package: Package, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal and no text: say how to give one instead of waiting."""
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
    assert "no text: give one" in failure(capsys, 2, "predict", "--package", package.folder)


def test_a_reader_that_goes_away_is_no_error(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `| head -1` does."""

    def gone(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("edge_runtime.commands.predict.say", gone)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    assert main(["predict", "--package", str(package.folder), "hi"]) == 0


def federation(package: Package, monkeypatch: pytest.MonkeyPatch, **state: Any) -> ScriptedGateway:
    """Put a scripted gateway where the broker would be."""
    gateway = ScriptedGateway(toy.initial_bank(), package.manifest.architecture.digest())
    for name, value in state.items():
        setattr(gateway, name, value)

    def link(_: Broker, federation: str, device: str, will: bytes, post: Any, *, mqtt: str) -> FakeLink:
        assert (federation, mqtt) == ("default", "auto")
        assert will
        inbox: queue.Queue[LinkEvent] = post.__self__
        connection = FakeLink(inbox, device)
        connection.gateway = gateway
        return connection

    monkeypatch.setattr(participation, "MqttLink", link)
    return gateway


def test_run_joins_fetches_and_ends_with_the_federation(
    package: Package, data: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A federation that is done: the last version is taken, and predict --state uses it."""
    last = toy.initial_bank().replace({HEAD: np.ones(toy.SHAPE.head_size, np.float32)})
    gateway = federation(package, monkeypatch, bank=last, number=4, finished=True)
    arguments = ["--package", package.folder, "--broker", "mqtt://localhost", "--data", data, "--device-id", "me"]
    state = tmp_path / "state"
    code, out, err = call(capsys, "run", *arguments, "--state", state, "--json", "--codec", "int8")
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["event"] for event in events if event["event"] in ("started", "joined", "version", "done")] == [
        "started", "joined", "version", "done",
    ]  # fmt: skip
    assert events[-1]["bytes_up"] > 0
    assert err == ""
    assert list(gateway.hellos[0].codecs) == [1]
    assert gateway.hellos[0].profile == "toy"
    _, out, _ = call(capsys, "predict", "--package", package.folder, "--state", state, "--data", data, "--json")
    assert json.loads(out)["bank"] == "version 4"
    others = toy.write_package(tmp_path / "others", labels=tuple(reversed(toy.LABELS))).folder
    for command in (["predict", "wake me"], ["train", "--data", data, "--steps", 1]):
        line = failure(capsys, 1, command[0], "--package", others, "--state", state, *command[1:])
        assert "holds versions of federation " in line
        assert "labels or their order" in line
    with Store(state):
        line = failure(capsys, 1, "run", *arguments, "--state", state)
    assert "already works in the state directory" in line


def test_statistics_are_computed_once_for_the_same_data(
    package: Package, data: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second start reads them; other data are computed again."""
    programs: list[toy.ToyProgram] = []

    class Numpy:
        @staticmethod
        def open(*_: object, **__: object) -> toy.ToyProgram:
            programs.append(toy.ToyProgram())
            return programs[-1]

    monkeypatch.setattr(opened_package, "Program", Numpy)
    federation(package, monkeypatch, finished=True)
    arguments = ["run", "--package", package.folder, "--broker", "mqtt://localhost", "--device-id", "me"]
    for path in (data, data, toy.write_data(tmp_path / "more.csv", 25)):
        assert call(capsys, *arguments, "--data", path, "--state", tmp_path / "state")[0] == 0
    assert [program.calls for program in programs] == [6 * [toy.PACKED], [], 7 * [toy.PACKED]]  # four texts a call


def likeliest(said: Said, package: Package, *arguments: object) -> list[float]:
    """Return the probabilities of the toy's labels for a text, in the order of the labels."""
    asked = ("predict", "--package", package.folder, "--top", 3, "--json", *arguments, "wake me")
    code, out, _ = call(said, *asked)
    assert code == 0
    shares = {one["label"]: one["probability"] for one in json.loads(out)["labels"]}
    return [shares[label] for label in toy.LABELS]


def test_a_label_prior_is_a_setting_of_the_device(
    package: Package, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` keeps counts and strength, `predict --state` follows them or what it is told; `--prior-data` counts a file.

    7 rows are 3, 2 and 2 of each label: weights 4, 3 and 3.
    """
    federation(package, monkeypatch, finished=True)
    data, state = toy.write_data(tmp_path / "data.csv", 7), tmp_path / "state"
    run = ["run", "--package", package.folder, "--broker", "mqtt://localhost", "--data", data, "--state", state]
    plain = likeliest(capsys, package)

    def moved(*weights: float) -> list[float]:
        shares = [share * weight for share, weight in zip(plain, weights, strict=True)]
        return [pytest.approx(share / sum(shares), abs=2e-6) for share in shares]

    needs = failure(capsys, 2, "predict", "--package", package.folder, "--label-prior", 1, "wake me")
    assert "--label-prior 1 needs to know this device's labels: give --prior-data FILE" in needs
    code, out, _ = call(capsys, *run, "--device-id", "me", "--label-prior", 0.5, "--json")
    assert (code, json.loads(out.splitlines()[0])["label_prior"]) == (0, 0.5)
    assert likeliest(capsys, package, "--state", state) == moved(2, 3**0.5, 3**0.5)
    assert likeliest(capsys, package, "--state", state, "--label-prior", 1) == moved(4, 3, 3)
    assert likeliest(capsys, package, "--state", state, "--label-prior", 0) == plain
    assert likeliest(capsys, package, "--label-prior", 1, "--prior-data", data) == moved(4, 3, 3)
    scored = ["predict", "--package", package.folder, "--state", state, "--data", data]
    assert json.loads(call(capsys, *scored, "--json")[1])["label_prior"] == 0.5
    assert "and label prior 0.5" in call(capsys, *scored)[1]
    assert call(capsys, *run, "--device-id", "me")[0] == 0  # off again, since nothing says otherwise
    assert likeliest(capsys, package, "--state", state) == plain
    alone = failure(capsys, 2, "predict", "--package", package.folder, "--prior-data", data, "wake me")
    assert "--prior-data came without --label-prior" in alone
    with pytest.raises(SystemExit) as ended:
        call(capsys, "predict", "--package", package.folder, "--label-prior", 0.3, "wake me")
    assert ended.value.code == 2
    assert "got 0.3, expected 0 (off), 0.5 (half) or 1 (full)" in capsys.readouterr().err


def test_nothing_of_a_label_prior_is_in_any_message(
    package: Package, data: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round with it off and one with it on say the same on every topic; only the delta's measured time may differ."""
    said = []
    for strength in (0, 1):
        gateway = federation(package, monkeypatch)
        gateway.give_plan("me", (ExpertId(1, 0), HEAD), head_learning_rate=0.01)
        arguments = ["--broker", "mqtt://localhost", "--data", data, "--device-id", "me", "--rounds", 1]
        state = tmp_path / f"state{strength}"
        code, *_ = call(
            capsys, "run", "--package", package.folder, *arguments, "--state", state, "--label-prior", strength
        )
        assert code == 0
        (received,) = gateway.deltas
        received.message.step_ms = 0.0
        sent = [(topic, payload) for topic, payload in gateway.links[0].said if topic is not Topic.DELTA]
        offers = [messages.decode(pb.Offer, payload) for topic, payload in sent if topic is Topic.OFFER]
        rest = [(topic, payload) for topic, payload in sent if topic is not Topic.OFFER]  # they name digests
        said.append((rest, [offer.kind for offer in offers], received.message))
    assert said[0] == said[1]
    assert {topic for topic, _ in said[1][0]} == {Topic.HELLO, Topic.STATISTICS, Topic.BYE}
    assert (tmp_path / "state0" / "labels").read_bytes() != (tmp_path / "state1" / "labels").read_bytes()


def test_a_package_without_labels_has_no_label_prior(package: Package) -> None:
    """It is refused by name, not skipped; off is what every package can do."""
    writer = replace(package.manifest.architecture, labels=(), task="causal-lm")
    with pytest.raises(ConfigError, match="this package continues texts and has no labels; leave it out"):
        check_task(0.5, writer)
    check_task(0.0, writer)
    check_task(1.0, package.manifest.architecture)


def test_a_state_directory_belongs_to_one_device_and_federation(
    package: Package, data: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another device id or another architecture over the same directory is refused."""
    federation(package, monkeypatch, finished=True)
    arguments = ["--broker", "mqtt://localhost", "--data", data, "--state", tmp_path / "state"]
    assert call(capsys, "run", "--package", package.folder, *arguments, "--device-id", "me")[0] == 0
    line = failure(capsys, 1, "run", "--package", package.folder, *arguments, "--device-id", "you")
    assert "belongs to device me, this is you; choose another (--state)" in line
    other = toy.write_package(tmp_path / "other", logit_scale=9.0)
    line = failure(capsys, 1, "run", "--package", other.folder, *arguments, "--device-id", "me")
    assert "belongs to architecture" in line


def test_doctor_says_what_works(package: Package, tmp_path: Path, capsys: Said) -> None:
    """Every check of a whole package holds; exit 0."""
    code, out, _ = call(capsys, "doctor", "--package", package.folder, "--state", tmp_path / "state", "--json")
    told = json.loads(out)
    tiers = {
        "tier m4_f0_s16_r2_b4": False,
        "tier m2_f2_s16_r2_b4": True,
        "tier m1_f1_s16_r2_b4": True,
    }  # the profile has 64 MiB
    assert {check["name"]: check["ok"] for check in told["checks"] if check["name"] != "driver"} == {
        **dict.fromkeys(("package", "bank", "budget", "tokenizer", "predict", "state"), True),
        **tiers,
    }
    details = {check["name"]: check["detail"] for check in told["checks"]}
    assert details["tier m4_f0_s16_r2_b4"] == "needs 90 MiB of memory, the budget is 64"
    assert "2 of 4 slots trained, 4 texts in 2 x 16 places:" in details["tier m2_f2_s16_r2_b4"]
    assert "1 ms and 60 MiB where it was exported;" in details["tier m2_f2_s16_r2_b4"]
    assert code == (0 if told["ok"] else 1)
    figures = {check["name"]: check["figures"] for check in told["checks"]}
    assert figures["tier m2_f2_s16_r2_b4"] == {"fill": 1.0, "texts_per_step": 4.0}  # 8 tokens: two in a row of 16
    assert figures["predict"] == {}
    _, out, _ = call(capsys, "doctor", "--package", package.folder)
    assert "ok    bank" in out
    assert "note  tier m4_f0_s16_r2_b4" in out


def test_a_tier_of_the_top_layer_is_shown_and_trains_that_layer_alone(
    package: Package, data: Path, tmp_path: Path, capsys: Said
) -> None:
    """`doctor` times its steps and, apart, its trunk; `train --tier` moves the experts of layer 3, and says so."""
    del package  # its program is numpy
    deep = toy.write_package(tmp_path / "deep", tiers=(*toy.TIERS, toy.TOP))
    code, out, _ = call(capsys, "doctor", "--package", deep.folder)
    lines = {line.split()[1] + line.split()[2]: line for line in out.splitlines()}
    assert code == 0
    assert "all 2 layers, 2 of 4 slots trained" in lines["tierm2_f2_s16_r2_b4"]
    assert "the top 1 of 2 layers, 2 of 4 slots trained" in lines["tierl1_m2_f2_s16_r2_b4"]
    assert "ms more while its texts are new" in lines["tierl1_m2_f2_s16_r2_b4"]
    assert "trunk_l1_s8_r3" in next(line for line in out.splitlines() if "prefixes" in line.split()[1])
    arguments = ["train", "--package", deep.folder, "--data", data, "--steps", 2, "--prefix-cache-mb", 0]
    top = ["--tier", "l1_m2_f2_s16_r2_b4", "--head", "bank", "--out", tmp_path / "bank"]
    code, out, _ = call(capsys, *arguments, *top)
    assert (code, out.partition(",")[0]) == (0, "2 steps on 24 examples in the top 1 of 2 layers")
    bank = Bank.read(tmp_path / "bank" / "bank.safetensors", toy.SHAPE, deep.manifest.architecture.digest())
    moved = (bank.experts != toy.initial_bank().experts).any(axis=2)
    assert moved.tolist() == [[False] * 4, [True, True, False, False]]
    assert json.loads(call(capsys, *arguments, *top, "--json")[1])["layers"] == 1


def test_a_plan_of_the_top_layer_has_a_cache_beside_a_largest_tier_without_a_trunk(
    package: Package, data: Path, tmp_path: Path, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tier that a device offers takes token ids; its shallow plans still compute each of 24 texts once a round."""
    del package  # its program is numpy
    deep = toy.write_package(tmp_path / "deep", tiers=(*toy.TIERS, toy.TOP))
    gateway = federation(deep, monkeypatch)
    gateway.give_plan("me", (ExpertId(3, 0),), steps=12)
    state = tmp_path / "state"
    arguments = ["--broker", "mqtt://localhost", "--data", data, "--device-id", "me", "--rounds", 1, "--json"]
    code, out, _ = call(capsys, "run", "--package", deep.folder, *arguments, "--state", state)
    (told,) = (event for event in map(json.loads, out.splitlines()) if event["event"] == "prefixes")
    distinct = len({line.partition(",")[0] for line in data.read_text().splitlines()[1:]})
    assert (code, told["misses"], len(list((state / "prefixes").iterdir()))) == (0, distinct, distinct)


def test_doctor_says_how_full_steps_are_with_own_texts(package: Package, data: Path, capsys: Said) -> None:
    """24 texts of 7, 6 and 6 tokens: four a step, 25 or 26 of its 32 places."""
    _, out, _ = call(capsys, "doctor", "--package", package.folder, "--data", data, "--json")
    (texts,) = [check for check in json.loads(out)["checks"] if check["name"] == "texts"]
    assert texts["figures"] == {"fill": round(19 / 24, 4), "texts_per_step": 4.0}
    assert texts["detail"].startswith(
        "24 examples, to be trained in m2_f2_s16_r2_b4: 4.0 texts a step, 79% of its places"
    )
    _, out, _ = call(capsys, "doctor", "--package", package.folder, "--data", "none.csv")
    assert "FAIL  texts" in out


def test_doctor_finds_what_does_not(package: Package, tmp_path: Path, capsys: Said) -> None:
    """A closed port, a bank that is not version 0, a package that is none: FAIL and exit 1."""
    arguments = ["doctor", "--package", package.folder]
    code, out, _ = call(capsys, *arguments, "--broker", "mqtt://127.0.0.1:1", "--json")
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert code == 1
    assert checks["broker"]["detail"].startswith("cannot reach mqtt://127.0.0.1:1")
    other = toy.write_package(tmp_path / "other", bank_digest="0" * 64)
    code, out, err = call(capsys, "doctor", "--package", other.folder)
    assert code == 1
    assert "FAIL  bank" in out
    assert "see FAIL above" in err
    code, out, _ = call(capsys, "doctor", "--package", tmp_path)
    assert (code, "FAIL  package" in out) == (1, True)


def test_a_smaller_budget_takes_a_smaller_tier(package: Package) -> None:
    """Tiers are listed largest first; costs unknown to measurement are taken from the prediction."""
    from edge_runtime.training.budget import Budget, choose_tier

    manifest = package.manifest
    assert choose_tier(manifest, Budget()).trained_slots == 4
    assert choose_tier(manifest, Budget.from_profile(manifest.profile)).trained_slots == 2
    assert choose_tier(manifest, Budget(memory_mib=64).override(memory_mib=40.0)).trained_slots == 1
    guessed = replace(manifest.tiers[0], measured=replace(manifest.tiers[0].measured, memory_mib=0))
    assert choose_tier(replace(manifest, tiers=(guessed, manifest.tiers[1])), Budget(memory_mib=70)).trained_slots == 2
