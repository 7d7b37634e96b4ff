"""A round under masks without messages: devices with roots that follow from their number, and a gateway's sums."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from broker_server.rules import masked_sums
from edge_runtime.wire.secure.fixed_point import Integers
from edge_runtime.wire.secure.graph import Sizes, in_order, least_for, sizes_for
from edge_runtime.wire.secure.member import Member, Share, public_keys
from edge_runtime.wire.secure.members import Attendance, Circle, MemberKeys, MemberList
from edge_runtime.wire.secure.ring import Words


def root_of(device: int, run: int = 0) -> bytes:
    """Return the secret of a device."""
    return hashlib.sha256(f"root {run} {device}".encode()).digest()


@dataclass
class Round:
    """Devices that trained circles; values and dropouts are by place in the list.

    Args:
        members: as the gateway lists them.
        devices: each one's part.
    """

    members: MemberList
    devices: list[Member]

    @staticmethod
    def of(circles: Sequence[Collection[int]], bits: int = 20, sizes: Sizes | None = None, run: int = 0) -> Round:
        """Return a round. Args: circles: numbers of the devices that train each."""
        every = sorted(set().union(*circles))
        trains = {device: [number for number, one in enumerate(circles) if device in one] for device in every}
        digests = {hashlib.sha256(f"keys {device}".encode()).digest(): device for device in every}
        order = [digests[digest] for digest in in_order(digests)]
        keys: list[MemberKeys] = []
        for device in order:
            digest = hashlib.sha256(f"keys {device}".encode()).digest()
            keys.append(public_keys(root_of(device, run), trains[device], digest))
        listed = {
            number: Circle(
                number,
                tuple(place for place, device in enumerate(order) if device in one),
                sizes or sizes_for(len(one), len(every), 0.3, 0.0),
                least_for(len(one)),
                bits,
            )
            for number, one in enumerate(circles)
        }
        members = MemberList(hashlib.sha256(b"list").digest(), tuple(keys), listed)
        return Round(members, [Member(root_of(device, run), members, place) for place, device in enumerate(order)])

    def sealed(self) -> list[dict[int, bytes]]:
        """Return what each device dealt."""
        return [device.dealt() for device in self.devices]

    def masked(self, number: int, values: Mapping[int, Integers], dealt: Collection[int]) -> dict[int, Words]:
        """Return the masked values of a circle's members, by place."""
        ring = self.members.circles[number].ring
        return {place: self.devices[place].masked(number, ring.words(one), dealt) for place, one in values.items()}

    def answers(
        self, dealt: Collection[int], survivors: Collection[int], answering: Collection[int]
    ) -> dict[int, dict[Share, bytes]]:
        """Return what devices tell of others at the end, by place."""
        sealed = self.sealed()
        told = {}
        for place in answering:
            inbox = {dealer: sealed[dealer][place] for dealer in dealt if place in sealed[dealer]}
            attendance = Attendance(frozenset(dealt), frozenset(survivors))
            told[place] = self.devices[place].answer(self.devices[place].opened(inbox), attendance)
        return told

    def opened(
        self,
        number: int,
        masked: Mapping[int, Words],
        dealt: Collection[int],
        answers: Mapping[int, Mapping[Share, bytes]],
    ) -> Integers:
        """Return the sum of those whose masked values are there."""
        total = np.sum([*masked.values()], axis=0, dtype=np.uint32)
        attendance = Attendance(frozenset(dealt), frozenset(masked))
        words = masked_sums.opened(total, self.members, number, attendance, answers)
        return self.members.circles[number].ring.signed(words)
