"""A device against a scripted gateway: whole rounds, bad weather, kills, refusals. No sockets, no waiting."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from fakes import Clock, FakeLink, ScriptedGateway, Weather

from edge_runtime.commands.telling import EventLines
from edge_runtime.data.examples import open_source
from edge_runtime.data.tokenizer import Tokenizer
from edge_runtime.federation.config import RunConfig
from edge_runtime.federation.device import Device, ExpelledError
from edge_runtime.federation.link import LinkEvent
from edge_runtime.federation.membership import Identity
from edge_runtime.federation.report import Report
from edge_runtime.federation.session import LinkState, Session, WorkState
from edge_runtime.federation.versions import Versions
from edge_runtime.federation.work import Work
from edge_runtime.inference.class_sums import class_sums
from edge_runtime.store import Store
from edge_runtime.training.budget import Budget
from edge_runtime.training.trainer import Tools
from edge_runtime.wire import chunks, messages, tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.bank import Bank
from edge_runtime.wire.digests import block_list, sha256, version_digest
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert
from edge_runtime.wire.manifest import Package
from edge_runtime.wire.signatures import SigningKey
from edge_runtime.wire.topics import Topic

TRAIN = (ExpertId(1, 0), ExpertId(1, 2), ExpertId(3, 1), shared_expert(3))


@dataclass
class Rig:
    """A device that can be killed and started again over the same state directory."""

    package: Package
    folder: Path
    gateway: ScriptedGateway
    weather: Weather = field(default_factory=Weather)
    config: RunConfig = field(default_factory=lambda: RunConfig("me", checkpoint_s=0.0))
    clock: Clock = field(default_factory=Clock)
    program: toy.ToyProgram = field(default_factory=toy.ToyProgram)
    stopwatch: Callable[[], float] = lambda: 0.0
    """Of steps."""

    def start(self) -> Device:
        """Start the device as a new process would."""
        self.store = Store(self.folder / "state")
        source = open_source(self.folder / "data.csv", toy.LABELS)
        tokenizer = Tokenizer(self.package.path("tokenizer.json"))
        tools = Tools(self.program, self.package.manifest, tokenizer, source, toy.TIERS[1], self.stopwatch)
        sums = class_sums(self.program, self.package.manifest, tokenizer, source, lambda _: None)
        inbox: queue.Queue[LinkEvent] = queue.Queue()
        self.link = FakeLink(inbox, "me", self.weather)
        self.link.gateway = self.gateway
        work = Work(self.store, Versions(self.store, self.package), "me", tools=tools)
        self.lines = EventLines(self.folder / "events.jsonl")
        self.report = Report("me", self.lines)
        self.report.traffic = self.link.traffic
        self.device = Device(
            self.config,
            work,
            Identity(self.package.digest, sums),
            self.link,
            inbox,
            report=self.report,
            clock=self.clock,
            chance=lambda: 0.5,
        )
        # No turn may wait: a test moves the clock itself.
        self.device._timers.pause = lambda _: 0.0  # type: ignore[method-assign]
        self.link.start()
        return self.device

    def kill(self) -> None:
        """End the process without any farewell."""
        self.close()
        self.gateway.links.clear()

    def close(self) -> None:
        """Give files back."""
        self.store.close()
        self.lines.__exit__(None, None, None)

    def run(self, until: Callable[[], bool], turns: int = 4000, tick_s: float = 1.0) -> None:
        """Turn until something holds, a second at a time."""
        for _ in range(turns):
            if until():
                return
            self.device.turn()
            self.clock.now += tick_s
        pytest.fail("it never happened")

    def turn(self, times: int = 30) -> None:
        """Turn a few times."""
        for _ in range(times):
            self.device.turn()
            self.clock.now += 0.01

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of one kind that were told, oldest first."""
        lines = [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A package, data and a gateway with the package's own bank."""
    package = toy.write_package(tmp_path / "package")
    toy.write_data(tmp_path / "data.csv")
    opened = Rig(package, tmp_path, ScriptedGateway(toy.initial_bank(), package.manifest.architecture.digest()))
    yield opened
    opened.close()


def test_a_round_from_hello_to_accepted_delta(rig: Rig) -> None:
    """Hello, statistics, plan, delta: each once, with the right numbers in them."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    payload = rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: bool(rig.gateway.deltas) and rig.device.session.work is WorkState.IDLE)
    (hello,) = rig.gateway.hellos
    assert (hello.trained_slots, hello.held_slots, hello.batch_size, hello.examples) == (2, 4, 4, 24)
    assert [(reach.layers, reach.step_ms) for reach in hello.reaches] == [(2, 1.0)]  # as predicted, until measured
    assert len(rig.gateway.statistics) == 1
    (received,) = rig.gateway.deltas
    delta = received.message
    assert messages.ids(delta.experts) == tuple(sorted(TRAIN))
    assert (delta.round, delta.examples, delta.steps) == (1, 24, 6)
    assert delta.plan_digest == sha256(payload)
    assert delta.loss_last < delta.loss_first
    assert not rig.gateway.wants, "every block of version 0 is in the package"
    assert [event["step"] for event in rig.events("step")][-1] == 6
    assert [(event["texts_per_step"], event["fill"]) for event in rig.events("trained")] == [(4.0, round(19 / 24, 4))]


def test_a_device_tells_how_deep_it_can_train_and_trains_a_plan_as_deep_as_it_goes(rig: Rig) -> None:
    """A plan of the top layer runs in the tier for it; what its steps took scales the other depth in the next Hello."""
    rig.package = toy.write_package(rig.folder / "deep", tiers=(*toy.TIERS, toy.TOP))
    rig.stopwatch = iter(count(0, 0.002)).__next__
    rig.start()
    rig.run(lambda: rig.device.session.member)
    assert [(reach.layers, reach.step_ms, reach.trunk_ms) for reach in rig.gateway.hellos[0].reaches] == [
        (1, 0.5, 0.25),
        (2, 1.0, 0.0),
    ]
    rig.gateway.give_plan("me", (ExpertId(3, 0), ExpertId(3, 1), shared_expert(3)))
    rig.run(lambda: bool(rig.gateway.deltas) and rig.device.session.work is WorkState.IDLE)
    (event,) = rig.events("round")
    assert (event["layers"], event["tier"]) == (1, toy.TOP.method)
    assert toy.TOP.method in rig.program.calls
    assert messages.ids(rig.gateway.deltas[0].message.experts) == (ExpertId(3, 0), ExpertId(3, 1), shared_expert(3))
    rig.kill()
    rig.start()
    rig.run(lambda: rig.device.session.member)
    top, both = rig.gateway.hellos[-1].reaches
    assert top.step_ms >= 2.0  # two looks at the stopwatch, 2 ms apart
    assert top.trunk_ms > 0
    assert both.step_ms == pytest.approx(2 * top.step_ms)


def test_only_changed_blocks_are_fetched_and_the_next_round_starts_from_them(rig: Rig) -> None:
    """A version with a new head costs a head; a delta's base is the version that the plan names."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rng = np.random.default_rng(0)
    changed = {block: rng.normal(size=toy.SHAPE.size(block)).astype(np.float32) for block in (HEAD, TRAIN[0])}
    new = rig.gateway.bank.replace(changed)
    rig.gateway.announce(new)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: bool(rig.gateway.deltas))
    assert {len(want.digests) for want in rig.gateway.wants} == {2}
    bank, version = rig.device._versions.latest_bank()
    assert (bank.digest(), version) == (new.digest(), 1)
    assert not rig.link.listening, "blob topics are left when their blob is here"


@pytest.mark.parametrize("killed_at", range(12))
def test_a_kill_at_any_moment_gives_the_same_delta_bytes(rig: Rig, tmp_path: Path, killed_at: int) -> None:
    """Killed after any turn of the round, started again: the gateway gets one delta, the same as without the kill."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    for _ in range(killed_at):
        rig.device.turn()
    rig.kill()
    rig.start()
    rig.run(lambda: bool(rig.gateway.deltas) and rig.device.session.work is WorkState.IDLE)
    rig.turn()
    other = Rig(rig.package, tmp_path, ScriptedGateway(rig.gateway.bank, rig.gateway.federation))
    other.folder = tmp_path / "whole"
    other.folder.mkdir()
    toy.write_data(other.folder / "data.csv")
    other.start()
    other.run(lambda: other.device.session.member)
    other.gateway.give_plan("me", TRAIN)
    other.run(lambda: bool(other.gateway.deltas))
    other.close()
    assert [received.body for received in rig.gateway.deltas] == [other.gateway.deltas[0].body]


def test_a_checkpoint_of_other_examples_is_not_gone_on_with(rig: Rig) -> None:
    """The data file changed between two starts: the same plan begins anew, on the new data."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: rig.device._work.training is not None and rig.device._work.training.trainer.steps == 3)
    rig.kill()
    toy.write_data(rig.folder / "data.csv", 10)
    rig.start()
    rig.run(lambda: bool(rig.gateway.deltas))
    assert rig.events("round")[-1]["step"] == 0
    assert rig.gateway.deltas[0].message.examples == 10


def test_a_plan_begun_on_other_examples_waits_for_the_gateway(rig: Rig) -> None:
    """Without one, nothing is trained: its head may not know the new data's labels."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: rig.device._work.training is not None and rig.device._work.training.trainer.steps == 3)
    rig.kill()
    toy.write_data(rig.folder / "data.csv", 10)
    rig.gateway.online = False
    rig.start()
    assert rig.device.session.work is WorkState.IDLE
    assert rig.device._work.training is None


def test_a_plan_that_comes_again_while_its_delta_waits_is_not_new_work(rig: Rig) -> None:
    """Retained plans come with every connection; one verdict settles, nothing is trained twice."""
    rig.gateway.decide = lambda _: pb.Verdict(code=pb.BUSY, retry_after_s=50)
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: bool(rig.events("verdict")))
    rig.run(lambda: rig.device.session.work is WorkState.UPLOADING)
    rig.link.disconnect()
    rig.link.connect()
    rig.gateway.decide = lambda _: pb.Verdict(code=pb.ACCEPTED)
    rig.run(lambda: len(rig.gateway.deltas) == 1)
    rig.turn()
    assert len(rig.events("round")) == 1


def test_a_resumed_device_trains_before_any_gateway_is_there(rig: Rig) -> None:
    """Killed in mid-round, started without a link: it goes on after the step it had reached, and sends later."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: rig.device._work.training is not None and rig.device._work.training.trainer.steps == 3)
    rig.kill()
    gateway, rig.gateway.online = rig.gateway, False
    rig.start()
    assert rig.device.session.work is WorkState.WAITING
    rig.run(lambda: rig.device.session.work is WorkState.UPLOADING)
    assert rig.events("round")[-1]["step"] == 3
    assert not gateway.deltas
    gateway.online = True
    gateway.publish_state()
    rig.run(lambda: bool(gateway.deltas))


@pytest.mark.parametrize("seed", range(6))
def test_in_bad_weather_every_round_gets_exactly_one_delta(rig: Rig, seed: int) -> None:
    """A third of all messages lost, a third doubled, chunks shuffled: three rounds, three deltas, the bank arrives."""
    rig.weather = Weather(drop=0.33, twice=0.33, shuffle=True)
    rig.weather.rng.seed(seed)
    rig.start()
    rng = np.random.default_rng(seed)
    for number in (1, 2, 3):
        values = {block: rng.normal(size=toy.SHAPE.size(block)).astype(np.float32) for block in TRAIN[:2]}
        rig.gateway.announce(rig.gateway.bank.replace(values))
        rig.gateway.give_plan("me", TRAIN, number)
        for _ in range(60):
            # What is retained comes again with a new connection, as after any lost link.
            rig.run(lambda: True)
            rig.link.disconnect()
            rig.link.connect()
            done = len(rig.gateway.deltas) == number and rig.device.session.work is WorkState.IDLE
            for _ in range(400):
                if done:
                    break
                rig.device.turn()
                rig.clock.now += 2.0
                done = len(rig.gateway.deltas) == number and rig.device.session.work is WorkState.IDLE
            if done:
                break
        assert [received.message.round for received in rig.gateway.deltas] == list(range(1, number + 1))
    assert len(rig.gateway.statistics) == 1


def test_a_busy_gateway_is_tried_again_when_it_says(rig: Rig) -> None:
    """BUSY for 20 s: nothing before, the same bytes after."""
    answers = [pb.Verdict(code=pb.BUSY, retry_after_s=20), pb.Verdict(code=pb.ACCEPTED)]
    rig.gateway.decide = lambda _: answers.pop(0)
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: len(answers) == 1)
    rig.turn()
    sent = [payload for topic, payload in rig.link.said if topic is Topic.DELTA]
    rig.clock.now += 19
    rig.device.turn()
    assert len([payload for topic, payload in rig.link.said if topic is Topic.DELTA]) == len(sent)
    rig.clock.now += 2
    rig.run(lambda: rig.device.session.work is WorkState.IDLE)
    assert len(rig.gateway.deltas) == 1


@pytest.mark.parametrize("killed", [False, True])
def test_an_accepted_delta_is_sent_again_when_the_gateway_lost_it(rig: Rig, *, killed: bool) -> None:
    """Until a version of its round is announced: the same bytes as often as it is asked for; then it is gone."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: len(rig.gateway.deltas) == 1 and rig.device.session.work is WorkState.IDLE)
    body = rig.gateway.deltas[0].body
    if killed:
        rig.kill()
        rig.start()
        rig.run(lambda: rig.device.session.member)
    rig.gateway.lose(body)
    rig.run(lambda: bool(rig.gateway.deltas))
    assert rig.gateway.deltas[0].body == body

    rig.gateway.announce(rig.gateway.bank.replace({HEAD: np.ones(toy.SHAPE.head_size, np.float32)}), 1)
    rig.turn()
    assert rig.store.read("sent") is None
    rig.gateway.lose(body)
    rig.turn()
    assert rig.gateway.deltas == []


@pytest.mark.parametrize("code", [pb.STALE, pb.DUPLICATE, pb.UNKNOWN_PLAN, pb.NORM_TOO_LARGE])
def test_a_final_refusal_drops_the_delta_and_the_next_plan_is_taken(rig: Rig, code: pb.Code) -> None:
    """The user is told the code; the plan is not trained again although it stays retained."""
    rig.gateway.decide = lambda _: pb.Verdict(code=code, detail="why")
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: rig.device._delivery.settled == 1)
    assert rig.events("verdict")[-1]["code"] == pb.Code.Name(code)
    rig.link.disconnect()
    rig.link.connect()
    rig.turn()
    assert rig.device.session.work is WorkState.IDLE
    rig.gateway.decide = lambda _: pb.Verdict(code=pb.ACCEPTED)
    rig.gateway.give_plan("me", TRAIN, 2)
    rig.run(lambda: len(rig.gateway.deltas) == 1)
    assert rig.gateway.deltas[0].message.round == 2


def test_an_unknown_device_says_hello_and_sends_again(rig: Rig) -> None:
    """A gateway that forgot it: hello, then the same delta."""
    answers = [pb.Verdict(code=pb.UNKNOWN_DEVICE, retry_after_s=1), pb.Verdict(code=pb.ACCEPTED)]
    rig.gateway.decide = lambda _: answers.pop(0)
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: len(rig.gateway.deltas) == 1)
    assert len(rig.gateway.hellos) == 2


def test_a_want_that_a_forgetful_gateway_refuses_is_a_reason_to_say_hello(rig: Rig) -> None:
    """Hello at once and the same Want after it: the block is here while the clock stood still."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.want_code = pb.UNKNOWN_DEVICE
    rig.gateway.announce(rig.gateway.bank.replace({HEAD: np.ones(toy.SHAPE.head_size, np.float32)}))
    rig.run(lambda: rig.device._versions.latest_bank()[1] == 1, turns=6, tick_s=0.0)
    assert len(rig.gateway.hellos) == 2
    assert len(rig.gateway.wants) == 1
    assert rig.device.session.member


def test_a_want_of_a_removed_device_ends_the_run(rig: Rig) -> None:
    """REVOKED says the same whatever it answers."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.want_code = pb.REVOKED
    rig.gateway.announce(rig.gateway.bank.replace({HEAD: np.ones(toy.SHAPE.head_size, np.float32)}))
    with pytest.raises(ExpelledError, match="refuses this device: REVOKED"):
        rig.device.run()


def test_a_new_session_is_asked_for_the_blocks_again(rig: Rig) -> None:
    """What a gateway had been asked before it was started anew is asked again with the welcome, not by a timer."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    serve = rig.gateway._serve
    rig.gateway._serve = rig.gateway.wants.append  # type: ignore[method-assign]
    rig.gateway.announce(rig.gateway.bank.replace({HEAD: np.ones(toy.SHAPE.head_size, np.float32)}))
    rig.run(lambda: len(rig.gateway.wants) == 1, tick_s=0.0)
    rig.gateway._serve, rig.gateway.session = serve, b"n" * 16  # type: ignore[method-assign]
    rig.gateway.publish_state()
    rig.run(lambda: rig.device._versions.latest_bank()[1] == 1, turns=6, tick_s=0.0)


def test_a_restarted_gateway_is_greeted_again(rig: Rig) -> None:
    """Another session in its state: hello once more; the same session again: silence."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.publish_state()
    rig.turn()
    assert len(rig.gateway.hellos) == 1
    rig.gateway.session = b"t" * 16
    rig.gateway.publish_state()
    rig.run(lambda: len(rig.gateway.hellos) == 2)
    assert rig.gateway.hellos[1].gateway_session == b"t" * 16


def test_a_device_that_nobody_answers_says_what_may_be_wrong(rig: Rig) -> None:
    """A broker that drops what it says (MQTT 3.1.1 hides that): told with the 4th Hello, not with each."""
    rig.start()
    rig.link.gateway = None  # the state came; nothing that is said arrives
    rig.run(lambda: len([topic for topic, _ in rig.link.said if topic is Topic.HELLO]) == 8, tick_s=5.0)
    (told,) = rig.events("unanswered")
    assert told["hellos"] == 3
    rig.link.gateway = rig.gateway
    rig.run(lambda: rig.device.session.member)
    assert len(rig.events("unanswered")) == 1


def test_a_broker_without_a_gateway_is_told_once(rig: Rig) -> None:
    """Ten seconds after the connection nothing came of any gateway; where one is, nothing is told."""
    gateway, rig.gateway = rig.gateway, None
    rig.start()
    rig.turn()
    assert rig.events("no_gateway") == []
    rig.run(lambda: rig.clock.now > 40)
    assert len(rig.events("no_gateway")) == 1
    rig.gateway = rig.link.gateway = gateway
    rig.link.disconnect()
    rig.link.connect()
    rig.run(lambda: rig.device.session.member)
    rig.run(lambda: rig.clock.now > 100)
    assert len(rig.events("no_gateway")) == 1


def test_a_gateway_that_goes_away_is_waited_for(rig: Rig) -> None:
    """Its will says offline: nothing is sent; when it is back, hello."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.online = False
    rig.gateway.publish_state()
    rig.run(lambda: rig.device.session.link is LinkState.LISTENING)
    rig.gateway.online = True
    rig.gateway.publish_state()
    rig.run(lambda: rig.device.session.member)
    assert len(rig.gateway.hellos) == 2


def test_another_federation_is_told_once_and_kept_silent(rig: Rig) -> None:
    """The user learns both digests; the gateway hears nothing."""
    rig.gateway.federation = b"x" * 32
    rig.start()
    rig.turn()
    rig.gateway.publish_state()
    rig.turn()
    assert rig.device.session.link is LinkState.STRANGER
    assert not rig.link.said
    (told,) = [event for event in rig.events("error") if "another federation" in event["reason"]]
    assert "787878787878" in told["reason"]


@pytest.mark.parametrize("code", [pb.WRONG_FEDERATION, pb.REVOKED, pb.UNSUPPORTED_WIRE])
def test_an_expelled_device_gives_up_with_a_message(rig: Rig, code: pb.Code) -> None:
    """The run ends with the gateway's reason and a farewell."""
    rig.gateway.hello_code = code
    rig.start()
    with pytest.raises(ExpelledError, match=pb.Code.Name(code)):
        rig.device.run()
    assert rig.gateway.byes == ["me"]


def test_a_plan_taken_back_stops_training(rig: Rig) -> None:
    """An empty payload: the checkpoint goes, nothing is sent."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN, steps=1000)
    rig.run(lambda: rig.device._work.training is not None and rig.device._work.training.trainer.steps > 3)
    rig.gateway.withdraw_plan()
    rig.run(lambda: rig.device.session.work is WorkState.IDLE)
    assert rig.store.read("checkpoint") is rig.store.read("plan") is None
    assert not rig.gateway.deltas
    assert len(rig.events("withdrawn")) == 1


def test_a_plan_that_does_not_fit_is_refused_here_and_the_next_is_taken(rig: Rig) -> None:
    """Three experts for two slots: an error with the numbers, then work goes on."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", [ExpertId(1, index) for index in range(3)])
    rig.run(lambda: bool(rig.events("error")))
    assert (
        "3 experts at a layer and the top 2 layers, this device has 2 slots and 2 layers"
        in rig.events("error")[-1]["reason"]
    )
    rig.gateway.give_plan("me", TRAIN, 2)
    rig.run(lambda: len(rig.gateway.deltas) == 1)


def test_a_diverged_training_sends_nothing(rig: Rig) -> None:
    """NaN in a block: told, dropped, not tried again."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.program.embedding = rig.program.embedding * np.float32("nan")
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: bool(rig.events("error")))
    assert "diverged" in rig.events("error")[-1]["reason"]
    rig.turn()
    assert (rig.device.session.work, rig.gateway.deltas) == (WorkState.IDLE, [])


def test_a_time_budget_ends_a_round_early(rig: Rig) -> None:
    """3 s a round and 1 s a step: three steps are made and sent."""
    rig.config = RunConfig("me", budget=Budget(round_seconds=3.0))
    rig.start()
    rig.device._work.tools = Tools(**{
        **vars(rig.device._work.tools), "clock": iter(np.arange(0, 10**4, 1.0)).__next__
    })  # fmt: skip
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN, steps=1000)
    rig.run(lambda: bool(rig.gateway.deltas))
    assert rig.gateway.deltas[0].message.steps == 3


def test_int8_residuals_count_only_after_acceptance(rig: Rig) -> None:
    """A refused delta leaves the feedback as it was; an accepted one replaces that of its blocks."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.decide = lambda _: pb.Verdict(code=pb.STALE)
    rig.gateway.give_plan("me", TRAIN, codec=pb.INT8)
    rig.run(lambda: rig.device._delivery.settled == 1)
    assert rig.store.read("feedback") is rig.store.read("residuals") is None
    rig.gateway.decide = lambda _: pb.Verdict(code=pb.ACCEPTED)
    rig.gateway.give_plan("me", TRAIN, 2, codec=pb.INT8)
    rig.run(lambda: rig.device._delivery.settled == 2)
    kept = rig.store.read("feedback")
    assert kept is not None
    assert set(kept.tensors()) <= {"1.0", "1.2", "3.1", "3.65535"}
    assert kept.tensors()
    assert rig.store.read("residuals") is None


def test_a_damaged_blob_is_fetched_again(rig: Rig) -> None:
    """A bit flipped on disk after the version was complete: the plan waits for a good copy."""
    values = {HEAD: np.ones(toy.SHAPE.head_size, np.float32)}
    rig.gateway.announce(rig.gateway.bank.replace(values))
    rig.start()
    rig.run(lambda: rig.device._versions.latest_bank()[1] == 1)
    (blob,) = (rig.store.folder / "blobs").iterdir()
    blob.write_bytes(b"\1" + blob.read_bytes()[1:])
    wants = len(rig.gateway.wants)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: bool(rig.gateway.deltas))
    assert len(rig.gateway.wants) == wants + 1


def test_a_version_with_an_impossible_block_is_told_and_left_alone(rig: Rig) -> None:
    """Bytes that have the digest the version names, and yet the wrong size: its plan is given up, once."""
    junk = b"\0\0\0\0"
    version = messages.decode(pb.Version, rig.gateway.version())
    version.version = 5
    version.blocks[0].digest = sha256(junk)
    digests = {ExpertId(b.layer, b.index): b.digest for b in version.blocks}
    version.digest = version_digest(digests)
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.link.deliver(Topic.VERSION, messages.encode(version))
    plan = messages.decode(pb.Plan, rig.gateway.give_plan("me", TRAIN))
    rig.gateway.withdraw_plan()
    plan.version_digest, plan.round = version.digest, 9
    rig.link.deliver(Topic.PLAN, messages.encode(plan))
    rig.run(lambda: bool(rig.gateway.wants))
    for chunk in chunks.split(junk, pb.BLOB):
        rig.link.deliver(Topic.BLOB, chunk, sha256(junk).hex())
    rig.run(lambda: bool(rig.events("error")))
    assert "cannot be used: 4 bytes of values, expected" in rig.events("error")[-1]["reason"]
    rig.turn()
    assert rig.device.session.work is WorkState.IDLE
    assert len(rig.events("error")) == 1


def test_a_plan_from_a_version_that_was_announced_while_away_is_carried_out(rig: Rig) -> None:
    """What is retained is the version after it: its list of blocks comes as a blob of its digest, then its blocks."""
    gateway, ones = rig.gateway, np.ones(toy.SHAPE.head_size, np.float32)
    missed, newest = (gateway.bank.replace({HEAD: ones * value}) for value in (1, 2))
    gateway.announce(missed)
    gateway.give_plan("me", TRAIN)
    gateway.announce(newest)
    rig.start()
    rig.run(lambda: any(missed.digest() in want.digests for want in gateway.wants))
    for body in (block_list(missed.digests()), tensors.encode(missed.head)):
        for chunk in chunks.split(body, pb.BLOB):
            rig.link.deliver(Topic.BLOB, chunk, sha256(body).hex())
        rig.turn()
    rig.run(lambda: bool(gateway.deltas))
    assert (gateway.deltas[0].message.base_version, rig.device._versions.latest_bank()[1]) == (1, 2)


@pytest.mark.parametrize("body", [b"no list", block_list({ExpertId(0, 0): bytes(32)})])
def test_a_version_whose_list_is_no_bank_is_asked_for_once(rig: Rig, body: bytes) -> None:
    """A plan that names the digest of other bytes waits for the next one."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    plan = messages.decode(pb.Plan, rig.gateway.give_plan("me", TRAIN))
    rig.gateway.withdraw_plan()
    plan.version_digest, plan.round = sha256(body), 9
    rig.link.deliver(Topic.PLAN, messages.encode(plan))
    rig.run(lambda: bool(rig.gateway.wants))
    for chunk in chunks.split(body, pb.BLOB):
        rig.link.deliver(Topic.BLOB, chunk, sha256(body).hex())
    wants = len(rig.gateway.wants)
    for _ in range(3):
        rig.turn()
    assert len(rig.gateway.wants) == wants
    assert rig.device.session.work is WorkState.WAITING


def test_blobs_of_a_superseded_version_are_let_go(rig: Rig) -> None:
    """A newer version came before the older one's blobs: nobody listens for those any more."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    bank, serve = rig.gateway.bank, rig.gateway._serve
    rig.gateway._serve = rig.gateway.wants.append  # type: ignore[method-assign]
    rig.gateway.announce(bank.replace({HEAD: np.ones(toy.SHAPE.head_size, np.float32)}))
    rig.run(lambda: len(rig.gateway.wants) == 1)
    old = set(rig.link.listening)
    rig.gateway._serve = serve  # type: ignore[method-assign]
    rig.gateway.announce(bank.replace({HEAD: np.full(toy.SHAPE.head_size, 2, np.float32)}))
    rig.run(lambda: rig.device._versions.latest_bank()[1] == 2)
    assert len(old) == 1
    assert not rig.link.listening


def test_messages_that_are_not_what_they_claim_change_nothing(rig: Rig) -> None:
    """Junk on every topic, a version of another bank, a plan of another device, a blob nobody asked for."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    before = rig.device.session
    for topic in (Topic.GATEWAY, Topic.VERSION, Topic.PLAN, Topic.VERDICT):
        rig.link.deliver(topic, b"\xff\xff")
    other = pb.Version()
    other.ParseFromString(rig.gateway.version())
    other.blocks[0].digest = b"z" * 32
    rig.link.deliver(Topic.VERSION, messages.encode(other))
    other.ParseFromString(rig.gateway.version())
    other.federation_digest = b"z" * 32
    rig.link.deliver(Topic.VERSION, messages.encode(other))
    foreign = messages.decode(pb.Plan, rig.gateway.give_plan("me", TRAIN))
    rig.gateway.withdraw_plan()
    rig.turn()
    foreign.device = "you"
    rig.link.deliver(Topic.PLAN, messages.encode(foreign))
    rig.turn()
    reasons = " ".join(event["reason"] for event in rig.events("ignored"))
    for word in ("MALFORMED", "DIGEST_MISMATCH", "WRONG_FEDERATION", "a plan for you"):
        assert word in reasons
    assert rig.device.session.link is before.link


def test_the_end_of_the_federation_ends_the_run(rig: Rig) -> None:
    """All rounds done: the last version is fetched first, then the device leaves."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    last = rig.gateway.bank.replace({HEAD: np.ones(toy.SHAPE.head_size, np.float32)})
    rig.gateway.finished = True
    rig.gateway.announce(last)
    rig.gateway.publish_state()
    rig.device.run()
    assert rig.device._versions.latest_bank()[0].digest() == last.digest()
    assert rig.gateway.byes == ["me"]


def test_a_number_of_rounds_ends_the_run(rig: Rig) -> None:
    """--rounds 1: one verdict, then goodbye."""
    rig.config = RunConfig("me", rounds=1)
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.device.run()
    assert len(rig.gateway.deltas) == 1
    assert rig.events("stopped")[-1]["rounds"] == 1


def test_a_broken_link_is_told_once_and_timers_rest(rig: Rig) -> None:
    """Nothing is sent while it is down; statistics and hello follow when it is back."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.link.disconnect("Connection refused")
    rig.turn()
    said = len(rig.link.said)
    rig.clock.now += 1000
    rig.turn()
    assert len(rig.link.said) == said
    assert rig.events("disconnected")[-1]["reason"] == "Connection refused"
    rig.link.connect()
    rig.run(lambda: rig.device.session.member)


def test_no_event_holds_a_text(rig: Rig) -> None:
    """Nothing of the user's examples is in any event."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: bool(rig.gateway.deltas))
    told = (rig.folder / "events.jsonl").read_text()
    said = b"".join(payload for _, payload in rig.link.said)
    for row in range(24):
        text = rig.device._work.tools.source.texts([row])[0]
        assert text not in told
        assert text.encode() not in said


def test_values_arrive_as_they_were_trained(rig: Rig) -> None:
    """Base + delta is what the slots held at the end, bit for bit up to one float32 subtraction and addition."""
    rig.start()
    rig.run(lambda: rig.device.session.member)
    rig.gateway.give_plan("me", TRAIN)
    rig.run(lambda: rig.device._work.training is not None and rig.device._work.training.trainer.done)
    training = rig.device._work.training
    assert training is not None
    trained = training.trainer.outcome().blocks
    rig.run(lambda: bool(rig.gateway.deltas))
    base: Bank = toy.initial_bank()
    for listed in rig.gateway.deltas[0].message.experts:
        block = ExpertId(listed.layer, listed.index)
        change = tensors.decode(listed.values, toy.SHAPE.size(block))
        assert base.block(block) + change == pytest.approx(trained[block], abs=1e-6)


def test_what_the_gateway_did_not_sign_changes_nothing(rig: Rig, tmp_path: Path) -> None:
    """State, version, plan and a verdict that would end the device: none is acted on, and a flood is told shortly."""
    key = SigningKey.create(tmp_path / "signing.pem")
    rig.config = RunConfig("me", checkpoint_s=0.0, gateway_key=key.public)
    rig.start()
    rig.gateway.give_plan("me", TRAIN)
    for _ in range(100):
        rig.link.deliver(Topic.VERDICT, messages.encode(pb.Verdict(kind=pb.HELLO, digest=bytes(32), code=pb.REVOKED)))
    rig.turn()
    assert (rig.device.session, rig.link.said) == (Session(link=LinkState.LISTENING), [])
    assert not rig.device.finished
    assert (rig.device._versions.newest, rig.device._work.waiting) == (None, None)
    forged = rig.events("ignored")
    assert all("BAD_SIGNATURE" in event["reason"] for event in forged)
    assert [event["topic"] for event in forged[:3]] == ["gateway", "version", "plan"]
    assert [event["times"] for event in forged if event["topic"] == "verdict"] == [1, 2, 4, 8, 16, 32, 64]
    state = messages.encode(pb.GatewayState(federation_digest=rig.gateway.federation, online=True, session=b"s" * 16))
    rig.link.deliver(Topic.GATEWAY, key.sign_message("fl/v1/default/gateway", state, 1))
    rig.turn()
    assert [topic for topic, _ in rig.link.said] == [Topic.HELLO]
