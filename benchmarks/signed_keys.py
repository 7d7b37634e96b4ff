"""What signed keys cost in a round under masks: ``python -m benchmarks.signed_keys``.

A list of members with the keys, certificate and signature of each, beside one without: bytes, and what a device needs
on one core to read it and to check every member.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Final

from broker_server.identity.certificates import new_authority, new_device, utc_now
from broker_server.rules.masking import Assumed, write_list
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.secure.graph import LEAST_MEMBERS
from edge_runtime.wire.secure.lists import read_members
from edge_runtime.wire.secure.member import public_keys
from edge_runtime.wire.secure.signed_keys import Authority, Federation, KeySigner

_FEDERATION: Final = Federation("default", bytes(32))
_ASSUMED: Final = Assumed(dropouts=0.3, colluding=0.1, limit=127)


def bodies(members: int, circles: int) -> tuple[list[bytes], list[bytes], str]:
    """Return what members send, without signatures and with them, and the authority's certificate (PEM)."""
    authority, plain, signed = new_authority("edge-experts default", utc_now()), list[bytes](), list[bytes]()
    for number in range(members):
        name = f"device-{number:04}"
        public = public_keys(sha256(name.encode()), range(circles))
        masking = [pb.CircleKey(circle=circle, key=key) for circle, key in public.masking.items()]
        keys = pb.MaskKeys(device=name, plan_digest=bytes(32), sharing=public.sharing, masking=masking)
        plain.append(encode(keys))
        own = new_device(authority, name, utc_now())
        keys.round = 1
        KeySigner(own.certificate, own.key, authority.certificate, _FEDERATION).sign(keys)
        signed.append(encode(keys))
    return plain, signed, authority.certificate


def measure(members: int, circles: int) -> dict[str, float]:
    """Return bytes of both lists, and milliseconds to read either and to check the signed one."""
    plain, signed, authority = bodies(members, circles)
    figures: dict[str, float] = {"members": members, "circles": circles}
    for name, sent in (("unsigned", plain), ("signed", signed)):
        data = write_list(1, sent, _ASSUMED)
        assert data is not None  # noqa: S101 - of three members or more there is one
        began = time.process_time()
        read_members(data)
        figures |= {f"{name}_bytes": len(data), f"{name}_read_ms": round(1000 * (time.process_time() - began), 1)}
        if name == "signed":
            began = time.process_time()
            Authority.read(authority).check_list(decode(pb.MaskMembers, data), _FEDERATION, utc_now())
            figures["check_ms"] = round(1000 * (time.process_time() - began), 1)
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.signed_keys", description=__doc__)
    parser.add_argument("--members", type=int, default=1000, help="of the list (%(default)s)")
    parser.add_argument("--circles", type=int, default=2, help="that each is in (%(default)s)")
    options = parser.parse_args(argv)
    if options.members < LEAST_MEMBERS or options.circles < 1:
        parser.error(f"expected {LEAST_MEMBERS} members or more, and a circle")
    for name, value in measure(options.members, options.circles).items():
        sys.stdout.write(f"{name} {value:,}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
