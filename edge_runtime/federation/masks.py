"""What a device has at hand of a round under masks: its root, what the gateway told it of others, what it sends next.

Kept in sealed records: ``masks`` (plan, root, what was accepted so far; as body its MaskKeys), and ``mask_members``,
``mask_dealt`` and ``mask_survivors`` as they came. The root is on the disk before its keys are sent, and all else
follows from it and from these, so what is sent again after a kill has the same bytes. Of each of the three a device
takes one; another one is refused, whoever signs it. SPEC.md, "Rounds under masks".
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from edge_runtime.store import Record, Store
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import SecureError, WireError
from edge_runtime.wire.secure.fixed_point import Integers
from edge_runtime.wire.secure.lists import from_bits, read_members, sealed
from edge_runtime.wire.secure.member import Member, public_keys
from edge_runtime.wire.secure.members import Attendance
from edge_runtime.wire.secure.signed_keys import KeySigner

_RECORD: Final = "masks"
_PARTS: Final = ("members", "dealt", "survivors")
"""What the gateway tells, in the order in which it does."""
ROOT_BYTES: Final = 32


class Masks:
    """Args: store: of this device; device: its id; signer: signs its keys, and checks those of others; None: nobody's.

    What this device has decides, not what a plan says: with a signer it masks among members who signed, or not at all.
    """

    def __init__(self, store: Store, device: str, signer: KeySigner | None = None) -> None:
        self._store, self._device, self._signer = store, device, signer
        record = store.recall(_RECORD)
        self._head: dict[str, Any] = dict(record.head) if record is not None else {}
        self._keys = record.body if record is not None else b""
        self._named: dict[str, bytes] = {}
        self._member: Member | None = None

    @property
    def active(self) -> bool:
        """Whether there is a round under masks."""
        return bool(self._head)

    @property
    def plan_digest(self) -> bytes:
        """Digest of its plan; empty without one."""
        return bytes.fromhex(self._head.get("plan", ""))

    @property
    def round(self) -> int:
        """Number of its round; 0 without one."""
        return int(self._head.get("round", 0))

    @property
    def ready(self) -> bool:
        """Whether it is known who dealt, so that values can be masked."""
        return bool(self._head.get("dealt"))

    def begin(self, plan: pb.Plan, digest: bytes) -> None:
        """Take part under a plan: with the root that it has, or a new one. Args: digest: of the plan's payload."""
        if self.plan_digest == digest:
            return
        self.drop()
        if not plan.masks:
            return
        root = secrets.token_bytes(ROOT_BYTES)
        public = public_keys(root, [circle.number for circle in plan.masks[0].circles])
        masking = [pb.CircleKey(circle=circle, key=key) for circle, key in public.masking.items()]
        keys = pb.MaskKeys(device=self._device, plan_digest=digest, sharing=public.sharing, masking=masking)
        if self._signer is not None and not self._signer.fault:
            keys.round = plan.round
            self._signer.sign(keys)
        self._keys = messages.encode(keys)
        self._head = {"plan": digest.hex(), "round": plan.round, "root": root.hex(), "accepted": []}
        least = {str(circle.number): circle.least for circle in plan.masks[0].circles if circle.least}
        self._head |= {"least": least} if least else {}
        self._write()

    def drop(self) -> None:
        """Forget the round; its root serves no other."""
        if self._head:
            self._store.remove(_RECORD)
            for part in _PARTS:
                self._store.remove(f"mask_{part}")
        self._head, self._keys, self._named, self._member = {}, b"", {}, None

    def let_go(self, round_number: int) -> None:
        """Forget a round whose version is announced. Args: round_number: of the version."""
        if self._head and round_number >= self.round:
            self.drop()

    # what the gateway tells

    def take(self, payload: bytes) -> None:
        """Take a MaskRound; one of another plan is passed over.

        Raises:
            WireError: when the bytes are none for this device, or it names another list, or others that dealt or
                survived, than before.
        """
        message = messages.decode(pb.MaskRound, payload)
        if message.device != self._device:
            raise WireError(pb.MALFORMED, f"a round of {message.device} came on the topic of {self._device}")
        if not self._head or message.plan_digest != self.plan_digest:
            return
        for part in _PARTS:
            told, kept = getattr(message, part), self._head.get(part, "")
            if told and kept and told.hex() != kept:
                raise WireError(pb.MALFORMED, f"the gateway tells of other {part} than it did before in this round")
            if told:
                self._named[part] = told

    def wanted(self) -> list[bytes]:
        """Return the digests of blobs that lack."""
        lacking = [digest for part, digest in self._named.items() if part not in self._head]
        return [digest for digest in lacking if not self._store.has_blob(digest)]

    def advance(self) -> None:
        """Take up the blobs that are here, each in its turn.

        Raises:
            WireError, SecureError: when one is none, or not safe; the round is over for this device.
        """
        if self._head and self._signer is not None and self._signer.fault:
            raise SecureError(self._signer.fault)
        for part in _PARTS:
            if part in self._head:
                continue
            data = self._store.blob(self._named[part]) if part in self._named else None
            if data is None:
                return
            checks = {"members": self._check_members, "dealt": self._check_dealt, "survivors": self._check_survivors}
            checks[part](data)
            self._store.write(f"mask_{part}", Record({}, data))
            self._head[part] = self._named[part].hex()
            self._write()

    # what it sends

    def body(self) -> tuple[pb.Kind, bytes] | None:
        """Return what is to be sent next and was not accepted yet; None: nothing."""
        if not self._head:
            return None
        done = set(self._head["accepted"])
        if pb.KEYS not in done:
            return pb.KEYS, self._keys
        if "members" in self._head and pb.SHARES not in done:
            member = self._part()
            shares = pb.MaskShares(device=self._device, members=member.context, shares=sealed(member.dealt()))
            return pb.SHARES, messages.encode(shares)
        if "survivors" in self._head and pb.ANSWER not in done:
            return pb.ANSWER, self._answer()
        return None

    def accepted(self, kind: pb.Kind) -> None:
        """Note that a body was accepted."""
        self._head["accepted"] = sorted({*self._head["accepted"], kind})
        self._write()

    def masked(self, values: Mapping[int, Integers]) -> tuple[bytes, list[pb.MaskedCircle]]:
        """Return the digest of the list, and values under masks, of the circles that are summed.

        Args:
            values: integers by circle, of all circles of the plan.

        Raises:
            SecureError: when no circle of this device is summed, or other values went under these masks before: whoever
                has both knows by how much they differ.
        """
        member, dealt = self._part(), self._dealt()[0]
        circles = [circle for circle in member.circles if circle.runs(dealt)]
        if not circles:
            msg = "no circle of this device has enough members"
            raise SecureError(msg)
        digest = sha256(b"".join(values[circle.number].astype("<i8").tobytes() for circle in circles)).hex()
        if self._head.setdefault("masked", digest) != digest:
            msg = "other values went under the masks of this round before"
            raise SecureError(msg)
        self._write()
        said = []
        for circle in circles:
            words = member.masked(circle.number, circle.ring.words(values[circle.number]), dealt)
            said.append(pb.MaskedCircle(number=circle.number, words=circle.ring.pack(words)))
        return member.context, said

    def _answer(self) -> bytes:
        dealt, shares = self._dealt()
        member, data = self._part(), self._record("survivors")
        survivors = from_bits(messages.decode(pb.MaskSurvivors, data).survivors, member.count)
        told = member.answer(member.opened(shares), Attendance(dealt, survivors))
        listed = [pb.ToldShare(circle=circle, place=place, share=told[circle, place]) for circle, place in sorted(told)]
        return messages.encode(pb.MaskAnswer(device=self._device, survivors=sha256(data), shares=listed))

    # checks

    def _check_members(self, data: bytes) -> None:
        if self._signer is not None:
            listed = messages.decode(pb.MaskMembers, data)
            if listed.round != self.round:
                msg = f"a list of members of round {listed.round}, this is round {self.round}"
                raise SecureError(msg)
            self._signer.check_list(listed, datetime.now(UTC))
        self._member = self._member_of(data)

    def _check_dealt(self, data: bytes) -> None:
        member, message = self._part(), messages.decode(pb.MaskDealt, data)
        dealt = from_bits(message.dealt, member.count)
        if message.members != member.context or member.place not in dealt:
            msg = "the gateway goes on without this device, or with another list"
            raise SecureError(msg)
        for circle in member.circles:
            if circle.runs(dealt) and not circle.supports(member.place, dealt):
                msg = f"too few of those who hold this device's shares of circle {circle.number} take part"
                raise SecureError(msg)

    def _check_survivors(self, data: bytes) -> None:
        member, message = self._part(), messages.decode(pb.MaskSurvivors, data)
        dealt = from_bits(message.dealt, member.count)
        survivors = from_bits(message.survivors, member.count)
        if message.members != member.context or dealt != self._dealt()[0]:
            msg = "survivors of another list, or of others that dealt"
            raise SecureError(msg)
        if member.place not in Attendance(dealt, survivors).survivors:
            msg = "the sums are without this device: it came too late"
            raise SecureError(msg)

    def _member_of(self, data: bytes) -> Member:
        members, own = read_members(data), sha256(self._keys)
        for number, least in self._head.get("least", {}).items():
            circle = members.circles.get(int(number))
            if circle is not None and circle.least < least:
                msg = f"circle {number} is opened from {circle.least} survivors on, the plan's noise is for {least}"
                raise SecureError(msg)
        place = next((place for place, keys in enumerate(members.keys) if keys.digest == own), -1)
        return Member(bytes.fromhex(self._head["root"]), members, place)

    def _part(self) -> Member:
        if self._member is None:
            self._member = self._member_of(self._record("members"))
        return self._member

    def _dealt(self) -> tuple[frozenset[int], dict[int, bytes]]:
        message = messages.decode(pb.MaskDealt, self._record("dealt"))
        return from_bits(message.dealt, self._part().count), {one.place: one.data for one in message.shares}

    def _record(self, part: str) -> bytes:
        record = self._store.recall(f"mask_{part}")
        if record is None:
            msg = f"what the gateway told of {part} is damaged"
            raise SecureError(msg)
        return record.body

    def _write(self) -> None:
        self._store.write(_RECORD, Record(self._head, self._keys))
