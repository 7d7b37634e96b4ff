"""What liars and strangers of benchmarks.attacks send has the right form: only then is a defence measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from benchmarks.attacks import liar, strangers
from benchmarks.attacks.__main__ import parse
from broker_server.rules.admission import DeltaContext, Identity, admit
from edge_runtime.federation import delta as deltas
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.class_means import ClassSums
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import BankShape, ExpertId
from edge_runtime.wire.messages import decode, encode, refs

SHAPE = BankShape((0,), 2, 2, 2, 4, 2)
BLOCK = ExpertId(0, 1)


def plan() -> pb.Plan:
    """Return a plan of ten steps for one expert."""
    return pb.Plan(
        device="s", round=1, base_version=0, version_digest=b"v" * 32, train=refs([BLOCK]), steps=10,
        learning_rate=0.002, deadline_s=60.0, seed=7,
    )  # fmt: skip


@pytest.mark.parametrize("codec", [pb.FLOAT32, pb.INT8])
def test_a_liar_turns_its_update_round(monkeypatch: pytest.MonkeyPatch, codec: pb.Codec) -> None:
    """Twice as long, the other way, with the examples that it claims; whatever codec its device wrote."""
    values = np.linspace(-1, 1, SHAPE.size(BLOCK)).astype(np.float32)
    honest = pb.Delta(
        device="s", plan_digest=b"p" * 32, round=1, examples=10, codec=codec, loss_first=1.0, loss_last=1.0,
        experts=[pb.ExpertDelta(layer=0, index=1, values=tensors.encode(values, codec))],
    )  # fmt: skip
    monkeypatch.setattr(deltas, "build", lambda: (encode(honest), {}))
    liar.flip(2.0)()
    body, _ = cast("Any", deltas.build)()
    sent = decode(pb.Delta, body)
    assert sent.examples == 10
    np.testing.assert_allclose(tensors.decode(sent.experts[0].values, values.size), -2 * values, atol=0.02)


def test_a_liars_class_sums_are_of_other_labels_and_could_be_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly 2^32 - 1 examples in all, each label with the other's mean, and no sum longer than its count."""
    message = ClassSums.message
    monkeypatch.setattr(ClassSums, "message", message)
    monkeypatch.setattr("edge_runtime.federation.membership.Membership._hello", lambda _: pb.Hello())
    liar.claim_class_sums()
    sums = ClassSums(np.array([2, 2], np.float32), np.array([[2, 0], [0, 2]], np.float32))
    sent = decode(pb.ClassStatistics, sums.message("s", b"f" * 32))
    counts, rows = tensors.decode(sent.counts, 2), tensors.decode(sent.sums, 4).reshape(2, 2)
    assert 0.99 * liar.MOST < counts.sum() <= liar.MOST
    np.testing.assert_allclose(rows / counts[:, None], [[0, 0.999], [0.999, 0]], rtol=1e-5)


def test_the_noise_of_a_stranger_is_admitted() -> None:
    """It is as long as ten steps may be, and no longer: a stranger is refused for who it is, not for a mistake."""
    package = cast("Any", SimpleNamespace(manifest=SimpleNamespace(architecture=SimpleNamespace(bank_shape=SHAPE))))
    payload = encode(plan())
    delta = decode(pb.Delta, strangers._noise(package, "s", payload))
    context = DeltaContext(Identity("s", joined=True), plan(), None, 0, 2, SHAPE, {})
    taken = admit(delta, sha256(encode(delta)), context)
    assert delta.plan_digest == sha256(payload)
    assert taken.norms["expert"] == pytest.approx(0.02 * np.sqrt(SHAPE.size(BLOCK)))


def test_an_unknown_attack_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """It names those there are."""
    with pytest.raises(SystemExit) as ended:
        parse(["--only", "flipp"])
    assert ended.value.code == 2
    assert "no attack flipp; there are: examples" in capsys.readouterr().err
