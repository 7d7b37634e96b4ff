"""A gateway's life in one process: rounds of a few devices, by the real state, rounds and rules, without a broker.

The devices keep what a device keeps: a delta until it is accepted, and an accepted one until a version of its round is
there, for a gateway that asks for it again. They outlive the process: what was accepted is told to whoever started it.
Versions go down in steps of int8, so that what a step left out has to outlive the gateway, too; and merging is robust,
with an optimizer, so that its moments and the norms that were usual have to.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.faults.children import Say
from benchmarks.faults.suite import part
from broker_server.config_tables import Limits, RoundRules, Train
from broker_server.errors import StateError, StorageError
from broker_server.evaluation.onnx_model import Figures
from broker_server.evaluation.worker import Evaluated
from broker_server.gate_config import Gate
from broker_server.privacy_config import PrivacyTable
from broker_server.rounds.measuring import Measuring
from broker_server.rules.round import State
from broker_server.server_config import RobustMerging, Server
from broker_server.state.privacy_account import PrivacyAccount
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode

DEVICES: Final = {"ada": (["rose", "leaf"], [0, 1]), "bo": (["sky"], [2]), "cy": (["rose", "stone"], [0, 1])}
FIVE: Final = DEVICES | {"di": (["leaf"], [1]), "liar": (["stone"], [1])}
TURNS: Final = 200
Accepted = tuple[str, int]


@dataclass(frozen=True)
class Story:
    """What happens.

    Args:
        rounds: in all.
        max_staleness: of [round].
        keep_versions, keep_rounds: of [limits].
        gate: versions are measured before they are served; that of round 2 is not.
        buffer: deltas that are merged as soon as they came, with plans as soon as a device answered; 0: in rounds. Then
            ``rounds`` counts merges.
        private: merging has noise, from a seed that is always the same, and a budget; not robust then.
        liar: there are five devices, and the last turns the sign of what it trained: it is left out.
    """

    rounds: int = 2
    max_staleness: int = 2
    keep_versions: int = 50
    keep_rounds: int = 1000
    gate: bool = False
    buffer: int = 0
    private: bool = False
    liar: bool = False

    @property
    def devices(self) -> dict[str, tuple[list[str], list[int]]]:
        """Their texts and labels, by name."""
        return FIVE if self.liar else DEVICES


LONG: Final = Story(rounds=4, max_staleness=0, keep_versions=1, keep_rounds=1)
"""The rows of its first rounds go while it runs."""
GATED: Final = Story(rounds=3, gate=True)
DIRECTED: Final = Story(rounds=3, liar=True)
BUFFERED: Final = Story(rounds=5, max_staleness=4, buffer=2)
"""The first device answers twice as often as the third: merges have deltas of other rounds and of older versions."""
PACE: Final = (0, 1, 0, 2, 1, 0)
"""Of BUFFERED: who answers next, by its place, over and over."""
PRIVATE: Final = Story(max_staleness=0, private=True)
SEED: Final = bytes(range(32))
TEXTS: Final = "share of values above the start's"


def package(folder: Path) -> Any:  # noqa: ANN401 - a Package
    """Write the package of the federation."""
    return part("tiny", "broker").make_package(folder)


def play(
    folder: Path,
    opened: Any,  # noqa: ANN401 - a Package
    accepted: Iterable[Accepted],
    say: Say,
    story: Story = Story(),
) -> int:
    """Play what is left of the story.

    Args:
        folder: state directory.
        opened: package.
        accepted: (device, round) of what devices were told is accepted; they send it when they are asked only.
        say: told of each acceptance as soon as a device would be, and of the end.
        story: what happens.

    Returns:
        0 when all rounds are done, 1 when the gateway refused to start or ended with an error of its own.
    """
    began = time.monotonic()
    rules = RoundRules(
        quorum=len(story.devices), join_wait_s=0, deadline_s=1e6, max_staleness=story.max_staleness,
        buffer=story.buffer,
    )  # fmt: skip
    more: dict[str, Any] = {"norm_factor": 0.0} if story.private else {}
    limits = Limits(keep_versions=story.keep_versions, keep_rounds=story.keep_rounds, **more)
    train = Train(learning_rate=0.1, codec_down="int8")
    merging: dict[str, Any] = {"server": Server("yogi", normalize_steps=True), "robust": RobustMerging(enabled=True)}
    if story.private:
        privacy = PrivacyTable(enabled=True, noise=0.01, class_noise=0.01, epsilon=1e6)
        merging = {"server": Server("yogi"), "privacy": privacy}
    try:
        if story.private and PrivacyAccount.read(folder) is None:
            folder.mkdir(exist_ok=True)
            PrivacyAccount(SEED).write(folder)
        gateway = part("tiny_gateway", "broker").Gateway(
            folder, opened, rounds=story.rounds, round=rules, limits=limits, train=train,
            gate=Gate(hold=story.gate), evaluate=folder if story.gate else None, **merging,
        )  # fmt: skip
    except (StateError, StorageError) as error:
        say(refused=str(error), storage=isinstance(error, StorageError))
        return 1
    say(ready_ms=1000 * (time.monotonic() - began), notes=gateway.store.notes)
    known = set(accepted)
    for _ in range(TURNS):
        if gateway.conductor.state is State.FINISHED:
            say(**outcome(gateway.store))
            gateway.close()
            return 0
        try:
            (buffered_turn if story.buffer else turn)(gateway, known, say, story)
            if story.gate:
                measure(gateway)
        except StorageError:
            continue  # as the service does: the next look tries again
        except StateError as error:
            say(refused=str(error), storage=False)
            return 1
    say(stuck=True)
    return 1


def turn(gateway: Any, known: set[Accepted], say: Say, story: Story) -> None:  # noqa: ANN401 - the tests' gateway
    """Let every device do what it can, then look at the clock."""
    come(gateway, story)
    gateway.tick()
    if gateway.conductor.state is not State.OPEN:
        return
    plans = gateway.store.ledger.plans(gateway.conductor.round)
    sent = dict[str, bytes]()
    # Deltas of odd rounds come one by one, those of even rounds are decided as a group.
    with gateway.together() if gateway.conductor.round % 2 == 0 else contextlib.nullcontext():
        for place, device in enumerate(story.devices):
            key = (device, gateway.conductor.round)
            if device in plans and (key not in known or asked(gateway, device)):
                value = 0.01 * (place + 1) * gateway.conductor.round
                value *= -1 if device == "liar" or (story.gate and gateway.conductor.round == 2) else 1
                sent[device] = gateway.train(device, value=value, spread=value / 3)
                _note(gateway, key, sent[device], known, say)
    for device, digest in sent.items():
        _note(gateway, (device, gateway.conductor.round), digest, known, say)


def buffered_turn(gateway: Any, known: set[Accepted], say: Say, story: Story) -> None:  # noqa: ANN401 - of the tests
    """Let the table be looked at until nothing is due, and then one device answer, or again if it is asked."""
    come(gateway, story)
    for _ in range(3):  # merge, make a head, give plans
        gateway.tick()
    if gateway.conductor.state is not State.OPEN:
        return
    device = list(DEVICES)[PACE[len(known) % len(PACE)]]
    again = [one for one in DEVICES if asked(gateway, one)]
    for one in again or [device]:
        key = (one, _at_hand(gateway, one, known, sent=one in again))
        count = sum(key_[0] == one and key_[1] <= key[1] for key_ in known | {key})
        value = 0.01 * count * (1 + list(DEVICES).index(one))
        payload = gateway.store.ledger.plans(key[1])[one]
        body = encode(part("tiny", "broker").delta(decode(pb.Plan, payload), payload, value=value, spread=value / 3))
        gateway.deliver(one, body)
        _note(gateway, key, sha256(body), known, say)


def _at_hand(gateway: Any, device: str, known: set[Accepted], *, sent: bool) -> int:  # noqa: ANN401
    """Return the round of the plan whose delta a device has: the first after those accepted, or the last it sent."""
    last = max((number for name, number in known if name == device), default=0)
    if sent:
        return last
    return next(
        number
        for number in range(last + 1, gateway.conductor.round + 1)
        if device in gateway.store.ledger.plans(number)
    )


def come(gateway: Any, story: Story) -> None:  # noqa: ANN401 - the tests' gateway
    """Let every device that is not here say hello, and send its class sums if they are wanted."""
    for device, (texts, labels) in story.devices.items():
        if device not in gateway.conductor._roster.here():  # noqa: SLF001
            body = gateway.hello_with(device, texts, labels)
            if gateway.verdict(device).want_statistics:
                gateway.statistics(device, body)


def measure(gateway: Any) -> None:  # noqa: ANN401 - the tests' gateway
    """Measure what the service would: what waits, what that is compared with, and the newest version, once each."""
    conductor, ledger = gateway.conductor, gateway.store.ledger
    wanted = sorted({conductor.newest.version, *conductor.compared})
    held = conductor.held.version if conductor.held is not None else None
    for version in wanted:
        if version == held or version not in ledger.accuracies(TEXTS):
            _measure(gateway, version)
    gateway.tick()


def _measure(gateway: Any, version: int) -> None:  # noqa: ANN401 - the tests' gateway
    bank = gateway.store.lineage.load(version)[1]
    share = float((bank.experts > gateway.package.bank().experts).mean())
    result = Evaluated(version, TEXTS, Figures(share, share, 1))
    gateway.conductor.measured(result)
    Measuring(gateway.store, gateway.parts.events).note(result, gateway.now)


def _note(gateway: Any, key: Accepted, digest: bytes, known: set[Accepted], say: Say) -> None:  # noqa: ANN401
    """Tell of an acceptance as soon as the device would hear of it, once."""
    verdict = gateway.verdict(key[0])
    if verdict.digest == digest and verdict.code == pb.ACCEPTED:
        say(accepted=key)
        known.add(key)


def asked(gateway: Any, device: str) -> bool:  # noqa: ANN401
    """Return whether the gateway asks a device for a delta that it accepted before."""
    verdict = gateway.verdict(device)
    return bool(verdict.kind == pb.DELTA and verdict.code == pb.BUSY and verdict.retry_after_s > 0)


def outcome(store: Any) -> dict[str, Any]:  # noqa: ANN401 - a Store
    """Return what a finished state directory says: digests, which deltas are in which version how often, from when.

    And how many releases with noise were counted, and how far devices are trusted.
    """
    ledger, account = store.ledger, PrivacyAccount.read(store.folder)
    row, bank = store.lineage.load()
    folded = [
        (delta.device, delta.round) for version in ledger.versions() for delta in ledger.merged_into(version.version)
    ]
    times: dict[str, int] = {}
    for (device, _), count in ledger.trained().items():
        times[device] = times.get(device, 0) + count
    return {
        "digest": bank.digest().hex(),
        "version": row.version,
        "folded": folded,
        "reasons": [version.reason for version in ledger.versions()],
        "trained": times,
        "pruned": ledger.pruned,
        "trust": [[one.device, one.trust, one.left_out_since] for one in ledger.trust()],
        "released": sum(account.releases.values()) if account is not None else 0,
    }
