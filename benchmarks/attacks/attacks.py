"""The attacks: each is measured undisturbed, undefended and defended; the same federation, data and seed each time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.attacks.federation import PATIENT, Ground, Setup, rounds_per_minute, running
from benchmarks.attacks.strangers import (
    Crowd,
    Target,
    flood,
    hello_stream,
    nobody,
    poison,
    promises,
    seconds_to_join,
    silent,
)

ACCURACY, ROUNDS, SECONDS = "accuracy", "rounds a minute", "seconds to join"
TRUSTING: Final = ("norm_factor = 0.0", "norm_clip = 0.0", "weight_multiple = 0.0", "weight_share = 1.0")
"""Keys of [limits] with which a gateway believes every device."""
ROUND: Final = ("quorum = 2", "deadline_s = 30.0", "grace_s = 10.0", "join_wait_s = 2.0")
TIGHT: Final = ("newcomer_wait_s = 3.0",)
"""Deadline and the wait for newcomers are a tenth of their defaults, the grace a sixth, as a minute is short."""
LAX: Final = ("newcomer_wait_s = 30.0", "missed_plans = 0")
HONEST: Final = 3


@dataclass(frozen=True)
class Attack:
    """One attack.

    Args:
        name: of it.
        what: it does, for people.
        unit: ACCURACY, ROUNDS or SECONDS.
        measure: (ground, defended, seconds) -> figure.
    """

    name: str
    what: str
    unit: str
    measure: Callable[[Ground, bool, float], float]


def undisturbed(ground: Ground, unit: str, seconds: float) -> float:
    """Return what the federation reaches when everybody is honest and defended."""
    if unit == SECONDS:
        with running(ground, Setup("undisturbed-join", HONEST)) as run:
            return seconds_to_join(run.target)
    if unit == ACCURACY:
        config = {"limits": ground.limits}
        return _accuracy(ground, Setup("undisturbed", len(ground.devices), ground.settings.rounds, config=config))
    setup = Setup("undisturbed-rounds", HONEST, config={"round": [*ROUND, *TIGHT]})
    return rounds_per_minute(ground, setup, nobody, seconds)


def _accuracy(ground: Ground, setup: Setup) -> float:
    with running(ground, setup) as run:
        run.join(*run.names)
        run.finish()
        return run.accuracy()


def _lies(lie: str) -> Callable[[Ground, bool, float], float]:
    def measure(ground: Ground, defended: bool, _: float) -> float:
        old = not defended and ground.before is not None
        config = {} if old else {"limits": ground.limits if defended else TRUSTING}
        name = f"{lie}-{'defended' if defended else 'undefended'}"
        setup = Setup(name, len(ground.devices), ground.settings.rounds, {ground.devices[-1]: lie}, config, before=old)
        return _accuracy(ground, setup)

    return measure


def _revoked(ground: Ground, defended: bool, _: float) -> float:
    """Revoke a liar whose first delta was accepted and is not merged yet.

    Undefended its delta counts: an older gateway folds it all the same; without one to compare with, nobody revokes it.
    One honest device is held until then, so that the round cannot close before.
    """
    old = not defended and ground.before is not None
    liar, held = ground.devices[-1], ground.devices[0]
    config: dict[str, Sequence[str]] = {"round": [f"quorum = {len(ground.devices) - 1}", *PATIENT]}
    config |= {} if old else {"limits": TRUSTING}
    name = f"revoked-{'defended' if defended else 'undefended'}"
    setup = Setup(name, len(ground.devices), ground.settings.rounds, {liar: "examples"}, config, before=old)
    with running(ground, setup) as run:
        run.join(*run.names)
        run.wait("round")
        os.kill(run.children[held].process.pid, signal.SIGSTOP)
        run.wait("delta", lambda event: event["device"] == liar and event["code"] == "ACCEPTED")
        if defended or old:
            run.own("devices", "--state", str(run.state), "--revoke", liar)
        os.kill(run.children[held].process.pid, signal.SIGCONT)
        run.finish(but=liar)
        return run.accuracy()


def _poisoned(ground: Ground, defended: bool, _: float) -> float:
    """Let a hundred names without certificates send noise: over TLS, or where nothing proves a name."""
    old = not defended and ground.before is not None
    honest, rounds = len(ground.devices), ground.settings.rounds
    config = {"round": [f"quorum = {honest}", *PATIENT]}
    name = f"poison-{'defended' if defended else 'undefended'}"
    with running(ground, Setup(name, honest, rounds, config=config, before=old, secure=defended)) as run:
        with poison(run.target, 100):
            run.join(*run.names)
            run.finish()
        return run.accuracy()


def _flooded(ground: Ground, defended: bool, _: float) -> float:
    old = not defended and ground.before is not None
    config = {"listen": ["hellos_per_s = 1000.0", "messages_per_s = 1000.0"]}
    lax = {**config, "limits": ["hellos_per_minute = 0"]}
    setup = Setup(
        f"flood-{'defended' if defended else 'undefended'}", HONEST, before=old,
        config={} if old else config if defended else lax,
    )  # fmt: skip
    with running(ground, setup) as run, flood(run.target):
        time.sleep(10.0)
        return seconds_to_join(run.target)


def _strangers(name: str, crowd: Callable[[Target], Crowd]) -> Callable[[Ground, bool, float], float]:
    def measure(ground: Ground, defended: bool, seconds: float) -> float:
        old = not defended and ground.before is not None
        more = () if old else TIGHT if defended else LAX
        rules = (*ROUND, *more)
        setup = Setup(f"{name}-{'defended' if defended else 'undefended'}", HONEST, config={"round": rules}, before=old)
        return rounds_per_minute(ground, setup, crowd, seconds)

    return measure


ATTACKS: Final[Sequence[Attack]] = (
    Attack("examples", "one device claims 2^32 - 1 examples of an update turned round", ACCURACY, _lies("examples")),
    Attack("class-sums", "one device claims 2^32 - 1 texts, each of another label", ACCURACY, _lies("class-sums")),
    Attack("flip", "one device sends its updates turned round, eight times as long", ACCURACY, _lies("flip")),
    Attack("flip-short", "one device sends its updates turned round", ACCURACY, _lies("flip-short")),
    Attack("revoked", "a liar's delta is accepted, the liar is revoked before the merge", ACCURACY, _revoked),
    Attack("poison", "100 names without certificates answer plans with noise", ACCURACY, _poisoned),
    Attack("hello-stream", "one name says Hello every second", ROUNDS, _strangers("hello-stream", hello_stream)),
    Attack("promises", "a new name promises class sums every 7 s", ROUNDS, _strangers("promises", promises)),
    Attack("sybil", "one name takes plans and never answers", ROUNDS, _strangers("sybil", lambda to: silent(to, 1))),
    Attack("flood", "20 names say Hello 100 times a second each", SECONDS, _flooded),
    Attack("sybils", "300 names take plans and never answer", ROUNDS, _strangers("sybils", lambda to: silent(to, 300))),
)  # fmt: skip
BY_NAME: Final[Mapping[str, Attack]] = {attack.name: attack for attack in ATTACKS}
