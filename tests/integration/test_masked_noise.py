"""[secure] with [privacy]: devices add noise before masks, sums are theirs bit for bit, and each is counted once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from masked_federation import SECURE, SETTINGS, TRAIN, Federation, plain_sum

from broker_server.accounting import spent
from broker_server.config import GatewayConfig
from broker_server.errors import UsageError
from broker_server.privacy_config import PrivacyTable
from broker_server.rules.round import State
from broker_server.state.privacy_account import PrivacyAccount
from broker_server.views.masks import masks_words, read_masks
from broker_server.views.reading import reading
from broker_server.views.status import read_status
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import SecureError, WireError
from edge_runtime.wire.experts import CLASS_SUMS
from edge_runtime.wire.messages import decode, encode, refs
from edge_runtime.wire.secure.terms import Terms

pytest.importorskip("dp_accounting", reason="the extra [privacy] is not installed")

FIVE = tuple(f"d{number}" for number in range(5))
NOISE = 0.5
ONE_MERGE = 1.01 * spent([(NOISE, 1)], 1e-5)
"""Epsilon that one merge has room in, and two have not."""


def private(folder: Path, epsilon: float = 1e6, **settings: Any) -> Federation:
    """Return a federation whose devices add noise."""
    return Federation(folder, privacy=table(epsilon), **settings)


def table(epsilon: float = 1e6) -> PrivacyTable:
    """Return settings of a promise."""
    return PrivacyTable(enabled=True, noise=NOISE, epsilon=epsilon)


def releases(federation: Federation) -> dict[float, int]:
    """Return what is counted on the disk."""
    account = PrivacyAccount.read(federation.folder / "gateway")
    assert account is not None
    return dict(account.releases)


def opened(federation: Federation) -> list[int]:
    """Return the circles of round 1 whose sums were opened."""
    row = federation.store.ledger.masks(1)
    assert row is not None
    return [one["circle"] for one in row.told["circles"] if one["opened"]]


def terms_of(federation: Federation) -> Terms:
    """Return the terms of round 1."""
    row = federation.store.ledger.masks(1)
    assert row is not None
    return Terms.of(pb.MaskTerms.FromString(row.terms))


def test_a_version_is_the_sum_of_the_survivors_integers_with_their_noise(tmp_path: Path) -> None:
    """One of five leaves after dealing; bit for bit, of the circles that enough are left of; and it is counted once."""
    federation = private(tmp_path)
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "deltas")
    federation.kill("d1")
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    terms, circles = terms_of(federation), opened(federation)
    assert circles
    plain = plain_sum(federation.trained, federation.bank(0), terms, set(FIVE) - {"d1"}, circles)
    assert federation.bank(1).digest() == plain.digest()
    for circle in circles:
        said = [values[circle] for values in federation.trained.values() if circle in values]
        # An update has B in all of its coordinates together, noise a deviation of sqrt(V) in each.
        deviation = float(np.std(np.concatenate([one[:-3] for one in said])))
        assert deviation == pytest.approx(terms.variances[circle] ** 0.5, rel=0.3)
    assert releases(federation) == {NOISE: 1}
    with reading(federation.folder / "gateway") as ledger:
        status = read_status(ledger, 0.0)
    assert f"noise of {NOISE:g} times the clip" in masks_words(status.secure)
    assert status.privacy["epsilon"] == round(spent([(NOISE, 1)], 1e-5), 4)
    federation.kill_gateway()


def test_a_kill_draws_no_second_noise_and_counts_no_second_release(tmp_path: Path) -> None:
    """A device is killed once it trained, the gateway once survivors are named: the budget had room for just one."""
    federation = private(tmp_path, ONE_MERGE, train=replace(TRAIN, steps=1))
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "shares" and federation.devices["d2"].work.unmasked is not None)
    before = federation.devices["d2"].work.unmasked
    federation.kill("d2")
    federation.start("d2")
    after = federation.devices["d2"].work.unmasked
    assert before is not None
    assert after is not None
    assert all((after.values[circle] == values).all() for circle, values in before.values.items())
    federation.run(lambda: federation.phase() == "answers")
    assert releases(federation) == {NOISE: 1}  # before any sum can be opened
    federation.kill_gateway()
    federation.start_gateway()
    federation.run(lambda: federation.conductor.state is State.FINISHED)
    assert releases(federation) == {NOISE: 1}
    plain = plain_sum(federation.trained, federation.bank(0), terms_of(federation), FIVE, opened(federation))
    assert federation.bank(1).digest() == plain.digest()
    federation.kill_gateway()


def test_a_round_that_nobody_answers_stays_counted_and_a_spent_budget_plans_no_other(tmp_path: Path) -> None:
    """From when survivors are named answers can open it, so it costs what it costs, although none came."""
    federation = private(tmp_path, ONE_MERGE)
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "answers")
    federation.kill(*FIVE)
    federation.run(lambda: bool(federation.events("masks_failed")))
    assert releases(federation) == {NOISE: 1}
    assert federation.conductor.state is State.FINISHED
    assert federation.events("privacy")[-1]["left"] == 0
    federation.start(*FIVE)
    for _ in range(30):
        federation.step()
    assert federation.conductor.round == 1
    federation.kill_gateway()


def test_too_few_survivors_have_too_little_noise_and_nothing_is_opened_or_counted(tmp_path: Path) -> None:
    """Two are left of five; and a device takes no list that would open its circle with fewer than the plan says."""
    federation = private(tmp_path)
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "shares")
    row = federation.store.ledger.masks(1)
    assert row is not None
    lower = decode(pb.MaskMembers, row.members or b"")
    whole = next(circle for circle in lower.circles if circle.least == 4)  # what all five train: one may leave
    whole.least = 3
    with pytest.raises(SecureError, match="opened from 3 survivors on, the plan's noise is for 4"):
        federation.devices["d0"].work.masks._member_of(encode(lower))
    federation.run(lambda: federation.phase() == "deltas")
    federation.kill("d0", "d1", "d2")
    federation.run(lambda: bool(federation.events("masks_failed")))
    assert releases(federation) == {}
    assert federation.store.ledger.version(1) is None
    federation.kill_gateway()


def test_who_knows_masks_without_noise_gets_no_plan(tmp_path: Path) -> None:
    """Its delta would have none; the operator is told which device it is."""
    federation = private(tmp_path)
    federation.start(*FIVE, "old")
    membership = federation.devices["old"].device._membership
    hello = membership._hello
    membership._hello = lambda: of_version_1(hello())  # type: ignore[method-assign]
    federation.run(lambda: federation.phase() == "shares")
    assert set(federation.store.ledger.plans(1)) == set(FIVE)
    with reading(federation.folder / "gateway") as ledger:
        told = read_masks(ledger, enabled=True, private=True)
    assert "runtime knows no masks with noise: old" in masks_words(told)
    federation.kill_gateway()


def of_version_1(hello: pb.Hello) -> pb.Hello:
    """Return a Hello of a runtime of before noise."""
    hello.masks = 1
    return hello


def test_a_round_that_was_planned_without_noise_is_not_opened_under_a_promise(tmp_path: Path) -> None:
    """[privacy] is switched on while it runs: it fails, uncounted, and the next has noise."""
    federation = Federation(tmp_path)
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "deltas")
    federation.kill_gateway()
    federation.config = replace(federation.config, privacy=table())
    federation.start_gateway()
    federation.run(lambda: bool(federation.events("masks_failed")))
    assert "without the noise" in federation.events("masks_failed")[0]["reason"]
    assert releases(federation) == {}
    federation.run(lambda: federation.phase(2) == "shares")
    row = federation.store.ledger.masks(2)
    assert row is not None
    assert pb.MaskTerms.FromString(row.terms).whole_norm > 0
    federation.kill_gateway()


def test_settings_that_devices_noise_does_not_cover_are_refused_by_name() -> None:
    """Class sums have none, and integers hold no noise of any size."""
    assert GatewayConfig(Path("package"), **SETTINGS, privacy=table()).privacy.enabled
    for changed, word in (
        ({"privacy": replace(table(), class_noise=1.0)}, r"privacy\.class_noise = 0"),
        ({"privacy": table(), "secure": replace(SECURE, class_sums=True)}, r"secure\.class_sums"),
        ({"privacy": replace(table(), noise=0.001)}, r"privacy\.noise of 0\.01 to 64"),
    ):
        with pytest.raises(UsageError, match=word):
            GatewayConfig(Path("package"), **(SETTINGS | changed))


def test_a_device_refuses_class_sums_beside_noise(tmp_path: Path) -> None:
    """Their sum would have none; it was a KeyError once, after training."""
    federation = private(tmp_path)
    federation.start(*FIVE)
    federation.run(lambda: federation.phase() == "keys")
    plan = decode(pb.Plan, federation.store.ledger.plans(1)["d0"])
    terms = plan.masks[0]
    terms.class_step, terms.class_examples = 1.0, 3.0
    terms.circles.append(pb.CircleTerms(number=63, blocks=refs([CLASS_SUMS]), variance=16, least=3))
    with pytest.raises(WireError, match="class sums beside noise"):
        federation.devices["d0"].work.take(encode(plan))
    federation.kill_gateway()
