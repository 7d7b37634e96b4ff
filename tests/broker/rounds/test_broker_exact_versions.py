"""Versions of exact sums: noted, made again by their own rule, equal whoever came first; and what goes against them."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
from tiny_gateway import TRAIN, Gateway, whole_story

from broker_server.config import GatewayConfig
from broker_server.config_tables import Limits
from broker_server.errors import UsageError
from broker_server.privacy_config import PrivacyTable
from broker_server.rounds.merging import Merging
from broker_server.rules.weights import Caps
from broker_server.server_config import RobustMerging, Server
from broker_server.state.moments import notes_of
from broker_server.state.store import Store

EXACT = {
    "server": Server(exact_sums=True),
    "limits": Limits(weight_multiple=0, weight_share=1, norm_clip=0, most_examples=8),
}


def test_a_version_is_made_again_by_the_rule_that_made_it(tmp_path: Path) -> None:
    """Whatever the settings say by then; a head of exact class sums likewise."""
    package = tiny.make_package(tmp_path / "package")
    gateway = Gateway(tmp_path / "state", package, **EXACT)
    body = gateway.hello_with("a", ["rose leaf"], [0])
    gateway.statistics("a", body)
    gateway.hello("b")
    gateway.tick()
    for number, device in enumerate("ab"):
        gateway.train(device, value=0.013 * (number + 1), spread=0.7)
    gateway.tick()
    gateway.close()
    store = Store.open(tmp_path / "state", package, 1.0)
    merging = Merging(store, train_head=False, caps=Caps())
    rows = store.ledger.versions()
    assert [row.reason for row in rows] == ["initial", "head", "merge"]
    for row in rows[1:]:
        assert notes_of(row).rules.exact
        step = merging.rederived(row)
        assert step is not None
        assert step.bank.digest() == row.digest
    store.close()


def test_who_comes_first_changes_no_bit(tmp_path: Path) -> None:
    """Devices' names are the order of folding; here what they send changes hands."""
    package = tiny.make_package(tmp_path / "package")
    digests = []
    for values in ((0.1, 0.37, 0.9), (0.9, 0.1, 0.37)):
        gateway = Gateway(tmp_path / f"{values}", package, rounds=1, **EXACT)
        gateway.hello("a", "b", "c")
        gateway.tick()
        for device, value in zip("abc", values, strict=True):
            gateway.train(device, value=value, spread=value / 3)
        gateway.tick()
        plans = [tuple((one.layer, one.index) for one in gateway.plan(device)[0].train) for device in "abc"]
        digests.append((gateway.conductor.row.digest, gateway.conductor.row.version, plans))
        gateway.close()
    shared = [block for block in digests[0][2][0] if all(block in train for train in digests[0][2])]
    assert shared  # some block has all three
    assert digests[0][1] == digests[1][1] == 1
    blocks = [Store.open_read_only(tmp_path / f"{values}") for values in ((0.1, 0.37, 0.9), (0.9, 0.1, 0.37))]
    banks = [store.lineage.load(1)[1] for store in blocks]
    for layer, index in shared:
        one, other = (bank.block(tiny.ExpertId(layer, index)) for bank in banks)
        assert one.tobytes() == other.tobytes()
    for store in blocks:
        store.close()


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"limits": Limits()}, r"weight_multiple = 0 \(10 came\); limits.weight_share = 1 \(0.25 came\)"),
        ({"limits": Limits(weight_multiple=0, weight_share=1)}, r"limits.norm_clip = 0 \(1.5 came\)"),
        ({"robust": RobustMerging(enabled=True)}, r"robust.enabled = false"),
        (
            {"privacy": PrivacyTable(enabled=True), "limits": Limits(0, 0, 0, 1)},
            r"privacy.enabled = false|privacy.enabled wants",
        ),
    ],
)
def test_settings_that_need_all_deltas_at_one_place_are_refused(fields: dict[str, object], wanted: str) -> None:
    """By name, with what came and what to do."""
    with pytest.raises(UsageError, match=wanted):
        GatewayConfig(Path("package"), train=TRAIN, **(EXACT | fields))


def test_exact_sums_are_off_unless_they_are_asked_for(tmp_path: Path) -> None:
    """A version that was made without notes nothing of them, and keeps its bits."""
    package = tiny.make_package(tmp_path / "package")
    whole_story(tmp_path / "state", package)
    store = Store.open_read_only(tmp_path / "state")
    row = store.ledger.version()
    assert row is not None
    assert row.server == ""
    store.close()
