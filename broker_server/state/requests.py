"""What an operator asks of a federation, by command or on the page: devices out and in, an earlier version back.

It is written down where the gateway reads it; a running one heeds it within seconds, another when it starts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from broker_server.config import GatewayConfig
from broker_server.errors import UsageError
from broker_server.identity.key_files import issued_to
from broker_server.identity.key_files import revoke as refuse
from broker_server.state.ledger import NAME, Ledger
from broker_server.state.settings_table import ROLLBACK
from broker_server.state.store import Store


def certificates_of(config: GatewayConfig, devices: Iterable[str]) -> dict[str, str]:
    """Return the certificates that were signed for devices: whose each is, by serial number."""
    if config.listen.ca is None:
        return {}
    folder = config.listen.ca.parent
    return {one.serial: name for name in devices for one in issued_to(folder, name)}


def refuse_certificates(config: GatewayConfig | None, certificates: dict[str, str]) -> None:
    """Let in no more who shows one of these. Args: certificates: what to note beside each, by serial number.

    Raises:
        UsageError: when the settings name no file for them.
        StorageError: when it cannot be written.
    """
    if certificates:
        refuse(revocation_file(config), certificates)


def revocation_file(config: GatewayConfig | None) -> Path:
    """Return the file of certificates that are refused.

    Raises:
        UsageError: when the settings name none.
    """
    if config is None or config.listen.revoked is None:
        raise UsageError(
            "no settings that name the file of revoked certificates; run this where broker_server init wrote "
            "gateway.toml, or set revoked in [listen]"
        )
    return config.listen.revoked


def mark(state: Path, devices: Iterable[str], *, revoked: bool) -> None:
    """Note in a ledger that devices are removed, or taken back.

    Raises:
        StateError, StorageError: when it cannot be written.
    """
    names = list(devices)
    if not names:
        return
    ledger = Ledger(state / NAME)
    try:
        with ledger.transaction():
            for device in names:
                ledger.revoke(device, revoked=revoked)
    finally:
        ledger.close()


def ask_rollback(state: Path, version: int) -> int:
    """Ask for an earlier version's bank as the next version, after checking each of its blocks; return the newest.

    Raises:
        UsageError: when there is no such version.
        StateError, StorageError: when it is damaged, or the request cannot be written.
    """
    store = Store.open_read_only(state)
    try:
        newest = store.ledger.version()
        if newest is None or store.ledger.version(version) is None:
            raise UsageError(f"no version {version} in {state}; there are: {store.ledger.version_numbers()}")
        store.lineage.load(version)
    finally:
        store.ledger.close()
    ledger = Ledger(state / NAME)
    try:
        with ledger.transaction():
            ledger.put(ROLLBACK, str(version))
    finally:
        ledger.close()
    return newest.version
