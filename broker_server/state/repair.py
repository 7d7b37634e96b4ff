"""A start brings HEAD, the ledger, the versions' files and the spool together; what it cannot, it refuses by name.

Whatever was announced is put back into the ledger from the versions' files, and deltas that were accepted from the
spool. Only what no file holds any more is lost, and then a gateway starts only when its operator says so. A number that
was announced is never given to another version, nor that of a round to another round.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from broker_server.errors import StateError
from broker_server.rules.admission import most_examples, read_contribution
from broker_server.rules.norms import norms_of
from broker_server.rules.site_sums import SUMMED, body_of, claims_of
from broker_server.state.announced import Announced
from broker_server.state.ledger import Ledger
from broker_server.state.moments import notes_of
from broker_server.state.open_round import OpenRound
from broker_server.state.rows import DeltaRow, RoundRow
from broker_server.state.version_files import VersionRecord
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.experts import ExpertId
from edge_runtime.wire.messages import decode, ids
from edge_runtime.wire.secure.terms import masked_blocks

if TYPE_CHECKING:
    from broker_server.state.store import Store


def take_up(store: Store, now: float) -> None:
    """Bring the state directory's parts together; ``store.notes`` tells what was repaired. Args: now: s since 1970.

    Raises:
        StateError: when an announced version is lost and the operator did not accept that.
        StorageError: when the disk refuses.
    """
    _mend_rows(store)
    announced = _announced(store)
    before = _newest(store)
    lost = _put_versions_back(store, announced)
    if lost:
        _refuse_or_fall_back(store, announced, lost, now)
    repaired = _newest(store) != before
    repaired |= _put_round_back(store) or _close_unknown_round(store, announced.round, now)
    _put_deltas_back(store, now, repaired=repaired)
    _write_what_lacks(store)


def _mend_rows(store: Store) -> None:
    """Compare what the sealed files say with the ledger, whose bits nothing guards; the files are right.

    A kill while SQLite moves its log into the database, and a log that is damaged then, leave half of a transaction.
    """
    newest, damaged = _newest(store), list[str]()
    for number in store.versions.numbers():
        record = _record(store, number) if number <= newest else None
        if record is not None and not _is_in(store.ledger, record):
            _put_in(store, record)
            damaged.append(f"version {number}")
    last, known = OpenRound.read(store.folder), store.ledger.last_round()
    if last is not None and known is not None and known.closed is None and _same_round(known, last):
        plans = store.ledger.plans(last.round)
        if plans != last.plans and set(plans) <= set(last.plans):
            with store.ledger.transaction():
                store.ledger.add_plans(last.round, last.plans)
            damaged.append(f"the plans of round {last.round}")
    if damaged:
        with store.ledger.transaction():
            store.ledger.count_trained(_distrusted(store.ledger))
        store.notes.append(f"damaged in the ledger and written again: {', '.join(damaged)}")


def _distrusted(ledger: Ledger) -> dict[int, tuple[str, ...]]:
    """Return by version whose training is not in its bank; of a row that is damaged, and has no file any more, none."""
    names: dict[int, tuple[str, ...]] = {}
    for row in ledger.versions():
        with contextlib.suppress(StateError):
            names[row.version] = notes_of(row).distrusted
    return names


def _same_round(row: RoundRow, last: OpenRound) -> bool:
    return (row.round, row.extensions) == (last.round, last.extensions)


def _is_in(ledger: Ledger, record: VersionRecord) -> bool:
    """Return whether the ledger has all of a version: its row, its deltas as part of it, and its round as closed."""
    row, its_round = record.row, ledger.round(record.row.round)
    closed = its_round is not None and its_round.version == row.version
    return (
        ledger.version(row.version) == row
        and ledger.merged_keys(row.version) >= _keys(record)
        and (row.reason != "merge" or closed)
    )


def _keys(record: VersionRecord) -> set[tuple[str, int]]:
    return {(delta.device, delta.round) for delta in record.deltas}


def _newest(store: Store) -> int:
    row = store.ledger.version()
    return row.version if row is not None else -1


def _last_round(store: Store) -> int:
    row = store.ledger.last_round()
    return row.round if row is not None else 0


def _announced(store: Store) -> Announced:
    """Return what was announced: HEAD, or when that is damaged or missing, the newest that anything knows of."""
    try:
        head = Announced.read(store.folder)
        if head is not None:
            return head
    except StateError as error:
        store.notes.append(f"{error}; it is written again")
    row = store.ledger.version()
    known = Announced(row.version, row.digest, _last_round(store)) if row else Announced(-1, b"", 0)
    beyond = [number for number in store.versions.numbers() if number > known.version]
    record = _record(store, beyond[-1]) if beyond else None
    return known if record is None else Announced(beyond[-1], record.row.digest, max(known.round, record.row.round))


def _record(store: Store, number: int) -> VersionRecord | None:
    try:
        record = store.versions.read(number)
    except StateError as error:
        store.notes.append(str(error))
        return None
    if record is None or decode(pb.Version, record.row.payload).federation_digest != store.lineage.federation:
        return None
    return record


def _put_versions_back(store: Store, announced: Announced) -> list[int]:
    """Put the announced versions that the ledger lacks into it; return the numbers of those that are lost."""
    known = store.ledger.version()
    if known is not None and known.version == announced.version and known.digest != announced.digest:
        return [known.version]  # a ledger of another history
    lacking = range(_newest(store) + 1, announced.version + 1)
    records = {number: _record(store, number) for number in lacking}
    back = [number for number, record in records.items() if record is not None]
    for record in records.values():
        if record is not None:
            _put_in(store, record)
    if back:
        first = "was" if len(back) == 1 else "were"
        store.notes.append(
            f"version {announced.version} was announced, the ledger knew {known.version if known else 'none'}: "
            f"{_numbers(back)} {first} put back from {store.versions.folder}; devices that were revoked since are not "
            "known any more: revoke them again"
        )
    newest = store.ledger.version()
    whole = newest is not None and (newest.version, newest.digest) == (announced.version, announced.digest)
    return [] if whole or announced.version < _newest(store) else [n for n in lacking if n not in back] or [*lacking]


def _put_in(store: Store, record: VersionRecord) -> None:
    """Put all of a version into the ledger that is not in it."""
    ledger, row = store.ledger, record.row
    with ledger.transaction():
        merged = ledger.merged_keys(row.version)
        missing = [delta for delta in record.deltas if (delta.device, delta.round) not in merged]
        for delta in missing:
            if ledger.accepted_digest(delta.device, delta.round) is None:
                _accept(store, delta, row.created)
        ledger.fold(missing, row.version, notes_of(row).distrusted)
        if ledger.version(row.version) is None:
            for key, value in record.settings.items():
                ledger.put(key, value)
            ledger.keep_trust(record.trust)
        if ledger.version(row.version) != row:
            ledger.mend_version(row)
        if row.reason == "merge":
            before = ledger.round(row.round)
            base, opened = (before.base_version, before.opened) if before else (row.parent or 0, row.created)
            extensions = before.extensions if before else 0
            ledger.keep_round(RoundRow(row.round, base, opened, row.created, row.version, extensions))
            ledger.close_round(row.round, row.version, row.created)


def _refuse_or_fall_back(store: Store, announced: Announced, lost: list[int], now: float) -> None:
    newest = store.ledger.version()
    known = newest.version if newest else "none"
    what = (
        f"version {announced.version} was announced, the ledger knows {known}: "
        f"{_numbers(lost)} of {store.folder} {'is' if len(lost) == 1 else 'are'} lost"
        if known != announced.version
        else f"the ledger of {store.folder} has another version {known} than the one that was announced"
    )
    if not store.accept_loss:
        msg = (
            f"{what}; put a backup in its place with broker_server restore, or go on with the newest version that is "
            "whole and accept the loss"
        )
        raise StateError(msg).about("accept_loss")
    row = store.fall_back(announced.version, now)
    store.notes.append(f"{what}; version {row.version} is version {row.parent} again: the loss was accepted")


def _put_round_back(store: Store) -> bool:
    """Put the last round and its plans into a ledger that does not know them; return whether that was so."""
    last = OpenRound.read(store.folder)
    if last is None or last.round <= _last_round(store):
        return False
    if store.ledger.version(last.base_version) is None:
        return False
    with store.ledger.transaction():
        store.ledger.keep_round(RoundRow(last.round, last.base_version, last.opened, None, None, last.extensions))
        store.ledger.add_plans(last.round, last.plans)
    store.notes.append(f"round {last.round} was not in the ledger: it goes on with its {len(last.plans)} plans")
    return True


def _close_unknown_round(store: Store, number: int, now: float) -> bool:
    """Close a round whose plans went out and are lost, so that its number is not used again."""
    known = _last_round(store)
    if number <= known:
        return False
    with store.ledger.transaction():
        for lacking in range(known + 1, number + 1):
            store.ledger.keep_round(RoundRow(lacking, _newest(store), now, now, None, 0))
    store.notes.append(f"the plans of round {number} are lost: the next is round {number + 1}")
    return True


def _put_deltas_back(store: Store, now: float, *, repaired: bool) -> None:
    """Accept whole bodies in the spool that the ledger does not know: each was checked before it was written.

    A kill between body and row leaves one, and so does a lost write-ahead log; the device sends it again in the first
    case and not in the second. It counts once either way: the ledger has its digest from now on. What came before the
    rows that are kept was part of a version, and does not count again.
    """
    pruned = store.ledger.pruned
    for digest, body in store.spool.bodies(store.ledger.delta_digests()):
        try:
            said = body_of(body)
        except WireError:
            continue
        delta = claims_of(said) if isinstance(said, pb.PartialSum) else said
        plan = store.ledger.plan(delta.device, delta.plan_digest)
        planned = plan is not None
        if delta.masked and plan is None:
            continue  # masks hide it from all but the round of its plan
        known = store.ledger.accepted_digest(delta.device, delta.round) is not None or delta.round < pruned
        if known or not (planned or repaired) or delta.base_version > _newest(store):
            continue
        steps = decode(pb.Plan, plan).steps if plan is not None else delta.steps
        own = max(tier.batch_size for tier in store.manifest.tiers)
        examples = min(delta.examples, most_examples(steps, own, own))
        examples = delta.examples if isinstance(said, pb.PartialSum) else examples
        if isinstance(said, pb.PartialSum):
            norms = {SUMMED: float(said.devices)}
        else:
            norms = norms_of(read_contribution(delta, store.lineage.shape, 0, examples).deltas)
        row = DeltaRow(
            delta.device, delta.round, digest, len(body), examples, delta.loss_first, delta.loss_last,
            delta.step_ms, norms, _blocks(delta, plan),
        )  # fmt: skip
        with store.ledger.transaction():
            _accept(store, row, now)
        store.notes.append(f"a delta of {row.device} in round {row.round} was not in the ledger: it counts")


def _blocks(delta: pb.Delta, plan: bytes | None) -> tuple[ExpertId, ...]:
    if plan is not None and delta.masked:
        return masked_blocks(decode(pb.Plan, plan), delta)
    return ids(delta.experts)


def _accept(store: Store, row: DeltaRow, now: float) -> None:
    store.ledger.accept(row, now)
    verdict = pb.Verdict(kind=pb.DELTA, digest=row.digest, code=pb.ACCEPTED, round=row.round)
    store.ledger.decide(verdict, row.device, now)


def _write_what_lacks(store: Store) -> None:
    """Write HEAD and the newest version's file when they are not what the ledger says."""
    row = store.ledger.version()
    if row is None:
        return
    head = Announced(row.version, row.digest, _last_round(store))
    try:
        record, written = store.versions.read(row.version), Announced.read(store.folder)
    except StateError:
        record = written = None
    if record is None or record.row != row:
        store.versions.keep(VersionRecord(row, tuple(store.ledger.merged_into(row.version))))
    if not store.versions.has_bank(row.version):
        with contextlib.suppress(StateError):  # of a block that is damaged: whoever loads the version says so
            store.keep_bank(row)
    if written != head:
        head.write(store.folder)


def _numbers(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return f"version {numbers[0]}"
    return f"versions {numbers[0]} to {numbers[-1]}"
