"""Every code that a gateway decides, each by one change to a delta, hello or statistics that is accepted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from broker_server.rules.admission import (
    DeltaContext,
    Identity,
    admit,
    check_hello,
    check_statistics,
    most_examples,
    read_contribution,
)
from broker_server.rules.encoded_block import values_of
from broker_server.rules.norms import kind_of, typical
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import HEAD, ExpertId, shared_expert
from edge_runtime.wire.messages import decode, encode, refs
from edge_runtime.wire.tensors import encode as encode_values

EXPERT, SHARED = ExpertId(0, 1), shared_expert(1)


def plan(**fields: Any) -> pb.Plan:
    """Return a plan for one expert, one shared expert and the head."""
    values = {
        "device": "a", "round": 3, "base_version": 5, "version_digest": b"v" * 32,
        "train": refs([EXPERT, SHARED, HEAD]), "steps": 10, "learning_rate": 0.01, "shared_learning_rate": 0.01,
        "head_learning_rate": 0.001, "deadline_s": 60.0,
    }  # fmt: skip
    return pb.Plan(**(values | fields))


def context(**fields: Any) -> DeltaContext:
    """Return what a delta is checked against."""
    base = DeltaContext(Identity("a", joined=True), plan(), None, 0, 2, tiny.SHAPE, {})
    return replace(base, **fields)


def delta(**fields: Any) -> pb.Delta:
    """Return a delta that is accepted."""
    planned = plan()
    return tiny.delta(planned, encode(planned), value=0.001, label_counts=[4.0, 6.0, 0.0], **fields)


def block(block_id: ExpertId, values: bytes | None = None) -> pb.ExpertDelta:
    """Return one block of a delta."""
    data = np.full(tiny.SHAPE.size(block_id), 0.001, "<f4").tobytes() if values is None else values
    return pb.ExpertDelta(layer=block_id.layer, index=block_id.index, values=data)


def code_of(call: Callable[[], object]) -> str:
    """Return the code that a call is refused with."""
    with pytest.raises(WireError) as caught:
        call()
    assert "\n" not in caught.value.detail
    return str(pb.Code.Name(caught.value.code))


def refused(message: pb.Delta, against: DeltaContext) -> str:
    """Return the code that a delta is refused with."""
    return code_of(lambda: admit(message, b"d" * 32, against))


def test_good_delta_is_taken_with_its_values() -> None:
    """Decoded, with norms by kind: 17 values of 0.001 in an expert have norm 0.001 * sqrt(17)."""
    accepted = admit(delta(), b"d" * 32, context(age=1))
    assert accepted.contribution.staleness == 1
    assert accepted.contribution.examples == 10
    assert set(accepted.contribution.deltas) == {EXPERT, SHARED, HEAD}
    assert accepted.norms["expert"] == pytest.approx(0.001 * np.sqrt(tiny.SHAPE.expert_size))
    assert set(accepted.norms) == {"expert", "shared", "head"}


def test_fewer_blocks_than_planned_are_taken() -> None:
    """A device may leave out what it could not train."""
    assert set(admit(delta(experts=[block(EXPERT)]), b"d" * 32, context()).contribution.deltas) == {EXPERT}


def test_int8_values_are_decoded() -> None:
    """By the delta's own codec, whatever the plan said."""
    values = encode_values(np.full(tiny.SHAPE.size(EXPERT), 0.002, np.float32), pb.INT8)
    accepted = admit(delta(codec=pb.INT8, experts=[block(EXPERT, values)]), b"d" * 32, context())
    np.testing.assert_allclose(values_of(accepted.contribution.deltas[EXPERT]), 0.002, rtol=1e-6)


def test_wrong_sender_is_malformed() -> None:
    """The device in the topic and in the message must be the same."""
    assert refused(delta(device="b"), context()) == "MALFORMED"


def test_revoked() -> None:
    """Removed by the operator."""
    assert refused(delta(), context(identity=Identity("a", joined=True, revoked=True))) == "REVOKED"


def test_unknown_device() -> None:
    """No hello in this session."""
    assert refused(delta(), context(identity=Identity("a", joined=False))) == "UNKNOWN_DEVICE"


def test_unknown_plan() -> None:
    """The plan digest is none of ours."""
    assert refused(delta(), context(plan=None)) == "UNKNOWN_PLAN"


@pytest.mark.parametrize("fields", [{"round": 4}, {"base_version": 4}])
def test_contradiction_with_its_plan_is_malformed(fields: dict[str, int]) -> None:
    """A delta repeats what its plan says."""
    assert refused(delta(**fields), context()) == "MALFORMED"


def test_duplicate() -> None:
    """Another delta of the round was accepted; the same one again is not refused here."""
    assert refused(delta(), context(accepted=b"x" * 32)) == "DUPLICATE"
    assert admit(delta(), b"d" * 32, context(accepted=b"d" * 32))


def test_stale() -> None:
    """Two merges late is taken, three are not; after the end nothing is."""
    assert admit(delta(), b"d" * 32, context(age=2)).contribution.staleness == 2
    assert refused(delta(), context(age=3)) == "STALE"
    assert refused(delta(), context(closed=True)) == "STALE"


def test_not_planned() -> None:
    """A block beside the plan's."""
    assert refused(delta(experts=[block(ExpertId(0, 2))]), context()) == "NOT_PLANNED"


@pytest.mark.parametrize("values", [b"", b"\0" * 4, b"\0" * (4 * tiny.SHAPE.expert_size + 4)])
def test_wrong_size(values: bytes) -> None:
    """Too few or too many values."""
    assert refused(delta(experts=[block(EXPERT, values)]), context()) == "WRONG_SIZE"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value: float) -> None:
    """NaN and infinity."""
    values = np.full(tiny.SHAPE.expert_size, value, "<f4").tobytes()
    assert refused(delta(experts=[block(EXPERT, values)]), context()) == "NOT_FINITE"


def test_unsupported_codec() -> None:
    """Told before any value is read."""
    message = delta()
    message.codec = 7  # type: ignore[assignment]
    assert refused(message, context()) == "UNSUPPORTED_CODEC"
    assert code_of(lambda: decode(pb.Delta, message.SerializeToString())) == "UNSUPPORTED_CODEC"


def test_no_examples_and_too_large_are_found_by_decode() -> None:
    """Before admission: nothing else is needed to know."""
    assert code_of(lambda: decode(pb.Delta, delta(examples=0).SerializeToString())) == "NO_EXAMPLES"
    assert code_of(lambda: decode(pb.Delta, bytes(200), limit=100)) == "TOO_LARGE"


def test_norm_over_ten_medians_is_too_large() -> None:
    """The usual norm of an expert's update is 0.0004; this one's is 0.001 * sqrt(17) = 0.0041."""
    assert refused(delta(), context(typical_norms={"expert": 0.0004})) == "NORM_TOO_LARGE"
    assert admit(delta(), b"d" * 32, context(typical_norms={"expert": 0.0005}))
    assert admit(delta(), b"d" * 32, context(typical_norms={"expert": 0.0004}, norm_factor=0.0))


def test_norm_that_adam_cannot_reach_is_too_large_from_the_first_delta_on() -> None:
    """10 steps at 0.01: no value moves by more than 0.32; without samples, 0.5 everywhere is refused."""
    values = np.full(tiny.SHAPE.expert_size, 0.5, "<f4").tobytes()
    assert refused(delta(experts=[block(EXPERT, values)]), context()) == "NORM_TOO_LARGE"
    fine = np.full(tiny.SHAPE.expert_size, 0.3, "<f4").tobytes()
    assert admit(delta(experts=[block(EXPERT, fine)]), b"d" * 32, context())


def test_largest_finite_values_are_refused_not_overflowed() -> None:
    """The norm of float32's largest values is computed in float64."""
    values = np.full(tiny.SHAPE.expert_size, 3e38, "<f4").tobytes()
    assert refused(delta(experts=[block(EXPERT, values)]), context()) == "NORM_TOO_LARGE"


def test_head_needs_label_counts() -> None:
    """They are the weights of its rows."""
    message = delta()
    del message.label_counts[:]
    assert refused(message, context()) == "MALFORMED"
    message.label_counts.extend([1.0, 2.0])
    assert refused(message, context()) == "WRONG_SIZE"


def test_label_counts_weigh_no_more_than_the_examples() -> None:
    """What a device says of itself is capped: 10 examples, 40 counted, so a quarter of each."""
    message = delta()
    del message.label_counts[:]
    message.label_counts.extend([40.0, 0.0, 0.0])
    assert admit(message, b"d" * 32, context()).contribution.label_counts == (10.0, 0.0, 0.0)


def test_use_of_what_the_bank_lacks_or_twice_is_malformed() -> None:
    """Statistics name experts of the bank, once each."""
    unknown = pb.ExpertUse(layer=9, index=0, routed=1, seen=1)
    assert refused(delta(use=[unknown]), context()) == "MALFORMED"
    one = pb.ExpertUse(layer=0, index=0, routed=1, seen=2)
    assert refused(delta(use=[one, one]), context()) == "MALFORMED"
    assert read_contribution(delta(use=[one]), tiny.SHAPE, 0, 10).use == {ExpertId(0, 0): (1.0, 2.0)}


def test_median_norms_need_samples() -> None:
    """19 samples tell nothing, 20 do, zeros never."""
    assert typical({"expert": [1.0] * 19}) == {}
    assert typical({"expert": [*[1.0] * 11, *[9.0] * 9]}) == {"expert": 1.0}
    assert typical({"expert": [0.0] * 30}) == {}


def test_kinds_of_blocks() -> None:
    """Each has its own usual norm."""
    assert [kind_of(block_id) for block_id in (EXPERT, SHARED, HEAD)] == ["expert", "shared", "head"]


def test_hello_is_taken_or_refused(tmp_path: Path) -> None:
    """Another federation's digest is refused, naming both and what is served."""
    package = tiny.make_package(tmp_path)
    federation = package.manifest.architecture.digest()
    check_hello(tiny.hello(package), Identity("a", joined=False), federation, "tiny")
    assert code_of(lambda: check_hello(tiny.hello(package), Identity("b", joined=False), federation, "")) == "MALFORMED"
    gone = Identity("a", joined=False, revoked=True)
    assert code_of(lambda: check_hello(tiny.hello(package), gone, federation, "")) == "REVOKED"
    other = tiny.hello(package, federation_digest=b"o" * 32)
    with pytest.raises(WireError, match="tiny, 3 labels") as caught:
        check_hello(other, Identity("a", joined=False), federation, "tiny, 3 labels")
    assert caught.value.code == pb.WRONG_FEDERATION
    assert (b"o" * 32).hex()[:12] in caught.value.detail
    assert federation.hex()[:12] in caught.value.detail


def test_statistics_are_taken_or_refused(tmp_path: Path) -> None:
    """Sizes, signs, and that a sum of n unit features is no longer than n."""
    package = tiny.make_package(tmp_path)
    federation = package.manifest.architecture.digest()
    me = Identity("a", joined=True)
    good = tiny.statistics(package, "a", ["rose", "leaf sky"], [0, 1])

    def code(**fields: Any) -> str:
        changed = pb.ClassStatistics()
        changed.CopyFrom(good)
        for name, value in fields.items():
            setattr(changed, name, value)
        return code_of(lambda: check_statistics(changed, me, federation, tiny.SHAPE, 2))

    assert code(counts=np.full(3, 3e38, "<f4").tobytes()) == "MALFORMED"  # a sum beyond float32
    check_statistics(good, me, federation, tiny.SHAPE, 2)
    assert code(device="b") == "MALFORMED"
    assert code(federation_digest=b"o" * 32) == "WRONG_FEDERATION"
    assert code(width=5) == "WRONG_SIZE"
    assert code(counts=np.zeros(3, "<f4").tobytes()) == "NO_EXAMPLES"
    assert code(counts=np.array([2, -1, 1], "<f4").tobytes()) == "MALFORMED"
    assert code(counts=np.array([np.nan, 1, 1], "<f4").tobytes()) == "NOT_FINITE"
    assert code(sums=np.full(12, 3, "<f4").tobytes()) == "MALFORMED"
    assert code(counts=np.array([1e30, 1, 1], "<f4").tobytes()) == "MALFORMED"
    unknown = Identity("a", joined=False)
    assert code_of(lambda: check_statistics(good, unknown, federation, tiny.SHAPE, 2)) == "UNKNOWN_DEVICE"


@pytest.mark.parametrize(("hello_examples", "code"), [(2, None), (3, None), (1, "MALFORMED"), (0, "MALFORMED")])
def test_statistics_have_no_more_examples_than_the_hello_told(
    tmp_path: Path, hello_examples: int, code: str | None
) -> None:
    """Two texts: a Hello of two, or of one more that has no label of the package, allows them."""
    package = tiny.make_package(tmp_path)
    federation = package.manifest.architecture.digest()
    statistics = tiny.statistics(package, "a", ["rose", "leaf sky"], [0, 1])

    def check() -> None:
        check_statistics(statistics, Identity("a", joined=True), federation, tiny.SHAPE, hello_examples)

    if code is None:
        check()
    else:
        assert code_of(check) == code


def test_a_plan_has_room_for_so_many_examples() -> None:
    """Ten steps of 16 texts are 160; a device that says 64 where others say 16 is not believed, a smaller one is."""
    assert most_examples(10, 16, own=16, usual=16) == 160
    assert most_examples(10, 64, own=16, usual=16) == 160
    assert most_examples(10, 8, own=16, usual=16) == 80
    assert most_examples(10, 32, own=16, usual=32) == 320
    assert most_examples(10, 32, own=16) == 160


def test_more_examples_than_the_plan_has_room_for_count_as_so_many() -> None:
    """Of 2^32 - 1 with a room of 5 the mean sees 5, and the head's rows of 4 and 6 see 2 and 3."""
    contribution = admit(delta(examples=2**32 - 1), b"d" * 32, context(most_examples=5)).contribution
    assert contribution.examples == 5
    assert contribution.label_counts == (2.0, 3.0, 0.0)
