"""Keys for masks, signed by the device that they belong to with the key of its certificate. SPEC.md, "Signed keys".

Certificates are X.509 (RFC 5280), all issued by one authority, without another between; their keys sign by ECDSA on
P-256 with SHA-256 (FIPS 186-5). No file or clock: times come from the caller.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import SecureError
from edge_runtime.wire.messages import decode
from edge_runtime.wire.text import shown
from edge_runtime.wire.topics import Address, Topic

_DOMAIN: Final = b"edge-experts mask keys 1\0"
_SCHEME: Final = ec.ECDSA(SHA256())
_UNREADABLE: Final = (
    ValueError, TypeError, OverflowError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What reading a hostile certificate raises."""


@dataclass(frozen=True)
class Federation:
    """What keys are signed for. Args: name: second word of its topics; digest: of its architecture, 32 bytes."""

    name: str
    digest: bytes


def statement(keys: pb.MaskKeys, federation: Federation) -> bytes:
    """Return what a device signs: its keys, for one plan of one round of one federation, and for its own name."""
    topic = str(Address(federation.name, Topic.MASKS, keys.device)).encode()
    parts = [_DOMAIN, topic, b"\0", federation.digest, keys.plan_digest, struct.pack("<Q", keys.round), keys.sharing]
    return b"".join([*parts, *(struct.pack("<I", one.circle) + one.key for one in keys.masking)])


class Authority:
    """Who issues the certificates of a federation's devices. Args: certificates: its own; there may be an older one."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._certificates = tuple(certificates)

    @classmethod
    def read(cls, text: str) -> Authority:
        """Read a PEM text of one certificate or more. Raises: SecureError."""
        return cls(_certificates(text))

    def check(self, keys: pb.MaskKeys, federation: Federation, at: datetime, longer: timedelta = timedelta()) -> None:
        """Refuse keys that their device did not sign for this federation.

        Args:
            keys: as they were decoded.
            federation: in which they are to be used.
            at: when the certificate has to hold, with its time zone.
            longer: how much longer it has to hold.

        Raises:
            SecureError: saying what is wrong, and of which device.
        """
        who = keys.device
        if not keys.certificate:
            msg = f"the keys of {who} are not signed"
            raise SecureError(msg)
        try:
            leaf = x509.load_der_x509_certificate(keys.certificate)
            self._check_issued(leaf, who, at, longer)
            _check_use(leaf, who)
            public = leaf.public_key()
            _check_key(public, who)
            name = _name(leaf)
        except _UNREADABLE as error:
            msg = f"the certificate of {who} cannot be read: {error}"
            raise SecureError(msg) from error
        if name != who:
            msg = f"keys of {who} came with the certificate of {shown(name)}"
            raise SecureError(msg)
        assert isinstance(public, ec.EllipticCurvePublicKey)  # noqa: S101 - checked above
        try:
            public.verify(keys.signature, statement(keys, federation), _SCHEME)
        except (InvalidSignature, ValueError) as error:
            msg = f"the keys of {who} are not signed with the key of its certificate, or for another round"
            raise SecureError(msg) from error

    def check_list(self, listed: pb.MaskMembers, federation: Federation, at: datetime) -> None:
        """Refuse a list of which not every member signed its keys for this round, or that has one device twice.

        Raises:
            SecureError: as ``check``.
            WireError: when a member's keys are no MaskKeys.
        """
        names: set[str] = set()
        for place, member in enumerate(listed.members):
            keys = decode(pb.MaskKeys, member.keys) if member.keys else pb.MaskKeys()
            if not keys.signature:
                msg = (
                    f"member {place} of the list has not signed its keys: with a certificate this device takes part "
                    "only among devices that sign"
                )
                raise SecureError(msg)
            if keys.round != listed.round:
                msg = f"the list of round {listed.round} has keys of {keys.device} for round {keys.round}"
                raise SecureError(msg)
            if keys.device in names:
                msg = f"{keys.device} is in the list twice"
                raise SecureError(msg)
            names.add(keys.device)
            self.check(keys, federation, at)

    def issuer_of(self, leaf: x509.Certificate) -> x509.Certificate | None:
        """Return that certificate of the authority that issued another one; None where none of them did."""
        return next((one for one in self._certificates if _issued(leaf, one)), None)

    def _check_issued(self, leaf: x509.Certificate, who: str, at: datetime, longer: timedelta) -> None:
        issuer = self.issuer_of(leaf)
        if issuer is None:
            msg = f"the certificate of {who} is not of this federation's authority"
            raise SecureError(msg)
        for one, whose in ((leaf, f"the certificate of {who}"), (issuer, "that of the authority")):
            if not one.not_valid_before_utc <= at <= at + longer <= one.not_valid_after_utc:
                msg = f"{whose} holds from {one.not_valid_before_utc:%Y-%m-%d} to {one.not_valid_after_utc:%Y-%m-%d}"
                raise SecureError(f"{msg} and not now, {at:%Y-%m-%d %H:%M}")


class KeySigner:
    """A device's certificate and key: signs its own keys for masks, and checks those of others.

    A certificate whose issuer is not among the authorities that the device knows, or whose key is of another kind,
    serves no round under masks: ``fault`` says why, and nothing is signed or checked. It is no reason to go without.

    Args:
        certificate: PEM text of the device's, behind it perhaps its issuer's.
        key: PEM text of its key.
        authorities: PEM text of the authorities that the device knows; "": none.
        federation: in which it takes part.

    Raises:
        SecureError: when a certificate cannot be read.
    """

    def __init__(self, certificate: str, key: str, authorities: str, federation: Federation) -> None:
        self._federation = federation
        leaf, *behind = _certificates(certificate)
        self._certificate = leaf.public_bytes(Encoding.DER)
        self._key = _private_key(key)
        issuer = Authority([*(_certificates(authorities) if authorities else ()), *behind]).issuer_of(leaf)
        self._authority = Authority([issuer]) if issuer is not None else None
        self.fault = ""
        """Why it cannot take part in rounds under masks, for people; "": it can."""
        if self._authority is None:
            self.fault = "the authority that issued this device's certificate is not in its enrolment (ca)"
        elif not isinstance(self._key, ec.EllipticCurvePrivateKey) or self._key.curve.name != ec.SECP256R1.name:
            self.fault = (
                "the key of this device's certificate cannot be read, or is of another kind than ECDSA on P-256"
            )

    def sign(self, keys: pb.MaskKeys) -> None:
        """Sign keys; certificate and signature are filled in. Raises: SecureError: its fault."""
        self._authority_or_fault()
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)  # noqa: S101 - else it has a fault
        keys.certificate = self._certificate
        keys.signature = self._key.sign(statement(keys, self._federation), _SCHEME)

    def check_list(self, listed: pb.MaskMembers, at: datetime) -> None:
        """Refuse a list as Authority.check_list; the authority is the one that issued this device's certificate."""
        self._authority_or_fault().check_list(listed, self._federation, at)

    def _authority_or_fault(self) -> Authority:
        if self.fault or self._authority is None:
            raise SecureError(self.fault)
        return self._authority


def _certificates(text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except _UNREADABLE as error:
        msg = f"a certificate cannot be read: {error}"
        raise SecureError(msg) from error


def _private_key(text: str) -> object:
    """Return a private key of any kind; None when it cannot be read."""
    try:
        return load_pem_private_key(text.encode(), password=None)
    except _UNREADABLE:
        return None


def _issued(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (*_UNREADABLE, InvalidSignature):
        return False
    return True


def _check_use(leaf: x509.Certificate, who: str) -> None:
    """Refuse the certificate of an authority, or of a server: that of the gateway is issued by the same authority."""
    for extension in leaf.extensions:
        value = extension.value
        wrong = (
            (isinstance(value, x509.BasicConstraints) and value.ca)
            or (isinstance(value, x509.KeyUsage) and not value.digital_signature)
            or (isinstance(value, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH not in value)
        )
        if wrong:
            msg = f"the certificate that came for {who} is not one of a device"
            raise SecureError(msg)


def _check_key(public: object, who: str) -> None:
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != ec.SECP256R1.name:
        msg = f"the certificate of {who} has a key of another kind than ECDSA on P-256"
        raise SecureError(msg)


def _name(leaf: x509.Certificate) -> str:
    """Return the CN of a certificate. Raises: ValueError: unless there is just one."""
    names: Iterable[x509.NameAttribute[str | bytes]] = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    listed = [str(one.value) for one in names]
    if len(listed) != 1:
        msg = f"{len(listed)} common names, expected one"
        raise ValueError(msg)
    return listed[0]
