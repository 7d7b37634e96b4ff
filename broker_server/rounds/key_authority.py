"""The authority whose certificates devices sign their keys for masks with; read again from its file for each round."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from broker_server.errors import UsageError
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import SecureError, WireError
from edge_runtime.wire.secure.signed_keys import Authority, Federation

_LONGER: Final = timedelta(hours=1)
"""By how much certificates have to hold longer than now: a device whose clock is before ours looks at them, too."""


class KeyAuthority:
    """Says whose keys are taken.

    Args:
        file: PEM of the authority; None: nobody has to sign, and signatures are handed on as they are.
        federation: of this gateway.

    Raises:
        UsageError: when the file cannot be used.
    """

    def __init__(self, file: Path | None, federation: Federation) -> None:
        self._file, self._federation = file, federation
        self._authority = _read(file)

    def read_again(self) -> None:
        """Read the file once more; one that cannot be used changes nothing."""
        with contextlib.suppress(UsageError):
            self._authority = _read(self._file)

    def check(self, keys: pb.MaskKeys, number: int) -> None:
        """Refuse keys that the devices of a round would refuse.

        Args:
            keys: that came.
            number: of the round.

        Raises:
            WireError: BAD_SIGNATURE.
        """
        if keys.signature and keys.round != number:
            raise WireError(pb.BAD_SIGNATURE, f"keys for round {keys.round}, this is round {number}")
        if self._authority is None:
            return
        try:
            self._authority.check(keys, self._federation, datetime.now(UTC), _LONGER)
        except SecureError as error:
            raise WireError(pb.BAD_SIGNATURE, str(error)) from error


def _read(file: Path | None) -> Authority | None:
    if file is None:
        return None
    try:
        return Authority.read(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read authority {file}: {error.strerror}") from error
    except (SecureError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot use authority {file}: {error}; expected a PEM file") from error
