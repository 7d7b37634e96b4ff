"""One suite for all engines: however the blocks are shared out, and whoever died, a merge has the same bytes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from carriers import Forked, Here, shards
from tiny_gateway import whole_story

from broker_server.engine import block_merging, sharded
from broker_server.engine.block_merging import BlockMerge, BlockMerging, BlocksBefore, Counted, MergedBlocks
from broker_server.engine.in_process import InProcess, SpoolBodies
from broker_server.engine.shard import Lacking, Shard, raw
from broker_server.errors import EngineError, UsageError
from broker_server.rules.admission import read_claims, read_contribution
from broker_server.rules.aggregate import Contribution
from broker_server.rules.agreement import Agreement
from broker_server.rules.norm_cuts import NormCuts
from broker_server.rules.norms import norms_of
from broker_server.rules.privacy import Privacy, Private
from broker_server.rules.ranges import ranges_of
from broker_server.rules.robust import Robust
from broker_server.rules.server_optimizer import MOMENTS, ServerOptimizer
from broker_server.rules.server_rules import ServerRules
from broker_server.rules.site_sums import SUMMED, SumOrigin, sum_message
from broker_server.state.rows import DeltaRow
from broker_server.state.shard_ledger import DELTA, FILE
from broker_server.state.spool import Spool
from broker_server.state.store import Store
from edge_runtime.wire import tensors
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.experts import HEAD, MEAN, BankShape, ExpertId
from edge_runtime.wire.messages import encode

SHAPE = BankShape((0, 2, 5), 4, 2, 1, 8, 3)
TRAINED = [block for block in SHAPE.ids() if block != MEAN]
ROBUST = Robust(directions=Agreement())
CASES: dict[str, dict[str, Any]] = {
    "soft": {},
    "int8 steps": {"rounded": True},
    "top-k": {"topk": True, "rounded": True},
    "top-k, robust": {"topk": True, "robust": ROBUST, "rounded": True},
    "robust, steps taken out": {"robust": ROBUST, "normalized": True},
    "steps taken out": {"normalized": True, "rounded": True},
    "momentum": {"optimizer": ServerOptimizer("momentum")},
    "FedAdam, int8 steps": {"optimizer": ServerOptimizer("adam"), "rounded": True},
    "moments of another optimizer": {"optimizer": ServerOptimizer("yogi"), "moments": "momentum"},
    "private": {"private": True, "rounded": True},
    "one delta": {"devices": 1},
    "exact": {"exact": True, "rounded": True},
    "exact, top-k, steps taken out, FedAdam": {
        "exact": True,
        "topk": True,
        "normalized": True,
        "optimizer": ServerOptimizer("adam"),
    },
    "nothing but the head": {"blocks": [HEAD]},
    "no deltas": {"devices": 0, "optimizer": ServerOptimizer("momentum")},
}


def rng(*seed: int) -> np.random.Generator:
    """Return numbers that depend on a seed alone."""
    return np.random.default_rng(seed)


def small(kind: int, number: int, *shape: int) -> np.ndarray:
    """Return small random values, float32."""
    return rng(kind, number).normal(0, 0.01, shape).astype(np.float32)


def accepted(spool: Spool, number: int, blocks: list[ExpertId], *, topk: bool) -> Counted:
    """Put a delta into the spool; some of them are stale, in some blocks."""
    codec = pb.INT8 if number % 2 else pb.FLOAT32
    values = {block: rng(number, *divmod(i, 100)).normal(0, 0.02, SHAPE.size(block)) for i, block in enumerate(blocks)}
    experts = [
        pb.ExpertDelta(layer=block.layer, index=block.index, values=tensors.encode(one.astype(np.float32), codec))
        for block, one in values.items()
    ]
    use = [
        pb.ExpertUse(layer=one.layer, index=one.index, routed=3.0 + number, seen=40.0)
        for one in blocks
        if topk and one != HEAD and not one.shared
    ]
    delta = pb.Delta(
        device=f"device-{number // 2 if number > 3 else number}", plan_digest=bytes(32), round=1 + number % 2,
        examples=5 + number, codec=codec, experts=experts, loss_first=1.0, loss_last=0.5, step_ms=1.0,
        steps=3 + number, label_counts=[1.0 + number, 2.0, 0.0] if HEAD in blocks else [], use=use,
    )  # fmt: skip
    body = encode(delta)
    digest = sha256(body)
    spool.keep(digest, body)
    norms = norms_of(read_contribution(delta, SHAPE, 0, delta.examples).deltas)
    claims = dataclasses.replace(
        read_claims(delta, SHAPE, 0, 4.5 + number), stale={block: (number + i) % 3 for i, block in enumerate(blocks)}
    )
    row = DeltaRow(delta.device, delta.round, digest, len(body), 5, 1.0, 0.5, 1.0, norms, tuple(blocks))
    return Counted(row, claims)


def case(spool: Spool, options: dict[str, Any]) -> tuple[BlockMerge, BlocksBefore]:
    """Return what a merge is asked, and what it begins with."""
    topk, count = options.get("topk", False), options.get("devices", 7)
    counted = []
    for number in range(count):
        chosen = [block for i, block in enumerate(TRAINED) if block == HEAD or (i * 7 + number * 5) % 3]
        counted.append(accepted(spool, number, options.get("blocks", chosen), topk=topk))
    optimizer = options.get("optimizer", ServerOptimizer())
    rules = ServerRules(
        optimizer, options.get("normalized", False), options.get("robust"), exact=options.get("exact", False)
    )
    limits: NormCuts | None = NormCuts({"expert": 0.12, "shared": 0.1, "head": 0.08}, 5.0, rules.normalized)
    private = None
    if options.get("private"):
        limits, planned = None, {block: 3 for block in TRAINED if block.layer != 2}
        private = Private(Privacy(0.5, 0.8), planned, b"k" * 32)
    rows = MOMENTS[options.get("moments", optimizer.kind)]
    sizes = {block: SHAPE.size(block) for block in SHAPE.ids()}
    before = BlocksBefore(
        {block: small(1, i, size) for i, (block, size) in enumerate(sizes.items())},
        {block: small(2, i, size) for i, (block, size) in enumerate(sizes.items()) if i % 2},
        {block: np.abs(small(3, i, rows, size)) for i, (block, size) in enumerate(sizes.items()) if rows and i % 3},
    )
    return BlockMerge(counted, rules, limits, options.get("rounded", False), private), before


def bits(merged: MergedBlocks) -> dict[str, Any]:
    """Return what a merge made, to be compared."""
    arrays = {name: getattr(merged, name) for name in ("values", "residuals", "moments")}
    told = {name: {block: (one.shape, raw(one)) for block, one in some.items()} for name, some in arrays.items()}
    limited = {digest: list(listed) for digest, listed in merged.limited.items() if listed}
    return told | {"updates": dict(merged.updates), "devices": dict(merged.devices), "limited": limited}


def test_sums_of_sites_make_the_same_bytes_as_their_devices(tmp_path: Path) -> None:
    """Four of seven deltas come as the sum of a site, on every layout, with steps taken out."""
    spool = Spool(tmp_path / "spool")
    merge, before = case(spool, {"exact": True, "normalized": True, "rounded": True})
    fresh = [one._replace(claims=dataclasses.replace(one.claims, stale={}, staleness=0)) for one in merge.counted]
    merge = dataclasses.replace(merge, counted=fresh, limits=None)
    alone = InProcess(spool, SHAPE, topk=False)
    expected = bits(alone.merge(merge, before))
    below = BlockMerging(SpoolBodies(spool, SHAPE), SHAPE, topk=False)
    sums = below.exact_sums(dataclasses.replace(merge, counted=fresh[:4]))[0]
    body = sum_message(SumOrigin("site", bytes(32), 1, 0, 4, 40, 1.0, 0.5, 1.0, 0), sums)
    spool.keep(sha256(body), body)
    row = DeltaRow("site", 1, sha256(body), len(body), 40, 1.0, 0.5, 1.0, {SUMMED: 4.0}, tuple(sorted(sums.deltas)))
    summed = dataclasses.replace(merge, counted=[*fresh[4:], Counted(row, Contribution("site", 1, 0.0, 0, {}))])
    assert bits(alone.merge(summed, before)) == expected
    for count in (1, 2, 4):
        engine, _ = shards(tmp_path / f"{count}", spool, SHAPE, count, topk=False)
        assert bits(engine.merge(summed, before)) == expected
        engine.close()
    assert list(alone.grams([row])) == list(alone.grams([]))  # what compares single updates has none of a site


@pytest.mark.parametrize("name", CASES)
def test_every_layout_makes_the_same_bytes(tmp_path: Path, name: str) -> None:
    """One process, and 1, 2 and 4 shards; a merge that is asked for twice, and one from another ledger."""
    spool, topk = Spool(tmp_path / "spool"), CASES[name].get("topk", False)
    merge, before = case(spool, CASES[name])
    rows = [one.row for one in merge.counted]
    alone = InProcess(spool, SHAPE, topk=topk)
    expected, grams = bits(alone.merge(merge, before)), list(alone.grams(rows))
    assert len(expected["values"]) > 3 or name in ("nothing but the head", "no deltas")
    for count in (1, 2, 4):
        engine, handles = shards(tmp_path / f"{count}", spool, SHAPE, count, topk=topk)
        assert bits(engine.merge(merge, before)) == expected
        kept = [handle.asked.count("keep") for handle in handles]
        assert bits(engine.merge(merge, before)) == expected
        assert [handle.asked.count("keep") for handle in handles] == kept
        assert [(g.block, g.holders, g.products.tobytes()) for g in engine.grams(rows)] == [
            (g.block, g.holders, g.products.tobytes()) for g in grams
        ]


def test_a_merge_in_small_parts_has_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one delta at a time, on the way and in memory."""
    spool = Spool(tmp_path / "spool")
    merge, before = case(spool, CASES["robust, steps taken out"])
    expected = bits(InProcess(spool, SHAPE, topk=False).merge(merge, before))
    for module, name in ((sharded, "SENT_BYTES"), (block_merging, "FOLD_BYTES"), (block_merging, "ROBUST_BYTES")):
        monkeypatch.setattr(module, name, 1)
    assert bits(shards(tmp_path / "2", spool, SHAPE, 2, topk=False)[0].merge(merge, before)) == expected


def test_a_shard_killed_at_every_write_to_its_ledger_makes_the_same_bytes(tmp_path: Path) -> None:
    """Kill -9 before each statement in turn, those of opening and of letting go included; the call is made again."""
    spool = Spool(tmp_path / "spool")
    merge, before = case(spool, CASES["FedAdam, int8 steps"] | {"devices": 1, "blocks": TRAINED[:1]})
    expected = bits(InProcess(spool, SHAPE, topk=False).merge(merge, before))
    strike, struck = 0, True
    while struck:
        of = lambda place, layout, strike=strike: Forked(place, layout, strike)  # noqa: E731
        engine, (handle,) = shards(tmp_path / f"at-{strike}", spool, SHAPE, 1, topk=False, of=of)
        assert bits(engine.merge(merge, before)) == expected
        engine.merged([])
        strike, struck = strike + 1, handle.deaths > 0
    assert strike > 20


def test_what_is_sent_ahead_is_not_sent_again(tmp_path: Path) -> None:
    """Parts of accepted deltas are there when the merge comes; what is merged goes."""
    spool = Spool(tmp_path / "spool")
    merge, before = case(spool, CASES["soft"])
    engine, handles = shards(tmp_path / "2", spool, SHAPE, 2, topk=False, ahead=True)
    for one in merge.counted:
        engine.accepted(one.row.digest)
    engine._queue.put(None)
    engine._ahead.join()
    assert all(handle.shard._lacking([one.row for one in merge.counted], ()) == Lacking() for handle in handles)
    engine.merge(merge, before)
    waiting = merge.counted[0].row.digest
    engine.merged([waiting])
    assert [handle.shard._ledger.names(DELTA) for handle in handles] == [{waiting}] * 2


@pytest.mark.parametrize("damage", ["gone", "garbage", "row"])
def test_a_damaged_ledger_is_begun_anew(tmp_path: Path, damage: str) -> None:
    """Everything in it can be sent again."""
    spool = Spool(tmp_path / "spool")
    merge, before = case(spool, CASES["int8 steps"])
    engine, handles = shards(tmp_path / "2", spool, SHAPE, 2, topk=False)
    expected = bits(engine.merge(merge, before))
    ledger = handles[0].shard._ledger
    if damage == "row":
        ledger._execute("UPDATE held SET data = x'00'")
    else:
        ledger.close()
        for path in (tmp_path / "2" / "0").iterdir():
            path.unlink()
        if damage == "garbage":
            (tmp_path / "2" / "0" / FILE).write_bytes(b"no database" * 1000)
    again = shards(tmp_path / "2", spool, SHAPE, 2, topk=False)[0]
    assert bits(again.merge(merge, before)) == expected


def test_a_ledger_of_another_layout_is_begun_anew(tmp_path: Path) -> None:
    """Two shards become three in the same folders: nobody takes another's part of a delta for its own."""
    spool = Spool(tmp_path / "spool")
    merge, before = case(spool, CASES["soft"])
    expected = bits(InProcess(spool, SHAPE, topk=False).merge(merge, before))
    for count in (2, 3):
        assert bits(shards(tmp_path / "same", spool, SHAPE, count, topk=False)[0].merge(merge, before)) == expected


def test_a_shard_that_keeps_nothing_is_given_up_by_name(tmp_path: Path) -> None:
    """It does not stop a gateway for good."""

    class Forgetful(Here):
        def ask(self, call: str, *arguments: Any) -> Any:
            return super().ask(*(("release", []) if call == "keep" else (call, *arguments)))

    spool = Spool(tmp_path / "spool")
    merge, before = case(spool, CASES["soft"])
    of = lambda place, layout: Forgetful(Shard(place, layout))  # noqa: E731
    with pytest.raises(EngineError, match=r"shard 0, 1 was sent 10 times"):
        shards(tmp_path / "2", spool, SHAPE, 2, topk=False, of=of)[0].merge(merge, before)


def test_ranges_are_whole_and_about_equal() -> None:
    """Every block once, ascending; with top-k gates each layer in one."""
    for topk in (False, True):
        for count in (1, 2, 3, 4):
            ranges = ranges_of(SHAPE, count, topk=topk)
            assert [block for one in ranges for block in one] == list(SHAPE.ids())
            assert all(ranges)
            sizes = [sum(map(SHAPE.size, one)) for one in ranges]
            assert topk or max(sizes) < 2 * min(sizes)
            layers = [block.layer for one in ranges for block in one[:1]]
            assert not topk or len(set(layers)) == count
    with pytest.raises(UsageError, match=r"5 shards for a bank of 4 layers"):
        ranges_of(SHAPE, 5, topk=True)


def test_a_gateway_over_shards_makes_the_versions_of_one_process(tmp_path: Path) -> None:
    """Through rounds, restarts and repairs of the real gateway: the same digests."""
    package = tiny.make_package(tmp_path / "package")
    whole_story(tmp_path / "alone", package, rounds=2)

    def engine_of(store: Store) -> Any:
        return shards(tmp_path / "shards", store.spool, store.lineage.shape, 2, topk=False, ahead=False)[0]

    for rounds in (1, 2):  # the second start finds what the first left
        whole_story(tmp_path / "sharded", package, rounds=rounds, engine_of=engine_of)
    digests = []
    for folder in ("alone", "sharded"):
        store = Store.open_read_only(tmp_path / folder)
        digests.append([row.digest for row in store.ledger.versions()])
        store.close()
    assert len(digests[0]) == 3
    assert digests[0] == digests[1]
