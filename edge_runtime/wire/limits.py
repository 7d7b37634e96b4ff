"""Sizes that both sides agree on; SPEC.md, "Limits", is written from here."""

from __future__ import annotations

from typing import Final

WIRE_VERSION: Final = 1
MESSAGE_LIMIT: Final = 128 * 1024
"""Bytes of one MQTT payload (AWS IoT Core's limit, the smallest of the common brokers)."""
BODY_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one chunked body."""
MASKS_LIMIT: Final = 2 * 1024 * 1024
"""Bytes of a body or blob that concerns masks; of a MaskKeys MESSAGE_LIMIT."""
MEMBERS_LIMIT: Final = 4 * 1024 * 1024
"""Bytes of a list of members, which has the certificate of each where keys are signed."""
CERTIFICATE_LIMIT: Final = 2_048
"""Bytes of a certificate that comes with keys for masks."""
KEYS_SIGNATURE_LIMIT: Final = 72
"""Bytes of a signature by ECDSA on P-256, in DER."""
CIRCLES_LIMIT: Final = 64
"""Circles of one device."""
CHUNKS_LIMIT: Final = 65_536
"""Chunks of one body."""
FIELDS_LIMIT: Final = 100_000
"""Fields at the top level of a message, as written; unknown ones count."""
STEPS_LIMIT: Final = 1_000_000
SLOTS_LIMIT: Final = 65_535
BATCH_LIMIT: Final = 65_536
REACHES_LIMIT: Final = 64
"""Depths that a Hello tells of."""
SITE_DEVICES_LIMIT: Final = 65_535
"""Devices that a site speaks for: so many deltas of the largest that may be add up exactly."""
MISSING_BYTES: Final = CHUNKS_LIMIT // 8
"""Bytes that tell which chunks of a body lack."""
UPDATES_LIMIT: Final = 8
"""Steps back that a block of a Version lists."""
WANT_LIMIT: Final = 2_000
"""Blobs asked for in one Want."""
NAME_BYTES: Final = 200
"""UTF-8 bytes of a Hello's ``profile`` and ``runtime``."""
DETAIL_BYTES: Final = 1_000
"""UTF-8 bytes of a Verdict's ``detail``."""
RETRY_LIMIT_S: Final = 86_400.0
RATE_LIMIT: Final = 10.0
"""Learning rates and weight decay."""
