"""What a device takes as its gateway's word: signed with the gateway's key, and no older than what came before it.

So whoever holds the broker can stay silent, and can say nothing else.
"""

from __future__ import annotations

from typing import Final

from edge_runtime.store import Record, Store
from edge_runtime.wire import messages
from edge_runtime.wire import wire_pb2 as pb
from edge_runtime.wire.errors import WireError
from edge_runtime.wire.signatures import SIGNED, verify_message
from edge_runtime.wire.topics import RETAINED, Address, Topic

_RECORD: Final = "trust"


class Trust:
    """Checks signatures and serials; SPEC.md, "Signatures".

    Args:
        key: the gateway's public key, 32 bytes; empty takes what is not signed.
        store: remembers the highest serial of each topic, so that a restart does not let old messages in again.
    """

    def __init__(self, key: bytes, store: Store) -> None:
        self._key, self._store = key, store
        record = store.recall(_RECORD)
        head = record.head if record is not None else {}
        mine = head if head.get("key") == key.hex() else {}
        self._serials: dict[str, int] = dict(mine.get("serials", {}))
        self._session = bytes.fromhex(mine.get("session", ""))

    def check(self, address: Address, payload: bytes) -> None:
        """Check a message before it is used.

        Args:
            address: of the topic that it came on.
            payload: as it came. An empty one deletes what a broker retained; nobody can sign that.

        Raises:
            WireError: BAD_SIGNATURE when it is not the gateway's, or older than one that came before.
        """
        topic = address.topic
        if not self._key or topic not in SIGNED or (topic in RETAINED and not payload):
            return
        serial = verify_message(self._key, str(address), payload)
        newest = self._serials.get(topic, 0)
        state = messages.decode(pb.GatewayState, payload) if topic is Topic.GATEWAY else None
        if state is not None and not state.online and state.session == self._session:
            return  # the gateway's will, which it signed before all that it said
        if serial < newest:
            raise WireError(pb.BAD_SIGNATURE, "an old message of the gateway, which somebody sent again")
        if state is not None:
            self._session = state.session
        if serial > newest:
            self._serials[topic] = serial
            head = {"key": self._key.hex(), "serials": self._serials, "session": self._session.hex()}
            self._store.write(_RECORD, Record(head))
