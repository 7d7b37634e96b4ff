"""What sums under masks cost a device and a gateway: ``python -m benchmarks.secure_aggregation``.

Axes: n devices of a round, k neighbours of each in a circle, b bits of a value under masks. The bank is the default
one. Devices train bundles (the experts of one index in every layer) and what everybody trains: shared experts and head.
One device's part is computed as it would be on that device, on one core of this machine; its neighbours' shares are
real. Small rounds are carried out whole: 30 % of the devices drop out after their shares, and the sum must be exact.
Bytes are those of keys, shares, values and lists themselves, without the framing of messages.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np

from benchmarks import record
from broker_server.rules import masked_sums
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import DIGEST_BYTES
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.experts import HEAD, BankShape, ExpertId, shared_expert
from edge_runtime.wire.secure.agreement import KEY_BYTES
from edge_runtime.wire.secure.fixed_point import Integers
from edge_runtime.wire.secure.graph import LEAST_MEMBERS, in_order, least_for, sizes_for
from edge_runtime.wire.secure.member import Member, public_keys
from edge_runtime.wire.secure.members import Attendance, Circle, MemberKeys, MemberList
from edge_runtime.wire.secure.ring import Words, bits_for
from edge_runtime.wire.secure.shamir import ELEMENT_BYTES
from edge_runtime.wire.tensors import encoded_size

NAME: Final = "secure_aggregation"
COMMAND: Final = f"python -m benchmarks.{NAME}"
EXAMPLES: Final = """examples:
  python -m benchmarks.secure_aggregation                   10, 100 and 1,000 devices; a minute or two
  python -m benchmarks.secure_aggregation --devices 50      one size
  python -m benchmarks.secure_aggregation --json --record   as JSON lines, kept

exit codes: 0 done, 1 a sum was not exact, 2 bad usage"""
SHAPE: Final = BankShape(layers=tuple(range(6)), experts=8, rank=8, shared_rank=8, width=384, labels=20)
LIMIT: Final = 127
"""R, as int8 has it."""
DROPOUT: Final = 0.3
COLLUDING: Final = 0.1
TRAINERS: Final = 10
"""That each bundle has, where there are so many devices."""
Result = TypeVar("Result")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog=COMMAND,
        description="Bytes and milliseconds of a device's part in a sum under masks, beside a plain int8 delta.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--devices", type=int, nargs="+", default=[10, 100, 1000], metavar="N", help="of a round (%(default)s)")
    add("--bundles", type=int, default=4, metavar="M", help="of eight, that a device trains (%(default)s)")
    add("--whole", type=int, default=100, metavar="N", help="rounds up to this size are carried out (%(default)s)")
    add("--json", action="store_true", help="print only JSON lines")
    add("--record", action="store_true", help=f"keep the results in benchmarks/results/{NAME}.jsonl")
    options = parser.parse_args(argv)
    if min(options.devices) < 2 * LEAST_MEMBERS or not 1 <= options.bundles <= SHAPE.experts:
        parser.error(f"expected {2 * LEAST_MEMBERS} devices or more and 1 to {SHAPE.experts} bundles")
    return options


@dataclass(frozen=True)
class Round:
    """A round. Args: roots: of the devices, by place; members: the list; sizes: values of each circle."""

    roots: list[bytes]
    members: MemberList
    sizes: dict[int, int]

    def member(self, place: int) -> Member:
        """Return a device's part."""
        return Member(self.roots[place], self.members, place)

    def values(self, place: int, number: int) -> Integers:
        """Return a device's integers in a circle; they follow from both."""
        return np.random.default_rng([place, number]).integers(-LIMIT, LIMIT + 1, self.sizes[number])


def trained(devices: int, bundles: int) -> list[frozenset[int]]:
    """Return the bundles of each device: i, i + 1 and so on, taken round those that run, so many that each has 10."""
    running = max(bundles, min(SHAPE.experts, devices * bundles // TRAINERS))
    return [frozenset((device + more) % running for more in range(bundles)) for device in range(devices)]


def circles_of(trains: Sequence[frozenset[int]]) -> dict[frozenset[int], int]:
    """Return the devices of each circle, and how many values it has, weights included."""
    bundle = [ExpertId(layer, 0) for layer in SHAPE.layers]
    shared = [shared_expert(layer) for layer in SHAPE.layers]
    circles = {
        frozenset(range(len(trains))): sum(SHAPE.size(block) + 1 for block in shared) + SHAPE.size(HEAD) + SHAPE.labels
    }
    for index in sorted(frozenset[int]().union(*trains)):
        who = frozenset(device for device, bundles in enumerate(trains) if index in bundles)
        circles[who] = circles.get(who, 0) + sum(SHAPE.size(block) + 1 for block in bundle)
    return circles


def round_of(devices: int, bundles: int) -> Round:
    """Return a round."""
    circles = [*circles_of(trained(devices, bundles)).items()]
    digests = {hashlib.sha256(f"keys {device}".encode()).digest(): device for device in range(devices)}
    order = [(digest, digests[digest]) for digest in in_order(digests)]
    roots, keys = [], list[MemberKeys]()
    for digest, device in order:
        roots.append(hashlib.sha256(f"root {device}".encode()).digest())
        keys.append(
            public_keys(roots[-1], [number for number, (who, _) in enumerate(circles) if device in who], digest)
        )
    listed = {}
    for number, (who, _) in enumerate(circles):
        places = tuple(place for place, (_, device) in enumerate(order) if device in who)
        sizes = sizes_for(len(places), devices, DROPOUT, COLLUDING)
        listed[number] = Circle(number, places, sizes, least_for(len(places)), bits_for(len(places), LIMIT))
    members = MemberList(hashlib.sha256(b"list").digest(), tuple(keys), listed)
    return Round(roots, members, {number: size for number, (_, size) in enumerate(circles)})


class Clock:
    """Milliseconds by step."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    def of(self, name: str, work: Callable[[], Result]) -> Result:
        """Do a piece of work and add its time to a step's."""
        began = time.perf_counter()
        result = work()
        self.ms[name] = self.ms.get(name, 0.0) + 1000 * (time.perf_counter() - began)
        return result


def device_figures(one: Round) -> dict[str, Any]:
    """Return what the first device of a list sends, receives and computes, all devices staying."""
    place, members, clock = 0, one.members, Clock()
    circles, everyone = members.circles_of(place), frozenset(range(len(members.keys)))
    clock.of("keys", lambda: public_keys(one.roots[place], [circle.number for circle in circles]))
    device = clock.of("deal", lambda: one.member(place))
    dealt = clock.of("deal", device.dealt)
    inbox = {other: one.member(other).dealt()[place] for other in dealt}
    held = clock.of("open", lambda: device.opened(inbox))
    packed = 0
    for circle in circles:
        words = circle.ring.words(one.values(place, circle.number))
        masked = clock.of("mask", partial(device.masked, circle.number, words, everyone))
        packed += len(clock.of("mask", partial(circle.ring.pack, masked)))
    answer = clock.of("answer", lambda: device.answer(held, Attendance(everyone, everyone)))
    keys = KEY_BYTES * (1 + len(circles))
    up = {"keys": keys, "shares": sum(map(len, dealt.values())), "delta": packed, "answer": ELEMENT_BYTES * len(answer)}
    down = {
        "list": DIGEST_BYTES * len(members.keys) + keys * len(dealt),
        "shares": sum(map(len, inbox.values())),
    }
    plain = sum(encoded_size(one.sizes[circle.number], pb.INT8) for circle in circles)
    return {
        "bytes_up": up, "bytes_up_all": sum(up.values()), "bytes_down": down, "bytes_down_all": sum(down.values()),
        "bytes_int8": plain, "ms": {name: round(ms, 1) for name, ms in clock.ms.items()},
        "ms_all": round(sum(clock.ms.values()), 1), "values": sum(one.sizes[circle.number] for circle in circles),
        "circles": len(circles), "neighbours": len(dealt),
    }  # fmt: skip


def whole_figures(one: Round) -> dict[str, Any]:
    """Carry a round out in which 30 % drop out after their shares; return whether sums are exact, and their cost."""
    members = one.members
    count = len(members.keys)
    everyone = frozenset(range(count))
    survivors = everyone - {int(place) for place in np.random.default_rng(0).permutation(count)[: int(DROPOUT * count)]}
    devices = [one.member(place) for place in range(count)]
    sealed = [device.dealt() for device in devices]
    attendance, clock, exact = Attendance(everyone, survivors), Clock(), True
    answers, closed = {}, 0
    for place in survivors:
        inbox = {other: sealed[other][place] for other in sealed[place]}
        answers[place] = devices[place].answer(devices[place].opened(inbox), attendance)
    for number, circle in members.circles.items():
        total: Words = np.zeros(one.sizes[number], circle.ring.word)
        expected = np.zeros(one.sizes[number], np.int64)
        for place in attendance.stayed(circle):
            values = one.values(place, number)
            data = circle.ring.pack(devices[place].masked(number, circle.ring.words(values), everyone))
            expected += values
            total += clock.of("add", partial(circle.ring.unpack, data, total.size))
        try:
            opened = clock.of("open", partial(masked_sums.opened, total, members, number, attendance, answers))
        except SecureError:
            closed += 1  # more of its members dropped out than its threshold allows
            continue
        exact = exact and bool((circle.ring.signed(opened) == expected).all())
    return {
        "dropped_out": count - len(survivors), "exact": exact, "sums": len(members.circles), "closed": closed,
        "gateway_ms": {name: round(ms, 1) for name, ms in clock.ms.items()},
    }  # fmt: skip


def measure(devices: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of a size of round."""
    one = round_of(devices, options.bundles)
    largest = one.members.circles[0]
    figures: dict[str, Any] = {
        "devices": devices, "bundles": options.bundles, "bits": largest.bits, "limit": LIMIT,
        "most_neighbours": largest.sizes.neighbours, "threshold": largest.sizes.threshold,
        **device_figures(one),
    }  # fmt: skip
    if devices <= options.whole:
        figures |= whole_figures(one)
    return figures


def told(figures: dict[str, Any]) -> str:
    """Return a size's figures as text."""
    up, down, ms = figures["bytes_up"], figures["bytes_down"], figures["ms"]
    text = (
        f"{figures['devices']} devices, {figures['values']:,} values of {figures['bits']} bits in {figures['circles']} "
        f"circles, {figures['neighbours']} neighbours\n"
        f"  up   {figures['bytes_up_all']:>9,} bytes ({figures['bytes_up_all'] / figures['bytes_int8']:.2f} of plain "
        f"int8): " + ", ".join(f"{name} {size:,}" for name, size in up.items()) + "\n"
        f"  down {figures['bytes_down_all']:>9,} bytes more: "
        + ", ".join(f"{name} {size:,}" for name, size in down.items())
        + f"\n  time {figures['ms_all']:,.0f} ms: "
        + ", ".join(f"{name} {value:,.1f}" for name, value in ms.items())
        + "\n"
    )
    if "exact" in figures:
        gateway = ", ".join(f"{name} {value:,.0f} ms" for name, value in figures["gateway_ms"].items())
        text += (
            f"  {figures['dropped_out']} dropped out: of {figures['sums']} sums {figures['closed']} stay closed, the "
            f"others are {'exact' if figures['exact'] else 'WRONG'}; gateway: {gateway}\n"
        )
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 done, 1 a sum was not exact, 2 bad usage."""
    options = parse(argv)
    exact = True
    for devices in options.devices:
        figures = measure(devices, options)
        exact = exact and figures.get("exact", True)
        sys.stdout.write(json.dumps(figures) + "\n" if options.json else told(figures))
        sys.stdout.flush()
        if options.record:
            record.append(NAME, f"{COMMAND} {' '.join(argv or sys.argv[1:])}".rstrip(), figures)
    if not exact:
        sys.stderr.write(f"{NAME}: a sum under masks is not the sum of the values\n")
    return int(not exact)


if __name__ == "__main__":
    raise SystemExit(main())
