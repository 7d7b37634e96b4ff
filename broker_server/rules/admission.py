"""Is this delta, hello or statistics taken? Pure: a message and what the gateway knows -> accepted, or a code.

Checked once, here, after ``messages.decode`` has checked what needs no context. Every refusal is a WireError, whose
code travels to the device. Order: who, then when, then what, so that a device learns what it can do about it first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from broker_server.rules.aggregate import Contribution
from broker_server.rules.encoded_block import EncodedBlock
from broker_server.rules.norms import kind_of, norm_by_name
from broker_server.rules.site_sums import SUMMED, SumClaims, SumRules, check_sum
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import BankError, WireError
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId
from edge_runtime.wire.messages import ids
from edge_runtime.wire.tensors import decode

ADAM_STEP = 3.2
"""Adam moves a value by at most lr * (1 - b1) / sqrt(1 - b2) = 3.17 lr a step (Kingma and Ba, 1412.6980, 2.1)."""
WEIGHT_LIMIT = 100.0
COUNT_ROUNDING = 1e-6
"""Counts are float32: of many examples the last few are lost in rounding."""


@dataclass(frozen=True)
class Identity:
    """The device that a topic names.

    Args:
        device: its name.
        joined: said hello since this gateway started.
        revoked: removed by the operator.
        site: devices that it may speak for; 0: it is a device itself.
    """

    device: str
    joined: bool
    revoked: bool = False
    site: int = 0


@dataclass(frozen=True)
class Masked:
    """What a delta under masks has to be.

    Args:
        members: digest of its round's list.
        sizes: bytes of each circle that its device masks, by number.
        taken: whether deltas are taken in the round, and its device takes part.
    """

    members: bytes
    sizes: Mapping[int, int]
    taken: bool


@dataclass(frozen=True)
class DeltaContext:
    """What a delta is checked against.

    Args:
        identity: of the topic's device.
        plan: the plan that the delta names by digest, when this gateway gave it to this device.
        accepted: digest of the delta already accepted from this device for the plan's round.
        age: merges between the plan's base version and the current one.
        max_staleness: the largest age that is taken.
        shape: of the bank.
        typical_norms: running median norms by kind of block ("expert", "shared", "head"); kinds with few samples lack.
        norm_factor: how many times the typical norm is too large; 0: not checked.
        most_examples: that a delta can have been trained on; a claim of more counts as so many.
        closed: the federation has finished.
        masked: of a plan under masks: what its delta has to be; None: the plan asks for none.
        sums: rules by which sites add up; None: no sum is taken.
    """

    identity: Identity
    plan: pb.Plan | None
    accepted: bytes | None
    age: int
    max_staleness: int
    shape: BankShape
    typical_norms: Mapping[str, float]
    norm_factor: float = 10.0
    most_examples: float = math.inf
    closed: bool = False
    masked: Masked | None = None
    sums: SumRules | None = None


@dataclass(frozen=True)
class Checked:
    """What a delta says by itself, whatever was planned.

    Args:
        delta: decoded.
        norms: largest norm by kind of block.
        sizes: values of the largest block by kind.
        refusal: why its values cannot be taken; it is told when nothing else stands against the delta.
        masked: bytes of each circle under masks, by number.
        summed: of a site's sum, whose norms are those of its means.
    """

    delta: pb.Delta
    norms: Mapping[str, float]
    sizes: Mapping[str, int]
    refusal: WireError | None = None
    masked: Mapping[int, int] = field(default_factory=dict)
    summed: SumClaims | None = None


@dataclass(frozen=True)
class Accepted:
    """Args: contribution: decoded; norms: largest norm by kind of block; of a site's sum SUMMED."""

    contribution: Contribution
    norms: Mapping[str, float]


def check_sender(identity: Identity, claimed: str) -> None:
    """Refuse a message whose sender is not who the topic says, is revoked, or has not said hello.

    Raises:
        WireError: MALFORMED, REVOKED or UNKNOWN_DEVICE.
    """
    if claimed != identity.device:
        raise WireError(pb.MALFORMED, f"the message says {claimed!r}, its topic {identity.device!r}")
    if identity.revoked:
        raise WireError(pb.REVOKED, "this device was removed by the operator")
    if not identity.joined:
        raise WireError(pb.UNKNOWN_DEVICE, "no hello from this device since the gateway started; say hello again")


def check_hello(hello: pb.Hello, identity: Identity, federation: bytes, description: str) -> None:
    """Refuse a Hello.

    Args:
        hello: the message.
        identity: of the topic's device; that it has not joined yet is no reason.
        federation: digest of this gateway's federation.
        description: what this gateway serves, for people.

    Raises:
        WireError: MALFORMED, REVOKED or WRONG_FEDERATION.
    """
    check_sender(Identity(identity.device, joined=True, revoked=identity.revoked), hello.device)
    if hello.federation_digest != federation:
        theirs, ours = hello.federation_digest.hex()[:12], federation.hex()[:12]
        detail = (
            f"the package (profile {hello.profile or 'not named'}, manifest {hello.package_digest.hex()[:12]}) is of "
            f"federation {theirs}, this gateway serves {ours}: {description}; export the package for this federation"
        )
        raise WireError(pb.WRONG_FEDERATION, detail)


def check_statistics(
    statistics: pb.ClassStatistics, identity: Identity, federation: bytes, shape: BankShape, examples: int
) -> None:
    """Refuse class statistics.

    Args:
        statistics: the message.
        identity: of the topic's device.
        federation: digest of this gateway's federation.
        shape: of the bank.
        examples: that the device's last Hello told of; statistics of more are refused.

    Raises:
        WireError: as check_sender, WRONG_FEDERATION, WRONG_SIZE, NOT_FINITE, NO_EXAMPLES or MALFORMED.
    """
    check_sender(identity, statistics.device)
    if statistics.federation_digest != federation:
        raise WireError(pb.WRONG_FEDERATION, "class statistics of another federation's features")
    labels = len(statistics.counts) // 4
    if (labels, statistics.width) != (shape.labels, shape.width):
        got, want = f"{labels} labels of {statistics.width}", f"{shape.labels} of {shape.width}"
        raise WireError(pb.WRONG_SIZE, f"class statistics for {got} values, expected {want}")
    counts = decode(statistics.counts, shape.labels)
    sums = decode(statistics.sums, shape.labels * shape.width).reshape(shape.labels, shape.width)
    if (counts < 0).any():
        raise WireError(pb.MALFORMED, "a label has fewer than 0 examples")
    total = float(counts.sum(dtype=np.float64))
    if total <= 0:
        raise WireError(pb.NO_EXAMPLES, "class statistics of 0 examples")
    if total > examples * (1 + COUNT_ROUNDING) + 0.5:
        raise WireError(pb.MALFORMED, f"class statistics of {total:.6g} examples, the Hello tells of {examples}")
    # A feature has length 1, so a sum of n of them has at most n.
    lengths = np.linalg.norm(sums.astype(np.float64), axis=1)
    if (lengths > counts * 1.001 + 1e-3).any():
        raise WireError(pb.MALFORMED, "a class sum is longer than its count of unit features allows")


def check_values(delta: pb.Delta, shape: BankShape) -> Checked:
    """Look at every value of a delta, block by block: this needs nothing that the gateway knows.

    Args:
        delta: as ``messages.decode`` returned it.
        shape: of the bank.
    """
    norms: dict[str, float] = {}
    sizes: dict[str, int] = {}
    try:
        read_claims(delta, shape, 0, delta.examples)
        for block, values in _each_block(delta, shape):
            kind = kind_of(block)
            sizes[kind] = max(sizes.get(kind, 0), values.size)
            norms[kind] = max(norms.get(kind, 0.0), norm_by_name(block, values))
    except WireError as error:
        return Checked(delta, {}, {}, error)
    return Checked(delta, norms, sizes, masked={circle.number: len(circle.words) for circle in delta.masked})


def admit(delta: pb.Delta, digest: bytes, context: DeltaContext) -> Accepted:
    """Take a checked delta, or refuse it.

    Args:
        delta: as ``messages.decode`` returned it.
        digest: of its body.
        context: what it is checked against.

    Raises:
        WireError: with the code for the device.
    """
    accepted = admit_checked(check_values(delta, context.shape), digest, context)
    return replace(accepted, contribution=replace(accepted.contribution, deltas=read_blocks(delta, context.shape)))


def admit_checked(checked: Checked, digest: bytes, context: DeltaContext) -> Accepted:
    """Take a delta whose values were looked at, or refuse it; the contribution has no deltas. Raises: as admit."""
    delta = checked.delta
    check_sender(context.identity, delta.device)
    plan = context.plan
    if plan is None:
        raise WireError(pb.UNKNOWN_PLAN, "the plan digest is none that this gateway gave to this device")
    if (delta.round, delta.base_version) != (plan.round, plan.base_version):
        came, want = (delta.round, delta.base_version), (plan.round, plan.base_version)
        raise WireError(pb.MALFORMED, f"round and base version {came} came, its plan says {want}")
    if delta.steps > plan.steps:
        raise WireError(pb.MALFORMED, f"a delta of {delta.steps} steps, its plan says {plan.steps}")
    if context.accepted is not None and context.accepted != digest:
        raise WireError(pb.DUPLICATE, f"another delta of this device was accepted in round {plan.round}")
    if context.closed or context.age > context.max_staleness:
        why = "the federation has finished" if context.closed else f"at most {context.max_staleness} are taken"
        raise WireError(pb.STALE, f"trained from version {plan.base_version}, {context.age} merges ago; {why}")
    _check_masked(delta, checked.masked, context.masked)
    planned = set(ids(plan.train))
    for block in ids(delta.experts):
        if block not in planned:
            raise WireError(pb.NOT_PLANNED, f"block {block} is not in the plan of round {plan.round}")
    if checked.refusal is not None:
        raise checked.refusal
    _check_norms(checked, plan, context)
    if checked.summed is not None:
        check_sum(checked.summed, context.most_examples, context.identity.site, context.sums)
        norms = {SUMMED: float(checked.summed.devices)}
        return Accepted(Contribution(delta.device, delta.round, delta.examples, context.age, {}), norms)
    examples = min(delta.examples, context.most_examples)
    return Accepted(read_claims(delta, context.shape, context.age, examples), checked.norms)


def _check_masked(delta: pb.Delta, sizes: Mapping[int, int], masked: Masked | None) -> None:
    """Refuse a delta in the clear where masks were asked for, and the reverse; and what does not fit its round."""
    if masked is None:
        if sizes:
            raise WireError(pb.MALFORMED, "a delta under masks, which its plan does not ask for")
        return
    if not sizes:
        raise WireError(pb.MALFORMED, "a delta that is not under masks, which its plan asks for")
    if not masked.taken or delta.members != masked.members:
        raise WireError(pb.STALE, "its round under masks goes on without this device, or is over")
    if sizes.keys() != masked.sizes.keys():
        raise WireError(pb.NOT_PLANNED, f"circles {sorted(sizes)} came, {sorted(masked.sizes)} are summed")
    for number, size in sizes.items():
        if size != masked.sizes[number]:
            raise WireError(pb.WRONG_SIZE, f"circle {number}: {size} bytes, expected {masked.sizes[number]}")


def read_claims(delta: pb.Delta, shape: BankShape, age: int, examples: float) -> Contribution:
    """Read what a delta says of itself: a contribution without deltas.

    Args:
        delta: as ``messages.decode`` returned it; its values are not looked at.
        shape: of the bank.
        age: merges since its base version.
        examples: that it counts for.

    Raises:
        WireError: WRONG_SIZE or MALFORMED.
    """
    use, labels = _use(delta, shape), _labels(delta, shape, examples)
    return Contribution(delta.device, delta.round, examples, age, {}, use, labels, max(1, delta.steps))


def read_contribution(delta: pb.Delta, shape: BankShape, age: int, examples: float) -> Contribution:
    """Read a delta; also one that was accepted before and waits in the spool. Its values stay as they came.

    Args and Raises: as read_claims; WRONG_SIZE and UNSUPPORTED_CODEC for values too.
    """
    return replace(read_claims(delta, shape, age, examples), deltas=read_blocks(delta, shape))


def read_blocks(delta: pb.Delta, shape: BankShape) -> dict[ExpertId, EncodedBlock]:
    """Return the values of a delta as they came, ascending by block.

    Raises:
        WireError: WRONG_SIZE or UNSUPPORTED_CODEC.
    """
    return dict(_each_block(delta, shape))


def _each_block(delta: pb.Delta, shape: BankShape) -> Iterator[tuple[ExpertId, EncodedBlock]]:
    for sent, block in zip(delta.experts, ids(delta.experts), strict=True):
        try:
            yield block, EncodedBlock(sent.values, shape.size(block), delta.codec)
        except WireError as error:
            raise WireError(error.code, f"block {block}: {error.detail}") from error


def _use(delta: pb.Delta, shape: BankShape) -> dict[ExpertId, tuple[float, float]]:
    use: dict[ExpertId, tuple[float, float]] = {}
    for sent in delta.use:
        block = ExpertId(sent.layer, sent.index)
        try:
            shape.size(block)
        except BankError as error:
            raise WireError(pb.MALFORMED, f"use of {block}, which the bank does not have") from error
        if block in use:
            raise WireError(pb.MALFORMED, f"use of {block} is told twice")
        use[block] = (sent.routed, sent.seen)
    return use


def _labels(delta: pb.Delta, shape: BankShape, examples: float) -> tuple[float, ...]:
    counts = tuple(delta.label_counts)
    if counts and len(counts) != shape.labels:
        raise WireError(pb.WRONG_SIZE, f"{len(counts)} label counts, expected {shape.labels}")
    if not counts and HEAD in ids(delta.experts):
        raise WireError(pb.MALFORMED, "a trained head came without label counts, the weights of its rows")
    # What a device says of itself is capped: its rows together weigh no more than its examples.
    total = sum(counts)
    return tuple(count * min(1.0, examples / total) for count in counts) if total else counts


def most_examples(steps: int, batch_size: int, own: int, usual: int = 0) -> int:
    """Return how many different examples a plan can have been trained on: as many texts as its steps take at most.

    Args:
        steps: of the plan.
        batch_size: texts of a step, as the device's Hello told.
        own: of the gateway's package.
        usual: median of all devices; more than that, or ``own``, is not believed.
    """
    return steps * min(batch_size, max(own, usual))


def _check_norms(checked: Checked, plan: pb.Plan, context: DeltaContext) -> None:
    if context.norm_factor <= 0:
        return
    rates = {"expert": plan.learning_rate, "shared": plan.shared_learning_rate, "head": plan.head_learning_rate}
    for kind, norm in checked.norms.items():
        step = rates[kind] * (ADAM_STEP + plan.weight_decay * WEIGHT_LIMIT)
        possible = plan.steps * step * math.sqrt(checked.sizes[kind]) * 1.01 + 1e-6
        limit = min(possible, context.norm_factor * context.typical_norms.get(kind, math.inf))
        if not norm <= limit:
            raise WireError(pb.NORM_TOO_LARGE, f"the update of a block ({kind}) has norm {norm:.4g}, limit {limit:.4g}")
