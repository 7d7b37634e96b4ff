"""Cases of keys for masks that devices sign with their certificates' keys: an honest list, and one lie each.

Keys follow from numbers and signatures are deterministic (RFC 6979), so the cases come out the same each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.messages import encode
from edge_runtime.wire.secure.member import public_keys
from edge_runtime.wire.secure.signed_keys import Federation, statement
from edge_runtime.wire.vectors.build import FEDERATION
from edge_runtime.wire.vectors.case import Case

_HOME: Final = Federation("home", FEDERATION)
_ROUND: Final = 7
_FROM, _UNTIL = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
_AT: Final = datetime(2026, 6, 1, tzinfo=UTC)
_CLIENT, _SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class _Owner:
    """Who has a certificate. Args: names: its CNs; key: of it; certificate: once it is issued."""

    names: tuple[str, ...]
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


def _key(text: str, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(text.encode()).digest()), curve or ec.SECP256R1())


def _owner(
    *names: str,
    issuer: _Owner | None,
    key: ec.EllipticCurvePrivateKey | None = None,
    until: datetime = _UNTIL,
    use: x509.ObjectIdentifier | None = _CLIENT,
    signs: bool = True,
    authority: bool = False,
) -> _Owner:
    own = key or _key(" ".join(names))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    signer, by = (issuer.certificate.subject, issuer.key) if issuer is not None else (subject, own)
    serial = int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:8]) >> 1 | 1
    draft = x509.CertificateBuilder(signer, subject, own.public_key(), serial, _FROM, until)
    draft = draft.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    if not authority:
        usage = dict.fromkeys(
            (
                "content_commitment", "key_encipherment", "data_encipherment", "key_cert_sign", "crl_sign",
                "encipher_only", "decipher_only",
            ),
            False,
        )  # fmt: skip
        other = {"digital_signature": signs, "key_agreement": not signs}
        draft = draft.add_extension(x509.KeyUsage(**usage, **other), critical=True)
    if use is not None:
        draft = draft.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    return _Owner(names, own, draft.sign(by, SHA256(), ecdsa_deterministic=True))


_AUTHORITY: Final = _owner("authority", issuer=None, use=None, authority=True)
_NAMESAKE: Final = _owner("authority", issuer=None, key=_key("another"), use=None, authority=True)
_PHONE: Final = _owner("phone-1", issuer=_AUTHORITY)


def _keys(owner: _Owner = _PHONE, *, federation: Federation = _HOME, root: int = 1, **changes: Any) -> pb.MaskKeys:  # noqa: ANN401
    """Return signed keys. Args: changes: of fields, before they are signed."""
    public = public_keys(bytes([root]) * 32, (0, 3))
    masking = [pb.CircleKey(circle=circle, key=key) for circle, key in public.masking.items()]
    keys = pb.MaskKeys(
        **{
            "wire_version": 1, "device": owner.names[0], "plan_digest": bytes(32), "sharing": public.sharing,
            "masking": masking, "round": _ROUND, "certificate": owner.der, **changes,
        }
    )  # fmt: skip
    keys.signature = owner.key.sign(statement(keys, federation), ec.ECDSA(SHA256(), deterministic_signing=True))
    return keys


def _changed(keys: pb.MaskKeys, **changes: Any) -> pb.MaskKeys:  # noqa: ANN401
    """Return keys that were changed after they were signed."""
    keys = pb.MaskKeys.FromString(keys.SerializeToString())
    for name, value in changes.items():
        setattr(keys, name, value)
    return keys


def _list(*keys: pb.MaskKeys, number: int = _ROUND) -> bytes:
    members = [pb.MaskMember(keys=one.SerializeToString(deterministic=True)) for one in keys]
    circle = pb.MaskCircle(number=0, neighbours=2, threshold=2, least=3, bits=12)
    return encode(pb.MaskMembers(round=number, members=members, circles=[circle]))


def _unsigned() -> bytes:
    keys = _keys()
    member = pb.MaskMember(digest=bytes(32), sharing=keys.sharing, masking=keys.masking[:1])
    circle = pb.MaskCircle(number=0, neighbours=2, threshold=2, least=3, bits=12)
    return encode(pb.MaskMembers(round=_ROUND, members=[member], circles=[circle]))


def _lies() -> Iterator[tuple[str, str, bytes]]:
    phone, box = _keys(), _owner("box", issuer=_AUTHORITY)
    swapped, another = public_keys(bytes(32), (0, 3)), _keys(root=2)
    bent = bytes([*phone.signature[:-1], phone.signature[-1] ^ 1])
    yield "unsigned", "a member whose keys nobody signed", _unsigned()
    yield (
        "no_signature",
        "as it was sent, and not signed",
        _list(_changed(phone, certificate=b"", signature=b"", round=0)),
    )
    yield "sharing", "another key for shares", _list(_changed(phone, sharing=swapped.sharing))
    changed = _changed(phone)
    changed.masking[1].key = swapped.masking[3]
    yield "masking", "another key for masks", _list(changed)
    changed = _changed(phone)
    changed.masking[1].circle = 4
    yield "circle", "its key for another circle", _list(changed)
    changed = _changed(phone)
    del changed.masking[1]
    yield "fewer_keys", "one key less", _list(changed)
    yield "name", "another name for the same keys", _list(_changed(phone, device="box"))
    yield "other_certificate", "signed by another device of the federation", _list(_keys(box, device="phone-1"))
    yield (
        "certificate",
        "the certificate of another",
        _list(_changed(_keys(box), certificate=_PHONE.der, device="phone-1")),
    )
    yield "twice", "one device with two keys", _list(phone, another)
    yield "second", "the second member", _list(phone, _changed(_keys(box, root=2), sharing=swapped.sharing))
    yield "signature", "a bit of the signature", _list(_changed(phone, signature=bent))
    yield "plan", "another plan", _list(_changed(phone, plan_digest=bytes(31) + b"1"))
    yield "round", "signed for another round", _list(_keys(round=_ROUND - 1))
    yield "round_changed", "a round that was not signed", _list(_changed(_keys(round=_ROUND - 1), round=_ROUND))
    yield "other_list", "a list of another round", _list(phone, number=_ROUND + 1)
    school, elsewhere = Federation("school", FEDERATION), Federation("home", bytes(32))
    yield "federation", "signed for another federation", _list(_keys(federation=school))
    yield "architecture", "signed for another architecture", _list(_keys(federation=elsewhere))
    stranger = _owner("phone-1", issuer=_NAMESAKE)
    yield "authority", "an authority of the same name and another key", _list(_keys(stranger))
    yield "own_authority", "issued by itself", _list(_keys(_owner("phone-1", issuer=None)))
    yield "behind", "issued by a device", _list(_keys(_owner("box", issuer=_PHONE)))
    yield "itself", "the authority as a member", _list(_keys(_AUTHORITY))
    old = _owner("phone-1", issuer=_AUTHORITY, until=datetime(2026, 5, 31, tzinfo=UTC))
    yield "expired", "a certificate that has ended", _list(_keys(old))
    yield "server", "the certificate of a gateway", _list(_keys(_owner("gateway", issuer=_AUTHORITY, use=_SERVER)))
    agrees = _owner("phone-1", issuer=_AUTHORITY, signs=False)
    yield "usage", "a certificate whose key signs nothing", _list(_keys(agrees))
    wide = _owner("phone-1", issuer=_AUTHORITY, key=_key("wide", ec.SECP256K1()))
    yield "curve", "a key on another curve", _list(_keys(wide))
    two = _owner("phone-1", "box", issuer=_AUTHORITY)
    yield "two_names", "a certificate of two names", _list(_keys(two))
    yield "garbage", "a certificate that is none", _list(_changed(phone, certificate=b"\x30\x03\x02\x01\x01"))


def cases() -> Iterator[Case]:
    """Yield the cases of this module."""
    context = {
        "authority": _AUTHORITY.der.hex(), "federation": _HOME.name, "federation_digest": _HOME.digest.hex(),
        "at": int(_AT.timestamp()),
    }  # fmt: skip
    box = _owner("box", issuer=_AUTHORITY)
    honest = _list(_keys(), _keys(box, root=2))
    yield Case("SignedKeys", "accept", honest, "ACCEPT", "two devices", context, {"devices": ["phone-1", "box"]})
    plain = _owner("box", issuer=_AUTHORITY, use=None)
    named = {"devices": ["box"]}
    yield Case("SignedKeys", "accept_any_use", _list(_keys(plain)), "ACCEPT", "no purpose is named", context, named)
    for name, comment, data in _lies():
        yield Case("SignedKeys", f"refuse_{name}", data, "REFUSED", comment, context)
    early = {**context, "at": int(_FROM.timestamp()) - 1}
    yield Case("SignedKeys", "refuse_early", honest, "REFUSED", "certificates that do not hold yet", early)
    late = {**context, "at": int(_UNTIL.timestamp()) + 1}
    yield Case("SignedKeys", "refuse_late", honest, "REFUSED", "certificates that have ended", late)
