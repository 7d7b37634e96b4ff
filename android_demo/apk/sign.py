"""Signatures: with a key of the user's, or with the debug key that Android's tools make on first use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from android_demo.apk import tools
from android_demo.apk.dex import MIN_API
from android_demo.errors import BuildError

PASSWORD_VARIABLE: Final = "KEYSTORE_PASSWORD"  # noqa: S105 - a variable's name
_DEBUG: Final = "android"
"""Password of every debug key: it protects nothing."""
_DAYS: Final = "10950"


@dataclass(frozen=True)
class Key:
    """A key. Args: store: file; alias: its name there, empty for a store with one key; password: of store and key."""

    store: Path
    alias: str
    password: str


def choose(store: Path | None, alias: str) -> Key:
    """Return the user's key, or the debug key, which is made when there is none yet.

    Raises:
        BuildError: when the user's store or its password is not there.
    """
    if store is None:
        return _debug()
    if not store.is_file():
        raise BuildError(f"{store}: no such key store")
    password = os.environ.get(PASSWORD_VARIABLE)
    if not password:
        raise BuildError(f"{store}: its password is missing; put it into {PASSWORD_VARIABLE}")
    return Key(store, alias, password)


def _debug() -> Key:
    """Return the key that Android Studio uses, too, so that both builds update each other on a phone."""
    store = Path.home() / ".android" / "debug.keystore"
    if not store.is_file():
        store.parent.mkdir(parents=True, exist_ok=True)
        fresh = store.with_suffix(f".{os.getpid()}")
        secrets = ("-storepass", _DEBUG, "-keypass", _DEBUG)
        kind = ("-keyalg", "RSA", "-keysize", "2048", "-validity", _DAYS, "-dname", "CN=Android Debug")
        tools.run("keytool", "-genkeypair", "-keystore", fresh, *secrets, "-alias", "androiddebugkey", *kind)
        fresh.replace(store)
    return Key(store, "androiddebugkey", _DEBUG)


def sign(key: Key, unsigned: Path, signed: Path) -> None:
    """Write the signed APK.

    Raises:
        BuildError: with apksigner's lines, and without the password.
    """
    alias = ("--ks-key-alias", key.alias) if key.alias else ()
    where = ("--ks", key.store, "--ks-pass", f"pass:{key.password}", *alias)
    options = ("--min-sdk-version", str(MIN_API), "--v4-signing-enabled", "false")
    tools.run("apksigner", "sign", *where, *options, "--out", signed, unsigned, hidden=key.password)
