"""Where a round under masks stands, as the ledger says it and as a start takes it up."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from broker_server.rounds.round_status import RoundStatus
from broker_server.rules import masking
from broker_server.rules.masking import Lacking, Phase
from broker_server.rules.round import Event
from broker_server.state.mask_tables import MaskRow
from broker_server.state.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.messages import decode
from edge_runtime.wire.secure.lists import from_bits, read_members
from edge_runtime.wire.secure.member import Share
from edge_runtime.wire.secure.members import Attendance, MemberList
from edge_runtime.wire.secure.terms import Terms


@dataclass
class MaskedState:
    """The round under masks that runs.

    Args:
        row: as the ledger has it.
        terms: of all its circles.
        since: when its step began, monotonic seconds.
        plans: digest of each device's plan.
        came: devices whose body of a kind is kept.
        members: the list, once it is written.
        places: in it, by device.
        dealt: who takes part further; blobs: digest of what each of them is told, by place.
        attendance: once survivors are named.
        answers: by place; lacks: what of them does not yet do.
        reason: why no more deltas are taken.
        untold: its last step is in the ledger, and not all members were told.
    """

    row: MaskRow
    terms: Terms
    since: float
    plans: dict[str, bytes]
    came: dict[int, set[str]] = field(default_factory=lambda: {pb.KEYS: set(), pb.SHARES: set(), pb.ANSWER: set()})
    members: MemberList | None = None
    places: dict[str, int] = field(default_factory=dict)
    dealt: frozenset[int] = frozenset()
    blobs: dict[int, bytes] = field(default_factory=dict)
    attendance: Attendance | None = None
    answers: dict[int, dict[Share, bytes]] = field(default_factory=dict)
    lacks: Lacking | None = None
    reason: Event = Event.DEADLINE
    untold: bool = False

    @property
    def phase(self) -> Phase:
        """How far it is."""
        row = self.row
        steps = (row.members, row.dealt, row.survivors, row.sums)
        return list(Phase)[next((place for place, step in enumerate(steps) if step is None), len(steps))]

    @property
    def listed(self) -> MemberList:
        """The list."""
        if self.members is None:
            msg = f"round {self.row.round} has no list of members yet"
            raise SecureError(msg)
        return self.members

    def names(self, places: Collection[int]) -> set[str]:
        """Return the devices at some places."""
        return {device for device, place in self.places.items() if place in places}

    def out(self, planned: Collection[str]) -> set[str]:
        """Return who has a plan and takes no part any more. Args: planned: devices."""
        if self.members is None:
            return set()
        stays = set(self.places) if self.row.dealt is None else self.names(self.dealt)
        return set(planned) - stays

    def messages(self) -> Iterator[pb.MaskRound]:
        """Yield what members are told of how far it is, each of those that take part further."""
        row = self.row
        for device, place in sorted(self.places.items()):
            if row.dealt is None or place in self.dealt:
                message = pb.MaskRound(device=device, round=row.round, plan_digest=self.plans[device])
                message.members, message.dealt = self.listed.context, self.blobs.get(place, b"")
                if row.survivors is not None:
                    message.survivors = sha256(row.survivors)
                yield message

    def take_up(self, store: Store) -> None:
        """Take up all that the ledger has of the round; blobs are written again.

        Raises:
            StorageError: when the disk refuses.
        """
        row = self.row
        if row.members is not None:
            self._set_list(store, row.members)
        if row.dealt is not None:
            self._set_dealt(store, from_bits(row.dealt, len(self.listed.keys)))
        if row.survivors is not None:
            self._set_survivors(store, row.survivors)

    def _set_list(self, store: Store, data: bytes) -> None:
        """Take up the list. Args: data: pb.MaskMembers."""
        self.members = read_members(data)
        store.blobs.put(data, flush=False)
        by_digest = {one.digest: place for place, one in enumerate(self.members.keys)}
        for device, body in store.ledger.mask_bodies(self.row.round, pb.KEYS).items():
            place = by_digest.get(sha256(body))
            if place is not None:
                self.places[device] = place

    def _set_dealt(self, store: Store, dealt: frozenset[int]) -> None:
        """Take up who dealt, and make what each of them is told: the same bytes after a start."""
        self.dealt = dealt
        shares = self._shares(store)
        for place in sorted(dealt):
            data = masking.write_dealt(self.listed, place, dealt, shares)
            self.blobs[place] = store.blobs.put(data, flush=False)

    def _shares(self, store: Store) -> dict[int, dict[int, bytes]]:
        """Return what each of those that dealt dealt, by its place and the holder's."""
        shares = {}
        for device, body in store.ledger.mask_bodies(self.row.round, pb.SHARES).items():
            place = self.places.get(device)
            if place is not None and place in self.dealt:
                message = decode(pb.MaskShares, body)
                shares[place] = {one.place: one.data for one in message.shares}
        return shares

    def blob(self, store: Store, digest: bytes) -> bytes | None:
        """Return what members are told, by its digest: a file of it may have been removed; None for another digest."""
        if self.members is not None and digest == self.members.context:
            return self.row.members
        if self.row.survivors is not None and digest == sha256(self.row.survivors):
            return self.row.survivors
        place = next((place for place, told in self.blobs.items() if told == digest), None)
        return None if place is None else masking.write_dealt(self.listed, place, self.dealt, self._shares(store))

    def _set_survivors(self, store: Store, data: bytes) -> None:
        """Take up whose deltas are summed, and the answers that came. Args: data: pb.MaskSurvivors."""
        message, count = decode(pb.MaskSurvivors, data), len(self.listed.keys)
        self.attendance = Attendance(from_bits(message.dealt, count), from_bits(message.survivors, count))
        store.blobs.put(data, flush=False)
        self.answers, self.lacks = {}, Lacking(self.listed, self.attendance)
        for device, body in store.ledger.mask_bodies(self.row.round, pb.ANSWER).items():
            self.take_answer(device, decode(pb.MaskAnswer, body))

    def take_answer(self, device: str, answer: pb.MaskAnswer) -> None:
        """Take up an answer that is in the ledger; the same once more changes nothing."""
        place = self.places[device]
        if self.attendance is not None and self.lacks is not None and place not in self.answers:
            self.answers[place] = masking.told(self.listed, place, self.attendance, answer)
            self.lacks.take(self.answers[place])


def taken_up(store: Store, status: RoundStatus, now: float) -> MaskedState | None:
    """Return a round as the ledger has it; None: it does not go under masks.

    Args:
        store: opened state.
        status: of the round.
        now: monotonic seconds.
    """
    row = store.ledger.masks(status.number)
    if row is None:
        return None
    plans = {device: sha256(payload) for device, payload in status.plans.items()}
    state = MaskedState(row, Terms.of(pb.MaskTerms.FromString(row.terms)), now, plans)
    for kind, devices in state.came.items():
        devices |= set(store.ledger.mask_bodies(row.round, kind))
    state.take_up(store)
    return state
