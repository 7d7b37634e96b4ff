"""``Model`` as programs use it; ExecuTorch's place is numpy's, the gateway's is a script's."""

from __future__ import annotations

import csv
import queue
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from fakes import FakeLink, ScriptedGateway

from edge_runtime import (
    DeviceEvent,
    Evaluation,
    FederationError,
    JoinReport,
    Model,
    Prediction,
    Progress,
    TrainReport,
    opened_package,
)
from edge_runtime.errors import ConfigError, EdgeError
from edge_runtime.federation.device import ExpelledError
from edge_runtime.federation.link import Broker, LinkEvent
from edge_runtime.interface import participation
from edge_runtime.program.drivers import inspect
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.enrolment import Enrolment, GatewayAddress
from edge_runtime.wire.errors import BankError, DataError, PackageError
from edge_runtime.wire.experts import HEAD


@pytest.fixture(scope="session", autouse=True)
def _driver() -> None:
    """Joining names the driver; it is built before a test looks at what is said."""
    inspect()


class Program(toy.ToyProgram):
    """The toy program, with what was freed."""

    def __init__(self) -> None:
        super().__init__()
        self.unloaded: set[str] = set()

    def unload(self, method: str) -> None:
        """Note it."""
        self.unloaded.add(method)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    """Put numpy where ExecuTorch is."""
    program = Program()
    monkeypatch.setattr(opened_package.Program, "open", lambda *_, **__: program)
    return program


@pytest.fixture
def folder(tmp_path: Path, program: Program) -> Path:
    """A package whose bank has learned nothing, as export makes one."""
    assert program
    return toy.write_package(tmp_path / "package", bank=toy.fresh_bank()).folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """24 texts in a file."""
    return toy.write_data(tmp_path / "data.csv")


def pairs(data: Path) -> tuple[list[str], list[str]]:
    """Return texts and labels of a file."""
    with data.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], [row["label"] for row in rows]


def test_predictions_are_labels_and_probabilities_in_order(folder: Path) -> None:
    """Likeliest first, summing to 1; one text alone has what it has among others."""
    with Model.open(folder) as model:
        model.train(["wake me now", "play song", "rain"], ["alarm", "music", "weather"], steps=3)
        several = model.predict(["wake me", "play song please"])
        (alone,) = model.predict(["play song please"])
    assert all(isinstance(one, Prediction) for one in several)
    assert set(several[0].probabilities) == set(toy.LABELS)
    shares = list(several[0].probabilities.values())
    assert shares == sorted(shares, reverse=True)
    assert (several[0].label, several[0].probability) == next(iter(several[0].probabilities.items()))
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert alone.label == several[1].label
    assert alone.probability == pytest.approx(several[1].probability, abs=1e-6)


def test_training_on_texts_in_memory_gives_the_bank_of_the_file_with_them(folder: Path, data: Path) -> None:
    """Texts with spaces around them are as a file's; empty ones are left out and counted."""
    texts, labels = pairs(data)
    with Model.open(folder) as model:
        from_file = model.train(csv=data, steps=6)
    with Model.open(folder) as model:
        from_memory = model.train([f" {text} " for text in [*texts, " "]], [*labels, "music"], steps=6)
    assert from_memory.bank_digest == from_file.bank_digest
    assert (from_memory.examples, from_memory.skipped, from_file.skipped) == (24, 1, 0)
    assert from_memory.losses == from_file.losses


def test_what_training_tells(folder: Path, data: Path, program: Program) -> None:
    """A loss for each step, accuracy before and after, seconds; progress by stage; its methods are freed."""
    told: list[Progress] = []
    with Model.open(folder) as model:
        assert not model.learned
        report = model.train(csv=data, test_csv=data, epochs=2, progress=told.append)
        assert (model.learned, model.bank_name) == (True, "the bank that was trained here")
        assert model.evaluate(csv=data) == Evaluation(24, accuracy=report.accuracy)
    assert isinstance(report, TrainReport)
    assert len(report.losses) == report.steps > 2
    fifth = report.steps // 5
    assert report.loss_first == pytest.approx(np.mean(report.losses[:fifth]))
    assert report.loss_last == pytest.approx(np.mean(report.losses[-fifth:]))
    assert report.accuracy is not None
    assert report.accuracy_before is not None
    assert report.seconds >= 0 < report.step_ms
    assert not report.stopped
    assert set(report.accuracy_label_prior) == {0.5, 1.0}
    stages = list(dict.fromkeys(one.stage for one in told))
    assert stages == ["counting tokens", "features", "testing", "training"]
    steps = [one for one in told if one.stage == "training"]
    assert [one.done for one in steps] == list(range(report.steps + 1))
    assert [one.loss for one in steps] == [None, *report.losses]
    assert {tier.method for tier in toy.TIERS} <= program.unloaded


def test_training_stops_between_two_steps_and_keeps_what_it_reached(folder: Path, data: Path, tmp_path: Path) -> None:
    """A callback that says so after two steps; what was reached is saved and differs from what it was."""
    told: list[Progress] = []
    with Model.open(folder) as model:
        report = model.train(
            csv=data, steps=50, save=tmp_path / "bank", progress=told.append, stopped=lambda: told[-1].done >= 2
        )
        federation = model.manifest.architecture.digest()
    assert (report.steps, report.stopped) == (2, True)
    saved = tmp_path / "bank/bank.safetensors"
    assert Bank.read(saved, toy.SHAPE, federation).digest().hex() == report.bank_digest


def test_a_bank_is_saved_and_loaded(folder: Path, data: Path, tmp_path: Path) -> None:
    """A folder or the file in it, at opening or later; another federation's is refused and changes nothing."""
    with Model.open(folder) as model:
        model.train(csv=data, steps=4)
        expected = model.predict(["rain now"])
        model.save(tmp_path / "bank")
    with Model.open(folder) as model:
        assert model.predict(["rain now"]) != expected
        model.load(tmp_path / "bank/bank.safetensors")
        assert model.predict(["rain now"]) == expected
        model.load(str(tmp_path / "bank"))
        assert model.bank_name == str(tmp_path / "bank")
    with Model.open(folder, bank=tmp_path / "bank") as model:
        assert model.predict(["rain now"]) == expected
    others = toy.write_package(tmp_path / "others", labels=tuple(reversed(toy.LABELS))).folder
    with Model.open(others) as model:
        before = model.predict(["rain now"])
        with pytest.raises(BankError):
            model.load(tmp_path / "bank")
        assert model.predict(["rain now"]) == before
        with pytest.raises(EdgeError, match="cannot write"):
            model.save(folder / "manifest.json")


def test_a_label_prior_moves_predictions_and_comes_with_a_count_for_each_label(folder: Path) -> None:
    """A bank without knowledge follows the counts alone: (n + 1) / sum by Bayes' rule, worked out by hand."""
    with Model.open(folder) as model:
        (moved,) = model.predict(["rain"], label_counts=[7, 1, 1], label_prior=1.0)
        assert moved.probabilities == pytest.approx({"alarm": 8 / 12, "music": 2 / 12, "weather": 2 / 12})
        with pytest.raises(DataError, match="2 label counts came for 3 labels"):
            model.predict(["rain"], label_counts=[1, 2], label_prior=1.0)
        with pytest.raises(DataError, match=r"strength 0\.3"):
            model.predict(["rain"], label_counts=[1, 2, 3], label_prior=0.3)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({}, ConfigError, r"give texts \(for a classifier with their labels\), or csv=FILE"),
        ({"labels": ["alarm"], "csv": "x.csv"}, ConfigError, "and not both"),
        ({"texts": ["a"]}, ConfigError, "texts came without labels, and this package labels texts"),
        ({"texts": ["a", None], "labels": ["alarm", "alarm"]}, DataError, "text 1 is of type NoneType, expected str"),
        ({"texts": ["a"], "labels": ["music"], "csv": "x.csv"}, ConfigError, "and not both"),
        ({"texts": "wake me", "labels": ["alarm"]}, ConfigError, "sequences of one string each"),
        ({"texts": ["a", "b"], "labels": ["alarm"]}, DataError, "2 texts and 1 labels came"),
        ({"texts": ["a"], "labels": ["jazz"]}, DataError, '1 row has a label that the package does not know .*"jazz"'),
        ({"texts": [" "], "labels": ["alarm"]}, DataError, "no text came"),
        ({"csv": "none.csv"}, DataError, "none.csv"),
        ({"texts": ["a"], "labels": ["alarm"], "steps": 0}, ConfigError, "steps: 0 came"),
        ({"texts": ["a"], "labels": ["alarm"], "epochs": float("nan")}, ConfigError, "epochs: nan came"),
        ({"texts": ["a"], "labels": ["alarm"], "rotate_every": -1}, ConfigError, "rotate_every: -1 came"),
        ({"texts": ["a"], "labels": ["alarm"], "head": "tail"}, ConfigError, "expected one of auto, bank, class-means"),
        ({"texts": ["a"], "labels": ["alarm"], "prefix_rounding": "int3"}, ConfigError, "expected one of int8, fp16"),
        ({"texts": ["a"], "labels": ["alarm"], "tier": "huge"}, ConfigError, "this package has"),
        ({"texts": ["a"], "labels": ["alarm"], "experts": [9]}, ConfigError, "expected indices from 0 to 3"),
        ({"texts": ["a"], "labels": ["alarm"], "head": "bank"}, ConfigError, "has not learned any label yet"),
    ],
)
def test_training_refuses_by_name(folder: Path, arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    """Every refusal is a ``FederationError`` in one line, and the bank stays."""
    with Model.open(folder) as model:
        before = model.predict(["rain"])
        with pytest.raises(error, match=text) as caught:
            model.train(**arguments)
        assert isinstance(caught.value, FederationError)
        assert model.predict(["rain"]) == before


def test_opening_and_predicting_refuse_by_name(folder: Path, tmp_path: Path) -> None:
    """A folder that is no package, a bank and a state, a state that is none, one string where several are meant."""
    with pytest.raises(PackageError, match="is no device package"):
        Model.open(tmp_path)
    with pytest.raises(PackageError, match="is not signed"):
        Model.open(folder, maker="ab" * 32)
    with pytest.raises(ConfigError, match="maker: no key came"):
        Model.open(folder, maker="no key")
    with pytest.raises(ConfigError, match="a bank and a state came"):
        Model.open(folder, bank="a", state="b")
    with pytest.raises(ConfigError, match="is no state directory"):
        Model.open(folder, state=tmp_path / "none")
    with Model.open(folder) as model:
        with pytest.raises(DataError, match="one string came"):
            model.predict("wake me")
        with pytest.raises(ConfigError, match="labels texts and continues none"):
            model.suggest("wake")
        assert model.predict([]) == []


# --- taking part ------------------------------------------------------------------------------------------------


@pytest.fixture
def gateway(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ScriptedGateway:
    """A gateway behind a fake link."""
    with Model.open(folder) as model:
        gateway = ScriptedGateway(toy.fresh_bank(), model.manifest.architecture.digest())

    def link(broker: Broker, _: str, device: str, will: bytes, post: Any, *, mqtt: str) -> FakeLink:
        assert (str(broker), bool(will), mqtt) == ("mqtt://localhost:1883", True, "auto")
        inbox: queue.Queue[LinkEvent] = post.__self__
        connection = FakeLink(inbox, device)
        connection.gateway = gateway
        return connection

    monkeypatch.setattr(participation, "MqttLink", link)
    return gateway


def test_joining_takes_the_last_version(folder: Path, data: Path, tmp_path: Path, gateway: ScriptedGateway) -> None:
    """A federation that is done: the model predicts with its version, and so does one that is opened with the state."""
    gateway.bank = toy.fresh_bank().replace({HEAD: np.ones(toy.SHAPE.head_size, np.float32)})
    gateway.number, gateway.finished = 4, True
    told: list[DeviceEvent] = []
    texts, labels = pairs(data)
    with Model.open(folder) as model:
        report = model.join(
            "mqtt://localhost", texts, labels, device="me", state=tmp_path / "state", codec="int8", events=told.append
        )
        assert model.bank_name == "version 4"
        predicted = model.predict(["rain"])
    assert isinstance(report, JoinReport)
    assert (report.device, report.federation, report.rounds, report.version) == ("me", "default", 0, 4)
    assert not report.stopped
    assert [one.name for one in told if one.name in ("started", "joined", "version", "done")] == [
        "started", "joined", "version", "done",
    ]  # fmt: skip
    assert told[-1].bytes_up == report.bytes_up > 0
    assert {one.device for one in told} == {"me"}
    assert list(gateway.hellos[0].codecs) == [pb.INT8]
    with Model.open(folder, state=tmp_path / "state") as model:
        assert (model.bank_name, model.predict(["rain"])) == ("version 4", predicted)


def test_joining_stops_when_it_is_asked_to(folder: Path, data: Path, tmp_path: Path, gateway: ScriptedGateway) -> None:
    """From an event: the call returns, nothing is lost, and the same call goes on from there."""
    told: list[DeviceEvent] = []
    arguments: dict[str, Any] = {"csv": data, "device": "me", "state": tmp_path / "state", "events": told.append}
    with Model.open(folder) as model:
        report = model.join("mqtt://localhost", **arguments, stopped=lambda: any(one.name == "joined" for one in told))
        assert report.stopped
        assert told[-1].text == "stopped; the same command goes on from here"
        gateway.finished = True
        assert not model.join("mqtt://localhost", **arguments).stopped


def test_a_version_that_did_not_come_whole_leaves_the_bank(
    folder: Path, data: Path, tmp_path: Path, gateway: ScriptedGateway
) -> None:
    """It was announced and the device stopped before its blocks came: what was trained here stays."""
    gateway.bank = toy.fresh_bank().replace({HEAD: np.ones(toy.SHAPE.head_size, np.float32)})
    gateway.number = 4
    told: list[DeviceEvent] = []
    with Model.open(folder) as model:
        model.train(csv=data, steps=2)
        before = model.predict(["rain"])
        report = model.join(
            "mqtt://localhost", csv=data, device="me", state=tmp_path / "state", events=told.append,
            stopped=lambda: any(one.name == "version_announced" for one in told),
        )  # fmt: skip
        assert [one.values["missing"] for one in told if one.name == "version_announced"] == [1]
        assert (report.version, report.stopped) == (None, True)
        assert model.predict(["rain"]) == before


def test_what_an_enrolment_says_is_not_said_beside_it(folder: Path, data: Path, tmp_path: Path) -> None:
    """Name and keys; and an enrolment for another package is refused with both digests."""
    with Model.open(folder) as model:
        federation = model.manifest.architecture.digest().hex()
        file = tmp_path / "me.json"
        gateway = GatewayAddress("localhost", 1883, tls=False)
        file.write_bytes(Enrolment(2, "me", "default", federation, "ab" * 32, gateway).to_json())
        with pytest.raises(ConfigError, match="device, gateway_key came beside an enrolment"):
            model.join(file, csv=data, state=tmp_path / "state", device="me", gateway_key="ab" * 32)
        with pytest.raises(ConfigError, match="the enrolment is for package abababababab"):
            model.join(str(file), csv=data, state=tmp_path / "state")


def test_joining_refuses_by_name(
    folder: Path, data: Path, tmp_path: Path, gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A URL, names, budgets, enrolments; and a device that the gateway will not have."""
    assert gateway
    state = tmp_path / "state"
    with Model.open(folder) as model:
        for where, more, text in (
            ("localhost:1883", {}, "expected mqtt://HOST:PORT"),
            ("mqtt://example.org", {}, "or allow_plaintext on a network"),
            ("mqtt://localhost", {"device": "a/b"}, 'device "a/b" must be'),
            ("mqtt://localhost", {"budget": {"memory_mib": 20.0}}, "the budget is 20"),
            ("mqtt://localhost", {"budget": {"money": 20.0}}, "budget: money came, expected one of memory_mib, "),
            ("mqtt://localhost", {"budget": {"bytes_up": -1}}, "budget bytes_up: -1 came"),
            ("mqtt://localhost", {"codec": "int3"}, "codec: int3 came"),
            ("mqtt://localhost", {"mqtt": "4"}, "mqtt: 4 came, expected one of auto, 3, 5"),
            ("mqtt://localhost", {"label_prior": 0.3}, r"label_prior: 0\.3 came"),
            ("mqtt://localhost", {"gateway_key": "xy"}, "gateway_key: xy came, expected 64 hex digits"),
            (tmp_path / "none.json", {}, "cannot read enrolment"),
            ("none.enrolment.json", {}, "cannot read enrolment"),
        ):
            with pytest.raises(FederationError, match=text):
                model.join(where, csv=data, state=state, **more)  # type: ignore[arg-type]

        def expel(*_: object) -> None:
            raise ExpelledError("the gateway refuses this device: REVOKED")

        monkeypatch.setattr(participation.Device, "run", expel)
        with pytest.raises(ExpelledError, match="REVOKED"):
            model.join("mqtt://localhost", csv=data, state=state, device="me")
