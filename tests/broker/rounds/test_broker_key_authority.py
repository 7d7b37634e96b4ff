"""Whose keys for masks a gateway takes: certificates that hold a while, of the authority as its file is now."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from broker_server.errors import UsageError
from broker_server.identity.certificates import DEVICE_DAYS, Identity, new_authority, new_device, utc_now
from broker_server.rounds.key_authority import KeyAuthority
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.secure.signed_keys import Federation, KeySigner

HOME = Federation("home", bytes(32))


def signed(authority: Identity, age: timedelta = timedelta()) -> pb.MaskKeys:
    """Return keys that a device signed for round 3. Args: age: of its certificate."""
    own = new_device(authority, "a", utc_now() - age)
    keys = pb.MaskKeys(device="a", plan_digest=bytes(32), sharing=bytes(32), round=3)
    KeySigner(own.certificate, own.key, authority.certificate, HOME).sign(keys)
    return keys


def test_a_certificate_has_to_hold_for_clocks_that_are_ahead_too(tmp_path: Path) -> None:
    """One device that refuses a member refuses the list: who is about to end is not listed."""
    authority, file = new_authority("home", utc_now()), tmp_path / "ca.pem"
    file.write_text(authority.certificate)
    takes = KeyAuthority(file, HOME)
    takes.check(signed(authority), 3)
    takes.check(signed(authority, timedelta(days=DEVICE_DAYS) - timedelta(hours=2)), 3)
    for keys, number, says in (
        (signed(authority, timedelta(days=DEVICE_DAYS) - timedelta(minutes=30)), 3, "holds from"),
        (signed(authority), 4, "keys for round 3, this is round 4"),
        (pb.MaskKeys(device="a"), 3, "the keys of a are not signed"),
    ):
        with pytest.raises(WireError, match=says) as caught:
            takes.check(keys, number)
        assert caught.value.code == pb.BAD_SIGNATURE


def test_the_file_is_read_again_and_one_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    """A new authority takes the place of the old one without a start; a start with a bad file is refused by name."""
    file = tmp_path / "ca.pem"
    with pytest.raises(UsageError, match=r"cannot read authority .*ca\.pem"):
        KeyAuthority(file, HOME)
    file.write_text("no certificate")
    with pytest.raises(UsageError, match="expected a PEM file"):
        KeyAuthority(file, HOME)
    old, new = new_authority("home", utc_now()), new_authority("home", utc_now())
    file.write_text(old.certificate)
    takes = KeyAuthority(file, HOME)
    file.write_text("half writ")
    takes.read_again()
    takes.check(signed(old), 3)
    file.write_text(new.certificate)
    takes.read_again()
    takes.check(signed(new), 3)
    with pytest.raises(WireError, match="not of this federation's authority"):
        takes.check(signed(old), 3)
    KeyAuthority(None, HOME).check(pb.MaskKeys(device="a"), 3)  # nobody has to sign
