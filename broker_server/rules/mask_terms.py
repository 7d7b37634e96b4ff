"""What plans of a round under masks say: which blocks are a circle, and how values become integers. Pure.

A step s is such that ``most_move`` times steps times learning rate, which Adam hardly moves a value beyond, is the
largest integer. The norm C of an update is twice what updates of rounds before were about long, and never more than a
block of such values has.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

import numpy as np

from broker_server.rules.bundles import circles
from broker_server.rules.mask_noise import CircleNoise, RoundNoise, round_noise
from broker_server.rules.planner import Assignment
from broker_server.rules.privacy import Privacy
from broker_server.secure_config import Secure
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.experts import CLASS_SUMS, BankShape, ExpertId
from edge_runtime.wire.mask_checks import MASKS_VERSION, NOISE_VERSION
from edge_runtime.wire.messages import refs
from edge_runtime.wire.secure.class_sums import ClassTerms
from edge_runtime.wire.secure.terms import kind_of

ROOM: Final = 2.0
"""How many times the usual norm an update may have."""


@dataclass(frozen=True)
class Training:
    """What devices are asked to do in a round. Args: rates: learning rate by kind of block; batch: texts of a step."""

    steps: int
    rates: Mapping[str, float]
    batch: int


@dataclass(frozen=True)
class ClassCircle:
    """The circle of class sums. Args: devices: that are asked; terms: how theirs become integers."""

    devices: frozenset[str]
    terms: ClassTerms

    @classmethod
    def of(cls, examples: Mapping[str, int], multiple: float, most: int) -> ClassCircle:
        """Return the circle of some devices.

        Of no device the gateway sees counts that it could cap, so each caps its own by what Hellos tell.

        Args:
            examples: that each of them has, as its Hello says.
            multiple: of the median that one device may have; 0: any.
            most: that one device may have; 0: any.
        """
        highest = float(max(1, *examples.values()))
        if multiple:
            highest = min(highest, max(1.0, multiple * median(examples.values())))
        if most:
            highest = min(highest, float(most))
        # As float32, which plans say.
        return cls(frozenset(examples), ClassTerms.of(float(np.float32(highest)), len(examples)))


def round_terms(
    assignments: Mapping[str, Assignment],
    shape: BankShape,
    training: Training,
    secure: Secure,
    usual: Mapping[str, float],
    *,
    privacy: Privacy | None = None,
    classes: ClassCircle | None = None,
) -> tuple[pb.MaskTerms, dict[str, pb.MaskTerms]]:
    """Return the terms of a round with all its circles, and those of each device's plan.

    Args:
        assignments: who trains what.
        shape: of the bank.
        training: what they are asked to do.
        secure: settings.
        usual: norms of updates in rounds before, by kind; those of a kind that was not trained lack.
        privacy: what noise of devices promises; None: they add none.
        classes: who is asked for class sums; None: nobody.
    """
    listed = list(circles(assignments).items())
    terms = pb.MaskTerms(
        version=MASKS_VERSION,
        limit=secure.limit,
        most_weight=secure.most_weight,
        examples_per_weight=max(1.0, training.steps * training.batch / secure.most_weight),
    )
    sizes: dict[str, int] = {}
    for block in {block for _, blocks in listed for block in blocks}:
        sizes[kind_of(block)] = shape.size(block)
    for kind, size in sizes.items():
        move = secure.most_move * training.steps * training.rates[kind]
        longest = move * math.sqrt(size)
        setattr(terms, f"{kind}_step", move / secure.limit)
        setattr(terms, f"{kind}_norm", min(longest, ROOM * usual[kind]) if usual.get(kind) else longest)
    noise: Mapping[int, CircleNoise] = {}
    if privacy is not None:
        moves = (secure.most_move * training.steps * training.rates[kind] for kind in sizes)
        members = {number: len(who) for number, (who, _) in enumerate(listed)}
        asked = round_noise(members, len(assignments), max(moves), secure, privacy)
        _ask_noise(terms, asked, sizes, privacy.clip)
        noise = asked.circles
    if classes is not None:
        terms.class_step, terms.class_examples = classes.terms.step, classes.terms.examples
        listed.append((classes.devices, (CLASS_SUMS,)))
    plans: dict[str, pb.MaskTerms] = {}
    for device in assignments:
        own = ((number, blocks) for number, (who, blocks) in enumerate(listed) if device in who)
        plans[device] = _with(terms, own, noise)
    return _with(terms, ((number, blocks) for number, (_, blocks) in enumerate(listed)), noise), plans


def _ask_noise(terms: pb.MaskTerms, asked: RoundNoise, kinds: Iterable[str], clip: float) -> None:
    terms.version, terms.limit, terms.whole_norm = NOISE_VERSION, asked.limit, asked.norm
    terms.most_weight, terms.examples_per_weight = 1, 1.0
    for kind in kinds:
        setattr(terms, f"{kind}_step", asked.step)
        setattr(terms, f"{kind}_norm", clip)


def _with(
    terms: pb.MaskTerms, listed: Iterable[tuple[int, tuple[ExpertId, ...]]], noise: Mapping[int, CircleNoise]
) -> pb.MaskTerms:
    result = pb.MaskTerms()
    result.CopyFrom(terms)
    for number, blocks in listed:
        circle = result.circles.add(number=number, blocks=refs(blocks))
        if number in noise:
            circle.variance, circle.least = noise[number].variance, noise[number].least
    return result
