"""What a device with a certificate takes as the list of members, before it deals anything; and how it comes to sign."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker_server.identity.certificates import Identity, new_authority, new_device, utc_now
from edge_runtime.errors import ConfigError
from edge_runtime.federation.enrolled import signer_of
from edge_runtime.federation.link import Broker
from edge_runtime.federation.masks import Masks
from edge_runtime.store import Store
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.digests import sha256
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.messages import decode, encode
from edge_runtime.wire.secure.graph import Sizes, in_order
from edge_runtime.wire.secure.lists import keys_of, write_members
from edge_runtime.wire.secure.member import public_keys
from edge_runtime.wire.secure.members import Circle
from edge_runtime.wire.secure.signed_keys import Federation, KeySigner

HOME = Federation("home", bytes(range(32)))
AUTHORITY = new_authority("edge-experts home", utc_now())
PLAN = pb.Plan(device="me", round=7, masks=[pb.MaskTerms(circles=[pb.CircleTerms(number=0), pb.CircleTerms(number=5)])])
PLAN_DIGEST = bytes(32)


def signer(name: str, authority: Identity = AUTHORITY, age: timedelta = timedelta()) -> KeySigner:
    """Return what signs a device's keys. Args: age: of its certificate."""
    own = new_device(authority, name, utc_now() - age)
    return KeySigner(own.certificate, own.key, authority.certificate, HOME)


def keys(name: str, by: KeySigner | None, number: int = 7) -> bytes:
    """Return a device's keys for a round, signed."""
    public = public_keys(sha256(name.encode()), (0, 5))
    masking = [pb.CircleKey(circle=circle, key=key) for circle, key in public.masking.items()]
    message = pb.MaskKeys(device=name, plan_digest=bytes(32), sharing=public.sharing, masking=masking)
    if by is not None:
        message.round = number
        by.sign(message)
    return encode(message)


def listed(*bodies: bytes, number: int = 7) -> bytes:
    """Return a list of these keys; circle 5 is not in it."""
    by_digest = {one.digest: one for one in map(keys_of, bodies)}
    members = [by_digest[digest] for digest in in_order(by_digest)]
    count = len(members)
    circle = Circle(0, tuple(range(count)), Sizes(count - 1, count // 2 + 1), max(3, count // 2 + 1), 12)
    return write_members(number, members, [circle])


class Taker:
    """A device in a round. Args: folder: of its store; by: signs its keys."""

    def __init__(self, folder: Path, by: KeySigner | None) -> None:
        self.store = Store(folder)
        self.masks = Masks(self.store, "me", by)
        self.masks.begin(PLAN, PLAN_DIGEST)

    @property
    def keys(self) -> bytes:
        """Its own, as it would send them first."""
        body = self.masks.body()
        assert body is not None
        assert body[0] == pb.KEYS
        return body[1]

    def take(self, data: bytes) -> None:
        """Take a list. Raises: SecureError."""
        self.masks.accepted(pb.KEYS)
        digest = sha256(data)
        self.store.put_blob(digest, data)
        told = pb.MaskRound(device="me", round=7, plan_digest=PLAN_DIGEST, members=digest)
        self.masks.take(encode(told))
        self.masks.advance()


@pytest.fixture(scope="module")
def signers() -> dict[str, KeySigner]:
    """Devices of the federation."""
    return {name: signer(name) for name in ("me", "a", "b", "c")}


def test_shares_go_out_to_members_who_all_signed_their_keys(tmp_path: Path, signers: dict[str, KeySigner]) -> None:
    """The device's own entry is its own bytes; keys for a circle that is not listed are passed over."""
    device = Taker(tmp_path, signers["me"])
    device.take(listed(device.keys, *(keys(name, signers[name]) for name in "abc")))
    body = device.masks.body()
    assert body is not None
    assert body[0] == pb.SHARES
    assert len(decode(pb.MaskShares, body[1]).shares) == 3


def test_a_list_that_lies_is_refused_before_anything_is_dealt(tmp_path: Path, signers: dict[str, KeySigner]) -> None:
    """Who is not signed, replaced, repeated, a stranger, over, of another round; what is told names the member."""
    a, b = keys("a", signers["a"]), keys("b", signers["b"])
    stolen = decode(pb.MaskKeys, a)
    stolen.sharing = public_keys(bytes(32), (0,)).sharing
    renamed = decode(pb.MaskKeys, b)
    renamed.device = "d"
    again = decode(pb.MaskKeys, b)
    again.sharing = public_keys(b"again" * 6 + b"!!", (0,)).sharing
    for one in again.masking:
        one.key = public_keys(b"again" * 6 + b"!!", (one.circle,)).masking[one.circle]
    signers["b"].sign(again)
    other = new_authority("edge-experts home", utc_now())
    lies = {
        "has not signed its keys": keys("c", None),
        "keys of a are not signed with the key": encode(stolen),
        "keys of d came with the certificate of": encode(renamed),
        "b is in the list twice": encode(again),
        "certificate of c is not of this federation": keys("c", signer("c", other)),
        "certificate of c holds from": keys("c", signer("c", age=timedelta(days=1900))),
        "keys of c for round 6": keys("c", signers["c"], 6),
        "not the keys that this device sent": b"",
    }
    for number, (says, lie) in enumerate(lies.items()):
        device = Taker(tmp_path / f"{number}", signers["me"])
        own = [device.keys] if lie else [keys("me", signers["me"])]
        rest = [a, b, lie] if says != "keys of a are not signed with the key" else [b, keys("c", signers["c"]), lie]
        with pytest.raises(SecureError, match=says):
            device.take(listed(*own, *filter(None, rest)))
        assert device.masks.body() is None  # no shares, and nothing to be masked with
        with pytest.raises(SecureError):
            device.masks.masked({})
    device = Taker(tmp_path / "round", signers["me"])
    with pytest.raises(SecureError, match="round 8"):
        device.take(listed(device.keys, a, b, number=8))


def test_a_device_without_a_certificate_takes_the_list_as_before(tmp_path: Path, signers: dict[str, KeySigner]) -> None:
    """It has nothing to hold signatures against."""
    device = Taker(tmp_path, None)
    assert decode(pb.MaskKeys, device.keys).certificate == b""
    device.take(listed(device.keys, keys("a", None), keys("b", signers["b"])))
    body = device.masks.body()
    assert body is not None
    assert body[0] == pb.SHARES


def test_what_a_device_has_in_its_files_says_whether_it_can_sign(tmp_path: Path) -> None:
    """The issuer may stand behind the certificate. Without it, or with another key, no keys are sent at all."""

    def broker(own: Identity, ca: str) -> Broker:
        files = {"certificate": own.certificate, "key": own.key, "ca": ca}
        for name, text in files.items():
            (tmp_path / f"{name}.pem").write_text(text)
        return Broker.parse("mqtts://gateway.example", **{name: tmp_path / f"{name}.pem" for name in files})

    assert signer_of(Broker.parse("mqtt://127.0.0.1"), HOME) is None
    own, other = new_device(AUTHORITY, "me", utc_now()), new_authority("edge-experts home", utc_now())
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    behind = replace(own, certificate=own.certificate + AUTHORITY.certificate)
    faults = {}
    for name, identity, ca in (
        ("whole", own, AUTHORITY.certificate),
        ("behind", behind, other.certificate),
        ("stranger", own, other.certificate),
        ("kind", replace(own, key=rsa), AUTHORITY.certificate),
        ("unreadable", replace(own, key="-----BEGIN PRIVATE KEY-----\n"), AUTHORITY.certificate),
    ):
        signer = signer_of(broker(identity, ca), HOME)
        assert signer is not None
        faults[name] = signer.fault
    assert faults["whole"] == faults["behind"] == ""
    assert "ca" in faults["stranger"]
    assert "P-256" in faults["kind"]
    assert "P-256" in faults["unreadable"]
    unfit = signer_of(broker(own, other.certificate), HOME)
    device = Taker(tmp_path / "state", unfit)
    with pytest.raises(SecureError, match="not in its enrolment"):
        device.masks.advance()
    with pytest.raises(ConfigError, match="cannot be used"):
        signer_of(broker(replace(own, certificate="nothing"), AUTHORITY.certificate), HOME)
    with pytest.raises(ConfigError, match=r"key\.pem"):
        signer_of(replace(broker(own, ""), key=tmp_path / "gone" / "key.pem"), HOME)
