"""Whom an open round waits for, who may be planned for, and who was here to the end and did not answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from broker_server.rounds.gateway_parts import GatewayParts
from broker_server.rounds.round_status import RoundStatus
from broker_server.rules import round as rules
from edge_runtime.wire.mask_checks import MASKS_VERSION, NOISE_VERSION


class Waiting:
    """Args: parts: shared parts of the gateway. Everywhere ``now`` is monotonic seconds."""

    def __init__(self, parts: GatewayParts) -> None:
        self._config, self._roster, self._events = parts.config, parts.roster, parts.events
        self._watch, self._chance = parts.store.watch, parts.chance

    def opened(self, current: RoundStatus, now: float) -> rules.Opened:
        """Return an open round as the rules look at it; an expected answer since the last look counts from now."""
        if current.expected_at is None:
            current.expected_at = now
        planned, answered = frozenset(current.plans), frozenset(current.answered)
        rest = {device for device in planned if self._roster.standing(device).rests(now)}
        left = self._roster.gone(planned) | planned & (current.void | current.refused | rest)
        can_join = frozenset[str]()
        if planned <= answered | left:
            can_join = self.ready(now) - (planned - current.void) - current.passed_over
        # While nobody has answered a plan before, all are waited for, but none for a second deadline.
        expected = frozenset(current.expected or (planned - current.missed if current.missed else ()))
        return rules.Opened(planned, answered, left, current.deadline_at, now, can_join, expected, current.expected_at)

    def present(self, now: float) -> dict[str, rules.Present]:
        """Return who is here, and since when with its class statistics."""
        known = NOISE_VERSION if self._config.privacy.enabled else MASKS_VERSION
        masks, signed = known if self._config.secure.enabled else 0, self._config.key_authority is not None
        return self._roster.present(self._watch.statistics_digests(), now, masks=masks, signed=signed)

    def ready(self, now: float) -> frozenset[str]:
        """Return who is here and may be planned for."""
        return rules.ready(self.present(now))

    def cohort(self, devices: Collection[str], taken: int = 0) -> list[str]:
        """Return whom of ``devices`` to plan for, by name: all, or as many, drawn by chance, as a cohort lacks.

        Args:
            devices: that may be planned for.
            taken: places of the cohort that are taken.
        """
        size = self._config.round.cohort
        lacking = max(0, size - taken) if size else len(devices)
        if lacking >= len(devices):
            return sorted(devices)
        return sorted(self._chance.sample(sorted(devices), lacking))

    def expect(self, current: RoundStatus, devices: Iterable[str], now: float) -> None:
        """Note whom the round waits for to its deadline."""
        certified = self._config.certified
        current.expected |= {one for one in devices if self._roster.standing(one).expected(certified=certified)}
        current.expected_at = now

    def note_missed(self, current: RoundStatus, now: float, devices: Iterable[str] | None = None) -> None:
        """Take note of who was here to the end and did not answer. Args: devices: of these; None: of all."""
        awaited = set(current.awaited if devices is None else devices)
        silent = awaited - self._roster.gone(awaited)
        for device, standing in sorted(self._roster.missed(silent, now, self._config.round).items()):
            current.missed.add(device)
            if standing.rests(now):
                rests_s = round(standing.again_at - now, 1)
                self._events.tell("rests", device=device, missed=standing.missed, rests_s=rests_s)
                self._roster.hit(device, "missed_plans")
